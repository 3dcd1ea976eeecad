//! The argument types and the names of the links. The text above each argument is its help and its
//! place in the man page; so are the exit statuses, which the page shows in a section of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use crate::complete;

/// The heading of what all commands understand.
const GLOBAL: &str = "Global options";

/// The exit statuses of a command: its own 0, 1 and 3, and the 2 that all share.
macro_rules! statuses {
    ($yes:literal $(, no: $no:literal)? $(, unknown: $unknown:literal)?) => {
        concat!(
            "Exit status:\n  0  ", $yes,
            $("\n  1  ", $no,)?
            "\n  2  the command line, the configuration or a view is wrong; no output",
            $("\n  3  ", $unknown,)?
        )
    };
}

const ALL_STATUSES: &str = statuses!(
    "yes, or done",
    no: "a definite no: dead, not the brain, unsound, refused, conflict",
    unknown: "unknown: it could not be found out, or not be confirmed in time\n\n\
              Take anything but 0 and 1 for unknown: a script that acts on \"not 0\" acts on a\n\
              broken tool."
);
const PROBE_STATUSES: &str = statuses!(
    "alive: every node that was asked is alive",
    no: "dead: a node is dead",
    unknown: "unknown: a node could not be asked, and none is dead"
);
const WHOIS_BRAIN_STATUSES: &str = statuses!(
    "known: a brain is known; with --check, self: it is this node",
    no: "nobody: every node of the chain is dead; with --check also other:\n     another node is the brain",
    unknown: "unknown: a node before the first living one could not be asked, or the view\n     \
              is not to be trusted; isolated: this node sees no other and no witness"
);
const BREATHE_STATUSES: &str = statuses!(
    "in-step: the branch is the same here and on the remote",
    no: "conflict, refused: a person has to decide; nothing is lost",
    unknown: "unreachable, busy, raced: the next breath tries again; failed: something on\n     \
              this machine failed; nothing is lost"
);
const PROMOTE_STATUSES: &str = statuses!(
    "in-place, started, moved, stopped-elsewhere: every service runs on its\n     \
     target; planned: --dry-run, nothing was touched",
    no: "refused: there is no living node for it; not-brain: this node may not;\n     \
         failed: it could not be started where it was to be; paused: `mirror pause`, and it is\n     \
         not as it ought to be; nothing was touched",
    unknown: "blocked: a living node did not confirm that it stopped; busy: another\n     \
              promotion is under way here; unknown: it could not be found out"
);
const CHAIN_SHOW_STATUSES: &str = statuses!("shown");
const CHAIN_CHECK_STATUSES: &str = statuses!(
    "sound: there is nothing worse than a warning",
    no: "unsound: there is an error, or less is survived than --survive asks"
);
const LEASE_SHOW_STATUSES: &str = statuses!(
    "granted: every lease that was asked for is granted to a node",
    no: "claimed: a takeover is under way, or was left unfinished; vacant: it was
     \
         never claimed; no node may run the service",
    unknown: "unknown: a register cannot be read, or lost what it held"
);
const LEASE_CHECK_STATUSES: &str = statuses!(
    "self: the lease is granted to this node, which may run the service now",
    no: "other: another node holds the lease; claimed: a takeover is under way;
     \
         vacant: it was never claimed; this node may not run the service",
    unknown: "unknown: the register cannot be read in time, or lost what it held: this
     \
              node may not run the service"
);
const LEASE_HISTORY_STATUSES: &str = statuses!("shown", unknown: "unknown: the register cannot be read");
const LEASE_REPAIR_STATUSES: &str = statuses!(
    "repaired: a new claim was written; sound: there was nothing to repair",
    unknown: "busy: a promotion of the service is under way here; unknown: the register
     \
              cannot be read, or it is not known whether the claim was written"
);
const HOLD_STATUSES: &str = concat!(
    "Exit status:",
    "\n  0  ended: once the command has run, its own status, whatever that is; 128 and the\n     ",
    "number of the signal, when one ended it; running, stopping: it has not ended yet",
    "\n  1  not-ours: the lease is not granted to this node; nothing was started",
    "\n  2  the command line or the configuration is wrong; nothing was started",
    "\n  3  unknown: the register could not be read in time; busy: the service is held on\n     ",
    "this node already; nothing was started",
    "\n  75  lost: the command ran, and was ended, since the lease was taken away or could\n     ",
    "not be read any more (EX_TEMPFAIL)",
    "\n  126  failed: the command could not be started",
    "\n  127  failed: there is no such program\n\n",
    "A command can end in each of these numbers itself; hold-SERVICE.json in the state directory\n",
    "and the last line on stderr tell which it was."
);
const PAUSE_STATUSES: &str = statuses!(
    "paused: what was named is paused, now or since before",
    unknown: "unknown: it could not be written where it is kept, or not be confirmed"
);
const RESUME_STATUSES: &str = statuses!(
    "resumed: what was named is not paused, now or since before",
    no: "refused: all services are paused at once; end that without naming one",
    unknown: "unknown: it could not be written where it is kept, or not be confirmed"
);
const HISTORY_STATUSES: &str = statuses!("listed");
const PRINT_STATUSES: &str = statuses!("printed", unknown: "stdout could not be written");

