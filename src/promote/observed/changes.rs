//! What later looks and the steps of the promotion add to what was seen.

use super::{InstanceReport, LeaseFacts, Observed, PauseState, SecondOpinion, ServiceHealth};
use crate::clock::BootInstant;
use crate::leader::{NodeStates, State};
use crate::name::Name;
use crate::promote::outcome::{Step, StepKind, StepOutcome};
use crate::state::{Location, Placement, ServiceRecord, Uptimes};

impl Observed {
    /// Adds what a later look saw.
    pub(in crate::promote) fn add_nodes(&mut self, nodes: NodeStates, uptimes: Uptimes) {
        self.nodes.states.extend(nodes);
        self.nodes.uptimes = uptimes;
    }

    pub(in crate::promote) fn add_instance(&mut self, node: &Name, report: InstanceReport) {
        if report.health == ServiceHealth::NodeDied && self.nodes.states.contains_key(node) {
            self.nodes.states.insert(node.clone(), State::Dead);
        }
        if matches!(report.health, ServiceHealth::Healthy | ServiceHealth::Unhealthy) {
            self.done.ran_on.insert(node.clone());
        }
        self.instances.insert(node.clone(), report);
    }

    pub(in crate::promote) fn set_lease(&mut self, lease: Option<LeaseFacts>) {
        self.lease = lease;
    }

    pub(in crate::promote) fn set_pause(&mut self, pause: PauseState) {
        self.orders.pause = pause;
    }

    pub(in crate::promote) fn set_second_opinion(&mut self, opinion: SecondOpinion) {
        self.second_opinion = Some(opinion);
    }

    pub(in crate::promote) fn record_mut(&mut self) -> &mut ServiceRecord {
        &mut self.record
    }

    pub(in crate::promote) fn set_changed_claim(&mut self, reason: String) {
        self.done.changed_claim = Some(reason);
    }

    pub(in crate::promote) fn set_inhaled(&mut self, node: &Name) {
        self.done.inhaled.insert(node.clone());
    }

    /// A second look replaces what the first one saw.
    pub(in crate::promote) fn look_again(&mut self, nodes: NodeStates, uptimes: Uptimes) {
        self.add_nodes(nodes, uptimes);
        self.instances.clear();
        self.done.looked_again = true;
    }

    /// From here on the plan is for this target.
    pub(in crate::promote) fn commit(&mut self, target: Option<&Name>, previous: Option<&Name>) {
        self.done.target = target.cloned();
        self.done.previous = previous.cloned();
    }

    /// Adds a step, and what it tells of the service there.
    pub(in crate::promote) fn add_step(&mut self, step: Step) {
        let confirmed = step.outcome == StepOutcome::Confirmed;
        let health = match step.step {
            _ if step.node_died() => Some(ServiceHealth::NodeDied),
            StepKind::Stop => confirmed.then_some(ServiceHealth::Stopped),
            StepKind::Start if confirmed => Some(ServiceHealth::Healthy),
            // It may be half started.
            StepKind::Start => Some(ServiceHealth::Unhealthy),
            StepKind::Status => None,
        };
        if let Some(health) = health {
            self.add_instance(&step.node, InstanceReport::new(health));
        }
        self.done.steps.push(step);
    }

    /// Remembers where the service runs well.
    pub(in crate::promote) fn remember_running(&mut self, location: Location, since: BootInstant) {
        let node = location.node.clone();
        if self.running_on() != Some(&node) {
            let before = self.record.running_on.replace(Placement { location, since, found_stopped: false });
            let left = before.map(|placement| placement.location);
            self.record.left_behind.extend(left);
        }
        self.record.left_behind.retain(|location| location.node != node);
    }

    /// Remembers on which nodes it does not run: those that said so, and silent ones while it was seen to
    /// run on one other node alone. A node that was dead meanwhile may have been given it by another
    /// brain.
    pub(in crate::promote) fn remember_stopped(&mut self, now: BootInstant) {
        let runs_alone = self.done.ran_on.len() == 1 && self.done.ran_on.iter().all(|node| self.is_healthy(node));
        let untouched = !self.done.steps.iter().any(|step| step.step == StepKind::Start);
        for (node, report) in &self.instances {
            let was_left = self.record.left_behind.iter().any(|location| location.node == *node);
            match report.health {
                ServiceHealth::Stopped => {
                    self.record.seen_stopped.insert(node.clone(), now);
                    self.record.left_behind.retain(|location| location.node != *node);
                }
                ServiceHealth::Unknown if runs_alone && untouched && !was_left => {
                    self.record.seen_stopped.entry(node.clone()).or_insert(now);
                }
                ServiceHealth::Unknown => {}
                ServiceHealth::Healthy | ServiceHealth::Unhealthy | ServiceHealth::NodeDied => {
                    self.record.seen_stopped.remove(node);
                }
            }
        }
        let nodes = &self.nodes.states;
        self.record.seen_stopped.retain(|node, _| !matches!(nodes.get(node), Some(State::Dead | State::Unknown)));
    }

    /// What is to be remembered, and what was done.
    pub(in crate::promote) fn into_parts(self) -> (ServiceRecord, Vec<Step>) {
        (self.record, self.done.steps)
    }
}
