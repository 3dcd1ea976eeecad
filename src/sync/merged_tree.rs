//! What `git merge-tree` came to, for both ways of breathing.

use super::worktree::display_paths;
use crate::exec::{Ended, Finished};
use crate::git;

/// What a merge of trees came to.
pub(super) enum MergedTree {
    /// This tree.
    Clean(String),
    /// These paths conflict.
    Conflict(Vec<String>),
}

impl MergedTree {
    /// Reads what `git merge-tree --write-tree --name-only --no-messages -z` printed; none when it did not merge.
    pub(super) fn read(merged: &Finished) -> Option<Self> {
        let mut parts = merged.stdout.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let tree = parts.next().map(String::from_utf8_lossy).filter(|id| git::is_object_id(id))?;
        match merged.ended {
            Ended::Exited(0) => Some(Self::Clean(tree.into_owned())),
            Ended::Exited(1) => Some(Self::Conflict(display_paths(parts.map(<[u8]>::to_owned)))),
            _ => None,
        }
    }
}
