//! A view: a state for each node, at one time, as seen from one node.
//!
//! A view is taken by probing, or loaded from the object that `mirror probe` printed.

use std::borrow::Cow;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Method, Node, Probe};
use crate::leader::{NodeStates, State};
use crate::name::Name;
use crate::output::{OutputMode, Style, millis};
use crate::probe::{self, Answer, Target, Timing};
use crate::remote::Remote;
use crate::usage_error::UsageError;

/// The name and version of the object that holds a view.
pub const SCHEMA: &str = "mirror.probe/1";
/// A longer file is not a view.
const MAX_VIEW_BYTES: u64 = 16 * 1024 * 1024;
/// How much of a wrong value an error message quotes.
const MAX_QUOTE_CHARS: usize = 160;
/// The clock of one machine may be set back by this much between two commands of a pipeline.
const MAX_CLOCK_STEP: Duration = Duration::from_secs(1);

/// The likely nodes are asked this fraction of the probe's timeout earlier: timeout / 20. In a quiet
/// check this saves the connections to all others; otherwise it costs them 5 % of their time.
const HEAD_START_DIVISOR: u32 = 20;

/// Marks every node as likely: all are asked at once.
pub fn all_first(_: &Name) -> bool {
    true
}

/// Answers, by node; none for a node that was asked but not waited for.
pub type Answers = IndexMap<Name, Option<Answer>>;

/// The answers of nodes and witnesses.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The answers of the nodes that were asked, in the order asked.
    pub answers: Answers,
    /// Whether each witness was reached; none while that is undecided.
    pub witnesses: Vec<Option<bool>>,
}

impl View {
    /// The states that were seen.
    pub fn seen(&self) -> NodeStates {
        let state = |(node, answer): (&Name, &Option<Answer>)| Some((node.clone(), answer.as_ref()?.state));
        self.answers.iter().filter_map(state).collect()
    }
}

/// Prints an answer to stderr when each step is wanted (`-v`).
pub fn say(output_mode: OutputMode, name: &Name, answer: &Answer) {
    let cause = answer.cause.as_deref().unwrap_or("answered");
    let state = format!("{:?}", answer.state).to_lowercase();
    output_mode.step(format_args!("{name}: {state}, {cause}"));
}

/// One node as a view shows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NodeReport {
    /// The node.
    pub node: Name,
    /// Its address in the node list.
    pub address: String,
    /// How it was asked: `tcp`, `ssh-banner`, `ssh`, `http` or `exec`.
    pub method: &'static str,
    /// Whether it is alive.
    pub state: ReportedState,
    /// Why it is not alive, as a slug; null when it is alive or was not asked.
    pub cause: Option<String>,
    /// The same in words, where there is more to say.
    pub detail: Option<String>,
    /// How long the try that was answered took, in ms; null when no answer came.
    pub latency_ms: Option<f64>,
    /// How many tries were started.
    pub attempts: u32,
    /// How long an answer may take at most, in ms: by the node list, or as it was learned.
    pub deadline_ms: f64,
}

/// The state of a node, or that its answer was not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportedState {
    /// An answer came.
    Alive,
    /// A definite no, or no answer in time.
    Dead,
    /// We could not ask.
    Unknown,
    /// The answer was not needed, or not given in this view.
    Unasked,
}

impl From<Option<State>> for ReportedState {
    fn from(state: Option<State>) -> Self {
        match state {
            Some(State::Alive) => Self::Alive,
            Some(State::Dead) => Self::Dead,
            Some(State::Unknown) => Self::Unknown,
            None => Self::Unasked,
        }
    }
}

impl NodeReport {
    /// The node as `answer` has it.
    pub fn new(name: &Name, node: &Node, answer: Option<&Answer>) -> Self {
        Self {
            node: name.clone(),
            address: node.address.to_string(),
            method: node.probe.method.name(),
            state: answer.map(|a| a.state).into(),
            cause: answer.and_then(|a| a.cause.as_deref()).map(str::to_owned),
            detail: answer.and_then(|a| a.detail.clone()),
            latency_ms: answer.and_then(|a| a.latency).map(millis),
            attempts: answer.map_or(0, |a| a.attempts),
            deadline_ms: millis(node.probe.deadline()),
        }
    }

