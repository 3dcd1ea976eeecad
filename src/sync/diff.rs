//! The differences between two trees.

use anyhow::{Result, bail};
use xshell::cmd;

use crate::git::Git;

/// A path that differs between two trees, with its entry in each.
pub(super) struct TreeChange {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<TreeEntry>,
    pub(super) new: Option<TreeEntry>,
}

/// What a tree or the index has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) mode: Vec<u8>,
    pub(super) id: Vec<u8>,
}

impl TreeEntry {
    /// Whether it is a submodule. git only requires its directory in the work tree.
    pub(super) fn is_submodule(&self) -> bool {
        self.mode == b"160000"
    }
}

/// A name for the tree of a commit; without a commit, the empty tree.
pub(super) fn tree_of(git: &Git, commit: Option<&str>) -> Result<String> {
    match commit {
        Some(commit) => Ok(format!("{commit}^{{tree}}")),
        None => git.line(cmd!(git.shell(), "git hash-object -t tree -w --stdin")),
    }
}

/// The differences between two trees.
pub(super) fn tree_changes(git: &Git, old: &str, new: &str) -> Result<Vec<TreeChange>> {
    let raw = git.read(cmd!(git.shell(), "git diff-tree -r -z --raw --no-renames --no-abbrev {old} {new}"))?;
    let mut parts = raw.split(|byte| *byte == 0);
    let mut changes = Vec::new();
    while let (Some(header), Some(path)) = (parts.next(), parts.next()) {
        let fields: Vec<_> = header.split(|byte| *byte == b' ').collect();
        let [old_mode, new_mode, old_id, new_id, _] = fields[..] else {
            bail!("unexpected output of git diff-tree: {:?}", String::from_utf8_lossy(header));
        };
        changes.push(TreeChange {
            path: path.to_owned(),
            old: entry(old_mode.strip_prefix(b":").unwrap_or(old_mode), old_id),
            new: entry(new_mode, new_id),
        });
    }
    Ok(changes)
}

fn entry(mode: &[u8], id: &[u8]) -> Option<TreeEntry> {
    (mode != b"000000").then(|| TreeEntry { mode: mode.to_owned(), id: id.to_owned() })
}
