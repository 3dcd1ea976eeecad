//! The commits that hold the texts, as far as the local repository has them.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};
use xshell::cmd;

use crate::git::Git;
use crate::register::MAX_TEXT_BYTES;

/// An object of the local repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A commit; the last line of its message.
    Commit(String),
    /// Something else; its type.
    Other(String),
}

/// Those of these objects that the local repository has, by their ids: one process for all.
///
/// # Errors
/// When git could not be run or failed.
pub(super) fn cached(git: &Git, ids: &[&str]) -> Result<HashMap<String, Object>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let asked: String = ids.iter().map(|id| format!("{id}\n")).collect();
    let batch = git.read_with(cmd!(git.shell(), "git cat-file --batch"), asked.as_bytes())?;
    let (mut found, mut rest) = (HashMap::new(), &batch[..]);
    for id in ids {
        let newline = rest.iter().position(|byte| *byte == b'\n').context("git cat-file ended early")?;
        let header = String::from_utf8_lossy(&rest[..newline]).into_owned();
        rest = &rest[newline + 1..];
        let (kind, size) = match header.split(' ').collect::<Vec<_>>()[..] {
            [_, "missing"] => continue,
            [_, kind, size] => (kind.to_owned(), size.parse::<usize>().ok()),
            _ => bail!("git cat-file printed {header:?}"),
        };
        let content = size.and_then(|size| rest.split_at_checked(size));
        let (content, after) = content.ok_or_else(|| anyhow!("git cat-file printed {header:?}, and less than that"))?;
        rest = after.strip_prefix(b"\n").unwrap_or(after);
        let object = if kind == "commit" { Object::Commit(last_line(content)) } else { Object::Other(kind) };
        found.insert((*id).to_owned(), object);
    }
    Ok(found)
}

/// The last line of the commit's message; empty if it is too long to be a register's text.
fn last_line(commit: &[u8]) -> String {
    let blank = commit.windows(2).position(|pair| pair == b"\n\n");
    let message = blank.map_or(&b""[..], |blank| &commit[blank + 2..]);
    let last = message.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if last.len() > MAX_TEXT_BYTES { String::new() } else { String::from_utf8_lossy(last).into_owned() }
}
