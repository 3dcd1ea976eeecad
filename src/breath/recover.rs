//! What a breath finds when the one before it was killed, and how it puts that right.
//!
//! The note of [`super::turn`] says from which commit to which the tree was going. Which of its
//! steps were done is read from the index and the branch themselves:
//!
//! | index | branch | then |
//! |---|---|---|
//! | new | old | only the branch is missing: it is set |
//! | old | old | files may be new, missing or half written: those are made old again |
//! | any | else | it was done, or a person has gone on since: nothing is touched |
//!
//! Files of the second line were found clean before the note was written. One that is new now, or
//! the beginning of new, or missing, is our own work; anything else is a person's, and stays.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::index::{self, IndexLock};
use super::note::{self, Intent};
use super::refs;
use super::turn::{self, Change, Entry};
use super::{Place, Stop};
use crate::git;

/// Puts right what an earlier breath left; `own` are the refs that only breaths write.
pub(super) fn recover(place: &Place, local_node: &[&str]) -> Result<(), Stop> {
    refs::unlock_left_behind(place, local_node)?;
    index::clear(place)?;
    let Some(intent) = Intent::read(place)? else {
        index::release_left_behind(place);
        return Ok(());
    };
    let mut lock = IndexLock::take(place)?;
    lock.keep();
    let stands = place.git.head()?.as_ref() == Some(&intent.branch) && place.git.tip(&intent.branch)? == intent.old;
    if stands {
        if has_turned(place, &intent)? {
            refs::update(place, &intent.branch, &intent.new, intent.old.as_deref())?;
        } else {
            undo(place, &intent)?;
        }
    }
    Intent::remove(place)?;
    lock.release();
    Ok(())
}

/// Makes files old again that are ours; the index is the old one.
pub(super) fn undo(place: &Place, intent: &Intent) -> Result<()> {
    if !intent.files {
        return Ok(());
    }
    let known = entries(place)?;
    let from = turn::tree_of(&place.git, intent.old.as_deref())?;
    let mut changes = turn::changes(&place.git, &from, &intent.new)?;
    // A path that is staged as something else, or kept out of the tree, was never touched.
    changes.retain(|change| {
        let submodule = [&change.old, &change.new].into_iter().flatten().any(Entry::is_submodule);
        !submodule
            && known.get(&change.path).is_none_or(|known| !known.skipped)
            && at(&known, change) == change.old.as_ref()
    });
    let side = |name: &str, tree: &str, of: fn(&Change) -> bool| {
        let paths: Vec<&[u8]> = changes.iter().filter(|c| of(c)).map(|change| &change.path[..]).collect();
        stage(place, name, tree, &paths)
    };
    let (old, done) = side("old", &from, |change| change.old.is_some())?;
    done?;
    // What cannot be checked out now, for want of a filter for instance, could not be then either.
    let (new, _) = side("new", &format!("{}^{{tree}}", intent.new), |change| change.new.is_some())?;
    let top = &place.work_tree;
    for change in &changes {
        let path = git::path(&change.path);
        if change.old.is_none() && is_ours(top, change, &old, &new)? {
            note::remove(&top.join(path))?;
        }
    }
    // Directories that hold nothing but what was to come go too; one with anything in it stays.
    for change in changes.iter().filter(|change| change.old.is_none()) {
        for dir in git::path(&change.path).ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
            if !is_reached(top, dir) || fs::remove_dir(top.join(dir)).is_err() {
                break;
            }
        }
    }
    for change in changes.iter().filter(|change| change.old.is_some()) {
        let path = git::path(&change.path);
        // An empty directory stands where the file is to be.
        let _ = fs::symlink_metadata(top.join(path)).is_ok_and(|meta| meta.is_dir())
            && fs::remove_dir(top.join(path)).is_ok();
        if is_ours(top, change, &old, &new)? {
            put_back(top, path, &old)?;
        }
    }
    turn::settle(top, &changes)?;
    for dir in [old, new] {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

struct Known {
    entry: Entry,
    /// Kept out of the work tree, as a sparse checkout does.
    skipped: bool,
}

/// What the index has, undecided merges left out.
fn entries(place: &Place) -> Result<HashMap<Vec<u8>, Known>> {
    let list = place.git.read(cmd!(place.git.shell(), "git ls-files -t -s -z"))?;
    let mut known = HashMap::new();
    for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { continue };
        let fields: Vec<_> = line[..tab].split(|byte| *byte == b' ').collect();
        if let [tag, mode, id, b"0"] = fields[..] {
            let entry = Entry { mode: mode.to_owned(), id: id.to_owned() };
            known.insert(line[tab + 1..].to_owned(), Known { entry, skipped: tag == b"S" });
        }
    }
    Ok(known)
}

