//! The arguments of each command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use crate::cli::completion;
use crate::name::Name;

/// `mirror lease show`.
#[derive(Debug, Args)]
pub struct LeaseShow {
    /// The service [default: every service of the node list]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: Option<String>,
}

/// `mirror lease check`.
#[derive(Debug, Args)]
pub struct LeaseCheck {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: String,
}

/// `mirror lease history`.
#[derive(Debug, Args)]
pub struct LeaseHistory {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: String,

    /// The most takeovers to show, the newest first
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    pub number: usize,
}

/// `mirror lease repair`.
#[derive(Debug, Args)]
pub struct LeaseRepair {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: String,

    /// The reason, kept as `why` in the register
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror lease migrate`.
#[derive(Debug, Args)]
pub struct LeaseMigrate {
    /// The node list that names the new store
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// The service [default: every service that is under a lease in both lists]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: Option<String>,

    /// Tell what would be done, and touch nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The reason, kept as `why` in the register
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror lease witness`.
#[derive(Debug, Args)]
pub struct LeaseWitness {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: String,

    /// The node that holds the lease
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub holder: Name,

    /// The epoch in which it was granted
    #[arg(long, value_name = "N")]
    pub epoch: u64,

    /// The digest of the holder's node list
    #[arg(long, value_name = "DIGEST")]
    pub digest: String,
}

/// `mirror probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// The nodes to ask [default: all]
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub nodes: Vec<String>,

    /// Ask the nodes of this chain, in its order
    #[arg(long, value_name = "CHAIN", add = ArgValueCandidates::new(completion::chains))]
    pub chain: Option<String>,

    /// Have these nodes ask as well, all at once: who sees whom; `all` names every node
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = ArgValueCandidates::new(completion::nodes))]
    pub from: Vec<String>,

    /// What --from may take together [default: cycle.recovery, at least 10s]
    #[arg(long, value_name = "DURATION", requires = "from", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
}

/// `mirror whois-brain`.
#[derive(Debug, Args)]
pub struct WhoisBrain {
    /// Ask whether this node is the brain; the exit status is the answer. This is a check: it leaves a beat
    #[arg(long)]
    pub check: bool,

    /// Ask the living nodes whether they are at work, however long that takes
    #[arg(long)]
    pub at_work: bool,

    /// Decide by this view, printed by `mirror probe`, instead of asking; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub view: Option<PathBuf>,
}

/// `mirror breathe`.
#[derive(Debug, Args)]
pub struct Breathe {
    /// The repository [default: breath.repo, else the current directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub repo: Option<PathBuf>,

    /// The remote's name [default: breath.remote, else origin]
    #[arg(long, value_name = "REMOTE")]
    pub remote: Option<String>,

    /// The branch's name [default: breath.branch, else main]
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,

    /// Make the clone, or make the one that is there a clone of the mesh, and breathe
    #[arg(long, conflicts_with = "inhale")]
    pub init: bool,

    /// Only inhale: fetch and move the work tree, push nothing
    #[arg(long)]
    pub inhale: bool,

    /// What all that goes over the network may take [default: breath.timeout]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,

    #[command(flatten)]
    pub pace: Pace,
}

/// `mirror promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The service [default: every service of the node list]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: Option<String>,

    /// The node to run it on, instead of the first living one of its chain
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub to: Option<String>,

    /// Do nothing unless this node is the brain
    #[arg(long)]
    pub if_brain: bool,

    /// Look and decide, and touch nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Decide by this view, printed by `mirror probe`, instead of asking; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub view: Option<PathBuf>,

    /// The reason, shown as `why` in the object and the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,

    /// Accept your word that the service does not run on NODE
    ///
    /// A service that last ran on a node that has left the node list, or that has another address by now,
    /// and cannot be asked there, is started nowhere else: it may still run. Make sure that it does not,
    /// then name that node.
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub forget: Option<String>,

    #[command(flatten)]
    pub pace: Pace,
}

/// The pace of a loop.
#[derive(Debug, Args)]
pub struct Pace {
    /// End no sooner than DURATION after the start, such as `200ms`
    ///
    /// A loop that runs one step after another then needs no `sleep`. The object is written, and locks are
    /// released, as soon as the step is done.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub pace: Option<Duration>,

