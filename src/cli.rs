//! The commands, their arguments, the names of the links and the topics of `mirror help`. The text above
//! each command and argument is its help and its man page; so are the exit statuses.

mod arguments;
pub(crate) mod completion;
pub(crate) mod links;
mod page;
mod statuses;
pub mod topics;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use statuses::*;

pub use arguments::*;
pub use links::by_link_name;

/// The heading of the options that all commands have.
const GLOBAL: &str = "Global options";

/// Failover for a handful of servers with nothing but ssh, git and a list of nodes
///
/// Each command does one step, prints one object and says the rest by its exit status. The object is
/// JSON with --json or when stdout is not a terminal, and text for people on a terminal. An error is
/// one line on stderr that says what is wrong, where, and what to do.
///
/// To begin, write a node list (mirror.toml(5)) and look at it with `mirror chain check` and
/// `mirror chain show`; then run `mirror probe` and `mirror promote --dry-run`. mirror-cycle(7) tells how
/// cron, a timer or a loop makes a watchdog of the commands. `mirror help TOPIC` shows such a page.
///
/// Through a link that is named after a command, such as mirror-probe or probe, the program is that
/// command.
#[derive(Debug, Parser)]
#[command(name = "mirror", version, max_term_width = 100, propagate_version = true)]
#[command(subcommand_help_heading = "Commands", after_long_help = ALL_STATUSES, disable_help_subcommand = true)]
pub struct Cli {
    /// The options of all commands.
    #[command(flatten)]
    pub global: Global,

    /// The step to take.
    #[command(subcommand)]
    pub command: Command,
}

