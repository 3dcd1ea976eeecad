//! Asks every node what it can do, all of them at once.

use schemars::JsonSchema;
use serde::Serialize;

use super::distance::{Distances, LinkFacts, Promise};
use super::here::{self, Here};
use crate::clock::{Deadline, MAX_CLOCK_OFFSET};
use crate::commands::Context;
use crate::commands::everywhere::{self, Question, Refusal};
use crate::config::{Places, Problem, Severity};
use crate::name::Name;
use crate::output::ReportFacts as _;
use crate::remote::question;

/// The name and version of what a node prints.
const SCHEMA: &str = super::ChainCheckFacts::SCHEMA;
/// What the nodes said.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Live {
    /// How many nodes were asked.
    pub asked: usize,
    /// How many answered.
    pub answered: usize,
    /// Each node, in the file's order.
    pub nodes: Vec<LiveNode>,
    /// How far each node is from each other one.
    pub links: Vec<LinkFacts>,
    /// What the values promise on these links, for each service where they were measured.
    pub promises: Vec<Promise>,
    /// With --suggest, the values that would do on these links, as TOML; else null.
    pub suggestion: Option<String>,
}

/// What one node said.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LiveNode {
    /// The node.
    pub node: Name,
    /// The digest of its node list; null when it did not say.
    pub digest: Option<String>,
    /// How far its clock is ahead of this machine's at least, in ms; negative when it is behind, 0 when the
    /// answer allows for both; null when it did not say.
    pub clock_offset_ms: Option<f64>,
    /// What it can do; null when it did not say.
    pub here: Option<Here>,
}

/// The answer of a node.
struct Answer<'a> {
    name: &'a Name,
    outcome: Result<Object, Refusal>,
}

/// What a node printed.
struct Object {
    digest: String,
    clock_offset_ms: Option<f64>,
    here: Option<Here>,
}

/// Asks every node, and finds what differs and what does not work.
pub(super) fn ask_all(context: &Context, deadline: Deadline, suggest: bool, places: &Places) -> (Live, Vec<Problem>) {
    let command = question::Question::Here(everywhere::within(deadline)).to_string();
    let question = Question { command, schema: SCHEMA, deadline, dead: None };
    let remote = context.remote().over_new_connections();
    let own = || Object {
        digest: context.config.digest.clone(),
        clock_offset_ms: Some(0.0),
        here: Some(here::look(context, deadline)),
    };
    let asked = everywhere::ask_all_by(&remote, context, &question, own, object_of);
    let answers: Vec<Answer<'_>> = asked.into_iter().map(|(name, outcome)| Answer { name, outcome }).collect();
    let mut problems: Vec<Problem> = answers.iter().flat_map(|answer| problems(answer, context, places)).collect();
    let nodes: Vec<LiveNode> = answers.into_iter().map(live_node).collect();
    let answered = nodes.iter().filter(|node| node.digest.is_some()).count();
    let distances = distances(&nodes);
    problems.extend(distances.problems(&context.config, places));
    let live = Live {
        asked: context.config.nodes.len(),
        answered,
        nodes,
        promises: distances.promises(&context.config),
        suggestion: suggest.then(|| distances.suggestion(&context.config)),
        links: distances.links,
    };
    (live, problems)
}

fn distances(nodes: &[LiveNode]) -> Distances {
    let here = nodes.iter().filter_map(|node| Some((&node.node, node.here.as_ref()?)));
    let links = here.clone().flat_map(|(from, here)| {
        here.links.iter().map(|measured| LinkFacts { from: from.clone(), measured: measured.clone() })
    });
    let reads = here.filter_map(|(from, here)| Some((from.clone(), here.register_read_ms?)));
    Distances { links: links.collect(), slowest_read: reads.max_by(|one, other| one.1.total_cmp(&other.1)) }
}

fn live_node(answer: Answer<'_>) -> LiveNode {
    let object = answer.outcome.ok();
    let (digest, clock_offset_ms, here) =
        object.map_or((None, None, None), |object| (Some(object.digest), object.clock_offset_ms, object.here));
    LiveNode { node: answer.name.clone(), digest, clock_offset_ms, here }
}

