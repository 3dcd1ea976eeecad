//! Replays local commits on top of incoming ones (a rebase). This only writes objects; it touches no
//! file, index or ref, so there is nothing to undo.
//!
//! A commit is replayed by a three-way merge of trees: base is its parent's tree, the sides are its
//! own tree and the tree it is replayed on. git 2.39 merges commits only, so three temporary commits
//! are made for these trees; the base is the parent of the other two.
//!
//! That costs a few processes for each commit. If local and incoming commits have no path in common,
//! which is the usual case, [`fast_replay`] replays all of them with one process.
//!
//! If the local commits contain a merge, they are joined to the incoming ones by another merge. A
//! merge records how a person resolved a conflict; replaying it would ask for the resolution again.

use anyhow::{Context, Result, anyhow};
use xshell::cmd;

use super::commit::read_commits;
use super::merged_tree::MergedTree;
use super::{fast_replay, names};
use crate::git::{self, Git};

/// The result of a replay.
pub(super) enum Replayed {
    /// The new tip.
    Clean(String),
    /// The paths that both sides changed in contradicting ways.
    Conflict(Vec<String>),
    /// The histories have no commit in common.
    Unrelated,
}

/// The number of commits in the history of `tip`, including itself.
pub(super) fn count(git: &Git, tip: &str) -> Result<u64> {
    Ok(git.line(cmd!(git.shell(), "git rev-list --count {tip}"))?.parse()?)
}

/// How many commits only `local` has, and how many only `upstream` has.
pub(super) fn divergence(git: &Git, local: &str, upstream: &str) -> Result<(u64, u64)> {
    let counts = git.line(cmd!(git.shell(), "git rev-list --count --left-right {local}...{upstream}"))?;
    let (ahead, behind) =
        counts.split_once('\t').with_context(|| format!("unexpected output of git rev-list: {counts:?}"))?;
    Ok((ahead.parse()?, behind.parse()?))
}

/// Replays the commits that `local` has and `upstream` lacks on top of `upstream`.
pub(super) fn replay(git: &Git, local: &str, upstream: &str, node: Option<&str>) -> Result<Replayed> {
    let sh = git.shell();
    if !git.run(cmd!(sh, "git merge-base {local} {upstream}"), b"")?.success() {
        return Ok(Replayed::Unrelated);
    }
    let identity = git.identity(names::ref_component(node))?;
    let list = git.line(cmd!(sh, "git rev-list --reverse --topo-order --parents {local} ^{upstream}"))?;
    let line: Vec<Vec<&str>> = list.lines().map(|line| line.split(' ').collect()).collect();
    if line.iter().any(|commit| commit.len() != 2) {
        return join(git, local, upstream, &identity);
    }
    let mut wanted: Vec<&str> = line.iter().flatten().copied().collect();
    wanted.push(upstream);
    let commits = read_commits(git, &wanted)?;
    if let Some(tip) = fast_replay::fast_replay(git, &line, &commits, upstream, &identity)? {
        return Ok(Replayed::Clean(tip));
    }
    let get = |id: &str| commits.get(id).with_context(|| format!("commit {id} is missing"));
    let (mut tip, mut tree) = (upstream.to_owned(), get(upstream)?.tree.clone());
    for commit in &line {
        let (this, parent) = (get(commit[0])?, get(commit[1])?);
        tree = match merge_trees(git, &parent.tree, &tree, &this.tree)? {
            MergedTree::Clean(tree) => tree,
            MergedTree::Conflict(files) => return Ok(Replayed::Conflict(files)),
        };
        tip = git.write_commit(&this.with_parent(&tip, &tree, &identity))?;
    }
    Ok(Replayed::Clean(tip))
}

fn join(git: &Git, local: &str, upstream: &str, identity: &str) -> Result<Replayed> {
    let tree = match merge(git, upstream, local)? {
        MergedTree::Clean(tree) => tree,
        MergedTree::Conflict(files) => return Ok(Replayed::Conflict(files)),
    };
    let text = format!(
        "tree {tree}\nparent {upstream}\nparent {local}\nauthor {identity}\ncommitter {identity}\n\n\
         mirror: join local and incoming commits\n"
    );
    Ok(Replayed::Clean(git.write_commit(text.as_bytes())?))
}

/// Merges three trees.
fn merge_trees(git: &Git, base: &str, ours: &str, theirs: &str) -> Result<MergedTree> {
    if base == theirs || ours == theirs {
        return Ok(MergedTree::Clean(ours.to_owned()));
    }
    if base == ours {
        return Ok(MergedTree::Clean(theirs.to_owned()));
    }
    let temporary_commit = |tree: &str, parent: &str| {
        let identity = "mirror <mirror@localhost> 0 +0000";
        git.write_commit(format!("tree {tree}\n{parent}author {identity}\ncommitter {identity}\n\n").as_bytes())
    };
    let parent = format!("parent {}\n", temporary_commit(base, "")?);
    merge(git, &temporary_commit(ours, &parent)?, &temporary_commit(theirs, &parent)?)
}

fn merge(git: &Git, ours: &str, theirs: &str) -> Result<MergedTree> {
    let merge = cmd!(git.shell(), "git merge-tree --write-tree --name-only --no-messages -z {ours} {theirs}");
    let merged = git.run(merge, b"")?;
    MergedTree::read(&merged).ok_or_else(|| anyhow!("git merge-tree: {}", git::error_line(&merged)))
}
