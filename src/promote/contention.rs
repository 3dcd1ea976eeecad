//! Two brains that do not see each other, but see the same register: one of them has to give way.
//!
//! The lease alone keeps two instances from running; but each brain would take it from the other at
//! every check. A rival that is at work is told from a dead brain by the time of its write: it came
//! when the rival was dead from here already, so either the links are at fault or this node is.
//!
//! ```text
//! here    dead_since ───── lag ─────┬ yield while the service is healthy there, else MAX_YIELD at most;
//!         (look began)              │ overrule once where most nodes of the chain are on this side
//! rival   … writes sent before ─────┤
//!           it fell may arrive      └ a write from here on, or one that replaced a record which was
//!           until here                written after dead_since: the rival is at work
//! ```

use std::time::Duration;

use crate::clock::BootInstant;
use crate::lease::{Latest, LeaseState};

/// How long a rival is left alone when the service does not run where this node could see it: the
/// rival may have died since, with no other node to tell.
const MAX_YIELD: Duration = Duration::from_secs(600);

/// What is known of the brain that wrote the lease last, and that is dead as seen from here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender<'a> {
    /// What it wrote.
    pub written: &'a Latest,
    /// When the look began by which it was first found dead.
    pub dead_since: BootInstant,
    /// Writes that it sent before it died may arrive this much later.
    pub lag: Duration,
    /// Whether the service is healthy where the lease is.
    pub is_serving: bool,
    /// Whether most nodes of the chain are alive as seen from here.
    pub most_are_here: bool,
    /// Whether it granted a claim that was waited for here, when it had been dead already.
    pub granted_while_dead: bool,
    /// When a rival was last overruled.
    pub last_overruled: Option<BootInstant>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is dead, for all that is known: take the lease over.
    TakeOver,
    /// It may be at work on its claim: give it the time to finish.
    Wait,
    /// It is at work, but most nodes are on this side: take the lease over.
    Overrule,
    /// It is at work: leave the lease to it, until then where that is not for good.
    Yield(Option<BootInstant>),
}

impl Contender<'_> {
    /// The brain that sees fewer nodes gives way. Of two that both see most of them, or both do not,
    /// the one that has overruled the other before gives way: the other overrules once too.
    pub(super) fn decide(&self, now: BootInstant) -> Decision {
        if !self.is_at_work() {
            let unfinished = self.written.found.value.state == LeaseState::Claimed;
            return if unfinished && !self.most_are_here { Decision::Wait } else { Decision::TakeOver };
        }
        if self.is_serving {
            return Decision::Yield(None);
        }
        let until = self.written.first_seen.plus(MAX_YIELD);
        // If it was seen alive since, this is another contention.
        let last_overruled = self.last_overruled.filter(|at| *at >= self.dead_since);
        let may_overrule = self.most_are_here && last_overruled.is_none_or(|at| at.until(now) >= MAX_YIELD);
        if may_overrule || now >= until { Decision::Overrule } else { Decision::Yield(Some(until)) }
    }

    /// A write that it sent before it died may have come late; but it cannot have replaced a record that
    /// it had not read.
    fn is_at_work(&self) -> bool {
        let wrote_late = self.written.written_after.is_some_and(|after| after >= self.dead_since.plus(self.lag));
        let has_read = self.written.read_after.is_some_and(|after| after >= self.dead_since);
        self.granted_while_dead || wrote_late || has_read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::VersionedRecord;
    use crate::lease::{LeaseRecord, Nonce};
    use crate::register::Version;

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    fn written(after: Option<f64>, state: LeaseState) -> Latest {
        let value = LeaseRecord {
            holder: "almaty".parse().expect("a name"),
            epoch: 5,
            state,
            previous_holder: None,
            nonce: Nonce(1),
            by: "moscow".to_owned(),
            why: None,
            at: String::new(),
        };
        let found = VersionedRecord { version: Version("1".to_owned()), value };
        let written_after = after.map(at);
        Latest {
            found,
            last_read_began: Some(at(13.0)),
            first_seen: at(13.0),
            unheld_since: None,
            written_after,
            read_after: None,
        }
    }

    /// As a node finds it that saw moscow die at 10 s and most nodes of the chain with it.
    fn alone(written: &Latest) -> Contender<'_> {
        Contender {
            written,
            dead_since: at(10.0),
            lag: Duration::from_secs(2),
            is_serving: false,
            most_are_here: false,
            granted_while_dead: false,
            last_overruled: None,
        }
    }

    #[test]
    fn a_brain_that_wrote_before_it_died_is_dead() {
        for after in [None, Some(9.0), Some(11.9)] {
            let granted = written(after, LeaseState::Granted);
            assert_eq!(alone(&granted).decide(at(14.0)), Decision::TakeOver, "{after:?}");
            let claimed = written(after, LeaseState::Claimed);
            assert_eq!(alone(&claimed).decide(at(14.0)), Decision::Wait, "{after:?}");
            let most = Contender { most_are_here: true, ..alone(&claimed) };
            assert_eq!(most.decide(at(14.0)), Decision::TakeOver, "{after:?}");
        }
    }

    #[test]
    fn a_brain_that_wrote_after_it_died_is_left_alone_for_a_time() {
        let claimed = written(Some(12.0), LeaseState::Claimed);
        assert_eq!(alone(&claimed).decide(at(14.0)), Decision::Yield(Some(at(613.0))));
        // It may have sent something before it died, but not read what was written later.
        let granted = Latest { read_after: Some(at(10.0)), ..written(Some(10.2), LeaseState::Granted) };
        assert_eq!(alone(&granted).decide(at(14.0)), Decision::Yield(Some(at(613.0))));
        let granted = Latest { read_after: Some(at(9.9)), ..granted };
        assert_eq!(alone(&granted).decide(at(14.0)), Decision::TakeOver);
        // Or its claim was waited for here.
        let granted = written(None, LeaseState::Granted);
        let granted_while_dead = Contender { granted_while_dead: true, ..alone(&granted) };
        assert_eq!(granted_while_dead.decide(at(14.0)), Decision::Yield(Some(at(613.0))));
        assert_eq!(alone(&claimed).decide(at(613.0)), Decision::Overrule, "or nothing would run if it has died");
    }

    #[test]
    fn a_brain_that_sees_most_nodes_overrules_once() {
        let claimed = written(Some(12.0), LeaseState::Claimed);
        let most = Contender { most_are_here: true, ..alone(&claimed) };
        assert_eq!(most.decide(at(14.0)), Decision::Overrule);
        let again = Contender { last_overruled: Some(at(14.0)), ..most };
        assert_eq!(again.decide(at(15.0)), Decision::Yield(Some(at(613.0))));
        let anew = Contender { last_overruled: Some(at(9.0)), ..most };
        assert_eq!(anew.decide(at(14.0)), Decision::Overrule, "it has been alive since");
    }

    #[test]
    fn a_healthy_service_is_not_moved_in_a_contention() {
        let granted = written(Some(12.0), LeaseState::Granted);
        let serving = Contender { is_serving: true, most_are_here: true, ..alone(&granted) };
        assert_eq!(serving.decide(at(9999.0)), Decision::Yield(None));
    }
}
