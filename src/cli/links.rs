//! Links that are named after commands.

use std::ffi::OsString;
use std::path::Path;

/// The binary's own name.
const PROGRAM: &str = "mirror";
/// The names of links, and the command that each is.
const LINKS: [(&str, &[&str]); 21] = [
    ("probe", &["probe"]),
    ("whois-brain", &["whois-brain"]),
    ("beat", &["beat"]),
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
    ("lease-witness", &["lease", "witness"]),
    ("hold", &["hold"]),
    ("pause", &["pause"]),
    ("resume", &["resume"]),
    ("history", &["history"]),
    ("schema", &["schema"]),
    ("completions", &["completions"]),
    ("help", &["help"]),
];

/// Replaces the name of a link by its command: `mirror-probe x` and `probe x` become `mirror probe x`.
/// `mirror chain help x` becomes `mirror help chain x`, and `mirror chain help` becomes `mirror chain --help`,
/// because clap has its own `help` below every command or below none.
pub fn by_link_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(called) = arguments.first().and_then(|path| Path::new(path).file_name()?.to_str()) else {
        return arguments;
    };
    let command = called.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix('-')).unwrap_or(called);
    if let Some((_, words)) = LINKS.iter().find(|(name, _)| *name == command) {
        arguments.splice(..1, std::iter::once(PROGRAM).chain(words.iter().copied()).map(OsString::from));
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
    }
}
