//! What is particular to a service that is under a lease: nobody is waited for longer than the lease
//! says, and nothing is started before it is granted.

use std::collections::BTreeSet;

use super::course::ServiceRun;
use super::survey::ServiceHealth;
use super::tenure::{Ended, Refusal, Takeover};
use super::{Outcome, PromoteVerdict, ServiceOutcome, list};
use crate::chain::Name;
use crate::deadline::Deadline;
use crate::decide::State;
use crate::service::{Cause, Instance};

impl<'a> ServiceRun<'a> {
    /// Why nothing is touched: what the lease says is not known.
    pub(super) fn lease_in_doubt(&self) -> Option<String> {
        let doubt = self.takeover.as_ref()?.doubt()?;
        let name = self.name;
        let runs: Vec<&Name> = self
            .health_by_node
            .iter()
            .filter(|(_, service_health)| **service_health == ServiceHealth::Healthy)
            .map(|(n, _)| n)
            .collect();
        let stopped = !self.health_by_node.is_empty()
            && self.health_by_node.values().all(|service_health| *service_health == ServiceHealth::Stopped);
        let lease = match runs.as_slice() {
            [] if stopped => format!("{name} runs on no living node, and its lease"),
            [] => format!("The lease of {name}"),
            _ => format!("{name} runs on {}, but its lease", list(runs.into_iter())),
        };
        let remedy = doubt.remedy(name).map(|remedy| format!("; {remedy}")).unwrap_or_default();
        Some(format!("{lease} is unknown: {doubt}; nothing was touched{remedy}."))
    }

    /// The nodes that live and did not say how the service fares there. Under a lease that keeps
    /// nobody: the service goes to a node that speaks.
    pub(super) fn silent(&self) -> impl Iterator<Item = &Name> {
        let counts = self.takeover.is_some();
        self.health_by_node
            .iter()
            .filter(move |(_, service_health)| counts && **service_health == ServiceHealth::Unknown)
            .map(|(node, _)| node)
    }

    /// It is decided; now the target gets the lease, and the service.
    pub(super) fn under_lease(&mut self, target: Name, previous: Option<Name>, deadline: Deadline) -> ServiceOutcome {
        if self.health_by_node.get(&target) == Some(&ServiceHealth::Unknown) {
            let reason =
                format!("{target} is alive but did not say whether {} runs there; nothing was started.", self.name);
            return self.end(PromoteVerdict::Blocked, reason, Some(target), previous);
        }
        let holds = self.takeover.as_ref().is_some_and(|takeover| takeover.holder() == Some(&target));
        let never = self.takeover.as_ref().is_some_and(|takeover| takeover.value().is_none());
        let in_place = holds && self.health_by_node.get(&target) == Some(&ServiceHealth::Healthy);
        let pick = |wanted: &dyn Fn(&Name, ServiceHealth) -> bool| -> BTreeSet<Name> {
            self.health_by_node
                .iter()
                .filter(|(node, service_health)| wanted(node, **service_health))
                .map(|(node, _)| node.clone())
                .collect()
        };
        // An instance that runs on the target without the lease was started under none, or another
        // epoch: it is started anew.
        let running = pick(&|node, service_health| match service_health {
            ServiceHealth::Healthy => *node != target || !holds,
            ServiceHealth::Unhealthy => true,
            ServiceHealth::Unknown | ServiceHealth::Stopped | ServiceHealth::Died => false,
        });
        // From before there was a lease it may run anywhere, and obeys none.
        let others = pick(&|node, service_health| never && service_health == ServiceHealth::Unknown && *node != target);
        if let Some(reason) = self.left_to_a_rival(&target) {
            return self.end(PromoteVerdict::Unknown, reason, Some(target), previous);
        }
        if self.only_looks() {
            let plan = self.takeover.as_ref().map(|takeover| takeover.plan(&target)).unwrap_or_default();
            let strays: BTreeSet<Name> = running.union(&others).cloned().collect();
            let mut promotion = self.plan(target, &strays, in_place, previous);
            promotion.reason += &plan;
            return promotion;
        }
        if in_place && running.is_empty() {
            return self.in_place(&target);
        }
        if in_place {
            if let Err(reason) = self.stop_on(&running, true, &target, deadline) {
                self.record.swept = None;
                return self.end(PromoteVerdict::Blocked, reason, Some(target), previous);
            }
            self.remember(&target);
            let reason = format!("{} runs on {target}, and was stopped elsewhere.", self.name);
            return self.end(PromoteVerdict::StoppedElsewhere, reason, Some(target), previous);
        }
        if let Err((verdict, reason)) = self.get_lease(&target, &running, &others) {
            // What is unfinished is gone on with at the next check.
            self.record.swept = None;
            return self.end(verdict, reason, Some(target), previous);
        }
        self.start_on_first(target, previous)
    }

