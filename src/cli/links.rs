//! The names of the links.

use std::ffi::OsString;
use std::path::Path;

/// What the binary is called when it is called by its own name.
const PROGRAM: &str = "mirror";
/// The commands a link can be named after, and what such a link stands for.
const LINKS: [(&str, &[&str]); 19] = [
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
    ("lease-witness", &["lease", "witness"]),
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
    }
}
