//! What `mirror status` prints: the types that are serialised.

use schemars::JsonSchema;
use serde::Serialize;

use super::here::{Here, HereBeat, HereBreath, HereLease};
use crate::leader::at_work::AtWork;
use crate::name::{Name, list};
use crate::notices::Drained;
use crate::output::{ExitStatus, HasStatus};
use crate::pause::Paused;
use crate::state::Warning;
use crate::view::ReportedState;

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StatusVerdict {
    /// Every service runs once, and every node lives, works and is in step.
    Well,
    /// Something is wrong; `warnings` says what.
    Unwell,
    /// Nothing is known to be wrong, and something could not be asked.
    Unknown,
}

impl HasStatus for StatusVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Well => ExitStatus::Yes,
            Self::Unwell => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror status` prints.
#[derive(Serialize, JsonSchema)]
pub struct StatusFacts {
    /// The services, in the node list's order.
    pub services: Vec<ServiceStatus>,
    /// The nodes, in the node list's order; with --here this node alone.
    pub nodes: Vec<NodeStatus>,
    /// The brain; null when there is none or none is known.
    pub brain: Option<Name>,
    /// The breath of all nodes together; null where the list names no repository.
    pub breath: Option<BreathSummary>,
    /// What is paused, and who knows of it.
    pub pauses: Vec<PauseStatus>,
    /// The nodes that are drained, and who knows of it.
    pub drains: Vec<DrainStatus>,
    /// The nodes that are passed over for a service because a start failed there or did not last.
    pub cooldowns: Vec<CooldownStatus>,
    /// What is wrong or not known, and trouble beside the task.
    pub warnings: Vec<Warning>,
    /// The digest of the node list here.
    pub digest: String,
    /// With --here, what this node knows; else null.
    pub here: Option<Here>,
}

/// A service, as all nodes have it.
#[derive(Serialize, JsonSchema)]
pub struct ServiceStatus {
    /// The service.
    pub service: Name,
    /// Its chain.
    pub chain: Name,
    /// Whether it runs.
    pub state: ServiceState,
    /// The node on which it runs; the first where it runs on several, null when it runs on none or that is unknown.
    pub node: Option<Name>,
    /// Every node on which it runs.
    pub running_on: Vec<Name>,
    /// The living nodes of its chain that did not say whether it runs there.
    pub unknown_on: Vec<Name>,
    /// The first node of its chain that lives and is not passed over: where it belongs, if it had to be started.
    pub target: Option<Name>,
    /// Since when it runs there, by this machine's clock: RFC 3339, UTC; null when that is not known.
    pub since: Option<String>,
    /// The last check of it by the brain; null when none is known.
    pub last_check: Option<LastCheck>,
    /// Its lease as it was last seen by the nodes; null without one, and when no node said.
    pub lease: Option<LeaseStatus>,
    /// The pause that holds for it; null when it is not paused.
    pub paused: Option<Paused>,
}

/// Whether a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// On one node.
    Running,
    /// On none.
    Stopped,
    /// On more than one.
    Several,
    /// The nodes on which it may run could not be asked.
    Unknown,
}

/// A check of a service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LastCheck {
    /// The node that made it.
    pub node: Name,
    /// When it began, by this machine's clock: RFC 3339, UTC.
    pub at: String,
    /// How long ago that was when the node was asked, in ms.
    pub age_ms: f64,
    /// The trouble of the service, `blocked` or `unknown`; else the verdict of the whole check.
    pub verdict: Option<String>,
}

/// A lease, and who saw it so.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeaseStatus {
    /// As it was last seen.
    #[serde(flatten)]
    pub lease: HereLease,
    /// The node that saw it so.
    pub seen_by: Name,
    /// Whether the holder's last good read is older than it may be relied on, and it does not go on by failsafe.
    pub in_doubt: bool,
}

/// A node.
#[derive(Serialize, JsonSchema)]
pub struct NodeStatus {
    /// The node.
    pub node: Name,
    /// Its address.
    pub address: String,
    /// Whether it lives, as a probe from here saw it.
    pub state: ReportedState,
    /// Whether it said what it knows. Where it did not, all that it would have said is null or unknown.
    pub answered: bool,
    /// Why it is not alive or did not answer, as a slug; null when it is and did.
    pub cause: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// Whether its own watchdog has finished a check lately; `unasked` where it did not say.
    pub at_work: AtWork,
    /// What its last check left behind; null when there is none or it did not say.
    pub beat: Option<HereBeat>,
    /// The version of its `mirror`; null when it did not say.
    pub version: Option<String>,
    /// The digest of its node list; null when it did not say.
    pub digest: Option<String>,
    /// Whether that is the digest here; null when it did not say.
    pub digest_equal: Option<bool>,
    /// Its breath; null where the list names no repository, and when it did not say.
    pub breath: Option<HereBreath>,
    /// How far its clock is ahead of this machine's at least, in ms; negative when it is behind; null when it did
    /// not say.
    pub clock_offset_ms: Option<f64>,
}

/// The breath of all nodes together.
#[derive(Serialize, JsonSchema)]
pub struct BreathSummary {
    /// Whether all nodes that said have the same commit; null when fewer than two said.
    pub in_step: Option<bool>,
    /// The commits that there are, the most common first.
    pub heads: Vec<String>,
    /// The nodes whose last breath ended in a conflict or was refused.
    pub conflicts: Vec<Name>,
}

impl LeaseStatus {
    /// Whether the holder reads it in time.
    pub(super) fn is_well(&self) -> bool {
        !self.in_doubt && self.lease.failsafe_since.is_none()
    }

    /// In a few words.
    pub(super) fn words(&self) -> String {
        let epoch = self.lease.epoch.map_or_else(|| "vacant".to_owned(), |epoch| format!("epoch {epoch}"));
        match self.in_doubt {
            _ if self.lease.failsafe_since.is_some() => format!("{epoch}, failsafe"),
            true => format!("{epoch}, in doubt"),
            false => epoch,
        }
    }
}

/// A pause, and who knows of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PauseStatus {
    /// The pause.
    #[serde(flatten)]
    pub paused: Paused,
    /// The nodes that know of it.
    pub seen_by: Vec<Name>,
}

impl PauseStatus {
    /// What is paused, why, until when, and who knows.
    pub(super) fn sentence(&self) -> String {
        let what = crate::commands::pause::what(&self.paused);
        format!("{what}, {}; known to {}", self.paused.words(), list(&self.seen_by))
    }
}

/// A drained node, and who knows of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DrainStatus {
    /// The node, and who drained it.
    #[serde(flatten)]
    pub drained: Drained,
    /// The nodes that know of it.
    pub seen_by: Vec<Name>,
}

impl DrainStatus {
    /// Which node, since when, why, and who knows.
    pub(super) fn sentence(&self) -> String {
        format!("{}, {}; known to {}", self.drained.node, self.drained.words(), list(&self.seen_by))
    }
}

/// A node that is passed over for a service.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CooldownStatus {
    /// The service.
    pub service: Name,
    /// The node that is passed over.
    pub node: Name,
    /// When the last start there failed: RFC 3339, UTC.
    pub since: String,
    /// Until when it is passed over: RFC 3339, UTC.
    pub until: String,
    /// How many starts have failed there in a row.
    pub failures: u32,
    /// Why the last one failed, in words.
    pub why: String,
}
