//! `mirror lease repair`: takes a register back into service after it lost content.

use std::time::Duration;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Context;
use super::{open_client, unknown};
use crate::cli;
use crate::clock::Deadline;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::codec::SwapOutcome;
use crate::lease::{LeaseRecord, LeaseView, stored, takeover};
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::state::StateDir;

/// The outcome of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseRepairVerdict {
    /// The register has lost nothing, as far as this machine knows; nothing was written.
    Sound,
    /// A new claim was written; the next promotion waits `valid + grace` and grants it.
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
    /// The epoch in the register; null when it was empty or cannot be read.
    pub epoch_before: Option<u64>,
    /// The latest epoch that this machine had seen before; null when it had seen none.
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

pub(in crate::commands) fn run(arguments: &cli::LeaseRepair, context: &Context) -> Result<ExitStatus> {
    let (name, service) = context.config.service(&arguments.service)?;
    let state_dir = StateDir::open(&context.config);
    let client = open_client(context, &state_dir, name)?;
    let mut facts =
        LeaseRepairFacts { service: name.clone(), epoch_before: None, epoch_seen: None, epoch: None, holder: None };
    let _lock = match state_dir.lock(name) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let reason = format!("A promotion of {name} is in progress on this node.");
            return Ok(context.tell(&Report { verdict: LeaseRepairVerdict::Busy, reason, facts }));
        }
        Err(error) => {
            let reason = format!("{name} cannot be locked: {error}.");
            return Ok(context.tell(&Report { verdict: LeaseRepairVerdict::Unknown, reason, facts }));
        }
    };
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    let repaired = client.and_then(|client| {
        let why = arguments.why.as_deref().unwrap_or("repaired by hand");
        let repair = Repair { client, state_dir: &state_dir, local_node: context.local_node.as_ref(), why };
        repair.run(service.timeout, &mut facts)
    });
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
                "The lease of {name} is claimed anew for {}, epoch {}; the next promotion waits until every node has \
                 stopped it, and grants the lease.",
                claim.holder, claim.epoch
            );
            (LeaseRepairVerdict::Repaired, reason)
        }
        Err(error) => (LeaseRepairVerdict::Unknown, unknown(name, &error, None)),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

struct Repair<'a> {
    client: LeaseClient<'a>,
    state_dir: &'a StateDir,
    local_node: Option<&'a Name>,
    why: &'a str,
}

impl Repair<'_> {
    /// Claims the lease if its register went back; returns the claim.
    fn run(&self, timeout: Duration, facts: &mut LeaseRepairFacts) -> Result<Option<LeaseRecord>, LeaseError> {
        let mut lease_view = stored::load(self.state_dir, self.client.service);
        let observation = self.client.read(Deadline::after(timeout))?;
        let found = observation.found.clone();
        facts.epoch_before = found.as_ref().map(|found| found.value.epoch);
        facts.epoch_seen = lease_view.value().map(|record| record.epoch);
        if lease_view.observe(observation).is_ok() {
            self.keep(&lease_view);
            return Ok(None);
        }
        let signature = self.client.signature()?;
        let claim = takeover::repair_claim(
            lease_view.value(),
            found.as_ref().map(|found| &found.value),
            signature.by,
            self.why,
            (&signature.at, signature.nonce),
        );
        let Some(claim) = claim else { return Ok(None) };
        // The old view describes content that the register no longer has.
        let mut new_view = LeaseView::default();
        match self.client.swap_version(found.as_ref().map(|found| &found.version), &claim, timeout) {
            SwapOutcome::Won(written) => new_view.observe_own_write(written)?,
            SwapOutcome::Lost(_) => {
                return Err(LeaseError::Unreadable("another process wrote to the register meanwhile".to_owned()));
            }
            SwapOutcome::Unknown(error) => return Err(error.into()),
        }
        self.keep(&new_view);
        Ok(Some(claim))
    }

    fn keep(&self, lease_view: &LeaseView) {
        stored::keep(self.state_dir, self.local_node, self.client.service, lease_view);
    }
}
