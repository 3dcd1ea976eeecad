//! Commits uncommitted work before incoming changes can collide with it.

use std::time::SystemTime;

use anyhow::Result;
use xshell::cmd;

use super::checkout::commit_index;
use super::diff::tree_of;
use super::index::IndexLock;
use super::journal::JournalEntry;
use super::outcome::SyncError;
use super::worktree::Worktree;
use super::{names, preflight};

/// Commits everything that git does not ignore. If there is nothing to commit, no commit is made.
pub(super) fn commit(worktree: &Worktree, node: Option<&str>) -> Result<(), SyncError> {
    let (git, sh) = (&worktree.git, worktree.git.shell());
    let status = git.read(cmd!(sh, "git status --porcelain -z --untracked-files=normal --no-renames"))?;
    for line in status.split(|byte| *byte == 0).filter(|line| line.len() > 3) {
        if preflight::is_unmerged(&line[..2]) {
            return Err(preflight::unmerged(&line[3..]));
        }
    }
    if status.is_empty() {
        return Ok(());
    }
    let mut lock = IndexLock::take(worktree)?;
    let old = worktree.branch_tip()?;
    if !worktree.is_at(old.as_deref())? {
        return Err(SyncError::busy("another branch was checked out here at the same time"));
    }
    let index = &lock.private_copy()?;
    let on_private_index = |cmd: xshell::Cmd<'_>| -> Result<String> { git.line(cmd.env("GIT_INDEX_FILE", index)) };
    on_private_index(cmd!(sh, "git add --all"))?;
    let tree = on_private_index(cmd!(sh, "git write-tree"))?;
    let old_tree = tree_of(git, old.as_deref())?;
    if git.line(cmd!(sh, "git rev-parse --verify {old_tree}"))? == tree {
        return Ok(());
    }
    let new = write_commit(worktree, &tree, old.as_deref(), node)?;
    let entry = JournalEntry { branch: worktree.branch.clone(), old, new, files: false };
    entry.write(worktree)?;
    lock.keep();
    let committed = commit_index(worktree, &lock, &entry)?;
    JournalEntry::remove(worktree)?;
    lock.release();
    match committed? {
        true => Ok(()),
        false => Err(SyncError::busy("somebody else committed here at the same time")),
    }
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
