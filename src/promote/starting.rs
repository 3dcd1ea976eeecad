//! It is decided: stop it where it ought not to run, and start it on the first node that can.

use std::collections::BTreeSet;

use super::course::ServiceRun;
use super::survey::ServiceHealth;
use super::{Act, Fencing, Outcome, PromoteVerdict, ServiceOutcome, act, list};
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::deadline::Deadline;
use crate::decide::State;
use crate::service::{Cause, Instance};

impl ServiceRun<'_> {
    /// Starts it on the target; where that fails, on the next node of the chain, and so on.
    pub(super) fn start_on_first(&mut self, mut target: Name, previous: Option<Name>) -> ServiceOutcome {
        loop {
            let deadline = Deadline::after(self.service.timeout);
            let Some(place) = self.place(&target) else {
                return self.end(PromoteVerdict::Unknown, format!("{target} is not in the node list."), None, previous);
            };
            let step = act::start(&place, self.health(&target), deadline);
            self.say(&step);
            let (outcome, died) = (step.outcome, step.cause == Some(Cause::NodeDied));
            self.steps.push(step);
            if outcome == Outcome::Confirmed {
                return self.started(target, previous);
            }
            self.record.cooldown.insert(target.clone(), BootInstant::now());
            if self.record.on.as_ref().is_some_and(|(on, _)| *on == target) {
                self.record.on = None;
            }
            if died {
                self.note(&target, ServiceHealth::Died);
            }
            let failed: BTreeSet<Name> = (!died).then(|| target.clone()).into_iter().collect();
            let tried: BTreeSet<&Name> =
                self.steps.iter().filter(|s| s.step == Act::Start).map(|step| &step.node).collect();
            let mute =
                |node: &Name| self.takeover.is_some() && self.health_by_node.get(node) == Some(&ServiceHealth::Unknown);
            let untried = |node: &&Name| self.seen.get(*node) == Some(&State::Alive) && !tried.contains(node);
            let next = self.chain.iter().filter(untried).find(|node| !mute(node)).cloned();
            if let Some(next) = next.clone().filter(|_| self.takeover.is_some()) {
                if let Err((verdict, reason)) = self.get_lease(&next, &failed, &BTreeSet::new()) {
                    return self.end(verdict, reason, Some(next), previous);
                }
            } else if let Err(reason) = self.stop_on(&failed, false, &target, Deadline::after(self.service.timeout)) {
                return self.end(PromoteVerdict::Blocked, reason, Some(target), previous);
            }
            match next {
                Some(next) => target = next,
                None => {
                    let starts = self.steps.iter().filter(|s| s.step == Act::Start);
                    let tried: BTreeSet<&Name> = starts.map(|step| &step.node).collect();
                    let reason = format!("{} could not be started on {}.", self.name, list(tried.into_iter()));
                    return self.end(PromoteVerdict::Failed, reason, Some(target), previous);
                }
            }
        }
    }

    fn started(&mut self, target: Name, previous: Option<Name>) -> ServiceOutcome {
        self.record.cooldown.remove(&target);
        self.record.on = None;
        self.remember(&target);
        let fencing = self.fencing(&target, previous.as_ref());
        let moved = previous.as_ref().filter(|previous| **previous != target);
        let (verdict, reason) = match moved {
            Some(previous) => {
                (PromoteVerdict::Moved, format!("{} now runs on {target}; before, on {previous}.", self.name))
            }
            None => (PromoteVerdict::Started, format!("{} now runs on {target}.", self.name)),
        };
        let (verdict, reason) = match self.request.to.filter(|to| **to != target) {
            Some(to) => (
                PromoteVerdict::Failed,
                format!("{} could not be started on {to}, and now runs on {target}.", self.name),
            ),
            None => (verdict, reason),
        };
        let mut promotion = self.end(verdict, reason, Some(target), previous);
        promotion.fencing = Some(fencing);
        promotion
    }

    /// Confirmed when the node it ran on said that it is stopped; when that is not known, when all
    /// nodes of the chain said so.
    fn fencing(&self, target: &Name, previous: Option<&Name>) -> Fencing {
        if self.takeover.is_some() {
            return Fencing::Lease;
        }
        let said_stopped =
            |node: &Name| self.health_by_node.get(node) == Some(&ServiceHealth::Stopped) || node == target;
        let living = || self.chain.iter().filter(|node| self.seen.get(*node) == Some(&State::Alive));
        let confirmed = match previous {
            Some(previous) => said_stopped(previous) && living().all(said_stopped),
            None => self.chain.iter().all(said_stopped),
        };
        if confirmed { Fencing::Confirmed } else { Fencing::None }
    }

    /// Stops it on these nodes, and notes what they said. `Err` tells which living node did not
    /// confirm.
    pub(super) fn stop_on(
        &mut self,
        nodes: &BTreeSet<Name>,
        in_place: bool,
        target: &Name,
        deadline: Deadline,
    ) -> Result<(), String> {
        let places: Vec<Instance<'_>> = nodes.iter().filter_map(|node| self.place(node)).collect();
        let steps = act::stop_all(&places, deadline);
        let mut unconfirmed = Vec::new();
        for step in steps {
            self.say(&step);
            match step.outcome {
                Outcome::Confirmed => self.note(&step.node, ServiceHealth::Stopped),
                _ if step.cause == Some(Cause::NodeDied) => self.note(&step.node, ServiceHealth::Died),
                _ => {
                    let why = step.detail.as_deref().or(step.cause.map(Cause::slug)).unwrap_or("no answer");
                    unconfirmed.push(format!("{} ({why})", step.node));
                }
            }
            self.steps.push(step);
        }
        if unconfirmed.is_empty() {
            return Ok(());
        }
        let what = if in_place { format!("it runs on {target}") } else { "nothing was started".to_owned() };
        let who = unconfirmed.join(", ");
        Err(format!("{who} is alive but did not confirm that {} is stopped there; {what}.", self.name))
    }
}