/// The options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The node list [default: the first that exists of $XDG_CONFIG_HOME/mirror/mirror.toml and
    /// /etc/mirror/mirror.toml]
    #[arg(long, global = true, value_name = "FILE", env = "MIRROR_CONFIG", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    // Empty is allowed, because the variable may be set to nothing.
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub config: Option<PathBuf>,

    /// The node that this machine is [default: `self` in the node list, else the node whose address
    /// this machine has, else none]
    #[arg(long = "self", global = true, value_name = "NODE", env = "MIRROR_SELF", hide_env_values = true)]
    #[arg(add = ArgValueCandidates::new(completion::nodes), help_heading = GLOBAL)]
    pub local_node: Option<String>,

    /// Print JSON even on a terminal
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Print text for people even where stdout is no terminal, as under watch(1) and in `ssh host mirror ...`
    #[arg(long, global = true, conflicts_with = "json", help_heading = GLOBAL)]
    pub text: bool,

    /// Print nothing to stdout; the exit status is the answer
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,

    /// Begin each line with its priority, as systemd's journal reads it; the default where the journal is
    /// what is written to
    ///
    /// `<3>` something failed or could not be found out, `<4>` something is in the way, `<5>` something
    /// moved, `<7>` a quiet tick. `journalctl -p notice` then shows what happened and nothing else.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub journal: bool,

    /// Report each step on stderr as it happens
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask nodes whether they are alive, all at once
    ///
    /// Each node is asked by its own method and within its own deadline (`[probe]` in mirror.toml(5)). All
    /// are asked at once, so a probe takes as long as the longest deadline and no longer. A node is alive
    /// when an answer came; dead when the answer was a definite no, or none came in time; unknown when
    /// this machine could not ask.
    ///
    /// The object is also a view, which --view of whois-brain and promote reads: one look, several
    /// decisions.
    ///
    /// With --from, other nodes ask as well, and `matrix` says who sees whom. A pair of which only one sees the
    /// other is in `one_way`: packets are lost in one direction.
    #[command(after_long_help = PROBE_STATUSES)]
    Probe(Probe),

    /// Find the brain: the first node of the chain `brain` that is alive and at work
    ///
    /// The brain is the one node that may move services. The answer comes as soon as the order of the
    /// chain allows, however many nodes have not answered yet. A node that is unknown before the first
    /// living one makes the answer unknown: no node leads on doubt.
    ///
    /// The brain is also at work: its own watchdog has finished a check lately, with a node list that it
    /// could use. With --check, which is a check of this node, the node that seems to be the brain is
    /// asked for its beat (mirror-beat(1)), and is passed over when the beat is stale. Without --check no
    /// node is asked: the answer uses what the last check of this node learned, and `at_work` says so.
    #[command(after_long_help = WHOIS_BRAIN_STATUSES)]
    WhoisBrain(WhoisBrain),

    /// Show whether this node is at work: what its last check left behind
    ///
    /// A check (`mirror promote --if-brain`, `mirror whois-brain --check`) leaves a beat in the state
    /// directory as it ends. It is fresh for two checks and the timeout of a probe (`cycle.check` and
    /// `probe.timeout` in mirror.toml(5)), and for 2 s at least. Standbys read the beat of the brain by
    /// this command, over `[remote]`, and the next node that works takes the lead when it is stale.
    #[command(after_long_help = BEAT_STATUSES)]
    Beat(Beat),

    /// Pull, then push, and lose nothing
    ///
    /// One breath: fetch, fast-forward or rebase, then push, under one deadline (`timeout` in
    /// [breath]). A breath loses no commit and no uncommitted byte, whenever it is killed; the next one
    /// finishes its work. It keeps merges and commits that became empty.
    ///
    /// Uncommitted work is not touched. Where incoming changes touch the same files, the breath refuses
    /// and names them. It never touches a rebase, a merge or a lock of a person; it says what to finish.
    ///
    /// When local and incoming commits contradict each other, the branch stays as it was, the local
    /// commits are pushed to refs/conflicts/NODE/COMMIT on the remote, and the files are named. A lost
    /// race on push is tried again, up to 8 rounds within the deadline.
    ///
    /// After an inhale that brought something, the command `changed` of [breath] runs in the repository. With
    /// --inhale nothing is pushed; so the target of a service breathes before a start.
    ///
    /// With `peers` in [breath] the nodes breathe with each other, with or without an origin (mirror-mesh(7)).
    /// `copies` in the object says how many other nodes hold the branch as it is here. When commits of two nodes
    /// contradict each other, both lines are kept, and `conflicts` names the owner, the commit and the files. With
    /// --init the clone is made first, from the other nodes or from the repository that is there.
    ///
    /// One breath runs at a time in a repository; a second one says busy, and the first breathes once more at its
    /// end. git never prompts.
    #[command(after_long_help = BREATHE_STATUSES)]
    Breathe(Breathe),

    /// Make services run on their targets and nowhere else
    ///
    /// The target of a service is the first living node of its chain. A service that runs well on a
    /// lower node stays there until the better one has been alive for `failback`. Where everything is in
    /// place, nothing is touched. Else the service is stopped wherever it runs or might run, its `status`
    /// confirms that, and it is started on its target.
    ///
    /// When a living node does not confirm its stop, or does not say whether the service runs there where
    /// it may, nothing is started: `blocked`. When the old node is dead, the start goes ahead and `fencing`
    /// is `none`: if that node is only cut off, two instances run until it is back.
    ///
    /// A node on which a start failed or did not last cools down: it is passed over for `failback`, after
    /// each further failure twice as long, up to an hour. `cooldowns` in the object names it, `--to` ends it.
    ///
    /// Under a lease (mirror-lease(7)) two instances never run. The brain first writes a claim for the
    /// target; from then on the register names no node. The lease is granted when the old holder has
    /// confirmed its stop, or when `valid` and `grace` have passed, by which time the old holder has
    /// stopped by itself. Then the service is started, and `fencing` is `lease`. A living node that does
    /// not answer delays that by the wait and does not block it. When the register cannot be read,
    /// nothing is touched: `unknown`.
    ///
    /// mirror-cycle(7) tells what one check does, step by step.
    #[command(after_long_help = PROMOTE_STATUSES)]
    Promote(Promote),

    /// Show or check the node list
    #[command(subcommand, subcommand_help_heading = "Commands")]
    Chain(Chain),

    /// Show or check the leases of services
    ///
    /// A lease says which node may run a service. It is one value, in a ref of a git remote, a key of an
    /// etcd cluster, or a file (`store` in [lease]); `mirror promote` moves it. mirror-lease(7) gives the
    /// rules.
    #[command(subcommand, subcommand_help_heading = "Commands")]
    Lease(Lease),

    /// Run a command while the lease allows it, and not longer
    ///
    /// Reads the lease of the service. If it is granted to this node, starts the command and reads on,
    /// three times in `valid` ([lease] in mirror.toml(5)). While the register cannot be read, the nodes of
    /// the chain `brain` are asked instead (`failsafe`), and a yes from all of them counts as a good read.
    /// When the lease is taken away, or the latest good read began longer than `valid` ago, the command gets
    /// SIGTERM; before `grace` has passed, every process that it started gets SIGKILL, also those in groups
    /// and sessions of their own. No other node starts the service before that.
    ///
    /// It does not wait: if the lease is not granted to this node, the command is not started. So a unit
    /// says `ExecCondition=mirror lease check SERVICE`, and `mirror promote` starts the unit.
    ///
    /// SIGTERM, SIGINT and SIGHUP reach the command as SIGTERM, followed by SIGKILL when `grace` has
    /// passed. What still runs when the command has ended is killed; all of it is killed when `mirror`
    /// itself is killed. When `mirror` is frozen, a second process ends the command in time.
    ///
    /// What this does not cover: both processes killed or frozen at the same instant, without systemd
    /// (the command dies in time, but what it started lives on); a command that changes its user, when
    /// `mirror` is not root (let `User=` in a drop-in of `mirror@.service` change it instead); a process that waits
    /// for a disk in a way that no signal ends; a whole machine, or control group, that is frozen for longer than
    /// `valid` and `grace` and acts for an instant as it wakes. A service that compares MIRROR_EPOCH with the latest it
    /// has seen is safe even then.
    ///
    /// The command has stdin, stdout and stderr. It finds MIRROR_SERVICE, MIRROR_HOLDER and MIRROR_EPOCH,
    /// the fencing token, in its environment. `mirror` reports each change in one line on stderr, unless
    /// --quiet, and writes hold-SERVICE.json into the state directory (`mirror schema hold` prints its
    /// schema). It tells systemd READY=1 once the command runs, WATCHDOG=1 after each good read, STATUS=
    /// and STOPPING=1. The command does not get NOTIFY_SOCKET.
    #[command(after_long_help = HOLD_STATUSES)]
    Hold(Hold),

    /// Let a key do what this node's list names, and nothing else
    ///
    /// The forced command of another node's key: one line in the file authorized_keys of the user who runs
    /// the services,
    ///
    /// restrict,command="mirror gate" ssh-ed25519 AAAA... mirror@moscow
    ///
    /// A node that logs in with the key may then ask for `status`, `start` and `stop` of the services of
    /// *this* node's list; for its beat, its `status` and its history; for a check; whether it sees a node alive;
    /// what it can do (`chain check --live`); and for its word on a grant (`lease witness`). It may tell this node which
    /// nodes are drained and which services are paused, and fetch from and push to the repository of [breath]. The
    /// commands are taken from this node's list: of what the caller sends, nothing is run. A `start` is for a service
    /// whose chain has this node. A `rollout` passes no gate, as a node list is code.
    ///
    /// Everything else is refused in one line on stderr, exit status 1, and logged to the system's log
    /// (/dev/log: `journalctl -t mirror-gate`), as is each start and stop. A program that asks for several
    /// things gets those that are allowed. Of the session's environment only HOME, USER, LOGNAME, SHELL,
    /// PATH, LANG, LC_* and what names the user's own runtime directory stay; so the node list is the one of
    /// --config, or $HOME/.config/mirror/mirror.toml, or /etc/mirror/mirror.toml.
    ///
    /// mirror-security(7) gives the whole recipe.
    #[command(after_long_help = GATE_STATUSES)]
    Gate(Gate),

    /// Move everything off a node, and nothing to it, until undrain
    ///
    /// Every node that can be reached is told over `[remote]` (`seen_by`); one that is down learns of it from the brain
    /// when it is back. Then the brain makes one check: what runs on the node leaves for the first living node of its
    /// chain that is not drained, as by `promote --to`: stopped there, started here, under a lease by the lease. Where
    /// another node is the brain, it is asked to make that check; two nodes never act at once. A drained node does not
    /// lead either, as long as another node of the chain `brain` lives and works.
    ///
    /// Where no other node can take a service, it stays where it runs; what runs nowhere is started on no drained node
    /// but the one where it ran last. A drain outlives reboots. When the command is ended in the middle, the next
    /// check finishes it.
    ///
    /// examples/systemd/mirror-drain.service drains a node as it shuts down, and undrains it when it is up again.
    #[command(after_long_help = DRAIN_STATUSES)]
    Drain(Drain),

    /// End a drain
    ///
    /// Every node is told, as by drain. Nothing is moved now: the services come back as their `failback` says, and the
    /// brain's duty at the next checks.
    #[command(after_long_help = UNDRAIN_STATUSES)]
    Undrain(Undrain),

    /// Keep services where they are until resume
    ///
    /// While a service is paused, `mirror promote` moves, stops and starts nothing of it, on every node that sees the
    /// pause; with --to only where the pause is --auto-only. With a lease that is all nodes, because the pause is in a
    /// register beside the leases. Without one every node that can be reached is told over `[remote]` (`seen_by`), and
    /// one that is down learns of it from the brain when it is back.
    /// `where` in the object says which. When a service is in place, `promote` says so and ends
    /// in 0; else it ends in 1, `paused`, having touched nothing. The status is not 0, because a script
    /// takes 0 for "it runs there". A takeover that has begun is finished.
    ///
    /// `mirror chain show` names a pause first; with --probe it asks the register, else it tells what this
    /// node saw last. When the register cannot be read, a pause that this node has seen holds; while it is
    /// unknown whether there is one, `promote` touches nothing.
    ///
    /// A pause does not prolong a lease: `mirror hold` goes on reading the register and stops what it may
    /// no longer run, also when the arbiter itself is down for maintenance.
    #[command(after_long_help = PAUSE_STATUSES)]
    Pause(Pause),

    /// End a pause
    #[command(after_long_help = RESUME_STATUSES)]
    Resume(Resume),

    /// Show where everything is, as all nodes have it
    ///
    /// Every node is asked at once, over `[remote]`, and probed beside it. For each service: where it runs and since
    /// when, the last check by the brain, its lease and its pause. For each node: whether it lives and is at work,
    /// its version, whether its node list is the same, its breath and how far its clock is off. What a node does not
    /// say is null, and `cause` says why; nothing is left out. `warnings` says what is wrong.
    ///
    /// It can be run on any machine that has the node list and can log in to the nodes, also on one that is no node.
    #[command(after_long_help = STATUS_STATUSES)]
    Status(Status),

    /// Show what this node did and saw
    ///
    /// Every change, the oldest first: promotions that did something or tried to, the begin and the end of
    /// one that is blocked or unknown, nodes that died or returned, another brain and why, claims and
    /// grants of leases by any node, pauses, and what `mirror hold` started and ended, also by failsafe. The state directory has it as lines of JSON in history.old.jsonl and
    /// history.jsonl, 512 KiB at most. The takeovers of all nodes are in the register itself: see
    /// `mirror lease history`. With --all the histories of all nodes are put on one time line.
    ///
    /// An outage is counted from the last check that saw the service run well to the moment at which it was well
    /// again: up to `cycle.check` longer than nobody was served.
    #[command(after_long_help = HISTORY_STATUSES)]
    History(History),

    /// Put a new node list in force on all nodes
    ///
    /// Checks the new list, says what differs from the present one and what will move by it, and refuses where a node
    /// would leave while it serves. Then it is put beside the present list (`mirror.toml.new`) on every node of both lists, read there, and,
    /// where no node says no, put in its place by a rename, on the brain last. A node that cannot be reached is named,
    /// and gets the list when this is run again. `self` and `state` of a node's list stay. A node whose list has a
    /// [notify] or a [witness] that the new list would change refuses it. While no other living node has the new list,
    /// the brain keeps the old one.
    ///
    /// While both lists are about, checks warn `lists-differ`, and of two nodes that both lead the one with the smaller
    /// digest goes on.
    #[command(after_long_help = ROLLOUT_STATUSES)]
    Rollout(Rollout),

    /// Tell receivers what is new in the history
    ///
    /// `[notify]` in mirror.toml(5) names them: a command that gets each event as JSON on its standard input
    /// (`mirror schema event`), and a URL to which it is posted. Each receiver is told everything in the order of the
    /// history, each event at least once, with an `id` by which it can drop doubles. What a receiver does not take is
    /// told it again the next time: a receiver that was away for an hour gets it all, up to 1000 events. A new
    /// receiver gets the events of the last hour.
    ///
    /// Events are transitions: a service was moved, started, stopped elsewhere, could not be started, is blocked or no
    /// longer; another brain; a node died or returned; node lists that differ, a clock that is off, a disk on which no
    /// beat can be left; a lease that was lost or is held by failsafe; the breath in conflict or late, and in step
    /// again; pauses and drains. A node that is passed over from then on is named in the event of its failed start. The
    /// node that acted tells of it. What all nodes see is told by the brain alone; a node that becomes the brain tells
    /// the last two minutes of it. So when the brain dies for good while a receiver is away, older ones stay untold:
    /// `mirror history --all` has them.
    ///
    /// With `beat_url` the brain also sends a GET as long as every service is well: a dead man's switch.
    #[command(after_long_help = NOTIFY_STATUSES)]
    Notify(Notify),

    /// Print metrics of this node, in the format of OpenMetrics
    ///
    /// For the textfile collector of node_exporter: with --output the file is written whole, by a rename. No other
    /// node is asked. examples/prometheus/mirror.rules.yml has alert rules for it.
    #[command(after_long_help = PRINT_STATUSES)]
    Metrics(Metrics),

    /// Print the JSON Schema of a command's object
    ///
    /// Every object begins with `schema`, `at` (UTC), `self` (a node or null), `verdict` (a stable word),
    /// `reason` (one sentence), `elapsed_ms` and, where there is trouble beside the task, `warnings`; the
    /// facts follow. Within a version of `schema`, fields are only added.
    ///
    /// `mirror schema event` prints the schema of an event: a line of `mirror history --all`.
    ///
    /// `mirror schema mirror.toml` prints the schema of the node list, by which an editor completes and
    /// checks it: name the file in its first line, `#:schema ./mirror.schema.json`.
    #[command(after_long_help = PRINT_STATUSES)]
    Schema(Schema),

    /// Print the completion script of a shell
    ///
    /// Source the script, or put it where the shell looks for completions. It asks mirror itself what can
    /// come next, so it also completes the names of nodes, chains and services in the node list.
    #[command(after_long_help = PRINT_STATUSES)]
    Completions(Completions),

    /// Show the help of a command, or a page of the manual
    ///
    /// A topic is a page that is part of the program, so it is there without the installed manual: cycle,
    /// lease, arbiter, mesh, security, verdicts, internals, config (the keys of the node list) and glossary. On a
    /// terminal it is
    /// shown by man(1), else as plain text. `lease` is the topic; `mirror lease --help` is the help of the
    /// command.
    #[command(after_long_help = PRINT_STATUSES)]
    Help(Help),
}

