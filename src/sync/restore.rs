//! Restores the old files after a move of the work tree that did not complete.
//!
//! All files that the move touches were clean before the journal entry was written. A file that is
//! new, a prefix of new, or missing is therefore the breath's own work. Any other file is a person's
//! and stays.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::diff::{TreeChange, TreeEntry, tree_changes, tree_of};
use super::journal::{self, JournalEntry};
use super::staging::stage;
use super::worktree::Worktree;
use crate::git::path_from_bytes;

/// With more files than this, syncing the whole file system is quicker than syncing each file. With
/// fewer, it would wait for what other programs wrote.
const MAX_SINGLE_FSYNCS: usize = 1000;

/// An entry of the index.
pub(super) struct IndexEntry {
    pub(super) entry: TreeEntry,
    /// Kept out of the work tree, as in a sparse checkout.
    skipped: bool,
}

/// The entries of the index, without unmerged ones.
pub(super) fn index_entries(worktree: &Worktree) -> Result<HashMap<Vec<u8>, IndexEntry>> {
    let list = worktree.git.read(cmd!(worktree.git.shell(), "git ls-files -t -s -z"))?;
    let mut entries = HashMap::new();
    for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { continue };
        let fields: Vec<_> = line[..tab].split(|byte| *byte == b' ').collect();
        if let [tag, mode, id, b"0"] = fields[..] {
            let entry = TreeEntry { mode: mode.to_owned(), id: id.to_owned() };
            entries.insert(line[tab + 1..].to_owned(), IndexEntry { entry, skipped: tag == b"S" });
        }
    }
    Ok(entries)
}

/// Restores the old version of our own files. The index must be the old one.
pub(super) fn restore(worktree: &Worktree, entry: &JournalEntry) -> Result<()> {
    if !entry.files {
        return Ok(());
    }
    let from = tree_of(&worktree.git, entry.old.as_deref())?;
    let changes = touched_changes(worktree, &from, &entry.new)?;
    let stage_side = |name: &str, tree: &str, side: fn(&TreeChange) -> bool| {
        let paths: Vec<&[u8]> = changes.iter().filter(|c| side(c)).map(|change| &change.path[..]).collect();
        stage(worktree, name, tree, &paths)
    };
    let (old, staged) = stage_side("old", &from, |change| change.old.is_some())?;
    staged?;
    // A file that cannot be checked out now, for example because a filter is missing, could not be
    // checked out then either.
    let (new, _) = stage_side("new", &format!("{}^{{tree}}", entry.new), |change| change.new.is_some())?;
    let sides = Sides { top: &worktree.root, old: &old, new: &new };
    remove_added(&sides, &changes)?;
    for change in changes.iter().filter(|change| change.old.is_some()) {
        let path = sides.top.join(path_from_bytes(&change.path));
        // An empty directory may be in the way of the file.
        let _ = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) && fs::remove_dir(&path).is_ok();
        if sides.is_ours(change)? {
            sides.put_back(path_from_bytes(&change.path))?;
        }
    }
    fsync_changes(&worktree.root, &changes)?;
    for dir in [old, new] {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

/// The changes that the move may have made to files. A path that is staged as something else, or is
/// kept out of the work tree, was never touched.
fn touched_changes(worktree: &Worktree, from: &str, new: &str) -> Result<Vec<TreeChange>> {
    let indexed = index_entries(worktree)?;
    let mut changes = tree_changes(&worktree.git, from, new)?;
    changes.retain(|change| {
        let is_submodule = [&change.old, &change.new].into_iter().flatten().any(TreeEntry::is_submodule);
        let indexed = indexed.get(&change.path);
        !is_submodule
            && indexed.is_none_or(|indexed| !indexed.skipped)
            && indexed.map(|indexed| &indexed.entry) == change.old.as_ref()
    });
    Ok(changes)
}

/// Removes our own added files, and the directories that then are empty.
fn remove_added(sides: &Sides<'_>, changes: &[TreeChange]) -> Result<()> {
    let added = || changes.iter().filter(|change| change.old.is_none());
    for change in added() {
        if sides.is_ours(change)? {
            journal::remove(&sides.top.join(path_from_bytes(&change.path)))?;
        }
    }
    for change in added() {
        for dir in parents(path_from_bytes(&change.path)) {
            if !is_reachable(sides.top, dir) || fs::remove_dir(sides.top.join(dir)).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// The work tree, and the staged files of the old and the new tree.
struct Sides<'a> {
    top: &'a Path,
    old: &'a Path,
    new: &'a Path,
}

impl Sides<'_> {
    /// Whether the file at this path is missing, or new, or a prefix of new.
    fn is_ours(&self, change: &TreeChange) -> Result<bool> {
        let path = path_from_bytes(&change.path);
        if !is_reachable(self.top, path) {
            return Ok(false);
        }
        let (current, old, new) = (self.top.join(path), self.old.join(path), self.new.join(path));
        let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
        if !exists(&current) {
            return Ok(true);
        }
        if exists(&new) || change.new.is_none() {
            return is_prefix(&current, &new).with_context(|| current.display().to_string());
        }
        if exists(&old) && is_prefix(&current, &old)? && is_prefix(&old, &current)? {
            return Ok(false);
        }
        bail!("{}: cannot tell whether a breath was writing it or a person changed it since", current.display());
    }

    /// Moves the old file from its staging directory into the work tree, atomically.
    fn put_back(&self, path: &Path) -> Result<()> {
        let (from, to) = (self.old.join(path), self.top.join(path));
        let moved = || -> io::Result<()> {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let mut temporary = to.clone().into_os_string();
                    temporary.push(".mirror-restores");
                    if from.is_symlink() {
                        std::os::unix::fs::symlink(fs::read_link(&from)?, &temporary)?;
                    } else {
                        fs::copy(&from, &temporary)?;
                    }
                    fs::rename(&temporary, &to)
                }
                moved => moved,
            }
        };
        moved().with_context(|| to.display().to_string())
    }
}

