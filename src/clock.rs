//! Two clocks: instants since the boot that are kept in files, and deadlines of this process.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Longer waits are cut to this, so that the arithmetic never overflows.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Another machine's clock that is further off is named.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(60);

/// An instant on this machine's boot clock: the time since it booted, suspension included.
///
/// No change of the date moves it. It means nothing on another machine or after another boot, so
/// compare only instants that were taken on this machine since the same boot.
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

    /// The instant at which this much has passed since the boot.
    pub const fn since_boot(passed: Duration) -> Self {
        Self(passed)
    }

    /// How long after the boot it is.
    pub const fn since(self) -> Duration {
        self.0
    }

    /// The instant `wait` after this one.
    #[must_use]
    pub const fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// This instant by the calendar clock as it is now: RFC 3339, UTC, milliseconds.
    pub fn rfc3339(self) -> String {
        let (boot, wall) = (Self::now(), SystemTime::now());
        let near = wall.checked_add(boot.until(self)).and_then(|near| near.checked_sub(self.until(boot)));
        humantime::format_rfc3339_millis(near.unwrap_or(wall)).to_string()
    }

    /// The time from this instant until `now`; zero when it is still to come.
    pub const fn until(self, now: Self) -> Duration {
        now.0.saturating_sub(self.0)
    }
}

/// An instant on the monotonic clock by which something must have happened; made once at the edge
/// and passed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The instant `wait` from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait.min(MAX_WAIT))
    }

    /// The time left; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// The sooner of the two.
    pub fn sooner(self, other: Self) -> Self {
        self.min(other)
    }
}

/// A time as it stands in a sentence.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
