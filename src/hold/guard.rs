//! What a guard makes of what it reads, and when it stops what it guards. Pure: no clock, no
//! register, no process.

use std::time::Duration;

use crate::chain::Name;
use crate::lease::{Params, Permit, Sight};
use crate::moment::Moment;
use crate::register::Reading;

/// What a reading means for the one instance that a guard stands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It may run.
    Permit(Permit),
    /// It may not; why, as half a sentence.
    Not(String),
    /// Nothing follows from it; why, as half a sentence. What was permitted before runs out.
    Nothing(String),
}

/// Judges what the register of a service says, for one instance on one node.
#[derive(Clone, Debug)]
pub struct Guard {
    node: Name,
    params: Params,
    since: Moment,
    sight: Sight,
    epoch: Option<u64>,
}

impl Guard {
    /// A guard on `node` that begins at `since`. Of what was `known` before it keeps only what tells
    /// a register that lost what it held: after a stop nothing starts on the strength of a read from
    /// before it, so only reads that begin after `since` permit anything.
    pub fn new(node: Name, params: Params, since: Moment, mut known: Sight) -> Self {
        known.forget_times();
        Self { node, params, since, sight: known, epoch: None }
    }

    /// Takes in a reading, and tells what follows at `now`.
    pub fn hear(&mut self, reading: Reading, now: Moment) -> Heard {
        if reading.began < self.since {
            return Heard::Nothing("that was read before this guard began".to_owned());
        }
        if let Err(distrust) = self.sight.note(reading) {
            return Heard::Nothing(distrust.to_string());
        }
        if let Some(permit) = self.sight.permit(&self.node, now, &self.params) {
            return match self.epoch {
                Some(epoch) if epoch != permit.epoch => Heard::Not(format!(
                    "it was started under epoch {epoch}, and {} holds the lease in epoch {} now",
                    self.node, permit.epoch
                )),
                _ => Heard::Permit(permit),
            };
        }
        match self.sight.value() {
            None => Heard::Not("the lease was never claimed for anybody".to_owned()),
            Some(value) => match value.granted_to() {
                Some(holder) if *holder == self.node => Heard::Nothing("the answer came too late".to_owned()),
                Some(holder) => Heard::Not(format!("{holder} holds the lease, in epoch {}", value.epoch)),
                None => Heard::Not(format!(
                    "nobody holds the lease: it was claimed for {} in epoch {}",
                    value.holder, value.epoch
                )),
            },
        }
    }

    /// The instance was started under this epoch; no other permits it from now on.
    pub fn started(&mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }

    /// The epoch under which the instance was started.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// What is known of the register.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }
}

/// What is to be done with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Let it run.
    Run,
    /// Tell it to stop.
    Stop,
    /// Kill it.
    Kill,
}

/// For how long an instance runs, and how it ends.
///
/// Another node starts no sooner than `valid + grace` after its claim, and every read that permitted
/// this instance began before that claim. So it is told to stop when the latest permit runs out, or
/// before; and it is dead when `grace` has passed from then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    until: Moment,
    told: Option<Moment>,
    grace: Duration,
}

impl Term {
    /// Under a permit until this moment.
    pub fn new(until: Moment, grace: Duration) -> Self {
        Self { until, told: None, grace }
    }

    /// A further read permits it until this moment. Once it was told to stop, nothing does.
    pub fn extend(&mut self, until: Moment) {
        if self.told.is_none() {
            self.until = self.until.max(until);
        }
    }

    /// It is told to stop, now at the latest.
    pub fn stop(&mut self, now: Moment) {
        self.told.get_or_insert(now);
    }

    /// Whether it was told to stop before its permit ran out.
    pub fn is_told(&self) -> bool {
        self.told.is_some_and(|told| told < self.until)
    }

    /// When it is told to stop, unless a further read moves that.
    pub fn stops(&self) -> Moment {
        self.told.map_or(self.until, |told| told.min(self.until))
    }

    /// When it is killed, unless it has ended or a further read moves that. The rest of `grace` is for
    /// what the clocks may differ, and for the kill to be carried out.
    pub fn kills(&self) -> Moment {
        self.short_of_grace(10)
    }

    /// When whoever was to kill it is killed with it.
    pub fn overdue(&self) -> Moment {
        self.short_of_grace(20)
    }

    /// When nobody has done so, and the kernel does.
    pub fn last(&self) -> Moment {
        self.short_of_grace(40)
    }

    /// Sooner than another node starts, by this part of `grace`.
    fn short_of_grace(&self, part: u32) -> Moment {
        self.stops().plus(self.grace.saturating_sub(self.grace / part))
    }

    /// What is to be done at `now`. Whoever was frozen in between finds that it is too late to ask.
    pub fn act(&self, now: Moment) -> Act {
        if now >= self.kills() {
            Act::Kill
        } else if now >= self.stops() {
            Act::Stop
        } else {
            Act::Run
        }
    }

