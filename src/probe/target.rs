//! The state of one target while it is asked, and the rule that makes it alive, dead or unknown.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::{Cause, Outcome, Target, Timing};
use crate::config::Probe;
use crate::leader::State;

/// How far a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its turn has not come.
    Waiting,
    /// Its name is being looked up.
    Resolving,
    /// Its first try waits for a free file descriptor.
    Queued,
    /// At least one try was started.
    Trying,
    /// Its answer has been given.
    Answered,
}

/// What is known of one target while it is asked.
pub(super) struct TargetState {
    pub(super) phase: Phase,
    /// When it is asked first.
    begins: Instant,
    /// The round trip of the try that is about to end, as the kernel measured it.
    pub(super) round_trip: Option<Duration>,
    timing: Timing,
    pub(super) deadline: Instant,
    /// The deadline is not extended beyond this.
    latest_deadline: Instant,
    addresses: Addresses,
    pub(super) attempts: Attempts,
    last_loss: Option<(Cause, Option<String>)>,
    /// Set when it had to wait for a file descriptor: it was not asked for its whole time.
    descriptor_wait: Option<Option<String>>,
}

/// The tries of one target.
pub(super) struct Attempts {
    pub(super) started: u32,
    allowed: u32,
    /// The keys of the tries that are under way.
    pub(super) open: Vec<usize>,
}

impl Attempts {
    pub(super) fn may_start(&self) -> bool {
        self.started < self.allowed
    }
}

/// The answer of a target, without the count of its tries.
pub(super) struct TargetAnswer {
    pub(super) state: State,
    pub(super) cause: Option<Cause>,
    pub(super) detail: Option<String>,
    pub(super) latency: Option<Duration>,
}

/// What follows from the end of a try.
pub(super) enum NextMove {
    /// The target has its answer.
    Answer(TargetAnswer),
    /// Its next address is tried at once.
    TryNextAddress,
    /// Another try may still be answered.
    Wait,
}

impl TargetState {
    pub(super) fn new(target: &Target<'_>, now: Instant) -> Self {
        let timeout = target.probe.deadline();
        let begins = now + target.delay;
        // A deadline that was learned from the link begins with the first try; one of the node list holds the delay.
        let deadline = if target.probe.times().is_some() { begins + timeout } else { now + timeout };
        Self {
            phase: Phase::Waiting,
            begins,
            round_trip: None,
            timing: Timing::default(),
            deadline,
            latest_deadline: deadline + timeout,
            addresses: Addresses::default(),
            attempts: Attempts { started: 0, allowed: target.probe.attempts, open: Vec::new() },
            last_loss: None,
            descriptor_wait: None,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    pub(super) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = Addresses::new(addresses);
    }

    /// The next address to try, and its index.
    pub(super) fn next_address(&mut self) -> Option<(usize, SocketAddr)> {
        self.addresses.next()
    }

    /// When the next try is due after one that started at `started`, or else the deadline.
    pub(super) fn next_wake_up(&self, probe: &Probe, started: Instant) -> Instant {
        if !self.attempts.may_start() {
            return self.deadline;
        }
        let next = self.attempts.started;
        let interval = probe.start_of_try(next).saturating_sub(probe.start_of_try(next.saturating_sub(1)));
        (started + interval).min(self.deadline)
    }

    /// Notes what a try that began at `started` shows of the link: what the kernel measured where it did.
    pub(super) fn note(&mut self, started: Instant) {
        let round_trip = self.round_trip.take().unwrap_or_else(|| started.elapsed());
        self.timing = Timing { round_trip, waited: started.saturating_duration_since(self.begins) + round_trip };
    }

    /// What the last try that has ended shows of the link.
    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// Extends the deadline by the time in which this process could not run.
    pub(super) fn extend_deadline(&mut self, by: Duration) {
        self.deadline = (self.deadline + by).min(self.latest_deadline);
    }

    pub(super) fn wait_for_descriptor(&mut self, detail: Option<String>) {
        self.phase = Phase::Queued;
        self.descriptor_wait = Some(detail);
    }

    /// Takes the outcome of one try at the address with this index.
    pub(super) fn take_outcome(&mut self, address: usize, outcome: Outcome, latency: Duration) -> NextMove {
        match outcome {
            Outcome::Alive => {
                let (state, latency) = (State::Alive, Some(latency));
                NextMove::Answer(TargetAnswer { state, cause: None, detail: None, latency })
            }
            Outcome::Lost(cause, detail) => {
                self.last_loss = Some((cause, detail));
                if self.attempts.open.is_empty() && !self.attempts.may_start() {
                    NextMove::Answer(self.no_answer())
                } else {
                    NextMove::Wait
                }
            }
            settled @ (Outcome::No(..) | Outcome::Unable(..)) => {
                if self.addresses.settle(address, settled) {
                    NextMove::Answer(self.every_address_settled(latency))
                } else {
                    NextMove::TryNextAddress
                }
            }
        }
    }

    /// Every address gave a final outcome. One definite no outweighs those that could not be asked.
    fn every_address_settled(&mut self, latency: Duration) -> TargetAnswer {
        let mut unable = (Cause::NotAsked, None);
        for outcome in self.addresses.take_outcomes() {
            match outcome {
                Outcome::No(cause, detail) => {
                    return TargetAnswer { state: State::Dead, cause: Some(cause), detail, latency: Some(latency) };
                }
                Outcome::Unable(cause, detail) => unable = (cause, detail),
                Outcome::Alive | Outcome::Lost(..) => {}
            }
        }
        let (cause, detail) = unable;
        TargetAnswer { state: State::Unknown, cause: Some(cause), detail, latency: None }
    }

    /// No answer came by the deadline. The target is dead only if it was asked for its whole time.
    pub(super) fn no_answer(&mut self) -> TargetAnswer {
        let (state, cause, detail) = match (self.descriptor_wait.take(), self.last_loss.take()) {
            _ if self.phase == Phase::Resolving => {
                (State::Unknown, Cause::Unresolved, Some("no answer in time".to_owned()))
            }
            (Some(detail), _) => (State::Unknown, Cause::NoFileDescriptor, detail),
            (None, Some((cause, detail))) => (State::Dead, cause, detail),
            (None, None) => (State::Dead, Cause::Timeout, None),
        };
        TargetAnswer { state, cause: Some(cause), detail, latency: None }
    }
}
