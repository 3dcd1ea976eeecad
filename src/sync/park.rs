//! Parks local commits that cannot go to the branch: they are pushed to a ref of this node, so that a
//! disk failure here cannot lose them.
//!
//! A node keeps one parked ref while a conflict lasts. The newest commit contains the older ones, so
//! their refs are deleted.

use xshell::cmd;

use super::names;
use super::outcome::{Parked, SyncError};
use super::remote::RemoteBranch;
use crate::git::Git;

/// Stores `commit` on the remote. The error is the reason why that failed.
pub(super) fn park(remote: &RemoteBranch<'_>, commit: &str) -> Result<Parked, String> {
    let namespace = format!("refs/conflicts/{}", names::ref_component(remote.breath.node));
    let reference = format!("{namespace}/{commit}");
    let on_remote = match remote.list_refs(&format!("{namespace}/*")) {
        Ok(on_remote) => on_remote,
        Err(SyncError::Failed(error)) => return Err(format!("{error:#}")),
        Err(SyncError::Verdict(_, reason, _)) => return Err(reason),
    };
    if !on_remote.iter().any(|(name, _)| *name == reference) {
        remote.push_refs(&[format!("{commit}:{reference}")])?;
    }
    let git = &remote.worktree.git;
    let contained = on_remote.iter().filter(|(name, old)| *name != reference && is_ancestor(git, old, commit));
    let deletions: Vec<_> = contained.map(|(name, _)| format!(":{name}")).collect();
    if !deletions.is_empty() {
        // A remote that forbids deletions keeps the older refs; nothing is lost.
        let _ = remote.push_refs(&deletions);
    }
    Ok(Parked { reference, commit: commit.to_owned() })
}

fn is_ancestor(git: &Git, old: &str, new: &str) -> bool {
    let asked = git.run(cmd!(git.shell(), "git merge-base --is-ancestor {old} {new}"), b"");
    asked.is_ok_and(|asked| asked.success())
}
