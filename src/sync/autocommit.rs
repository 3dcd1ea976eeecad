//! Commits uncommitted work before incoming changes can collide with it.
//!
//! What cannot or must not be committed is left out and named; it never stops the breath.

use std::time::SystemTime;

use anyhow::Result;
use xshell::cmd;

use super::add::add;
use super::checkout::commit_index;
use super::diff::tree_of;
use super::index::IndexLock;
use super::journal::JournalEntry;
use super::names;
use super::outcome::SyncError;
use super::status::{self, Change};
use super::submodule;
use super::worktree::Worktree;

/// At most this many paths are named in the sentence for people.
const MAX_MENTIONED: usize = 3;

/// Uncommitted work that was not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) path: Vec<u8>,
    pub(super) why: String,
}

/// Commits everything that git does not ignore and returns what was left out. If there is nothing to
/// commit, no commit is made.
pub(super) fn commit(worktree: &Worktree, node: Option<&str>) -> Result<Vec<LeftOut>, SyncError> {
    let git = &worktree.git;
    let status = status::read(git)?;
    let mut left_out: Vec<LeftOut> = Vec::new();
    for (path, why) in status.unreadable {
        left_out.push(LeftOut { path, why });
    }
    if status.changes.is_empty() {
        return Ok(left_out);
    }
    let mut lock = IndexLock::take(worktree)?;
    let old = worktree.branch_tip()?;
    if !worktree.is_at(old.as_deref())? {
        return Err(SyncError::busy("another branch was checked out here at the same time"));
    }
    let mut wanted: Vec<Change> = Vec::new();
    for change in status.changes {
        match submodule::objection(worktree, &change)? {
            Some(why) => left_out.push(LeftOut { path: change.path, why }),
            None => wanted.push(change),
        }
    }
    let index = lock.private_copy()?;
    let excluded: Vec<&[u8]> = left_out.iter().map(|left_out| &left_out.path[..]).collect();
    let failed = add(worktree, &index, &wanted, &excluded)?;
    left_out.extend(failed.into_iter().map(|(path, why)| LeftOut { path, why }));
    let tree = git.line(cmd!(git.shell(), "git write-tree").env("GIT_INDEX_FILE", &index))?;
    let old_tree = tree_of(git, old.as_deref())?;
    if git.line(cmd!(git.shell(), "git rev-parse --verify {old_tree}"))? == tree {
        return Ok(left_out);
    }
    let new = write_commit(worktree, &tree, old.as_deref(), node)?;
    let entry = JournalEntry { branch: worktree.branch.clone(), old, new, files: false };
    entry.write(worktree)?;
    lock.keep();
    let committed = commit_index(worktree, &lock, &entry)?;
    JournalEntry::remove(worktree)?;
    lock.release();
    match committed.done()? {
        true => Ok(left_out),
        false => Err(SyncError::busy("somebody else committed here at the same time")),
    }
}

/// Adds to a sentence what was left out, and why.
pub(super) fn mention(reason: String, left_out: &[LeftOut]) -> String {
    if left_out.is_empty() {
        return reason;
    }
    let shown = left_out.iter().take(MAX_MENTIONED);
    let shown = shown.map(|LeftOut { path, why }| format!("{} ({why})", String::from_utf8_lossy(path)));
    let more = match left_out.len().saturating_sub(MAX_MENTIONED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{reason}; not committed: {}{more}", shown.collect::<Vec<_>>().join(", "))
}

fn write_commit(worktree: &Worktree, tree: &str, parent: Option<&str>, node: Option<&str>) -> Result<String> {
    let node = names::ref_component(node);
    let identity = worktree.git.identity(node)?;
    let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let text = format!(
        "tree {tree}\n{parent}author {identity}\ncommitter {identity}\n\nmirror: uncommitted work of {node} at {time}\n"
    );
    worktree.git.write_commit(text.as_bytes())
}
