//! A node → its state, for many nodes at once.
//!
//! Every target has one deadline. Inside it up to `attempts` tries start, spread evenly and not one
//! after another, so that a lost packet costs no detection time. The first answer wins.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::config::{Address, Method, Probe};
use crate::decide::State;
use crate::remote::Login;

mod engine;
mod http;
mod process;
mod target;
mod tcp;

/// What is asked, and how.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Where it is.
    pub address: &'a Address,
    /// How it is asked.
    pub probe: &'a Probe,
    /// For the method `ssh`: the login.
    pub login: Option<Login>,
    /// How much later than the others it is asked; its deadline is the same.
    pub delay: Duration,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The verdict.
    pub state: State,
    /// Why it is not alive: a stable slug.
    pub cause: Option<Cow<'static, str>>,
    /// The same in words, where there is more to say than the slug does.
    pub detail: Option<String>,
    /// How long the try that answered took; none when no answer came.
    pub latency: Option<Duration>,
    /// How many tries were started.
    pub attempts: u32,
}

/// Asks all targets at once. `on_answer` gets each target's index and answer as soon as it is
/// there, each index once; on `Break` the rest is called off.
///
/// # Errors
/// When this process cannot ask anybody: no epoll, no descriptor at all.
pub fn ask(targets: &[Target<'_>], mut on_answer: impl FnMut(usize, Answer) -> ControlFlow<()>) -> Result<()> {
    engine::run(targets, &mut on_answer)
}

/// What one try found.
#[derive(Debug)]
enum Outcome {
    /// An answer came.
    Alive,
    /// A definite no; further tries would be told the same.
    No(&'static str, Option<String>),
    /// No answer, but another try may get one.
    Lost(&'static str, Option<String>),
    /// We could not ask.
    Unable(&'static str, Option<String>),
}

/// The command line of a try that is a process.
fn command_of(target: &Target<'_>) -> Option<Command> {
    match (&target.probe.method, &target.login) {
        (Method::Exec { command }, _) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(command);
            Some(shell)
        }
        (Method::Ssh, Some(login)) => {
            let (program, arguments) = login.words.split_first()?;
            let mut login = Command::new(program);
            login.args(arguments);
            Some(login)
        }
        _ => None,
    }
}
