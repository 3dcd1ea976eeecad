//! What of the environment a session is to have, by a person's ssh_config.
//!
//! Only `ssh` knows what that file says. It is asked once for each shared connection, and its answer kept
//! beside the connection's socket, in a directory that is closed to others.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clock::Deadline;
use crate::exec::Exec;
use crate::fsutil::{self, Durability};

/// How long `ssh` may take to print its configuration.
const SSH_CONFIG_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session over the connection at `socket` is given, as `NAME=VALUE`; none where that is unknown.
/// The words, program first, are those of an ssh to the same node.
pub(super) fn of_session(socket: &Path, words: &[String]) -> Option<Vec<String>> {
    let kept = socket.with_extension("env");
    let settings = match read(&kept, socket) {
        Some(settings) => settings,
        None => {
            let settings = ask(words)?;
            fsutil::replace(&kept, settings.as_bytes(), Durability::Cached).ok()?;
            settings
        }
    };
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Some(apply(&settings, &variables))
}

/// What was kept, unless the connection is newer.
fn read(kept: &Path, socket: &Path) -> Option<String> {
    let made = |path: &Path| std::fs::symlink_metadata(path).and_then(|found| found.modified());
    let is_current = made(kept).ok()? >= made(socket).ok()?;
    is_current.then(|| std::fs::read_to_string(kept).ok())?
}

fn ask(words: &[String]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let mut command = Command::new(program);
    command.arg("-G").args(rest);
    let finished = Exec::new(command).run(Deadline::after(SSH_CONFIG_TIMEOUT)).ok()?;
    let is_wanted = |line: &&str| line.starts_with("sendenv ") || line.starts_with("setenv ");
    let printed = String::from_utf8(finished.stdout.clone()).ok()?;
    let wanted: Vec<&str> = printed.lines().filter(is_wanted).collect();
    (finished.success() && !finished.cut).then(|| wanted.join("\n"))
}

fn apply(settings: &str, variables: &[(String, String)]) -> Vec<String> {
    let patterns: Vec<&str> = settings.lines().filter_map(|line| line.strip_prefix("sendenv ")).collect();
    let is_sent = |(name, _): &&(String, String)| patterns.iter().any(|pattern| matches(pattern, name));
    let sent = variables.iter().filter(is_sent).map(|(name, value)| format!("{name}={value}"));
    let set = settings.lines().filter_map(|line| line.strip_prefix("setenv ")).map(str::to_owned);
    sent.chain(set).collect()
}

/// Whether a name is of a pattern with `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest, &name[at..]))
        }
        Some(wanted) => {
            let mut letters = name.chars();
            letters.next().is_some_and(|letter| wanted == '?' || wanted == letter)
                && matches(&pattern[wanted.len_utf8()..], letters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_goes_by_patterns_and_what_is_set_as_it_stands() {
        let variables =
            [("LANG", "C"), ("LC_ALL", "de"), ("HOME", "/h")].map(|(name, value)| (name.into(), value.into()));
        let settings = "sendenv LANG\nsendenv LC_*\nsetenv A=b c";
        assert_eq!(apply(settings, &variables), ["LANG=C", "LC_ALL=de", "A=b c"]);
        assert!(apply("", &variables).is_empty());
        assert!(matches("L?NG", "LANG") && matches("*", "") && !matches("LC_*", "LANG") && !matches("L?", "LAN"));
    }
}