/// Failover for a handful of servers with nothing but ssh, git and a list of nodes
///
/// Each command does one step, prints one object and says the rest with its exit status. The object
/// is JSON with --json or when stdout is not a terminal, and text for people on a terminal. Errors
/// go to stderr, one line that says what is wrong, where, and what to do.
///
/// To begin, write a node list (mirror.toml(5)), look at it with `mirror chain check` and
/// `mirror chain show`, then ask with `mirror probe` and `mirror promote --dry-run`. How cron, a timer
/// or a loop makes a watchdog of the commands is told in mirror-cycle(7).
///
/// Called through a link that is named after a command, such as mirror-probe or probe, the program is
/// that command.
#[derive(Debug, Parser)]
#[command(name = "mirror", version, max_term_width = 100, propagate_version = true)]
#[command(subcommand_help_heading = "Commands", after_long_help = ALL_STATUSES)]
pub struct Cli {
    /// What all commands understand.
    #[command(flatten)]
    pub global: Global,

    /// The step to take.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands understand.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The node list to use [default: the first that is there of ./mirror.toml,
    /// $XDG_CONFIG_HOME/mirror/mirror.toml and /etc/mirror/mirror.toml]
    #[arg(long, global = true, value_name = "FILE", env = "MIRROR_CONFIG", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    // Empty is allowed, as the variable may be set to nothing.
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub config: Option<PathBuf>,

    /// The node that this machine is [default: `self` in the node list, else the node whose address
    /// it bears, else none]
    #[arg(long = "self", global = true, value_name = "NODE", env = "MIRROR_SELF", hide_env_values = true)]
    #[arg(add = ArgValueCandidates::new(complete::nodes), help_heading = GLOBAL)]
    pub own: Option<String>,

    /// Print JSON even on a terminal
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Print nothing to stdout; the exit status says it all
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,

    /// Say each step on stderr as it happens
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask nodes whether they live, all of them at once
    ///
    /// Each node is asked by its own method (`probe` in mirror.toml(5)) and has its own deadline; all
    /// are asked at once, so a probe takes as long as the slowest deadline and no longer. A node is
    /// alive when an answer came, dead when it said a definite no or nothing in time, and unknown when
    /// this machine could not ask.
    ///
    /// The object is also a view, which --view of whois-brain and promote reads: one look, several
    /// decisions.
    #[command(after_long_help = PROBE_STATUSES)]
    Probe(Probe),

    /// Find the brain: the first living node of the chain `brain`
    ///
    /// The brain is the one node that may move services. The answer is given as soon as the order
    /// allows, however many others have not answered yet. A node that is unknown before the first
    /// living one makes the answer unknown: nobody leads on doubt.
    #[command(after_long_help = WHOIS_BRAIN_STATUSES)]
    WhoisBrain(WhoisBrain),

