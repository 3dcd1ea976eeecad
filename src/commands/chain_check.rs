//! `mirror chain check`: is the node list sound, and what does it survive?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, everywhere};
use crate::chain::{self, Chain};
use crate::cli;
use crate::clock::Deadline;
use crate::config::{self, Budget, Config, Places, Problem, Severity, Store};
use crate::name::{self, Name};
use crate::output::{self, ExitStatus, HasStatus as _, Report, Spinner, Style};

mod arbiter;
mod distance;
mod here;
mod links;
mod live;
mod unit;

pub use arbiter::{ArbiterFacts, StopsWithArbiter};
pub use distance::{LinkFacts, Promise};
pub use here::{Here, Tried};
pub use links::MeasuredLink;
pub use live::{Live, LiveNode};

/// The group or everybody may read.
const READABLE_BY_OTHERS: u32 = 0o044;

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
    /// What is survived of the arbiter; null without a lease.
    pub arbiter: Option<ArbiterFacts>,
    /// The worst case from a host's failure to the service's recovery.
    pub budget: Budget,
    /// The digest of the node list.
    pub digest: String,
    /// With --here, what this node can do; else null.
    pub here: Option<Here>,
    /// With --live, what all nodes said; else null.
    pub live: Option<Live>,
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
        match &self.arbiter {
            None => text += &format!("  survives any {}\n", count(self.survives_any, "failure")),
            Some(arbiter) => {
                let not_covered = arbiter.not_covered.join("; ");
                text += &format!("  survives {}\n  does not survive: {not_covered}\n", arbiter.covered);
            }
        }
        let budget = &self.budget;
        let inhale = if budget.inhale_ms > 0 { format!(" + inhale {}", budget.inhale_ms) } else { String::new() };
        text += &format!(
            "  worst case {} ms: check {} + probe {} + stop {}{inhale} + start {} + lease {}; promised {} ms\n  \
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
        if let Some(live) = &self.live {
            text += &distances(live);
        }
        let live = self.live.iter().flat_map(|live| live.nodes.iter().filter_map(|node| node.here.as_ref()));
        text + &live.chain(&self.here).filter_map(not_confined).collect::<String>()
    }
}

/// The links, what they mean for a recovery, and the values that would do.
fn distances(live: &Live) -> String {
    let mut text = String::new();
    if !live.links.is_empty() {
        let nodes: Vec<&Name> = live.nodes.iter().map(|node| &node.node).collect();
        text += "  an answer takes, in ms (and the deadline of a probe):\n";
        text += &output::columns(&distance::table(&nodes, &live.links));
    }
    for promise in &live.promises {
        text += &format!(
            "  on these links {} is back after {:.0} ms typically, {:.0} ms at worst, and its own time to start\n",
            promise.service, promise.typical_ms, promise.worst_ms
        );
    }
    text + &live.suggestion.as_ref().map_or_else(String::new, |toml| format!("\n{toml}"))
}

/// Where a node was not asked under its unit, and why.
fn not_confined(here: &Here) -> Option<String> {
    let tried = here.confinement.as_ref().filter(|tried| !tried.works)?;
    let (name, why) = (here.node.as_ref().map_or("this machine", Name::as_str), tried.detail.as_deref()?);
    Some(format!("  {name} was asked outside of {}: {why}\n", tried.name))
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
    problems.extend(readable_secrets(config, &places));
    let deadline = Deadline::after(everywhere::timeout(context, arguments.within));
    let spinner = (arguments.live || arguments.here).then(|| Spinner::start(context.output_mode, "asking the nodes"));
    let look = if arguments.confined { here::look_confined } else { here::look };
    let here = arguments.here.then(|| look(context, deadline));
    problems.extend(here.iter().flat_map(|here| here::problems(here, None, context, &places)));
    let live = arguments.live.then(|| live::ask_all(context, deadline, arguments.suggest, &places));
    let live = live.map(|(live, found)| {
        problems.extend(found);
        live
    });
    drop(spinner);
    if arguments.strict {
        problems.iter_mut().for_each(|problem| problem.severity = Severity::Error);
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let verdict = if errors == 0 { ChainCheckVerdict::Sound } else { ChainCheckVerdict::Unsound };
    let reason = reason(errors, problems.len() - errors, live.as_ref());
    let facts = ChainCheckFacts {
        problems,
        survives_any,
        fatal_sets: chain::fatal_sets(config.chains.values()),
        arbiter: arbiter::facts(config),
        budget: config::budget(config),
        digest: config.digest.clone(),
        here,
        live,
    };
    if arguments.format.is_some() {
        let printed = context.output_mode.print(&annotations(&facts.problems, &config.file));
        return Ok(if printed == ExitStatus::Yes { verdict.status() } else { printed });
    }
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// Commands of GitHub's workflows, one for each problem, with the file as it is called from where the step runs.
fn annotations(problems: &[Problem], file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let path = path.strip_prefix(here).unwrap_or(&path).display().to_string();
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let line = |problem: &Problem| {
        let Problem { severity, code, line, column, message, .. } = problem;
        let severity = if *severity == Severity::Error { "error" } else { "warning" };
        let (path, message) = (property(&path), data(message));
        format!("::{severity} file={path},line={line},col={column},title={code}::{message}\n")
    };
    problems.iter().map(line).collect()
}

fn reason(errors: usize, warnings: usize, live: Option<&Live>) -> String {
    let asked =
        live.map_or_else(String::new, |live| format!(" {} of {} asked.", live.answered, count(live.asked, "node")));
    match (errors, warnings) {
        (0, 0) => format!("The node list is sound.{asked}"),
        (0, _) => format!("The node list is sound, with {}.{asked}", count(warnings, "warning")),
        _ => format!("The node list is unsound: {}, {}.{asked}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Secrets of the lease's store that other users of this machine can read.
fn readable_secrets(config: &Config, places: &Places) -> Vec<Problem> {
    let Some(Store::Etcd { identity, user, .. }) = &config.lease else { return Vec::new() };
    let secrets = [
        ("lease.key", identity.as_ref().map(|(_, key)| key)),
        ("lease.password_file", user.as_ref().map(|(_, file)| file)),
    ];
    let readable = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.mode() & READABLE_BY_OTHERS != 0);
    let secrets = secrets.into_iter().filter_map(|(key, path)| Some((key, path.filter(|path| readable(path))?)));
    let warning = |(key, path): (&str, &PathBuf)| {
        let path = path.display();
        let message = format!("{path}: others may read this secret; chmod go-r {path}");
        places.problem(Severity::Warning, "readable-secret", key.to_owned(), message)
    };
    secrets.map(warning).collect()
}

/// The chain that decides survives less than was wanted.
fn survives_less(config: &Config, wanted: usize, survives_any: usize, places: &Places) -> Problem {
    let shortest = config.chains.iter().min_by_key(|(_, chain)| chain.len());
    let (key, fallen) = match shortest {
        Some((name, chain)) => (format!("chains.{name}"), name::list(chain)),
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
