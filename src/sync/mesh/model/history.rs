//! A model of git's history: commits that change one thing each, and merges of them.
//!
//! A change is to a file of its own and contradicts nothing, or it is to the one file that all write. Two changes of
//! that file contradict each other unless one was made with knowledge of the other.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::super::heads::Merged;

/// A commit.
#[derive(Clone)]
pub(super) struct Commit {
    pub(super) name: String,
    pub(super) parents: Vec<usize>,
    /// All that it contains, itself too.
    pub(super) reach: Rc<BTreeSet<usize>>,
    /// What a person or the service changed; none in an automatic merge.
    pub(super) change: Option<u32>,
    /// Whether that is in the file that all write.
    pub(super) is_shared: bool,
}

/// What a commit's name follows from: its parents, its change, and the version of git that merged.
type Made = (Vec<usize>, Option<u32>, usize);

/// All commits that were ever made.
#[derive(Default)]
pub(super) struct History {
    commits: RefCell<Vec<Commit>>,
    numbers: RefCell<HashMap<String, usize>>,
    made: RefCell<HashMap<Made, usize>>,
}

impl History {
    /// Makes a commit. The same change on the same parents is the same commit on every node.
    pub(super) fn commit(&self, parents: &[&str], change: Option<u32>, is_shared: bool) -> String {
        self.commit_by(0, parents, change, is_shared)
    }

    fn commit_by(&self, version: usize, parents: &[&str], change: Option<u32>, is_shared: bool) -> String {
        let parents: Vec<usize> = parents.iter().map(|name| self.number(name)).collect();
        let key = (parents.clone(), change, version);
        if let Some(number) = self.made.borrow().get(&key) {
            return self.commits.borrow()[*number].name.clone();
        }
        let number = self.commits.borrow().len();
        let mut reach: BTreeSet<usize> =
            parents.iter().flat_map(|parent| self.commits.borrow()[*parent].reach.as_ref().clone()).collect();
        reach.insert(number);
        // In no order of time, as git's names.
        let name = format!("{:08x}", u32::try_from(number).unwrap_or(0).wrapping_mul(0x9E37_79B1));
        let commit = Commit { name: name.clone(), parents, reach: Rc::new(reach), change, is_shared };
        self.commits.borrow_mut().push(commit);
        self.numbers.borrow_mut().insert(name.clone(), number);
        self.made.borrow_mut().insert(key, number);
        name
    }

    pub(super) fn name(&self, number: usize) -> String {
        self.commits.borrow()[number].name.clone()
    }

    fn number(&self, name: &str) -> usize {
        self.numbers.borrow()[name]
    }

    fn get(&self, name: &str) -> Commit {
        self.commits.borrow()[self.number(name)].clone()
    }

    /// Whether `new` contains `old`.
    pub(super) fn is_ancestor(&self, old: &str, new: &str) -> bool {
        self.get(new).reach.contains(&self.number(old))
    }

    /// Those that no other one contains.
    pub(super) fn independent(&self, commits: &[&str]) -> Vec<String> {
        let names: BTreeSet<&str> = commits.iter().copied().collect();
        let is_contained = |name: &str| names.iter().any(|other| *other != name && self.is_ancestor(name, other));
        names.iter().filter(|name| !is_contained(name)).map(|name| (*name).to_owned()).collect()
    }

    /// The commits that `wanted` have and `without` lack, oldest first.
    pub(super) fn log(&self, wanted: &[&str], without: &[&str]) -> Vec<Commit> {
        let reach = |names: &[&str]| -> BTreeSet<usize> {
            names.iter().flat_map(|name| self.get(name).reach.as_ref().clone()).collect()
        };
        reach(wanted).difference(&reach(without)).map(|number| self.commits.borrow()[*number].clone()).collect()
    }

    /// The changes that these commits contain, one for each commit that makes it.
    pub(super) fn changes(&self, commits: &[&str]) -> Vec<u32> {
        self.log(commits, &[]).iter().filter_map(|commit| commit.change).collect()
    }

    /// Whether all changes of the one file that all write know of each other.
    fn agree(&self, commits: &[Commit]) -> bool {
        let writers: Vec<&Commit> = commits.iter().filter(|commit| commit.is_shared).collect();
        let is_known = |writer: &Commit| {
            let number = self.number(&writer.name);
            writers.iter().any(|other| other.name != writer.name && other.reach.contains(&number))
        };
        writers.iter().filter(|writer| !is_known(writer)).count() < 2
    }

    /// Merges two commits, by a version of git.
    pub(super) fn merge(&self, version: usize, ours: &str, theirs: &str) -> Merged {
        if self.get(ours).reach.is_disjoint(&self.get(theirs).reach) {
            return Merged::Conflict(Vec::new());
        }
        match self.agree(&self.log(&[ours, theirs], &[])) {
            true => Merged::Clean(self.commit_by(version, &[ours, theirs], None, false)),
            false => Merged::Conflict(vec!["shared".to_owned()]),
        }
    }

    /// Replays commits, oldest first, onto another one. None if they contradict what is there.
    pub(super) fn replay(&self, commits: &[Commit], onto: &str) -> Option<String> {
        let mut tip = onto.to_owned();
        for commit in commits {
            if commit.is_shared && !self.agree(&self.log(&[&commit.name, &tip], &[])) {
                return None;
            }
            tip = self.commit(&[&tip], commit.change, commit.is_shared);
        }
        Some(tip)
    }
}
