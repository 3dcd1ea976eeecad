//! From the file to a [`Config`] in which nothing is left open.
//!
//! Reading has two halves. What is wrong in itself (TOML that is none, an unknown key, a duration
//! without a unit) ends it at once. What is wrong only beside the rest (a chain that names an
//! unknown node) becomes a [`Problem`], so that `chain check` can list them all.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use indexmap::IndexMap;
use serde::Deserialize;

use crate::chain::{Chain, Name};
use crate::usage_error::UsageError;

pub mod address;
mod digest;
mod lease;
mod raw;
mod resolve;
mod validate;
mod values;
mod words;

pub use address::{Address, Witness};
pub use lease::{Guard, Lease, Store};
pub use validate::{Budget, Problem, Severity, budget};
pub use values::Failback;

/// A longer file is no node list.
const LONGEST_FILE: u64 = 1024 * 1024;
/// More of a text than this helps nobody to find it.
const LONGEST_SHOWN: usize = 80;

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
    /// The deadline of a probe, for the network.
    pub probe_timeout: Duration,
    /// Whether others are asked before the node that runs a service is taken for dead.
    pub second_opinion: bool,
    /// The template of arguments by which a command runs on a node; the built-in one when empty.
    pub remote_command: Vec<String>,
    /// The services, in the file's order.
    pub services: IndexMap<Name, Service>,
    /// What a breath breathes.
    pub breath: Breath,
    /// Addresses outside the node list whose answer proves that this node has a network.
    pub witnesses: Vec<Node>,
    /// Where the leases are; none when no service is under one.
    pub lease: Option<Store>,
    /// The first 16 hexadecimal digits of the SHA-256 of nodes, chains, services and lease.
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
    /// Who logs in there.
    pub user: String,
    /// How it is asked whether it lives.
    pub probe: Probe,
}

/// The watchdog's intervals.
#[derive(Clone, Copy, Debug)]
pub struct Cycle {
    /// From one check to the next.
    pub check: Duration,
    /// From one breath to the next.
    pub sync: Duration,
    /// What a recovery may take.
    pub recovery: Duration,
}

/// How something is asked whether it lives.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The way of asking.
    pub method: Method,
    /// By when an answer must have come.
    pub timeout: Duration,
    /// How many tries may start within that time.
    pub attempts: u32,
}

/// The way of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A cheaper and truer question than `status`, by node.
    pub health: Option<IndexMap<Name, Probe>>,
    /// How long is relied on what was read of its lease; none when it is under none.
    pub lease: Option<Lease>,
}

/// What a breath breathes.
#[derive(Clone, Debug)]
pub struct Breath {
    /// The repository; the current directory when the file does not say.
    pub repo: Option<PathBuf>,
    /// The remote's name.
    pub remote: String,
    /// The branch's name.
    pub branch: String,
    /// By when the network must have answered.
    pub timeout: Duration,
    /// Whether uncommitted work is committed first.
    pub commit: bool,
}

/// A configuration, and what is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, without what the problems speak of.
    pub config: Config,
    /// In the file's order.
    pub problems: Vec<Problem>,
}

impl Config {
    /// The chain `name`, or the misuse of naming one that is not there.
    ///
    /// # Errors
    /// When there is no such chain.
    pub fn chain(&self, name: &str) -> Result<&Chain> {
        self.chains.get(name).ok_or_else(|| {
            UsageError::new(format!(
                "{}: no chain is named {name:?}; {}",
                self.file.display(),
                known(self.chains.keys())
            ))
        })
    }

    /// The node `name`, or the misuse of naming one that is not there.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node(&self, name: &str) -> Result<(&Name, &Node)> {
        self.nodes.get_key_value(name).ok_or_else(|| {
            UsageError::new(format!("{}: no node is named {name:?}; {}", self.file.display(), known(self.nodes.keys())))
        })
    }

    /// The service `name`, or the misuse of naming one that is not there.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn service(&self, name: &str) -> Result<(&Name, &Service)> {
        self.services.get_key_value(name).ok_or_else(|| {
            UsageError::new(format!(
                "{}: no service is named {name:?}; {}",
                self.file.display(),
                known(self.services.keys())
            ))
        })
    }
}

fn known<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) }
}

/// Reads the configuration in force, refusing one with an error in it.
///
/// # Errors
/// When no file is found, when it cannot be read, or when it is wrong; with file, line and column.
pub fn load(given: Option<&Path>) -> Result<Config> {
    let loaded = load_with_problems(given)?;
    match loaded.problems.iter().find(|p| p.severity == Severity::Error) {
        None => Ok(loaded.config),
        Some(problem) => Err(UsageError::new(format!(
            "{}:{}:{}: {}",
            loaded.config.file.display(),
            problem.line,
            problem.column,
            problem.message
        ))),
    }
}

/// Reads the configuration in force and lists what is wrong with it as a whole.
///
/// # Errors
/// When no file is found, when it cannot be read, or when a part of it is wrong in itself.
pub fn load_with_problems(given: Option<&Path>) -> Result<Loaded> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => find()?,
    };
    let text = read(&path)?;
    parse(&path, &text)
}

/// Reads a configuration from its text; `path` is what errors name and relative paths start from.
///
/// # Errors
/// When a part of it is wrong in itself.
pub fn parse(path: &Path, text: &str) -> Result<Loaded> {
    let wrong = |error: &toml::de::Error, clear: fn(&str, &str) -> String| {
        let span = error.span().unwrap_or_default();
        let (line, column) = place(text, span.start);
        let message = clear(error.message(), text.get(span).unwrap_or_default());
        UsageError::new(format!("{}:{line}:{column}: {message}", path.display()))
    };
    let table = toml::Deserializer::parse(text).map_err(|error| wrong(&error, words::of_syntax))?;
    let file = raw::File::deserialize(table).map_err(|error| wrong(&error, words::of_value))?;
    resolve::resolve(path, file, text)
}

/// A text from outside as a message shows it: in quotes, on one line, and not at any length.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The line and column of a byte, both from 1, the column in characters.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn find() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or(home);
    let candidates: Vec<PathBuf> = [
        Some(PathBuf::from("./mirror.toml")),
        base.map(|base| base.join("mirror/mirror.toml")),
        Some(PathBuf::from("/etc/mirror/mirror.toml")),
    ]
    .into_iter()
    .flatten()
    .collect();
    candidates.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        UsageError::new(format!(
            "no configuration found; write one to {}, or name it with --config",
            looked.join(" or ")
        ))
    })
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| UsageError::new(format!("{shown}: {error}; name a file that can be read with --config")))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(UsageError::new(format!(
            "{shown}: longer than 1 MiB, so it is no node list; name another file with --config"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (line, column) = place(&String::from_utf8_lossy(&error.as_bytes()[..at]), usize::MAX);
        UsageError::new(format!("{shown}:{line}:{column}: not UTF-8; save the file as UTF-8"))
    })
}

impl Loaded {
    /// Whether nothing worse than a warning was found.
    pub fn sound(&self) -> bool {
        self.problems.iter().all(|p| p.severity != Severity::Error)
    }
}
