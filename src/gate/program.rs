//! Carries out what a node asks for in the first line of its program, by the node list of this node.

use std::process::Command;

use anyhow::Result;

use super::{Call, Refusal, Repositories, journal, relay};
use crate::clock::Deadline;
use crate::config::{Config, Service};
use crate::name::Name;
use crate::output;
use crate::remote::header::{self, Request, ServiceVerb, Subject};
use crate::remote::question::Question;
use crate::remote::{self, Errand, Task};
use crate::service::{self, ServiceCommand, Start, Verb};

/// This node.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Its node list.
    pub config: &'a Config,
    /// Its name; none where the list does not have this machine.
    pub local_node: Option<&'a Name>,
}

/// A request that is carried out, by commands of our own.
enum Planned<'a> {
    Service { name: &'a Name, service: &'a Service, verb: ServiceVerb, start: Start },
    Command(String),
}

/// Carries a program's requests out; the exit status of the session.
///
/// # Errors
/// A [`Refusal`] when nothing of it may be done. Where a part may not, that part is told apart, and the rest
/// is done: two node lists differ for a while when a service is added.
pub fn serve(here: &Here<'_>, call: &Call) -> Result<i32, Refusal> {
    let from_argument = match call {
        Call::Argument(line) => Some(line.clone()),
        _ => None,
    };
    let live = if from_argument.is_some() { relay::Live::WithNonce } else { relay::Live::Yes };
    let line = from_argument.map_or_else(relay::first_line, Ok).map_err(Refusal)?;
    let received = header::parse(&line).map_err(|error| Refusal(format!("{error:#}")))?;
    let planned: Vec<Result<Planned<'_>, String>> =
        received.requests.iter().map(|request| plan(here, request)).collect();
    if let Some(Err(why)) = planned.first().filter(|_| planned.iter().all(Result::is_err)) {
        return Err(Refusal(why.clone()));
    }
    let planned: Vec<Planned<'_>> = planned.into_iter().map(|one| one.unwrap_or_else(|why| told(&why))).collect();
    let errands: Vec<Errand<'_>> =
        planned.iter().zip(&received.requests).map(|(planned, request)| errand(here, planned, request)).collect();
    let program = remote::program(&errands, &received.nonce);
    relay::run(shell(here), &program, live, &received.nonce).map_err(|error| Refusal(format!("sh: {error}")))
}

fn plan<'a>(here: &Here<'a>, request: &Request) -> Result<Planned<'a>, String> {
    let (name, verb) = match &request.subject {
        Subject::Service(name, verb) => (name, *verb),
        Subject::Node(Question::BreathRefs(path)) => {
            let repositories = Repositories(here.config.breath.repo.clone().into_iter().collect());
            let Some(repo) = repositories.named(path) else {
                return Err(format!("{path:?} is not the repository of [breath]"));
            };
            return Ok(Planned::Command(Question::BreathRefs(repo.display().to_string()).to_string()));
        }
        Subject::Node(question) => {
            let program = std::env::current_exe().unwrap_or_else(|_| "mirror".into());
            let command =
                |words: Vec<String>| format!("{} {}", remote::quoted(&program.to_string_lossy()), quote(&words));
            return Ok(Planned::Command(question.words().map_or_else(|| "true".to_owned(), command)));
        }
    };
    let Some((name, service)) = here.config.services.get_key_value(name.as_str()) else {
        return Err(format!("no service of this node's list is named {name}"));
    };
    // A node that has left the chain is still asked, and told to stop it.
    let chain = here.config.chains.get(&service.chain);
    let may_run_here = here.local_node.is_some_and(|own| chain.is_some_and(|chain| chain.contains(own)));
    if verb == ServiceVerb::Start && !may_run_here {
        return Err(format!("by this node's list {name} does not run here"));
    }
    if matches!(verb, ServiceVerb::Start | ServiceVerb::Stop) {
        let act = if verb == ServiceVerb::Start { "start" } else { "stop" };
        journal::accepted(&format!("{act} {name}"));
    }
    let mut start = Start::of(name, service);
    start.before = start.before.filter(|_| request.inhale && may_run_here);
    Ok(Planned::Service { name, service, verb, start })
}

/// In place of a request that is refused, among others that are not: its status is none of the service's.
fn told<'a>(why: &str) -> Planned<'a> {
    journal::refused(why);
    output::say(format_args!("gate: refused: {why}"));
    Planned::Command("exit 126".to_owned())
}

fn errand<'a>(here: &Here<'_>, planned: &'a Planned<'a>, request: &Request) -> Errand<'a> {
    let deadline = Deadline::after(request.timeout);
    let alone = |service, task| Errand { service, task, deadline, act_deadline: None };
    let (service_name, service, verb, start) = match planned {
        Planned::Command(command) => return alone(None, Task::Ask(command)),
        Planned::Service { name, service, verb, start } => (*name, *service, *verb, start),
    };
    let status = service.status.as_str();
    let verb = match verb {
        ServiceVerb::Status if start.before.is_some() => Verb::Inhale,
        ServiceVerb::Status => Verb::Status,
        ServiceVerb::Start => Verb::Start,
        ServiceVerb::Stop => Verb::Stop,
        ServiceVerb::Running => return alone(Some(service_name), Task::Await { status, running: true }),
        ServiceVerb::Stopped => return alone(Some(service_name), Task::Await { status, running: false }),
    };
    let own = here.local_node.and_then(|name| here.config.nodes.get(name));
    let to_ask = own.map_or(here.config.probe_timeout, |node| node.probe.timeout);
    service::errand(&ServiceCommand { service_name, service, verb, deadline }, start, to_ask)
}

/// The shell of the program. A `mirror` in it, such as the one that a start under a lease asks first, finds
/// the node list that is in force here.
fn shell(here: &Here<'_>) -> Command {
    let mut shell = Command::new(remote::SHELL);
    shell.env("MIRROR_CONFIG", &here.config.file).env_remove(super::ORIGINAL_COMMAND);
    if let Some(name) = here.local_node {
        shell.env("MIRROR_SELF", name.as_str());
    }
    shell
}

fn quote(words: &[String]) -> String {
    words.iter().map(|word| remote::quoted(word)).collect::<Vec<_>>().join(" ")
}
