//! `mirror history`: what this node did and saw.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::status::to_the_second;
use crate::cli;
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Style, warnings};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Past};

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
        output::columns(&self.entries.iter().map(|entry| row(entry, style)).collect::<Vec<_>>())
    }
}

/// When, what, to which service, and how it came out.
fn row(entry: &Entry, style: Style) -> Vec<String> {
    let service = entry.service.as_ref().map(Name::to_string).unwrap_or_default();
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let event = history::slug(entry.event).unwrap_or_default();
    let event = match entry.verdict.as_deref() {
        Some("alive" | "started" | "moved" | "granted" | "ended") => style.good(&event),
        Some("dead" | "failed" | "lost" | "refused") => style.bad(&event),
        Some("unknown" | "blocked") => style.doubtful(&event),
        _ => event,
    };
    vec![style.faint(&to_the_second(&entry.at)), event, service, entry.reason.clone() + &why]
}

pub(super) fn run(arguments: &cli::History, context: &Context) -> Result<ExitStatus> {
    let state_dir = StateDir::open(&context.config);
    let Past { mut entries, damaged } = history::read_past(&state_dir);
    if damaged > 0 {
        let directory = state_dir.directory().display();
        let lines = if damaged == 1 { "one line is".to_owned() } else { format!("{damaged} lines are") };
        let message = format!("{directory}/history.jsonl: {lines} damaged and skipped; they go as the file is renewed");
        warnings::warn("history-damaged", message);
    }
    let all = entries.len();
    entries.drain(..all.saturating_sub(arguments.last));
    let reason = match (entries.len(), all) {
        (_, 0) => "Nothing has happened here, or nothing is known of it.".to_owned(),
        (shown, all) if shown == all => format!("All {all} changes that are known here."),
        (shown, all) => format!("The latest {shown} of {all} changes that are known here."),
    };
    Ok(context.tell(&Report { verdict: HistoryVerdict::Listed, reason, facts: HistoryFacts { entries } }))
}