fn object_of(answer: everywhere::Object) -> Option<Object> {
    let everywhere::Object { value, clock_offset_ms } = answer;
    Some(Object {
        digest: value.get("digest")?.as_str()?.to_owned(),
        clock_offset_ms,
        here: value.get("here").and_then(|here| serde_json::from_value(here.clone()).ok()),
    })
}

/// What is wrong with one node.
fn problems(answer: &Answer<'_>, context: &Context, places: &Places) -> Vec<Problem> {
    let name = answer.name;
    let problem = |severity, code, message| places.problem(severity, code, format!("nodes.{name}"), message);
    let object = match &answer.outcome {
        Ok(object) => object,
        Err(refusal) => {
            let (severity, code, message) = refused(refusal, name, context);
            return vec![problem(severity, code, message)];
        }
    };
    let expected = &context.config.digest;
    let mut found = Vec::new();
    if object.digest != *expected {
        let message = format!(
            "{name} has another node list (digest {:.16}, here {expected}); copy one to all nodes",
            object.digest
        );
        found.push(problem(Severity::Error, "digest-differs", message));
    }
    let offset = object.clock_offset_ms.unwrap_or_default();
    if offset.abs() > MAX_CLOCK_OFFSET.as_secs_f64() * 1000.0 {
        let (seconds, side) = (offset.abs() / 1000.0, if offset > 0.0 { "ahead of" } else { "behind" });
        let message = format!("the clock of {name} is {seconds:.0} s {side} this machine's; set it, best with NTP");
        found.push(problem(Severity::Warning, "clock-differs", message));
    }
    if let Some(here) = &object.here {
        found.extend(differences(here, name).map(|(severity, code, message)| problem(severity, code, message)));
        found.extend(here::problems(here, Some(name), context, places));
    }
    found
}

fn refused(refusal: &Refusal, name: &Name, context: &Context) -> (Severity, &'static str, String) {
    match refusal {
        Refusal::NotReached(why) => {
            let login = context.config.nodes.get(name).map_or_else(String::new, |node| {
                format!("ssh -p {} -l {} {} true", node.port, node.user, node.address)
            });
            let message = format!("{name} cannot be asked from here ({why}); mend what stops: {login}");
            (Severity::Error, "not-reached", message)
        }
        Refusal::NoMirror(why) => {
            let message = format!(
                "{name} has no mirror that a command over ssh finds ({why}); install it in the PATH of \
                 non-interactive sessions, for example in /usr/local/bin"
            );
            (Severity::Error, "no-mirror", message)
        }
        Refusal::Unusable(why) => {
            let message = format!(
                "{name} has a node list or a version of mirror that it cannot use ({why}); copy one to all nodes"
            );
            (Severity::Error, "digest-differs", message)
        }
        Refusal::Unclear(why) => {
            let message = format!(
                "{name} did not tell the digest of its node list ({why}); run there: mirror chain check --here"
            );
            (Severity::Warning, "digest-unknown", message)
        }
    }
}

/// What a node says of itself that is not as it should be.
fn differences(here: &Here, name: &Name) -> impl Iterator<Item = (Severity, &'static str, String)> {
    let own = here.node.as_ref();
    let version = env!("CARGO_PKG_VERSION");
    let wrong_self = (own != Some(name)).then(|| {
        let taken = own.map_or("no node of the list", Name::as_str);
        let message =
            format!("{name} takes itself for {taken}; write self = \"{name}\" in its list, or set MIRROR_SELF");
        (Severity::Error, "wrong-self", message)
    });
    let version_differs = (here.version != version).then(|| {
        let message =
            format!("{name} has mirror {}, and this machine {version}; install one on all nodes", here.version);
        (Severity::Warning, "version-differs", message)
    });
    let idle = (here.at_work == Some(false)).then(|| {
        let age = here.beat_age_ms.map_or_else(
            || "no check has ended there yet".to_owned(),
            |age| format!("its last check ended {:.0} s ago", age / 1000.0),
        );
        let state = here.state.as_ref().map_or_else(String::new, |state| {
            format!(", or, if they run, let them keep their state in {}, where mirror over ssh looks", state.display())
        });
        let message = format!("{name} is not at work: {age}; start its timer or its loop of checks{state}");
        (Severity::Warning, "not-at-work", message)
    });
    [wrong_self, version_differs, idle].into_iter().flatten()
}
