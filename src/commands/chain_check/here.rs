//! What this node itself can do: reach the others, ask for its services, find the breath's repository.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xshell::cmd;

use super::links::{self, MeasuredLink};
use super::{arbiter, unit};
use crate::clock::Deadline;
use crate::commands::Context;
use crate::config::{Node, Places, Problem, Severity};
use crate::exec::{Ended, Exec, Finished};
use crate::git::Git;
use crate::name::Name;
use crate::output::millis;
use crate::remote;
use crate::remote::question::Question;
use crate::service::{Condition, Instance};
use crate::state::StateDir;
use crate::sync::missing_settings;

/// What a node itself can do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Here {
    /// The node; null for a machine that is none of the list.
    pub node: Option<Name>,
    /// The version of `mirror`.
    pub version: String,
    /// The age of the last check's beat, in ms; null when there is none.
    pub beat_age_ms: Option<f64>,
    /// Whether the last check ended a short while ago; null when that could not be found out.
    pub at_work: Option<bool>,
    /// Each other node, and whether it lets this one in.
    pub nodes: Vec<Tried>,
    /// Each service that may run here, and whether its `status` can be run here.
    pub services: Vec<Tried>,
    /// The breath's repository and its remote; null where the list names no repository.
    pub breath: Option<Tried>,
    /// Whether the nodes and the services were asked under the confinement of the unit that runs the checks;
    /// null within that unit itself.
    #[serde(default)]
    pub confinement: Option<Tried>,
    /// The state directory of the user who was asked.
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// The state directory of the unit that runs the checks; null when that could not be asked.
    #[serde(default)]
    pub state_of_unit: Option<PathBuf>,
    /// How far it is to each other node.
    #[serde(default)]
    pub links: Vec<MeasuredLink>,
    /// What the slowest of three reads of the lease took, in ms; null without a lease, or when one failed.
    #[serde(default)]
    pub register_read_ms: Option<f64>,
}

/// Something that was tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// The node, the service or the repository.
    pub name: String,
    /// Whether it worked.
    pub works: bool,
    /// Why not, for people; null when it worked.
    pub detail: Option<String>,
    /// How long it took, in ms.
    pub elapsed_ms: f64,
}

/// Tries everything at once, the nodes and the services in the unit where that can be done.
pub(super) fn look(context: &Context, deadline: Deadline) -> Here {
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| look_beside(context, deadline));
        let links = scope.spawn(|| links::measure(context, deadline));
        let read = scope.spawn(|| links::read_register(context, deadline));
        let begun = Instant::now();
        let in_unit = unit::look(context, deadline.sooner(Deadline::after(deadline.left().mul_f64(0.7))));
        let confinement = tried(unit::UNIT, begun, in_unit.as_ref().map(|_| ()).map_err(Clone::clone));
        let asked = in_unit.unwrap_or_else(|_| Here { state: None, ..look_confined(context, deadline) });
        let (breath, beat) = beside.join().unwrap_or_default();
        Here {
            beat_age_ms: beat.and_then(|beat| beat.0),
            at_work: beat.map(|beat| beat.1),
            breath,
            confinement: Some(confinement),
            state: Some(StateDir::open(&context.config).directory().to_owned()),
            state_of_unit: asked.state,
            links: links.join().unwrap_or_default(),
            register_read_ms: read.join().unwrap_or_default(),
            ..asked
        }
    })
}

/// What is the same in the unit and outside of it: the breath, which has a unit of its own, and the beat as
/// the other nodes read it.
fn look_beside(context: &Context, deadline: Deadline) -> (Option<Tried>, Option<(Option<f64>, bool)>) {
    let repo = context.config.breath.repo.as_ref();
    let breath = repo.map(|repo| try_it(&repo.display().to_string(), || reach_remote(context, deadline)));
    (breath, context.local_node.as_ref().and_then(|_| beat(context, deadline)))
}

