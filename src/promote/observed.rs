//! What was seen of one service: the one value that a plan is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Step, StepKind, StepOutcome};
use crate::leader::{NodeStates, State};
use crate::lease::client::LeaseError;
use crate::lease::{Latest, LeaseRecord};
use crate::name::Name;
use crate::notices::Notices;
use crate::pause::Paused;
use crate::state::{ServiceRecord, Uptimes};

mod changes;
mod facts;

pub(super) use facts::{InstanceReport, LeaseFacts, PauseState, SecondOpinion, ServiceHealth};

/// What this promotion has done so far.
#[derive(Clone, Debug, Default)]
struct Done {
    target: Option<Name>,
    previous: Option<Name>,
    steps: Vec<Step>,
    /// The nodes that said that it runs there.
    ran_on: BTreeSet<Name>,
    /// The nodes that were told to inhale ahead of a start.
    inhaled: BTreeSet<Name>,
    /// Whether it looked once more after nodes had come back.
    looked_again: bool,
    /// Whether it tries again though every node cools down.
    is_retrying: bool,
    /// What became of a rival's claim that was waited for, where it did not stay as it was.
    changed_claim: Option<String>,
}

/// What was seen of one service, and what this promotion has done so far.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    nodes: NodeFacts,
    instances: BTreeMap<Name, InstanceReport>,
    lease: Option<LeaseFacts>,
    orders: Orders,
    record: ServiceRecord,
    second_opinion: Option<SecondOpinion>,
    done: Done,
}

/// What is known of the nodes themselves.
#[derive(Clone, Debug)]
struct NodeFacts {
    states: NodeStates,
    uptimes: Uptimes,
    /// Those whose watchdogs do not work.
    not_at_work: BTreeSet<Name>,
}

/// What people have ordered.
#[derive(Clone, Debug)]
struct Orders {
    /// Whether the service is paused.
    pause: PauseState,
    /// The nodes that are drained.
    drains: Notices,
}

impl Observed {
    /// With a look at the nodes, and what is remembered.
    pub(super) fn new(states: NodeStates, record: ServiceRecord, uptimes: Uptimes) -> Self {
        Self {
            nodes: NodeFacts { states, uptimes, not_at_work: BTreeSet::new() },
            instances: BTreeMap::new(),
            lease: None,
            orders: Orders { pause: PauseState::Unasked, drains: Notices::default() },
            record,
            second_opinion: None,
            done: Done::default(),
        }
    }

    /// With the nodes that are drained.
    pub(super) fn with_drains(mut self, drains: Notices) -> Self {
        self.orders.drains = drains;
        self
    }

    /// With the nodes whose watchdogs do not work.
    pub(super) fn with_not_at_work(mut self, nodes: BTreeSet<Name>) -> Self {
        self.nodes.not_at_work = nodes;
        self
    }

    // what was seen

    pub(super) fn nodes(&self) -> &NodeStates {
        &self.nodes.states
    }

    pub(super) fn is_alive(&self, node: &Name) -> bool {
        self.nodes.states.get(node) == Some(&State::Alive)
    }

    pub(super) fn is_dead(&self, node: &Name) -> bool {
        self.nodes.states.get(node) == Some(&State::Dead)
    }

    /// The service's health on a node; none where nobody asked.
    pub(super) fn health(&self, node: &Name) -> Option<ServiceHealth> {
        self.instances.get(node).map(|report| report.health)
    }

    pub(super) fn is_healthy(&self, node: &Name) -> bool {
        self.health(node) == Some(ServiceHealth::Healthy)
    }

    pub(super) fn is_silent(&self, node: &Name) -> bool {
        self.health(node) == Some(ServiceHealth::Unknown)
    }

    /// What a node said of the service; none where nobody asked.
    pub(super) fn report(&self, node: &Name) -> Option<&InstanceReport> {
        self.instances.get(node)
    }

    /// Whether the plan may go on without a node's answer: the service was not last seen running there, and did not
    /// run there at the last full check.
    pub(super) fn is_passed_over_if_silent(&self, node: &Name) -> bool {
        self.running_on() != Some(node) && self.record.seen_stopped.contains_key(node)
    }

    /// Each node that was asked for the service, and the service's health there.
    pub(super) fn instances(&self) -> impl Iterator<Item = (&Name, ServiceHealth)> {
        self.instances.iter().map(|(node, report)| (node, report.health))
    }

    /// The nodes on which the service's health is one of these.
    pub(super) fn nodes_with(&self, wanted: &[ServiceHealth]) -> BTreeSet<Name> {
        self.instances().filter(|(_, health)| wanted.contains(health)).map(|(node, _)| node.clone()).collect()
    }

    pub(super) fn pause(&self) -> &PauseState {
        &self.orders.pause
    }

