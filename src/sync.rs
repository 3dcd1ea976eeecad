//! One breath: an inhale (fetch, then fast-forward or rebase) and an exhale (push).
//!
//! A breath loses nothing and leaves a work tree that the next breath can use, whenever it is killed.
//! Therefore everything that can be computed is computed on git objects alone, where nothing is ever
//! overwritten ([`replay`]). The work tree moves once, from one commit to another, under a journal
//! entry ([`checkout`]). Every breath begins by finishing or undoing what the journal says
//! ([`recover`]).

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use crate::git::{Git, UnusableRepository};

mod add;
mod autocommit;
mod changed;
mod checkout;
mod commit;
mod diagnosis;
mod diff;
mod fast_replay;
mod index;
mod journal;
mod merged_tree;
mod mesh;
mod names;
mod outcome;
mod park;
mod preflight;
mod recover;
mod refs;
mod remote;
mod replay;
mod request;
mod restore;
mod session;
mod staging;
mod status;
mod submodule;
mod transfer;
mod worktree;

pub use changed::{Changed, ChangedOutcome};
pub use mesh::{
    Ask, Conflict, Hook, MeshBreath, MeshFacts, Peer, PeerReport, PeerState, ask_command, missing_settings,
};
pub use outcome::{BreathOutcome, BreatheVerdict, Parked, Transfer};
pub use remote::fetched_ref;
pub use request::{Breath, Manner};

use outcome::SyncError;
use session::{Progress, Session};
use worktree::{Worktree, display_paths};

/// A breath repeats at most this often because another one was wanted meanwhile.
const MAX_REPEATS: u32 = 8;

impl Breath<'_> {
    /// Breathes once.
    ///
    /// # Errors
    /// When the request is invalid: no such repository or remote, or an invalid branch name.
    /// Everything else is a [`BreatheVerdict`].
    pub fn breathe(&self) -> Result<BreathOutcome> {
        self.breathe_and_run(None)
    }

    /// Breathes once, and runs the command `changed` if the inhale brought something.
    ///
    /// # Errors
    /// As for [`breathe`](Self::breathe).
    pub fn breathe_and_run(&self, changed: Option<&str>) -> Result<BreathOutcome> {
        names::check_remote(self.remote)?;
        conduct(
            self,
            changed,
            |worktree, progress| {
                worktree.lock()?;
                Session::new(self, worktree, progress).run()
            },
            true,
        )
    }

    /// An error is an invalid request.
    fn open(&self, needs_remote: bool) -> Result<Opened> {
        names::check_branch(self.branch)?;
        let mut git = match Git::open(self.repo) {
            // git is missing, no process is available, or the repository is broken: the request is not
            // at fault.
            Err(error) if error.root_cause().is::<std::io::Error>() || error.is::<UnusableRepository>() => {
                return Ok(Opened::Unusable(SyncError::Failed(error)));
            }
            opened => opened?,
        };
        if needs_remote && git.setting(&format!("remote.{}.url", self.remote)).is_none() {
            // git ignores the settings of a repository that it refuses to use.
            if let Err(error) = git.check_usable() {
                return Ok(Opened::Unusable(SyncError::Failed(error)));
            }
            let config = git.common().join("config");
            if config.metadata().is_ok_and(|meta| meta.len() == 0) {
                return Ok(Opened::Unusable(SyncError::Failed(anyhow!(
                    "{}: empty, for example after a power loss; write it again: `git init`, then `git remote add {} URL`",
                    config.display(),
                    self.remote
                ))));
            }
            bail!(
                "{}: no remote `{}` is configured; add it with `git remote add {} URL`",
                self.repo.display(),
                self.remote,
                self.remote
            );
        }
        git.set_ssh_command(self.ssh_command);
        let Some(root) = git.work_tree().map(PathBuf::from) else {
            return Ok(Opened::Unusable(SyncError::refused("the repository is bare; a breath needs a work tree")));
        };
        let dir = git.dir().join("mirror");
        let branch = format!("refs/heads/{}", self.branch);
        Ok(Opened::Usable(Box::new(Worktree { git, branch, dir, root })))
    }
}

/// A repository, as a breath finds it.
enum Opened {
    /// It can be used.
    Usable(Box<Worktree>),
    /// It cannot be used now.
    Unusable(SyncError),
}

/// Opens the repository, breathes there in one way or the other, runs the command `changed`, and tells.
fn conduct(
    breath: &Breath<'_>,
    changed: Option<&str>,
    run: impl Fn(&mut Worktree, &mut Progress) -> Result<String, SyncError>,
    needs_remote: bool,
) -> Result<BreathOutcome> {
    let mut progress = Progress::default();
    let (mut files, verdict, reason, changed) = match breath.open(needs_remote)? {
        Opened::Unusable(error) => {
            let (verdict, reason, files) = explain(error);
            (files, verdict, reason, None)
        }
        Opened::Usable(mut worktree) => {
            let mut was_locked = false;
            let (mut verdict, mut reason, mut files) = (BreatheVerdict::Busy, String::new(), Vec::new());
            for _ in 0..MAX_REPEATS {
                progress.left_out.clear();
                let ended = run(&mut worktree, &mut progress);
                // The command may breathe itself.
                let is_locked = worktree.unlock();
                if is_locked || !was_locked {
                    (verdict, reason, files) =
                        ended.map_or_else(explain, |reason| (BreatheVerdict::InStep, reason, Vec::new()));
                }
                was_locked |= is_locked;
                if !is_locked || !worktree.is_wanted() {
                    break;
                }
            }
            let changed = if was_locked { changed::run(&worktree, changed, breath.timeout) } else { None };
            (files, verdict, reason, changed)
        }
    };
    let Progress { inhale, exhale, parked, left_out, mesh } = progress;
    let reason = autocommit::mention(reason, &left_out);
    let reason = changed::mention(reason, changed.as_ref());
    files.extend(display_paths(left_out.into_iter().map(|left_out| left_out.path)));
    files.dedup();
    Ok(BreathOutcome { verdict, reason, inhale, exhale, parked, changed, files, mesh })
}

fn explain(error: SyncError) -> (BreatheVerdict, String, Vec<String>) {
    match error {
        SyncError::Verdict(verdict, reason, files) => (verdict, reason, files),
        SyncError::Failed(error) => {
            let message = format!("{error:#}");
            let remedy = diagnosis::failed_here(&message).map(|(_, remedy)| format!("; {remedy}")).unwrap_or_default();
            (BreatheVerdict::Failed, format!("{message}{remedy}; nothing is lost"), Vec::new())
        }
    }
}
