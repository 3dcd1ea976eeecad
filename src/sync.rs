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
mod checkout;
mod commit;
mod diagnosis;
mod diff;
mod fast_replay;
mod index;
mod journal;
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

pub use outcome::{BreathOutcome, BreatheVerdict, Parked, Transfer};
pub use remote::fetched_ref;
pub use request::Breath;

use outcome::SyncError;
use session::{Progress, Session};
use worktree::{Worktree, display_paths};

impl Breath<'_> {
    /// Breathes once.
    ///
    /// # Errors
    /// When the request is invalid: no such repository or remote, or an invalid branch name.
    /// Everything else is a [`BreatheVerdict`].
    pub fn breathe(&self) -> Result<BreathOutcome> {
        let mut progress = Progress::default();
        let (verdict, reason, mut files) = match self.open()? {
            Ok(mut worktree) => match self.run(&mut worktree, &mut progress) {
                Ok(reason) => (BreatheVerdict::InStep, reason, Vec::new()),
                Err(error) => explain(error),
            },
            Err(error) => explain(error),
        };
        let Progress { inhale, exhale, parked, left_out } = progress;
        let reason = autocommit::mention(reason, &left_out);
        files.extend(display_paths(left_out.into_iter().map(|left_out| left_out.path)));
        files.dedup();
        Ok(BreathOutcome { verdict, reason, inhale, exhale, parked, files })
    }

    /// The outer error is an invalid request, the inner one a repository that cannot be used now.
    fn open(&self) -> Result<Result<Worktree, SyncError>> {
        names::check_branch(self.branch)?;
        names::check_remote(self.remote)?;
        let mut git = match Git::open(self.repo) {
            // git is missing, no process is available, or the repository is broken: the request is not
            // at fault.
            Err(error) if error.root_cause().is::<std::io::Error>() || error.is::<UnusableRepository>() => {
                return Ok(Err(SyncError::Failed(error)));
            }
            opened => opened?,
        };
        if git.setting(&format!("remote.{}.url", self.remote)).is_none() {
            // git ignores the settings of a repository that it refuses to use.
            if let Err(error) = git.check_usable() {
                return Ok(Err(SyncError::Failed(error)));
            }
            let config = git.common().join("config");
            if config.metadata().is_ok_and(|meta| meta.len() == 0) {
                return Ok(Err(SyncError::Failed(anyhow!(
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
            return Ok(Err(SyncError::refused("the repository is bare; a breath needs a work tree")));
        };
        let dir = git.dir().join("mirror");
        let branch = format!("refs/heads/{}", self.branch);
        Ok(Ok(Worktree { git, branch, dir, root }))
    }

    fn run(&self, worktree: &mut Worktree, progress: &mut Progress) -> Result<String, SyncError> {
        worktree.lock()?;
        Session::new(self, worktree, progress).run()
    }
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
