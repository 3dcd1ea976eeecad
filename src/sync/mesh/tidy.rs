//! Keeps a clone of the mesh small. git's own collection is off there: it would run while others push, and
//! hold what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xshell::cmd;

use crate::sync::worktree::Worktree;

/// In one of the 256 directories of loose objects; git takes 27 for about 6700 in all.
const MAX_LOOSE: usize = 27;
const MAX_PACKS: usize = 50;
/// What a killed push left is removed after this time; no push takes so long.
const MAX_PUSH: Duration = Duration::from_secs(24 * 3600);
/// git holds a lock of a ref for much less.
const MAX_REF_LOCK: Duration = Duration::from_secs(60);
/// Objects that nothing reaches yet stay loose, and would cause it again in each breath.
const PACK_PAUSE: Duration = Duration::from_secs(3600);
const PACKED: &str = "packed";
/// Objects that nothing reaches are kept for as long as git keeps them.
const EXPIRY: &str = "2.weeks.ago";

/// Removes what killed pushes left, and packs objects where there are many.
pub(super) fn tidy(worktree: &Worktree) {
    let objects = worktree.git.common().join("objects");
    for directory in old(&objects, MAX_PUSH, |name| name.starts_with("tmp_objdir-")) {
        let _ = fs::remove_dir_all(directory);
    }
    let packs = objects.join("pack");
    for pack in old(&packs, MAX_PUSH, |name| name.starts_with("tmp_") || name.starts_with(".tmp-")) {
        let _ = fs::remove_file(pack);
    }
    let count = |directory: &Path| fs::read_dir(directory).map_or(0, Iterator::count);
    let is_due = age(&worktree.dir.join(PACKED)).is_none_or(|age| age > PACK_PAUSE);
    if is_due && (count(&objects.join("17")) > MAX_LOOSE || count(&packs) > 2 * MAX_PACKS) {
        let git = &worktree.git;
        let _ = fs::write(worktree.dir.join(PACKED), "");
        let expire = format!("--unpack-unreachable={EXPIRY}");
        // A failure leaves everything as it was.
        let packed = git.run(cmd!(git.shell(), "git repack -d -l -A -q {expire}"), b"");
        if packed.is_ok_and(|packed| packed.success()) {
            let _ = git.run(cmd!(git.shell(), "git prune --expire {EXPIRY}"), b"");
        }
    }
}

/// Removes the locks of the mesh's refs that a killed push left. Pushes and breaths alone write them.
pub(super) fn remove_old_ref_locks(worktree: &Worktree) {
    let refs = worktree.git.common().join("refs/breath");
    for lock in old(&refs, MAX_REF_LOCK, |name| name.ends_with(".lock")) {
        let _ = fs::remove_file(lock);
    }
}

/// How long ago it was written; none if it is not there, or from the future.
fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(fs::symlink_metadata(path).ok()?.modified().ok()?).ok()
}

fn old(directory: &Path, least: Duration, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_old = |entry: &fs::DirEntry| age(&entry.path()).is_some_and(|age| age > least);
    let meant = entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy()) && is_old(entry));
    meant.map(|entry| entry.path()).collect()
}
