//! The rounds of one breath in the mesh: gather what the others have, follow a line, offer, publish.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use xshell::cmd;

use super::engine::Engine;
use super::heads::{self, LeftOut};
use super::peers::{Contact, Refs};
use super::{MeshBreath, identity, peers, records};
use crate::clock::Deadline;
use crate::sync::outcome::{BreatheVerdict, SyncError, Transfer};
use crate::sync::refs::{self, RefUpdate};
use crate::sync::request::Manner;
use crate::sync::session::Progress;
use crate::sync::worktree::Worktree;
use crate::sync::{changed, checkout, transfer};

/// How often a round begins anew because the branch or a ref moved meanwhile.
const MAX_TRIES: u32 = 8;

/// One breath in a locked work tree.
pub(super) struct Session<'a> {
    pub(super) mesh: &'a MeshBreath<'a>,
    pub(super) worktree: &'a Worktree,
    pub(super) engine: Engine<'a>,
    pub(super) deadline: Deadline,
    pub(super) progress: &'a mut Progress,
    /// The name of this clone's ref.
    pub(super) id: String,
    /// For which heads it was asked in this breath whether a quiet merge may be made, and the answer. A breath
    /// is one round, however often it begins anew.
    pub(super) may_merge: RefCell<Option<(String, bool)>>,
}

/// What is known after a round.
#[derive(Default)]
pub(super) struct Standing {
    /// The branch; none if it has no commit.
    pub(super) main: Option<String>,
    pub(super) refs: Refs,
    pub(super) left_out: Vec<LeftOut>,
    /// Why the work tree could not be moved.
    pub(super) blocked: Option<SyncError>,
    /// Whether a merge that would bring nothing new waits.
    pub(super) is_waiting: bool,
}

