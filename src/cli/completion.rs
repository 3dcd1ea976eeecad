//! The names that a shell offers: those of the configuration in force.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::CompletionCandidate;

use super::Cli;
use super::topics::TOPICS;
use crate::config::{self, Config};
use crate::name::Name;

/// What is not a command and has a schema too: the node list.
pub(crate) const NODE_LIST: &str = "mirror.toml";

/// The configuration that the line being completed would use. Where there is none, or a broken one,
/// nothing is offered: a completion is no place for an error.
fn in_force() -> Option<Config> {
    let words: Vec<_> = std::env::args_os().collect();
    let mut named = None;
    for (index, word) in words.iter().enumerate() {
        if word == "--config" {
            named = words.get(index + 1).and_then(|word| word.to_str()).map(path);
        } else if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            named = Some(path(value));
        }
    }
    let named = named.or_else(|| std::env::var_os("MIRROR_CONFIG").map(PathBuf::from));
    let named = named.filter(|path| !path.as_os_str().is_empty());
    config::load_with_problems(named.as_deref()).ok().map(|loaded| loaded.config)
}

/// A path as it stands on the line, where the shell has not yet taken quotes and tilde away.
fn path(word: &str) -> PathBuf {
    let unquote = |quote: char| word.strip_prefix(quote).map(|inner| inner.strip_suffix(quote).unwrap_or(inner));
    if let Some(inner) = unquote('\'').or_else(|| unquote('"')) {
        return PathBuf::from(inner);
    }
    match word.strip_prefix("~/").zip(std::env::var_os("HOME")) {
        Some((rest, home)) => PathBuf::from(home).join(rest),
        None => PathBuf::from(word),
    }
}

fn offer<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<CompletionCandidate> {
    names.map(|name| CompletionCandidate::new(name.as_str())).collect()
}

/// The nodes.
pub(crate) fn nodes() -> Vec<CompletionCandidate> {
    in_force().map_or_else(Vec::new, |config| offer(config.nodes.keys()))
}

/// The chains.
pub(crate) fn chains() -> Vec<CompletionCandidate> {
    in_force().map_or_else(Vec::new, |config| offer(config.chains.keys()))
}

/// The services.
pub(crate) fn services() -> Vec<CompletionCandidate> {
    in_force().map_or_else(Vec::new, |config| offer(config.services.keys()))
}

/// What has a schema.
pub(crate) fn objects() -> Vec<CompletionCandidate> {
    let names = super::links::objects().into_iter().chain([NODE_LIST.to_owned()]);
    names.map(CompletionCandidate::new).collect()
}

/// The topics of `mirror help`, and the commands.
pub(crate) fn topics() -> Vec<CompletionCandidate> {
    let commands = Cli::command();
    let commands = commands.get_subcommands().map(|command| command.get_name().to_owned());
    let topics = TOPICS.iter().map(|topic| topic.name.to_owned());
    topics.chain(commands).map(CompletionCandidate::new).collect()
}