    /// Print the object only when it says something else than the last time, or something moved
    ///
    /// For a loop, whose log would grow by a line for each tick. Times do not count; a loop that is started
    /// anew prints its first object.
    #[arg(long)]
    pub changes_only: bool,
}

/// `mirror chain show`.
#[derive(Debug, Args)]
pub struct ChainShow {
    /// The chain to show [default: all]
    #[arg(value_name = "CHAIN", add = ArgValueCandidates::new(completion::chains))]
    pub chain: Option<String>,

    /// Ask the nodes, and tell which one is the brain and where each service belongs
    #[arg(long, conflicts_with = "down")]
    pub probe: bool,

    /// Tell the same as if these nodes were dead and all others alive; no node is asked
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = ArgValueCandidates::new(completion::nodes))]
    pub down: Option<Vec<String>>,
}

/// `mirror chain check`.
#[derive(Debug, Args)]
pub struct ChainCheck {
    /// Fail when the chains do not survive any N failures
    #[arg(long, value_name = "N")]
    pub survive: Option<usize>,

    /// Ask every node, over new connections, for the digest of its node list and for what it can do itself
    ///
    /// Each node tries what --here does, so every node asks every other. What differs between them (the
    /// list, the version of mirror, the clock) is reported too. Each node also measures how far it is to every
    /// other one, and to the arbiter: a deadline that is too short for a link is an error, and the recovery
    /// that the values promise on these links is shown.
    #[arg(long)]
    pub live: bool,

    /// With --live, also print the values that would do on the measured links, as TOML
    #[arg(long, requires = "live")]
    pub suggest: bool,

    /// Try what this node itself can do: run a command on each other node over a new connection, run the
    /// status of each service, reach the remote of the breath's repository
    ///
    /// Where systemd runs and mirror-check.service is loaded, root asks the nodes and the services under the
    /// confinement of that unit: what works by hand may not work there. Else `here.confinement` says why not.
    #[arg(long)]
    pub here: bool,

    /// Try --here as this process is, as it already runs under the unit's confinement
    #[arg(long, hide = true, requires = "here")]
    pub confined: bool,

    /// Take warnings for errors
    #[arg(long)]
    pub strict: bool,

    /// Print annotations of GitHub's workflows instead, on the lines of the node list
    #[arg(long, value_name = "FORMAT", value_parser = ["github"])]
    pub format: Option<String>,

    /// What the questions of --live and --here may take together [default: cycle.recovery, at least 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
}

/// `mirror hold`.
#[derive(Debug, Args)]
pub struct Hold {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: String,

    /// The time from the start of one read to the next, shorter than `valid` [default: a third of
    /// `valid`]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub check: Option<std::time::Duration>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `mirror gate`.
#[derive(Debug, Args)]
pub struct Gate {
    /// Let git reach this repository too, such as the one in which the leases are; may be repeated
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub repo: Vec<PathBuf>,
}

/// `mirror beat`.
#[derive(Debug, Args)]
pub struct Beat {
    /// Learn these notices first, which another node tells: JSON in base64
    #[arg(long, value_name = "TEXT", hide = true)]
    pub learn: Option<String>,
}

/// `mirror drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// The node [default: this one]
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub node: Option<String>,

    /// The reason, shown wherever the drain is shown
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror undrain`.
#[derive(Debug, Args)]
pub struct Undrain {
    /// The node [default: this one]
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(completion::nodes))]
    pub node: Option<String>,

    /// The reason, kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,

    /// End it only if it was begun with this --why: what a machine drained by itself, and no person
    #[arg(long, value_name = "TEXT")]
    pub if_why: Option<String>,
}

/// `mirror pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// The services [default: all, also those that are added later]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub services: Vec<String>,

    /// The reason, shown wherever the pause is shown
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,

    /// Stop the automatic only: `promote --to` moves a service all the same
    #[arg(long)]
    pub auto_only: bool,
}

