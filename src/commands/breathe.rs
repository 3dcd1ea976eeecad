//! `mirror breathe`: one inhale and one exhale.

use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::cli;
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::remote;
use crate::state::{self, StateDir, history};
use crate::sync::{Breath, BreatheVerdict, Parked, Transfer};
use crate::usage_error::UsageError;

impl output::HasStatus for BreatheVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::InStep => ExitStatus::Yes,
            Self::Conflict | Self::Refused => ExitStatus::No,
            Self::Unreachable | Self::Busy | Self::Raced | Self::Failed => ExitStatus::Unknown,
        }
    }
}

/// What `mirror breathe` prints.
#[derive(Serialize, JsonSchema)]
pub struct BreatheFacts {
    /// The repository.
    pub repo: PathBuf,
    /// What came in; null if nothing did.
    pub inhale: Option<Transfer>,
    /// What went out; null if nothing did.
    pub exhale: Option<Transfer>,
    /// Where local commits that cannot go to the branch were stored; null if there are none.
    pub parked: Option<Parked>,
    /// The files that conflict, are in the way, or could not be committed.
    pub files: Vec<String>,
}

impl output::ReportFacts for BreatheFacts {
    type Verdict = BreatheVerdict;
    const SCHEMA: &'static str = "mirror.breathe/1";

    fn text(&self, style: Style) -> String {
        let row = |what: &str, transfer: &Option<Transfer>| {
            let transfer = transfer.as_ref()?;
            let short = |id: &Option<String>| id.as_ref().map_or("–".to_owned(), |id| id.chars().take(10).collect());
            let commits = format!("{} commit{}", transfer.commits, if transfer.commits == 1 { "" } else { "s" });
            Some(vec![
                what.to_owned(),
                commits,
                style.faint(&format!("{} → {}", short(&transfer.from), short(&transfer.to))),
            ])
        };
        let rows = [row("inhale", &self.inhale), row("exhale", &self.exhale)];
        let mut text = output::columns(&rows.into_iter().flatten().collect::<Vec<_>>());
        if let Some(parked) = &self.parked {
            text += &format!("  parked as {}\n", parked.reference);
        }
        for file in &self.files {
            text += &format!("  {file}\n");
        }
        text
    }
}

pub(super) fn run(arguments: &cli::Breathe, context: &Context) -> Result<ExitStatus> {
    let config = &context.config.breath;
    let repo = arguments.repo.as_deref().or(config.repo.as_deref()).unwrap_or(Path::new("."));
    let ssh_command = remote::git_ssh_command(context.config.probe_timeout);
    let breath = Breath {
        repo,
        remote: arguments.remote.as_deref().unwrap_or(&config.remote),
        branch: arguments.branch.as_deref().unwrap_or(&config.branch),
        timeout: config.timeout,
        commit: config.commit,
        patient: true,
        node: context.local_node.as_ref().map(Name::as_str),
        ssh_command: Some(&ssh_command),
    };
    let spinner = Spinner::start(context.output_mode, "breathing");
    let outcome = breath.breathe().map_err(|error| UsageError::new(format!("{error:#}")))?;
    drop(spinner);
    if config.repo.as_deref() == Some(repo) && context.local_node.is_some() {
        let verdict = history::slug(outcome.verdict).unwrap_or_default();
        let state_dir = StateDir::open(&context.config);
        let came_to = (verdict.as_str(), outcome.reason.as_str());
        state::breathed(&state_dir, context.local_node.as_ref(), came_to, context.config.cycle.sync);
    }
    let facts = BreatheFacts {
        repo: repo.to_owned(),
        inhale: outcome.inhale,
        exhale: outcome.exhale,
        parked: outcome.parked,
        files: outcome.files,
    };
    Ok(context.tell(&Report { verdict: outcome.verdict, reason: format!("{}.", outcome.reason), facts }))
}
