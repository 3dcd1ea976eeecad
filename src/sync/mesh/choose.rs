//! Where the branch goes: which line this node follows, and what of its own is replayed there.

use std::collections::BTreeSet;

use anyhow::Result;

use super::heads::{self, Followed, Head, LeftOut, Quiet};

use super::merge;
use super::peers::Refs;
use super::records;
use super::replay::{Unoffered, replay};
use super::round::Session;

/// Where the branch is to go.
pub(super) struct Destination {
    pub(super) commit: Option<String>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) is_waiting: bool,
    /// How many commits of this node's own are replayed.
    pub(super) replayed: usize,
}

impl Session<'_> {
    /// Decides it.
    pub(super) fn destination(&self, refs: &Refs, main: Option<&str>) -> Result<Destination> {
        let mut values: Vec<&str> = refs.values().map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        let unoffered = match main {
            Some(main) if !values.contains(&main) => self.unoffered(main, &values)?,
            _ => Some(Vec::new()),
        };
        if let Some(own) = unoffered.as_ref().filter(|own| !own.is_empty()) {
            let base = &own[0].1;
            let heads = self.heads(refs, &self.engine.independent(&values)?)?;
            if let Some((tip, followed, is_waiting)) = self.follow(heads, Some(base))?
                && tip != *base
                && let Some(commit) = replay(&self.worktree.git, &self.engine, own, &tip)?
            {
                let (left_out, replayed) = (followed.left_out, own.len());
                return Ok(Destination { commit: Some(commit), left_out, is_waiting, replayed });
            }
        }
        values.extend(main);
        let heads = self.heads(refs, &self.engine.independent(&values)?)?;
        let Some((tip, followed, is_waiting)) = self.follow(heads, main)? else {
            return Ok(Destination { commit: None, left_out: Vec::new(), is_waiting: false, replayed: 0 });
        };
        Ok(Destination { commit: Some(tip), left_out: followed.left_out, is_waiting, replayed: 0 })
    }

    /// The commits that only this node has, oldest first. None if they hold a merge or a root, which are
    /// never replayed.
    fn unoffered(&self, main: &str, values: &[&str]) -> Result<Option<Unoffered>> {
        let mut line = Unoffered::new();
        for logged in self.engine.log(&[main], values)?.into_iter().rev() {
            let [parent] = &logged.parents[..] else { return Ok(None) };
            if line.last().is_some_and(|(last, _)| last != parent) {
                return Ok(None);
            }
            line.push((logged.commit, parent.clone()));
        }
        Ok(Some(line))
    }

    fn heads(&self, refs: &Refs, commits: &[String]) -> Result<Vec<Head>> {
        let mut found = Vec::new();
        // One head needs no order.
        let needs_order = commits.len() > 1;
        let spent = if needs_order { self.spent(refs)? } else { BTreeSet::new() };
        for commit in commits {
            let mut places = Vec::new();
            for (name, value) in refs.iter().filter(|(name, _)| needs_order && !spent.contains(*name)) {
                let place = heads::owner(name).and_then(|owner| heads::place(owner, self.mesh.nodes));
                if let Some(place) = place.filter(|place| !places.contains(place))
                    && self.engine.is_ancestor(value, commit)?
                {
                    places.push(place);
                }
            }
            places.sort_unstable();
            found.push(Head { commit: commit.clone(), places });
        }
        Ok(found)
    }

    /// The commit to go to from `from`, the line that it is of, and whether a merge waits.
    fn follow(&self, heads: Vec<Head>, from: Option<&str>) -> Result<Option<(String, Followed, bool)>> {
        let mut names: Vec<&str> = heads.iter().map(|head| &head.commit[..]).collect();
        names.sort_unstable();
        let key = names.join(" ");
        let merge = |ours: &str, theirs: &str| merge::merge(&self.worktree.git, &self.engine, ours, theirs);
        let contains = |head: &str| from.map_or(Ok(false), |from| self.engine.is_ancestor(from, head));
        let Some(followed) = heads::follow(heads, merge, contains)? else { return Ok(None) };
        let members: Vec<&str> = followed.line.members.iter().map(String::as_str).collect();
        if let (Some(from), true) = (from, members.len() > 1) {
            let news = self.engine.log(&members, &[from])?;
            let is_quiet = news.iter().all(|logged| logged.author == merge::ADDRESS && logged.parents.len() > 1);
            if is_quiet && !self.may_merge(&key) {
                for member in members {
                    if self.engine.is_ancestor(from, member)? {
                        return Ok(Some((member.to_owned(), followed.clone(), true)));
                    }
                }
            }
        }
        Ok(Some((followed.line.tip.clone(), followed, false)))
    }

    fn may_merge(&self, key: &str) -> bool {
        if let Some((_, may)) = self.may_merge.borrow().as_ref().filter(|(heads, _)| heads == key) {
            return *may;
        }
        let nodes = self.mesh.nodes;
        let place = nodes.iter().position(|node| Some(*node) == self.mesh.breath.node).unwrap_or(nodes.len());
        let last: Quiet = records::quiet(self.worktree);
        let (may, next) = heads::may_merge(&last, key, place, nodes.len());
        records::keep_quiet(self.worktree, &next);
        *self.may_merge.borrow_mut() = Some((key.to_owned(), may));
        may
    }
}
