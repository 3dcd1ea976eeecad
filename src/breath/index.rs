//! The index: git's lock on it, taken by a link to a token so that ours is never mistaken for a
//! person's, and a private copy to work on.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Place, Stop, note};

/// A person's `git add` or `git commit` holds the index for less than this.
const PATIENCE: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(20);

/// `index.lock`, held. Dropped, it is released, unless it was to be kept.
pub(super) struct IndexLock<'a> {
    place: &'a Place,
    kept: bool,
}

impl<'a> IndexLock<'a> {
    /// Takes the lock, or takes over one that a breath before us left behind. The lock on breaths
    /// is ours, so no other breath can be using it.
    pub(super) fn take(place: &'a Place) -> Result<Self, Stop> {
        let token = place.dir.join("token");
        if !token.exists() {
            note::write(&place.dir, "token", "index.lock is a link to this file while a breath of mirror holds it.\n")?;
        }
        let lock = lock_path(place);
        let since = Instant::now();
        loop {
            match fs::hard_link(&token, &lock) {
                Ok(()) => break,
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(anyhow::Error::new(error).context(lock.display().to_string()).into());
                }
                Err(_) if is_ours(place) => break,
                Err(_) if since.elapsed() > PATIENCE => {
                    return Err(Stop::busy(format!(
                        "another git holds {0}; if none is running here, remove {0}",
                        lock.display()
                    )));
                }
                Err(_) => std::thread::sleep(EVERY),
            }
        }
        Ok(Self { place, kept: false })
    }

    /// From here on the lock stays when a breath fails, since nobody else must touch the tree
    /// before the next breath has put it right.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    pub(super) fn release(mut self) {
        self.kept = false;
    }

    /// A copy of the index to work on; it is what git itself would read, to the nanosecond of its
    /// time, since git tells by that time which of its entries it can trust.
    pub(super) fn copy(&self) -> Result<PathBuf> {
        clear(self.place)?;
        let private = private(self.place);
        link_if_there(&index(self.place), &private)?;
        Ok(private)
    }

    /// Puts the private copy in the place of the index, which is kept aside.
    pub(super) fn install(&self) -> Result<()> {
        link_if_there(&index(self.place), &aside(self.place))?;
        let private = private(self.place);
        if private.exists() {
            move_over(self.place, &private)?;
        }
        Ok(())
    }

    /// Puts the index that was kept aside back in its place.
    pub(super) fn reinstall(&self) -> Result<()> {
        let aside = aside(self.place);
        if aside.exists() { move_over(self.place, &aside) } else { note::remove(&index(self.place)) }
    }
}

impl Drop for IndexLock<'_> {
    fn drop(&mut self) {
        if !self.kept && is_ours(self.place) {
            // Nobody is helped by an error here: the next breath knows all of this for ours.
            let _ = clear(self.place);
            let _ = fs::remove_file(lock_path(self.place));
        }
    }
}

/// Releases a lock that a killed breath left, there being nothing to put right.
pub(super) fn release_left_behind(place: &Place) {
    if is_ours(place) {
        let _ = fs::remove_file(lock_path(place));
    }
}

/// Removes the private files of an earlier breath.
pub(super) fn clear(place: &Place) -> Result<()> {
    for name in ["index", "index.lock", "index.aside", "index.side", "index.side.lock"] {
        note::remove(&place.dir.join(name))?;
    }
    Ok(())
}

fn is_ours(place: &Place) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    match (fs::symlink_metadata(lock_path(place)), fs::symlink_metadata(place.dir.join("token"))) {
        (Ok(lock), Ok(token)) => same(lock, token),
        _ => false,
    }
}

fn link_if_there(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| to.display().to_string()),
        _ => Ok(()),
    }
}

fn move_over(place: &Place, from: &Path) -> Result<()> {
    let index = index(place);
    let moved = fs::rename(from, &index).and_then(|()| File::open(place.git.dir())?.sync_all());
    moved.with_context(|| index.display().to_string())?;
    // Two names of one file stay two when one is renamed to the other.
    note::remove(from)
}

fn lock_path(place: &Place) -> PathBuf {
    place.git.dir().join("index.lock")
}

fn index(place: &Place) -> PathBuf {
    place.git.dir().join("index")
}

fn private(place: &Place) -> PathBuf {
    place.dir.join("index")
}

fn aside(place: &Place) -> PathBuf {
    place.dir.join("index.aside")
}
