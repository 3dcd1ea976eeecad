//! A link that is named after a command is that command.

use std::ffi::OsString;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::Cli;

/// The name of the binary itself.
const PROGRAM: &str = "mirror";

/// Replaces the name of a link by its command: `mirror-chain-show x` and `chain-show x` become
/// `mirror chain show x`. `mirror chain help x` becomes `mirror help chain x`, and `mirror chain help` becomes
/// `mirror chain --help`, because clap has its own `help` below every command or below none.
pub fn by_link_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(called) = arguments.first().and_then(|path| Path::new(path).file_name()?.to_str()) else {
        return arguments;
    };
    // Called by its own name, the usual case, the program need not look at the commands.
    if called != PROGRAM {
        let name = called.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix('-')).unwrap_or(called);
        if let Some(words) = words_of(&Cli::command(), name) {
            arguments.splice(..1, std::iter::once(PROGRAM.to_owned()).chain(words).map(OsString::from));
        }
    }
    if let [_, group, help, rest @ ..] = arguments.as_mut_slice()
        && (group == "chain" || group == "lease")
        && help == "help"
    {
        if rest.is_empty() {
            *help = "--help".into();
        } else {
            std::mem::swap(group, help);
        }
    }
    arguments
}

/// The words of the command that is called `name` with hyphens between them.
fn words_of(command: &Command, name: &str) -> Option<Vec<String>> {
    command.get_subcommands().find_map(|below| {
        let own = below.get_name();
        if name == own {
            return Some(vec![own.to_owned()]);
        }
        let rest = words_of(below, name.strip_prefix(own)?.strip_prefix('-')?)?;
        Some(std::iter::once(own.to_owned()).chain(rest).collect())
    })
}

/// The commands that print an object, a command of two words by both, in the order of the help.
pub(crate) fn objects() -> Vec<String> {
    fn names(command: &Command, prefix: &str) -> Vec<String> {
        let below = command.get_subcommands().map(|below| (below, format!("{prefix}{}", below.get_name())));
        below
            .flat_map(
                |(below, name)| {
                    if below.has_subcommands() { names(below, &format!("{name}-")) } else { vec![name] }
                },
            )
            .collect()
    }
    names(&Cli::command(), "").into_iter().filter(|name| !WITHOUT_OBJECT.contains(&name.as_str())).collect()
}

/// The commands that print something else.
const WITHOUT_OBJECT: [&str; 5] = ["gate", "metrics", "schema", "completions", "help"];

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(turned(&["mirror", "chain", "help", "show"]), "mirror help chain show");
        assert_eq!(turned(&["mirror-lease", "help", "check"]), "mirror help lease check");
        assert_eq!(turned(&["mirror", "lease", "help"]), "mirror lease --help");
        assert_eq!(turned(&["whois-brain", "--check"]), "mirror whois-brain --check");
        assert_eq!(turned(&["chain"]), "mirror chain");
        assert_eq!(turned(&["chain-nothing", "x"]), "chain-nothing x");
    }
}
