//! Local commits put on top of incoming ones, on objects alone: no file, index or ref is touched,
//! so there is nothing to undo.
//!
//! A commit is replayed by a three-way merge of trees: what it changed from its parent is done to
//! the tree it is to stand on. git 2.39 merges commits and not trees, so three commits are made up
//! around the trees, of which the base is the parent of the other two.
//!
//! That costs a handful of processes a commit. Where the line and the incoming one touch no path in
//! common, which is most of the time, [`carry`] does the whole line by one.
//!
//! A line that holds a merge is joined to the incoming one by another merge instead. The merge that
//! a person made says how they resolved it; replayed, it would be asked again.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::{carry, names};
use crate::git::{self, Git};

/// What came of a replay.
pub(super) enum Replayed {
    /// The new tip.
    Clean(String),
    /// Paths where the two contradict each other.
    Conflict(Vec<String>),
    /// There is no commit in common.
    Unrelated,
}

/// How many commits lead to this one, itself included.
pub(super) fn count(git: &Git, tip: &str) -> Result<u64> {
    Ok(git.line(cmd!(git.shell(), "git rev-list --count {tip}"))?.parse()?)
}

/// How many commits are here alone, and how many there alone.
pub(super) fn apart(git: &Git, local: &str, upstream: &str) -> Result<(u64, u64)> {
    let counts = git.line(cmd!(git.shell(), "git rev-list --count --left-right {local}...{upstream}"))?;
    let (ahead, behind) = counts.split_once('\t').with_context(|| format!("git rev-list said {counts:?}"))?;
    Ok((ahead.parse()?, behind.parse()?))
}

/// Puts the commits that `local` has and `upstream` lacks on top of `upstream`.
pub(super) fn replay(git: &Git, local: &str, upstream: &str, node: Option<&str>) -> Result<Replayed> {
    let sh = git.shell();
    if !git.run(cmd!(sh, "git merge-base {local} {upstream}"), b"")?.success() {
        return Ok(Replayed::Unrelated);
    }
    let identity = git.identity(names::plain_node(node))?;
    let list = git.line(cmd!(sh, "git rev-list --reverse --topo-order --parents {local} ^{upstream}"))?;
    let line: Vec<Vec<&str>> = list.lines().map(|line| line.split(' ').collect()).collect();
    if line.iter().any(|commit| commit.len() != 2) {
        return join(git, local, upstream, &identity);
    }
    let mut wanted: Vec<&str> = line.iter().flatten().copied().collect();
    wanted.push(upstream);
    let commits = read_commits(git, &wanted)?;
    if let Some(tip) = carry::carry(git, &line, &commits, upstream, &identity)? {
        return Ok(Replayed::Clean(tip));
    }
    let get = |id: &str| commits.get(id).with_context(|| format!("commit {id} is missing"));
    let (mut tip, mut tree) = (upstream.to_owned(), get(upstream)?.tree.clone());
    for commit in &line {
        let (this, parent) = (get(commit[0])?, get(commit[1])?);
        tree = match merge_trees(git, &parent.tree, &tree, &this.tree)? {
            Ok(tree) => tree,
            Err(files) => return Ok(Replayed::Conflict(files)),
        };
        tip = git.write_commit(&this.moved_to(&tip, &tree, &identity))?;
    }
    Ok(Replayed::Clean(tip))
}

fn join(git: &Git, local: &str, upstream: &str, identity: &str) -> Result<Replayed> {
    let tree = match merge(git, upstream, local)? {
        Ok(tree) => tree,
        Err(files) => return Ok(Replayed::Conflict(files)),
    };
    let text = format!(
        "tree {tree}\nparent {upstream}\nparent {local}\nauthor {identity}\ncommitter {identity}\n\n\
         mirror: join local and incoming commits\n"
    );
    Ok(Replayed::Clean(git.write_commit(text.as_bytes())?))
}

/// The three-way merge of trees, or the paths that contradict each other.
fn merge_trees(git: &Git, base: &str, ours: &str, theirs: &str) -> Result<Result<String, Vec<String>>> {
    if base == theirs || ours == theirs {
        return Ok(Ok(ours.to_owned()));
    }
    if base == ours {
        return Ok(Ok(theirs.to_owned()));
    }
    let made_up = |tree: &str, parent: &str| {
        let nobody = "mirror <mirror@localhost> 0 +0000";
        git.write_commit(format!("tree {tree}\n{parent}author {nobody}\ncommitter {nobody}\n\n").as_bytes())
    };
    let parent = format!("parent {}\n", made_up(base, "")?);
    merge(git, &made_up(ours, &parent)?, &made_up(theirs, &parent)?)
}

