//! The configuration with every default filled in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::values::Failback;
use crate::chain::Chain;
use crate::link::{Bounds, Link, Times};
use crate::name::Name;
use crate::usage_error::UsageError;

/// A message lists no more names than this.
const MAX_LISTED: usize = 12;
/// The parts of `valid`: a read may take one of them, and the next read begins one after it. So a good
/// read is never older than two thirds of `valid` while the arbiter answers in time.
const PARTS_OF_VALID: u32 = 3;

/// A configuration with every default filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The node this is, when the file says so.
    pub local_node: Option<Name>,
    /// Where state is kept, when the file says so.
    pub state: Option<PathBuf>,
    /// The nodes, in the file's order.
    pub nodes: IndexMap<Name, Node>,
    /// The chains, in the file's order; every name in them is a node's, and stands once.
    pub chains: IndexMap<Name, Chain>,
    /// The intervals.
    pub cycle: Cycle,
    /// The deadline of a probe, for the network; the longest one where links are learned.
    pub probe_timeout: Duration,
    /// Whether others are asked before the node that runs a service is taken for dead.
    pub second_opinion: bool,
    /// The template of arguments by which a command runs on a node; the built-in one when empty.
    pub remote_command: Vec<String>,
    /// The services, in the file's order.
    pub services: IndexMap<Name, Service>,
    /// What a breath synchronises.
    pub breath: Breath,
    /// Addresses outside the node list whose answer proves that this node has a network.
    pub witnesses: Vec<Node>,
    /// The receivers of events.
    pub notify: Notify,
    /// Where the leases are; none when no service is under one.
    pub lease: Option<Store>,
    /// The first 16 hexadecimal digits of the SHA-256 of all that must be alike on every node.
    pub digest: String,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name; for a witness, its address.
    pub label: String,
    /// Where it is.
    pub address: Address,
    /// Its ssh port.
    pub port: u16,
    /// The login name on it.
    pub user: String,
    /// How it is asked whether it is alive.
    pub probe: Probe,
}

/// The watchdog's intervals.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cycle {
    /// From one check to the next.
    pub check: Duration,
    /// From one breath to the next.
    pub sync: Duration,
    /// What a recovery may take.
    pub recovery: Duration,
}

/// How something is asked whether it is alive.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    /// The way of asking.
    pub method: Method,
    /// The deadline of an answer; the longest one where links are learned.
    pub timeout: Duration,
    /// How many tries may start within that time.
    pub attempts: u32,
    /// Where the deadline follows from what was seen of the link: the shortest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Duration>,
    /// What was seen of the link, where that is known.
    #[serde(skip)]
    pub learned: Option<Learned>,
}

/// What was seen of a link.
#[derive(Clone, Debug)]
pub struct Learned {
    /// All of it.
    pub link: Link,
    /// What follows for the next probe; none as long as too little is known.
    pub times: Option<Times>,
}

impl Probe {
    /// One whose deadline is the same at all times.
    pub fn fixed(method: Method, timeout: Duration, attempts: u32) -> Self {
        Self { method, timeout, attempts, floor: None, learned: None }
    }

    /// The deadline of an answer, as far as the link is known.
    pub fn deadline(&self) -> Duration {
        self.times().map_or(self.timeout, |times| times.deadline)
    }

    /// After how long without a word on a trip there the node is probed beside it.
    pub fn silence(&self) -> Duration {
        // A session goes there and back twice. Half of the deadline leaves the command there some time.
        self.times().map_or(self.timeout, |times| (times.usual * 2).max(times.deadline / 2))
    }

    /// How long a living node may say nothing that others can do without: twice the deadline of a probe. A
    /// login and a session go there and back some ten times.
    pub fn patience(&self) -> Duration {
        const TRIPS_OF_LOGIN: u32 = 12;
        self.times().map_or(self.timeout * 2, |times| (times.deadline * 2).max(times.usual * TRIPS_OF_LOGIN))
    }

    /// The times that were learned.
    pub fn times(&self) -> Option<Times> {
        self.learned.as_ref()?.times
    }

    /// From the start of the probe to its try with this index, counted from 0.
    pub fn start_of_try(&self, index: u32) -> Duration {
        match self.times() {
            Some(times) => times.start_of_try(index, self.attempts),
            None => self.timeout * index / self.attempts.max(1),
        }
    }

    /// Between which its deadline stays, where it is learned.
    pub fn bounds(&self) -> Option<Bounds> {
        Some(Bounds { floor: self.floor?, max: self.timeout })
    }
}

/// The way of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Method {
    /// A TCP connection to this port is accepted.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A TCP connection to this port is greeted with `SSH-2.0-`.
    SshBanner {
        /// The port.
        port: u16,
    },
    /// `true` runs there, by `[remote] command`.
    Ssh,
    /// A GET of this URL answers with this status.
    Http {
        /// The URL, placeholders filled in.
        url: String,
        /// The status.
        expect: u16,
    },
    /// This local command exits with status 0.
    Exec {
        /// The command, for `sh -c`, placeholders filled in.
        command: String,
    },
}

impl Method {
    /// Its name in the configuration and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::SshBanner { .. } => "ssh-banner",
            Self::Ssh => "ssh",
            Self::Http { .. } => "http",
            Self::Exec { .. } => "exec",
        }
    }
}