fn parents(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty())
}

/// Whether no parent of this path is a file or a symbolic link.
fn is_reachable(top: &Path, path: &Path) -> bool {
    parents(path).map(|dir| fs::symlink_metadata(top.join(dir))).all(|meta| match meta {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    })
}

/// Whether `part` has the type and the mode of `whole`, and its content is a prefix of it.
fn is_prefix(part: &Path, whole: &Path) -> io::Result<bool> {
    let (Ok(now), Ok(wanted)) = (fs::symlink_metadata(part), fs::symlink_metadata(whole)) else {
        return Ok(false);
    };
    if now.is_symlink() && wanted.is_symlink() {
        return Ok(fs::read_link(part)? == fs::read_link(whole)?);
    }
    let is_executable = |meta: &fs::Metadata| meta.mode() & 0o100 != 0;
    if !now.is_file() || !wanted.is_file() || is_executable(&now) != is_executable(&wanted) || now.len() > wanted.len()
    {
        return Ok(false);
    }
    let (mut part, mut whole) = (BufReader::new(File::open(part)?), BufReader::new(File::open(whole)?));
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = part.read(&mut a)?;
        if read == 0 {
            return Ok(true);
        }
        match whole.read_exact(&mut b[..read]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            done => done?,
        }
        if a[..read] != b[..read] {
            return Ok(false);
        }
    }
}

/// Makes sure that changed files are on the disk before the index or the branch says so.
pub(super) fn fsync_changes(top: &Path, changes: &[TreeChange]) -> Result<()> {
    let synced = || -> io::Result<()> {
        if changes.len() > MAX_SINGLE_FSYNCS {
            return Ok(rustix::fs::syncfs(File::open(top)?)?);
        }
        let mut dirs = HashSet::new();
        for change in changes {
            let path = top.join(path_from_bytes(&change.path));
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                File::open(&path)?.sync_all()?;
            }
            dirs.extend(path.parent().map(PathBuf::from));
        }
        for dir in dirs.into_iter().filter(|dir| dir.is_dir()) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    synced().with_context(|| format!("{}: cannot be written to the disk", top.display()))
}