    /// Pull, then push, and lose nothing
    ///
    /// One breath: fetch, fast-forward or rebase, then push, under one deadline (`timeout` in
    /// [breath]). No commit and no uncommitted byte is lost, whenever it is killed; the next breath
    /// finishes the work. Uncommitted work is not touched.
    ///
    /// Where local and incoming commits contradict each other, the branch stays as it was, the local
    /// commits are pushed to refs/conflicts/NODE/COMMIT on the remote, and the files are named.
    #[command(after_long_help = BREATHE_STATUSES)]
    Breathe(Breathe),

    /// Make services run on their targets and nowhere else
    ///
    /// The target of a service is the first living node of its chain. A service that runs well on a
    /// lower node stays there until the better one has been alive for `failback`. Where everything is
    /// as it ought to be, nothing is touched. Else the service is stopped wherever it runs or might
    /// run, that is confirmed by its `status`, and it is started on its target.
    ///
    /// When a living node does not confirm its stop, nothing is started: `blocked`. When the old node
    /// is dead, the start goes ahead and `fencing` is `none`: if that node is only cut off, two
    /// instances run until it is back.
    ///
    /// Under a lease ([lease] in mirror.toml(5)) there are never two. The target's claim is written
    /// first; from then on the register names nobody. It is granted when the old holder has confirmed
    /// its stop, or else when `valid` and `grace` have passed and the old holder has stopped by itself;
    /// then the service is started, and `fencing` is `lease`. A living node that says nothing delays
    /// that by the wait and does not block it. Where the register cannot be read, nothing is touched:
    /// `unknown`.
    #[command(after_long_help = PROMOTE_STATUSES)]
    Promote(Promote),

    /// Show or check the node list
    #[command(subcommand, subcommand_help_heading = "Commands")]
    Chain(Chain),

    /// Show or check the leases of services
    ///
    /// A lease says which node may run a service. It is one value, kept where `store` in [lease] says
    /// (a ref of a git remote, a key of an etcd cluster, or a file), and promote moves it.
    #[command(subcommand, subcommand_help_heading = "Commands")]
    Lease(Lease),

    /// Run a command while the lease allows it, and not longer
    ///
    /// Reads the lease of the service; if it is granted to this node, starts the command and reads on,
    /// three times in `valid` ([lease] in mirror.toml(5)). When the lease is taken away, or the latest
    /// good read began longer than `valid` ago, the command gets SIGTERM, and what is left of it
    /// SIGKILL before `grace` has passed: with every process that it had started, also those in groups
    /// and sessions of their own. No node starts it before that.
    ///
    /// Nothing is waited for: where the lease is not this node's, the command is not started. So a
    /// unit says `ExecCondition=mirror lease check SERVICE`, and its `start` comes from `mirror promote`.
    ///
    /// SIGTERM, SIGINT and SIGHUP are passed on as SIGTERM, and followed by SIGKILL when `grace` has
    /// passed. Whatever of it still runs when the command has ended is killed. So is all of it when
    /// `mirror` itself is killed; and when `mirror` is frozen it ends in time all the same, for a second
    /// process keeps it.
    ///
    /// What is beyond that: both processes killed at the same instant and not by systemd, when the
    /// command dies and what it had started lives on; a command that changes its user where `mirror` is
    /// not root; a process that waits for a disk in a way that no signal ends; and a whole machine, or
    /// control group, that is frozen for longer than `valid` and `grace` and acts for an instant as it
    /// wakes. A service that compares MIRROR_EPOCH with the latest it has seen is safe even then.
    ///
    /// stdin, stdout and stderr are the command's. It finds MIRROR_SERVICE, MIRROR_HOLDER and
    /// MIRROR_EPOCH, the fencing token, in its environment. `mirror` says on stderr what changes, one
    /// line each, unless --quiet; it writes hold-SERVICE.json into the state directory, whose schema
    /// `mirror schema hold` prints; and it tells systemd READY=1 once the command runs, WATCHDOG=1 after
    /// each good read, STATUS= and STOPPING=1. NOTIFY_SOCKET is not passed on to the command.
    #[command(after_long_help = HOLD_STATUSES)]
    Hold(Hold),

