//! The decisions of the mesh, as functions of values: which value a ref keeps, which heads form a line,
//! which line a node follows, and when a merge waits. They start no process and read no clock.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

/// The ref of the origin's branch. No node's ref has this name: theirs end in a dot and eight digits.
pub(super) const ORIGIN: &str = "0origin";
/// The number of hexadecimal digits that tell one life of a node from another.
pub(super) const LIFE_DIGITS: usize = 8;
const FORK: &str = ".fork-";

/// Whose ref this is: the node of `NODE.12345678` and of `NODE.12345678.fork-COMMIT`, or [`ORIGIN`]. None
/// for any other name.
pub(super) fn owner(name: &str) -> Option<&str> {
    let life = name.split_once(FORK).map_or(name, |(life, _)| life);
    if life == ORIGIN {
        return Some(ORIGIN);
    }
    let (node, digits) = life.rsplit_once('.')?;
    let is_life = digits.len() == LIFE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_node = !node.is_empty() && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (is_life && is_node && !node.starts_with('-')).then_some(node)
}

/// The name under which a value is kept that does not continue the one that is there.
pub(super) fn fork_name(name: &str, commit: &str) -> String {
    let life = name.split_once(FORK).map_or(name, |(life, _)| life);
    format!("{life}{FORK}{commit}")
}

/// Whether its owner has another ref.
pub(super) fn has_other_life(name: &str, refs: &BTreeMap<String, String>) -> bool {
    refs.keys().any(|other| other != name && owner(other) == owner(name))
}

/// Whether a value is of a former life: another ref of the same owner contains it, and more.
pub(super) fn is_spent(
    name: &str,
    commit: &str,
    refs: &BTreeMap<String, String>,
    mut is_ancestor: impl FnMut(&str, &str) -> Result<bool>,
) -> Result<bool> {
    for (_, value) in refs.iter().filter(|(other, _)| *other != name && owner(other) == owner(name)) {
        if value != commit && is_ancestor(commit, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a ref is set to, and what is kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) value: Option<String>,
    /// Values that continue neither each other nor this one.
    pub(super) forks: BTreeSet<String>,
}

/// Decides the value of a ref by the one that is there and those that others show. A ref only goes
/// forward, and no value is lost.
pub(super) fn settle(
    current: Option<&str>,
    shown: &[&str],
    mut is_ancestor: impl FnMut(&str, &str) -> Result<bool>,
) -> Result<Settled> {
    let mut settled = Settled { value: current.map(str::to_owned), forks: BTreeSet::new() };
    for &commit in shown {
        let Some(value) = settled.value.as_deref() else {
            settled.value = Some(commit.to_owned());
            continue;
        };
        if value == commit || is_ancestor(commit, value)? {
            continue;
        }
        if is_ancestor(value, commit)? {
            settled.value = Some(commit.to_owned());
        } else {
            settled.forks.insert(commit.to_owned());
        }
    }
    Ok(settled)
}

/// A head: a commit that no other known commit contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) commit: String,
    /// The places of the owners whose refs it contains: 0 for the origin, then the nodes in the order of
    /// the list. Sorted, each once; nodes that are not in the list are left out.
    pub(super) places: Vec<usize>,
}

/// The order in which heads open and join lines, alike on every node: by the owners that they contain, so
/// that a line stays the first one while its commits come and go; then by commit.
pub(super) fn order(a: &Head, b: &Head) -> Ordering {
    // A list that ends sooner is padded with infinity.
    let pairs = a.places.iter().zip(&b.places).map(|(a, b)| a.cmp(b)).find(|order| order.is_ne());
    pairs.unwrap_or_else(|| b.places.len().cmp(&a.places.len())).then_with(|| a.commit.cmp(&b.commit))
}

/// The place of an owner in [`Head::places`].
pub(super) fn place(owner: &str, nodes: &[&str]) -> Option<usize> {
    if owner == ORIGIN { Some(0) } else { nodes.iter().position(|node| *node == owner).map(|at| at + 1) }
}

/// What a merge of two commits came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// The commit that has both.
    Clean(String),
    /// The files that contradict each other; none if the histories have nothing in common.
    Conflict(Vec<String>),
}

/// A head that did not join a line, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// Heads that merge with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In the order in which they joined.
    pub(super) members: Vec<String>,
    /// The commit that has all of them.
    pub(super) tip: String,
}

/// The line to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) line: Line,
    /// The heads outside of it, each with the files in which it contradicts the line that it was tried on.
    pub(super) left_out: Vec<LeftOut>,
}

/// Forms lines, and picks the first one that `contains` what this node has; where none does, the first.
pub(super) fn follow(
    mut heads: Vec<Head>,
    mut merge: impl FnMut(&str, &str) -> Result<Merged>,
    mut contains: impl FnMut(&str) -> Result<bool>,
) -> Result<Option<Followed>> {
    heads.sort_by(order);
    let all: Vec<String> = heads.into_iter().map(|head| head.commit).collect();
    let mut ours = BTreeSet::new();
    for commit in &all {
        if contains(commit)? {
            ours.insert(commit.clone());
        }
    }
    // The files in which each head contradicts the first line that it was tried on.
    let mut contradicted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut rest = all.clone();
    while let Some((first, others)) = rest.split_first() {
        let mut line = Line { members: vec![first.clone()], tip: first.clone() };
        let mut next = Vec::new();
        for commit in others {
            match merge(&line.tip, commit)? {
                Merged::Clean(tip) => {
                    line.members.push(commit.clone());
                    line.tip = tip;
                }
                Merged::Conflict(files) => {
                    contradicted.entry(commit.clone()).or_insert(files);
                    next.push(commit.clone());
                }
            }
        }
        if ours.is_empty() || line.members.iter().any(|commit| ours.contains(commit)) {
            let files_of = |commit: &String| contradicted.get(commit).cloned().unwrap_or_default();
            let mut of_line: Vec<String> = line.members.iter().flat_map(files_of).collect();
            of_line.sort();
            of_line.dedup();
            let outside = all.into_iter().filter(|commit| !line.members.contains(commit));
            // A head of an earlier line was tried on none: ours was tried on that line.
            let left_out = outside.map(|commit| {
                let files = contradicted.get(&commit).unwrap_or(&of_line).clone();
                LeftOut { commit, files }
            });
            return Ok(Some(Followed { left_out: left_out.collect(), line }));
        }
        rest = next;
    }
    Ok(None)
}

/// For how many rounds a set of heads has stayed as it is, while a merge of them waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quiet {
    pub(super) heads: String,
    pub(super) rounds: u32,
}

/// Whether a merge that would bring in nothing but automatic merges is made now, and what to remember. It
/// waits for longer than the network is wide, each node for longer than the one before it in the list: so
/// the merge of the first one arrives before the next one makes another.
pub(super) fn may_merge(last: &Quiet, heads: &str, place: usize, nodes: usize) -> (bool, Quiet) {
    let rounds = if last.heads == heads { last.rounds.saturating_add(1) } else { 0 };
    let wait = u32::try_from(place.saturating_mul(nodes)).unwrap_or(u32::MAX);
    (rounds >= wait, Quiet { heads: heads.to_owned(), rounds })
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
