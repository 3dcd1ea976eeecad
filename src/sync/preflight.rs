//! Checks whether a person is in the middle of something in this repository.

use super::outcome::{BreatheVerdict, SyncError};
use super::worktree::{Worktree, display_paths};

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
