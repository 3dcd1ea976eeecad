//! The one moment that touches the work tree: from the commit it stands at to another.
//!
//! The order is what makes it safe to be killed anywhere. Everything is found out first, on a
//! private copy of the index under `index.lock`. Then the note; the files; the index; the branch;
//! and the note goes again before the lock does. [`super::recover`] reads it backwards.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use super::index::IndexLock;
use super::note::Intent;
use super::refs::{self, Updated};
use super::{Place, Stop, recover, shown};
use crate::git::{self, Git};

/// Above so many files, syncing the whole file system is quicker than syncing each. Below, it would
/// wait for what everybody else wrote.
const EACH: usize = 1000;
/// So many untracked files in the way are named; nobody reads more.
const NAMED: usize = 100;

/// A path that differs between two trees, with what it is in each.
pub(super) struct Change {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<Entry>,
    pub(super) new: Option<Entry>,
}

/// What a tree or the index has under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: Vec<u8>,
    pub(super) id: Vec<u8>,
}

impl Entry {
    /// Whether it is a submodule, of which the work tree has a directory and git asks no more.
    pub(super) fn is_submodule(&self) -> bool {
        self.mode == b"160000"
    }
}

/// Brings the work tree, the index and the branch from `old` to `new`, uncommitted work staying as
/// it is. Says false, nothing having changed, where the branch no longer stands at `old`.
pub(super) fn turn(place: &Place, old: Option<&str>, new: &str) -> Result<bool, Stop> {
    let mut lock = IndexLock::take(place)?;
    if !place.stands_at(old)? {
        return Ok(false);
    }
    let (git, sh) = (&place.git, place.git.shell());
    let index = &lock.copy()?;
    // Fails where anything is modified, which is no matter here: only its by-product is wanted.
    git.run(cmd!(sh, "git update-index -q --refresh").env("GIT_INDEX_FILE", index), b"")?;
    let from = &tree_of(git, old)?;
    let changes = changes(git, from, new)?;
    let try_it = cmd!(sh, "git read-tree -n -m -u {from} {new}").env("GIT_INDEX_FILE", index);
    let tried = git.run(try_it, b"")?;
    let mut files = in_the_way(place, &changes, index)?;
    if !tried.success() || !files.is_empty() {
        files.extend(modified(place, &changes, index)?);
        return Err(refusal(files, &git::words(&tried)));
    }
    let intent = Intent { branch: place.branch.clone(), old: old.map(str::to_owned), new: new.to_owned(), files: true };
    intent.write(place)?;
    lock.keep();
    let put = git.read(cmd!(sh, "git read-tree -m -u {from} {new}").env("GIT_INDEX_FILE", index));
    let put = put.and_then(|_| settle(&place.work_tree, &changes)).map_err(Stop::from);
    let end = match put {
        Ok(()) => seal(place, &lock, &intent)?,
        Err(stop) => Err(stop),
    };
    if !matches!(end, Ok(true)) {
        recover::undo(place, &intent)?;
    }
    Intent::remove(place)?;
    lock.release();
    end
}

/// Puts the private index and the new commit in their places. The outer error leaves things to the
/// next breath; after an inner one, or false where the branch had moved, the index is as it was.
pub(super) fn seal(place: &Place, lock: &IndexLock<'_>, intent: &Intent) -> Result<Result<bool, Stop>> {
    lock.install()?;
    let updated = refs::update(place, &intent.branch, &intent.new, intent.old.as_deref());
    if !matches!(updated, Ok(Updated::Done)) {
        lock.reinstall()?;
    }
    Ok(updated.map(|updated| updated == Updated::Done))
}

/// The tree of a commit, or the empty one.
pub(super) fn tree_of(git: &Git, commit: Option<&str>) -> Result<String> {
    match commit {
        Some(commit) => Ok(format!("{commit}^{{tree}}")),
        None => git.line(cmd!(git.shell(), "git hash-object -t tree -w --stdin")),
    }
}

/// Where two trees differ.
pub(super) fn changes(git: &Git, old: &str, new: &str) -> Result<Vec<Change>> {
    let raw = git.read(cmd!(git.shell(), "git diff-tree -r -z --raw --no-renames --no-abbrev {old} {new}"))?;
    let mut parts = raw.split(|byte| *byte == 0);
    let mut changes = Vec::new();
    while let (Some(about), Some(path)) = (parts.next(), parts.next()) {
        let fields: Vec<_> = about.split(|byte| *byte == b' ').collect();
        let [old_mode, new_mode, old_id, new_id, _] = fields[..] else {
            anyhow::bail!("git diff-tree said {:?}", String::from_utf8_lossy(about));
        };
        changes.push(Change {
            path: path.to_owned(),
            old: entry(old_mode.strip_prefix(b":").unwrap_or(old_mode), old_id),
            new: entry(new_mode, new_id),
        });
    }
    Ok(changes)
}

