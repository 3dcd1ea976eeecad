//! Whether a person is in the middle of something here.

use super::{Place, Stop};

/// A file of git's that is there while something is unfinished, what that is, and its way out.
const UNFINISHED: [(&str, &str, &str); 7] = [
    ("MERGE_HEAD", "merge", "`git commit` or `git merge --abort`"),
    ("rebase-merge", "rebase", "`git rebase --continue` or `--abort`"),
    ("rebase-apply", "rebase or `git am`", "`git rebase --continue` or `--abort`, or the same of `git am`"),
    ("CHERRY_PICK_HEAD", "cherry-pick", "`git cherry-pick --continue` or `--abort`"),
    ("REVERT_HEAD", "revert", "`git revert --continue` or `--abort`"),
    ("sequencer", "cherry-pick or revert", "`git cherry-pick --continue` or `--abort`"),
    ("BISECT_LOG", "bisection", "`git bisect reset`"),
];

/// Refuses where the branch is not checked out or a person's work on the history is unfinished.
pub(super) fn check(place: &Place) -> Result<(), Stop> {
    for (file, what, way_out) in UNFINISHED {
        if place.git.dir().join(file).symlink_metadata().is_ok() {
            return Err(Stop::refused(format!("a {what} is in progress here; finish it with {way_out}")));
        }
    }
    let branch = place.branch.trim_start_matches("refs/heads/");
    match place.git.head()? {
        Some(head) if head == place.branch => Ok(()),
        Some(head) => Err(Stop::refused(format!(
            "{} is checked out here and not {branch}; `git switch {branch}` first",
            head.trim_start_matches("refs/heads/")
        ))),
        None => {
            Err(Stop::refused(format!("no branch is checked out here (HEAD is detached); `git switch {branch}` first")))
        }
    }
}