/// Tries the nodes and the services as this process is, all at once.
pub(super) fn look_confined(context: &Context, deadline: Deadline) -> Here {
    let (config, own) = (&context.config, context.local_node.as_ref());
    std::thread::scope(|scope| {
        let others = config.nodes.iter().filter(|(name, _)| Some(*name) != own);
        let nodes: Vec<_> = others
            .map(|(name, node)| scope.spawn(move || try_it(name.as_str(), || reach(context, name, node, deadline))))
            .collect();
        let services: Vec<_> = services(context)
            .map(|instance| scope.spawn(move || try_it(instance.0.as_str(), || status(context, instance, deadline))))
            .collect();
        let joined = |threads: Vec<std::thread::ScopedJoinHandle<'_, Tried>>| {
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        };
        let (nodes, services) = (joined(nodes), joined(services));
        Here {
            node: own.cloned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            beat_age_ms: None,
            at_work: None,
            nodes,
            services,
            breath: None,
            confinement: None,
            state: Some(StateDir::open(config).directory().to_owned()),
            state_of_unit: None,
            links: Vec::new(),
            register_read_ms: None,
        }
    })
}

fn try_it(name: &str, action: impl FnOnce() -> Result<(), String>) -> Tried {
    let begun = Instant::now();
    tried(name, begun, action())
}

fn tried(name: &str, begun: Instant, outcome: Result<(), String>) -> Tried {
    let elapsed_ms = millis(begun.elapsed());
    Tried { name: name.to_owned(), works: outcome.is_ok(), detail: outcome.err(), elapsed_ms }
}

/// Whether a command runs on another node.
fn reach(context: &Context, name: &Name, node: &Node, deadline: Deadline) -> Result<(), String> {
    let report = context.remote().over_new_connections().ask(name, node, &Question::Reached.to_string(), deadline);
    if report.status == Some(0) { Ok(()) } else { Err(report.why()) }
}

/// Why a command did not do it, for people.
pub(super) fn why(finished: &Finished) -> String {
    let last = finished.last_line();
    match finished.ended {
        Ended::TimedOut => {
            last.map_or_else(|| "no answer in time".to_owned(), |last| format!("no answer in time: {last}"))
        }
        Ended::Exited(status) => last.unwrap_or_else(|| format!("exit status {status}")),
        Ended::Signaled(signal) => last.unwrap_or_else(|| format!("signal {signal}")),
    }
}

/// The services that may run on this node.
fn services(context: &Context) -> impl Iterator<Item = (&Name, &crate::config::Service)> {
    let (config, own) = (&context.config, context.local_node.as_ref());
    config.services.iter().filter(move |(_, service)| {
        let chain = config.chains.get(&service.chain);
        own.is_some_and(|own| chain.is_some_and(|chain| chain.contains(own)))
    })
}

/// Whether a service's status can be run here, whatever it says.
fn status(
    context: &Context,
    (service_name, service): (&Name, &crate::config::Service),
    deadline: Deadline,
) -> Result<(), String> {
    let own = context.local_node.as_ref().and_then(|name| context.config.nodes.get_key_value(name));
    let Some((name, node)) = own else { return Err("this machine is not a node".to_owned()) };
    let remote = context.remote();
    let instance = Instance { remote: &remote, service_name, service, node_name: name, node };
    let result = instance.status(deadline.sooner(Deadline::after(service.timeout)));
    match result.condition {
        Condition::Running | Condition::Stopped => Ok(()),
        Condition::Unknown => Err(result.detail.unwrap_or_else(|| "no answer in time".to_owned())),
    }
}