    /// When that changes next; none once it is to be killed.
    pub fn next(&self, now: Moment) -> Option<Moment> {
        match self.act(now) {
            Act::Run => Some(self.stops()),
            Act::Stop => Some(self.kills()),
            Act::Kill => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Nonce, State, Value};
    use crate::register::{Found, Version};

    const PARAMS: Params = Params { valid: Duration::from_secs(3), grace: Duration::from_secs(1) };

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn at(seconds: f64) -> Moment {
        Moment::since_boot(Duration::from_secs_f64(seconds))
    }

    fn reading(began: f64, holder: &str, epoch: u64, state: State) -> Reading {
        let nonce = Nonce(u128::from(epoch) * 2 + u128::from(state == State::Granted));
        let by = "tester".to_owned();
        let value = Value { holder: name(holder), epoch, state, was: None, nonce, by, why: None, at: String::new() };
        let found = Some(Found { version: Version(nonce.to_string()), value });
        Reading { began: at(began), ended: at(began + 0.1), found }
    }

    fn guard() -> Guard {
        Guard::new(name("a"), PARAMS, at(10.0), Sight::default())
    }

    #[test]
    fn only_what_was_asked_since_it_began_permits_anything() {
        let mut guard = guard();
        let grant = |began| reading(began, "a", 4, State::Granted);
        assert!(matches!(guard.hear(grant(9.9), at(10.1)), Heard::Nothing(_)));
        assert_eq!(guard.hear(grant(10.0), at(10.2)), Heard::Permit(Permit { epoch: 4, until: at(13.0) }));
        // What another command had read just before is worth nothing.
        let known = guard.sight().clone();
        let mut second = Guard::new(name("a"), PARAMS, at(11.0), known);
        assert!(matches!(second.hear(grant(10.5), at(11.0)), Heard::Nothing(_)));
        // But a register that lost what it held is still known by it.
        assert!(matches!(second.hear(reading(11.5, "a", 3, State::Granted), at(11.6)), Heard::Nothing(_)));
    }

    #[test]
    fn whoever_is_not_named_stops_and_whoever_hears_nothing_runs_out() {
        let mut guard = guard();
        assert!(matches!(guard.hear(reading(10.0, "a", 4, State::Granted), at(10.1)), Heard::Permit(_)));
        guard.started(4);
        assert!(matches!(guard.hear(reading(10.1, "a", 4, State::Granted), at(13.2)), Heard::Nothing(_)));
        let others =
            [("b", 5, State::Claimed), ("b", 5, State::Granted), ("a", 6, State::Claimed), ("a", 6, State::Granted)];
        for (began, (holder, epoch, state)) in [11.0, 12.0, 13.0, 14.0].into_iter().zip(others) {
            let heard = guard.hear(reading(began, holder, epoch, state), at(began + 0.1));
            assert!(matches!(heard, Heard::Not(_)), "{holder} {epoch}: {heard:?}");
        }
        let empty = Reading { began: at(15.0), ended: at(15.1), found: None };
        assert!(matches!(guard.hear(empty.clone(), at(15.2)), Heard::Nothing(_)), "it lost what it held");
        let mut fresh = Guard::new(name("a"), PARAMS, at(10.0), Sight::default());
        assert!(matches!(fresh.hear(empty, at(15.2)), Heard::Not(_)), "it never held anything");
    }

    #[test]
    fn it_is_told_when_the_permit_runs_out_and_dead_before_another_starts() {
        let mut term = Term::new(at(13.0), PARAMS.grace);
        let acts = |term: &Term| [12.9, 13.0, 13.8, 13.9, 99.0].map(|now| term.act(at(now)));
        assert_eq!(acts(&term), [Act::Run, Act::Stop, Act::Stop, Act::Kill, Act::Kill]);
        term.extend(at(12.0));
        assert_eq!(acts(&term), [Act::Run, Act::Stop, Act::Stop, Act::Kill, Act::Kill], "nothing takes a permit back");
        term.extend(at(13.5));
        assert_eq!(acts(&term), [Act::Run, Act::Run, Act::Stop, Act::Stop, Act::Kill]);
        assert_eq!(
            (term.next(at(1.0)), term.next(at(13.6)), term.next(at(99.0))),
            (Some(at(13.5)), Some(at(14.4)), None)
        );
        // Told before that, it has as long, counted from then; told after, no longer than it had.
        let mut early = term;
        early.stop(at(12.5));
        early.extend(at(20.0));
        assert_eq!([12.4, 12.5, 13.3, 13.4].map(|now| early.act(at(now))), [Act::Run, Act::Stop, Act::Stop, Act::Kill]);
        term.stop(at(14.0));
        term.extend(at(20.0));
        assert_eq!((term.stops(), term.kills()), (at(13.5), at(14.4)));
    }

    #[test]
    fn without_grace_it_is_killed_at_once() {
        let term = Term::new(at(13.0), Duration::ZERO);
        assert_eq!((term.act(at(12.9)), term.act(at(13.0))), (Act::Run, Act::Kill));
    }
}
