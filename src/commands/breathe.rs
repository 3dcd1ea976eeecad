//! `mirror breathe`: one inhale and one exhale.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, changes};
use crate::chain::BRAIN;
use crate::cli;
use crate::clock::BootInstant;
use crate::config::Node;
use crate::name::Name;
use crate::output::{self, ExitStatus, Priority, Report, ReportFacts as _, Spinner, Style};
use crate::remote;
use crate::state::{self, LastBreath, Prospect, StateDir, history};
use crate::sync::{
    Breath, BreathOutcome, BreatheVerdict, Changed, ChangedOutcome, Hook, Manner, MeshBreath, MeshFacts, Parked, Peer,
    PeerState, Transfer, ask_command,
};
use crate::usage_error::UsageError;

/// What a check saw counts for so many of its intervals.
const FRESH_INTERVALS: u32 = 2;

impl output::HasStatus for BreatheVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::InStep => ExitStatus::Yes,
            Self::Conflict | Self::Refused => ExitStatus::No,
            Self::Unreachable | Self::Alone | Self::Busy | Self::Raced | Self::Failed => ExitStatus::Unknown,
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
    /// What became of the command `changed` in [breath]; null if it did not run.
    pub changed: Option<Changed>,
    /// What the other nodes have, with `peers` in [breath].
    #[serde(flatten)]
    pub mesh: MeshFacts,
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
        for peer in &self.mesh.peers {
            let state = match peer.state {
                PeerState::InStep => "in step",
                PeerState::Partial => "partial",
                PeerState::Unreachable => "unreachable",
                PeerState::Dead => "dead",
            };
            let cause = peer.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            text += &format!("  {} {state}{cause}\n", peer.node);
        }
        if let Some(copies) = self.mesh.copies {
            text += &format!("  held by {copies} other {}\n", if copies == 1 { "node" } else { "nodes" });
        }
        if let Some(parked) = &self.parked {
            text += &format!("  parked as {}\n", parked.reference);
        }
        if let Some(changed) = &self.changed {
            let outcome = match changed.outcome {
                ChangedOutcome::Done => "done",
                ChangedOutcome::Failed => "failed",
                ChangedOutcome::TimedOut => "timed out",
                ChangedOutcome::Pending => "pending",
            };
            let detail = changed.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            text += &format!("  changed {outcome}{detail}\n");
        }
        for file in &self.files {
            text += &format!("  {file}\n");
        }
        text
    }

    fn priority(&self, verdict: BreatheVerdict) -> Priority {
        match verdict {
            BreatheVerdict::InStep if self.moved() => Priority::Moved,
            BreatheVerdict::InStep | BreatheVerdict::Busy | BreatheVerdict::Raced => Priority::Quiet,
            _ => Priority::Failed,
        }
    }
}

impl BreatheFacts {
    fn moved(&self) -> bool {
        self.inhale.is_some() || self.exhale.is_some() || self.parked.is_some()
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
        timeout: arguments.timeout.unwrap_or(config.timeout),
        commit: config.commit,
        manner: if arguments.inhale { Manner::InhaleOnly } else { Manner::Patient },
        node: context.local_node.as_ref().map(Name::as_str),
        ssh_command: Some(&ssh_command),
    };
    let spinner = Spinner::start(context.output_mode, "breathing");
    let changed = config.changed.as_deref();
    let outcome = if config.peers {
        mesh(context, breath, arguments.init)
    } else if arguments.init {
        Err(UsageError::new("--init makes a clone of the mesh; write peers = true in [breath]".to_owned()))
    } else {
        breath.breathe_and_run(changed)
    };
    let outcome = outcome.map_err(|error| UsageError::new(format!("{error:#}")))?;
    drop(spinner);
    if config.repo.as_deref() == Some(repo) && context.local_node.is_some() {
        let verdict = history::slug(outcome.verdict).unwrap_or_default();
        let state_dir = StateDir::open(&context.config);
        let prospect = match outcome.verdict {
            BreatheVerdict::InStep => Prospect::InStep,
            BreatheVerdict::Conflict | BreatheVerdict::Refused => Prospect::NeedsPerson,
            _ => Prospect::MayPass,
        };
        let last = LastBreath { verdict: &verdict, reason: &outcome.reason, prospect };
        state::breathed(&state_dir, context.local_node.as_ref(), last, context.config.cycle.sync);
    }
    let facts = BreatheFacts {
        repo: repo.to_owned(),
        inhale: outcome.inhale,
        exhale: outcome.exhale,
        parked: outcome.parked,
        changed: outcome.changed,
        mesh: outcome.mesh,
        files: outcome.files,
    };
    let report = Report { verdict: outcome.verdict, reason: format!("{}.", outcome.reason), facts };
    let parked = report.facts.parked.as_ref().map(|parked| &parked.reference);
    let state = (report.verdict, parked, &report.facts.files);
    let is_new = !arguments.pace.changes_only
        || report.facts.priority(report.verdict) == Priority::Moved
        || changes::are_new(&StateDir::open(&context.config), "breathe", &state);
    Ok(context.tell_if(is_new, &report, &[]))
}

