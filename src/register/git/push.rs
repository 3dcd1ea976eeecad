//! Writes refs: one push, whose outcome is told for each ref.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use xshell::cmd;

use super::{GitStore, failed, objects};
use crate::clock::Deadline;
use crate::exec::{Ended, Finished};
use crate::register::{CasOutcome, StoreError, Swap, Version, VersionedText};

fn unknown(error: &StoreError) -> Pushed {
    Pushed::Unknown(error.clone())
}

/// What became of one ref in a push.
#[derive(Debug)]
enum Pushed {
    Done(Version),
    /// Certainly not done; why.
    Refused(String),
    /// It may have been done.
    Unknown(StoreError),
}

impl GitStore {
    /// Carries out the swaps; the name of each is a full ref.
    pub(super) fn swap_refs(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome)) {
        let mut refused = Vec::new();
        for (index, pushed) in self.push(swaps, deadline).into_iter().enumerate() {
            match pushed {
                Pushed::Done(version) => tell(index, CasOutcome::Won(version)),
                Pushed::Unknown(error) => tell(index, CasOutcome::Unknown(error)),
                Pushed::Refused(why) => refused.push((index, why)),
            }
        }
        if refused.is_empty() {
            return;
        }
        let mut again = Vec::new();
        let references: Vec<&str> = refused.iter().map(|(index, _)| swaps[*index].name).collect();
        self.read_refs(&references, deadline, &mut |nth, found| {
            let (index, why) = &refused[nth];
            match found {
                Ok(found) if found.as_ref().map(|found| &found.version) != swaps[*index].expected => {
                    tell(*index, CasOutcome::Lost(found));
                }
                // Another push holds the lock on the remote's ref and has not moved it yet; or the remote
                // declined the whole push for the sake of one ref.
                Ok(_) if (why.contains("lock") || swaps.len() > 1) && !deadline.has_passed() => again.push(*index),
                Ok(_) => {
                    let why = format!("git push {}: refused: {why}", self.remote);
                    tell(*index, CasOutcome::Unknown(StoreError::Failed(why)));
                }
                Err(error) => tell(*index, CasOutcome::Unknown(error)),
            }
        });
        for index in again {
            self.swap_refs(&[swaps[index]], deadline, &mut |_, outcome| tell(index, outcome));
        }
    }

    fn push(&self, swaps: &[Swap<'_>], deadline: Deadline) -> Vec<Pushed> {
        let mut without_parent = match self.without_parent(swaps, deadline) {
            Ok(without) => without,
            Err(error) => return swaps.iter().map(|_| unknown(&error)).collect(),
        };
        let ready: Vec<Swap<'_>> = swaps
            .iter()
            .enumerate()
            .filter(|(index, _)| !without_parent.contains_key(index))
            .map(|(_, swap)| *swap)
            .collect();
        let mut pushed = self.push_at_once(&ready, deadline).into_iter();
        let outcome = |index| without_parent.remove(&index).or_else(|| pushed.next());
        (0..swaps.len()).filter_map(outcome).collect()
    }

    /// The swaps whose old commit is to be had neither here nor on the remote, and what that means: git
    /// pushes a commit only if the local repository has its parent too.
    fn without_parent(&self, swaps: &[Swap<'_>], deadline: Deadline) -> Result<HashMap<usize, Pushed>, StoreError> {
        let parent = |(index, swap): (usize, &Swap<'_>)| Some((index, swap.name.to_owned(), swap.expected?.0.clone()));
        let is_new = |(_, reference, id): &(usize, String, String)| self.is_last(reference, id).is_none();
        let mut missing: Vec<_> = swaps.iter().enumerate().filter_map(parent).filter(is_new).collect();
        let mut fetched = Ok(());
        for may_fetch in [true, false] {
            let ids: Vec<&str> = missing.iter().map(|(_, _, id)| id.as_str()).collect();
            let known = objects::cached(&self.git, &ids).map_err(|error| failed(&error))?;
            missing.retain(|(_, _, id)| !known.contains_key(id));
            if missing.is_empty() || !may_fetch {
                break;
            }
            let references: Vec<&str> = missing.iter().map(|(_, reference, _)| reference.as_str()).collect();
            fetched = self.fetch(&references, deadline);
        }
        let gone = || Pushed::Refused("the value to be replaced is no longer on the remote".to_owned());
        let why = |_: &()| gone();
        Ok(missing.into_iter().map(|(index, ..)| (index, fetched.as_ref().map_or_else(unknown, why))).collect())
    }

    fn push_at_once(&self, swaps: &[Swap<'_>], deadline: Deadline) -> Vec<Pushed> {
        if swaps.is_empty() {
            return Vec::new();
        }
        let all_unknown = |error: StoreError| swaps.iter().map(|_| unknown(&error)).collect();
        let ids = match self.write(swaps) {
            Ok(ids) => ids,
            Err(error) => return all_unknown(failed(&error)),
        };
        let lease = |swap: &Swap<'_>| {
            let old = swap.expected.map_or("", |Version(id)| id);
            format!("--force-with-lease={}:{old}", swap.name)
        };
        let leases: Vec<String> = swaps.iter().map(lease).collect();
        let to: Vec<String> = swaps.iter().zip(&ids).map(|(swap, id)| format!("{id}:{}", swap.name)).collect();
        let (remote, all) = (&self.remote, &to);
        let push = cmd!(
            self.git.shell(),
            "git push --porcelain --no-verify --no-follow-tags {leases...} -- {remote} {all...}"
        );
        let pushed = match self.run_remote(push, deadline) {
            Ok(pushed) => pushed,
            Err(error) => return all_unknown(error),
        };
        let report = String::from_utf8_lossy(&pushed.stdout);
        let outcome = |(swap, (id, to)): (&Swap<'_>, (String, &String))| {
            let outcome = self.outcome(&report, to, id, &pushed);
            if let Pushed::Done(version) = &outcome {
                let written = VersionedText { version: version.clone(), value: swap.new.text.to_owned() };
                self.remember(swap.name, &written);
            }
            outcome
        };
        swaps.iter().zip(ids.into_iter().zip(&to)).map(outcome).collect()
    }

    /// What the report says of one ref.
    fn outcome(&self, report: &str, to: &str, id: String, pushed: &Finished) -> Pushed {
        let lines = || report.lines().filter_map(|line| line.split_once('\t'));
        let line = lines().find(|(_, line)| line.split('\t').next() == Some(to));
        // git ends with 1 when any ref was refused.
        let is_told_apart =
            pushed.success() || pushed.ended == Ended::Exited(1) && !pushed.cut && lines().any(|(flag, _)| flag == "!");
        match line {
            // Rejected by git or by the remote before the ref changed. After a remote failure, the ref
            // may have changed all the same.
            Some(("!", why)) if !why.contains("[remote failure]") => {
                Pushed::Refused(why.rsplit('\t').next().unwrap_or(why).to_owned())
            }
            Some((" " | "*" | "=" | "+", _)) if is_told_apart => Pushed::Done(Version(id)),
            _ => Pushed::Unknown(self.fault("push", pushed)),
        }
    }

    fn write(&self, swaps: &[Swap<'_>]) -> Result<Vec<String>> {
        let tree = self.git.line(cmd!(self.git.shell(), "git hash-object -w -t tree --stdin"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let by = format!("{} <mirror> {now} +0000", self.by);
        let commit = |swap: &Swap<'_>| {
            let parent = swap.expected.map(|Version(id)| format!("parent {id}\n")).unwrap_or_default();
            let (summary, text) = (swap.new.summary, swap.new.text);
            format!("tree {tree}\n{parent}author {by}\ncommitter {by}\n\n{summary}\n\n{text}\n").into_bytes()
        };
        self.git.write_commits(&swaps.iter().map(commit).collect::<Vec<_>>())
    }
}
