//! Two brains that do not see each other and see the same register: one of them has to give way.
//!
//! The lease alone keeps two instances from running, however they quarrel; but each would take it
//! from the other at every check. What tells a rival from a dead brain is that its write came when it
//! was dead from here already: then the links are at fault, or this node is.

use std::time::Duration;

use super::course::ServiceRun;
use super::survey::ServiceHealth;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::decide::State;
use crate::lease::{self, Latest};

/// How long a rival is left alone when the service does not run where this node could see it: it may
/// have died since, with nobody else to tell.
const YIELD: Duration = Duration::from_secs(600);

/// What is known of the brain that wrote the lease last, and that is dead as seen from here.
#[derive(Clone, Copy, Debug)]
struct Evidence<'a> {
    /// What it wrote.
    written: &'a Latest,
    /// When the look began by which it was first found dead.
    dead_since: BootInstant,
    /// What it wrote before it died may come so much later.
    lag: Duration,
    /// Whether the service runs well where the lease is.
    well: bool,
    /// Whether most nodes of the chain are alive as seen from here.
    most: bool,
    /// Whether it granted a claim that was waited for here, when it had been dead already.
    went_on: bool,
    /// When a rival was last overruled.
    overruled: Option<BootInstant>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// It is dead, for all that is known.
    Succeed,
    /// It may be at work on its claim, and is given the time to be done.
    Wait,
    /// It lives, but most nodes are on this side.
    Overrule,
    /// It lives; until then, if it is not to be for good.
    Yield(Option<BootInstant>),
}

impl Evidence<'_> {
    /// Whoever sees fewer nodes gives way; of two that both see most of them, or both do not, the one
    /// who has overruled the other before, since the other comes to do so once too.
    fn stance(&self, now: BootInstant) -> Stance {
        // What it sent before it died may have come late; but it cannot have replaced what it had not read.
        let late = self.written.written_after.is_some_and(|after| after >= self.dead_since.plus(self.lag));
        let has_read = self.written.read_after.is_some_and(|after| after >= self.dead_since);
        let at_work = self.went_on || late || has_read;
        if !at_work {
            let unfinished = self.written.found.value.state == lease::LeaseState::Claimed;
            return if unfinished && !self.most { Stance::Wait } else { Stance::Succeed };
        }
        if self.well {
            return Stance::Yield(None);
        }
        let until = self.written.first_seen.plus(YIELD);
        // Seen alive since, it has a quarrel of its own.
        let in_this_quarrel = self.overruled.filter(|at| *at >= self.dead_since);
        let may_overrule = self.most && in_this_quarrel.is_none_or(|at| at.until(now) >= YIELD);
        if may_overrule || now >= until { Stance::Overrule } else { Stance::Yield(Some(until)) }
    }
}

