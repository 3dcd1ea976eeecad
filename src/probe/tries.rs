//! The tries that are under way.

use std::time::Instant;

use super::tcp::Socket;
use crate::exec::Running;

/// What carries out a try.
pub(super) enum Work {
    Socket(Socket),
    Process(Box<Running>),
    Thread,
}

/// A try under way.
pub(super) struct Try {
    pub(super) target: usize,
    /// The index of the address that is tried, for a socket.
    pub(super) address: usize,
    pub(super) started: Instant,
    pub(super) work: Work,
}

/// All tries, by key. A key is never reused: a late event must not meet another try.
#[derive(Default)]
pub(super) struct Tries {
    slots: Vec<Option<Try>>,
    pub(super) processes: usize,
}

impl Tries {
    pub(super) fn add(&mut self, attempt: Try) -> usize {
        self.processes += usize::from(matches!(attempt.work, Work::Process(_)));
        self.slots.push(Some(attempt));
        self.slots.len() - 1
    }

    /// Removes a try, and with it closes its socket or ends its process.
    pub(super) fn remove(&mut self, key: usize) -> Option<Try> {
        let attempt = self.slots.get_mut(key)?.take()?;
        self.processes -= usize::from(matches!(attempt.work, Work::Process(_)));
        Some(attempt)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Try> {
        self.slots.get_mut(key)?.as_mut()
    }

    pub(super) fn trim_output(&self) {
        for attempt in self.slots.iter().flatten() {
            if let Work::Process(running) = &attempt.work {
                running.trim();
            }
        }
    }
}
