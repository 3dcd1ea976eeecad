//! What a lease adds to the plan: a node that is not heard from is not waited for longer than the
//! lease says, and nothing is started before it is granted.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Action, Plan, Planner};
use crate::name::{Name, list};
use crate::promote::contention::{Contender, Decision};
use crate::promote::cooldown;
use crate::promote::observed::ServiceHealth;
use crate::promote::outcome::PromoteVerdict;

impl<'p> Planner<'p> {
    /// Why nothing is touched: what the lease says is not known.
    pub(super) fn lease_unknown(&self) -> Option<String> {
        let error = self.observed.lease_error()?;
        let name = self.goal.name();
        let runs = self.observed.nodes_with(&[ServiceHealth::Healthy]);
        let mut healths = self.observed.instances().map(|(_, health)| health).peekable();
        let stopped = healths.peek().is_some() && healths.all(|health| health == ServiceHealth::Stopped);
        let lease = match (runs.is_empty(), stopped) {
            (true, true) => format!("{name} runs on no living node, and its lease"),
            (true, false) => format!("The lease of {name}"),
            (false, _) => format!("{name} runs on {}, but its lease", list(&runs)),
        };
        let remedy = error.remedy(name).map(|remedy| format!("; {remedy}")).unwrap_or_default();
        Some(format!("{lease} is unknown: {error}; nothing was touched{remedy}."))
    }

