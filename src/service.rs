//! Status, start and stop of services on a node.

mod inhaled;

use std::time::{Duration, Instant};

use crate::clock::Deadline;
use crate::config::{Guard, Lease, Node, Service};
use crate::name::Name;
pub use crate::remote::Cause;
use crate::remote::{Destination, Errand, Remote, Report, Silence, Task, trip};
use crate::view::has_died;
pub use inhaled::Inhaled;

/// The pause before a node that could not be asked is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// From this status on a shell speaks of itself: 126 and 127 not runnable, 128 and more killed.
const NOT_ITS_OWN: i32 = 126;

/// What `status` said of a service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It exited with 0.
    Running,
    /// It exited with another status of its own.
    Stopped,
    /// It could not be asked, or did not say in time, or nothing shows that it was asked.
    Unknown,
}

/// What became of one command on one node.
#[derive(Clone, Debug)]
pub struct CommandResult {
    /// Whether the command exited with 0, with another status of its own, or could not be asked.
    pub condition: Condition,
    /// Why not.
    pub cause: Option<Cause>,
    /// The same in words.
    pub detail: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What is wanted of a service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Whether it runs.
    Status,
    /// The inhale of a node where it is to start soon; then whether it runs.
    Inhale,
    /// `stop`, then `status` until it is stopped.
    Stop,
    /// Where it is stopped, `start`; then `status` until it runs.
    Start,
}

/// A verb for one service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceCommand<'a> {
    /// The service's name.
    pub service_name: &'a Name,
    /// The service.
    pub service: &'a Service,
    /// What is wanted.
    pub verb: Verb,
    /// By when.
    pub deadline: Deadline,
}

/// What became of a [`ServiceCommand`].
#[derive(Clone, Debug)]
pub struct ServiceResult {
    /// `start` or `stop` itself; none where it did not have to run, and where nothing shows that it ran.
    pub act: Option<CommandResult>,
    /// The last `status`.
    pub status: CommandResult,
    /// What the inhale brought; none where there was none.
    pub inhaled: Option<Inhaled>,
}

/// A service on a node.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// How commands get there.
    pub remote: &'a Remote,
    /// The service's name.
    pub service_name: &'a Name,
    /// The service.
    pub service: &'a Service,
    /// The node's name.
    pub node_name: &'a Name,
    /// The node.
    pub node: &'a Node,
}

