//! Where one target stands: which of its addresses said what, and what that makes it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Outcome, Target};
use crate::decide::State;

/// What is known of one target while it is asked.
pub(super) struct TargetState {
    /// Where it can be asked; none until its name is looked up, and for what has no socket.
    pub(super) addresses: Vec<SocketAddr>,
    /// What each address said for good.
    settled: Vec<Option<Outcome>>,
    next_address: usize,
    /// Tries that were started.
    pub(super) attempts: u32,
    /// Tries that may be started.
    allowed: u32,
    /// The keys of the tries that were started and are not over.
    pub(super) open: Vec<usize>,
    pub(super) deadline: Instant,
    /// The deadline is not put off beyond this.
    latest: Instant,
    step: Duration,
    last_loss: Option<(&'static str, Option<String>)>,
    pub(super) begun: bool,
    pub(super) resolving: bool,
    /// It waits for a file descriptor.
    pub(super) queued: bool,
    /// It had to wait for one, so that it was not asked for as long as it should have been.
    kept_waiting: Option<Option<String>>,
    pub(super) answered: bool,
}

/// What became of a target.
pub(super) struct Answered {
    pub(super) state: State,
    pub(super) cause: Option<&'static str>,
    pub(super) detail: Option<String>,
    pub(super) latency: Option<Duration>,
}

/// What follows from the end of a try.
pub(super) enum Heard {
    /// The target's answer.
    Answer(Answered),
    /// Its next address is to be tried at once.
    AskAgain,
    /// Another try may still be answered.
    Wait,
}

impl TargetState {
    pub(super) fn new(target: &Target<'_>, now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            settled: Vec::new(),
            next_address: 0,
            attempts: 0,
            allowed: target.probe.attempts,
            open: Vec::new(),
            deadline: now + target.probe.timeout,
            latest: now + target.probe.timeout * 2,
            step: target.probe.timeout / target.probe.attempts.max(1),
            last_loss: None,
            begun: false,
            resolving: false,
            queued: false,
            kept_waiting: None,
            answered: false,
        }
    }

    pub(super) fn found_at(&mut self, addresses: Vec<SocketAddr>) {
        self.settled = addresses.iter().map(|_| None).collect();
        self.addresses = addresses;
    }

    /// The address whose turn it is, among those that have not said no for good.
    pub(super) fn next_address(&mut self) -> Option<usize> {
        let count = self.addresses.len();
        let address = (0..count).map(|i| (self.next_address + i) % count).find(|i| self.settled[*i].is_none())?;
        self.next_address = address + 1;
        Some(address)
    }

    pub(super) fn may_try_again(&self) -> bool {
        self.attempts < self.allowed
    }

    /// When the next try is due, or else the end, after one that was started at `started`.
    pub(super) fn next_moment(&self, started: Instant) -> Instant {
        if self.may_try_again() { (started + self.step).min(self.deadline) } else { self.deadline }
    }

    /// Puts off the deadline by the time in which this process could not run: it neither asked nor
    /// listened then, so silence tells nothing.
    pub(super) fn put_off(&mut self, by: Duration) {
        self.deadline = (self.deadline + by).min(self.latest);
    }

    pub(super) fn wait_for_descriptor(&mut self, words: Option<String>) {
        self.queued = true;
        self.kept_waiting = Some(words);
    }

    /// Takes what one try found, at the address of that index.
    pub(super) fn hear(&mut self, address: usize, outcome: Outcome, latency: Duration) -> Heard {
        match outcome {
            Outcome::Alive => {
                let (state, latency) = (State::Alive, Some(latency));
                Heard::Answer(Answered { state, cause: None, detail: None, latency })
            }
            Outcome::Lost(cause, detail) => {
                self.last_loss = Some((cause, detail));
                if self.open.is_empty() && !self.may_try_again() { Heard::Answer(self.silence()) } else { Heard::Wait }
            }
            settled @ (Outcome::No(..) | Outcome::Unable(..)) => {
                match self.settled.get_mut(address) {
                    Some(place) => *place = Some(settled),
                    None => self.settled = vec![Some(settled)],
                }
                if self.settled.iter().any(Option::is_none) {
                    return Heard::AskAgain;
                }
                Heard::Answer(self.no_for_good(latency))
            }
        }
    }

    /// Every address has said no for good. One that says no outweighs one that could not be asked.
    fn no_for_good(&mut self, latency: Duration) -> Answered {
        let mut unable = ("not-asked", None);
        for outcome in std::mem::take(&mut self.settled).into_iter().flatten() {
            match outcome {
                Outcome::No(cause, detail) => {
                    return Answered { state: State::Dead, cause: Some(cause), detail, latency: Some(latency) };
                }
                Outcome::Unable(cause, detail) => unable = (cause, detail),
                Outcome::Alive | Outcome::Lost(..) => {}
            }
        }
        let (cause, detail) = unable;
        Answered { state: State::Unknown, cause: Some(cause), detail, latency: None }
    }

    /// No answer came. That tells something of the target only if it could be asked all the time.
    pub(super) fn silence(&mut self) -> Answered {
        let (state, cause, detail) = match (self.kept_waiting.take(), self.last_loss.take()) {
            _ if self.resolving => (State::Unknown, "unresolved", Some("no answer in time".to_owned())),
            (Some(words), _) => (State::Unknown, "no-file-descriptor", words),
            (None, Some((cause, detail))) => (State::Dead, cause, detail),
            (None, None) => (State::Dead, "timeout", None),
        };
        Answered { state, cause: Some(cause), detail, latency: None }
    }
}
