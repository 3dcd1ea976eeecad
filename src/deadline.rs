//! A moment by which something must have happened; made once at the edge and passed down.

use std::time::{Duration, Instant};

/// Longer waits than this are cut to it, so that the arithmetic never overflows.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A moment on the monotonic clock by which something must have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `wait` from now.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait.min(FOREVER))
    }

    /// What is left until then; zero once it has passed.
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