/// Carries out commands for many services on one node, in one trip: side by side, each until its own
/// deadline, with the confirmation repeated there. `on_result` gets each command's index and result as
/// soon as it is known, each index once.
pub fn run_on_node(
    remote: &Remote,
    (name, node): (&Name, &Node),
    commands: &[ServiceCommand<'_>],
    on_result: &mut dyn FnMut(usize, ServiceResult),
) {
    let starts: Vec<Start> = commands.iter().map(|command| Start::of(command.service_name, command.service)).collect();
    let errands: Vec<Errand<'_>> =
        commands.iter().zip(&starts).map(|(command, start)| errand(command, start, node.probe.timeout)).collect();
    let has_died = || has_died(remote, name, node);
    trip::run(remote, &Destination { name, node, has_died: &has_died }, &errands, &mut |index, report| {
        on_result(index, result_of(&report));
    });
}

pub(crate) fn errand<'a>(command: &ServiceCommand<'a>, start: &'a Start, to_ask: Duration) -> Errand<'a> {
    let ServiceCommand { service_name, service, verb, deadline } = *command;
    let status = service.status.as_str();
    let task = match (verb, start.before.as_deref()) {
        (Verb::Inhale, Some(before)) => Task::Prepare { status, before },
        (Verb::Status | Verb::Inhale, _) => Task::Ask(status),
        (Verb::Stop, _) => Task::Stop { status, stop: &service.stop },
        (Verb::Start, before) => Task::Start { status, start: &start.command, before },
    };
    let left = deadline.left();
    let acts = matches!(verb, Verb::Start | Verb::Stop);
    let act_deadline = acts.then(|| Deadline::after(left - to_ask.min(left / 2)));
    Errand { service: Some(service_name), task, deadline, act_deadline }
}

impl Instance<'_> {
    /// Asks whether it runs.
    pub fn status(&self, deadline: Deadline) -> CommandResult {
        self.carry_out(Verb::Status, deadline).status
    }

    /// Has the node inhale ahead of a start: what the later inhale has to fetch is little then, and what it
    /// needs to get there is open already.
    pub fn inhale(&self, deadline: Deadline) -> Option<Inhaled> {
        self.carry_out(Verb::Inhale, deadline).inhaled
    }

    /// Asks for its status until it is `wanted`, the node falls, or the deadline passes.
    pub fn await_status(&self, wanted: Condition, deadline: Deadline) -> CommandResult {
        let begun = Instant::now();
        let task = Task::Await { status: &self.service.status, running: wanted == Condition::Running };
        loop {
            let mut done = status_of(&self.run(task, deadline));
            // A node that has fallen will not say it later either.
            if done.condition == wanted || done.cause == Some(Cause::NodeDied) || deadline.left() <= PAUSE {
                done.elapsed = begun.elapsed();
                return done;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Stops it, and waits until its `status` says so: one trip. Where the way there was lost, the status
    /// alone is asked for anew, and `act` tells why nothing shows that `stop` ran.
    pub fn stop_confirmed(&self, deadline: Deadline) -> ServiceResult {
        let mut result = self.carry_out(Verb::Stop, deadline);
        if is_lost(&result.status) {
            result.act.get_or_insert_with(|| result.status.clone());
            result.status = self.await_status(Condition::Stopped, deadline);
        }
        result
    }

    /// Starts it where it is stopped, and waits until its `status` says that it runs: one trip. Where the
    /// way there was lost, the status alone is asked for anew, as above.
    pub fn start_confirmed(&self, deadline: Deadline) -> ServiceResult {
        let mut result = self.carry_out(Verb::Start, deadline);
        if is_lost(&result.status) {
            result.act.get_or_insert_with(|| result.status.clone());
            // The start may have come through. A start that has not is tried again by the next check, so one
            // question is enough; a stop that has not would block everything.
            result.status = self.status(deadline);
        }
        result
    }

    fn carry_out(&self, verb: Verb, deadline: Deadline) -> ServiceResult {
        let command = ServiceCommand { service_name: self.service_name, service: self.service, verb, deadline };
        let start = Start::of(self.service_name, self.service);
        let errand = errand(&command, &start, self.node.probe.timeout);
        let report = self.remote.carry_out((self.node_name, self.node), &errand, has_died);
        result_of(&report)
    }

    fn run(&self, task: Task<'_>, deadline: Deadline) -> Report {
        let errand = Errand { service: Some(self.service_name), task, deadline, act_deadline: None };
        self.remote.carry_out((self.node_name, self.node), &errand, has_died)
    }
}

/// Whether the way there failed, which may be better in a moment.
fn is_lost(status: &CommandResult) -> bool {
    matches!(status.cause, Some(Cause::NotReached | Cause::Unframed | Cause::NotStarted))
        && status.condition == Condition::Unknown
}

/// What a start runs on the node.
pub(crate) struct Start {
    /// What the target inhales by, so that what the fallen node breathed out comes along.
    pub(crate) before: Option<String>,
    pub(crate) command: String,
}

impl Start {
    /// Where nothing but the node's own tick guards the service, the node asks the register first: a start
    /// that was long on its way must not take effect after the lease has gone.
    pub(crate) fn of(service_name: &Name, service: &Service) -> Self {
        let command = match service.lease {
            Some(Lease { guard: Guard::Tick, .. }) => {
                format!("mirror lease check --quiet {service_name} && {{\n{}\n}}", service.start)
            }
            _ => service.start.clone(),
        };
        Self { before: service.inhale.map(inhaled::command), command }
    }
}

fn result_of(report: &Report) -> ServiceResult {
    let inhaled = report.before.as_ref().map(|(code, line)| Inhaled::read(*code, line));
    ServiceResult { act: act_of(report), status: status_of(report), inhaled }
}

/// What `start` or `stop` came to, where it is known to have run.
fn act_of(report: &Report) -> Option<CommandResult> {
    let cut = || Silence { cause: Cause::Timeout, detail: report.said.clone().filter(|words| !words.is_empty()) };
    match report.act? {
        Some(code) => Some(exited(code, report.said.clone(), report.elapsed)),
        None => Some(silent(&cut(), report.elapsed)),
    }
}

/// What the last `status` came to: at the deadline, the one just before.
fn status_of(report: &Report) -> CommandResult {
    match (report.status, &report.silence) {
        (Some(code), None | Some(Silence { cause: Cause::Timeout, .. })) => {
            exited(code, said_by(report), report.elapsed)
        }
        _ => unknown(report),
    }
}

/// The first line of what a status said, its errors before its output.
fn said_by(report: &Report) -> Option<String> {
    let output = || trip::first_line(&String::from_utf8_lossy(&report.output));
    report.errors.clone().or_else(output)
}

fn exited(code: i32, words: Option<String>, elapsed: Duration) -> CommandResult {
    let (condition, cause) = match code {
        0 => (Condition::Running, None),
        1..NOT_ITS_OWN => (Condition::Stopped, Some(Cause::Exit)),
        126 | 127 => (Condition::Unknown, Some(Cause::ProgramMissing)),
        // A command that is itself an ssh.
        255 => (Condition::Unknown, Some(Cause::NotReached)),
        _ => (Condition::Unknown, Some(Cause::Killed)),
    };
    let words = words.filter(|words| !words.is_empty());
    let detail = if code == 0 { None } else { trip::said(&format!("exit status {code}"), words) };
    CommandResult { condition, cause, detail, elapsed }
}

fn unknown(report: &Report) -> CommandResult {
    let unframed = Silence { cause: Cause::Unframed, detail: None };
    silent(report.silence.as_ref().unwrap_or(&unframed), report.elapsed)
}

fn silent(silence: &Silence, elapsed: Duration) -> CommandResult {
    let Silence { cause, detail } = silence.clone();
    CommandResult { condition: Condition::Unknown, cause: Some(cause), detail, elapsed }
}