/// `mirror chain`.
#[derive(Debug, Subcommand)]
pub enum Chain {
    /// Show who stands where, in which role
    ///
    /// PRIMARY heads the chain of a service, BRAIN the chain `brain`; the others are MIRROR 1, MIRROR 2
    /// and so on. With --probe or --down it also tells which node is the brain and where each service
    /// belongs, when nothing is known of where it runs now.
    #[command(after_long_help = CHAIN_SHOW_STATUSES)]
    Show(ChainShow),

    /// Check whether the node list is sound, and what it survives
    ///
    /// Lists every error and warning with line and column; the number of failures that every chain
    /// survives, whichever nodes fall; the smallest sets of nodes whose fall leaves a chain without a
    /// leader; and the worst case from a failure to the recovery, also with a brain that is alive and does
    /// not work. With a lease, also what is survived of the arbiter, and what is not. No node is asked,
    /// unless with --live. mirror-verdicts(7) explains each problem.
    #[command(after_long_help = CHAIN_CHECK_STATUSES)]
    Check(ChainCheck),
}

/// `mirror lease`.
#[derive(Debug, Subcommand)]
pub enum Lease {
    /// Show who holds the leases
    ///
    /// For each lease: its holder, its epoch, whether it is granted, which node wrote it, when and why, and
    /// since when this machine has seen it so. On the holder also since when it is held by failsafe, and how
    /// long the reads of `mirror hold` took within the last minute, to compare with `valid`. The register is
    /// only read.
    #[command(after_long_help = LEASE_SHOW_STATUSES)]
    Show(LeaseShow),

