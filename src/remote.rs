//! Commands on a node: one program, which means the same under any login shell, and of which only what
//! comes back in marked lines counts.
//!
//! A login can be answered by much else than the command: a refusal, a banner, a shell that does not
//! know the syntax, a line of somebody's configuration. None of that carries the mark, a number that is
//! fresh for each trip, so none of it is taken for an answer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::{Config, Node};
use crate::name::Name;
use crate::template;

mod cause;
mod connection;
mod environment;
mod frame;
mod gather;
pub(crate) mod header;
pub(crate) mod login;
mod master;
mod mux;
mod program;
pub(crate) mod question;
mod ssh;
pub(crate) mod trip;

pub use cause::Cause;
pub use login::Login;
pub(crate) use program::{ARGUMENT_PREFIX, quoted};
pub(crate) use ssh::SHELL;
pub use ssh::{NEW_CONNECTION, git_ssh_command};
pub(crate) use trip::Destination;

use gather::Gather;
use master::Master;
use program::Channel;

/// How commands reach the nodes.
#[derive(Clone, Debug)]
pub struct Remote {
    /// From the configuration; empty for the default, which is made when it is first needed: most looks
    /// run no command, and whether a shared connection can be had takes a trial.
    command: Vec<String>,
    default: OnceLock<ssh::Default>,
    probe_timeout: Duration,
    local_node: Option<Name>,
    /// Whether no shared connection is used.
    new_connections: bool,
    /// What is gathered, where many are to go at about the same time.
    gather: Option<Arc<Gather>>,
}

/// What is to be done on a node.
#[derive(Clone, Copy, Debug)]
pub enum Task<'a> {
    /// This command is run once.
    Ask(&'a str),
    /// This `status` is asked until it says that the service runs, or that it is stopped.
    Await {
        /// The command.
        status: &'a str,
        /// Whether it is to run.
        running: bool,
    },
    /// A command that runs before the `status` of a node where a start is to follow, whatever comes of it; its
    /// first line is passed on.
    Prepare {
        /// The command that asks.
        status: &'a str,
        /// The command before it.
        before: &'a str,
    },
    /// Where `status` says that it is stopped: `start`, then `status` until it runs.
    Start {
        /// The command that asks.
        status: &'a str,
        /// The command that starts.
        start: &'a str,
        /// A command that runs before `start`, whatever comes of it; its first line is passed on.
        before: Option<&'a str>,
    },
    /// `stop`, then `status` until it is stopped.
    Stop {
        /// The command that asks.
        status: &'a str,
        /// The command that stops.
        stop: &'a str,
    },
}

/// A task, for whom and until when.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// The service; none for a question to the node itself.
    pub service: Option<&'a Name>,
    /// What is to be done.
    pub task: Task<'a>,
    /// By when; what it still runs then is ended there.
    pub deadline: Deadline,
    /// By when a `start` or a `stop` has to return, when sooner: its effect is then still asked for.
    pub act_deadline: Option<Deadline>,
}

/// Why nothing, or nothing more, came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// As a slug.
    pub cause: Cause,
    /// What was said instead.
    pub detail: Option<String>,
}

/// What came back for an errand. Whatever is none did not come back with the mark.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the command before `start`, or before a `status`, exited with, and the first line that it printed.
    pub before: Option<(i32, String)>,
    /// What `start` or `stop` exited with; the inner none when it was ended at its deadline.
    pub act: Option<Option<i32>>,
    /// What the last `status`, or the question, exited with.
    pub status: Option<i32>,
    /// The first line of what `start` or `stop` said on its standard error.
    pub said: Option<String>,
    /// What a command that went alone printed.
    pub output: Vec<u8>,
    /// The first line of what it said on its standard error.
    pub errors: Option<String>,
    /// Why the rest is missing, where it is.
    pub silence: Option<Silence>,
    /// From the beginning of the trip.
    pub elapsed: Duration,
}

