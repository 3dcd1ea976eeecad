//! `mirror rollout`: a new node list, on all nodes or named where not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::everywhere::{self, Dead, Question, Refusal};
use super::lease::migrate::not_migrated;
use super::{Context, status};
use crate::cli;
use crate::clock::Deadline;
use crate::config::{self, Config, Node, Problem, Severity};
use crate::leader::State;
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, ReportFacts, Spinner, Style};
use crate::remote::Remote;
use crate::view::ReportedState;

mod changes;
mod place;

pub(super) use place::{stage, switch};

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutVerdict {
    /// Every node of both lists has the new one.
    RolledOut,
    /// `--dry-run`: it could be rolled out; nothing was touched.
    Planned,
    /// The list is unsound, a node serves what it would lose, or a node cannot take it; nothing was switched.
    Refused,
    /// Some nodes have it, and others could not be reached.
    Partial,
}

impl output::HasStatus for RolloutVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::RolledOut | Self::Planned => ExitStatus::Yes,
            Self::Refused => ExitStatus::No,
            Self::Partial => ExitStatus::Unknown,
        }
    }
}

/// What `mirror rollout` prints.
#[derive(Serialize, JsonSchema)]
pub struct RolloutFacts {
    /// The nodes of both lists, and how far each one is.
    pub nodes: Vec<RolloutNode>,
    /// What differs between the lists, each in a sentence.
    pub changes: Vec<String>,
    /// What is wrong with the new list, or in its way.
    pub problems: Vec<Problem>,
    /// The digest of the list in force here.
    pub digest: String,
    /// The digest of the new list.
    pub digest_new: String,
}

/// One node.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RolloutNode {
    /// The node.
    pub node: Name,
    /// How far it came: it was looked at, the list was put beside the one in force, or it is in force.
    pub step: RolloutStep,
    /// What became of that.
    pub outcome: RolloutOutcome,
    /// Why it did not succeed, in words; null when it did.
    pub detail: Option<String>,
}

impl RolloutNode {
    /// Whether the new list is in force there.
    fn has_it(&self) -> bool {
        self.step == RolloutStep::Switch && self.outcome == RolloutOutcome::Done
    }
}

/// A step of a rollout on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStep {
    /// Nothing was done there.
    None,
    /// The new list is put beside the one in force, and read there.
    Stage,
    /// The new list takes the place of the one in force.
    Switch,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// It would be done.
    Planned,
    /// It is done.
    Done,
    /// The node said no.
    Refused,
    /// The node was not reached.
    NotReached,
}

impl ReportFacts for RolloutFacts {
    type Verdict = RolloutVerdict;
    const SCHEMA: &'static str = "mirror.rollout/1";

    fn text(&self, style: Style) -> String {
        let mut text: String = self.changes.iter().map(|change| output::paragraph("~", change)).collect();
        for problem in &self.problems {
            let mark = if problem.severity == Severity::Error { style.bad("error") } else { style.doubtful("warning") };
            text += &output::paragraph(&mark, &format!("line {}: {}", problem.line, problem.message));
        }
        let row = |node: &RolloutNode| {
            let outcome = match (node.step, node.outcome) {
                (RolloutStep::Switch, RolloutOutcome::Done) => style.good("has it"),
                (_, RolloutOutcome::Done) => style.doubtful("beside the old one"),
                (_, RolloutOutcome::Planned) => "planned".to_owned(),
                (_, RolloutOutcome::Refused) => style.bad("refused"),
                (_, RolloutOutcome::NotReached) => style.bad("not reached"),
            };
            vec![node.node.to_string(), outcome, style.faint(node.detail.as_deref().unwrap_or_default())]
        };
        text + &output::columns(&self.nodes.iter().map(row).collect::<Vec<_>>())
    }
}

/// What a node is asked to do, and what it says of it.
#[derive(Deserialize)]
struct Answer {
    digest_new: String,
}

struct Rollout<'a> {
    context: &'a Context,
    new: &'a Config,
    text: &'a str,
    /// How long one step may take: a node that does not answer takes no time from the next step.
    timeout: Duration,
    dead: Dead,
    brain: Option<Name>,
}

