//! `mirror lease history`: every takeover that the register still knows of.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::lease_show::{lease_client, unknown};
use crate::chain::Name;
use crate::cli;
use crate::deadline::Deadline;
use crate::lease::{LeaseRecord, LeaseState};
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::state::StateDir;

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseHistoryVerdict {
    /// What the register knows was shown.
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
    /// The takeovers, the newest first.
    pub takeovers: Vec<Takeover>,
}

/// One takeover: a claim, and its grant where it came to that.
#[derive(Serialize, JsonSchema)]
pub struct Takeover {
    /// The epoch.
    pub epoch: u64,
    /// The node for which it was claimed.
    pub holder: Name,
    /// How far it came: a claim that stayed one was finished, or replaced, by the next.
    pub state: LeaseState,
    /// The node to which the lease was granted before; null when it never was.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// Who claimed it; where the claim is no longer known, who granted it.
    pub by: String,
    /// Why, in words; null when nobody said.
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

pub(super) fn run(arguments: &cli::LeaseHistory, context: &Context) -> Result<ExitStatus> {
    let (name, service) = context.config.service(&arguments.service)?;
    let store = StateDir::open(&context.config);
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    // Each takeover is two writes; one more tells where the oldest began.
    let most = arguments.number.saturating_mul(2).saturating_add(1);
    let deadline = || Deadline::after(service.timeout.max(context.config.cycle.recovery));
    let values = lease_client(context, &store, name)?.and_then(|lease_client| {
        let values = lease_client.history(most, deadline())?;
        if values.is_empty() {
            // It may hold what is no lease, or have lost what it held.
            lease_client.look(&mut store.lease_view(name), deadline())?;
        }
        Ok(values)
    });
    drop(spinner);
    let (verdict, reason, mut takeovers) = match values {
        Ok(found) => {
            let takeovers = takeovers(found.into_iter().map(|found| found.value));
            let reason = match takeovers.first() {
                None => format!("The lease of {name} was never claimed."),
                Some(last) => format!("The lease of {name} is in epoch {}.", last.epoch),
            };
            (LeaseHistoryVerdict::Shown, reason, takeovers)
        }
        Err(doubt) => (LeaseHistoryVerdict::Unknown, unknown(name, &doubt, None), Vec::new()),
    };
    takeovers.truncate(arguments.number);
    Ok(context.tell(&Report { verdict, reason, facts: LeaseHistoryFacts { service: name.clone(), takeovers } }))
}

/// From values, the newest first.
fn takeovers(values: impl Iterator<Item = LeaseRecord>) -> Vec<Takeover> {
    let mut takeovers: Vec<Takeover> = Vec::new();
    for value in values {
        let (claimed_at, granted_at) = match value.state {
            LeaseState::Claimed => (Some(value.at), None),
            LeaseState::Granted => (None, Some(value.at)),
        };
        match takeovers.last_mut().filter(|last| last.epoch == value.epoch && claimed_at.is_some()) {
            // The claim of the grant that came before: who wanted it, and why.
            Some(last) => (last.by, last.why, last.claimed_at) = (value.by, value.why, claimed_at),
            None => takeovers.push(Takeover {
                epoch: value.epoch,
                holder: value.holder,
                state: value.state,
                previous_holder: value.previous_holder,
                by: value.by,
                why: value.why,
                claimed_at,
                granted_at,
            }),
        }
    }
    takeovers
}