/// A breath with the other nodes of the list.
fn mesh(context: &Context, breath: Breath<'_>, init: bool) -> Result<BreathOutcome> {
    let config = &context.config;
    let Some(local_node) = &context.local_node else {
        bail!(
            "{}: this machine is no node of the list, so it has no peers; name the node with --self",
            config.file.display()
        );
    };
    let repo = std::path::absolute(config.breath.repo.as_deref().unwrap_or(breath.repo))?;
    let Some(repo) = repo.to_str() else { bail!("{}: the path of the repository is not UTF-8", repo.display()) };
    let peers = peers(context, local_node, repo);
    let brain = config.chains.get(BRAIN).into_iter().flatten();
    let mut nodes: Vec<&str> = brain.map(Name::as_str).collect();
    nodes.extend(
        config.nodes.keys().map(Name::as_str).filter(|name| {
            !config.chains.get(BRAIN).is_some_and(|chain| chain.iter().any(|node| node.as_str() == *name))
        }),
    );
    let mesh = MeshBreath { breath, peers: &peers, nodes: &nodes, patience: config.probe_timeout };
    let mut note = None;
    if init {
        let file = std::path::absolute(&config.file)?;
        let node = Some(local_node.to_string());
        note = mesh.init(&Hook { program: std::env::current_exe()?, config: file, node })?;
    }
    let mut outcome = mesh.breathe_and_run(config.breath.changed.as_deref())?;
    if let Some(note) = note {
        outcome.reason = format!("{}; {note}", outcome.reason);
    }
    Ok(outcome)
}

/// The other nodes. One that the last check saw dead is not asked.
fn peers(context: &Context, local_node: &Name, repo: &str) -> Vec<Peer> {
    let config = &context.config;
    let remote = Arc::new(context.remote());
    let uptimes = StateDir::open(config).uptimes();
    let (now, gap) = (BootInstant::now(), config.cycle.check * FRESH_INTERVALS + config.probe_timeout);
    let peer = |(name, node): (&Name, &Node)| {
        let (asking, command, place) = (Arc::clone(&remote), ask_command(repo), (name.clone(), node.clone()));
        let ask = move |deadline| {
            let answer = asking.ask(&place.0, &place.1, &command, deadline);
            match (&answer.silence, answer.status) {
                (None, Some(0)) => Ok(String::from_utf8_lossy(&answer.output).into_owned()),
                _ => Err(answer.why()),
            }
        };
        let is_dead = uptimes.is_dead(name, now, gap);
        Peer {
            name: name.to_string(),
            url: remote.git_url(name, node, repo),
            ask: Arc::new(ask),
            passed_over: is_dead.then(|| "dead at the last check".to_owned()),
        }
    };
    config.nodes.iter().filter(|(name, _)| *name != local_node).map(peer).collect()
}
