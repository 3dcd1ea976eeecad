//! Checks files of a tree out to a directory of our own, to compare them with the work tree.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::journal;
use super::worktree::Worktree;
use crate::{fsutil, git};

/// Writes `paths` of a tree to a private directory, exactly as git would check them out. The inner
/// result says whether all of them were written.
pub(super) fn stage(worktree: &Worktree, name: &str, tree: &str, paths: &[&[u8]]) -> Result<(PathBuf, Result<()>)> {
    let dir = worktree.dir.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    fsutil::private_directory(&dir)?;
    let index = worktree.dir.join("index.side");
    let run = |cmd: xshell::Cmd<'_>, input: &[u8]| {
        let cmd = cmd.env("GIT_INDEX_FILE", &index).env("GIT_DIR", worktree.git.dir()).env("GIT_WORK_TREE", &dir);
        worktree.git.read_with(cmd, input)
    };
    let (sh, not_sparse) = (worktree.git.shell(), "core.sparseCheckout=false");
    let _in_dir = sh.push_dir(&dir);
    run(cmd!(sh, "git -c {not_sparse} read-tree {tree}"), b"")?;
    let list: Vec<u8> = paths.iter().flat_map(|path| [path, &b"\0"[..]].concat()).collect();
    let written = run(cmd!(sh, "git -c {not_sparse} checkout-index -f -q -z --stdin"), &list).map(drop);
    if written.is_err() {
        // After a failure, git may leave half a file, and the whole file in the work tree would then
        // look like a person's. Write the files one by one and remove those that fail.
        for path in paths {
            let one = [path, &b"\0"[..]].concat();
            if run(cmd!(sh, "git -c {not_sparse} checkout-index -f -q -z --stdin"), &one).is_err() {
                journal::remove(&file_in(&dir, path))?;
            }
        }
    }
    journal::remove(&index)?;
    Ok((dir, written))
}

fn file_in(dir: &Path, path: &[u8]) -> PathBuf {
    dir.join(git::path_from_bytes(path))
}