impl Report {
    /// Why it is no yes, as half a sentence.
    pub fn why(&self) -> String {
        if let Some(Silence { cause, detail }) = &self.silence {
            let detail = detail.as_ref().filter(|detail| !detail.is_empty());
            return detail.map_or_else(|| cause.to_string(), |detail| format!("{cause}: {detail}"));
        }
        let errors = self.errors.clone().filter(|errors| !errors.is_empty());
        let status =
            || self.status.map_or_else(|| Cause::Unframed.to_string(), |status| format!("exit status {status}"));
        errors.unwrap_or_else(status)
    }
}

impl Task<'_> {
    fn verb(&self) -> &'static str {
        match self {
            Self::Ask(_) | Self::Prepare { .. } => "status",
            Self::Await { running: true, .. } => "running",
            Self::Await { running: false, .. } => "stopped",
            Self::Start { .. } => "start",
            Self::Stop { .. } => "stop",
        }
    }

    fn status(&self) -> &str {
        match self {
            Self::Ask(status)
            | Self::Await { status, .. }
            | Self::Prepare { status, .. }
            | Self::Start { status, .. }
            | Self::Stop { status, .. } => status,
        }
    }

    fn act(&self) -> Option<&str> {
        match self {
            Self::Ask(_) | Self::Await { .. } | Self::Prepare { .. } => None,
            Self::Start { start: act, .. } | Self::Stop { stop: act, .. } => Some(act),
        }
    }

    fn before(&self) -> Option<&str> {
        match self {
            Self::Prepare { before, .. } => Some(before),
            Self::Start { before, .. } => *before,
            Self::Ask(_) | Self::Await { .. } | Self::Stop { .. } => None,
        }
    }

    /// Whether there is nothing to explain about these results.
    fn is_done(&self, act: Option<Option<i32>>, status: Option<i32>) -> bool {
        let stopped = || status.is_some_and(|code| (1..126).contains(&code));
        match self {
            Self::Ask(_) | Self::Prepare { .. } => status == Some(0),
            Self::Await { running: true, .. } | Self::Start { .. } => status == Some(0),
            Self::Await { running: false, .. } => stopped(),
            Self::Stop { .. } => stopped() && act == Some(Some(0)),
        }
    }
}

impl Remote {
    /// By the configuration in force, seen from the node `local_node`.
    pub fn new(config: &Config, local_node: Option<&Name>) -> Self {
        let (command, probe_timeout) = (config.remote_command.clone(), config.probe_timeout);
        Self {
            command,
            default: OnceLock::new(),
            probe_timeout,
            local_node: local_node.cloned(),
            new_connections: false,
            gather: None,
        }
    }

    /// The same, on which what many services want of a node at about the same time is gathered.
    pub fn gathering(mut self) -> Self {
        self.gather = Some(Arc::default());
        self
    }

    /// The same over connections of its own: a shared one may be from before the host key or the right to
    /// log in changed.
    pub fn over_new_connections(mut self) -> Self {
        self.new_connections = true;
        self
    }

    /// Asks one question: runs a command on a node once. What it printed and exited with is in the
    /// report, where it provably ran.
    pub fn ask(&self, name: &Name, node: &Node, command: &str, deadline: Deadline) -> Report {
        self.ask_unless(name, node, command, deadline, &|| false)
    }

    /// The same, given up where the node has said nothing for the timeout of its probe and `has_died`.
    pub fn ask_unless(
        &self,
        name: &Name,
        node: &Node,
        command: &str,
        deadline: Deadline,
        has_died: &dyn Fn() -> bool,
    ) -> Report {
        let errand = Errand { service: None, task: Task::Ask(command), deadline, act_deadline: None };
        let mut answer = Report::default();
        trip::run(self, &Destination { name, node, has_died }, &[errand], &mut |_, report| answer = report);
        answer
    }

    /// A repository on a node, as a URL for git: it gets there in the same way as commands do. It needs
    /// `protocol.ext.allow` (git-remote-ext(1)).
    pub fn git_url(&self, name: &Name, node: &Node, repo: &str) -> String {
        // Stands for git's service until everything else is escaped.
        const SERVICE: &str = "\u{1}";
        let repo = quoted(repo);
        let words = self.words(name, node, &format!("{SERVICE} {repo}"));
        let escaped = words.iter().map(|word| word.replace('%', "%%").replace(' ', "% ").replace(SERVICE, "%S"));
        format!("ext::{}", escaped.collect::<Vec<_>>().join(" "))
    }