    /// Keep services where they are until resume
    ///
    /// While a service is paused, `mirror promote` moves, stops and starts nothing of it, on no node
    /// that sees the pause: with a lease all of them, since the pause is kept in a register beside
    /// those of the leases; without one only this node, in whose state it is kept. `where` in the object
    /// says which. Where a service is in place, `promote` says so; else it ends in 1, `paused`.
    ///
    /// A pause prolongs no lease: `mirror hold` goes on reading the register, and stops what it may not
    /// run any longer, also when it is the arbiter that is away for maintenance.
    #[command(after_long_help = PAUSE_STATUSES)]
    Pause(Pause),

    /// End a pause
    #[command(after_long_help = RESUME_STATUSES)]
    Resume(Resume),

    /// Show what this node did and saw
    ///
    /// Every change, the oldest first: promotions that did something or tried to, another brain, pauses,
    /// and what `mirror hold` started and ended. It is kept in the state directory, 512 KiB at most, as
    /// lines of JSON in history.old.jsonl and history.jsonl. The takeovers of all nodes are in the
    /// register itself: `mirror lease history`.
    #[command(after_long_help = HISTORY_STATUSES)]
    History(History),

    /// Print the JSON Schema of a command's object
    #[command(after_long_help = PRINT_STATUSES)]
    Schema(Schema),

    /// Print the completion script of a shell
    ///
    /// Source the script, or put it where the shell looks for such. It asks mirror itself what could
    /// come next, so it also completes the names of nodes, chains and services in the node list.
    #[command(after_long_help = PRINT_STATUSES)]
    Completions(Completions),
}

/// `mirror chain`.
#[derive(Debug, Subcommand)]
pub enum Chain {
    /// Show who stands where, in which role
    ///
    /// PRIMARY heads the chain of a service, BRAIN the brain chain; the others are MIRROR 1, MIRROR 2
    /// and so on. With --probe or --down it also tells who is the brain and where each service belongs
    /// when nothing is known of where it runs now.
    #[command(after_long_help = CHAIN_SHOW_STATUSES)]
    Show(ChainShow),

    /// Check whether the node list is sound, and what it survives
    ///
    /// Lists every error and warning with line and column, the number of failures that every chain
    /// survives whichever nodes fall, the smallest sets of nodes whose fall leaves a chain without a
    /// leader, and the worst case from a failure to the recovery. Nobody is asked unless by --live.
    #[command(after_long_help = CHAIN_CHECK_STATUSES)]
    Check(ChainCheck),
}

/// `mirror lease`.
#[derive(Debug, Subcommand)]
pub enum Lease {
    /// Show who holds the leases
    ///
    /// Of each lease: its holder, its epoch, whether it is granted yet, who wrote it, when and why, and
    /// since when this machine has seen it so. Nothing is written.
    #[command(after_long_help = LEASE_SHOW_STATUSES)]
    Show(LeaseShow),

    /// Ask whether this node may run a service now
    ///
    /// By one read that begins now and may take a third of `valid`; what was read before counts for
    /// nothing. For the ExecCondition of a unit, and for a watchdog that stops the service on anything
    /// but 0.
    #[command(after_long_help = LEASE_CHECK_STATUSES)]
    Check(LeaseCheck),

    /// Show every takeover of a service
    ///
    /// From the register's own history: all of it in git, what was not compacted yet in etcd, and the
    /// last one in a file.
    #[command(after_long_help = LEASE_HISTORY_STATUSES)]
    History(LeaseHistory),

