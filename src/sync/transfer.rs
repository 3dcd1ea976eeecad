//! A command that transfers objects: whether it still advances at the deadline, how much time the
//! next one gets, and the partial packs that a killed one leaves.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use xshell::Cmd;

use super::journal;
use super::worktree::Worktree;
use crate::clock::Deadline;
use crate::exec::Finished;
use crate::fsutil::{self, Durability};
use crate::git::{Activity, Git, processes};

/// How many times the bytes that a transfer has moved are counted.
const SAMPLES: u32 = 16;
const MIN_SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// A transfer that moved less than this in the second half of its time does not advance.
const MIN_ADVANCE_BYTES: u64 = 16 * 1024;
/// The time limit of a slow transfer grows to this many times the configured one at most.
const MAX_GROWTH: u32 = 64;
/// Holds the time limit of the next transfer, in milliseconds.
const LIMIT_FILE: &str = "time-limit";
/// Exists while a fetch runs; names the temporary packs that were there before.
const FETCH_FILE: &str = "fetching";

/// The end of a transfer.
pub(super) struct Transferred {
    pub(super) finished: Finished,
    /// Whether bytes still arrived shortly before the end.
    pub(super) is_advancing: bool,
}

/// Runs a command that connects to a remote, and watches whether it advances.
pub(super) fn run(git: &Git, cmd: Cmd<'_>, deadline: Deadline) -> Result<Transferred> {
    let mut running = git.start_remote(cmd)?;
    let mut samples = Vec::new();
    let interval = deadline.left() / SAMPLES;
    loop {
        let next = Deadline::after(interval.max(MIN_SAMPLE_INTERVAL)).sooner(deadline);
        if let Some(finished) = running.wait_a_while(next)? {
            return Ok(Transferred { finished, is_advancing: false });
        }
        samples.push(Activity::of_group(running.group()).bytes_read);
        if deadline.has_passed() {
            break;
        }
    }
    let half = samples.get(samples.len() / 2).copied().unwrap_or_default();
    let is_advancing = samples.last().is_some_and(|last| last.saturating_sub(half) >= MIN_ADVANCE_BYTES);
    Ok(Transferred { finished: running.end()?, is_advancing })
}

/// The time limit of this breath: the configured one, or more after a transfer that was cut short.
pub(super) fn time_limit(worktree: &Worktree, configured: Duration) -> Duration {
    let stored = journal::read(&worktree.dir, LIMIT_FILE).ok().flatten();
    let stored = stored.and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
    stored.unwrap_or_default().clamp(configured, configured.saturating_mul(MAX_GROWTH))
}

/// Doubles the time limit for the next breath and returns it.
pub(super) fn grow_time_limit(worktree: &Worktree, configured: Duration) -> Result<Duration> {
    let limit = time_limit(worktree, configured).saturating_mul(2).min(configured.saturating_mul(MAX_GROWTH));
    journal::write(&worktree.dir, LIMIT_FILE, &format!("{}\n", limit.as_millis()))?;
    Ok(limit)
}

/// Forgets an extended time limit.
pub(super) fn reset_time_limit(worktree: &Worktree) {
    let _ = fs::remove_file(worktree.dir.join(LIMIT_FILE));
}

/// Remembers which temporary packs exist before a fetch.
pub(super) fn before_fetch(worktree: &Worktree) -> Result<()> {
    let path = worktree.dir.join(FETCH_FILE);
    // A file left by a killed breath has the older and therefore right list.
    if path.symlink_metadata().is_err() {
        let packs = temporary_packs(worktree);
        let names: Vec<_> = packs.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        fsutil::replace(&path, names.join("\n").as_bytes(), Durability::Cached)?;
    }
    Ok(())
}

/// Ends the record of [`before_fetch`] after a fetch that succeeded.
pub(super) fn after_fetch(worktree: &Worktree) {
    let _ = fs::remove_file(worktree.dir.join(FETCH_FILE));
}

/// Removes the partial packs and objects that a killed fetch of ours left. What any process still has
/// open stays.
pub(super) fn remove_partial_packs(worktree: &Worktree) {
    let Ok(Some(before)) = journal::read(&worktree.dir, FETCH_FILE) else { return };
    let before: HashSet<&str> = before.lines().collect();
    let is_old =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| before.contains(name));
    let mut found = temporary_packs(worktree);
    found.retain(|path| !is_old(path));
    found.extend(temporary_objects(worktree));
    let me = rustix::process::geteuid().as_raw();
    found.retain(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == me));
    if found.is_empty() {
        return after_fetch(worktree);
    }
    let open = open_files();
    let is_open = |path: &PathBuf| path.canonicalize().is_ok_and(|path| open.contains(&path));
    let (open, unused): (Vec<_>, Vec<_>) = found.into_iter().partition(is_open);
    for path in unused {
        let _ = fs::remove_file(path);
    }
    if open.is_empty() {
        after_fetch(worktree);
    }
}

fn temporary_packs(worktree: &Worktree) -> Vec<PathBuf> {
    files_with_prefix(&worktree.git.common().join("objects/pack"), "tmp_")
}

fn temporary_objects(worktree: &Worktree) -> Vec<PathBuf> {
    let objects = worktree.git.common().join("objects");
    (0..=255u8).flat_map(|byte| files_with_prefix(&objects.join(format!("{byte:02x}")), "tmp_obj_")).collect()
}

fn files_with_prefix(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
}

/// The files that processes of this user have open.
fn open_files() -> HashSet<PathBuf> {
    let descriptors = |dir: PathBuf| fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
    processes().flat_map(descriptors).filter_map(|fd| fs::read_link(fd.path()).ok()).collect()
}
