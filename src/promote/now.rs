//! One moment by two clocks: the boot clock decides, the calendar clock is for people.

use std::time::SystemTime;

use crate::clock::BootInstant;

/// One moment by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// By the boot clock.
    pub boot: BootInstant,
    /// By the calendar clock.
    pub wall: SystemTime,
}

impl Now {
    pub(super) fn take() -> Self {
        Self { boot: BootInstant::now(), wall: SystemTime::now() }
    }

    /// A moment near this one as RFC 3339, UTC.
    pub(super) fn rfc3339(&self, at: BootInstant) -> String {
        let (ahead, ago) = (self.boot.until(at), at.until(self.boot));
        let wall = self.wall.checked_add(ahead).and_then(|wall| wall.checked_sub(ago)).unwrap_or(self.wall);
        humantime::format_rfc3339_millis(wall).to_string()
    }
}
