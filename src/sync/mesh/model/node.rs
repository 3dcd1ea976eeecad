//! A node of the model: what is on its disk, and one breath, step by step, as in `round.rs` and `choose.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::super::heads::{self, Head, Quiet};
use super::super::peers::Refs;
use super::history::{Commit, History};

/// What a clone consists of.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) identity: String,
    pub(super) refs: Refs,
    pub(super) main: Option<String>,
    pub(super) quiet: Quiet,
}

/// The breath was killed.
pub(super) struct Killed;

/// One breath of a node.
pub(super) struct Breath<'a> {
    pub(super) history: &'a History,
    pub(super) nodes: &'a [&'a str],
    pub(super) place: usize,
    /// Its version of git: another one merges into another commit.
    pub(super) version: usize,
    /// How many steps it lives; none if it is not killed.
    pub(super) steps: Option<usize>,
    /// What the peers that were reached had when they were asked.
    pub(super) shown: Vec<(usize, Refs)>,
    /// Another name for a clone; each is used once.
    pub(super) names: &'a Cell<u32>,
}

impl Breath<'_> {
    fn step(&mut self) -> Result<(), Killed> {
        match &mut self.steps {
            Some(0) => return Err(Killed),
            Some(steps) => *steps -= 1,
            None => {}
        }
        Ok(())
    }

    fn renew(&mut self, disk: &mut Disk) {
        self.names.set(self.names.get() + 1);
        disk.identity = format!("{}.{:08x}", self.nodes[self.place], self.names.get());
    }

    /// Everything until the push. Returns the commits that are left out of its line.
    pub(super) fn move_on(&mut self, disk: &mut Disk) -> Result<Vec<String>, Killed> {
        self.gather(disk)?;
        self.advance(disk)
    }

    fn is_ancestor(&self, old: &str, new: &str) -> anyhow::Result<bool> {
        Ok(self.history.is_ancestor(old, new))
    }

    fn is_spent(&self, name: &str, commit: &str, refs: &Refs, identity: &str) -> bool {
        let spent = heads::is_spent(name, commit, refs, |old, new| self.is_ancestor(old, new));
        name != identity && spent.expect("no failure")
    }

    fn gather(&mut self, disk: &mut Disk) -> Result<(), Killed> {
        let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, commit) in self.shown.iter().flat_map(|(_, refs)| refs) {
            let values = shown.entry(name.clone()).or_default();
            if disk.refs.get(name) != Some(commit)
                && !values.contains(commit)
                && !self.is_spent(name, commit, &disk.refs, &disk.identity)
            {
                values.push(commit.clone());
            }
        }
        let local = disk.refs.clone();
        for (name, values) in shown.iter().filter(|(_, values)| !values.is_empty()) {
            let current = local.get(name).map(String::as_str);
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let settled = heads::settle(current, &values, |old, new| self.is_ancestor(old, new)).expect("no failure");
            if *name == disk.identity && (settled.value.as_deref() != current || !settled.forks.is_empty()) {
                self.renew(disk);
            }
            for fork in settled.forks {
                self.step()?;
                disk.refs.entry(heads::fork_name(name, &fork)).or_insert(fork);
            }
            self.step()?;
            disk.refs.extend(settled.value.map(|value| (name.clone(), value)));
        }
        Ok(())
    }

    fn heads(&self, disk: &Disk, commits: Vec<String>) -> Vec<Head> {
        let counts = |name: &str, value: &str| !self.is_spent(name, value, &disk.refs, &disk.identity);
        let head = |commit: String| {
            let contained = disk
                .refs
                .iter()
                .filter(|(name, value)| counts(name, value) && self.history.is_ancestor(value, &commit));
            let mut places: Vec<usize> =
                contained.filter_map(|(name, _)| heads::place(heads::owner(name)?, self.nodes)).collect();
            places.sort_unstable();
            places.dedup();
            Head { commit, places }
        };
        commits.into_iter().map(head).collect()
    }

    /// The commit to go to, what is left out, and whether a merge waits.
    fn follow(
        &self,
        heads: Vec<Head>,
        from: Option<&str>,
        (last, next): (&Quiet, &mut Option<Quiet>),
    ) -> Option<(String, Vec<String>, bool)> {
        let mut names: Vec<&str> = heads.iter().map(|head| &head.commit[..]).collect();
        names.sort_unstable();
        let key = names.join(" ");
        let merge = |ours: &str, theirs: &str| Ok(self.history.merge(self.version, ours, theirs));
        let contains = |head: &str| Ok(from.is_some_and(|from| self.history.is_ancestor(from, head)));
        let followed = heads::follow(heads, merge, contains).expect("no failure")?;
        let left_out: Vec<String> = followed.left_out.iter().map(|out| out.commit.clone()).collect();
        let members: Vec<&str> = followed.line.members.iter().map(String::as_str).collect();
        if let (Some(from), true) = (from, members.len() > 1) {
            let is_quiet = self.history.log(&members, &[from]).iter().all(|commit| commit.change.is_none());
            if is_quiet {
                let (may, quiet) = heads::may_merge(last, &key, self.place, self.nodes.len());
                *next = Some(quiet);
                if let Some(member) =
                    members.iter().find(|member| self.history.is_ancestor(from, member)).filter(|_| !may)
                {
                    return Some(((*member).to_owned(), left_out, true));
                }
            }
        }
        Some((followed.line.tip, left_out, false))
    }

    fn advance(&mut self, disk: &mut Disk) -> Result<Vec<String>, Killed> {
        let mut values: Vec<&str> = disk.refs.values().map(String::as_str).collect();
        let mut next = None;
        let own = disk.main.as_deref().map(|main| self.history.log(&[main], &values)).unwrap_or_default();
        let is_line = own.iter().all(|commit| commit.parents.len() == 1);
        let mut target = None;
        if let Some(first) = own.first().filter(|_| is_line) {
            target = self.replayed(disk, &own, first, &mut next);
        }
        if target.is_none() {
            values.extend(disk.main.as_deref());
            let heads = self.heads(disk, self.history.independent(&values));
            target = self.follow(heads, disk.main.as_deref(), (&disk.quiet, &mut next));
        }
        disk.quiet = next.unwrap_or_else(|| disk.quiet.clone());
        let Some((tip, left_out, is_waiting)) = target else { return Ok(Vec::new()) };
        self.step()?;
        disk.main = Some(tip.clone());
        self.step()?;
        if disk.refs.get(&disk.identity).is_some_and(|old| !self.history.is_ancestor(old, &tip)) {
            self.renew(disk);
        }
        disk.refs.insert(disk.identity.clone(), tip);
        if left_out.is_empty() && !is_waiting {
            let is_spent = |name: &str, value: &str| self.is_spent(name, value, &disk.refs, &disk.identity);
            let spent = disk.refs.iter().filter(|(name, value)| is_spent(name, value)).map(|(name, _)| name.clone());
            for name in spent.collect::<Vec<_>>() {
                self.step()?;
                disk.refs.remove(&name);
            }
        }
        Ok(left_out)
    }

    fn replayed(
        &self,
        disk: &Disk,
        own: &[Commit],
        first: &Commit,
        next: &mut Option<Quiet>,
    ) -> Option<(String, Vec<String>, bool)> {
        let base = self.history.name(first.parents[0]);
        let values: Vec<&str> = disk.refs.values().map(String::as_str).collect();
        let heads = self.heads(disk, self.history.independent(&values));
        let (tip, left_out, is_waiting) = self.follow(heads, Some(&base), (&disk.quiet, next))?;
        let onto = (tip != base).then(|| self.history.replay(own, &tip))??;
        Some((onto, left_out, is_waiting))
    }

    /// Pushes to those that were reached what they lack.
    pub(super) fn publish(&mut self, disks: &mut [Disk]) -> Result<(), Killed> {
        let own = disks[self.place].clone();
        for (peer, theirs) in std::mem::take(&mut self.shown) {
            for (name, commit) in &own.refs {
                let is_older = |old: &String| old != commit && self.history.is_ancestor(old, commit);
                if !theirs.get(name).is_none_or(is_older) || self.is_spent(name, commit, &own.refs, &own.identity) {
                    continue;
                }
                self.step()?;
                // As the peer's hook has it, by what is there now.
                let now = disks[peer].refs.get(name);
                if now.is_none_or(|now| self.history.is_ancestor(now, commit)) {
                    disks[peer].refs.insert(name.clone(), commit.clone());
                }
            }
        }
        Ok(())
    }
}
