//! What a promotion reports: the types that are serialised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::output::{ExitStatus, HasStatus, Priority};
use crate::pause::Paused;
use crate::service::{Cause, Inhaled};

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PromoteVerdict {
    /// It runs on its target and nowhere else; nothing was touched.
    InPlace,
    /// It ran nowhere, and was started on its target.
    Started,
    /// It was stopped on another node, or that node is dead, and it was started on its target.
    Moved,
    /// It ran on its target, and was stopped elsewhere.
    StoppedElsewhere,
    /// `--dry-run`: what would be done; nothing was touched.
    Planned,
    /// There is no node to run it on: every node of the chain is dead, or the one that `--to` names.
    Refused,
    /// `--if-brain`: this node is not the brain, so nothing was looked at.
    NotBrain,
    /// It could be started on no living node.
    Failed,
    /// `mirror pause`: it is not where it belongs, and nothing was touched until `mirror resume`.
    Paused,
    /// A living node did not confirm that it stopped there, or its target did not say whether it runs
    /// there; nothing was started.
    Blocked,
    /// Another promotion of it is under way on this node.
    Busy,
    /// It could not be found out where it belongs, or whether it runs.
    Unknown,
}

impl PromoteVerdict {
    /// Whether it means that the service runs on its target.
    pub fn runs(self) -> bool {
        matches!(self, Self::InPlace | Self::Started | Self::Moved | Self::StoppedElsewhere)
    }

    /// How much it matters in a log.
    pub fn priority(self) -> Priority {
        match self {
            Self::Started | Self::Moved | Self::StoppedElsewhere => Priority::Moved,
            Self::InPlace | Self::Planned | Self::NotBrain | Self::Paused | Self::Busy => Priority::Quiet,
            Self::Refused | Self::Failed | Self::Blocked | Self::Unknown => Priority::Failed,
        }
    }
}

impl HasStatus for PromoteVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::InPlace | Self::Started | Self::Moved | Self::StoppedElsewhere | Self::Planned => ExitStatus::Yes,
            Self::Refused | Self::NotBrain | Self::Failed | Self::Paused => ExitStatus::No,
            Self::Blocked | Self::Busy | Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What makes sure that the old instance is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fencing {
    /// Nothing: an old node is dead or cut off, and said nothing.
    None,
    /// Every old node itself said that it is stopped.
    Confirmed,
    /// The lease: every old node said that it is stopped, or had to stop by itself before the lease
    /// was granted to this one.
    Lease,
}

/// One step on one node.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    /// The node.
    pub node: Name,
    /// What was done.
    pub step: StepKind,
    /// What became of it.
    pub outcome: StepOutcome,
    /// Why it did not succeed, as a slug; null when it did.
    pub cause: Option<Cause>,
    /// The same in words, where there is more to say.
    pub detail: Option<String>,
    /// How long it took, its confirmation included, in ms.
    pub elapsed_ms: f64,
}

/// What is done on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The service's `stop`, then its `status` until it is stopped.
    Stop,
    /// The service's `start`, then its `status` until it runs.
    Start,
    /// The service's `status` alone, where it was not answered.
    Status,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// `status` confirms it.
    Confirmed,
    /// `status` denies it.
    Failed,
    /// No answer came in time.
    Unconfirmed,
    /// `--dry-run`: it would be done.
    Planned,
}

impl Step {
    /// A step that was not taken, or whose end is unknown.
    pub(super) fn untaken(node: &Name, step: StepKind, outcome: StepOutcome) -> Self {
        Self { node: node.clone(), step, outcome, cause: None, detail: None, elapsed_ms: 0.0 }
    }

    /// Whether the node fell meanwhile.
    pub(super) fn node_died(&self) -> bool {
        self.cause == Some(Cause::NodeDied)
    }

    /// Why it did not succeed, in as many words as there are.
    pub(super) fn why(&self) -> &str {
        self.detail.as_deref().or(self.cause.map(Cause::slug)).unwrap_or("no answer")
    }
}

/// What became of a service's lease.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LeaseReport {
    /// The epoch before; null when the lease was never claimed or is unknown.
    pub epoch_before: Option<u64>,
    /// The node to which it was last granted before; null when it never was or that is unknown.
    pub holder_before: Option<Name>,
    /// The epoch now; null when the lease was never claimed or is unknown.
    pub epoch: Option<u64>,
    /// The node that may run the service now; null when none may, or that is unknown.
    pub holder: Option<Name>,
    /// How long the old holder's stop was waited for, in ms: until it confirmed, or until it had
    /// certainly stopped by itself.
    pub waited_ms: f64,
    /// The old holder, when it confirmed its stop; null when it did not, or did not need to.
    pub confirmed_by: Option<Name>,
}

/// A node that is passed over because a start failed there or did not last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CooldownReport {
    /// The node.
    pub node: Name,
    /// When the last start there failed: RFC 3339, UTC.
    pub since: String,
    /// Until when it is passed over: RFC 3339, UTC. `promote --to` ends it sooner.
    pub until: String,
    /// How many starts have failed there in a row.
    pub failures: u32,
    /// Why the last one failed, in words.
    pub why: String,
}

/// From where to where a service was moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Movement {
    /// The node where it belongs; null when that is not known.
    pub target: Option<Name>,
    /// The node that ran it before; null when none did, or none is known.
    pub previous: Option<Name>,
    /// What makes sure that the old instance is stopped; null when nothing was started.
    pub fencing: Option<Fencing>,
    /// What the target inhaled before the start; null where nothing was started, or without `inhale`.
    pub inhaled: Option<Inhaled>,
    /// For how long it was not seen to run well, in ms: from the last moment it was seen well to the first moment it
    /// was well again. Null where nothing was started, and where nobody had seen it run before.
    pub outage_ms: Option<f64>,
}

/// What became of one service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceOutcome {
    /// The service.
    pub service: Name,
    /// The outcome as a stable slug.
    pub verdict: PromoteVerdict,
    /// The outcome as a sentence for people.
    pub reason: String,
    /// From where to where.
    #[serde(flatten)]
    pub movement: Movement,
    /// What was done, in the order of its end.
    pub steps: Vec<Step>,
    /// What became of its lease; null where it is under none, and where nobody was asked.
    pub lease: Option<LeaseReport>,
    /// The nodes that are passed over, and until when.
    pub cooldowns: Vec<CooldownReport>,
}

impl ServiceOutcome {
    /// A promotion in which nothing was done.
    pub(crate) fn without_steps(service: &Name, verdict: PromoteVerdict, reason: String) -> Self {
        Self {
            service: service.clone(),
            verdict,
            reason,
            movement: Movement::default(),
            steps: Vec::new(),
            lease: None,
            cooldowns: Vec::new(),
        }
    }

    /// The same of a service that is paused.
    pub(super) fn while_paused(mut self, paused: &Paused, dry_run: bool) -> Self {
        let name = &self.service;
        let words = paused.words();
        (self.verdict, self.reason) = match (self.verdict, self.steps.is_empty(), &self.movement.target) {
            (PromoteVerdict::Planned, true, Some(target)) if !dry_run => {
                (PromoteVerdict::InPlace, format!("{name} runs on {target}, and is {words}."))
            }
            (PromoteVerdict::Planned, false, _) => (
                PromoteVerdict::Paused,
                format!("{name} is {words}. Nothing was touched; after `mirror resume`: {}", self.reason),
            ),
            (verdict, ..) => (verdict, format!("{} It is {words}.", self.reason)),
        };
        self
    }
}