impl Session<'_> {
    /// The refs of the mesh and the branch, as they are now.
    pub(super) fn read_refs(&self) -> Result<(Refs, Option<String>)> {
        let (git, branch) = (&self.worktree.git, &self.worktree.branch);
        let list = cmd!(git.shell(), "git for-each-ref --format=%(objectname)%09%(refname) refs/breath {branch}");
        let text = String::from_utf8_lossy(&git.read(list)?).into_owned();
        let (mut refs, mut main) = (Refs::new(), None);
        for (commit, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            if name == branch {
                main = Some(commit.to_owned());
            } else if let Some(name) = name.strip_prefix("refs/breath/").filter(|name| heads::owner(name).is_some()) {
                refs.insert(name.to_owned(), commit.to_owned());
            }
        }
        Ok((refs, main))
    }

    /// Fetches what the peers have and this node lacks, and keeps it in refs.
    pub(super) fn gather(&mut self, contacts: &mut [Contact<'_>]) -> Result<(), SyncError> {
        let (local, _) = self.read_refs()?;
        let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, commit) in contacts.iter().filter_map(|contact| contact.refs.as_ref()).flatten() {
            let values = shown.entry(name.clone()).or_default();
            if local.get(name) != Some(commit) && !values.contains(commit) {
                values.push(commit.clone());
            }
        }
        shown.retain(|_, values| !values.is_empty());
        self.pass_over_spent(&local, &mut shown)?;
        if shown.is_empty() {
            return Ok(());
        }
        self.fetch(contacts, &local, &shown)?;
        let all: Vec<&str> = shown.values().flatten().map(String::as_str).collect();
        let known: Vec<&str> = local.values().map(String::as_str).collect();
        let usable = self.complete(&all, &known)?;
        shown.values_mut().for_each(|values| values.retain(|value| usable.contains(value)));
        self.keep(&local, &shown)
    }

    /// Each commit is fetched from one peer that shows it.
    fn fetch(
        &mut self,
        contacts: &mut [Contact<'_>],
        local: &Refs,
        shown: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), SyncError> {
        let all: Vec<&str> = shown.values().flatten().map(String::as_str).collect();
        let known: Vec<&str> = local.values().map(String::as_str).collect();
        let mut here = self.complete(&all, &known)?;
        let mut wanted: Vec<Vec<String>> = vec![Vec::new(); contacts.len()];
        for (at, contact) in contacts.iter_mut().enumerate() {
            for (name, commit) in contact.refs.iter().flatten() {
                let is_shown = shown.get(name).is_some_and(|values| values.contains(commit));
                if is_shown && !here.contains(commit) {
                    here.push(commit.clone());
                    wanted[at].push(name.clone());
                    contact.report.received += 1;
                }
            }
        }
        if wanted.iter().all(Vec::is_empty) {
            return Ok(());
        }
        transfer::before_fetch(self.worktree)?;
        let transferred = peers::fetch(&self.worktree.git, contacts, &wanted, self.deadline);
        let is_clean = transferred.iter().all(|transferred| transferred.cause.is_none());
        for failed in transferred {
            if let Some(cause) = failed.cause {
                self.allow_more_time(&cause);
                contacts[failed.contact].report.received = 0;
                contacts[failed.contact].fail(cause);
            }
        }
        if is_clean {
            transfer::after_fetch(self.worktree)
        } else {
            transfer::remove_partial_packs(self.worktree)
        }
        Ok(())
    }

    /// What was too much for one breath may get through in the next. One in step takes it back.
    pub(super) fn allow_more_time(&self, cause: &str) {
        if cause == peers::TIMED_OUT && self.mesh.breath.manner == Manner::Patient {
            let _ = transfer::grow_time_limit(self.worktree, self.mesh.breath.timeout);
        }
    }

    /// Those commits that are here with all that they reach.
    fn complete(&self, commits: &[&str], known: &[&str]) -> Result<Vec<String>> {
        let present = self.engine.present(commits)?;
        let list: Vec<&str> = present.iter().map(String::as_str).collect();
        if list.is_empty() || self.engine.is_complete(&list, known)? {
            return Ok(present);
        }
        let mut complete = Vec::new();
        for commit in list {
            if self.engine.is_complete(&[commit], known)? {
                complete.push(commit.to_owned());
            }
        }
        Ok(complete)
    }

    /// Sets refs to the values that were shown, forward only; what contradicts is kept beside.
    pub(super) fn keep(&mut self, local: &Refs, shown: &BTreeMap<String, Vec<String>>) -> Result<(), SyncError> {
        for (name, values) in shown {
            let current = local.get(name).map(String::as_str);
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let settled = heads::settle(current, &values, |old, new| self.engine.is_ancestor(old, new))?;
            if *name == self.id && (settled.value.as_deref() != current || !settled.forks.is_empty()) {
                // Somebody else breathes under this name: a copy of this disk, or its future, where this
                // disk was restored.
                self.id = identity::renew(self.worktree, self.mesh.breath.node)?;
            }
            for fork in settled.forks {
                let name = heads::fork_name(name, &fork);
                if !local.contains_key(&name) {
                    self.set(&name, &fork, None)?;
                }
            }
            if let Some(value) = settled.value.filter(|value| Some(value.as_str()) != current) {
                self.set(name, &value, current)?;
            }
        }
        Ok(())
    }

    /// A ref that somebody pushes to at this moment is left to the next round.
    fn set(&self, name: &str, commit: &str, current: Option<&str>) -> Result<(), SyncError> {
        match refs::update(self.worktree, &format!("refs/breath/{name}"), commit, current) {
            Err(SyncError::Verdict(BreatheVerdict::Busy, ..)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Brings the branch to where it belongs, and offers it.
    pub(super) fn advance(&mut self) -> Result<Standing, SyncError> {
        // The other half is for the push.
        let half = self.deadline.left() / 2;
        for tries_left in (0..MAX_TRIES).rev() {
            let may_try_again = tries_left > 0 && self.deadline.left() > half;
            let (refs, main) = self.read_refs()?;
            if let Some(settled) =
                main.as_ref().filter(|main| records::is_settled(self.worktree, &refs, main, &self.id))
            {
                return Ok(Standing { main: Some(settled.clone()), refs, ..Standing::default() });
            }
            let target = self.destination(&refs, main.as_deref())?;
            let mut standing =
                Standing { left_out: target.left_out, is_waiting: target.is_waiting, ..Standing::default() };
            standing.main = match (&target.commit, &main) {
                (Some(commit), _) if target.commit != main => {
                    let moved = changed::moving(self.worktree, main.as_deref(), || {
                        checkout::checkout(self.worktree, main.as_deref(), commit)
                    });
                    match moved {
                        Ok(true) => {
                            self.note_inhale(main.as_deref(), commit, target.replayed)?;
                            Some(commit.clone())
                        }
                        Ok(false) if may_try_again => continue,
                        // Somebody commits faster than the tree can be moved: what is here goes out all the same.
                        Ok(false) => {
                            standing.blocked = Some(self.raced());
                            main
                        }
                        Err(error) => {
                            standing.blocked = Some(error);
                            main
                        }
                    }
                }
                _ => main,
            };
            let Some(offered) = standing.main.clone() else { return Ok(Standing { refs, ..standing }) };
            match self.offer(&refs, &offered)? {
                Some(refs) => standing.refs = refs,
                None => continue,
            }
            if standing.left_out.is_empty() && standing.blocked.is_none() && !standing.is_waiting {
                self.remove_spent(&mut standing.refs)?;
                records::settle(self.worktree, &standing.refs, &offered, &self.id);
            }
            return Ok(standing);
        }
        Err(self.raced())
    }

    fn raced(&self) -> SyncError {
        let reason = format!("{} moved at every try; nothing is lost", self.mesh.breath.branch);
        SyncError::Verdict(BreatheVerdict::Raced, reason, Vec::new())
    }

    /// Moves this clone's ref to the branch, before anything is pushed: an acknowledgement that is lost
    /// counts as offered. None if something moved at the same time.
    fn offer(&mut self, refs: &Refs, main: &str) -> Result<Option<Refs>, SyncError> {
        let mut refs = refs.clone();
        let mut own = refs.get(&self.id).cloned();
        if own.as_deref() == Some(main) {
            return Ok(Some(refs));
        }
        if let Some(old) = &own
            && !self.engine.is_ancestor(old, main)?
        {
            self.id = identity::renew(self.worktree, self.mesh.breath.node)?;
            own = None;
        }
        match refs::update(self.worktree, &format!("refs/breath/{}", self.id), main, own.as_deref())? {
            RefUpdate::Moved => Ok(None),
            RefUpdate::Done => {
                let known: Vec<&str> = refs.values().map(String::as_str).collect();
                let commits = self.engine.log(&[main], &known)?.len();
                let before = self.progress.exhale.take();
                let from = before.as_ref().map_or(own, |before| before.from.clone());
                let commits = before.map_or(0, |before| before.commits) + commits as u64;
                if commits > 0 {
                    self.progress.exhale = Some(Transfer { from, to: Some(main.to_owned()), commits });
                }
                refs.insert(self.id.clone(), main.to_owned());
                Ok(Some(refs))
            }
        }
    }

    fn note_inhale(&mut self, from: Option<&str>, to: &str, replayed: usize) -> Result<()> {
        let without: Vec<&str> = from.into_iter().collect();
        let commits = self.engine.log(&[to], &without)?.len().saturating_sub(replayed) as u64;
        let before = self.progress.inhale.take();
        self.progress.inhale = Some(Transfer {
            commits: commits + before.as_ref().map_or(0, |before| before.commits),
            from: before.map_or(from.map(str::to_owned), |before| before.from),
            to: Some(to.to_owned()),
        });
        Ok(())
    }
}