/// What is kept alive.
#[derive(Clone, Debug)]
pub struct Service {
    /// The chain on whose leader it runs.
    pub chain: Name,
    /// Exits with 0 when it runs.
    pub status: String,
    /// Starts it.
    pub start: String,
    /// Stops it.
    pub stop: String,
    /// What stopping may take, and what starting may take.
    pub timeout: Duration,
    /// When it returns to a better node.
    pub failback: Failback,
    /// How often it may be found dead where it was started, within `window`, before it is taken
    /// elsewhere.
    pub restarts: u32,
    /// The time in which `restarts` are counted.
    pub window: Duration,
    /// What an inhale before a start may take; none where there is none.
    pub inhale: Option<Duration>,
    /// A cheaper or truer question than `status`, by node.
    pub health: Option<IndexMap<Name, Probe>>,
    /// The times of its lease; none when it is under none.
    pub lease: Option<Lease>,
}

/// What a breath synchronises.
#[derive(Clone, Debug)]
pub struct Breath {
    /// The repository; the current directory when the file does not say.
    pub repo: Option<PathBuf>,
    /// The remote's name; empty for none.
    pub remote: String,
    /// Whether the nodes breathe with each other.
    pub peers: bool,
    /// The branch's name.
    pub branch: String,
    /// The deadline of all that goes over the network.
    pub timeout: Duration,
    /// Whether uncommitted work is committed first.
    pub commit: bool,
    /// What runs after an inhale that brought something.
    pub changed: Option<String>,
}

/// The receivers of events. It is a node's own.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    /// A command that gets each event as JSON on its standard input.
    pub command: Option<String>,
    /// A URL to which each event is posted; `{token}` in it is filled in.
    pub url: Option<String>,
    /// What is posted.
    pub format: NotifyFormat,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// A URL that the brain gets as long as every service is well; `{token}` in it is filled in.
    pub beat_url: Option<String>,
}

/// What is posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotifyFormat {
    /// The event's object.
    #[default]
    Json,
    /// A message for an incoming webhook of Slack, and of what understands the same.
    Slack,
    /// A message for `sendMessage` of Telegram's bots; the chat stands in the URL.
    Telegram,
    /// A line of text.
    Text,
}

/// Where the leases are, one register for each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In refs of a git remote.
    Git {
        /// A URL, `HOST:PATH`, or an absolute path.
        remote: String,
        /// What stands before a service's name in the ref.
        prefix: String,
    },
    /// In keys of an etcd cluster.
    Etcd {
        /// The members, as `http://HOST:PORT` or `https://HOST:PORT`.
        endpoints: Vec<String>,
        /// What stands before a service's name in the key.
        prefix: String,
        /// The file with the certificates of the authorities that may sign a member's.
        ca: Option<PathBuf>,
        /// The files with our own certificates and their key.
        identity: Option<(PathBuf, PathBuf)>,
        /// The user name, and the file with the password.
        user: Option<(String, PathBuf)>,
    },
    /// In files of one machine.
    File {
        /// The directory, which exists already: a file in it is named after each service.
        path: PathBuf,
    },
}

impl Store {
    /// Its name in the configuration and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Git { .. } => "git",
            Self::Etcd { .. } => "etcd",
            Self::File { .. } => "file",
        }
    }
}

/// The times of a service's lease, and who enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// How long a read may be relied on, from when it began.
    pub valid: Duration,
    /// The time to stop, plus what two clocks may drift apart meanwhile.
    pub grace: Duration,
    /// Who stops the service on a node that the lease no longer names.
    pub guard: Guard,
    /// Whether the holder goes on while the arbiter is away and every node that may grant agrees.
    pub failsafe: bool,
}

impl Lease {
    /// From the beginning of one read to the beginning of the next, on the node that runs the service.
    pub fn interval(&self) -> Duration {
        self.valid / PARTS_OF_VALID
    }

    /// What one read may take, on the node that runs the service.
    pub fn read_timeout(&self) -> Duration {
        self.valid / PARTS_OF_VALID
    }

    /// What the read of `lease check` may take. Before a `hold` it may use all the time that its answer
    /// is good for; at a tick, the stop has to follow within `grace` of when it was due.
    pub fn check_timeout(&self) -> Duration {
        match self.guard {
            Guard::Hold => self.valid,
            Guard::Tick => self.read_timeout().min(self.grace),
        }
    }

    /// How long after a claim the old holder has certainly stopped: `valid + grace`.
    pub fn wait(&self) -> Duration {
        self.valid.saturating_add(self.grace)
    }
}

/// Who enforces the run rule on the node that runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// `mirror hold`, which the service runs under.
    Hold,
    /// The node's own watchdog: `mirror lease check` or stop, at every tick.
    Tick,
}

impl Config {
    /// The chain `name`.
    ///
    /// # Errors
    /// When there is no such chain.
    pub fn chain(&self, name: &str) -> Result<&Chain> {
        self.chains.get(name).ok_or_else(|| self.unknown("chain", name, self.chains.keys()))
    }

    /// The node `name`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node(&self, name: &str) -> Result<(&Name, &Node)> {
        self.nodes.get_key_value(name).ok_or_else(|| self.unknown("node", name, self.nodes.keys()))
    }

    /// The service `name`.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn service(&self, name: &str) -> Result<(&Name, &Service)> {
        self.services.get_key_value(name).ok_or_else(|| self.unknown("service", name, self.services.keys()))
    }

    fn unknown<'a>(&self, kind: &str, name: &str, names: impl ExactSizeIterator<Item = &'a Name>) -> anyhow::Error {
        UsageError::new(format!("{}: no {kind} is named {name:?}; {}", self.file.display(), there_are(names)))
    }
}

/// The names that could have been meant.
pub(super) fn there_are<'a>(names: impl ExactSizeIterator<Item = &'a Name>) -> String {
    match names.len() {
        0 => "there are none".to_owned(),
        count => format!("there are {}", listed(names, count)),
    }
}

/// The first of `count` names, and how many more there are.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a Name>, count: usize) -> String {
    let first: Vec<&str> = names.take(MAX_LISTED).map(Name::as_str).collect();
    match count - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
