//! The index: its lock, and a private copy to work on.
//!
//! git locks the index by creating `index.lock`. A breath creates that file as a hard link to its own
//! file `token`, so its lock can always be told from a person's.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::journal;
use super::outcome::SyncError;
use super::worktree::Worktree;

/// How long to wait for the lock: a person's `git add` or `git commit` holds it for less.
const INDEX_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const INDEX_LOCK_POLL: Duration = Duration::from_millis(20);

/// The held `index.lock`. It is released on drop, unless [`IndexLock::keep`] was called.
pub(super) struct IndexLock<'a> {
    worktree: &'a Worktree,
    keep: bool,
}

impl<'a> IndexLock<'a> {
    /// Takes the lock, or takes over the one that a killed breath left. The caller holds the lock on
    /// breaths, so no other breath can be using it.
    pub(super) fn take(worktree: &'a Worktree) -> Result<Self, SyncError> {
        let token = worktree.dir.join("token");
        if !token.exists() {
            journal::write(
                &worktree.dir,
                "token",
                "index.lock is a link to this file while a breath of mirror holds it.\n",
            )?;
        }
        let lock = lock_path(worktree);
        let began = Instant::now();
        loop {
            match fs::hard_link(&token, &lock) {
                Ok(()) => break,
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(anyhow::Error::new(error).context(lock.display().to_string()).into());
                }
                Err(_) if is_ours(worktree) => break,
                Err(_) if began.elapsed() > INDEX_LOCK_TIMEOUT => {
                    return Err(SyncError::locked(&lock));
                }
                Err(_) => std::thread::sleep(INDEX_LOCK_POLL),
            }
        }
        Ok(Self { worktree, keep: false })
    }

    /// Keeps the lock even if the breath fails from here on: nobody may touch the work tree before
    /// the next breath has repaired it.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    pub(super) fn release(mut self) {
        self.keep = false;
    }

    /// A copy of the index to work on. It is a hard link, because git compares the index's own
    /// timestamp with those of its entries.
    pub(super) fn private_copy(&self) -> Result<PathBuf> {
        remove_private_files(self.worktree)?;
        let private = private_path(self.worktree);
        link_if_exists(&index_path(self.worktree), &private)?;
        Ok(private)
    }

    /// Replaces the index by the private copy and keeps the old index aside.
    pub(super) fn install(&self) -> Result<()> {
        link_if_exists(&index_path(self.worktree), &aside_path(self.worktree))?;
        let private = private_path(self.worktree);
        if private.exists() {
            replace_index(self.worktree, &private)?;
        }
        Ok(())
    }

    /// Undoes [`IndexLock::install`].
    pub(super) fn uninstall(&self) -> Result<()> {
        let aside = aside_path(self.worktree);
        if aside.exists() { replace_index(self.worktree, &aside) } else { journal::remove(&index_path(self.worktree)) }
    }
}

impl Drop for IndexLock<'_> {
    fn drop(&mut self) {
        if !self.keep && is_ours(self.worktree) {
            // Ignore errors; the next breath cleans up.
            let _ = remove_private_files(self.worktree);
            let _ = fs::remove_file(lock_path(self.worktree));
        }
    }
}

/// Releases the lock of a killed breath that left nothing else to repair.
pub(super) fn release_stale(worktree: &Worktree) {
    if is_ours(worktree) {
        let _ = fs::remove_file(lock_path(worktree));
    }
}

/// Removes the private index files of an earlier breath.
pub(super) fn remove_private_files(worktree: &Worktree) -> Result<()> {
    for name in ["index", "index.lock", "index.aside", "index.side", "index.side.lock"] {
        journal::remove(&worktree.dir.join(name))?;
    }
    Ok(())
}

fn is_ours(worktree: &Worktree) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    match (fs::symlink_metadata(lock_path(worktree)), fs::symlink_metadata(worktree.dir.join("token"))) {
        (Ok(lock), Ok(token)) => same(lock, token),
        _ => false,
    }
}

fn link_if_exists(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| to.display().to_string()),
        _ => Ok(()),
    }
}

fn replace_index(worktree: &Worktree, from: &Path) -> Result<()> {
    let index = index_path(worktree);
    let moved = fs::rename(from, &index).and_then(|()| File::open(worktree.git.dir())?.sync_all());
    moved.with_context(|| index.display().to_string())?;
    // `rename` does nothing if both names are links to the same file.
    journal::remove(from)
}

fn lock_path(worktree: &Worktree) -> PathBuf {
    worktree.git.dir().join("index.lock")
}

fn index_path(worktree: &Worktree) -> PathBuf {
    worktree.git.dir().join("index")
}

fn private_path(worktree: &Worktree) -> PathBuf {
    worktree.dir.join("index")
}

fn aside_path(worktree: &Worktree) -> PathBuf {
    worktree.dir.join("index.aside")
}
