//! Detects time in which this process wanted to run and could not.
//!
//! A prober that does not run neither asks nor listens. Silence in that time says nothing about a
//! node, so deadlines are extended by it.

use std::time::{Duration, Instant};

/// Shorter delays are ordinary scheduling.
const TOLERATED_DELAY: Duration = Duration::from_millis(5);

/// Compares wall time with the processor time of this thread.
pub(super) struct StallDetector {
    busy_since: Instant,
    cpu_time_then: Duration,
    waiting_since: Instant,
}

impl StallDetector {
    /// The thread starts to work now.
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { busy_since: now, cpu_time_then: thread_cpu_time(), waiting_since: now }
    }

    /// The work is done and the thread is about to wait. Returns for how long it was ready to work
    /// and did not run.
    pub(super) fn before_wait(&mut self) -> Duration {
        self.waiting_since = Instant::now();
        let ran = thread_cpu_time().saturating_sub(self.cpu_time_then);
        above_tolerance((self.waiting_since - self.busy_since).saturating_sub(ran))
    }

    /// The wait is over, in which nothing happened. Returns by how much it exceeded `asked`.
    pub(super) fn after_idle_wait(&self, asked: Duration) -> Duration {
        above_tolerance(self.waiting_since.elapsed().saturating_sub(asked))
    }
}

fn above_tolerance(delay: Duration) -> Duration {
    if delay > TOLERATED_DELAY { delay } else { Duration::ZERO }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