    pub(super) fn paused(&self) -> Option<&Paused> {
        if let PauseState::Known(paused) = &self.orders.pause { paused.as_ref() } else { None }
    }

    pub(super) fn record(&self) -> &ServiceRecord {
        &self.record
    }

    /// The node on which the service was last seen to run well.
    pub(super) fn running_on(&self) -> Option<&Name> {
        self.record.running_on.as_ref().map(|placement| &placement.location.node)
    }

    /// The notices of the nodes that are drained.
    pub(super) fn drains(&self) -> &Notices {
        &self.orders.drains
    }

    pub(super) fn is_drained(&self, node: &Name) -> bool {
        self.orders.drains.drain_of(node).is_some()
    }

    pub(super) fn uptimes(&self) -> &Uptimes {
        &self.nodes.uptimes
    }

    pub(super) fn not_at_work(&self) -> &BTreeSet<Name> {
        &self.nodes.not_at_work
    }

    pub(super) fn second_opinion(&self) -> Option<&SecondOpinion> {
        self.second_opinion.as_ref()
    }

    // the lease

    pub(super) fn is_leased(&self) -> bool {
        self.lease.is_some()
    }

    pub(super) fn lease_error(&self) -> Option<&LeaseError> {
        self.lease.as_ref()?.error.as_ref()
    }

    /// The newest record of the lease that is known, and what is known of its time.
    pub(super) fn lease_latest(&self) -> Option<&Latest> {
        self.lease.as_ref()?.view.seen.as_ref()
    }

    /// The newest record of the lease that is known.
    pub(super) fn lease_record(&self) -> Option<&LeaseRecord> {
        self.lease.as_ref()?.view.value()
    }

    /// The node that may run the service.
    pub(super) fn holder(&self) -> Option<&Name> {
        self.lease_record().and_then(LeaseRecord::granted_to)
    }

    /// The only node that may be running it.
    pub(super) fn last_holder(&self) -> Option<&Name> {
        self.lease_record().and_then(LeaseRecord::last_granted)
    }

    /// A claim that was not granted yet.
    pub(super) fn unfinished_claim(&self) -> Option<&LeaseRecord> {
        self.lease_record().filter(|record| record.granted_to().is_none())
    }

    // what was done

    /// The target that was acted for.
    pub(super) fn committed_target(&self) -> Option<&Name> {
        self.done.target.as_ref()
    }

    /// Whether a node was told to inhale ahead of a start.
    pub(super) fn has_inhaled(&self, node: &Name) -> bool {
        self.done.inhaled.contains(node)
    }

    /// The node that ran the service before anything was done.
    pub(super) fn committed_previous(&self) -> Option<&Name> {
        self.done.previous.as_ref()
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.done.steps
    }

    /// What became of a rival's claim that was waited for, where it did not stay as it was.
    pub(super) fn changed_claim(&self) -> Option<&str> {
        self.done.changed_claim.as_deref()
    }

    /// The node on which this promotion started the service.
    pub(super) fn started_on(&self) -> Option<&Name> {
        let mut starts = self.done.steps.iter().filter(|step| step.step == StepKind::Start);
        starts.next_back().filter(|step| step.outcome == StepOutcome::Confirmed).map(|step| &step.node)
    }

    /// The nodes on which this promotion could not start it.
    pub(super) fn failed_starts(&self) -> BTreeSet<&Name> {
        let failed = |step: &&Step| step.step == StepKind::Start && step.outcome != StepOutcome::Confirmed;
        self.done.steps.iter().filter(failed).map(|step| &step.node).collect()
    }

    /// The latest stop on a node that has not fallen since, if it was not confirmed.
    pub(super) fn unconfirmed_stop(&self, node: &Name) -> Option<&Step> {
        let latest = self.done.steps.iter().rev().find(|step| step.node == *node)?;
        (latest.step == StepKind::Stop && latest.outcome != StepOutcome::Confirmed && !latest.node_died())
            .then_some(latest)
    }

    /// Whether this promotion stopped it on another node that had said that it ran there.
    pub(super) fn has_stopped_elsewhere(&self, target: &Name) -> bool {
        let is_move =
            |step: &Step| step.step == StepKind::Stop && step.node != *target && self.done.ran_on.contains(&step.node);
        self.done.steps.iter().any(is_move)
    }

    /// Whether this promotion tries again though every node cools down.
    pub(super) fn is_retrying(&self) -> bool {
        self.done.is_retrying
    }

    pub(super) fn set_retrying(&mut self) {
        self.done.is_retrying = true;
    }

    /// Whether nodes have come back since the last check, and nobody has looked once more since.
    pub(super) fn has_come_back(&self) -> bool {
        let before = |node: &Name| self.record.nodes.get(node) == Some(&State::Dead);
        !self.done.looked_again && self.nodes.states.iter().any(|(node, state)| *state == State::Alive && before(node))
    }
}
