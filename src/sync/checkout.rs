//! Moves the work tree from one commit to another. Nothing else touches the files.
//!
//! The order of the steps makes it safe to be killed at any time:
//!
//! ```text
//!  check everything on a private copy of the index, under index.lock
//!  write the journal entry
//!  write the files       (git read-tree -m -u, on the private copy)
//!  replace the index
//!  move the branch       (compare-and-swap)
//!  remove the journal entry, then index.lock
//! ```
//!
//! [`super::recover`] repairs what a killed breath left.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use xshell::cmd;

use super::diff::{TreeChange, tree_changes, tree_of};
use super::index::IndexLock;
use super::journal::JournalEntry;
use super::outcome::{BreatheVerdict, SyncError};
use super::refs::{self, RefUpdate};
use super::worktree::{Worktree, display_paths};
use super::{preflight, restore};
use crate::exec::Finished;
use crate::git;

/// At most this many untracked files in the way are named.
const MAX_NAMED_OBSTACLES: usize = 100;

/// Moves the work tree, the index and the branch from `old` to `new`; uncommitted work stays as it
/// is. Returns false, with nothing changed, if the branch is no longer at `old`.
pub(super) fn checkout(worktree: &Worktree, old: Option<&str>, new: &str) -> Result<bool, SyncError> {
    let mut lock = IndexLock::take(worktree)?;
    if !worktree.is_at(old)? {
        return Ok(false);
    }
    let (git, sh) = (&worktree.git, worktree.git.shell());
    let index = &lock.private_copy()?;
    // Fails if anything is modified; only the refreshed timestamps matter here.
    git.run(cmd!(sh, "git update-index -q --refresh").env("GIT_INDEX_FILE", index), b"")?;
    let from = &tree_of(git, old)?;
    let changes = tree_changes(git, from, new)?;
    let dry_run = cmd!(sh, "git read-tree -n -m -u {from} {new}").env("GIT_INDEX_FILE", index);
    let dry_run = git.run(dry_run, b"")?;
    if !dry_run.success() {
        reject_unusable(&dry_run)?;
    }
    let mut blocked = untracked_in_the_way(worktree, &changes, index)?;
    if !dry_run.success() || !blocked.is_empty() {
        blocked.extend(modified(worktree, &changes, index)?);
        return Err(refusal(blocked, &git::error_line(&dry_run)));
    }
    let entry =
        JournalEntry { branch: worktree.branch.clone(), old: old.map(str::to_owned), new: new.to_owned(), files: true };
    entry.write(worktree)?;
    lock.keep();
    let written = git.read(cmd!(sh, "git read-tree -m -u {from} {new}").env("GIT_INDEX_FILE", index));
    let written = written.and_then(|_| restore::fsync_changes(&worktree.root, &changes)).map_err(SyncError::from);
    let moved = match written {
        Ok(()) => commit_index(worktree, &lock, &entry)?,
        Err(error) => BranchMove::Failed(error),
    };
    if !matches!(moved, BranchMove::Done) {
        restore::restore(worktree, &entry)?;
    }
    JournalEntry::remove(worktree)?;
    lock.release();
    moved.done()
}

/// How the branch and the index went from one commit to another.
pub(super) enum BranchMove {
    /// Both are there.
    Done,
    /// Somebody else had moved the branch; the index is as before.
    Outrun,
    /// It did not work; both are as before.
    Failed(SyncError),
}

