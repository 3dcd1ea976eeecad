//! `mirror chain check`: is the node list sound, and what does it survive?

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::chain::{self, Chain, Name};
use crate::cli;
use crate::config::{self, Budget, Config, Places, Problem, Severity};
use crate::deadline::Deadline;
use crate::exec::{Ended, Exec};
use crate::output::{self, ExitStatus, Report, Style};

/// What a node is asked for the digest of its own node list.
const ASK_DIGEST: &str = "mirror chain show --json";
/// How a `mirror` ends that cannot use its node list.
const MISUSE: Ended = Ended::Exited(ExitStatus::UsageError as i32);

/// The outcome of the check.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChainCheckVerdict {
    /// There is nothing worse than a warning.
    Sound,
    /// There is an error.
    Unsound,
}

impl output::HasStatus for ChainCheckVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Sound => ExitStatus::Yes,
            Self::Unsound => ExitStatus::No,
        }
    }
}

/// What `mirror chain check` prints.
#[derive(Serialize, JsonSchema)]
pub struct ChainCheckFacts {
    /// What is wrong, in the file's order.
    pub problems: Vec<Problem>,
    /// The number of failures that every chain survives, whichever nodes fall.
    pub survives_any: usize,
    /// The smallest sets of nodes whose fall leaves a chain without a leader.
    pub fatal_sets: Vec<Chain>,
    /// The worst case from a host's failure to the service's recovery.
    pub budget: Budget,
    /// The digest of the node list.
    pub digest: String,
}

impl output::ReportFacts for ChainCheckFacts {
    type Verdict = ChainCheckVerdict;
    const SCHEMA: &'static str = "mirror.chain-check/1";

    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let severity = match problem.severity {
                Severity::Error => style.bad("error"),
                Severity::Warning => style.doubtful("warning"),
            };
            text += &format!("  {severity}: line {}: {}: {}\n", problem.line, problem.at, problem.message);
        }
        text += &format!("  survives any {}\n", count(self.survives_any, "failure"));
        let budget = &self.budget;
        text += &format!(
            "  worst case {} ms: check {} + probe {} + stop {} + start {} + lease {}; promised {} ms\n  \
             with a brain that stops working at the same moment {} ms: beat {} more\n",
            budget.total_ms,
            budget.check_ms,
            budget.probe_ms,
            budget.stop_ms,
            budget.start_ms,
            budget.lease_ms,
            budget.recovery_ms,
            budget.total_inert_ms,
            budget.beat_ms
        );
        text
    }
}

/// What reading the node list found.
pub(super) struct Found {
    /// In the file's order.
    pub(super) problems: Vec<Problem>,
    /// Where the keys of the file stand.
    pub(super) places: Places,
}

pub(super) fn run(arguments: &cli::ChainCheck, found: Found, context: &Context) -> Result<ExitStatus> {
    let Found { mut problems, places } = found;
    let config = &context.config;
    let survives_any = chain::survives_any(config.chains.values());
    if let Some(wanted) = arguments.survive.filter(|wanted| survives_any < *wanted) {
        problems.push(survives_less(config, wanted, survives_any, &places));
    }
    if arguments.live {
        problems.extend(ask_all(context, &places));
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    let verdict = if errors == 0 { ChainCheckVerdict::Sound } else { ChainCheckVerdict::Unsound };
    let reason = match (errors, warnings) {
        (0, 0) => "The node list is sound.".to_owned(),
        (0, _) => format!("The node list is sound, with {}.", count(warnings, "warning")),
        _ => format!("The node list is unsound: {}, {}.", count(errors, "error"), count(warnings, "warning")),
    };
    let facts = ChainCheckFacts {
        problems,
        survives_any,
        fatal_sets: chain::fatal_sets(config.chains.values()),
        budget: config::budget(config),
        digest: config.digest.clone(),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The chain that decides survives less than was wanted.
fn survives_less(config: &Config, wanted: usize, survives_any: usize, places: &Places) -> Problem {
    let shortest = config.chains.iter().min_by_key(|(_, chain)| chain.len());
    let (key, fallen) = match shortest {
        Some((name, chain)) => {
            (format!("chains.{name}"), chain.iter().map(Name::as_str).collect::<Vec<_>>().join(", "))
        }
        None => ("chains".to_owned(), String::new()),
    };
    let nodes = config.nodes.len();
    // No order of the chains makes few nodes survive more, so that is not the advice then.
    let advice = if nodes > wanted {
        "add the missing nodes to its end".to_owned()
    } else {
        format!("{nodes} nodes survive {} at most, so name more nodes", nodes.saturating_sub(1))
    };
    let message = format!(
        "survives any {survives_any} failures, not any {wanted}: when {fallen} fall, a chain has no leader; {advice}"
    );
    places.problem(Severity::Error, "survives-less", key, message)
}

/// Asks every node for its digest, all at once.
fn ask_all(context: &Context, places: &Places) -> Vec<Problem> {
    let remote = context.remote();
    let deadline = Deadline::after(context.config.cycle.recovery);
    std::thread::scope(|scope| {
        let ask = |name, node| {
            let command = remote.command(name, node, ASK_DIGEST);
            move || digest_of(name, command, deadline, (&context.config.digest, places))
        };
        let asked: Vec<_> = context.config.nodes.iter().map(|(name, node)| scope.spawn(ask(name, node))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// What is wrong with one node's list, if anything.
fn digest_of(
    name: &Name,
    command: std::process::Command,
    deadline: Deadline,
    (expected, places): (&str, &Places),
) -> Option<Problem> {
    let at = format!("nodes.{name}");
    let unknown = |why: String| {
        let message = format!("{name} did not tell the digest of its node list ({why}); run there: {ASK_DIGEST}");
        Some(places.problem(Severity::Warning, "digest-unknown", at.clone(), message))
    };
    let finished = match Exec::new(command).run(deadline) {
        Ok(finished) if finished.success() => finished,
        Ok(finished) if finished.ended == MISUSE => {
            let words = finished.last_line().unwrap_or_default();
            let message = format!("{name} has a node list that it cannot use ({words}); copy one to all nodes");
            return Some(places.problem(Severity::Error, "digest-differs", at.clone(), message));
        }
        Ok(finished) => return unknown(finished.last_line().unwrap_or_else(|| format!("{:?}", finished.ended))),
        Err(error) => return unknown(error.to_string()),
    };
    let object: Option<serde_json::Value> = serde_json::from_slice(&finished.stdout).ok();
    match object.as_ref().and_then(|object| object.get("digest")?.as_str()) {
        Some(digest) if digest == expected => None,
        Some(digest) => {
            let message =
                format!("{name} has another node list (digest {digest:.16}, here {expected}); copy one to all nodes");
            Some(places.problem(Severity::Error, "digest-differs", at.clone(), message))
        }
        None => unknown("no digest in what it printed".to_owned()),
    }
}
