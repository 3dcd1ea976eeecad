//! `mirror lease history`: every takeover that the register still has.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Context;
use super::{open_client, unknown};
use crate::cli;
use crate::clock::Deadline;
use crate::lease::{LeaseRecord, LeaseState, stored};
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::state::StateDir;

/// Whether the history could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseHistoryVerdict {
    /// The takeovers that the register still has were shown.
    Shown,
    /// The register cannot be read.
    Unknown,
}

impl output::HasStatus for LeaseHistoryVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Shown => ExitStatus::Yes,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease history` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseHistoryFacts {
    /// The service.
    pub service: Name,
    /// The takeovers, newest first.
    pub takeovers: Vec<Takeover>,
}

/// One takeover: a claim, and its grant if it was granted.
#[derive(Serialize, JsonSchema)]
pub struct Takeover {
    /// The epoch.
    pub epoch: u64,
    /// The node for which it was claimed.
    pub holder: Name,
    /// `claimed` if it was never granted: the next takeover replaced it.
    pub state: LeaseState,
    /// The node to which the lease was granted before; null when it never was.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// Who claimed it; if the claim is no longer known, who granted it.
    pub by: String,
    /// Why, in words; null when no reason was given.
    pub why: Option<String>,
    /// When it was claimed, by the claimer's clock; null when that is no longer known.
    pub claimed_at: Option<String>,
    /// When it was granted, by the granter's clock; null when it was not.
    pub granted_at: Option<String>,
}

impl output::ReportFacts for LeaseHistoryFacts {
    type Verdict = LeaseHistoryVerdict;
    const SCHEMA: &'static str = "mirror.lease-history/1";

    fn text(&self, style: Style) -> String {
        let rows = self.takeovers.iter().map(|takeover| {
            let state = match takeover.state {
                LeaseState::Granted => style.good("granted"),
                LeaseState::Claimed => style.doubtful("claimed"),
            };
            let was = takeover.previous_holder.as_ref().map_or_else(|| "–".to_owned(), Name::to_string);
            let at = takeover.granted_at.as_ref().or(takeover.claimed_at.as_ref()).cloned().unwrap_or_default();
            let why = takeover.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            let by = style.faint(&format!("by {}{why}", takeover.by));
            vec![takeover.epoch.to_string(), format!("{was} → {}", takeover.holder), state, at, by]
        });
        output::columns(&rows.collect::<Vec<_>>())
    }
}

pub(in crate::commands) fn run(arguments: &cli::LeaseHistory, context: &Context) -> Result<ExitStatus> {
    let (name, service) = context.config.service(&arguments.service)?;
    let state_dir = StateDir::open(&context.config);
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    // Each takeover is two writes; one more shows when the oldest was claimed.
    let max = arguments.number.saturating_mul(2).saturating_add(1);
    let deadline = || Deadline::after(service.timeout.max(context.config.cycle.recovery));
    let records = open_client(context, &state_dir, name)?.and_then(|client| {
        let records = client.history(max, deadline())?;
        if records.is_empty() {
            // Finds out whether the content is foreign, or the register went back.
            client.refresh(&mut stored::load(&state_dir, name), deadline())?;
        }
        Ok(records)
    });
    drop(spinner);
    let (verdict, reason, mut takeovers) = match records {
        Ok(records) => {
            let takeovers = takeovers(records.into_iter().map(|record| record.value));
            let reason = match takeovers.first() {
                None => format!("The lease of {name} was never claimed."),
                Some(last) => format!("The lease of {name} is in epoch {}.", last.epoch),
            };
            (LeaseHistoryVerdict::Shown, reason, takeovers)
        }
        Err(error) => (LeaseHistoryVerdict::Unknown, unknown(name, &error, None), Vec::new()),
    };
    takeovers.truncate(arguments.number);
    Ok(context.tell(&Report { verdict, reason, facts: LeaseHistoryFacts { service: name.clone(), takeovers } }))
}

/// Joins each grant with its claim. The records come newest first.
fn takeovers(records: impl Iterator<Item = LeaseRecord>) -> Vec<Takeover> {
    let mut takeovers: Vec<Takeover> = Vec::new();
    for record in records {
        let (claimed_at, granted_at) = match record.state {
            LeaseState::Claimed => (Some(record.at), None),
            LeaseState::Granted => (None, Some(record.at)),
        };
        match takeovers.last_mut().filter(|last| last.epoch == record.epoch && claimed_at.is_some()) {
            // The claim of the grant before it in the list.
            Some(last) => (last.by, last.why, last.claimed_at) = (record.by, record.why, claimed_at),
            None => takeovers.push(Takeover {
                epoch: record.epoch,
                holder: record.holder,
                state: record.state,
                previous_holder: record.previous_holder,
                by: record.by,
                why: record.why,
                claimed_at,
                granted_at,
            }),
        }
    }
    takeovers
}
