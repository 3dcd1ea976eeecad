//! Replays what this node alone has onto the line that it follows.

use anyhow::{Context, Result, bail};

use super::super::merged_tree::MergedTree;
use super::engine::Engine;
use crate::git::Git;
use crate::sync::commit::read_commits;

/// For the temporary commits that give trees a base.
const NOBODY: &str = "mirror <mirror@localhost> 0 +0000";

/// Commits that nobody else has, oldest first, each with its one parent.
pub(super) type Unoffered = Vec<(String, String)>;

/// Replays commits onto another one. Author, committer and message stay; a commit that becomes empty is left
/// out. None if they contradict what is there.
pub(super) fn replay(git: &Git, engine: &Engine<'_>, commits: &Unoffered, onto: &str) -> Result<Option<String>> {
    let mut ids: Vec<&str> = commits.iter().flat_map(|(commit, parent)| [&commit[..], &parent[..]]).collect();
    ids.push(onto);
    ids.sort_unstable();
    ids.dedup();
    let objects = read_commits(git, &ids)?;
    let get = |id: &str| objects.get(id).with_context(|| format!("commit {id} is missing"));
    let (mut tip, mut tree) = (onto.to_owned(), get(onto)?.tree.clone());
    let mut time = committed(get(onto)?.committer())?.1;
    for (commit, parent) in commits {
        let (this, before) = (get(commit)?, get(parent)?);
        let Some(next) = replay_tree(git, engine, [&before.tree, &tree, &this.tree])? else { return Ok(None) };
        if next == tree && this.tree != before.tree {
            continue;
        }
        let (who, own, zone) = committed(this.committer())?;
        time = time.max(own);
        let committer = [&who[..], format!(" {time} {zone}").as_bytes()].concat();
        tip = git.write_commit(&this.with_parent_bytes(&tip, &next, &committer))?;
        tree = next;
    }
    Ok(Some(tip))
}

/// Merges three trees: base, ours, theirs. git before 2.40 merges commits only.
fn replay_tree(git: &Git, engine: &Engine<'_>, [base, ours, theirs]: [&str; 3]) -> Result<Option<String>> {
    if base == theirs || ours == theirs {
        return Ok(Some(ours.to_owned()));
    }
    if base == ours {
        return Ok(Some(theirs.to_owned()));
    }
    let temporary = |tree: &str, parent: &str| {
        git.write_commit(format!("tree {tree}\n{parent}author {NOBODY}\ncommitter {NOBODY}\n\n").as_bytes())
    };
    let parent = format!("parent {}\n", temporary(base, "")?);
    match engine.merge_trees(&temporary(ours, &parent)?, &temporary(theirs, &parent)?)? {
        MergedTree::Clean(tree) => Ok(Some(tree)),
        MergedTree::Conflict(_) => Ok(None),
    }
}

/// The name and address, the time and the zone of a committer line.
fn committed(line: &[u8]) -> Result<(Vec<u8>, i64, String)> {
    let end = line.iter().rposition(|byte| *byte == b'>').context("a commit without a committer")?;
    let rest = String::from_utf8_lossy(&line[end + 1..]).into_owned();
    let mut words = rest.split_whitespace();
    let (Some(time), zone) = (words.next().and_then(|time| time.parse().ok()), words.next().unwrap_or("+0000")) else {
        bail!("a commit without a time: {rest:?}");
    };
    Ok((line[..=end].to_owned(), time, zone.to_owned()))
}