    /// Logs in to a node where no shared connection leads to it, so that a question that is in a hurry finds one.
    /// Nothing runs there. Whether there is one in the end, without waiting for a login of another process; none where
    /// no connection is shared.
    pub fn connect(&self, name: &Name, node: &Node) -> Option<bool> {
        let socket = self.shared_socket(name, node)?;
        if !socket.exists() {
            let login = Master::begin(&socket, &self.words(name, node, ssh::SHELL)).and_then(Master::wait_for_own);
            if login.is_err() {
                return Some(false);
            }
        }
        Some(socket.exists())
    }

    /// A login for a probe.
    pub fn login(&self, name: &Name, node: &Node) -> Login {
        let (command, mark) = login::new(&trip::nonce());
        Login { words: self.words(name, node, &command), mark }
    }

    fn is_local(&self, name: &Name) -> bool {
        self.local_node.as_ref() == Some(name)
    }

    fn channel(&self, name: &Name) -> Channel {
        if self.command.is_empty() || self.is_local(name) { Channel::Stdin } else { Channel::Argument }
    }

    fn default_way(&self) -> &ssh::Default {
        self.default.get_or_init(|| ssh::Default::new(self.probe_timeout))
    }

    fn template(&self) -> &[String] {
        if self.command.is_empty() { &self.default_way().words } else { &self.command }
    }

    /// The socket of the connection to a node that may be shared.
    fn shared_socket(&self, name: &Name, node: &Node) -> Option<PathBuf> {
        if !self.command.is_empty() || self.is_local(name) || self.new_connections {
            return None;
        }
        Some(self.default_way().sockets.as_ref()?.join(ssh::socket_name(node)))
    }

    /// The arguments, program first, that run the shell command `command` on `node`.
    fn words(&self, name: &Name, node: &Node, command: &str) -> Vec<String> {
        if self.is_local(name) {
            let shell = ["sh", "-c", command].map(str::to_owned);
            return if command == ssh::SHELL { shell[..1].to_vec() } else { shell.to_vec() };
        }
        let value = |template: &str| match template {
            "node" => Some(name.to_string()),
            "address" => Some(node.address.to_string()),
            "port" => Some(node.port.to_string()),
            "user" => Some(node.user.clone()),
            "command" => Some(command.to_owned()),
            "socket" if self.command.is_empty() => Some(ssh::socket_name(node)),
            _ => None,
        };
        let mut words: Vec<String> = self.template().iter().map(|word| template::fill(word, value)).collect();
        let is_ssh = words.first().is_some_and(|program| Path::new(program).file_name() == Some("ssh".as_ref()));
        if self.new_connections && is_ssh {
            words.splice(1..1, ssh::NEW_CONNECTION.map(str::to_owned));
        }
        words
    }
}

/// The program for these errands, for a shell that reads it on its standard input.
pub(crate) fn program(errands: &[Errand<'_>], nonce: &str) -> String {
    program::text(errands, nonce, Channel::Stdin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"
            nodes = { a = "192.0.2.1", b = { address = "2001:db8::1", port = 2222, user = "bot" } }
            chains = { brain = ["a", "b"] }
            [remote]
            command = ["run", "on={node}", "{user}@{address}:{port}", "{command}"]
        "#;
        crate::config::parse(Path::new("t.toml"), text).expect("parses").config
    }

    #[test]
    fn a_command_is_one_argument_whatever_is_in_it() {
        let config = config();
        let remote = Remote::new(&config, None);
        let (name, node) = config.node("b").expect("is there");
        let words = remote.words(name, node, "echo {node} 'x y'; \"$HOME\"");
        assert_eq!(words, ["run", "on=b", "bot@2001:db8::1:2222", "echo {node} 'x y'; \"$HOME\""]);
    }

    #[test]
    fn the_own_node_is_not_reached_over_the_network() {
        let config = config();
        let (name, node) = config.node("a").expect("is there");
        let remote = Remote::new(&config, Some(name));
        assert_eq!(remote.words(name, node, "true"), ["sh", "-c", "true"]);
        assert_eq!(remote.words(name, node, "sh"), ["sh"]);
    }
}