/// `mirror resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The services [default: all that are paused]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub services: Vec<String>,

    /// The reason, kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Tell only what this node itself knows; no other node is asked. This is what the other nodes ask
    #[arg(long, conflicts_with_all = ["watch", "html", "nagios"])]
    pub here: bool,

    /// Keep it on the screen, asked anew every D [default: 2s]; q ends it
    ///
    /// It is redrawn in place, and a line that says something else than before begins with > for ten seconds. A node
    /// that hangs is named below and holds up neither the others nor a key; q or Ctrl-C ends it, with the terminal as
    /// before. Where stdout is no terminal, or TERM is dumb, each time is a line of text; with --json it is an object.
    #[arg(long, value_name = "D", num_args = 0..=1, default_missing_value = "2s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub watch: Option<Duration>,

    /// Also write it, and what happened within the last day, as a page that needs nothing from elsewhere
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "watch")]
    pub html: Option<PathBuf>,

    /// Print one line with performance data, and end in the statuses of monitoring plugins: 0 OK, 1 WARNING,
    /// 2 CRITICAL where a service does not run once, 3 UNKNOWN
    #[arg(long, conflicts_with = "watch")]
    pub nagios: bool,

    /// What the questions may take together [default: cycle.recovery, at least 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
}

/// `mirror history`.
#[derive(Debug, Args)]
pub struct History {
    /// How many of the latest entries to show
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 50)]
    pub last: usize,

    /// The histories of all nodes on one time line, one event a line
    ///
    /// Every node is asked at once. Times are by the clock of this machine: those of a node whose clock is off by more
    /// than a second are corrected and marked. What several nodes saw is told once, with all of them in `seen_by`.
    /// Without a terminal each line is an object (`mirror schema event`); a node that could not be asked is a line of
    /// its own, and the status is 3 then.
    #[arg(long)]
    pub all: bool,

    /// Nothing before T: a time such as 2026-01-31T03:00:00Z or `2026-01-31 03:00` (UTC), or how long ago, such as 90m
    #[arg(long, value_name = "T", value_parser = since)]
    pub since: Option<SystemTime>,

    /// Only what concerns this service, and what concerns none in particular
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(completion::services))]
    pub service: Option<String>,

    /// What the questions of --all may take together [default: cycle.recovery, at least 10s]
    #[arg(long, value_name = "DURATION", requires = "all", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
}

/// A time, or how long ago it is.
fn since(text: &str) -> Result<SystemTime, String> {
    let date = || humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}:00")));
    let midnight = || humantime::parse_rfc3339_weak(&format!("{text} 00:00:00"));
    if let Ok(time) = date().or_else(|_| midnight()) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "neither a time, such as 2026-01-31T03:00:00Z, nor how long ago, such as 90m".to_owned())?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "longer ago than any clock shows".to_owned())
}

/// `mirror rollout`.
#[derive(Debug, Args)]
pub struct Rollout {
    /// The new node list
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// Say what would be done, and touch nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Put this list, in base64, beside the one in force here
    #[arg(long, hide = true, value_name = "LIST", conflicts_with_all = ["file", "switch"])]
    pub stage: Option<String>,

    /// Put the list of this digest, which is beside the one in force here, in its place
    #[arg(long, hide = true, value_name = "DIGEST", conflicts_with = "file")]
    pub switch: Option<String>,

    /// What one step on all nodes may take [default: cycle.recovery, at least 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub within: Option<Duration>,
}

/// `mirror notify`.
#[derive(Debug, Args)]
pub struct Notify {
    /// What all deliveries may take together
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub within: Duration,

    #[command(flatten)]
    pub pace: Pace,
}

/// `mirror metrics`.
#[derive(Debug, Args)]
pub struct Metrics {
    /// The file to write, in the directory of the collector; its name must end in `.prom` there [default: stdout]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// `mirror schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// The command, such as `probe` or `chain show`, or `mirror.toml` for the node list
    #[arg(value_name = "COMMAND", required = true, num_args = 1..=2, add = ArgValueCandidates::new(completion::objects))]
    pub command: Vec<String>,
}

/// `mirror completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}

/// `mirror help`.
#[derive(Debug, Args)]
pub struct Help {
    /// The topic or the command, such as `cycle`, `probe` or `chain show` [default: the program]
    #[arg(value_name = "TOPIC", num_args = 0..=2, add = ArgValueCandidates::new(completion::topics))]
    pub topic: Vec<String>,
}
