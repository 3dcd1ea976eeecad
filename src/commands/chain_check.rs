//! `mirror chain check`: is the node list sound, and what does it survive?

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::chain::{self, Chain, Name};
use crate::cli;
use crate::config::{self, Budget, Problem, Severity};
use crate::deadline::Deadline;
use crate::output::{self, ExitStatus, Style};
use crate::remote::{Cause, Report, Silence};

/// What a node is asked for the digest of its own node list.
const ASK_DIGEST: &str = "mirror chain show --json";
/// How a `mirror` ends that cannot use its node list.
const MISUSE: i32 = ExitStatus::UsageError as i32;

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
            "  worst case {} ms: check {} + probe {} + stop {} + start {} + lease {}; promised {} ms\n",
            budget.total_ms,
            budget.check_ms,
            budget.probe_ms,
            budget.stop_ms,
            budget.start_ms,
            budget.lease_ms,
            budget.recovery_ms
        );
        text
    }
}

pub(super) fn run(arguments: &cli::ChainCheck, mut problems: Vec<Problem>, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let survives_any = chain::survives_any(config.chains.values());
    if let Some(wanted) = arguments.survive.filter(|wanted| survives_any < *wanted) {
        let sets = chain::fatal_sets(config.chains.values());
        let smallest: Vec<String> =
            sets.iter().min_by_key(|set| set.len()).into_iter().flatten().map(Name::to_string).collect();
        let nodes = config.nodes.len();
        // No order of the chains makes few nodes survive more, so that is not the advice then.
        let advice = if nodes > wanted {
            "add the missing nodes to its end".to_owned()
        } else {
            format!("{nodes} nodes survive {} at most, so name more nodes", nodes.saturating_sub(1))
        };
        let message = format!(
            "survives any {survives_any} failures, not any {wanted}: when {} fall, a chain has no leader; {advice}",
            smallest.join(", ")
        );
        problems.push(general(Severity::Error, "survives-less", "chains".to_owned(), message));
    }
    if arguments.live {
        problems.extend(ask_all(context));
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
    Ok(context.tell(&output::Report { verdict, reason, facts }))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn general(severity: Severity, code: &'static str, at: String, message: String) -> Problem {
    Problem { severity, code, at, line: 1, column: 1, message }
}

/// Asks every node for its digest, all at once.
fn ask_all(context: &Context) -> Vec<Problem> {
    let remote = context.remote();
    let deadline = Deadline::after(context.config.cycle.recovery);
    std::thread::scope(|scope| {
        let ask = |name, node| {
            let remote = &remote;
            move || digest_of(name, &remote.ask(name, node, ASK_DIGEST, deadline), &context.config.digest)
        };
        let asked: Vec<_> = context.config.nodes.iter().map(|(name, node)| scope.spawn(ask(name, node))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// What is wrong with one node's list, if anything.
fn digest_of(name: &Name, report: &Report, expected: &str) -> Option<Problem> {
    let at = format!("nodes.{name}");
    let unknown = |why: String| {
        let message = format!("{name} did not tell the digest of its node list ({why}); run there: {ASK_DIGEST}");
        Some(general(Severity::Warning, "digest-unknown", at.clone(), message))
    };
    match (report.status, &report.silence) {
        (Some(0), _) => {}
        (Some(MISUSE), _) => {
            let words = report.errors.as_deref().unwrap_or_default();
            let message = format!("{name} has a node list that it cannot use ({words}); copy one to all nodes");
            return Some(general(Severity::Error, "digest-differs", at.clone(), message));
        }
        (Some(code), _) => return unknown(report.errors.clone().unwrap_or_else(|| format!("exit status {code}"))),
        (None, Some(Silence { cause, detail })) => {
            return unknown(detail.as_ref().map_or_else(|| cause.to_string(), |detail| format!("{cause}: {detail}")));
        }
        (None, None) => return unknown(Cause::Unframed.to_string()),
    }
    let object: Option<serde_json::Value> = serde_json::from_slice(&report.output).ok();
    match object.as_ref().and_then(|object| object.get("digest")?.as_str()) {
        Some(digest) if digest == expected => None,
        Some(digest) => {
            let message =
                format!("{name} has another node list (digest {digest:.16}, here {expected}); copy one to all nodes");
            Some(general(Severity::Error, "digest-differs", at.clone(), message))
        }
        None => unknown("no digest in what it printed".to_owned()),
    }
}