    /// Gets the lease for a node, and has the service stopped on all others.
    pub(super) fn get_lease(
        &mut self,
        target: &Name,
        running: &BTreeSet<Name>,
        others: &BTreeSet<Name>,
    ) -> Result<(), (PromoteVerdict, String)> {
        if self.takeover.as_ref().is_some_and(|takeover| takeover.holder() == Some(target)) {
            let deadline = Deadline::after(self.service.timeout);
            return self.stop_on(running, false, target, deadline).map_err(|reason| (PromoteVerdict::Blocked, reason));
        }
        let why = self.why(target);
        let Some(mut takeover) = self.takeover.take() else { return Ok(()) };
        let (config, remote, title, service) = (self.request.config, self.remote, self.name, self.service);
        let place = |node: &Name| {
            let (name, node) = config.nodes.get_key_value(node)?;
            Some(Instance { remote, title, service, name, node })
        };
        // A node that is known to be dead is not asked; that of the last lease need not be in the chain.
        let living = |node: &Name| place(node).filter(|_| self.seen.get(node) != Some(&State::Dead));
        let places = |nodes: &BTreeSet<Name>| nodes.iter().filter_map(place).collect();
        let mut ended = Ended::default();
        let acquired = takeover.acquire(target, Some(&why), places(running), places(others), living, &mut ended);
        self.takeover = Some(takeover);
        for step in ended.steps {
            if step.outcome == Outcome::Confirmed {
                self.note(&step.node, ServiceHealth::Stopped);
            } else if step.cause == Some(Cause::NodeDied) {
                self.note(&step.node, ServiceHealth::Died);
            }
            self.steps.push(step);
        }
        acquired.map_err(|refusal| match refusal {
            Refusal::Unknown(why) => (PromoteVerdict::Unknown, format!("{why} Nothing was started.")),
            Refusal::Running(node) => (
                PromoteVerdict::Blocked,
                format!("{} still runs on {node}, though its lease has ended; nothing was started.", self.name),
            ),
        })
    }

    /// Why the lease goes to another node, for whoever reads its history.
    fn why(&self, target: &Name) -> String {
        let claim = self.takeover.as_ref().and_then(Takeover::unfinished);
        let claimed = claim.filter(|claim| claim.holder == *target).and_then(|claim| claim.why.as_deref());
        if let Some(why) = self.request.why.or(claimed) {
            return why.to_owned();
        }
        let was = self.takeover.as_ref().and_then(|takeover| takeover.last_holder());
        match was.map(|was| (was, self.seen.get(was), self.health_by_node.get(was))) {
            None => "the first".to_owned(),
            Some((was, ..)) if was == target => format!("back to {was}"),
            Some((was, Some(State::Dead), _)) => format!("{was} is dead"),
            Some((was, Some(State::Alive), Some(ServiceHealth::Unknown))) => format!("{was} says nothing"),
            Some((was, Some(State::Alive), Some(ServiceHealth::Stopped | ServiceHealth::Unhealthy))) => {
                format!("it did not run on {was}")
            }
            Some((_, Some(State::Alive), _)) if self.request.to.is_some() => "by hand".to_owned(),
            Some((was, Some(State::Alive), _)) => format!("{target} comes before {was}"),
            Some((was, ..)) => format!("{was} is not known to live"),
        }
    }
}