impl ServiceRun<'_> {
    /// Why the lease is left to the brain that wrote it last, which is dead as seen from here; none
    /// where it is to be taken over.
    pub(super) fn left_to_a_rival(&mut self, target: &Name) -> Option<String> {
        let (rival, stance) = self.rival(target)?;
        let now = BootInstant::now();
        let rest = match stance {
            Stance::Succeed => return None,
            Stance::Wait => return self.wait_for_claim(&rival),
            Stance::Overrule => {
                self.record.overruled = Some(now);
                return None;
            }
            Stance::Yield(None) => String::new(),
            Stance::Yield(Some(until)) => {
                let left = Duration::from_secs(now.until(until).as_secs());
                format!(" Unless {rival} is seen alive, it is taken over in {}.", humantime::format_duration(left))
            }
        };
        let name = self.name;
        Some(format!(
            "{rival} is dead as seen from here, but has written the lease of {name} since it seemed to die: \
             it is left to {rival}, and nothing was touched.{rest}"
        ))
    }

    /// Gives its claim the time to be granted, unless nothing is to be done anyway; what became of it,
    /// when it is no longer there. That it was granted is remembered: the next check finds nothing else
    /// that tells.
    fn wait_for_claim(&mut self, rival: &Name) -> Option<String> {
        if self.only_looks() || self.takeover.as_mut()?.wait_for_claim() {
            return None;
        }
        let takeover = self.takeover.as_ref()?;
        let granted = takeover.value().filter(|value| value.by == rival.as_str() && value.granted_to().is_some());
        self.record.granted_by_dead = granted.map(|value| value.epoch).or(self.record.granted_by_dead);
        let now = || takeover.value().map(|value| value.summary(self.name));
        let what = takeover.doubt().map(ToString::to_string).or_else(now).unwrap_or_default();
        Some(format!("{rival}, dead as seen from here, had claimed the lease; now: {what}."))
    }

    fn rival(&self, target: &Name) -> Option<(Name, Stance)> {
        let written = self.takeover.as_ref()?.seen()?;
        let value = &written.found.value;
        let rival: Name = value.by.parse().ok()?;
        let dead = self.seen.get(&rival) == Some(&State::Dead) && self.request.local_node != Some(&rival);
        // A person's word counts for more, and what serves us as well is no quarrel.
        if self.request.to.is_some() || value.holder == *target || !dead {
            return None;
        }
        let alive = self.chain.iter().filter(|node| self.seen.get(*node) == Some(&State::Alive)).count();
        let evidence = Evidence {
            written,
            dead_since: self.uptime.dead_since(&rival).unwrap_or(self.now),
            lag: self.service.lease.map(|lease| lease.valid + lease.grace)?,
            well: value
                .granted_to()
                .is_some_and(|holder| self.health_by_node.get(holder) == Some(&ServiceHealth::Healthy)),
            most: alive * 2 > self.chain.len(),
            went_on: self.record.granted_by_dead == Some(value.epoch),
            overruled: self.record.overruled,
        };
        Some((rival, evidence.stance(BootInstant::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{LeaseRecord, Nonce, VersionedRecord};
    use crate::register::Version;

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    fn written(after: Option<f64>, state: lease::LeaseState) -> Latest {
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
    fn alone(written: &Latest) -> Evidence<'_> {
        let lag = Duration::from_secs(2);
        Evidence { written, dead_since: at(10.0), lag, well: false, most: false, went_on: false, overruled: None }
    }

    #[test]
    fn who_wrote_before_it_died_is_dead() {
        for after in [None, Some(9.0), Some(11.9)] {
            let granted = written(after, lease::LeaseState::Granted);
            assert_eq!(alone(&granted).stance(at(14.0)), Stance::Succeed, "{after:?}");
            let claimed = written(after, lease::LeaseState::Claimed);
            assert_eq!(alone(&claimed).stance(at(14.0)), Stance::Wait, "{after:?}");
            assert_eq!(Evidence { most: true, ..alone(&claimed) }.stance(at(14.0)), Stance::Succeed, "{after:?}");
        }
    }

    #[test]
    fn who_wrote_after_it_died_is_left_alone_for_a_time() {
        let claimed = written(Some(12.0), lease::LeaseState::Claimed);
        assert_eq!(alone(&claimed).stance(at(14.0)), Stance::Yield(Some(at(613.0))));
        // It may have sent something before it died, but not read what was written later.
        let granted = Latest { read_after: Some(at(10.0)), ..written(Some(10.2), lease::LeaseState::Granted) };
        assert_eq!(alone(&granted).stance(at(14.0)), Stance::Yield(Some(at(613.0))));
        let granted = Latest { read_after: Some(at(9.9)), ..granted };
        assert_eq!(alone(&granted).stance(at(14.0)), Stance::Succeed);
        // Or its claim was waited for here.
        let granted = written(None, lease::LeaseState::Granted);
        let went_on = Evidence { went_on: true, ..alone(&granted) };
        assert_eq!(went_on.stance(at(14.0)), Stance::Yield(Some(at(613.0))));
        assert_eq!(alone(&claimed).stance(at(613.0)), Stance::Overrule, "or nobody would run if it has died");
    }

    #[test]
    fn who_sees_most_nodes_overrules_once() {
        let claimed = written(Some(12.0), lease::LeaseState::Claimed);
        let most = Evidence { most: true, ..alone(&claimed) };
        assert_eq!(most.stance(at(14.0)), Stance::Overrule);
        let again = Evidence { overruled: Some(at(14.0)), ..most };
        assert_eq!(again.stance(at(15.0)), Stance::Yield(Some(at(613.0))));
        let anew = Evidence { overruled: Some(at(9.0)), ..most };
        assert_eq!(anew.stance(at(14.0)), Stance::Overrule, "it has been alive since");
    }

    #[test]
    fn what_runs_well_is_not_moved_in_a_quarrel() {
        let granted = written(Some(12.0), lease::LeaseState::Granted);
        let well = Evidence { well: true, most: true, ..alone(&granted) };
        assert_eq!(well.stance(at(9999.0)), Stance::Yield(None));
    }
}
