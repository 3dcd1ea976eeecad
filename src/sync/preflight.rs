//! Checks whether a person is in the middle of something in this repository.

use std::fs;

use anyhow::anyhow;

use super::outcome::{BreatheVerdict, SyncError};
use super::worktree::{Worktree, display_paths};
use crate::git::is_object_id;

/// A file that exists while an operation is unfinished, the operation, and how to end it.
const UNFINISHED: [(&str, &str, &str); 7] = [
    ("MERGE_HEAD", "merge", "`git commit` or `git merge --abort`"),
    ("rebase-merge", "rebase", "`git rebase --continue` or `--abort`"),
    ("rebase-apply", "rebase or `git am`", "`git rebase --continue` or `--abort`, or the same with `git am`"),
    ("CHERRY_PICK_HEAD", "cherry-pick", "`git cherry-pick --continue` or `--abort`"),
    ("REVERT_HEAD", "revert", "`git revert --continue` or `--abort`"),
    ("sequencer", "cherry-pick or revert", "`git cherry-pick --continue` or `--abort`"),
    ("BISECT_LOG", "bisection", "`git bisect reset`"),
];

/// Refuses if the branch is not checked out or a person's operation is unfinished.
pub(super) fn check(worktree: &Worktree) -> Result<(), SyncError> {
    for (file, operation, remedy) in UNFINISHED {
        if worktree.git.dir().join(file).symlink_metadata().is_ok() {
            return Err(SyncError::refused(format!("a {operation} is in progress here; finish it with {remedy}")));
        }
    }
    let branch = worktree.branch.trim_start_matches("refs/heads/");
    check_branch_ref(worktree)?;
    match worktree.git.current_branch()? {
        Some(head) if head == worktree.branch => Ok(()),
        Some(head) => Err(SyncError::refused(format!(
            "{} is checked out here instead of {branch}; run `git switch {branch}`",
            head.trim_start_matches("refs/heads/")
        ))),
        None => Err(SyncError::refused(format!(
            "no branch is checked out here (HEAD is detached); run `git switch {branch}`"
        ))),
    }
}

/// A power loss can empty a ref's file. git then takes the branch for one without a commit.
fn check_branch_ref(worktree: &Worktree) -> Result<(), SyncError> {
    let (name, file) = (&worktree.branch, worktree.git.ref_file(&worktree.branch));
    let is_damaged = match fs::read(&file) {
        Ok(content) => {
            let text = String::from_utf8_lossy(&content);
            !text.starts_with("ref:") && !is_object_id(text.trim_end())
        }
        Err(_) if is_packed(worktree) => false,
        Err(_) => last_logged(worktree).is_some() && worktree.branch_tip()?.is_none(),
    };
    if !is_damaged {
        return Ok(());
    }
    let remedy = match last_logged(worktree) {
        Some(commit) => {
            format!("its last commit was {commit}: `rm -f {}; git update-ref {name} {commit}`", file.display())
        }
        None => format!("`git fsck --lost-found` lists commits to set it to with `git update-ref {name} COMMIT`"),
    };
    let reason = format!("{name} is empty, garbled or lost, for example after a power loss; {remedy}");
    Err(SyncError::Failed(anyhow!(reason)))
}

/// Whether `packed-refs` has the branch.
fn is_packed(worktree: &Worktree) -> bool {
    let packed = fs::read_to_string(worktree.git.common().join("packed-refs")).unwrap_or_default();
    packed.lines().any(|line| line.split_once(' ').is_some_and(|(_, name)| name == worktree.branch))
}

/// The last commit of the branch, according to its reflog.
fn last_logged(worktree: &Worktree) -> Option<String> {
    let log = fs::read(worktree.git.common().join("logs").join(&worktree.branch)).ok()?;
    let text = String::from_utf8_lossy(&log);
    let ids = text.lines().rev().filter_map(|line| line.split(' ').nth(1));
    ids.filter(|id| is_object_id(id) && !id.bytes().all(|byte| byte == b'0')).map(str::to_owned).next()
}

/// Whether `git status` reports an unmerged path with this state.
pub(super) fn is_unmerged(state: &[u8]) -> bool {
    matches!(state, b"DD" | b"AA") || state.contains(&b'U')
}

/// The refusal for an unmerged path.
pub(super) fn unmerged(path: &[u8]) -> SyncError {
    let files = display_paths([path.to_owned()]);
    let reason = format!("{} is not merged yet; resolve it, `git add` it and commit", files.join(", "));
    SyncError::Verdict(BreatheVerdict::Refused, reason, files)
}
