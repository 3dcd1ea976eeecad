//! The repository that breathes, and the directory for the breath's own files.

use std::fs::{self, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::outcome::SyncError;
use crate::clock::Deadline;
use crate::fsutil::{self, Durability};
use crate::git::{self, Git};

/// Left by a breath that found another one running, which then breathes once more.
const WANTED: &str = "wanted";

/// A work tree with its branch.
pub(super) struct Worktree {
    pub(super) git: Git,
    /// The full name of the branch.
    pub(super) branch: String,
    /// `mirror` in the git directory of this work tree.
    pub(super) dir: PathBuf,
    /// The top of the work tree.
    pub(super) root: PathBuf,
}

impl Worktree {
    /// Takes the lock that allows one breath at a time in a repository.
    pub(super) fn lock(&mut self) -> Result<(), SyncError> {
        self.lock_waiting(Deadline::after(Duration::ZERO))
    }

    /// The same, and waits for another breath until the deadline.
    pub(super) fn lock_waiting(&mut self, deadline: Deadline) -> Result<(), SyncError> {
        let shared = self.git.common().join("mirror");
        for dir in [&shared, &self.dir] {
            if dir.is_symlink() {
                return Err(anyhow::anyhow!("{}: a symbolic link; remove it", dir.display()).into());
            }
            fsutil::private_directory(dir).map_err(anyhow::Error::new)?;
        }
        let path = shared.join("breath.lock");
        let file = fsutil::lock_file(&path).map_err(anyhow::Error::new)?;
        let mut locked = fsutil::wait_for_lock(deadline, || file.try_lock());
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            // The other one looks for it once it has let go, so it may have done so already.
            fsutil::replace(&shared.join(WANTED), b"", Durability::Cached).map_err(anyhow::Error::new)?;
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {
                let _ = fs::remove_file(shared.join(WANTED));
                self.git.inherit_lock(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(SyncError::busy("another breath is running in this repository")),
            Err(TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(path.display().to_string()).into())
            }
        }
    }

    /// Whether somebody wanted to breathe while this breath had the lock.
    pub(super) fn is_wanted(&self) -> bool {
        self.git.common().join("mirror").join(WANTED).symlink_metadata().is_ok()
    }

    /// Lets other breaths in. Returns whether this one had the lock.
    pub(super) fn unlock(&mut self) -> bool {
        self.git.release_lock()
    }

    /// The commit of the branch; none if it has no commit yet.
    pub(super) fn branch_tip(&self) -> Result<Option<String>> {
        self.git.resolve(&self.branch)
    }

    /// Whether the branch is checked out and points to this commit.
    pub(super) fn is_at(&self, commit: Option<&str>) -> Result<bool> {
        let checked_out = self.git.current_branch()?.as_deref() == Some(&self.branch[..]);
        Ok(checked_out && self.branch_tip()?.as_deref() == commit)
    }
}

/// Paths for people: sorted, without duplicates, converted to UTF-8 if necessary.
pub(super) fn display_paths(paths: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let mut names: Vec<String> =
        paths.into_iter().map(|path| git::path_from_bytes(&path).to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    names
}
