//! Reads refs: one list of the remote, and one fetch of those that moved.

use std::collections::HashMap;

use xshell::cmd;

use super::{GitStore, cache, failed, objects};
use crate::clock::Deadline;
use crate::exec::Ended;
use crate::git::{LOCAL_TIMEOUT, is_object_id};
use crate::register::{ReadOutcome, StoreError};

/// A ref that is read: its place among the questions, and its name.
type Asked<'a> = (usize, &'a str);
/// A ref that could not be read.
type Unread = (usize, StoreError);

impl GitStore {
    /// What these refs hold. Where the local repository is damaged, it is created anew, and what could not
    /// be read is read again.
    pub(super) fn read_refs(&self, references: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome)) {
        let mut unread = self.read_twice(&references.iter().copied().enumerate().collect::<Vec<_>>(), deadline, tell);
        if !unread.is_empty() && !deadline.has_passed() && self.is_damaged() {
            match cache::move_aside(&self.cache).and_then(|()| cache::create(&self.cache)) {
                Ok(()) => {
                    self.found().clear();
                    unread = self.read_twice(&again(references, &unread), deadline, tell);
                }
                Err(error) => {
                    let error = StoreError::Failed(format!("{}: {error:#}", self.cache.display()));
                    unread.iter_mut().for_each(|(_, why)| *why = error.clone());
                }
            }
        }
        unread.into_iter().for_each(|(index, error)| tell(index, Err(error)));
    }

    /// A ref may move between the list and the fetch, so one that could not be fetched is read once more.
    /// Returns what could not be read.
    fn read_twice(
        &self,
        asked: &[Asked<'_>],
        deadline: Deadline,
        tell: &mut dyn FnMut(usize, ReadOutcome),
    ) -> Vec<Unread> {
        let all =
            |error: StoreError, asked: &[Asked<'_>]| asked.iter().map(|(index, _)| (*index, error.clone())).collect();
        match self.read_once(asked, deadline, tell) {
            Ok(unread) if unread.is_empty() || deadline.has_passed() => unread,
            Ok(unread) => {
                let is_unread = |(index, _): &&Asked<'_>| unread.iter().any(|(unread, _)| unread == index);
                let asked: Vec<Asked<'_>> = asked.iter().filter(is_unread).copied().collect();
                self.read_once(&asked, deadline, tell).unwrap_or_else(|error| all(error, &asked))
            }
            Err(error) => all(error, asked),
        }
    }

    /// Tells what is known already before it fetches the rest. Returns what could not be read.
    fn read_once(
        &self,
        asked: &[Asked<'_>],
        deadline: Deadline,
        tell: &mut dyn FnMut(usize, ReadOutcome),
    ) -> Result<Vec<Unread>, StoreError> {
        let tips = self.remote_tips(&asked.iter().map(|(_, reference)| *reference).collect::<Vec<_>>(), deadline)?;
        let mut moved: Vec<(Asked<'_>, &str)> = Vec::new();
        for (index, reference) in asked {
            match tips.get(*reference) {
                None => tell(*index, Ok(None)),
                Some(id) => match self.is_last(reference, id) {
                    Some(last) => tell(*index, Ok(Some(last))),
                    None => moved.push(((*index, reference), id)),
                },
            }
        }
        let moved = self.tell_cached(moved, tell)?;
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let fetched = self.fetch(&moved.iter().map(|((_, reference), _)| *reference).collect::<Vec<_>>(), deadline);
        let missing = |reference| StoreError::Failed(format!("{reference} moved while it was fetched"));
        let why = |reference| fetched.clone().err().unwrap_or_else(|| missing(reference));
        let unread = self.tell_cached(moved, tell)?;
        Ok(unread.into_iter().map(|((index, reference), _)| (index, why(reference))).collect())
    }

    /// Tells the texts that the local repository has, and returns the others.
    fn tell_cached<'a>(
        &self,
        mut moved: Vec<(Asked<'a>, &'a str)>,
        tell: &mut dyn FnMut(usize, ReadOutcome),
    ) -> Result<Vec<(Asked<'a>, &'a str)>, StoreError> {
        let ids: Vec<&str> = moved.iter().map(|(_, id)| *id).collect();
        let known = objects::cached(&self.git, &ids).map_err(|error| failed(&error))?;
        moved.retain(|((index, reference), id)| {
            let Some(object) = known.get(*id) else { return true };
            let found = self.text(reference, id, object);
            if let Ok(found) = &found {
                self.remember(reference, found);
            }
            tell(*index, found.map(Some));
            false
        });
        Ok(moved)
    }

    /// Whether the cache is damaged, as after a power loss. Only a definite answer of `git fsck`
    /// counts.
    fn is_damaged(&self) -> bool {
        let fsck = cmd!(self.git.shell(), "git fsck --no-dangling --no-progress --no-reflogs");
        let checked = self.git.run_remote(fsck, Deadline::after(LOCAL_TIMEOUT));
        checked.is_ok_and(|checked| matches!(checked.ended, Ended::Exited(status) if status != 0))
    }

    /// The objects that these refs name on the remote; a ref that is not there has none.
    fn remote_tips(&self, references: &[&str], deadline: Deadline) -> Result<HashMap<String, String>, StoreError> {
        let Self { remote, .. } = self;
        let listed =
            self.run_remote(cmd!(self.git.shell(), "git ls-remote --quiet -- {remote} {references...}"), deadline)?;
        if !listed.success() {
            return Err(self.fault("ls-remote", &listed));
        }
        if listed.cut {
            return Err(StoreError::Failed(format!("git ls-remote {remote}: too long a list")));
        }
        // A pattern also matches other refs that end with the same path.
        let text = String::from_utf8_lossy(&listed.stdout);
        let mut tips = HashMap::new();
        for (id, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            if !references.contains(&name) {
                continue;
            }
            if !is_object_id(id) {
                return Err(StoreError::Failed(format!("git ls-remote {remote} printed {id:?} instead of a commit")));
            }
            tips.insert(name.to_owned(), id.to_owned());
        }
        Ok(tips)
    }

    /// Fetches these refs. One that is gone makes git fetch none, so each is then fetched by itself.
    pub(super) fn fetch(&self, references: &[&str], deadline: Deadline) -> Result<(), StoreError> {
        let fetched = self.fetch_at_once(references, deadline);
        if fetched.is_ok() || references.len() < 2 || deadline.has_passed() {
            return fetched;
        }
        let alone = references.iter().map(|reference| self.fetch_at_once(&[reference], deadline));
        alone.fold(Ok(()), Result::and)
    }

    fn fetch_at_once(&self, references: &[&str], deadline: Deadline) -> Result<(), StoreError> {
        let Self { remote, .. } = self;
        let keep: Vec<String> = references.iter().map(|reference| format!("+{reference}:{reference}")).collect();
        let fetch = cmd!(
            self.git.shell(),
            "git fetch --quiet --no-tags --no-write-fetch-head --no-auto-maintenance -- {remote} {keep...}"
        );
        let fetched = self.run_remote(fetch, deadline)?;
        if fetched.success() { Ok(()) } else { Err(self.fault("fetch", &fetched)) }
    }
}

fn again<'a>(references: &[&'a str], unread: &[Unread]) -> Vec<Asked<'a>> {
    unread.iter().map(|(index, _)| (*index, references[*index])).collect()
}
