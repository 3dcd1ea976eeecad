//! The argument types and the names of the links. The text above each argument is its help and its
//! place in the man page.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;

use crate::complete;

/// Failover for a handful of servers with nothing but ssh, git and a list of nodes.
///
/// Each command does one step, prints one JSON object and says the rest with its exit status: 0 yes
/// or done, 1 a definite no, 2 usage or configuration, 3 unknown. Take anything but 0 and 1 for
/// unknown.
#[derive(Debug, Parser)]
#[command(name = "mirror", version, max_term_width = 100, propagate_version = true)]
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
    /// The node list to use [default: the first of ./mirror.toml, $XDG_CONFIG_HOME/mirror/mirror.toml
    /// and /etc/mirror/mirror.toml]
    #[arg(long, global = true, value_name = "FILE", env = "MIRROR_CONFIG", hide_env_values = true, value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// The node this is [default: `self` in the node list, else the node whose address this machine
    /// bears, else none]
    #[arg(long = "self", global = true, value_name = "NODE", env = "MIRROR_SELF", hide_env_values = true, add = ArgValueCandidates::new(complete::nodes))]
    pub own: Option<String>,

    /// Print JSON also on a terminal
    #[arg(long, global = true)]
    pub json: bool,

    /// Print nothing to stdout; the exit status says it all
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say each step on stderr, as it happens
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask nodes whether they live, all of them at once
    ///
    /// Exit status: 0 all are alive, 1 one is dead, 3 one is unknown and none is dead.
    Probe(Probe),

    /// Find the brain: the first living node of the chain `brain`
    ///
    /// Exit status: 0 a brain is known, 1 nobody is alive, 3 unknown, or this node is isolated. With
    /// --check: 0 it is this node, 1 it is another or nobody is alive, 3 unknown.
    WhoisBrain(WhoisBrain),

    /// Pull, then push, and lose nothing
    ///
    /// Exit status: 0 in step with the remote, 1 a conflict or a refusal (nothing was lost), 3 the
    /// remote was not reached in time, or another breath is under way.
    Breathe(Breathe),

    /// Make a service run on its target and nowhere else
    ///
    /// Exit status: 0 it runs there, 1 refused, 3 not confirmed.
    Promote(Promote),

    /// Show or check the node list
    #[command(subcommand)]
    Chain(Chain),

    /// Print the JSON Schema of a command's object
    Schema(Schema),

    /// Print the completion script of a shell
    Completions(Completions),
}

/// `mirror chain`.
#[derive(Debug, Subcommand)]
pub enum Chain {
    /// Show who stands where, in which role
    ///
    /// With --probe or --down also who is the brain and where each service belongs.
    ///
    /// Exit status: 0.
    Show(ChainShow),

    /// Check whether the node list is sound, and what it survives
    ///
    /// Exit status: 0 sound, 1 a problem.
    Check(ChainCheck),
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
    /// Ask whether this node is the brain
    #[arg(long)]
    pub check: bool,

    /// Decide by this view, printed by `mirror probe`, instead of asking; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub view: Option<PathBuf>,
}

/// `mirror breathe`.
#[derive(Debug, Args)]
pub struct Breathe {
    /// The repository [default: `repo` in [breath], else the current directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub repo: Option<PathBuf>,

    /// The remote's name [default: `remote` in [breath], else origin]
    #[arg(long, value_name = "REMOTE")]
    pub remote: Option<String>,

    /// The branch's name [default: `branch` in [breath], else main]
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
}

/// `mirror promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The service [default: every service of the node list]
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    pub service: Option<String>,

    /// The node to run it on, instead of the first living one of its chain
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::nodes))]
    pub to: Option<String>,

    /// Do nothing unless this node is the brain
    #[arg(long)]
    pub if_brain: bool,

    /// Look and decide, but touch nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Decide by this view, printed by `mirror probe`, instead of asking; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub view: Option<PathBuf>,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
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
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', add = ArgValueCandidates::new(complete::nodes))]
    pub down: Option<Vec<String>>,
}

/// `mirror chain check`.
#[derive(Debug, Args)]
pub struct ChainCheck {
    /// How many failures every chain has to survive, whichever nodes fall
    #[arg(long, value_name = "N")]
    pub survive: Option<usize>,

    /// Ask every node for the digest of its node list; two lists are two networks
    #[arg(long)]
    pub live: bool,
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
const LINKS: [(&str, &[&str]); 9] = [
    ("probe", &["probe"]),
    ("whois-brain", &["whois-brain"]),
    ("breathe", &["breathe"]),
    ("promote", &["promote"]),
    ("chain", &["chain"]),
    ("chain-show", &["chain", "show"]),
    ("chain-check", &["chain", "check"]),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
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
