//! What a read means for the command that is held. Pure: no clock, no register, no process.

use crate::clock::BootInstant;
use crate::lease::failsafe::Grant;
use crate::lease::{LeaseView, Observation, Params, Permit};
use crate::name::Name;

/// What a read means for the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It may run.
    Permitted(Permit),
    /// It must not run; why, as half a sentence.
    Denied(String),
    /// Nothing follows from the read; why, as half a sentence. An earlier permit expires as before.
    Unknown(String),
    /// The same, and the register did answer: the failsafe must not contradict it.
    Distrusted(String),
}

/// Judges the reads of a lease for one command on one node.
#[derive(Clone, Debug)]
pub struct RunPolicy {
    node: Name,
    params: Params,
    since: BootInstant,
    lease_view: LeaseView,
    epoch: Option<u64>,
    /// When the last unanimous round began.
    vouched_for: Option<BootInstant>,
}

impl RunPolicy {
    /// For a `hold` on `node` that begins at `since`. Only reads that begin after `since` permit
    /// anything: after a stop, nothing may start on the strength of an earlier read. What was `known`
    /// before only helps to recognise a register that went back.
    pub fn new(node: Name, params: Params, since: BootInstant, mut known: LeaseView) -> Self {
        known.forget_times();
        Self { node, params, since, lease_view: known, epoch: None, vouched_for: None }
    }

    /// Takes in a read, and judges it at `now`.
    pub fn judge(&mut self, observation: Observation, now: BootInstant) -> Judgement {
        if observation.began < self.since {
            return Judgement::Unknown("the read began before this hold did".to_owned());
        }
        if let Err(regression) = self.lease_view.observe(observation) {
            return Judgement::Distrusted(regression.to_string());
        }
        if let Some(permit) = self.lease_view.permit(&self.node, now, &self.params) {
            return match self.epoch {
                Some(epoch) if epoch != permit.epoch => Judgement::Denied(format!(
                    "it was started under epoch {epoch}, and {} holds the lease in epoch {} now",
                    self.node, permit.epoch
                )),
                _ => Judgement::Permitted(permit),
            };
        }
        match self.lease_view.value() {
            None => Judgement::Denied("the lease was never claimed".to_owned()),
            Some(record) => match record.granted_to() {
                Some(holder) if *holder == self.node => Judgement::Unknown("the answer came too late".to_owned()),
                Some(holder) => Judgement::Denied(format!("{holder} holds the lease, in epoch {}", record.epoch)),
                None => Judgement::Denied(format!(
                    "no node holds the lease: it was claimed for {} in epoch {}",
                    record.holder, record.epoch
                )),
            },
        }
    }

    /// Takes in a unanimous round of voters, and judges it at `now`. It permits only what was started before.
    pub fn judge_round(&mut self, grant: &Grant, began: BootInstant, now: BootInstant) -> Judgement {
        if began < self.since || self.epoch != Some(grant.epoch) || grant.holder != self.node {
            return Judgement::Unknown("the voters vouched for another grant".to_owned());
        }
        // Not in the view itself, which says only what the register said.
        let mut renewed = self.lease_view.clone();
        renewed.renew(grant, began);
        match renewed.permit(&self.node, now, &self.params) {
            Some(permit) if permit.epoch == grant.epoch => {
                self.vouched_for = self.vouched_for.max(Some(began));
                Judgement::Permitted(permit)
            }
            _ => Judgement::Unknown("the voters answered too late".to_owned()),
        }
    }

    /// What the voters are asked to vouch for; none before the start.
    pub fn grant(&self) -> Option<Grant> {
        self.epoch.map(|epoch| Grant { holder: self.node.clone(), epoch })
    }

    /// When the last read or round began that renewed the permit.
    pub fn renewed(&self) -> Option<BootInstant> {
        self.lease_view.seen.as_ref().and_then(|latest| latest.last_read_began).max(self.vouched_for)
    }

    /// The command was started under this epoch. From now on no other epoch permits it.
    pub fn started(&mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }

