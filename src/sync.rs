//! One breath: an inhale (fetch, then fast-forward or rebase) and an exhale (push).
//!
//! A breath loses nothing and leaves a work tree that the next breath can use, whenever it is killed.
//! Therefore everything that can be computed is computed on git objects alone, where nothing is ever
//! overwritten ([`replay`]). The work tree moves once, from one commit to another, under a journal
//! entry ([`checkout`]). Every breath begins by finishing or undoing what the journal says
//! ([`recover`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::git::Git;

mod autocommit;
mod checkout;
mod commit;
mod diff;
mod fast_replay;
mod index;
mod journal;
mod names;
mod outcome;
mod preflight;
mod recover;
mod refs;
mod remote;
mod replay;
mod restore;
mod session;
mod staging;
mod worktree;

pub use outcome::{BreathOutcome, BreatheVerdict, Parked, Transfer};

use outcome::SyncError;
use session::{Progress, Session};
use worktree::Worktree;

/// What a breath keeps in step.
#[derive(Clone, Copy, Debug)]
pub struct Breath<'a> {
    /// The work tree, or a directory in it.
    pub repo: &'a Path,
    /// The name of a configured remote.
    pub remote: &'a str,
    /// The branch, without `refs/heads/`. It has the same name on both sides.
    pub branch: &'a str,
    /// The time limit for everything that uses the network, added up. Local steps are not cut short
    /// by it.
    pub timeout: Duration,
    /// Whether to commit uncommitted work first.
    pub commit: bool,
    /// The node that breathes, for `refs/conflicts/NODE/…` and for messages.
    pub node: Option<&'a str>,
    /// The ssh command, unless the environment or the repository names one.
    pub ssh_command: Option<&'a str>,
}

impl Breath<'_> {
    /// Breathes once.
    ///
    /// # Errors
    /// When the request is invalid: no such repository or remote, or an invalid branch name.
    /// Everything else is a [`BreatheVerdict`].
    pub fn breathe(&self) -> Result<BreathOutcome> {
        let mut progress = Progress::default();
        let (verdict, reason, files) = match self.open()? {
            Ok(mut worktree) => match self.run(&mut worktree, &mut progress) {
                Ok(reason) => (BreatheVerdict::InStep, reason, Vec::new()),
                Err(error) => explain(error),
            },
            Err(error) => explain(error),
        };
        let Progress { inhale, exhale, parked } = progress;
        Ok(BreathOutcome { verdict, reason, inhale, exhale, parked, files })
    }

    /// The outer error is an invalid request, the inner one a repository that cannot be used now.
    fn open(&self) -> Result<Result<Worktree, SyncError>> {
        names::check_branch(self.branch)?;
        names::check_remote(self.remote)?;
        let mut git = match Git::open(self.repo) {
            // git is missing, or no process or descriptor is available: the request is not at fault.
            Err(error) if error.root_cause().is::<std::io::Error>() => return Ok(Err(SyncError::Failed(error))),
            opened => opened?,
        };
        if git.context(&format!("remote.{}.url", self.remote)).is_none() {
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
        SyncError::Failed(error) => (BreatheVerdict::Failed, format!("{error:#}; nothing is lost"), Vec::new()),
    }
}
