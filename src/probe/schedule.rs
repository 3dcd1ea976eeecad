//! Timers and the queue for file descriptors.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// When which target is looked at again.
#[derive(Default)]
pub(super) struct Schedule {
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Targets whose first try waits for a free file descriptor.
    pub(super) descriptor_queue: VecDeque<usize>,
}

impl Schedule {
    pub(super) fn set(&mut self, at: Instant, target: usize) {
        self.timers.push(Reverse((at, target)));
    }

    pub(super) fn until_next(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn pop_due(&mut self) -> Option<usize> {
        let Reverse((at, target)) = self.timers.peek().copied()?;
        (at <= Instant::now()).then(|| {
            self.timers.pop();
            target
        })
    }
}
