//! The commands, their arguments and the names of the links. The text above each is its help and its
//! place in the man page; so are the exit statuses, which the page shows in a section of their own.

mod arguments;
pub(crate) mod completion;
pub(crate) mod links;
mod statuses;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use statuses::*;

pub use arguments::*;
pub use links::by_link_name;

/// The heading of what all commands understand.
const GLOBAL: &str = "Global options";

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
    #[arg(add = ArgValueCandidates::new(completion::nodes), help_heading = GLOBAL)]
    pub local_node: Option<String>,

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
    /// What is beyond that: both processes killed at the same instant, or frozen, and not by systemd,
    /// when the command dies in time and what it had started lives on; a command that changes its user
    /// where `mirror` is not root; a process that waits for a disk in a way that no signal ends; and a
    /// whole machine, or control group, that is frozen for longer than `valid` and `grace` and acts for
    /// an instant as it wakes. A service that compares MIRROR_EPOCH with the latest it has seen is safe even then.
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
    /// Every change, the oldest first: promotions that did something or tried to, nodes that died or
    /// returned, another brain, claims and grants of leases by whomever, pauses, and what `mirror hold`
    /// started and ended. It is kept in the state directory, 512 KiB at most, as
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
    /// By one read that begins now; what was read before counts for nothing. It may take `valid`, and with
    /// guard = "tick" a third of that, but no longer than `grace`. For the ExecCondition of a unit, and for
    /// a watchdog that stops the service on anything but 0.
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
    /// it once more. Where nothing is wrong as far as this machine knows, nothing is written.
    ///
    /// Stop the service everywhere before the arbiter is restored: a node that never saw the epochs that
    /// were lost takes the old register for good, and one that it names may run the service again while
    /// the holder relies on its last read. A restore also brings back pauses, or loses them.
    #[command(after_long_help = LEASE_REPAIR_STATUSES)]
    Repair(LeaseRepair),
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
}
