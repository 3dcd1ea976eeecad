//! `mirror lease repair`: takes a register back into service that lost what it held.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::lease_show::{lease_client, unknown};
use crate::chain::Name;
use crate::cli;
use crate::deadline::Deadline;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::{LeaseRecord, LeaseState, LeaseView};
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::register::CasOutcome;
use crate::state::StateDir;
use crate::state::history;

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseRepairVerdict {
    /// The register holds what it ought to, as far as this machine knows; nothing was written.
    Sound,
    /// A new claim was written; the next promotion waits it out and grants it.
    Repaired,
    /// A promotion of the service is under way on this node; nothing was written.
    Busy,
    /// The register cannot be read, or it is not known whether the claim was written.
    Unknown,
}

impl output::HasStatus for LeaseRepairVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Sound | Self::Repaired => ExitStatus::Yes,
            Self::Busy | Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease repair` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseRepairFacts {
    /// The service.
    pub service: Name,
    /// The epoch that the register held; null when it held nothing or cannot be read.
    pub epoch_before: Option<u64>,
    /// The latest epoch that this machine had seen it hold; null when it had seen none.
    pub epoch_seen: Option<u64>,
    /// The epoch of the new claim; null when none was written.
    pub epoch: Option<u64>,
    /// The node for which it was claimed; null when none was written.
    pub holder: Option<Name>,
}

impl output::ReportFacts for LeaseRepairFacts {
    type Verdict = LeaseRepairVerdict;
    const SCHEMA: &'static str = "mirror.lease-repair/1";

    fn text(&self, _: Style) -> String {
        String::new()
    }
}

pub(super) fn run(arguments: &cli::LeaseRepair, context: &Context) -> Result<ExitStatus> {
    let (name, service) = context.config.service(&arguments.service)?;
    let store = StateDir::open(&context.config);
    let lease_client = lease_client(context, &store, name)?;
    let mut facts =
        LeaseRepairFacts { service: name.clone(), epoch_before: None, epoch_seen: None, epoch: None, holder: None };
    let _lock = match store.lock(name) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let reason = format!("A promotion of {name} is under way on this node.");
            return Ok(context.tell(&Report { verdict: LeaseRepairVerdict::Busy, reason, facts }));
        }
        Err(error) => {
            let reason = format!("No lock can be had for {name}: {error}.");
            return Ok(context.tell(&Report { verdict: LeaseRepairVerdict::Unknown, reason, facts }));
        }
    };
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    let (local_node, why) = (context.local_node.as_ref(), arguments.why.as_deref());
    let repaired = lease_client
        .and_then(|lease_client| repair(&lease_client, &store, local_node, service.timeout, why, &mut facts));
    drop(spinner);
    let (verdict, reason) = match repaired {
        Ok(None) => {
            let seen = facts.epoch_before.map(|epoch| format!(", which has seen epoch {epoch} at the latest"));
            let reason = format!(
                "The register of {name} is sound as far as this machine knows{}; nothing was written.",
                seen.unwrap_or_default()
            );
            (LeaseRepairVerdict::Sound, reason)
        }
        Ok(Some(claim)) => {
            facts.epoch = Some(claim.epoch);
            facts.holder = Some(claim.holder.clone());
            let reason = format!(
                "The lease of {name} is claimed anew for {}, epoch {}; the next promotion waits until whoever runs it \
                 has stopped, and grants it.",
                claim.holder, claim.epoch
            );
            (LeaseRepairVerdict::Repaired, reason)
        }
        Err(doubt) => (LeaseRepairVerdict::Unknown, unknown(name, &doubt, None)),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// Claims a lease whose register is not obeyed, in an epoch later than any that is known, and as if
/// nobody knew who ran the service: so the next promotion relies on no confirmation, and waits until
/// every node has stopped by itself, whatever it had read.
fn repair(
    lease_client: &LeaseClient<'_>,
    store: &StateDir,
    local_node: Option<&Name>,
    timeout: std::time::Duration,
    why: Option<&str>,
    facts: &mut LeaseRepairFacts,
) -> Result<Option<LeaseRecord>, LeaseError> {
    let mut lease_view = store.lease_view(lease_client.service);
    let reading = lease_client.read(Deadline::after(timeout))?;
    let found = reading.found.clone();
    facts.epoch_before = found.as_ref().map(|found| found.value.epoch);
    facts.epoch_seen = lease_view.value().map(|value| value.epoch);
    match lease_view.observe(reading) {
        Ok(()) => {
            history::keep_lease_view(store, local_node, lease_client.service, &lease_view);
            return Ok(None);
        }
        Err(distrust) if lease_view.value().is_none() => return Err(distrust.into()),
        Err(_) => {}
    }
    let known = lease_view.value().into_iter().chain(found.as_ref().map(|found| &found.value));
    let Some(newest) = known.max_by_key(|value| value.epoch) else { return Ok(None) };
    let signature = lease_client.signature()?;
    let claim = LeaseRecord {
        holder: newest.holder.clone(),
        epoch: newest.epoch + 1,
        state: LeaseState::Claimed,
        previous_holder: None,
        nonce: signature.nonce,
        by: signature.by.to_owned(),
        why: Some(why.unwrap_or("repaired by hand").to_owned()),
        at: signature.at.clone(),
    };
    // What was seen before says nothing of this register any more.
    let mut anew = LeaseView::default();
    match lease_client.swap_for(found.as_ref().map(|found| &found.version), &claim, timeout) {
        CasOutcome::Won(reading) => anew.observe_own_write(reading)?,
        CasOutcome::Lost(_) => return Err(LeaseError::Unreadable("somebody else wrote to it meanwhile".to_owned())),
        CasOutcome::Unknown(fault) => return Err(fault.into()),
    }
    history::keep_lease_view(store, local_node, lease_client.service, &anew);
    Ok(Some(claim))
}