    /// Take a register back into service that lost what it held
    ///
    /// A register that goes back to an earlier epoch, as after a restore from a backup, or that is
    /// empty where it was not, is obeyed by nobody who knows better: nobody runs the service and nobody
    /// takes over. This command accepts the register as it is. It writes a claim with an epoch later
    /// than any that the register holds and this machine has seen, and forgets what was seen before.
    ///
    /// The claim says that nobody knows who runs the service, so the next promotion waits for `valid`
    /// and `grace`, whatever the nodes confirm, and grants it then. Give the command on the node that
    /// has seen the latest epoch, mostly the brain; a node that has seen a later one says so, and needs
    /// it once more. Where nothing is wrong, nothing is written.
    #[command(after_long_help = LEASE_REPAIR_STATUSES)]
    Repair(LeaseRepair),
}

/// `mirror lease show`.
#[derive(Debug, Args)]
pub struct LeaseShow {
    /// The service [default: every service of the node list]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,
}

/// `mirror lease check`.
#[derive(Debug, Args)]
pub struct LeaseCheck {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: String,
}

/// `mirror lease history`.
#[derive(Debug, Args)]
pub struct LeaseHistory {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: String,

    /// How many takeovers, at most, the newest first
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    pub number: usize,
}

/// `mirror lease repair`.
#[derive(Debug, Args)]
pub struct LeaseRepair {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: String,

    /// The reason, to stand as `why` in the register
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// The nodes to ask [default: all]
    #[arg(value_name = "NODE", add = ArgValueCandidates::new(complete::nodes))]
    pub nodes: Vec<String>,

    /// Ask the nodes of this chain, in its order
    #[arg(long, value_name = "CHAIN", add = ArgValueCandidates::new(complete::chains))]
    pub chain: Option<String>,
}

/// `mirror whois-brain`.
#[derive(Debug, Args)]
pub struct WhoisBrain {
    /// Ask whether this node is the brain, and say so by the exit status
    #[arg(long)]
    pub check: bool,

    /// Decide by this view, which `mirror probe` printed, instead of asking; `-` is standard input
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

    #[command(flatten)]
    pub pace: Pace,
}

/// `mirror promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The service [default: every service of the node list]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,

    /// The node to run it on, instead of the one that the chain gives
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::nodes))]
    pub to: Option<String>,

    /// Do nothing unless this node is the brain
    #[arg(long)]
    pub if_brain: bool,

    /// Look and decide, but touch nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Decide by this view, which `mirror probe` printed, instead of asking; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub view: Option<PathBuf>,

    /// The reason, to stand as `why` in the object
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,

    #[command(flatten)]
    pub pace: Pace,
}

/// The pace of a loop.
#[derive(Debug, Args)]
pub struct Pace {
    /// End no sooner than DURATION after the start, such as `200ms`
    ///
    /// A loop that calls one step after another then needs no `sleep` beside each. The object is
    /// written, and locks are released, as soon as the step is done.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub pace: Option<Duration>,
}

/// `mirror chain show`.
#[derive(Debug, Args)]
pub struct ChainShow {
    /// The chain to show [default: all]
    #[arg(value_name = "CHAIN", add = ArgValueCandidates::new(complete::chains))]
    pub chain: Option<String>,

    /// Ask the nodes, and tell who is the brain and where each service belongs
    #[arg(long, conflicts_with = "down")]
    pub probe: bool,

    /// Tell the same as if these nodes were dead and all others alive; nobody is asked
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = ArgValueCandidates::new(complete::nodes))]
    pub down: Option<Vec<String>>,
}

/// `mirror chain check`.
#[derive(Debug, Args)]
pub struct ChainCheck {
    /// Make it an error when the chains do not survive any N failures
    #[arg(long, value_name = "N")]
    pub survive: Option<usize>,

    /// Ask every node for the digest of its node list; two lists are two networks
    #[arg(long)]
    pub live: bool,
}

/// `mirror hold`.
#[derive(Debug, Args)]
pub struct Hold {
    /// The service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: String,