    /// The node of a claim that was never granted, for example because its brain died: the takeover is completed for
    /// that node, as long as it can run the service.
    pub(super) fn claimed_for(&self) -> Option<&'p Name> {
        let observed = self.observed;
        let holder = &observed.unfinished_claim()?.holder;
        let can_run = observed.is_alive(holder) && !observed.is_silent(holder);
        let cools_down = cooldown::cools_down(&observed.record().failures, holder, self.now.boot);
        let is_drained = observed.is_drained(holder);
        (self.goal.chain().contains(holder) && can_run && !cools_down && !is_drained).then_some(holder)
    }

    pub(super) fn under_lease(&self, target: Name) -> Plan {
        let observed = self.observed;
        if observed.is_silent(&target) {
            return self.silent_target(target);
        }
        let holds = observed.holder() == Some(&target);
        let in_place = holds && observed.is_healthy(&target);
        let mut running = observed.nodes_with(&[ServiceHealth::Healthy, ServiceHealth::Unhealthy]);
        // An instance that runs on the target without the lease was started under none, or another
        // epoch: it is started anew.
        if in_place {
            running.remove(&target);
        }
        let overrules = match self.left_to_rival(&target) {
            Ok(overrules) => overrules,
            Err(plan) => return plan,
        };
        if !holds {
            return self.take_over(target, running, overrules);
        }
        if let Some(reason) = self.unconfirmed(&running, in_place.then_some(&target)) {
            return self.end(PromoteVerdict::Blocked, reason, Some(target));
        }
        self.stop_and_start(target, running, in_place)
    }

    fn take_over(&self, target: Name, running: BTreeSet<Name>, overrules: bool) -> Plan {
        // From before there was a lease it may run anywhere, without regard to any.
        let never_leased = self.observed.lease_record().is_none();
        let mut possible =
            if never_leased { self.observed.nodes_with(&[ServiceHealth::Unknown]) } else { BTreeSet::new() };
        possible.remove(&target);
        let stops = running.union(&possible).cloned().collect();
        let reason = self.planned(&target, &stops, false) + &self.planned_grant(&target);
        let acquire = Action::Acquire { target: target.clone(), why: self.why(&target), running, possible, overrules };
        let start = Action::Start(target.clone());
        self.act(self.inhale_ahead(&target).into_iter().chain([acquire, start]).collect(), reason, Some(target))
    }

    /// How the lease would come to the target, for people.
    fn planned_grant(&self, target: &Name) -> String {
        let Some(lease) = self.goal.service().lease else { return String::new() };
        let epoch = match self.observed.lease_record() {
            Some(record) if record.holder == *target => record.epoch,
            Some(record) => record.epoch + 1,
            None => 1,
        };
        let wait = humantime::format_duration(lease.wait());
        let until = match self.observed.last_holder() {
            Some(holder) if holder == target => "at once".to_owned(),
            Some(holder) => format!("when {holder} has confirmed its stop, at the latest {wait} after the claim"),
            None => format!("{wait} after the claim"),
        };
        format!(" Its lease would be granted to {target}, epoch {epoch}, {until}.")
    }

    /// Why the lease goes to another node, for its history.
    fn why(&self, target: &Name) -> String {
        let observed = self.observed;
        let claim = observed.unfinished_claim().filter(|claim| claim.holder == *target);
        if let Some(why) = self.goal.options().why.or(claim.and_then(|claim| claim.why.as_deref())) {
            return why.to_owned();
        }
        let Some(holder) = observed.last_holder() else { return "the first".to_owned() };
        if holder == target {
            return format!("back to {holder}");
        }
        match (observed.is_alive(holder), observed.is_dead(holder), observed.health(holder)) {
            (_, true, _) => format!("{holder} is dead"),
            (true, _, Some(ServiceHealth::Unknown)) => format!("{holder} says nothing"),
            (true, _, Some(ServiceHealth::Stopped | ServiceHealth::Unhealthy)) => {
                format!("it did not run on {holder}")
            }
            (true, ..) if self.goal.options().to.is_some() => "by hand".to_owned(),
            (true, ..) if observed.is_drained(holder) => format!("{holder} is drained"),
            (true, ..) => format!("{target} comes before {holder}"),
            _ => format!("{holder} is not known to live"),
        }
    }

    /// Whether a rival is overruled, or the plan by which the lease is left to the brain that wrote it
    /// last and is dead as seen from here.
    fn left_to_rival(&self, target: &Name) -> Result<bool, Plan> {
        // What was decided once stands.
        if self.observed.committed_target().is_some() {
            return Ok(false);
        }
        let Some((rival, decision)) = self.rival(target) else { return Ok(false) };
        let name = self.goal.name();
        let rest = match decision {
            Decision::TakeOver => return Ok(false),
            Decision::Overrule => return Ok(true),
            Decision::Wait if self.only_looks() => return Ok(false),
            Decision::Wait => {
                return Err(self.act(vec![Action::WaitForClaim { rival }], String::new(), Some(target.clone())));
            }
            Decision::Yield(None) => String::new(),
            Decision::Yield(Some(until)) => {
                let left = Duration::from_secs(self.now.boot.until(until).as_secs());
                format!(" Unless {rival} is seen alive, it is taken over in {}.", humantime::format_duration(left))
            }
        };
        let reason = format!(
            "{rival} is dead as seen from here, but has written the lease of {name} since it seemed to die: \
             it is left to {rival}, and nothing was touched.{rest}"
        );
        Err(self.end(PromoteVerdict::Unknown, reason, Some(target.clone())))
    }

    /// The brain that wrote the lease last, if it is dead as seen from here, and what to do about it.
    fn rival(&self, target: &Name) -> Option<(Name, Decision)> {
        let observed = self.observed;
        let written = observed.lease_latest()?;
        let record = &written.found.value;
        let rival: Name = record.by.parse().ok()?;
        let is_other = observed.is_dead(&rival) && self.goal.local_node() != Some(&rival);
        // A person's word counts for more, and a lease that serves this brain as well is no contention.
        if self.goal.options().to.is_some() || record.holder == *target || !is_other {
            return None;
        }
        let alive = self.goal.chain().iter().filter(|node| observed.is_alive(node)).count();
        let contender = Contender {
            written,
            dead_since: observed.uptimes().dead_since(&rival).unwrap_or(self.now.boot),
            lag: self.goal.service().lease.map(|lease| lease.wait())?,
            is_serving: record.granted_to().is_some_and(|holder| observed.is_healthy(holder)),
            most_are_here: alive * 2 > self.goal.chain().len(),
            granted_while_dead: observed.record().contention.granted_by_dead == Some(record.epoch),
            last_overruled: observed.record().contention.overruled,
        };
        Some((rival, contender.decide(self.now.boot)))
    }
}
