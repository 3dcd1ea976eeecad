//! Status, start and stop of a service on a node.

use std::time::{Duration, Instant};

use crate::chain::Name;
use crate::config::{Guard, Lease, Node, Service};
use crate::deadline::Deadline;
use crate::decide::State;
use crate::exec::{Ended, Exec};
use crate::remote::Remote;
use crate::view;

mod cause;

pub use cause::Cause;

/// The pause between two questions whether a start or a stop has taken effect.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// From this status on a shell or ssh speaks of itself: 126 and 127 not runnable, 128 and more
/// killed, 255 ssh.
const NOT_ITS_OWN: i32 = 126;

/// What `status` said of a service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It exited with 0.
    Running,
    /// It exited with another status of its own.
    Stopped,
    /// It could not be asked, or did not say in time.
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

/// A service on a node.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// How commands get there.
    pub remote: &'a Remote,
    /// The service's name.
    pub title: &'a Name,
    /// The service.
    pub service: &'a Service,
    /// The node's name.
    pub name: &'a Name,
    /// The node.
    pub node: &'a Node,
}

impl Instance<'_> {
    /// Asks whether it runs.
    pub fn status(&self, deadline: Deadline) -> CommandResult {
        self.run(&self.service.status, deadline)
    }

    /// Runs `start` once. Where nothing but the node's own tick guards the service, the node asks the
    /// register first: a start that was long on its way must not take effect after the lease has gone.
    pub fn start(&self, deadline: Deadline) -> CommandResult {
        let start = &self.service.start;
        match self.service.lease {
            Some(Lease { guard: Guard::Tick, .. }) => {
                let guarded = format!("mirror lease check --quiet {} && {{\n{start}\n}}", self.title);
                self.run(&guarded, deadline)
            }
            _ => self.run(start, deadline),
        }
    }

    /// Runs `stop` once.
    pub fn stop(&self, deadline: Deadline) -> CommandResult {
        self.run(&self.service.stop, deadline)
    }

    /// Asks for its status until it is `wanted`, the node falls, or the deadline passes.
    pub fn await_status(&self, wanted: Condition, deadline: Deadline) -> CommandResult {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut done = self.status(deadline);
            // A node that has fallen will not say it later either.
            if done.condition == wanted || done.cause == Some(Cause::NodeDied) || deadline.left() <= pause {
                done.elapsed = begun.elapsed();
                return done;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs a command there. A node that is slow to answer is probed meanwhile: one that has fallen
    /// since it was seen alive is not waited for until the deadline.
    fn run(&self, command: &str, deadline: Deadline) -> CommandResult {
        let begun = Instant::now();
        let finished = Exec::new(self.remote.command(self.name, self.node, command)).start().and_then(|mut running| {
            loop {
                let patience = deadline.sooner(Deadline::after(self.node.probe.timeout));
                match running.wait_a_while(patience)? {
                    Some(finished) => return Ok(Some(finished)),
                    None if deadline.has_passed() => return running.end().map(Some),
                    None if self.has_died() => return running.end().map(|_| None),
                    None => {}
                }
            }
        });
        let unknown = |cause, detail| CommandResult {
            condition: Condition::Unknown,
            cause: Some(cause),
            detail,
            elapsed: begun.elapsed(),
        };
        let finished = match finished {
            Ok(Some(finished)) => finished,
            Ok(None) => return unknown(Cause::NodeDied, Some("it fell while it was waited for".to_owned())),
            Err(error) => return unknown(Cause::NotStarted, Some(error.to_string())),
        };
        let (condition, cause) = match finished.ended {
            Ended::Exited(0) => (Condition::Running, None),
            Ended::Exited(code) if code < NOT_ITS_OWN => (Condition::Stopped, Some(Cause::Exit)),
            Ended::Exited(255) => (Condition::Unknown, Some(Cause::NotReached)),
            Ended::Exited(126 | 127) => (Condition::Unknown, Some(Cause::ProgramMissing)),
            Ended::Exited(_) | Ended::Signaled(_) => (Condition::Unknown, Some(Cause::Killed)),
            Ended::TimedOut => (Condition::Unknown, Some(Cause::Timeout)),
        };
        let detail = match finished.ended {
            Ended::Exited(0) => None,
            Ended::TimedOut => finished.last_line(),
            Ended::Exited(code) => Some(said(&format!("exit status {code}"), finished.last_line())),
            Ended::Signaled(signal) => Some(said(&format!("signal {signal}"), finished.last_line())),
        };
        CommandResult { condition, cause, detail, elapsed: finished.elapsed }
    }

    fn has_died(&self) -> bool {
        let look = view::take(&[(self.name, self.node)], &[], self.remote, view::everybody, |_, _| false);
        look.is_ok_and(|look| look.seen().get(self.name) == Some(&State::Dead))
    }
}

fn said(what: &str, words: Option<String>) -> String {
    words.map_or_else(|| what.to_owned(), |words| format!("{what}: {words}"))
}
