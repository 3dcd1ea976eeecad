//! Uncommitted work, committed before it can stand in anybody's way.

use std::time::SystemTime;

use anyhow::Result;
use xshell::cmd;

use super::index::IndexLock;
use super::note::Intent;
use super::{Place, Stop, names, turn};

/// Commits all that git does not ignore. Without any such work, no commit is made.
pub(super) fn commit(place: &Place, node: Option<&str>) -> Result<(), Stop> {
    let (git, sh) = (&place.git, place.git.shell());
    let status = git.read(cmd!(sh, "git status --porcelain -z --untracked-files=normal --no-renames"))?;
    for line in status.split(|byte| *byte == 0).filter(|line| line.len() > 3) {
        if turn::is_unmerged(&line[..2]) {
            return Err(turn::unmerged(&line[3..]));
        }
    }
    if status.is_empty() {
        return Ok(());
    }
    let mut lock = IndexLock::take(place)?;
    let old = git.tip(&place.branch)?;
    if !place.stands_at(old.as_deref())? {
        return Err(Stop::busy("another branch was checked out here just now"));
    }
    let index = &lock.copy()?;
    let mine = |cmd: xshell::Cmd<'_>| -> Result<String> { git.line(cmd.env("GIT_INDEX_FILE", index)) };
    mine(cmd!(sh, "git add --all"))?;
    let tree = mine(cmd!(sh, "git write-tree"))?;
    let before = turn::tree_of(git, old.as_deref())?;
    if git.line(cmd!(sh, "git rev-parse --verify {before}"))? == tree {
        return Ok(());
    }
    let node = names::plain_node(node);
    let identity = git.identity(node)?;
    let parent = old.as_ref().map(|old| format!("parent {old}\n")).unwrap_or_default();
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let text = format!(
        "tree {tree}\n{parent}author {identity}\ncommitter {identity}\n\nmirror: uncommitted work of {node} at {time}\n"
    );
    let new = git.write_commit(text.as_bytes())?;
    let intent = Intent { branch: place.branch.clone(), old, new, files: false };
    intent.write(place)?;
    lock.keep();
    let sealed = turn::seal(place, &lock, &intent)?;
    Intent::remove(place)?;
    lock.release();
    match sealed? {
        true => Ok(()),
        false => Err(Stop::busy("somebody else committed here just now")),
    }
}