    /// The epoch under which the command was started.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// What is known of the lease.
    pub fn lease_view(&self) -> &LeaseView {
        &self.lease_view
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::{LeaseRecord, LeaseState, Nonce, VersionedRecord};
    use crate::register::Version;

    const PARAMS: Params = Params { valid: Duration::from_secs(3), grace: Duration::from_secs(1) };

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    fn read(began: f64, holder: &str, epoch: u64, state: LeaseState) -> Observation {
        let nonce = Nonce(u128::from(epoch) * 2 + u128::from(state == LeaseState::Granted));
        let by = "tester".to_owned();
        let record = LeaseRecord {
            holder: name(holder),
            epoch,
            state,
            previous_holder: None,
            nonce,
            by,
            why: None,
            at: String::new(),
        };
        let found = Some(VersionedRecord { version: Version(nonce.to_string()), value: record });
        Observation { began: at(began), ended: at(began + 0.1), found }
    }

    fn policy() -> RunPolicy {
        RunPolicy::new(name("a"), PARAMS, at(10.0), LeaseView::default())
    }

    #[test]
    fn only_reads_since_it_began_permit_anything() {
        let mut policy = policy();
        let grant = |began| read(began, "a", 4, LeaseState::Granted);
        assert!(matches!(policy.judge(grant(9.9), at(10.1)), Judgement::Unknown(_)));
        assert_eq!(policy.judge(grant(10.0), at(10.2)), Judgement::Permitted(Permit { epoch: 4, until: at(13.0) }));
        // What another command read just before permits nothing.
        let known = policy.lease_view().clone();
        let mut second = RunPolicy::new(name("a"), PARAMS, at(11.0), known);
        assert!(matches!(second.judge(grant(10.5), at(11.0)), Judgement::Unknown(_)));
        // But it still helps to recognise a register that went back.
        assert!(matches!(second.judge(read(11.5, "a", 3, LeaseState::Granted), at(11.6)), Judgement::Distrusted(_)));
    }

    #[test]
    fn a_round_of_voters_extends_a_run_and_starts_none() {
        let mut policy = policy();
        let grant = Grant { holder: name("a"), epoch: 4 };
        assert!(matches!(policy.judge(read(10.0, "a", 4, LeaseState::Granted), at(10.1)), Judgement::Permitted(_)));
        assert!(matches!(policy.judge_round(&grant, at(11.0), at(11.1)), Judgement::Unknown(_)), "nothing runs");
        policy.started(4);
        let permit = Judgement::Permitted(Permit { epoch: 4, until: at(14.0) });
        assert_eq!(policy.judge_round(&grant, at(11.0), at(11.1)), permit);
        assert!(matches!(policy.judge_round(&grant, at(9.0), at(11.1)), Judgement::Unknown(_)), "before this hold");
        let other = Grant { epoch: 5, ..grant.clone() };
        assert!(matches!(policy.judge_round(&other, at(12.0), at(12.1)), Judgement::Unknown(_)));
        policy.judge(read(12.0, "b", 5, LeaseState::Claimed), at(12.1));
        assert!(matches!(policy.judge_round(&grant, at(12.2), at(12.3)), Judgement::Unknown(_)), "a claim is known");
    }

    #[test]
    fn another_holder_denies_and_a_late_answer_means_nothing() {
        let mut policy = policy();
        assert!(matches!(policy.judge(read(10.0, "a", 4, LeaseState::Granted), at(10.1)), Judgement::Permitted(_)));
        policy.started(4);
        assert!(matches!(policy.judge(read(10.1, "a", 4, LeaseState::Granted), at(13.2)), Judgement::Unknown(_)));
        let others = [
            ("b", 5, LeaseState::Claimed),
            ("b", 5, LeaseState::Granted),
            ("a", 6, LeaseState::Claimed),
            ("a", 6, LeaseState::Granted),
        ];
        for (began, (holder, epoch, state)) in [11.0, 12.0, 13.0, 14.0].into_iter().zip(others) {
            let judgement = policy.judge(read(began, holder, epoch, state), at(began + 0.1));
            assert!(matches!(judgement, Judgement::Denied(_)), "{holder} {epoch}: {judgement:?}");
        }
        let empty = Observation { began: at(15.0), ended: at(15.1), found: None };
        assert!(matches!(policy.judge(empty.clone(), at(15.2)), Judgement::Distrusted(_)), "it went back");
        let mut fresh = RunPolicy::new(name("a"), PARAMS, at(10.0), LeaseView::default());
        assert!(matches!(fresh.judge(empty, at(15.2)), Judgement::Denied(_)), "it never held anything");
    }
}
