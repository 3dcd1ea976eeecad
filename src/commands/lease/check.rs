//! `mirror lease check`: may this node run the service now?

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Context;
use super::{open_client, unknown};
use crate::cli;
use crate::clock::{BootInstant, Deadline};
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::{LeaseState, LeaseView, Permit, stored};
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Style};
use crate::state::StateDir;
use crate::usage_error::UsageError;

/// Whether this node may run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseCheckVerdict {
    /// The lease is granted to this node: it may.
    #[serde(rename = "self")]
    Own,
    /// The lease is granted to another node.
    Other,
    /// A takeover is under way, or was left unfinished: nobody may.
    Claimed,
    /// The lease was never claimed: nobody may.
    Vacant,
    /// The register cannot be read in time, or must not be obeyed: it may not.
    Unknown,
}

impl output::HasStatus for LeaseCheckVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Own => ExitStatus::Yes,
            Self::Other | Self::Claimed | Self::Vacant => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease check` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseCheckFacts {
    /// The service.
    pub service: Name,
    /// The node that the lease names; null when it names none or is unknown.
    pub holder: Option<Name>,
    /// The epoch; null when the lease was never claimed or is unknown.
    pub epoch: Option<u64>,
    /// How far the takeover has come; null when the lease was never claimed or is unknown.
    pub state: Option<LeaseState>,
    /// For how long this node may still rely on the answer, in ms; null when it may not run it.
    pub valid_for_ms: Option<f64>,
}

impl output::ReportFacts for LeaseCheckFacts {
    type Verdict = LeaseCheckVerdict;
    const SCHEMA: &'static str = "mirror.lease-check/1";

    fn text(&self, _: Style) -> String {
        String::new()
    }
}

pub(in crate::commands) fn run(arguments: &cli::LeaseCheck, context: &Context) -> Result<ExitStatus> {
    let (service, _) = context.config.service(&arguments.service)?;
    let Some(local_node) = &context.local_node else {
        let file = context.config.file.display();
        return Err(UsageError::new(format!("{file}: this machine is no node of the list; name the node with --self")));
    };
    let state_dir = StateDir::open(&context.config);
    let mut lease_view = stored::load(&state_dir, service);
    let checked = open_client(context, &state_dir, service)?
        .and_then(|client| read_permit(&client, &state_dir, &mut lease_view, local_node));
    let record = checked.as_ref().ok().and_then(|_| lease_view.value());
    let permit = checked.as_ref().ok().copied().flatten();
    let (verdict, reason) = match (&checked, record, permit) {
        (Err(error), ..) => (LeaseCheckVerdict::Unknown, unknown(service, error, lease_view.value())),
        (Ok(_), None, _) => (LeaseCheckVerdict::Vacant, format!("The lease of {service} was never claimed.")),
        (Ok(_), Some(_), Some(permit)) => {
            (LeaseCheckVerdict::Own, format!("This node may run {service} in epoch {}.", permit.epoch))
        }
        (Ok(_), Some(record), None) => match (record.state, &record.holder) {
            (LeaseState::Claimed, holder) => (
                LeaseCheckVerdict::Claimed,
                format!("The lease of {service} is claimed for {holder}, and granted to no node."),
            ),
            (LeaseState::Granted, holder) if holder == local_node => {
                (LeaseCheckVerdict::Unknown, format!("The register answered too late; {service} may not run."))
            }
            (LeaseState::Granted, holder) => {
                (LeaseCheckVerdict::Other, format!("{holder} holds the lease of {service}."))
            }
        },
    };
    let facts = LeaseCheckFacts {
        service: service.clone(),
        holder: record.and_then(|record| record.granted_to().cloned()),
        epoch: record.map(|record| record.epoch),
        state: record.map(|record| record.state),
        valid_for_ms: permit.map(|permit| output::millis(BootInstant::now().until(permit.until))),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// The permit that one read gives. Earlier reads only tell whether the register may be obeyed.
fn read_permit(
    client: &LeaseClient<'_>,
    state_dir: &StateDir,
    lease_view: &mut LeaseView,
    local_node: &Name,
) -> Result<Option<Permit>, LeaseError> {
    let observation = client.read(Deadline::after(client.lease.check_timeout()))?;
    let mut this_read = LeaseView::default();
    this_read.observe(observation.clone())?;
    lease_view.observe(observation)?;
    stored::keep(state_dir, Some(local_node), client.service, lease_view);
    // Another process on this machine may know of a later record, which ends this permit.
    let is_latest = lease_view.value() == this_read.value();
    Ok(this_read.permit(local_node, BootInstant::now(), &client.params()).filter(|_| is_latest))
}
