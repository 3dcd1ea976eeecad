//! Where the service belongs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Planner;
use crate::leader::Leader;
use crate::name::{Name, list};
use crate::promote::cooldown;
use crate::promote::outcome::PromoteVerdict;
use crate::target::{self, TargetInputs};

impl<'p> Planner<'p> {
    /// The target: the one that was acted for, the one that was named, or the one that the chain gives.
    pub(super) fn target(&self) -> Result<Name, (PromoteVerdict, String)> {
        let (observed, name) = (self.observed, self.goal.name());
        let failed = observed.failed_starts();
        if let Some(committed) = observed.committed_target() {
            return if failed.contains(committed) { self.next_after(&failed) } else { Ok(committed.clone()) };
        }
        if let Some(to) = self.goal.options().to {
            if let Some(drain) = observed.drains().drain_of(to).filter(|_| !observed.is_healthy(to)) {
                let reason =
                    format!("{to} is {}; end that by mirror undrain {to}, or name another node.", drain.words());
                return Err((PromoteVerdict::Refused, reason));
            }
            return match (observed.is_alive(to), observed.is_dead(to)) {
                (true, _) => Ok(to.clone()),
                (_, true) => Err((PromoteVerdict::Refused, format!("{to} is dead; name a living node."))),
                _ => Err((PromoteVerdict::Unknown, format!("Whether {to} lives is unknown."))),
            };
        }
        if let Some(holder) = self.claimed_for() {
            return Ok(holder.clone());
        }
        // The node that ran it last, and that cannot be asked, may run it still.
        let last = if observed.is_leased() { observed.last_holder() } else { observed.running_on() };
        let is_known = |node: &Name| observed.is_alive(node) || observed.is_dead(node);
        let runs_well = self.goal.chain().iter().any(|node| observed.is_healthy(node));
        if let Some(last) = last.filter(|last| self.goal.chain().contains(last) && !is_known(last) && !runs_well) {
            return Err((PromoteVerdict::Unknown, format!("{name} ran on {last}, which could not be asked.")));
        }
        match self.by_chain() {
            Leader::Known(node) => self.unless_in_vain(node),
            Leader::Nobody => {
                let chain = &self.goal.service().chain;
                let is_drained = |node: &&Name| observed.is_alive(node) && observed.is_drained(node);
                let drained = list(self.goal.chain().iter().filter(is_drained));
                let reason = if drained.is_empty() {
                    format!("Every node of the chain {chain} is dead.")
                } else {
                    format!(
                        "{name} was started nowhere: every living node of the chain {chain} is drained ({drained})."
                    )
                };
                Err((PromoteVerdict::Refused, reason))
            }
            Leader::InDoubt(node) | Leader::Open(node) => {
                let reason = format!("Where {name} belongs is unknown: {node} could not be asked.");
                Err((PromoteVerdict::Unknown, reason))
            }
        }
    }

    /// Where the service belongs by its chain.
    pub(super) fn by_chain(&self) -> Leader<'p> {
        let observed = self.observed;
        // Under a lease it belongs nowhere but where the lease says, however well it runs.
        let is_permitted = |node: &Name| observed.lease_record().is_none() || observed.holder() == Some(node);
        let runs_well = |node: &Name| observed.is_healthy(node) && is_permitted(node);
        let remembered = observed.record().running_on.as_ref().filter(|placement| runs_well(&placement.location.node));
        let running_on = remembered.map(|placement| &placement.location.node);
        let running_on = running_on.or_else(|| self.goal.chain().iter().find(|node| runs_well(node)));
        let silent: BTreeSet<Name> = self.skippable().cloned().collect();
        let mut inputs = TargetInputs {
            runs_well_on: running_on.cloned(),
            runs_there_for: remembered.map_or(Duration::ZERO, |placement| placement.since.until(self.now.boot)),
            alive_for: observed.uptimes().alive_for(self.now.boot),
            passed_over: self.cooling().chain(&silent).cloned().collect(),
            not_at_work: observed.not_at_work().clone(),
            drained: observed.drains().drained(),
            last_ran_on: observed.running_on().cloned(),
        };
        let target = |inputs: &TargetInputs| {
            target::choose(self.goal.chain(), observed.nodes(), self.goal.service().failback, inputs)
        };
        let leader = target(&inputs);
        // Where all the others cool down, one of those is tried sooner than one that says nothing.
        if matches!(leader, Leader::Known(node) if silent.contains(node)) {
            inputs.passed_over = silent;
            return target(&inputs);
        }
        leader
    }

    fn cooling(&self) -> impl Iterator<Item = &'p Name> {
        cooldown::cooling(&self.observed.record().failures, self.now.boot).map(|(node, _)| node)
    }

    fn cools_down(&self, node: &Name) -> bool {
        cooldown::cools_down(&self.observed.record().failures, node, self.now.boot)
    }

    /// The node, unless it cools down like all others that could run the service, and the next try is
    /// not due.
    fn unless_in_vain(&self, node: &Name) -> Result<Name, (PromoteVerdict, String)> {
        let next = cooldown::next_try(&self.observed.record().failures, self.now.boot);
        match next.filter(|_| self.cools_down(node) && !self.observed.is_healthy(node)) {
            None => Ok(node.clone()),
            Some(next) => {
                let (name, next) = (self.goal.name(), self.now.rfc3339(next));
                let reason = format!("{name} can be started on no living node; it is tried again at {next}.");
                Err((PromoteVerdict::Failed, reason))
            }
        }
    }

    /// The next node to try after these starts have failed: first one that does not cool down, then,
    /// where a try is due, any other.
    fn next_after(&self, failed: &BTreeSet<&Name>) -> Result<Name, (PromoteVerdict, String)> {
        let silent: BTreeSet<&Name> = self.skippable().collect();
        let can_try = |node: &&Name| {
            let observed = self.observed;
            observed.is_alive(node) && !failed.contains(node) && !silent.contains(node) && !observed.is_drained(node)
        };
        let candidates = || self.goal.chain().iter().filter(can_try);
        let is_try_due = cooldown::next_try(&self.observed.record().failures, self.now.boot).is_none()
            || self.observed.is_retrying();
        let next = candidates().find(|node| !self.cools_down(node));
        next.or_else(|| candidates().next().filter(|_| is_try_due)).cloned().ok_or_else(|| {
            let reason = format!("{} could not be started on {}.", self.goal.name(), list(failed.iter().copied()));
            (PromoteVerdict::Failed, reason)
        })
    }
}
