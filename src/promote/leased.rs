//! What is particular to a service that is under a lease: nobody is waited for longer than the lease
//! says, and nothing is started before it is granted.

use std::collections::BTreeSet;

use super::course::Course;
use super::survey::Fare;
use super::tenure::{Ended, Refusal, Tenure};
use super::{Outcome, Promotion, Verdict, list};
use crate::chain::Name;
use crate::deadline::Deadline;
use crate::decide::State;
use crate::service::{DIED, Place};

impl<'a> Course<'a> {
    /// Why nothing is touched: what the lease says is not known.
    pub(super) fn lease_in_doubt(&self) -> Option<String> {
        let doubt = self.tenure.as_ref()?.doubt()?;
        let name = self.name;
        let runs: Vec<&Name> = self.fares.iter().filter(|(_, fare)| **fare == Fare::Well).map(|(n, _)| n).collect();
        let stopped = !self.fares.is_empty() && self.fares.values().all(|fare| *fare == Fare::Stopped);
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
        let counts = self.tenure.is_some();
        self.fares.iter().filter(move |(_, fare)| counts && **fare == Fare::Unknown).map(|(node, _)| node)
    }

    /// It is decided; now the target gets the lease, and the service.
    pub(super) fn under_lease(&mut self, target: Name, previous: Option<Name>, deadline: Deadline) -> Promotion {
        if self.fares.get(&target) == Some(&Fare::Unknown) {
            let reason =
                format!("{target} is alive but did not say whether {} runs there; nothing was started.", self.name);
            return self.end(Verdict::Blocked, reason, Some(target), previous);
        }
        let holds = self.tenure.as_ref().is_some_and(|tenure| tenure.holder() == Some(&target));
        let never = self.tenure.as_ref().is_some_and(|tenure| tenure.value().is_none());
        let in_place = holds && self.fares.get(&target) == Some(&Fare::Well);
        let pick = |wanted: &dyn Fn(&Name, Fare) -> bool| -> BTreeSet<Name> {
            self.fares.iter().filter(|(node, fare)| wanted(node, **fare)).map(|(node, _)| node.clone()).collect()
        };
        // An instance that runs on the target without the lease was started under none, or another
        // epoch: it is started anew.
        let running = pick(&|node, fare| match fare {
            Fare::Well => *node != target || !holds,
            Fare::Unwell => true,
            Fare::Unknown | Fare::Stopped | Fare::Died => false,
        });
        // From before there was a lease it may run anywhere, and obeys none.
        let others = pick(&|node, fare| never && fare == Fare::Unknown && *node != target);
        if let Some(reason) = self.left_to_a_rival(&target) {
            return self.end(Verdict::Unknown, reason, Some(target), previous);
        }
        if self.only_looks() {
            let plan = self.tenure.as_ref().map(|tenure| tenure.plan(&target)).unwrap_or_default();
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
                return self.end(Verdict::Blocked, reason, Some(target), previous);
            }
            self.remember(&target);
            let reason = format!("{} runs on {target}, and was stopped elsewhere.", self.name);
            return self.end(Verdict::StoppedElsewhere, reason, Some(target), previous);
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
    ) -> Result<(), (Verdict, String)> {
        if self.tenure.as_ref().is_some_and(|tenure| tenure.holder() == Some(target)) {
            let deadline = Deadline::after(self.service.timeout);
            return self.stop_on(running, false, target, deadline).map_err(|reason| (Verdict::Blocked, reason));
        }
        let why = self.why(target);
        let Some(mut tenure) = self.tenure.take() else { return Ok(()) };
        let (config, remote, title, service) = (self.order.config, self.remote, self.name, self.service);
        let place = |node: &Name| {
            let (name, node) = config.nodes.get_key_value(node)?;
            Some(Place { remote, title, service, name, node })
        };
        // A node that is known to be dead is not asked; that of the last lease need not be in the chain.
        let living = |node: &Name| place(node).filter(|_| self.seen.get(node) != Some(&State::Dead));
        let places = |nodes: &BTreeSet<Name>| nodes.iter().filter_map(place).collect();
        let mut ended = Ended::default();
        let acquired = tenure.acquire(target, Some(&why), places(running), places(others), living, &mut ended);
        self.tenure = Some(tenure);
        for step in ended.steps {
            if step.outcome == Outcome::Confirmed {
                self.note(&step.node, Fare::Stopped);
            } else if step.cause.as_deref() == Some(DIED) {
                self.note(&step.node, Fare::Died);
            }
            self.steps.push(step);
        }
        acquired.map_err(|refusal| match refusal {
            Refusal::Unknown(why) => (Verdict::Unknown, format!("{why} Nothing was started.")),
            Refusal::Running(node) => (
                Verdict::Blocked,
                format!("{} still runs on {node}, though its lease has ended; nothing was started.", self.name),
            ),
        })
    }

    /// Why the lease goes to another node, for whoever reads its history.
    fn why(&self, target: &Name) -> String {
        let claim = self.tenure.as_ref().and_then(Tenure::unfinished);
        let claimed = claim.filter(|claim| claim.holder == *target).and_then(|claim| claim.why.as_deref());
        if let Some(why) = self.order.why.or(claimed) {
            return why.to_owned();
        }
        let was = self.tenure.as_ref().and_then(|tenure| tenure.last_holder());
        match was.map(|was| (was, self.seen.get(was), self.fares.get(was))) {
            None => "the first".to_owned(),
            Some((was, ..)) if was == target => format!("back to {was}"),
            Some((was, Some(State::Dead), _)) => format!("{was} is dead"),
            Some((was, Some(State::Alive), Some(Fare::Unknown))) => format!("{was} says nothing"),
            Some((was, Some(State::Alive), Some(Fare::Stopped | Fare::Unwell))) => format!("it did not run on {was}"),
            Some((_, Some(State::Alive), _)) if self.order.to.is_some() => "by hand".to_owned(),
            Some((was, Some(State::Alive), _)) => format!("{target} comes before {was}"),
            Some((was, ..)) => format!("{was} is not known to live"),
        }
    }
}
