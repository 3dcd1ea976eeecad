//! Runs a command of the operator after an inhale that brought something.
//!
//! Before the work tree moves, a note with the commit that it leaves is written. It is removed once the
//! command has run, so a breath that is killed in between leaves the command to the next one.

use std::fs::{self, TryLockError};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;
use xshell::cmd;

use super::diff::tree_of;
use super::journal;
use super::outcome::SyncError;
use super::worktree::Worktree;
use crate::clock::Deadline;
use crate::exec::{Ended, Exec};
use crate::fsutil::{self, Durability};
use crate::output::millis;

/// Holds the commit from which the work tree moved; `-` if there was none.
const NOTE: &str = "moved-from";
/// Locked while the command runs.
const LOCK: &str = "changed.lock";

/// What became of the command that runs after an inhale.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Changed {
    /// The commit from which the work tree moved; null if the branch did not exist.
    pub from: Option<String>,
    /// The commit where it is now.
    pub to: String,
    /// How the command ended.
    pub outcome: ChangedOutcome,
    /// What it said, or why it did not run; null if all went well.
    pub detail: Option<String>,
    /// How long it ran, in ms.
    pub elapsed_ms: f64,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedOutcome {
    /// With status 0.
    Done,
    /// With another status, or it could not be started.
    Failed,
    /// It was ended at the deadline.
    TimedOut,
    /// It still runs after an earlier inhale, so it runs again after the next breath.
    Pending,
}

/// Notes from where the work tree moves, and moves it. A move that does not take place leaves no note.
pub(super) fn moving(
    worktree: &Worktree,
    from: Option<&str>,
    checkout: impl FnOnce() -> Result<bool, SyncError>,
) -> Result<bool, SyncError> {
    let note = worktree.dir.join(NOTE);
    // A note that is there already is from an older move, of which nobody was told.
    let is_first = note.symlink_metadata().is_err();
    if is_first {
        fsutil::replace(&note, from.unwrap_or("-").as_bytes(), Durability::Cached).map_err(anyhow::Error::new)?;
    }
    let moved = checkout();
    if is_first && !matches!(moved, Ok(true)) {
        let _ = fs::remove_file(&note);
    }
    moved
}

/// Runs the command if the work tree has moved since it ran last.
pub(super) fn run(worktree: &Worktree, command: Option<&str>, timeout: Duration) -> Option<Changed> {
    let note = worktree.dir.join(NOTE);
    let Some(command) = command else {
        let _ = fs::remove_file(note);
        return None;
    };
    let from = journal::read(&worktree.dir, NOTE).ok().flatten()?;
    let from = Some(from.trim()).filter(|from| *from != "-").map(str::to_owned);
    let to = worktree.branch_tip().ok().flatten()?;
    if from.as_ref() == Some(&to) {
        let _ = fs::remove_file(note);
        return None;
    }
    let mut changed = Changed { from, to, outcome: ChangedOutcome::Failed, detail: None, elapsed_ms: 0.0 };
    if let Err(error) = run_once(worktree, command, timeout, &mut changed) {
        changed.detail = Some(format!("{error:#}"));
    }
    Some(changed)
}

fn run_once(worktree: &Worktree, command: &str, timeout: Duration, changed: &mut Changed) -> Result<()> {
    let lock = fsutil::lock_file(&worktree.dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            changed.outcome = ChangedOutcome::Pending;
            changed.detail = Some("it still runs after an earlier inhale".to_owned());
            return Ok(());
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let (git, to) = (&worktree.git, &changed.to);
    let from = tree_of(git, changed.from.as_deref())?;
    let paths =
        git.read(cmd!(git.shell(), "git -c core.quotePath=false diff-tree -r --name-only --no-renames {from} {to}"))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(&worktree.root);
    shell.env("MIRROR_FROM", changed.from.as_deref().unwrap_or_default()).env("MIRROR_TO", to);
    let finished = Exec::new(shell).stdin(&paths).run(Deadline::after(timeout)).context("sh")?;
    changed.elapsed_ms = millis(finished.elapsed);
    (changed.outcome, changed.detail) = match finished.ended {
        Ended::Exited(0) => (ChangedOutcome::Done, None),
        Ended::TimedOut => {
            (ChangedOutcome::TimedOut, Some(format!("it did not end within {}", humantime::format_duration(timeout))))
        }
        Ended::Exited(code) => (ChangedOutcome::Failed, said(&format!("exit status {code}"), finished.first_line())),
        Ended::Signaled(signal) => (ChangedOutcome::Failed, said(&format!("signal {signal}"), finished.first_line())),
    };
    // It is not repeated after a failure: what it does is not known here.
    journal::remove(&worktree.dir.join(NOTE))
}

fn said(what: &str, words: Option<String>) -> Option<String> {
    Some(words.map_or_else(|| what.to_owned(), |words| format!("{what}: {words}")))
}

/// Adds to the reason what went wrong with the command.
pub(super) fn mention(reason: String, changed: Option<&Changed>) -> String {
    match changed {
        Some(Changed { outcome, detail: Some(detail), .. }) if *outcome != ChangedOutcome::Done => {
            format!("{reason}; the command `changed`: {detail}")
        }
        _ => reason,
    }
}