    /// The node as a line of a table for people.
    pub fn row(&self, style: Style) -> Vec<String> {
        let state = match self.state {
            ReportedState::Alive => style.good("alive"),
            ReportedState::Dead => style.bad("dead"),
            ReportedState::Unknown => style.doubtful("unknown"),
            ReportedState::Unasked => style.faint("unasked"),
        };
        let latency = self.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
        let why: Vec<&str> = [&self.cause, &self.detail].into_iter().flatten().map(String::as_str).collect();
        vec![self.node.to_string(), self.address.clone(), state, latency, style.faint(&why.join(": "))]
    }
}

/// Whether a node that was seen alive has fallen since, and is not to be waited for until the deadline.
pub fn has_died(remote: &Remote, name: &Name, node: &Node) -> bool {
    let look = take(&[(name, node)], &[], remote, all_first, |_, _| false);
    look.is_ok_and(|look| look.seen().get(name) == Some(&State::Dead))
}

/// Asks nodes and witnesses until all have answered, or until `settled` says that the answers so far are
/// enough. Nodes that are not `wanted_first` are asked a moment later, and in most checks not at all.
///
/// # Errors
/// When this process cannot ask anybody.
pub fn take(
    nodes: &[(&Name, &Node)],
    witnesses: &[Node],
    remote: &Remote,
    wanted_first: impl Fn(&Name) -> bool,
    mut settled: impl FnMut(&View, Option<(&Name, &Answer)>) -> bool,
) -> Result<View> {
    let target =
        |(name, node): &(&Name, &'_ Node)| (node.probe.method == Method::Ssh).then(|| remote.login(name, node));
    let delay = head_start(nodes, &wanted_first);
    let mut targets: Vec<Target<'_>> = nodes
        .iter()
        .map(|pair| Target {
            address: &pair.1.address,
            probe: &pair.1.probe,
            login: target(pair),
            delay: if wanted_first(pair.0) { Duration::ZERO } else { delay.unwrap_or(of_timeout(&pair.1.probe)) },
        })
        .collect();
    targets.extend(witnesses.iter().map(|w| Target {
        address: &w.address,
        probe: &w.probe,
        login: None,
        delay: delay.unwrap_or(of_timeout(&w.probe)),
    }));
    let mut view = View {
        answers: nodes.iter().map(|(name, _)| ((*name).clone(), None)).collect(),
        witnesses: vec![None; witnesses.len()],
    };
    probe::ask(&targets, |index, answer| {
        let enough = match nodes.get(index) {
            Some((name, _)) => {
                view.answers[index] = Some(answer.clone());
                settled(&view, Some((name, &answer)))
            }
            None => {
                // A refusal proves that packets travel both ways, as an acceptance does.
                let reached = answer.state == State::Alive || answer.cause.as_deref() == Some(probe::REFUSED);
                view.witnesses[index - nodes.len()] = Some(reached);
                settled(&view, None)
            }
        };
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(view)
}

/// The head start where the likely links are known: until their answers have usually come.
fn head_start(nodes: &[(&Name, &Node)], is_likely: impl Fn(&Name) -> bool) -> Option<Duration> {
    let likely = nodes.iter().filter(|(name, _)| is_likely(name));
    let usual = likely.map(|(_, node)| node.probe.times().map(|times| times.usual)).collect::<Option<Vec<_>>>()?;
    usual.into_iter().max()
}

fn of_timeout(probe: &Probe) -> Duration {
    probe.timeout / HEAD_START_DIVISOR
}

#[derive(Deserialize)]
struct Written {
    at: String,
    digest: String,
    nodes: Vec<WrittenNode>,
}

#[derive(Deserialize)]
struct WrittenNode {
    node: Name,
    state: State,
    cause: Option<String>,
    detail: Option<String>,
    latency_ms: Option<f64>,
    #[serde(default)]
    attempts: u32,
}

/// A view that was loaded, or why it is not trusted.
pub enum LoadedView {
    /// It was taken with this node list, and is fresh.
    Trusted(View),
    /// It is too old, or was taken with another node list. The text says which.
    Distrusted(String),
}

/// Loads the view that `mirror probe` printed into a file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, is not a view, or is from the future.
pub fn read(path: &Path, config: &Config, now: SystemTime) -> Result<LoadedView> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let source: std::io::Result<Box<dyn Read>> = if path == Path::new("-") {
        Ok(Box::new(std::io::stdin().lock()))
    } else {
        std::fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    source
        .and_then(|source| source.take(MAX_VIEW_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(&shown, &error.to_string()))?;
    parse(&shown, &bytes, config, now)
}

/// Parses a view. Errors call it `shown`.
///
/// # Errors
/// When it is not a view, or is from the future.
pub fn parse(shown: &str, bytes: &[u8], config: &Config, now: SystemTime) -> Result<LoadedView> {
    let wrong = |what: String| wrong(shown, &what);
    if bytes.len() as u64 > MAX_VIEW_BYTES {
        return Err(wrong("longer than 16 MiB, so it is no view".to_owned()));
    }
    let object: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line().max(1), error.column().max(1));
        UsageError::new(format!(
            "{shown}:{line}:{column}: no view, as this is not one whole JSON object ({error}); {MAKE_ONE}"
        ))
    })?;
    if object.get("schema").and_then(serde_json::Value::as_str) != Some(SCHEMA) {
        return Err(wrong(format!("its schema is not {SCHEMA:?}")));
    }
    let written: Written =
        serde_json::from_value(object).map_err(|error| wrong(format!("no view ({})", quote(&error.to_string()))))?;
    let at = humantime::parse_rfc3339(&written.at).map_err(|error| wrong(format!("\"at\" is no time ({error})")))?;
    judge(written, at, config, now).map_err(wrong)
}

/// The remedy for a file that is not a view.
const MAKE_ONE: &str = "make one with: mirror probe --json";

/// Quotes foreign text in a sentence: one line, bounded, without escapes for quotation marks.
fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE_CHARS).flat_map(char::escape_debug).collect::<String>().replace("\\\"", "\"")
}

