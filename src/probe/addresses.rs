//! The addresses of one target, and which of them have given a final answer.

use std::net::SocketAddr;

use super::Outcome;

/// The addresses that a target's name resolved to. A target without a socket (a process, a request in
/// a thread) has none, and one implicit place for its outcome.
#[derive(Default)]
pub(super) struct Addresses {
    list: Vec<SocketAddr>,
    settled: Vec<Option<Outcome>>,
    next: usize,
}

impl Addresses {
    pub(super) fn new(list: Vec<SocketAddr>) -> Self {
        Self { settled: list.iter().map(|_| None).collect(), list, next: 0 }
    }

    /// The next address in turn, and its index, among those without a final outcome.
    pub(super) fn next(&mut self) -> Option<(usize, SocketAddr)> {
        let count = self.list.len();
        let index = (0..count).map(|i| (self.next + i) % count).find(|i| self.settled[*i].is_none())?;
        self.next = index + 1;
        Some((index, self.list[index]))
    }

    /// Records a final outcome; returns whether every address has one now.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) -> bool {
        match self.settled.get_mut(index) {
            Some(slot) => *slot = Some(outcome),
            None => self.settled = vec![Some(outcome)],
        }
        self.settled.iter().all(Option::is_some)
    }

    pub(super) fn take_outcomes(&mut self) -> impl Iterator<Item = Outcome> {
        std::mem::take(&mut self.settled).into_iter().flatten()
    }
}