/// Whether the breath's repository is here and its remote answers.
fn reach_remote(context: &Context, deadline: Deadline) -> Result<(), String> {
    let breath = &context.config.breath;
    let Some(repo) = &breath.repo else { return Ok(()) };
    let mut git = Git::open(repo).map_err(|error| format!("{error:#}"))?;
    if breath.peers {
        let missing = missing_settings(&git);
        if !missing.is_empty() {
            return Err(format!("this clone is not made for the mesh: it lacks {}", missing.join(", ")));
        }
    }
    // The other nodes are asked as nodes.
    if breath.remote.is_empty() {
        return Ok(());
    }
    let ssh = remote::git_ssh_command(context.config.probe_timeout);
    let fresh = ssh.strip_prefix("ssh").map(|options| format!("ssh {}{options}", remote::NEW_CONNECTION.join(" ")));
    git.set_ssh_command(fresh.as_deref().or(Some(&ssh)));
    let (remote, branch) = (&breath.remote, format!("refs/heads/{}", breath.branch));
    let finished = git.run_remote(cmd!(git.shell(), "git ls-remote --quiet -- {remote} {branch}"), deadline);
    let finished = finished.map_err(|error| format!("{error:#}"))?;
    if finished.success() { Ok(()) } else { Err(why(&finished)) }
}

/// What the last check here left behind: its age, and whether it is fresh.
fn beat(context: &Context, deadline: Deadline) -> Option<(Option<f64>, bool)> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg("--config").arg(&context.config.file).args(["--json", "beat"]);
    let finished = Exec::new(command).run(deadline).ok()?;
    let object: serde_json::Value = serde_json::from_slice(&finished.stdout).ok()?;
    let age = object.get("beat").and_then(|beat| beat.get("age_ms")?.as_f64());
    Some((age, object.get("verdict")? == "fresh"))
}

/// What does not work, as problems of this node; `places` tells where it stands in the list.
pub(super) fn problems(here: &Here, asked: Option<&Name>, context: &Context, places: &Places) -> Vec<Problem> {
    let name = asked.or(here.node.as_ref()).map_or("this machine", Name::as_str);
    let key = format!("nodes.{name}");
    let error = |code, message| places.problem(Severity::Error, code, key.clone(), message);
    let mut problems = Vec::new();
    for tried in here.nodes.iter().filter(|tried| !tried.works) {
        let detail = tried.detail.as_deref().unwrap_or_default();
        let remedy =
            context.config.nodes.get(tried.name.as_str()).map_or_else(String::new, |node| {
                format!("ssh -p {} -l {} {} true", node.port, node.user, node.address)
            });
        problems.push(error(
            "not-reached",
            format!("{name} cannot run a command on {} ({detail}); mend on {name} what stops: {remedy}", tried.name),
        ));
    }
    let slow = here.nodes.iter().filter_map(|tried| arbiter::slow_login(tried, &context.config));
    problems.extend(slow.map(|message| places.problem(Severity::Warning, "slow-login", key.clone(), message)));
    for tried in here.services.iter().filter(|tried| !tried.works) {
        let detail = tried.detail.as_deref().unwrap_or_default();
        problems.push(error(
            "status-not-run",
            format!(
                "{name} cannot tell whether {} runs there ({detail}); mend services.{}.status or what it needs there",
                tried.name, tried.name
            ),
        ));
    }
    if let (Some(state), Some(of_unit)) = (&here.state, &here.state_of_unit)
        && state != of_unit
    {
        let (state, of_unit) = (state.display(), of_unit.display());
        let message = format!(
            "{name} keeps its state in {of_unit} under {}, and in {state} over ssh, so no other node can read its beat; \
             write state = \"{of_unit}\" in its list",
            unit::UNIT
        );
        problems.push(places.problem(Severity::Warning, "state-differs", key.clone(), message));
    }
    if let Some(tried) = here.breath.as_ref().filter(|tried| !tried.works) {
        let detail = tried.detail.as_deref().unwrap_or_default();
        let (remote, repo) = (&context.config.breath.remote, &tried.name);
        let init = if context.config.breath.peers { "mirror breathe --init, then " } else { "" };
        let remedy = match &remote[..] {
            "" => "mirror breathe --init".to_owned(),
            remote => format!("{init}git -C {repo} ls-remote {remote}"),
        };
        problems.push(error(
            "breath-not-reached",
            format!("{name} cannot breathe in {repo} ({detail}); mend on {name} what stops: {remedy}"),
        ));
    }
    problems
}