fn wrong(shown: &str, what: &str) -> anyhow::Error {
    UsageError::new(format!("{shown}: {what}; {MAKE_ONE}"))
}

fn judge(written: Written, at: SystemTime, config: &Config, now: SystemTime) -> Result<LoadedView, String> {
    let age = now.duration_since(at).unwrap_or_default();
    if at.duration_since(now).is_ok_and(|ahead| ahead > MAX_CLOCK_STEP) {
        return Err(format!("taken at {}, which is in the future; set the clock", written.at));
    }
    let limit = config.cycle.check + config.probe_timeout;
    if age > limit {
        let (age, limit) = (age.as_secs_f64(), limit.as_secs_f64());
        return Ok(LoadedView::Distrusted(format!(
            "the view is {age:.3} s old, which is more than cycle.check + probe.timeout ({limit:.3} s)"
        )));
    }
    if written.digest != config.digest {
        return Ok(LoadedView::Distrusted(format!(
            "the view was taken with another node list (digest {}, here {})",
            quote(&written.digest),
            config.digest
        )));
    }
    let mut view = View { answers: Answers::new(), witnesses: vec![None; config.witnesses.len()] };
    for node in written.nodes {
        if !config.nodes.contains_key(&node.node) {
            return Err(format!("no node is named {:?} in {}", node.node.as_str(), config.file.display()));
        }
        let answer = Answer {
            state: node.state,
            cause: node.cause.map(Cow::Owned),
            detail: node.detail,
            latency: node.latency_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok()),
            attempts: node.attempts,
            timing: Timing::default(),
        };
        if view.answers.insert(node.node.clone(), Some(answer)).is_some() {
            return Err(format!("{} stands in it twice", node.node));
        }
    }
    Ok(LoadedView::Trusted(view))
}