fn at<'a>(known: &'a HashMap<Vec<u8>, Known>, change: &Change) -> Option<&'a Entry> {
    known.get(&change.path).map(|known| &known.entry)
}

/// Whether the index has what is new, everywhere.
fn has_turned(place: &Place, intent: &Intent) -> Result<bool> {
    let from = turn::tree_of(&place.git, intent.old.as_deref())?;
    let changes = turn::changes(&place.git, &from, &intent.new)?;
    let known = entries(place)?;
    Ok(changes.iter().all(|change| at(&known, change) == change.new.as_ref()))
}

/// Writes files of a tree to a directory of our own, just as git would check them out. The inner
/// result is whether it wrote them all.
fn stage(place: &Place, name: &str, tree: &str, paths: &[&[u8]]) -> Result<(PathBuf, Result<()>)> {
    let dir = place.dir.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let (sh, index) = (place.git.shell(), place.dir.join("index.side"));
    let whole = "core.sparseCheckout=false";
    let _at = sh.push_dir(&dir);
    let side = |cmd: xshell::Cmd<'_>, input: &[u8]| {
        let cmd = cmd.env("GIT_INDEX_FILE", &index).env("GIT_DIR", place.git.dir()).env("GIT_WORK_TREE", &dir);
        place.git.read_with(cmd, input)
    };
    side(cmd!(sh, "git -c {whole} read-tree {tree}"), b"")?;
    let list: Vec<u8> = paths.iter().flat_map(|path| [path, &b"\0"[..]].concat()).collect();
    let done = side(cmd!(sh, "git -c {whole} checkout-index -f -q -z --stdin"), &list).map(drop);
    if done.is_err() {
        // git leaves what it began to write: on a full disk half a file, by which the whole one in
        // the tree would look like a person's. What it cannot write by itself either is not there.
        for path in paths {
            let one = [path, &b"\0"[..]].concat();
            if side(cmd!(sh, "git -c {whole} checkout-index -f -q -z --stdin"), &one).is_err() {
                note::remove(&dir.join(git::path(path)))?;
            }
        }
    }
    note::remove(&index)?;
    Ok((dir, done))
}

/// Whether what stands at this path is missing, or new, or the beginning of new.
fn is_ours(top: &Path, change: &Change, old: &Path, new: &Path) -> Result<bool> {
    let path = git::path(&change.path);
    if !is_reached(top, path) {
        return Ok(false);
    }
    let (current, old, new) = (top.join(path), old.join(path), new.join(path));
    let there = |path: &Path| fs::symlink_metadata(path).is_ok();
    if !there(&current) {
        return Ok(true);
    }
    if there(&new) || change.new.is_none() {
        return is_beginning(&current, &new).with_context(|| current.display().to_string());
    }
    if there(&old) && is_beginning(&current, &old)? && is_beginning(&old, &current)? {
        return Ok(false);
    }
    bail!("{}: cannot tell whether it was being written, or somebody wrote it since", current.display());
}

/// Whether the way to this path leads through directories alone, as far as it goes.
fn is_reached(top: &Path, path: &Path) -> bool {
    let parents = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    let mut parents = parents.map(|dir| fs::symlink_metadata(top.join(dir)));
    parents.all(|meta| match meta {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    })
}

/// Whether one file has the kind and the mode of another, and what is in it is how that begins.
fn is_beginning(part: &Path, whole: &Path) -> io::Result<bool> {
    let (Ok(now), Ok(wanted)) = (fs::symlink_metadata(part), fs::symlink_metadata(whole)) else {
        return Ok(false);
    };
    if now.is_symlink() && wanted.is_symlink() {
        return Ok(fs::read_link(part)? == fs::read_link(whole)?);
    }
    let executable = |meta: &fs::Metadata| meta.mode() & 0o100 != 0;
    if !now.is_file() || !wanted.is_file() || executable(&now) != executable(&wanted) || now.len() > wanted.len() {
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

/// Moves a file from where it was staged to where it belongs, at one stroke.
fn put_back(top: &Path, path: &Path, old: &Path) -> Result<()> {
    let (from, to) = (old.join(path), top.join(path));
    let moved = || -> io::Result<()> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut beside = to.clone().into_os_string();
                beside.push(".mirror-restores");
                if from.is_symlink() {
                    std::os::unix::fs::symlink(fs::read_link(&from)?, &beside)?;
                } else {
                    fs::copy(&from, &beside)?;
                }
                fs::rename(&beside, &to)
            }
            moved => moved,
        }
    };
    moved().with_context(|| to.display().to_string())
}
