//! A moment on this machine's own boot clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on this machine's boot clock: since it booted, however long it slept in between.
///
/// No change of the date moves it. It means nothing on another machine or after another boot, so
/// two of them may be compared only where both were taken here and since the same boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        Self(Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds))
    }

    /// The moment at which this much has passed since the boot.
    pub const fn since_boot(passed: Duration) -> Self {
        Self(passed)
    }

    /// How long after the boot it is.
    pub const fn since(self) -> Duration {
        self.0
    }

    /// The moment `wait` after this one.
    #[must_use]
    pub const fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How long before `now` this was; zero when it is yet to come.
    pub const fn until(self, now: Self) -> Duration {
        now.0.saturating_sub(self.0)
    }
}
