//! Breathing with the other nodes, without an origin.
//!
//! Every node publishes its branch as `refs/breath/NODE.LIFE` in every other node's clone, and fetches what
//! the others have there, so that each one passes on what it knows of all. mirror-mesh(7) gives the rules.
//!
//! ```text
//!  ask all peers ─ fetch what is new ─ choose a line ─ move the work tree ─ offer ─ push to all peers
//! ```
//!
//! What is decided is in [`heads`], as functions of values. What moves the work tree is the engine of every
//! breath ([`super::checkout`]). Only commits that were never offered are rewritten: no other node has them.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::outcome::SyncError;
use super::request::{Breath, Manner};
use super::session::Progress;
use super::worktree::Worktree;
use super::{BreathOutcome, autocommit, preflight, recover, remote, transfer};
use crate::clock::Deadline;

mod choose;
mod conclude;
mod engine;
mod heads;
mod identity;
mod init;
mod lives;
mod merge;
#[cfg(test)]
mod model;
mod origin;
mod peers;
mod publish;
mod records;
mod replay;
mod round;
mod settings;
mod tidy;

pub use init::Hook;
pub use peers::{Ask, Peer, PeerReport, PeerState, ask_command};
pub use settings::missing_settings;

use engine::Engine;
use peers::Contact;
use round::{Session, Standing};

/// How often a round is repeated because somebody else pushed first.
const MAX_ROUNDS: u32 = 3;
/// A peer has this many times as long for its answer as a probe.
const ANSWER_FACTOR: u32 = 4;
/// A silent peer is waited for with this part of the time, where others have answered.
const SILENCE_DIVISOR: u32 = 8;
/// For so long a silent peer is waited for before a start, where others have answered.
const MAX_WAIT_BEFORE_START: Duration = Duration::from_millis(50);

/// What a breath of the mesh keeps in step, and with which nodes.
#[derive(Clone, Copy, Debug)]
pub struct MeshBreath<'a> {
    /// The clone. Its `remote` is one more peer; none if it is empty.
    pub breath: Breath<'a>,
    /// The other nodes.
    pub peers: &'a [Peer],
    /// All nodes, in an order that is the same everywhere.
    pub nodes: &'a [&'a str],
    /// How long a peer that is alive may be waited for while others have answered.
    pub patience: Duration,
}

/// What a breath of the mesh reports beside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MeshFacts {
    /// What it came to with each other node; empty without `peers`.
    pub peers: Vec<PeerReport>,
    /// How many other nodes that were reached hold the branch as it is here; null without `peers`.
    pub copies: Option<u64>,
    /// The lines of commits that contradict this node's; empty if there are none.
    pub conflicts: Vec<Conflict>,
}

/// A line of commits that contradicts this node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conflict {
    /// The node whose commit it is.
    pub owner: String,
    /// The ref under which it is here, in full.
    pub reference: String,
    /// The commit, in full.
    pub commit: String,
    /// The files in which the two contradict each other; none if they have no commit in common.
    pub files: Vec<String>,
}

impl MeshBreath<'_> {
    /// Breathes once, and runs the command `changed` if the inhale brought something.
    ///
    /// # Errors
    /// As for [`Breath::breathe`].
    pub fn breathe_and_run(&self, changed: Option<&str>) -> Result<BreathOutcome> {
        super::conduct(&self.breath, changed, |worktree, progress| self.run(worktree, progress), false)
    }

    fn run(&self, worktree: &mut Worktree, progress: &mut Progress) -> Result<String, SyncError> {
        let breath = &self.breath;
        let prompt = Deadline::after(breath.timeout);
        match breath.manner {
            // The breath that runs may have what the start waits for, in refs, and not yet in the files.
            Manner::InhaleOnly => worktree.lock_waiting(Deadline::after(breath.timeout * 3 / 4))?,
            Manner::Patient | Manner::Prompt => worktree.lock()?,
        }
        // A clone that breathed with an origin alone becomes one of the mesh.
        if !missing_settings(&worktree.git).is_empty() {
            self.adopt(&worktree.git)?;
        }
        if worktree.git.common().join("shallow").metadata().is_ok_and(|meta| meta.len() > 0) {
            return Err(SyncError::refused("this clone is shallow; complete it with `git fetch --unshallow REMOTE`"));
        }
        let deadline = match breath.manner {
            Manner::Patient => Deadline::after(transfer::time_limit(worktree, breath.timeout)),
            Manner::Prompt | Manner::InhaleOnly => prompt,
        };
        tidy::remove_old_ref_locks(worktree);
        let fetched = remote::fetched_ref(breath.remote, &worktree.branch);
        let own_refs: &[&str] = if breath.remote.is_empty() { &[] } else { &[&fetched] };
        recover::recover(worktree, own_refs)?;
        transfer::remove_partial_packs(worktree);
        preflight::check(worktree)?;
        if breath.commit {
            progress.left_out = autocommit::commit(worktree, breath.node)?;
        }
        let id = identity::of(worktree, breath.node)?;
        let engine = Engine::open(&worktree.git)?;
        let mut session =
            Session { mesh: self, worktree, engine, deadline, progress, id, may_merge: RefCell::default() };
        session.run()
    }
}

impl Session<'_> {
    fn run(&mut self) -> Result<String, SyncError> {
        // The answers leave the most of the time to what is transferred then.
        let all = self.deadline.left();
        let answer = Deadline::after((self.mesh.patience * ANSWER_FACTOR).min(all / 2));
        let patience = match self.mesh.breath.manner {
            // A start waits for it, and the node that fell says nothing.
            Manner::InhaleOnly => self.mesh.patience.min(MAX_WAIT_BEFORE_START),
            Manner::Patient | Manner::Prompt => self.mesh.patience.min(all / SILENCE_DIVISOR),
        };
        let mut contacts = peers::ask_all(self.mesh.peers, patience, answer);
        let mut standing = self.exchange(&mut contacts)?;
        for _ in 1..MAX_ROUNDS {
            let raced =
                contacts.iter_mut().filter(|contact| contact.report.cause.as_deref().is_some_and(remote::is_race));
            let raced: Vec<&mut Contact<'_>> = raced.collect();
            if raced.is_empty() || self.deadline.has_passed() {
                break;
            }
            for contact in raced {
                contact.ask_again(self.deadline);
            }
            standing = self.exchange(&mut contacts)?;
        }
        let mut reports: Vec<PeerReport> = contacts.iter().map(|contact| contact.report.clone()).collect();
        if !self.mesh.breath.remote.is_empty() {
            let (after, report) = self.with_origin(standing, &mut contacts)?;
            standing = after;
            for (report, contact) in reports.iter_mut().zip(&contacts) {
                report.clone_from(&contact.report);
            }
            reports.push(report);
        }
        self.conclude(standing, &contacts, reports)
    }

    /// Everything between the answers of the peers and the last push to them.
    fn exchange(&mut self, contacts: &mut [Contact<'_>]) -> Result<Standing, SyncError> {
        self.gather(contacts)?;
        let standing = self.advance()?;
        if self.mesh.breath.manner != Manner::InhaleOnly {
            self.publish(contacts, &standing.refs)?;
        }
        Ok(standing)
    }
}

impl Contact<'_> {
    fn ask_again(&mut self, deadline: Deadline) {
        self.report.cause = None;
        self.report.state = PeerState::InStep;
        match (self.peer.ask)(deadline) {
            Ok(text) => self.refs = Some(peers::parse(&text)),
            Err(cause) => {
                self.refs = None;
                self.fail(cause);
            }
        }
    }
}
