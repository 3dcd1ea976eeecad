//! A node → its state, for many nodes at once.
//!
//! Every target has one deadline. Inside it up to `attempts` tries start at even intervals, without
//! waiting for each other, so one lost packet costs no detection time. The first answer wins.
//!
//! [`TargetState::take_outcome`](target) decides what the tries of one target make it: alive, dead
//! or unknown. The event loop around it is in [`engine`].

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::config::{Address, Method, Probe};
use crate::leader::State;
use crate::remote::Login;

mod addresses;
mod engine;
mod http;
mod process;
mod schedule;
mod stall;
mod target;
mod tcp;
mod threads;
mod tries;

/// One node or witness to ask, and how.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its address.
    pub address: &'a Address,
    /// Its method, deadline and number of tries.
    pub probe: &'a Probe,
    /// For the method `ssh`: the login.
    pub login: Option<Login>,
    /// How much later than the others it is asked. Its deadline stays the same, unless it is learned.
    pub delay: Duration,
}

/// The result of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Alive, dead or unknown.
    pub state: State,
    /// Why it is not alive: a stable slug.
    pub cause: Option<Cow<'static, str>>,
    /// More about the cause, where there is more to say.
    pub detail: Option<String>,
    /// The duration of the try that was answered; none when no answer came.
    pub latency: Option<Duration>,
    /// The number of tries that were started.
    pub attempts: u32,
    /// What it shows of the link, where there is a latency.
    pub timing: Timing,
}

/// What an answer shows of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// What the try took that was answered, without the time in which this process was not run, where the
    /// kernel knows it.
    pub round_trip: Duration,
    /// The same from the first try on; zero in a view that was loaded.
    pub waited: Duration,
}

/// Asks all targets at once. `on_answer` gets each target's index and answer as soon as the answer
/// is there, each index once. On `Break` the remaining targets are abandoned.
///
/// # Errors
/// When this process can ask nobody: no epoll instance, no file descriptor at all.
pub fn ask(targets: &[Target<'_>], mut on_answer: impl FnMut(usize, Answer) -> ControlFlow<()>) -> Result<()> {
    engine::run(targets, &mut on_answer)
}

/// The result of one try.
#[derive(Debug)]
enum Outcome {
    /// An answer came.
    Alive,
    /// A definite no: another try would get the same.
    No(Cause, Option<String>),
    /// No answer, but another try may get one.
    Lost(Cause, Option<String>),
    /// We could not ask.
    Unable(Cause, Option<String>),
}

/// Why a node is not alive. The slugs are part of the published object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Banner,
    Closed,
    Exit,
    Forbidden,
    HostKey,
    Http,
    HttpStatus,
    Killed,
    NoFileDescriptor,
    NoLocalAddress,
    NoRoute,
    NotAdmitted,
    NotAsked,
    ProgramMissing,
    Refused,
    Timeout,
    Tls,
    Unframed,
    Unreachable,
    Unresolved,
}

/// The slug of a refused connection. It proves that the network carries packets both ways.
pub const REFUSED: &str = Cause::Refused.slug();

impl Cause {
    const fn slug(self) -> &'static str {
        match self {
            Self::Banner => "banner",
            Self::Closed => "closed",
            Self::Exit => "exit",
            Self::Forbidden => "forbidden",
            Self::HostKey => "host-key",
            Self::Http => "http",
            Self::HttpStatus => "http-status",
            Self::Killed => "killed",
            Self::NoFileDescriptor => "no-file-descriptor",
            Self::NoLocalAddress => "no-local-address",
            Self::NoRoute => "no-route",
            Self::NotAdmitted => "not-admitted",
            Self::NotAsked => "not-asked",
            Self::ProgramMissing => "program-missing",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unframed => "unframed",
            Self::Unreachable => "unreachable",
            Self::Unresolved => "unresolved",
        }
    }
}

/// The command of a try that is a process; none for the other methods.
fn command_of(target: &Target<'_>) -> Option<Command> {
    match (&target.probe.method, &target.login) {
        (Method::Exec { command }, _) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(command);
            Some(shell)
        }
        (Method::Ssh, Some(login)) => {
            let (program, arguments) = login.words.split_first()?;
            let mut command = Command::new(program);
            command.args(arguments);
            Some(command)
        }
        _ => None,
    }
}
