//! Which submodules and nested repositories may be committed automatically.
//!
//! An incoming commit can move a submodule's recorded commit while its directory here stays at the old
//! one. Committing the directory's state would take the incoming change back. Therefore a submodule is
//! committed only if it moved forward from the recorded commit, to one that was never recorded before.

use anyhow::Result;
use xshell::cmd;

use super::status::{Change, ChangeKind};
use super::worktree::Worktree;
use crate::git::{is_object_id, path_from_bytes};

/// Why this change must not be committed automatically; none if it may be.
pub(super) fn objection(worktree: &Worktree, change: &Change) -> Result<Option<String>> {
    match &change.kind {
        ChangeKind::Untracked if change.path.ends_with(b"/") => {
            Ok(Some("a repository of its own; ignore it, or add it with `git submodule add`".to_owned()))
        }
        ChangeKind::Submodule { recorded } if !moved_forward(worktree, &change.path, recorded)? => {
            let path = String::from_utf8_lossy(&change.path);
            Ok(Some(format!(
                "a submodule at another commit than recorded; run `git submodule update {path}`, or `git add {path}`"
            )))
        }
        _ => Ok(None),
    }
}

fn moved_forward(worktree: &Worktree, path: &[u8], recorded: &str) -> Result<bool> {
    let (git, sh) = (&worktree.git, worktree.git.shell());
    let path = path_from_bytes(path);
    // In a directory without a repository, git would answer for the one above.
    if worktree.root.join(path).join(".git").symlink_metadata().is_err() {
        return Ok(false);
    }
    let head = git.run(cmd!(sh, "git -C {path} rev-parse --verify --quiet HEAD"), b"")?;
    let head = String::from_utf8_lossy(&head.stdout).trim_end().to_owned();
    if !is_object_id(&head) {
        return Ok(false);
    }
    let forward = git.run(cmd!(sh, "git -C {path} merge-base --is-ancestor {recorded} {head}"), b"")?;
    if !forward.success() {
        return Ok(false);
    }
    let find = format!("--find-object={head}");
    let before = git.run(cmd!(sh, "git log -1 --format=%H {find} -- {path}"), b"")?;
    Ok(before.success() && before.stdout.is_empty())
}
