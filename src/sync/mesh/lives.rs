//! Refs of former lives: of clones that were wiped, of copied disks, of values that once contradicted others.
//! One that another ref of the same owner contains is spent. It counts for nothing, is neither taken from
//! peers nor given to them, and is removed, so that refs do not grow with the lives of the nodes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use xshell::cmd;

use super::heads;
use super::peers::Refs;
use super::round::Session;

impl Session<'_> {
    /// The names of those that are here. It asks git nothing while every owner has one ref.
    pub(super) fn spent(&self, refs: &Refs) -> Result<BTreeSet<String>> {
        let mut spent = BTreeSet::new();
        for (name, commit) in refs.iter().filter(|(name, _)| **name != self.id) {
            if heads::is_spent(name, commit, refs, |old, new| self.engine.is_ancestor(old, new))? {
                spent.insert(name.clone());
            }
        }
        Ok(spent)
    }

    /// Takes away from what peers show what is spent here.
    pub(super) fn pass_over_spent(&self, local: &Refs, shown: &mut BTreeMap<String, Vec<String>>) -> Result<()> {
        let is_candidate = |name: &str| name != self.id && heads::has_other_life(name, local);
        let candidates = shown.iter().filter(|(name, _)| is_candidate(name)).flat_map(|(_, values)| values);
        let candidates: Vec<&str> = candidates.map(String::as_str).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        // What is not here is contained in nothing that is.
        for commit in self.engine.present(&candidates)? {
            for (name, values) in shown.iter().filter(|(name, _)| is_candidate(name)) {
                if values.contains(&commit)
                    && heads::is_spent(name, &commit, local, |old, new| self.engine.is_ancestor(old, new))?
                {
                    left.push((name.clone(), commit.clone()));
                }
            }
        }
        for (name, commit) in left {
            shown.entry(name).or_default().retain(|value| *value != commit);
        }
        shown.retain(|_, values| !values.is_empty());
        Ok(())
    }

    /// Removes the refs that are spent. One that a peer is just pushing to stays.
    pub(super) fn remove_spent(&self, refs: &mut Refs) -> Result<()> {
        let git = &self.worktree.git;
        for name in self.spent(refs)? {
            let (full, commit) = (format!("refs/breath/{name}"), &refs[&name]);
            if git.run(cmd!(git.shell(), "git update-ref -d {full} {commit}"), b"")?.success() {
                refs.remove(&name);
            }
        }
        Ok(())
    }
}