pub(super) fn run(arguments: &cli::Rollout, file: &Path, context: &Context) -> Result<ExitStatus> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    // Relative paths count from where the list will be.
    let loaded = config::parse(&context.config.file, &text)?;
    let (new, mut problems) = (loaded.config, loaded.problems);
    let present =
        std::fs::read_to_string(&context.config.file).with_context(|| context.config.file.display().to_string())?;
    let mut changes = changes::between(&present, &text)?;
    let timeout = everywhere::timeout(context, arguments.within);
    let spinner = Spinner::start(context.output_mode, "rolling out the list");
    let now = status::look(context, Deadline::after(timeout))?.facts;
    let serving = || now.services.iter().map(|service| (&service.service, service.running_on.as_slice()));
    changes.extend(changes::moves(&context.config, &new, serving()));
    for message in changes::in_the_way(&new, serving()) {
        problems.push(loaded.places.problem(Severity::Error, "still-serving", "nodes".to_owned(), message));
    }
    for message in not_migrated(context, &new, Deadline::after(timeout)) {
        problems.push(loaded.places.problem(Severity::Error, "not-migrated", "lease".to_owned(), message));
    }
    let dead = Dead::default();
    for of in now.nodes.iter().filter(|of| of.state == ReportedState::Dead) {
        dead.add(&of.node, State::Dead);
    }
    let rollout = Rollout { context, new: &new, text: &text, timeout, dead, brain: now.brain };
    let is_unsound = problems.iter().any(|problem| problem.severity == Severity::Error);
    let nodes = if is_unsound || arguments.dry_run { rollout.planned(is_unsound) } else { rollout.carry_out() };
    drop(spinner);
    let verdict = verdict(&nodes, is_unsound, arguments.dry_run);
    let reason = reason(verdict, &nodes, &problems, changes.len());
    let facts = RolloutFacts {
        nodes,
        changes,
        problems,
        digest: context.config.digest.clone(),
        digest_new: new.digest.clone(),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

fn verdict(nodes: &[RolloutNode], is_unsound: bool, dry_run: bool) -> RolloutVerdict {
    match () {
        () if is_unsound || nodes.iter().any(|node| node.outcome == RolloutOutcome::Refused) => RolloutVerdict::Refused,
        () if dry_run => RolloutVerdict::Planned,
        () if nodes.iter().all(RolloutNode::has_it) => RolloutVerdict::RolledOut,
        () => RolloutVerdict::Partial,
    }
}

fn reason(verdict: RolloutVerdict, nodes: &[RolloutNode], problems: &[Problem], changes: usize) -> String {
    let names = |wanted: &dyn Fn(&RolloutNode) -> bool| {
        let names: Vec<&str> = nodes.iter().filter(|node| wanted(node)).map(|node| node.node.as_str()).collect();
        (names.len(), names.join(", "))
    };
    let error = problems.iter().find(|problem| problem.severity == Severity::Error);
    match (verdict, error) {
        (_, Some(error)) => format!("Nothing was touched: {}.", error.message),
        (RolloutVerdict::Planned, _) => {
            let what = if changes == 1 { "change" } else { "changes" };
            format!("{changes} {what}, for {} nodes; nothing was touched.", nodes.len())
        }
        (RolloutVerdict::RolledOut, _) => format!("All {} nodes have the new list.", nodes.len()),
        (RolloutVerdict::Refused, _) => {
            let (_, refusing) = names(&|node| node.outcome == RolloutOutcome::Refused);
            format!("Nothing was switched: {refusing} cannot take the list.")
        }
        (RolloutVerdict::Partial, _) => {
            let ((having, _), (_, missing)) = (names(&RolloutNode::has_it), names(&|node| !node.has_it()));
            format!(
                "{having} of {} nodes have the new list; not {missing}: run this again when every one of them can be \
                 reached.",
                nodes.len()
            )
        }
    }
}

impl Rollout<'_> {
    /// The nodes of both lists, those of the new one as it has them.
    fn nodes(&self) -> IndexMap<Name, (Node, bool)> {
        let old = self.context.config.nodes.iter().map(|(name, node)| (name.clone(), (node.clone(), false)));
        let mut all: IndexMap<Name, (Node, bool)> = old.collect();
        for (name, node) in &self.new.nodes {
            // A node that is known is reached as before, until it has the new list.
            all.entry(name.clone()).or_insert_with(|| (node.clone(), true));
        }
        all
    }

    fn planned(&self, is_unsound: bool) -> Vec<RolloutNode> {
        let outcome = RolloutOutcome::Planned;
        let step = if is_unsound { RolloutStep::None } else { RolloutStep::Switch };
        self.nodes().into_keys().map(|node| RolloutNode { node, step, outcome, detail: None }).collect()
    }

    /// Puts it beside the present list everywhere; where no node says no, switches all, the brain last.
    fn carry_out(&self) -> Vec<RolloutNode> {
        let nodes = self.nodes();
        let staged = self.ask(&nodes, RolloutStep::Stage, |_| true);
        if staged.iter().any(|node| node.outcome == RolloutOutcome::Refused) {
            return staged;
        }
        let is_staged = |name: &Name| staged.iter().any(|of| of.node == *name && of.outcome == RolloutOutcome::Done);
        let is_brain = |name: &Name| self.brain.as_ref() == Some(name);
        let mut switched = self.ask(&nodes, RolloutStep::Switch, |name| is_staged(name) && !is_brain(name));
        // A brain whose list no living node has would only be contradicted.
        let is_followed = switched.iter().any(|of| of.outcome == RolloutOutcome::Done);
        let is_alone = nodes.keys().all(|name| is_brain(name) || self.dead.contains(name));
        if is_followed || is_alone {
            switched.extend(self.ask(&nodes, RolloutStep::Switch, |name| is_staged(name) && is_brain(name)));
        }
        let of = |staged: RolloutNode| switched.iter().find(|node| node.node == staged.node).cloned().unwrap_or(staged);
        staged.into_iter().map(of).collect()
    }

    /// Has nodes do a step, all at once.
    fn ask(
        &self,
        nodes: &IndexMap<Name, (Node, bool)>,
        step: RolloutStep,
        wanted: impl Fn(&Name) -> bool,
    ) -> Vec<RolloutNode> {
        let local_node = self.context.local_node.as_ref();
        let (old, new) = (self.context.remote(), Remote::new(self.new, local_node));
        let words = match step {
            RolloutStep::Switch => format!("--switch {}", self.new.digest),
            _ => format!("--stage {}", STANDARD.encode(self.text)),
        };
        let command = format!("mirror rollout --json {words}");
        let deadline = Deadline::after(self.timeout);
        let question = Question { command, schema: RolloutFacts::SCHEMA, deadline, dead: Some(&self.dead) };
        std::thread::scope(|scope| {
            let (question, old, new) = (&question, &old, &new);
            let threads: Vec<_> = nodes
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, (node, is_new))| {
                    let remote = if *is_new { new } else { old };
                    let act = move || {
                        if Some(name) == local_node {
                            self.own(step)
                        } else {
                            asked(remote, (name, node), question, &self.new.digest)
                        }
                    };
                    (name, scope.spawn(act))
                })
                .collect();
            let broke_off = |_| Err((RolloutOutcome::NotReached, "the step broke off".to_owned()));
            let node = |(name, done): (&Name, Result<(), (RolloutOutcome, String)>)| match done {
                Ok(()) => RolloutNode { node: name.clone(), step, outcome: RolloutOutcome::Done, detail: None },
                Err((outcome, why)) => RolloutNode { node: name.clone(), step, outcome, detail: Some(why) },
            };
            threads.into_iter().map(|(name, thread)| node((name, thread.join().unwrap_or_else(broke_off)))).collect()
        })
    }

    fn own(&self, step: RolloutStep) -> Result<(), (RolloutOutcome, String)> {
        let file = &self.context.config.file;
        let done = match step {
            RolloutStep::Switch => place::switch_file(file, &self.new.digest),
            _ => place::stage_file(file, self.text).map(|_| ()),
        };
        done.map_err(|error| (RolloutOutcome::Refused, format!("{error:#}")))
    }
}

/// Whether a node did it, and has read the list as the one that is meant.
fn asked(
    remote: &Remote,
    node: (&Name, &Node),
    question: &Question<'_>,
    digest: &str,
) -> Result<(), (RolloutOutcome, String)> {
    let read = |object: everywhere::Object| {
        let reason = object.value.get("reason")?.as_str()?.to_owned();
        let is_done = object.value.get("verdict")? == "rolled-out";
        let answer: Answer = serde_json::from_value(object.value).ok()?;
        Some((is_done && answer.digest_new == digest, reason))
    };
    match everywhere::ask(remote, node, question, read) {
        Ok((true, _)) => Ok(()),
        Ok((false, reason)) => Err((RolloutOutcome::Refused, reason)),
        Err(Refusal::NotReached(why)) => Err((RolloutOutcome::NotReached, why)),
        Err(refusal) => Err((RolloutOutcome::Refused, format!("{}: {}", refusal.cause(), refusal.why()))),
    }
}