    /// From the beginning of one read to that of the next; shorter than `valid` [default: a third of
    /// `valid`]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub check: Option<std::time::Duration>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `mirror pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// The services [default: all of them, also those that are added later]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub services: Vec<String>,

    /// The reason, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The services [default: all that is paused]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub services: Vec<String>,

    /// The reason, to stand in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

/// `mirror history`.
#[derive(Debug, Args)]
pub struct History {
    /// How many of the latest entries to show
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 50)]
    pub last: usize,
}

/// `mirror schema`.
#[derive(Debug, Args)]
pub struct Schema {
    /// The command, such as `probe` or `chain show`
    #[arg(value_name = "COMMAND", required = true, num_args = 1..=2, add = ArgValueCandidates::new(complete::objects))]
    pub command: Vec<String>,
}

/// `mirror completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}

/// What the binary is called when it is called by its own name.
const PROGRAM: &str = "mirror";
/// The commands a link can be named after, and what such a link stands for.
const LINKS: [(&str, &[&str]); 18] = [
    ("probe", &["probe"]),
    ("whois-brain", &["whois-brain"]),
    ("breathe", &["breathe"]),
    ("promote", &["promote"]),
    ("chain", &["chain"]),
    ("chain-show", &["chain", "show"]),
    ("chain-check", &["chain", "check"]),
    ("lease", &["lease"]),
    ("lease-show", &["lease", "show"]),
    ("lease-check", &["lease", "check"]),
    ("lease-history", &["lease", "history"]),
    ("lease-repair", &["lease", "repair"]),
    ("hold", &["hold"]),
    ("pause", &["pause"]),
    ("resume", &["resume"]),
    ("history", &["history"]),
    ("schema", &["schema"]),
    ("completions", &["completions"]),
];

/// The arguments with a link's name turned into the command it stands for: `mirror-probe x` and
/// `probe x` become `mirror probe x`.
pub fn by_link_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(called) = arguments.first().and_then(|path| Path::new(path).file_name()?.to_str()) else {
        return arguments;
    };
    let command = called.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix('-')).unwrap_or(called);
    if let Some((_, words)) = LINKS.iter().find(|(name, _)| *name == command) {
        arguments.splice(..1, std::iter::once(PROGRAM).chain(words.iter().copied()).map(OsString::from));
    }
    arguments
}

/// What is wrong with a command line, in one line like every other error.
pub fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let told = told.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let told =
        told.map(|line| line.strip_prefix("error: ").unwrap_or(line)).map(|line| match line.strip_prefix("tip: ") {
            Some(tip) => format!("({tip})"),
            None => line.to_owned(),
        });
    told.collect::<Vec<_>>().join(" ") + "; see --help"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_told_in_one_line() {
        let told = |words: &[&str]| in_one_line(&Cli::try_parse_from(words).expect_err("is wrong"));
        assert_eq!(told(&["mirror", "whois-brain", "--nope"]), "unexpected argument '--nope' found; see --help");
        assert_eq!(
            told(&["mirror", "schema"]),
            "the following required arguments were not provided: <COMMAND>...; see --help"
        );
        assert_eq!(
            told(&["mirror", "breath"]),
            "unrecognized subcommand 'breath' (a similar subcommand exists: 'breathe'); see --help"
        );
    }

    #[test]
    fn a_link_is_the_command_it_is_named_after() {
        let turned = |words: &[&str]| {
            let turned = by_link_name(words.iter().map(OsString::from).collect());
            turned.into_iter().map(|word| word.into_string().expect("UTF-8")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(turned(&["/usr/bin/mirror-probe", "-q", "a"]), "mirror probe -q a");
        assert_eq!(turned(&["probe"]), "mirror probe");
        assert_eq!(turned(&["mirror-chain-show", "--json"]), "mirror chain show --json");
        assert_eq!(turned(&["./mirror", "probe"]), "./mirror probe");
        assert_eq!(turned(&["something-else", "probe"]), "something-else probe");
    }
}
