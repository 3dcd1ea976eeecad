//! `mirror history`: what this node did and saw.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::chain::Name;
use crate::cli;
use crate::output::{self, ExitStatus, Report, Style};
use crate::state::StateDir;
use crate::state::history::{self, Entry};

/// There is one outcome: listed.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryVerdict {
    /// What is known was listed, be it nothing.
    Listed,
}

impl output::HasStatus for HistoryVerdict {
    fn status(self) -> ExitStatus {
        ExitStatus::Yes
    }
}

/// What `mirror history` prints.
#[derive(Serialize, JsonSchema)]
pub struct HistoryFacts {
    /// The latest changes, the oldest of them first.
    pub entries: Vec<Entry>,
}

impl output::ReportFacts for HistoryFacts {
    type Verdict = HistoryVerdict;
    const SCHEMA: &'static str = "mirror.history/1";

    fn text(&self, style: Style) -> String {
        let row = |entry: &Entry| {
            let service = entry.service.as_ref().map(Name::to_string).unwrap_or_default();
            let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            vec![style.faint(&entry.at), service, entry.reason.clone() + &why]
        };
        output::columns(&self.entries.iter().map(row).collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::History, context: &Context) -> Result<ExitStatus> {
    let mut entries = history::read(&StateDir::open(&context.config));
    let all = entries.len();
    entries.drain(..all.saturating_sub(arguments.last));
    let reason = match (entries.len(), all) {
        (_, 0) => "Nothing has happened here, or nothing is known of it.".to_owned(),
        (shown, all) if shown == all => format!("All {all} changes that are known here."),
        (shown, all) => format!("The latest {shown} of {all} changes that are known here."),
    };
    Ok(context.tell(&Report { verdict: HistoryVerdict::Listed, reason, facts: HistoryFacts { entries } }))
}
