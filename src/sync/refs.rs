//! Updates refs, and removes the ref locks that a killed breath leaves behind.
//!
//! git locks a ref by creating `REF.lock`. A git that is killed by SIGKILL leaves that file, and the
//! ref can never be updated again. Therefore a marker file names the refs and their new value before
//! a command that locks them runs. A lock that matches such a marker is ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use xshell::cmd;

use super::journal;
use super::outcome::SyncError;
use super::worktree::Worktree;
use crate::git;

/// The marker file.
const MARKER: &str = "mark";
/// Recorded in the reflog.
const REFLOG_MESSAGE: &str = "mirror: breath";
/// git holds a ref lock for much less than this. A younger lock may belong to a running git.
const MIN_STALE_LOCK_AGE: Duration = Duration::from_secs(1);

/// The result of a ref update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefUpdate {
    Done,
    /// The ref did not have the expected old value.
    Moved,
}

/// Sets a ref to `new` if it still points to `old`.
pub(super) fn update(worktree: &Worktree, name: &str, new: &str, old: Option<&str>) -> Result<RefUpdate, SyncError> {
    with_marker(worktree, &[name, "HEAD"], new, || {
        let zeros = "0".repeat(new.len());
        let before = old.unwrap_or(&zeros);
        let update = cmd!(worktree.git.shell(), "git update-ref -m {REFLOG_MESSAGE} {name} {new} {before}");
        let updated = worktree.git.run(update, b"")?;
        if updated.success() {
            return Ok(RefUpdate::Done);
        }
        match worktree.git.resolve(name)?.as_deref() {
            // git may have set the ref before it was stopped.
            Some(tip) if tip == new => return Ok(RefUpdate::Done),
            tip if tip != old => return Ok(RefUpdate::Moved),
            _ => {}
        }
        for lock in [lock_path(worktree, name), lock_path(worktree, "HEAD")] {
            if lock.exists() {
                return Err(SyncError::locked(&lock));
            }
        }
        Err(anyhow!("git update-ref {name}: {}", git::error_line(&updated)).into())
    })
}

/// Runs `act`, which may lock the remote-tracking refs of the branch.
pub(super) fn with_tracking_locks<T>(
    worktree: &Worktree,
    remote: &str,
    value: &str,
    act: impl FnOnce() -> Result<T, SyncError>,
) -> Result<T, SyncError> {
    let tracking = tracking_refs(worktree, remote);
    let names: Vec<&str> = tracking.iter().map(String::as_str).collect();
    with_marker(worktree, &names, value, act)
}

/// Updates the remote-tracking refs of the branch. A failure only leaves a stale `git status`.
pub(super) fn track(worktree: &Worktree, remote: &str, value: &str) {
    for name in tracking_refs(worktree, remote).iter().filter(|name| !is_at(worktree, name, value)) {
        let update = || {
            Ok(worktree
                .git
                .run(cmd!(worktree.git.shell(), "git update-ref -m {REFLOG_MESSAGE} {name} {value}"), b"")?)
        };
        let _ = with_marker(worktree, &[name], value, update);
    }
}

/// Whether a ref has this value, as far as its file or `packed-refs` tells.
fn is_at(worktree: &Worktree, name: &str, value: &str) -> bool {
    match fs::read_to_string(worktree.git.ref_file(name)) {
        Ok(text) => text.trim_end() == value,
        Err(_) => {
            let line = format!("{value} {name}");
            let packed = fs::read_to_string(worktree.git.common().join("packed-refs")).unwrap_or_default();
            packed.lines().any(|packed| packed == line)
        }
    }
}

/// The remote-tracking refs of the branch, according to the remote's fetch settings.
fn tracking_refs(worktree: &Worktree, remote: &str) -> Vec<String> {
    let mut names = Vec::new();
    for spec in worktree.git.settings(&format!("remote.{remote}.fetch")) {
        let Some((from, to)) = spec.trim_start_matches('+').split_once(':') else { continue };
        if from == worktree.branch {
            names.push(to.to_owned());
        } else if let Some((before, after)) = from.split_once('*') {
            let star = worktree.branch.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            names.extend(star.map(|star| to.replacen('*', star, 1)));
        }
    }
    // A mirror clone fetches right over the branch itself; then there is no tracking ref.
    names.retain(|name| name.starts_with("refs/") && *name != worktree.branch);
    names
}

/// Runs `act` under a marker that names the refs it may lock and the value they get. A lock that
/// exists already is another program's; its name is marked with `locked`.
fn with_marker<T>(
    worktree: &Worktree,
    names: &[&str],
    value: &str,
    act: impl FnOnce() -> Result<T, SyncError>,
) -> Result<T, SyncError> {
    let line = |name: &&str| match lock_path(worktree, name).symlink_metadata() {
        Ok(_) => format!("locked {name}\n"),
        Err(_) => format!("{name}\n"),
    };
    journal::write(&worktree.dir, MARKER, &format!("{value}\n{}", names.iter().map(line).collect::<String>()))?;
    let done = act();
    journal::remove(&worktree.dir.join(MARKER))?;
    done
}

/// Removes the ref locks that a killed breath left, whatever their date. Only breaths write the refs
/// in `own_refs`; one that a power loss has garbled is removed, too.
pub(super) fn remove_stale_locks(worktree: &Worktree, own_refs: &[&str]) -> Result<()> {
    for name in own_refs {
        remove_once_stale(&lock_path(worktree, name), |_| true)?;
        let file = worktree.git.ref_file(name);
        if fs::read(&file).is_ok_and(|content| !git::is_object_id(String::from_utf8_lossy(&content).trim_end())) {
            journal::remove(&file)?;
        }
    }
    let Some(text) = journal::read(&worktree.dir, MARKER)? else {
        return Ok(());
    };
    let mut lines = text.lines();
    let value = lines.next().unwrap_or_default();
    for name in lines.filter(|name| !name.starts_with("locked ")) {
        remove_once_stale(&lock_path(worktree, name), |lock| {
            fs::read_to_string(lock).is_ok_and(|content| content.is_empty() || content.trim_end() == value)
        })?;
    }
    journal::remove(&worktree.dir.join(MARKER))
}

/// Removes a lock of ours once it is old enough that no git can be using it. If its date is in the
/// future, because the clock was set back, its age counts from now.
fn remove_once_stale(lock: &Path, is_ours: impl Fn(&Path) -> bool) -> Result<()> {
    let seen = Instant::now();
    while let Ok(meta) = fs::symlink_metadata(lock)
        && is_ours(lock)
    {
        let age = meta.modified().ok().and_then(|date| SystemTime::now().duration_since(date).ok()).unwrap_or_default();
        if age.max(seen.elapsed()) >= MIN_STALE_LOCK_AGE {
            return journal::remove(lock);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn lock_path(worktree: &Worktree, name: &str) -> PathBuf {
    let mut path = worktree.git.ref_file(name).into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}
