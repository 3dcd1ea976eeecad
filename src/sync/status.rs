//! Uncommitted changes, as `git status` lists them.

use std::path::Path;

use anyhow::Result;
use xshell::cmd;

use super::outcome::SyncError;
use super::preflight;
use crate::git::Git;

/// A path that differs from the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: Vec<u8>,
    pub(super) kind: ChangeKind,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// Only the index differs; it was staged by a person.
    Staged,
    /// The work tree differs from the index.
    Modified,
    /// Not in the index. A path that ends in a slash is a repository of its own.
    Untracked,
    /// The submodule is at another commit than the index records, or is missing.
    Submodule { recorded: String },
}

/// The uncommitted changes of a work tree.
pub(super) struct Status {
    pub(super) changes: Vec<Change>,
    /// Directories that could not be read, and why.
    pub(super) unreadable: Vec<(Vec<u8>, String)>,
}

/// Reads the status. Refuses if a path is unmerged.
pub(super) fn read(git: &Git) -> Result<Status, SyncError> {
    read_with_index(git, None)
}

/// Reads the status with another index file.
pub(super) fn read_with_index(git: &Git, index: Option<&Path>) -> Result<Status, SyncError> {
    let cmd =
        cmd!(git.shell(), "git status --porcelain=v2 -z --untracked-files=all --no-renames --ignore-submodules=dirty");
    let cmd = match index {
        Some(index) => cmd.env("GIT_INDEX_FILE", index),
        None => cmd,
    };
    let shown = cmd.to_string();
    let finished = git.run(cmd, b"")?;
    if !finished.success() {
        return Err(anyhow::anyhow!("{shown}: {}", crate::git::error_line(&finished)).into());
    }
    let mut changes = Vec::new();
    for line in finished.stdout.split(|byte| *byte == 0) {
        match line.first() {
            Some(b'u') => {
                return Err(preflight::unmerged(line.splitn(11, |byte| *byte == b' ').last().unwrap_or(line)));
            }
            Some(b'?') => changes.push(Change { path: line[2..].to_owned(), kind: ChangeKind::Untracked }),
            Some(b'1') => changes.extend(tracked(line)),
            _ => {}
        }
    }
    Ok(Status { changes, unreadable: unreadable(&finished.stderr) })
}

/// Reads `1 XY SUB mHEAD mINDEX mWORKTREE hHEAD hINDEX PATH`.
fn tracked(line: &[u8]) -> Option<Change> {
    let fields: Vec<&[u8]> = line.splitn(9, |byte| *byte == b' ').collect();
    let [_, state, _, _, index_mode, tree_mode, _, index_id, path] = fields[..] else { return None };
    let differs = state.get(1) != Some(&b'.');
    let is_link = index_mode == b"160000" && (tree_mode == b"160000" || state.get(1) == Some(&b'D'));
    let kind = match differs {
        false => ChangeKind::Staged,
        true if is_link => ChangeKind::Submodule { recorded: String::from_utf8_lossy(index_id).into_owned() },
        true => ChangeKind::Modified,
    };
    Some(Change { path: path.to_owned(), kind })
}

fn unreadable(stderr: &str) -> Vec<(Vec<u8>, String)> {
    let parse = |line: &str| {
        let (path, why) = line.strip_prefix("warning: could not open directory '")?.rsplit_once("': ")?;
        Some((path.as_bytes().to_owned(), why.to_owned()))
    };
    stderr.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodule_at_another_commit_is_told_from_a_file() {
        let file = b"1 .M N... 100644 100644 100644 aa bb a file";
        assert_eq!(tracked(file), Some(Change { path: b"a file".to_vec(), kind: ChangeKind::Modified }));
        let link = b"1 .M SC.. 160000 160000 160000 aa bb lib";
        let kind = ChangeKind::Submodule { recorded: "bb".to_owned() };
        assert_eq!(tracked(link), Some(Change { path: b"lib".to_vec(), kind }));
        let staged = b"1 A. S... 000000 160000 160000 00 bb lib";
        assert_eq!(tracked(staged).map(|change| change.kind), Some(ChangeKind::Staged));
    }

    #[test]
    fn an_unreadable_directory_is_named() {
        let stderr = "warning: could not open directory 'a/b/': Permission denied\n";
        assert_eq!(unreadable(stderr), [(b"a/b/".to_vec(), "Permission denied".to_owned())]);
    }
}