    /// Ask whether this node may run a service now
    ///
    /// Makes one read, which begins now; earlier reads do not count. It may take `valid`; with
    /// guard = "tick" a third of that, but no longer than `grace`. Meant for the ExecCondition of a unit,
    /// and for a watchdog that stops the service on anything but 0.
    #[command(after_long_help = LEASE_CHECK_STATUSES)]
    Check(LeaseCheck),

    /// Show every takeover of a service
    ///
    /// From the register's own history: all of it in git, what is not compacted yet in etcd, the last one
    /// in a file.
    #[command(after_long_help = LEASE_HISTORY_STATUSES)]
    History(LeaseHistory),

    /// Take a register back into service after it lost what it held
    ///
    /// A register that returns to an earlier epoch, as after a restore from a backup, or that is empty
    /// where it was not, is obeyed by no machine that has seen a later epoch: no node runs the service and
    /// no node takes over. This command accepts the register as it is. It writes a claim with an epoch
    /// later than any that the register holds or this machine has seen, and forgets what was seen before.
    ///
    /// The claim says that the previous holder is unknown, so the next promotion waits for `valid` and
    /// `grace`, whatever the nodes confirm, and grants it then. Run the command on the node that has seen
    /// the latest epoch, mostly the brain. A node that has seen a later one says so; then run it there
    /// once more. When nothing is wrong as far as this machine knows, nothing is written.
    ///
    /// Stop the service everywhere before the arbiter is restored: a node that never saw the lost epochs
    /// takes the old register for good, and may run the service again while the holder relies on its last
    /// read. A restore also brings back pauses, or loses them.
    #[command(after_long_help = LEASE_REPAIR_STATUSES)]
    Repair(LeaseRepair),

