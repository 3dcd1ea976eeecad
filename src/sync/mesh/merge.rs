//! Merges of two lines: the same commit on every node.

use anyhow::{Context, Result};

use super::super::merged_tree::MergedTree;
use super::engine::Engine;
use super::heads::Merged;
use crate::git::Git;

/// The author of automatic merges. Its address tells them from all other commits.
const AUTHOR: &str = "mirror <merge@mirror.invalid>";
pub(super) const ADDRESS: &str = "merge@mirror.invalid";
const MESSAGE: &str = "mirror: merge\n";

/// Merges two commits. Two nodes that merge the same commits make the same one: author, message and time
/// follow from the parents.
pub(super) fn merge(git: &Git, engine: &Engine<'_>, ours: &str, theirs: &str) -> Result<Merged> {
    let tree = match engine.merge_trees(ours, theirs)? {
        MergedTree::Clean(tree) => tree,
        MergedTree::Conflict(files) => return Ok(Merged::Conflict(files)),
    };
    let times = engine.times(&[ours, theirs])?;
    let time = times.values().max().context("a parent has no time")?;
    let text = format!(
        "tree {tree}\nparent {ours}\nparent {theirs}\nauthor {AUTHOR} {time} +0000\ncommitter {AUTHOR} {time} +0000\n\n\
         {MESSAGE}"
    );
    Ok(Merged::Clean(git.write_commit(text.as_bytes())?))
}
