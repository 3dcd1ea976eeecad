//! What was seen of one service: the one value that a plan is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{Step, StepKind, StepOutcome};
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::decide::{NodeStates, State};
use crate::lease::client::LeaseError;
use crate::lease::{Latest, LeaseRecord, LeaseView};
use crate::pause::Paused;
use crate::service::Cause;
use crate::service::{CommandResult, Condition};
use crate::state::{Location, Placement, ServiceRecord, Uptimes};

/// The health of a service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceHealth {
    /// It runs.
    Healthy,
    /// `status` says that it runs, `health` that it does not work; or a start of it has just failed.
    Unhealthy,
    /// It does not run.
    Stopped,
    /// The node did not say.
    Unknown,
    /// The node fell while it was asked.
    NodeDied,
}

/// What a node said of the service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InstanceReport {
    /// The service's health there.
    pub health: ServiceHealth,
    /// Why that is not known.
    pub cause: Option<Cause>,
    /// The same in words.
    pub detail: Option<String>,
}

/// What is known of the service's lease.
#[derive(Clone, Debug, Default)]
pub(super) struct LeaseFacts {
    /// What this machine knows of the register.
    pub view: LeaseView,
    /// Why the register was not read, or is not obeyed.
    pub error: Option<LeaseError>,
}

/// Whether the service is paused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PauseState {
    /// Nobody has asked yet.
    Unasked,
    /// Why it is unknown.
    Unknown(String),
    /// As the switch says.
    Known(Option<Paused>),
}

/// What other nodes say of one that is dead as seen from here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SecondOpinion {
    /// The node.
    pub of: Name,
    /// The first of the others that found it alive.
    pub alive_for: Option<Name>,
}

/// What this promotion has done so far.
#[derive(Clone, Debug, Default)]
struct Done {
    target: Option<Name>,
    previous: Option<Name>,
    steps: Vec<Step>,
    /// The nodes that said that it runs there.
    ran_on: BTreeSet<Name>,
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
    nodes: NodeStates,
    instances: BTreeMap<Name, InstanceReport>,
    lease: Option<LeaseFacts>,
    pause: PauseState,
    record: ServiceRecord,
    uptimes: Uptimes,
    second_opinion: Option<SecondOpinion>,
    done: Done,
}

impl InstanceReport {
    /// With nothing more to say.
    pub(super) fn new(health: ServiceHealth) -> Self {
        Self { health, cause: None, detail: None }
    }
}

impl From<CommandResult> for InstanceReport {
    fn from(status: CommandResult) -> Self {
        let health = match (status.condition, status.cause) {
            (Condition::Running, _) => ServiceHealth::Healthy,
            (Condition::Stopped, _) => ServiceHealth::Stopped,
            (Condition::Unknown, Some(Cause::NodeDied)) => ServiceHealth::NodeDied,
            (Condition::Unknown, _) => ServiceHealth::Unknown,
        };
        let unknown = health == ServiceHealth::Unknown;
        Self { health, cause: status.cause.filter(|_| unknown), detail: status.detail.filter(|_| unknown) }
    }
}

impl Observed {
    /// With a look at the nodes, and what is remembered.
    pub(super) fn new(nodes: NodeStates, record: ServiceRecord, uptimes: Uptimes) -> Self {
        Self {
            nodes,
            instances: BTreeMap::new(),
            lease: None,
            pause: PauseState::Unasked,
            record,
            uptimes,
            second_opinion: None,
            done: Done::default(),
        }
    }

    // what was seen

    pub(super) fn nodes(&self) -> &NodeStates {
        &self.nodes
    }

    pub(super) fn is_alive(&self, node: &Name) -> bool {
        self.nodes.get(node) == Some(&State::Alive)
    }

    pub(super) fn is_dead(&self, node: &Name) -> bool {
        self.nodes.get(node) == Some(&State::Dead)
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

    /// Whether a node blocks nothing if it says nothing: the service was not last seen running there, and
    /// is known not to have run there at the last full check.
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
        &self.pause
    }

    pub(super) fn paused(&self) -> Option<&Paused> {
        if let PauseState::Known(paused) = &self.pause { paused.as_ref() } else { None }
    }

    pub(super) fn record(&self) -> &ServiceRecord {
        &self.record
    }

    /// The node on which the service was last seen to run well.
    pub(super) fn running_on(&self) -> Option<&Name> {
        self.record.running_on.as_ref().map(|placement| &placement.location.node)
    }

    pub(super) fn uptimes(&self) -> &Uptimes {
        &self.uptimes
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
        let starts = self.done.steps.iter().filter(|step| step.step == StepKind::Start);
        starts.last().filter(|step| step.outcome == StepOutcome::Confirmed).map(|step| &step.node)
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
        !self.done.looked_again && self.nodes.iter().any(|(node, state)| *state == State::Alive && before(node))
    }

    // what changes

    /// Adds what a later look saw.
    pub(super) fn add_nodes(&mut self, nodes: NodeStates, uptimes: Uptimes) {
        self.nodes.extend(nodes);
        self.uptimes = uptimes;
    }

    pub(super) fn add_instance(&mut self, node: &Name, report: InstanceReport) {
        if report.health == ServiceHealth::NodeDied && self.nodes.contains_key(node) {
            self.nodes.insert(node.clone(), State::Dead);
        }
        if matches!(report.health, ServiceHealth::Healthy | ServiceHealth::Unhealthy) {
            self.done.ran_on.insert(node.clone());
        }
        self.instances.insert(node.clone(), report);
    }

    pub(super) fn set_lease(&mut self, lease: Option<LeaseFacts>) {
        self.lease = lease;
    }

    pub(super) fn set_pause(&mut self, pause: PauseState) {
        self.pause = pause;
    }

    pub(super) fn set_second_opinion(&mut self, opinion: SecondOpinion) {
        self.second_opinion = Some(opinion);
    }

    pub(super) fn record_mut(&mut self) -> &mut ServiceRecord {
        &mut self.record
    }

    pub(super) fn set_changed_claim(&mut self, reason: String) {
        self.done.changed_claim = Some(reason);
    }

    /// A second look replaces what the first one saw.
    pub(super) fn look_again(&mut self, nodes: NodeStates, uptimes: Uptimes) {
        self.add_nodes(nodes, uptimes);
        self.instances.clear();
        self.done.looked_again = true;
    }

    /// From here on the plan is for this target.
    pub(super) fn commit(&mut self, target: Option<&Name>, previous: Option<&Name>) {
        self.done.target = target.cloned();
        self.done.previous = previous.cloned();
    }

    /// Adds a step, and what it tells of the service there.
    pub(super) fn add_step(&mut self, step: Step) {
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
    pub(super) fn remember_running(&mut self, location: Location, since: BootInstant) {
        let node = location.node.clone();
        if self.running_on() != Some(&node) {
            let before = self.record.running_on.replace(Placement { location, since, found_dead: false });
            let left = before.map(|placement| placement.location);
            self.record.left_behind.extend(left);
        }
        self.record.left_behind.retain(|location| location.node != node);
    }

    /// Remembers on which nodes it does not run: those that said so, and silent ones while it was seen to
    /// run on one other node alone. A node that was dead meanwhile may have been given it by another
    /// brain.
    pub(super) fn remember_stopped(&mut self, now: BootInstant) {
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
        let nodes = &self.nodes;
        self.record.seen_stopped.retain(|node, _| !matches!(nodes.get(node), Some(State::Dead | State::Unknown)));
    }

    /// What is to be remembered, and what was done.
    pub(super) fn into_parts(self) -> (ServiceRecord, Vec<Step>) {
        (self.record, self.done.steps)
    }
}
