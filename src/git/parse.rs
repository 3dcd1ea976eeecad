//! What git writes, read: `HEAD`, settings, messages, paths.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::exec::Finished;

/// A repository exists, but git cannot or may not use it: another owner, a damaged `HEAD` or
/// configuration.
#[derive(Debug)]
pub struct UnusableRepository(pub(super) String);

impl std::fmt::Display for UnusableRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnusableRepository {}

/// The ref that a `HEAD` file names; none if it holds a commit.
pub(super) fn head_target(path: &Path) -> Result<Option<String>> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_end();
    match text.strip_prefix("ref:").map(str::trim) {
        Some(name) if !name.is_empty() && !name.contains('\0') => Ok(Some(name.to_owned())),
        None if is_object_id(text) => Ok(None),
        _ => {
            let message = format!(
                "{}: empty or garbled, for example after a power loss; write it again: `echo 'ref: refs/heads/BRANCH' > {0}`",
                path.display()
            );
            Err(UnusableRepository(message).into())
        }
    }
}

const UNREADABLE: &str = "Could not read from remote repository";

/// The line of stderr that says what went wrong, for people: the first error that git reports, else
/// the first line of a hook, a filter or ssh.
pub fn error_line(finished: &Finished) -> String {
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    let is_noise = |line: &str| {
        line.is_empty()
            || ["warning:", "hint:", "@@@"].iter().any(|start| line.starts_with(start))
            // These only summarise the lines before them.
            || line.contains(UNREADABLE)
            || line.starts_with("Please make sure you have the correct access rights")
            || line.starts_with("and the repository exists")
            || line.starts_with("error: failed to push some refs")
    };
    let lines = || finished.stderr.lines().map(str::trim).filter(|line| !is_noise(line));
    let is_error = |line: &&str| {
        let start = line.get(..6).unwrap_or_default().to_ascii_lowercase();
        start.starts_with("error") || start.starts_with("fatal:")
    };
    let found = lines().find(is_error).or_else(|| lines().next()).map(plain);
    let found = found.or_else(|| finished.stderr.contains(UNREADABLE).then(|| UNREADABLE.to_owned()));
    found.or_else(|| finished.last_line()).unwrap_or_else(|| format!("{:?}", finished.ended))
}

/// Whether this is a full object id.
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path as git prints it: bytes, not necessarily text.
pub fn path_from_bytes(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The output of `git config --null --list`.
pub(super) fn parse_settings(list: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(list);
    // A name without a value means true.
    text.split_terminator('\0').map(|entry| entry.split_once('\n').unwrap_or((entry, "true"))).map(owned).collect()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}