fn merge(git: &Git, ours: &str, theirs: &str) -> Result<Result<String, Vec<String>>> {
    let merge = cmd!(git.shell(), "git merge-tree --write-tree --name-only --no-messages -z {ours} {theirs}");
    let merged = git.run(merge, b"")?;
    let mut parts = merged.stdout.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    let tree = parts.next().map(String::from_utf8_lossy).filter(|id| git::is_id(id));
    match (merged.ended, tree) {
        (crate::exec::Ended::Exited(0), Some(tree)) => Ok(Ok(tree.into_owned())),
        (crate::exec::Ended::Exited(1), Some(_)) => Ok(Err(super::shown(parts.map(<[u8]>::to_owned)))),
        _ => bail!("git merge-tree: {}", git::words(&merged)),
    }
}

/// A commit as git keeps it.
pub(super) struct Commit {
    tree: String,
    raw: Vec<u8>,
}

impl Commit {
    /// The same commit on another parent: author, encoding and message to the byte. A signature
    /// would no longer be true.
    fn moved_to(&self, parent: &str, tree: &str, committer: &str) -> Vec<u8> {
        let mut moved = format!("tree {tree}\nparent {parent}\n").into_bytes();
        for (name, header) in self.kept() {
            match name {
                b"committer" => moved.extend_from_slice(format!("committer {committer}").as_bytes()),
                _ => moved.extend_from_slice(header),
            }
            moved.push(b'\n');
        }
        moved.push(b'\n');
        moved.extend_from_slice(self.message());
        moved
    }

    /// The headers that a replay keeps, each by its name and whole, with the lines that continue it.
    pub(super) fn kept(&self) -> Vec<(&[u8], &[u8])> {
        let headers = &self.raw[..self.end()];
        let mut found: Vec<(&[u8], &[u8])> = Vec::new();
        let mut start = 0;
        while start < headers.len() {
            let rest = &headers[start..];
            let is_end = |at: &usize| rest[*at] == b'\n' && rest.get(at + 1) != Some(&b' ');
            let header = &rest[..(0..rest.len()).find(is_end).unwrap_or(rest.len())];
            let name = header.split(|byte| *byte == b' ').next().unwrap_or_default();
            if ![&b"tree"[..], b"parent", b"gpgsig", b"gpgsig-sha256"].contains(&name) {
                found.push((name, header));
            }
            start += header.len() + 1;
        }
        found
    }

    pub(super) fn message(&self) -> &[u8] {
        self.raw.get(self.end() + 2..).unwrap_or_default()
    }

    /// Where the headers end; an empty line comes after them.
    fn end(&self) -> usize {
        self.raw.windows(2).position(|pair| pair == b"\n\n").unwrap_or(self.raw.len())
    }
}

fn read_commits<'a>(git: &Git, ids: &[&'a str]) -> Result<HashMap<&'a str, Commit>> {
    let said = git.read_with(cmd!(git.shell(), "git cat-file --batch"), (ids.join("\n") + "\n").as_bytes())?;
    let mut commits = HashMap::new();
    let mut rest = &said[..];
    for id in ids {
        let end = rest.iter().position(|byte| *byte == b'\n').context("git cat-file stopped short")?;
        let about = String::from_utf8_lossy(&rest[..end]);
        let Some(length) = about.strip_prefix(&format!("{id} commit ")) else {
            bail!("git cat-file said {about:?}");
        };
        let length: usize = length.parse()?;
        let raw = rest.get(end + 1..end + 1 + length).context("git cat-file stopped short")?.to_owned();
        rest = rest.get(end + 2 + length..).context("git cat-file stopped short")?;
        let first = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let tree = String::from_utf8_lossy(first).trim_start_matches("tree ").to_owned();
        commits.insert(*id, Commit { tree, raw });
    }
    Ok(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_commit_keeps_all_but_its_place_its_committer_and_its_signature() {
        let raw = b"tree aa\nparent bb\nauthor A \xe9 <a@b> 1 +0100\ncommitter C <c@d> 2 +0000\n\
                    gpgsig -----BEGIN\n line\n -----END\nencoding latin1\n\nsubject \xe9\n\nbody\n\n\n"
            .to_vec();
        let commit = Commit { tree: "aa".to_owned(), raw };
        let moved = commit.moved_to("pp", "tt", "N <n@n> 3 +0000");
        let wanted = b"tree tt\nparent pp\nauthor A \xe9 <a@b> 1 +0100\ncommitter N <n@n> 3 +0000\n\
                       encoding latin1\n\nsubject \xe9\n\nbody\n\n\n";
        assert_eq!(String::from_utf8_lossy(&moved), String::from_utf8_lossy(wanted));
        assert_eq!(moved, wanted);
    }
}
