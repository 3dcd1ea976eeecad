//! The parts of what was seen.

use crate::lease::LeaseView;
use crate::lease::client::LeaseError;
use crate::name::Name;
use crate::pause::Paused;
use crate::service::{Cause, CommandResult, Condition};

/// The health of a service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::promote) enum ServiceHealth {
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
pub(in crate::promote) struct InstanceReport {
    /// The service's health there.
    pub health: ServiceHealth,
    /// Why that is not known.
    pub cause: Option<Cause>,
    /// The same in words.
    pub detail: Option<String>,
}

/// What is known of the service's lease.
#[derive(Clone, Debug, Default)]
pub(in crate::promote) struct LeaseFacts {
    /// What this machine knows of the register.
    pub view: LeaseView,
    /// Why the register was not read, or is not obeyed.
    pub error: Option<LeaseError>,
}

/// Whether the service is paused.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::promote) enum PauseState {
    /// Nobody has asked yet.
    Unasked,
    /// Why it is unknown.
    Unknown(String),
    /// As the switch says.
    Known(Option<Paused>),
}

/// What other nodes say of one that is dead as seen from here.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::promote) struct SecondOpinion {
    /// The node.
    pub of: Name,
    /// The first of the others that found it alive.
    pub alive_for: Option<Name>,
}

impl InstanceReport {
    /// With nothing more to say.
    pub(in crate::promote) fn new(health: ServiceHealth) -> Self {
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
