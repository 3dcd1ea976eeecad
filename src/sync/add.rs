//! Adds changes to a private index. One path that `git add` refuses does not keep the others out.

use std::path::Path;

use anyhow::{Result, bail};
use xshell::cmd;

use super::status::{self, Change, ChangeKind};
use super::worktree::Worktree;
use crate::exec::{Ended, Finished};
use crate::git::{self, path_from_bytes};

/// After this many paths that stop `git add`, the rest waits for the next breath.
const MAX_FATAL_PATHS: usize = 100;

/// A path that git does not add, and why.
type Failed = (Vec<u8>, String);

/// Adds `wanted`, everything uncommitted except `excluded`, and returns what git does not take.
pub(super) fn add(worktree: &Worktree, index: &Path, wanted: &[Change], excluded: &[&[u8]]) -> Result<Vec<Failed>> {
    let list: Vec<&[u8]> =
        wanted.iter().filter(|change| change.kind != ChangeKind::Staged).map(|change| &change.path[..]).collect();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let except =
        excluded.iter().map(|path| [&b":(exclude,literal)"[..], path.strip_suffix(b"/").unwrap_or(path)].concat());
    let finished = run_add(worktree, index, &std::iter::once(b".".to_vec()).chain(except).collect::<Vec<_>>(), false)?;
    match finished.ended {
        Ended::Exited(0) => Ok(Vec::new()),
        Ended::Exited(1) => refused(worktree, index, &list, &finished.stderr),
        _ => {
            let mut failed = Vec::new();
            add_halves(worktree, index, &list, &mut failed)?;
            failed.extend(refused(worktree, index, &without(&list, &failed), "")?);
            Ok(failed)
        }
    }
}

/// git stops at some paths without saying which: find them by halving the list.
fn add_halves(worktree: &Worktree, index: &Path, list: &[&[u8]], failed: &mut Vec<Failed>) -> Result<()> {
    let paths: Vec<Vec<u8>> = list.iter().map(|path| path.to_vec()).collect();
    let finished = run_add(worktree, index, &paths, true)?;
    if matches!(finished.ended, Ended::Exited(0 | 1)) || failed.len() >= MAX_FATAL_PATHS {
        return Ok(());
    }
    if let [path] = list {
        let exists = worktree.root.join(path_from_bytes(path)).symlink_metadata().is_ok();
        let message = git::error_line(&finished);
        if !exists && message.contains("did not match any files") {
            return Ok(()); // Removed at the same time.
        }
        failed.push((path.to_vec(), message));
        return Ok(());
    }
    let (left, right) = list.split_at(list.len() / 2);
    add_halves(worktree, index, left, failed)?;
    add_halves(worktree, index, right, failed)
}

fn run_add(worktree: &Worktree, index: &Path, pathspecs: &[Vec<u8>], literal: bool) -> Result<Finished> {
    let add =
        cmd!(worktree.git.shell(), "git add --all --sparse --ignore-errors --pathspec-from-file=- --pathspec-file-nul");
    let add = if literal { add.env("GIT_LITERAL_PATHSPECS", "1") } else { add };
    let finished = worktree.git.run(add.env("GIT_INDEX_FILE", index), &pathspecs.join(&b'\0'))?;
    if finished.stderr.contains("No space left on device") {
        bail!("git add: {}", git::error_line(&finished));
    }
    Ok(finished)
}

/// The paths of `list` that are still not in the index, with git's message about each.
fn refused(worktree: &Worktree, index: &Path, list: &[&[u8]], stderr: &str) -> Result<Vec<Failed>> {
    let Ok(status) = status::read_with_index(&worktree.git, Some(index)) else { return Ok(Vec::new()) };
    let still: std::collections::HashSet<Vec<u8>> = status
        .changes
        .into_iter()
        .filter(|change| change.kind != ChangeKind::Staged)
        .map(|change| change.path)
        .collect();
    let why = |path: &[u8]| {
        let quoted = format!("{}'", String::from_utf8_lossy(path));
        let line = stderr.lines().find(|line| line.contains(&quoted) || line.contains(&quoted.replace('\'', "\"")));
        line.unwrap_or("git add does not take it").trim().to_owned()
    };
    Ok(list.iter().filter(|path| still.contains(**path)).map(|path| (path.to_vec(), why(path))).collect())
}

fn without<'a>(list: &[&'a [u8]], failed: &[Failed]) -> Vec<&'a [u8]> {
    list.iter().copied().filter(|path| !failed.iter().any(|(failed, _)| failed == path)).collect()
}
