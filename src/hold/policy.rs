//! What a guard makes of what it reads, and when it stops what it guards. Pure: no clock, no
//! register, no process.

use std::time::Duration;

use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::lease::{LeaseView, Params, Permit};
use crate::register::Observation;

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
pub struct RunPolicy {
    node: Name,
    params: Params,
    since: BootInstant,
    lease_view: LeaseView,
    epoch: Option<u64>,
}

impl RunPolicy {
    /// A guard on `node` that begins at `since`. Of what was `known` before it keeps only what tells
    /// a register that lost what it held: after a stop nothing starts on the strength of a read from
    /// before it, so only reads that begin after `since` permit anything.
    pub fn new(node: Name, params: Params, since: BootInstant, mut known: LeaseView) -> Self {
        known.forget_times();
        Self { node, params, since, lease_view: known, epoch: None }
    }

    /// Takes in a reading, and tells what follows at `now`.
    pub fn hear(&mut self, reading: Observation, now: BootInstant) -> Heard {
        if reading.began < self.since {
            return Heard::Nothing("that was read before this guard began".to_owned());
        }
        if let Err(distrust) = self.lease_view.observe(reading) {
            return Heard::Nothing(distrust.to_string());
        }
        if let Some(permit) = self.lease_view.permit(&self.node, now, &self.params) {
            return match self.epoch {
                Some(epoch) if epoch != permit.epoch => Heard::Not(format!(
                    "it was started under epoch {epoch}, and {} holds the lease in epoch {} now",
                    self.node, permit.epoch
                )),
                _ => Heard::Permit(permit),
            };
        }
        match self.lease_view.value() {
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
    pub fn lease_view(&self) -> &LeaseView {
        &self.lease_view
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
pub struct RunWindow {
    until: BootInstant,
    told: Option<BootInstant>,
    grace: Duration,
}

impl RunWindow {
    /// Under a permit until this moment.
    pub fn new(until: BootInstant, grace: Duration) -> Self {
        Self { until, told: None, grace }
    }

    /// A further read permits it until this moment. Once it was told to stop, nothing does.
    pub fn extend(&mut self, until: BootInstant) {
        if self.told.is_none() {
            self.until = self.until.max(until);
        }
    }

    /// It is told to stop, now at the latest.
    pub fn stop(&mut self, now: BootInstant) {
        self.told.get_or_insert(now);
    }

    /// Whether it was told to stop before its permit ran out.
    pub fn is_told(&self) -> bool {
        self.told.is_some_and(|told| told < self.until)
    }

    /// When it is told to stop, unless a further read moves that.
    pub fn stops(&self) -> BootInstant {
        self.told.map_or(self.until, |told| told.min(self.until))
    }

    /// When it is killed, unless it has ended or a further read moves that. The rest of `grace` is for
    /// what the clocks may differ, and for the kill to be carried out.
    pub fn kills(&self) -> BootInstant {
        self.short_of_grace(10)
    }

    /// When whoever was to kill it is killed with it.
    pub fn overdue(&self) -> BootInstant {
        self.short_of_grace(20)
    }

    /// When nobody has done so, and the kernel does.
    pub fn last(&self) -> BootInstant {
        self.short_of_grace(40)
    }

    /// Sooner than another node starts, by this part of `grace`.
    fn short_of_grace(&self, part: u32) -> BootInstant {
        self.stops().plus(self.grace.saturating_sub(self.grace / part))
    }

    /// What is to be done at `now`. Whoever was frozen in between finds that it is too late to ask.
    pub fn act(&self, now: BootInstant) -> Act {
        if now >= self.kills() {
            Act::Kill
        } else if now >= self.stops() {
            Act::Stop
        } else {
            Act::Run
        }
    }

    /// When that changes next; none once it is to be killed.
    pub fn next(&self, now: BootInstant) -> Option<BootInstant> {
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
    use crate::lease::{LeaseRecord, LeaseState, Nonce};
    use crate::register::{Version, VersionedRecord};

    const PARAMS: Params = Params { valid: Duration::from_secs(3), grace: Duration::from_secs(1) };

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    fn reading(began: f64, holder: &str, epoch: u64, state: LeaseState) -> Observation {
        let nonce = Nonce(u128::from(epoch) * 2 + u128::from(state == LeaseState::Granted));
        let by = "tester".to_owned();
        let value = LeaseRecord {
            holder: name(holder),
            epoch,
            state,
            previous_holder: None,
            nonce,
            by,
            why: None,
            at: String::new(),
        };
        let found = Some(VersionedRecord { version: Version(nonce.to_string()), value });
        Observation { began: at(began), ended: at(began + 0.1), found }
    }

    fn policy() -> RunPolicy {
        RunPolicy::new(name("a"), PARAMS, at(10.0), LeaseView::default())
    }

    #[test]
    fn only_what_was_asked_since_it_began_permits_anything() {
        let mut policy = policy();
        let grant = |began| reading(began, "a", 4, LeaseState::Granted);
        assert!(matches!(policy.hear(grant(9.9), at(10.1)), Heard::Nothing(_)));
        assert_eq!(policy.hear(grant(10.0), at(10.2)), Heard::Permit(Permit { epoch: 4, until: at(13.0) }));
        // What another command had read just before is worth nothing.
        let known = policy.lease_view().clone();
        let mut second = RunPolicy::new(name("a"), PARAMS, at(11.0), known);
        assert!(matches!(second.hear(grant(10.5), at(11.0)), Heard::Nothing(_)));
        // But a register that lost what it held is still known by it.
        assert!(matches!(second.hear(reading(11.5, "a", 3, LeaseState::Granted), at(11.6)), Heard::Nothing(_)));
    }

    #[test]
    fn whoever_is_not_named_stops_and_whoever_hears_nothing_runs_out() {
        let mut policy = policy();
        assert!(matches!(policy.hear(reading(10.0, "a", 4, LeaseState::Granted), at(10.1)), Heard::Permit(_)));
        policy.started(4);
        assert!(matches!(policy.hear(reading(10.1, "a", 4, LeaseState::Granted), at(13.2)), Heard::Nothing(_)));
        let others = [
            ("b", 5, LeaseState::Claimed),
            ("b", 5, LeaseState::Granted),
            ("a", 6, LeaseState::Claimed),
            ("a", 6, LeaseState::Granted),
        ];
        for (began, (holder, epoch, state)) in [11.0, 12.0, 13.0, 14.0].into_iter().zip(others) {
            let heard = policy.hear(reading(began, holder, epoch, state), at(began + 0.1));
            assert!(matches!(heard, Heard::Not(_)), "{holder} {epoch}: {heard:?}");
        }
        let empty = Observation { began: at(15.0), ended: at(15.1), found: None };
        assert!(matches!(policy.hear(empty.clone(), at(15.2)), Heard::Nothing(_)), "it lost what it held");
        let mut fresh = RunPolicy::new(name("a"), PARAMS, at(10.0), LeaseView::default());
        assert!(matches!(fresh.hear(empty, at(15.2)), Heard::Not(_)), "it never held anything");
    }

    #[test]
    fn it_is_told_when_the_permit_runs_out_and_dead_before_another_starts() {
        let mut term = RunWindow::new(at(13.0), PARAMS.grace);
        let acts = |term: &RunWindow| [12.9, 13.0, 13.8, 13.9, 99.0].map(|now| term.act(at(now)));
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
        let term = RunWindow::new(at(13.0), Duration::ZERO);
        assert_eq!((term.act(at(12.9)), term.act(at(13.0))), (Act::Run, Act::Kill));
    }
}
