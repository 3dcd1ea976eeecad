//! `mirror lease witness`: does this node vouch for a holder's grant?

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::cli;
use crate::lease::failsafe::Grant;
use crate::lease::witness::{self, Testimony};
use crate::lease::{LeaseRecord, LeaseState};
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, ReportFacts, Style};

/// Whether this node vouches for the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseWitnessVerdict {
    /// This node knows of nothing newer, so it is not waiting to grant the lease to another node.
    Vouched,
    /// This node knows of a newer claim or grant.
    NewerKnown,
    /// This node has another node list.
    ListsDiffer,
    /// What this node knows cannot be read.
    Unknown,
}

impl output::HasStatus for LeaseWitnessVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Vouched => ExitStatus::Yes,
            Self::NewerKnown | Self::ListsDiffer => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease witness` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseWitnessFacts {
    /// The service.
    pub service: Name,
    /// The holder that was asked about.
    pub holder: Name,
    /// The epoch that was asked about.
    pub epoch: u64,
    /// The digest of this node's list.
    pub digest: String,
    /// The holder of the latest record that this node knows; null if it knows none.
    pub known_holder: Option<Name>,
    /// The epoch of that record.
    pub known_epoch: Option<u64>,
    /// Its state.
    pub known_state: Option<LeaseState>,
}

impl ReportFacts for LeaseWitnessFacts {
    type Verdict = LeaseWitnessVerdict;
    const SCHEMA: &'static str = "mirror.lease-witness/1";

    fn text(&self, _: Style) -> String {
        String::new()
    }
}

/// The part of the object by which a holder recognises the answer to its own question.
#[derive(Deserialize)]
struct Answer {
    schema: String,
    verdict: LeaseWitnessVerdict,
    service: Name,
    holder: Name,
    epoch: u64,
    digest: String,
}

/// Whether this output of `mirror lease witness` is a yes to this question. An exit status alone is not: a
/// shell that runs nothing may return 0.
pub fn is_yes(output: &[u8], service: &Name, grant: &Grant, digest: &str) -> bool {
    serde_json::from_slice::<Answer>(output).is_ok_and(|answer| {
        answer.verdict == LeaseWitnessVerdict::Vouched
            && answer.schema == LeaseWitnessFacts::SCHEMA
            && (&answer.service, &answer.holder, answer.epoch) == (service, &grant.holder, grant.epoch)
            && answer.digest == digest
    })
}

pub(in crate::commands) fn run(arguments: &cli::LeaseWitness, context: &Context) -> Result<ExitStatus> {
    let (service, _) = context.config.service(&arguments.service)?;
    let grant = Grant { holder: arguments.holder.clone(), epoch: arguments.epoch };
    let Grant { holder, epoch } = &grant;
    let (testimony, known) = witness::testify(&context.config, service, &grant);
    let (verdict, reason) = match &testimony {
        _ if arguments.digest != context.config.digest => (
            LeaseWitnessVerdict::ListsDiffer,
            format!("This node has the node list {}, not {}.", context.config.digest, arguments.digest),
        ),
        Testimony::Vouched => (
            LeaseWitnessVerdict::Vouched,
            format!("This node knows of nothing newer than the grant of {service} to {holder} in epoch {epoch}."),
        ),
        Testimony::NewerKnown => {
            let newer = known.as_ref().map(LeaseRecord::done).unwrap_or_default();
            (LeaseWitnessVerdict::NewerKnown, format!("The lease of {service} is {newer}."))
        }
        Testimony::Unreadable(why) => {
            (LeaseWitnessVerdict::Unknown, format!("What this node knows of {service} cannot be read: {why}."))
        }
    };
    let facts = LeaseWitnessFacts {
        service: service.clone(),
        holder: grant.holder,
        epoch: grant.epoch,
        digest: context.config.digest.clone(),
        known_holder: known.as_ref().map(|known| known.holder.clone()),
        known_epoch: known.as_ref().map(|known| known.epoch),
        known_state: known.as_ref().map(|known| known.state),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}