    /// Move leases to another store
    ///
    /// FILE is a node list that names the new store in [lease]; the list in force names the old one. For
    /// each service, the new register is reserved, the old one is closed by compare-and-swap, the holder is
    /// stopped, and the claim of the next epoch is written into the new register. From the moment the old
    /// register is closed until FILE is in force and a promotion has granted the lease, the service does not
    /// run, so let `mirror rollout FILE` follow at once.
    ///
    /// A holder that does not confirm its stop is waited out, for `valid` and `grace`. Under the failsafe,
    /// only a node of the brain chain may do that, so run it there. No node can be granted the lease in the
    /// new store while another may hold it by the old one, whichever list each of them has; and no `mirror`
    /// obeys a closed register, older versions included. A run that was interrupted is finished by another
    /// one. What is paused is paused in the new store too. mirror-lease(7) tells it with a time line.
    #[command(after_long_help = LEASE_MIGRATE_STATUSES)]
    Migrate(LeaseMigrate),

    /// Answer whether this node knows of nothing newer than a grant
    ///
    /// `mirror hold` asks this of every node of the brain chain while the arbiter is away. If all of them
    /// say yes, the holder goes on: every grant that it did not confirm follows a wait, and no node is
    /// waiting. The answer comes from this node's state; nothing is asked and nothing is written.
    #[command(after_long_help = LEASE_WITNESS_STATUSES)]
    Witness(LeaseWitness),
}

/// An error of the command line, in one line like every other error.
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
            told(&["mirror", "promot"]),
            "unrecognized subcommand 'promot' (some similar subcommands exist: 'probe', 'rollout', 'promote'); see --help"
        );
    }
}
