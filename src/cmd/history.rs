//! `mirror history`: what this node did and saw.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::chain::Name;
use crate::cli;
use crate::history::{self, Entry};
use crate::report::{self, Finding, Paint, Status};
use crate::state::Store;

/// There is one outcome: listed.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What is known was listed, be it nothing.
    Listed,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        Status::Yes
    }
}

/// What `mirror history` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The latest changes, the oldest of them first.
    pub entries: Vec<Entry>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.history/1";

    fn text(&self, paint: Paint) -> String {
        let row = |entry: &Entry| {
            let service = entry.service.as_ref().map(Name::to_string).unwrap_or_default();
            let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            vec![paint.faint(&entry.at), service, entry.reason.clone() + &why]
        };
        report::columns(&self.entries.iter().map(row).collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::History, setting: &Setting) -> Result<Status> {
    let mut entries = history::read(&Store::open(&setting.config));
    let all = entries.len();
    entries.drain(..all.saturating_sub(arguments.last));
    let reason = match (entries.len(), all) {
        (_, 0) => "Nothing has happened here, or nothing is known of it.".to_owned(),
        (shown, all) if shown == all => format!("All {all} changes that are known here."),
        (shown, all) => format!("The latest {shown} of {all} changes that are known here."),
    };
    Ok(setting.tell(&Finding { verdict: Verdict::Listed, reason, facts: Facts { entries } }))
}
