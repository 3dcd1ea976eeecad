//! Merges and replays of the mesh: the same commits on every node.

use anyhow::{Context, Result, bail};

use super::engine::{Engine, Trees};
use super::heads::Merged;
use crate::git::Git;
use crate::sync::commit::read_commits;

/// The author of automatic merges. Its address tells them from all other commits.
const AUTHOR: &str = "mirror <merge@mirror.invalid>";
pub(super) const ADDRESS: &str = "merge@mirror.invalid";
const MESSAGE: &str = "mirror: merge\n";
/// For the temporary commits that give trees a base.
const NOBODY: &str = "mirror <mirror@localhost> 0 +0000";

/// Merges two commits. Two nodes that merge the same commits make the same one: author, message and time
/// follow from the parents.
pub(super) fn merge(git: &Git, engine: &Engine<'_>, ours: &str, theirs: &str) -> Result<Merged> {
    let tree = match engine.merge_trees(ours, theirs)? {
        Trees::Clean(tree) => tree,
        Trees::Conflict(files) => return Ok(Merged::Conflict(files)),
    };
    let times = engine.times(&[ours, theirs])?;
    let time = times.values().max().context("a parent has no time")?;
    let text = format!(
        "tree {tree}\nparent {ours}\nparent {theirs}\nauthor {AUTHOR} {time} +0000\ncommitter {AUTHOR} {time} +0000\n\n\
         {MESSAGE}"
    );
    Ok(Merged::Clean(git.write_commit(text.as_bytes())?))
}

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
        Trees::Clean(tree) => Ok(Some(tree)),
        Trees::Conflict(_) => Ok(None),
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