impl BranchMove {
    /// Whether they are there.
    pub(super) fn done(self) -> Result<bool, SyncError> {
        match self {
            Self::Done => Ok(true),
            Self::Outrun => Ok(false),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Installs the private index and moves the branch. After an error the next breath repairs what is left.
pub(super) fn commit_index(worktree: &Worktree, lock: &IndexLock<'_>, entry: &JournalEntry) -> Result<BranchMove> {
    lock.install()?;
    let moved = match refs::update(worktree, &entry.branch, &entry.new, entry.old.as_deref()) {
        Ok(RefUpdate::Done) => return Ok(BranchMove::Done),
        Ok(_) => BranchMove::Outrun,
        Err(error) => BranchMove::Failed(error),
    };
    lock.uninstall()?;
    Ok(moved)
}

/// Ends here if `git read-tree` failed for another reason than files in the way.
fn reject_unusable(dry_run: &Finished) -> Result<(), SyncError> {
    let message = git::error_line(dry_run);
    // Nothing may walk such a path: `..` leads out of the work tree.
    if dry_run.stderr.contains("invalid path") {
        return Err(SyncError::refused(format!(
            "an incoming commit has a path that git refuses ({message}); remove it from the branch with another clone"
        )));
    }
    let in_the_way = ["not uptodate", "would be", "would lose", "refusing to lose", "resolve your current index"];
    match in_the_way.iter().any(|pattern| dry_run.stderr.contains(pattern)) {
        true => Ok(()),
        false => Err(anyhow!("git read-tree: {message}").into()),
    }
}

/// Untracked files at the paths of incoming files. git itself would overwrite the ignored ones.
fn untracked_in_the_way(worktree: &Worktree, changes: &[TreeChange], index: &Path) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for change in changes.iter().filter(|change| change.old.is_none()) {
        let Some(new) = &change.new else { continue };
        if found.len() < MAX_NAMED_OBSTACLES {
            find_obstacles(&worktree.root, &change.path, new.is_submodule(), &mut found)?;
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    let tracked = worktree.git.read(cmd!(worktree.git.shell(), "git ls-files -z").env("GIT_INDEX_FILE", index))?;
    let tracked: HashSet<&[u8]> = tracked.split(|byte| *byte == 0).collect();
    found.retain(|path| !tracked.contains(&path[..]));
    Ok(found)
}

fn find_obstacles(top: &Path, path: &[u8], is_submodule: bool, found: &mut Vec<Vec<u8>>) -> Result<()> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in slashes.chain([path.len()]) {
        let part = &path[..end];
        match fs::symlink_metadata(top.join(git::path_from_bytes(part))) {
            Err(_) => return Ok(()),
            Ok(meta) if !meta.is_dir() => {
                found.push(part.to_owned());
                return Ok(());
            }
            Ok(_) if end == path.len() && !is_submodule => find_files(top, part, found)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Every file below a directory.
fn find_files(top: &Path, dir: &[u8], found: &mut Vec<Vec<u8>>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let full = top.join(git::path_from_bytes(dir));
    for file in fs::read_dir(&full).with_context(|| full.display().to_string())? {
        let file = file.with_context(|| full.display().to_string())?;
        let path = [dir, file.file_name().as_bytes()].join(&b'/');
        if file.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_files(top, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Files with uncommitted changes that incoming changes touch.
fn modified(worktree: &Worktree, changes: &[TreeChange], index: &Path) -> Result<Vec<Vec<u8>>, SyncError> {
    let sh = worktree.git.shell();
    let status = cmd!(sh, "git status --porcelain -z --untracked-files=no --no-renames").env("GIT_INDEX_FILE", index);
    let status = worktree.git.read(status)?;
    let mut dirty = Vec::new();
    for line in status.split(|byte| *byte == 0).filter(|line| line.len() > 3) {
        let (state, path) = (&line[..2], &line[3..]);
        if preflight::is_unmerged(state) {
            return Err(preflight::unmerged(path));
        }
        dirty.push(path);
    }
    let is_within =
        |a: &[u8], b: &[u8]| a.strip_prefix(b).is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'));
    let is_touched =
        |path: &[u8]| changes.iter().any(|change| is_within(path, &change.path) || is_within(&change.path, path));
    Ok(dirty.into_iter().filter(|path| is_touched(path)).map(<[u8]>::to_owned).collect())
}

fn refusal(blocked: Vec<Vec<u8>>, message: &str) -> SyncError {
    let files = display_paths(blocked);
    let what = match &files[..] {
        [] => message.to_owned(),
        [one] => format!("incoming changes touch {one}, which is not committed"),
        [first, rest @ ..] => {
            format!("incoming changes touch {first} and {} more, which are not committed", rest.len())
        }
    };
    let remedy = "commit it, put it away with `git stash -u`, or move it";
    SyncError::Verdict(BreatheVerdict::Refused, format!("{what}; {remedy}"), files)
}