fn entry(mode: &[u8], id: &[u8]) -> Option<Entry> {
    (mode != b"000000").then(|| Entry { mode: mode.to_owned(), id: id.to_owned() })
}

/// Files that git does not know, where incoming ones are to go. git itself would write over those
/// that it is told to ignore.
fn in_the_way(place: &Place, changes: &[Change], index: &Path) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for change in changes.iter().filter(|change| change.old.is_none()) {
        let Some(new) = &change.new else { continue };
        if found.len() < NAMED {
            obstacles(&place.work_tree, &change.path, new.is_submodule(), &mut found)?;
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    let known = place.git.read(cmd!(place.git.shell(), "git ls-files -z").env("GIT_INDEX_FILE", index))?;
    let known: HashSet<&[u8]> = known.split(|byte| *byte == 0).collect();
    found.retain(|path| !known.contains(&path[..]));
    Ok(found)
}

fn obstacles(top: &Path, path: &[u8], submodule: bool, found: &mut Vec<Vec<u8>>) -> Result<()> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in slashes.chain([path.len()]) {
        let part = &path[..end];
        match fs::symlink_metadata(top.join(git::path(part))) {
            Err(_) => return Ok(()),
            Ok(meta) if !meta.is_dir() => {
                found.push(part.to_owned());
                return Ok(());
            }
            Ok(_) if end == path.len() && !submodule => below(top, part, found)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Every file below a directory.
fn below(top: &Path, dir: &[u8], found: &mut Vec<Vec<u8>>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let full = top.join(git::path(dir));
    for file in fs::read_dir(&full).with_context(|| full.display().to_string())? {
        let file = file.with_context(|| full.display().to_string())?;
        let path = [dir, file.file_name().as_bytes()].join(&b'/');
        if file.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(top, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Files with uncommitted changes that incoming ones touch.
fn modified(place: &Place, changes: &[Change], index: &Path) -> Result<Vec<Vec<u8>>, Stop> {
    let sh = place.git.shell();
    let status = cmd!(sh, "git status --porcelain -z --untracked-files=no --no-renames").env("GIT_INDEX_FILE", index);
    let status = place.git.read(status)?;
    let mut dirty = Vec::new();
    for line in status.split(|byte| *byte == 0).filter(|line| line.len() > 3) {
        let (state, path) = (&line[..2], &line[3..]);
        if is_unmerged(state) {
            return Err(unmerged(path));
        }
        dirty.push(path);
    }
    let within =
        |a: &[u8], b: &[u8]| a.strip_prefix(b).is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'));
    let touches = |path: &[u8]| changes.iter().any(|change| within(path, &change.path) || within(&change.path, path));
    Ok(dirty.into_iter().filter(|path| touches(path)).map(<[u8]>::to_owned).collect())
}

/// Whether `git status` says of a path that a merge left it undecided.
pub(super) fn is_unmerged(state: &[u8]) -> bool {
    matches!(state, b"DD" | b"AA") || state.contains(&b'U')
}

/// What to say of such a path.
pub(super) fn unmerged(path: &[u8]) -> Stop {
    let files = shown([path.to_owned()]);
    let reason = format!("{} is not merged yet; resolve it, `git add` it and commit", files.join(", "));
    Stop::At(super::Verdict::Refused, reason, files)
}

fn refusal(files: Vec<Vec<u8>>, words: &str) -> Stop {
    let files = shown(files);
    let what = match &files[..] {
        [] => words.to_owned(),
        [one] => format!("incoming changes touch {one}, which is not committed"),
        [first, rest @ ..] => {
            format!("incoming changes touch {first} and {} more, which are not committed", rest.len())
        }
    };
    Stop::At(super::Verdict::Refused, format!("{what}; commit it, put it away with `git stash -u`, or move it"), files)
}

/// Makes sure that changed files are on the disk before anything says that they are.
pub(super) fn settle(top: &Path, changes: &[Change]) -> Result<()> {
    let settled = || -> std::io::Result<()> {
        if changes.len() > EACH {
            return Ok(rustix::fs::syncfs(File::open(top)?)?);
        }
        let mut dirs = HashSet::new();
        for change in changes {
            let path = top.join(git::path(&change.path));
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
    settled().with_context(|| format!("{}: could not be written to the disk", top.display()))
}
