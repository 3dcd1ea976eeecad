//! Refs: updates of them, and git's locks on them that a killed breath leaves behind.
//!
//! git locks a ref by a file beside it. A git that is killed outright leaves that file, and then
//! nobody can update the ref again. So before a command that locks refs runs, a mark names them and
//! the value they are to have; a lock found with such a mark is ours if it fits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use xshell::cmd;

use super::{Place, Stop, note};
use crate::git;

const MARK: &str = "mark";
/// git holds a ref's lock for much less than this; a younger one may belong to somebody alive.
const DEAD: Duration = Duration::from_secs(1);

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Updated {
    Done,
    /// The ref did not have the value that it should have had before.
    Moved,
}

/// Sets a ref to `new`, if it is at `old` still.
pub(super) fn update(place: &Place, name: &str, new: &str, old: Option<&str>) -> Result<Updated, Stop> {
    marked(place, &[name, "HEAD"], new, || {
        let none = "0".repeat(new.len());
        let before = old.unwrap_or(&none);
        let update = cmd!(place.git.shell(), "git update-ref -m {REFLOG} {name} {new} {before}");
        let updated = place.git.run(update, b"")?;
        if updated.success() {
            return Ok(Updated::Done);
        }
        match place.git.tip(name)?.as_deref() {
            // It may have been set before the one who set it was ended.
            Some(tip) if tip == new => return Ok(Updated::Done),
            tip if tip != old => return Ok(Updated::Moved),
            _ => {}
        }
        for lock in [lock_of(place, name), lock_of(place, "HEAD")] {
            if lock.exists() {
                let lock = lock.display();
                return Err(Stop::busy(format!("another git holds {lock}; if none is running here, remove {lock}")));
            }
        }
        Err(anyhow!("git update-ref {name}: {}", git::words(&updated)).into())
    })
}

const REFLOG: &str = "mirror: breath";

/// Runs what may lock the refs that follow the remote's branch.
pub(super) fn locking<T>(
    place: &Place,
    remote: &str,
    value: &str,
    act: impl FnOnce() -> Result<T, Stop>,
) -> Result<T, Stop> {
    let followers = followers(place, remote);
    let names: Vec<&str> = followers.iter().map(String::as_str).collect();
    marked(place, &names, value, act)
}

/// Notes where the remote's branch stands, in the refs that the person's settings keep for it. A
/// failure costs nothing but a stale `git status`.
pub(super) fn track(place: &Place, remote: &str, value: &str) {
    for name in followers(place, remote).iter().filter(|name| !is_at(place, name, value)) {
        let update = || Ok(place.git.run(cmd!(place.git.shell(), "git update-ref -m {REFLOG} {name} {value}"), b"")?);
        let _ = marked(place, &[name], value, update);
    }
}

/// Whether a ref has this value, as far as one look at the files tells.
fn is_at(place: &Place, name: &str, value: &str) -> bool {
    match fs::read_to_string(place.git.ref_file(name)) {
        Ok(text) => text.trim_end() == value,
        Err(_) => {
            let line = format!("{value} {name}");
            let packed = fs::read_to_string(place.git.common().join("packed-refs")).unwrap_or_default();
            packed.lines().any(|packed| packed == line)
        }
    }
}

/// Where the fetch settings of the remote put its branch.
fn followers(place: &Place, remote: &str) -> Vec<String> {
    let mut names = Vec::new();
    for spec in place.git.settings(&format!("remote.{remote}.fetch")) {
        let Some((from, to)) = spec.trim_start_matches('+').split_once(':') else { continue };
        if from == place.branch {
            names.push(to.to_owned());
        } else if let Some((before, after)) = from.split_once('*') {
            let star = place.branch.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            names.extend(star.map(|star| to.replacen('*', star, 1)));
        }
    }
    // A remote whose branches are fetched right over our own has no followers.
    names.retain(|name| name.starts_with("refs/") && *name != place.branch);
    names
}

fn marked<T>(place: &Place, names: &[&str], value: &str, act: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    note::write(&place.dir, MARK, &format!("{value}\n{}\n", names.join("\n")))?;
    let done = act();
    note::remove(&place.dir.join(MARK))?;
    done
}

/// Removes the locks that a killed breath left on refs.
pub(super) fn unlock_left_behind(place: &Place, local_node: &[&str]) -> Result<()> {
    // Nobody but a breath ever writes these.
    for name in local_node {
        remove_once_dead(&lock_of(place, name), |lock| lock.exists())?;
    }
    let Some(text) = note::read(&place.dir, MARK)? else {
        return Ok(());
    };
    let mark = place.dir.join(MARK);
    let marked = fs::metadata(&mark)?.modified()?;
    let mut lines = text.lines();
    let value = lines.next().unwrap_or_default();
    for name in lines {
        remove_once_dead(&lock_of(place, name), |lock| {
            let since = fs::symlink_metadata(lock).and_then(|meta| meta.modified());
            let content = fs::read_to_string(lock);
            since.is_ok_and(|since| since >= marked)
                && content.is_ok_and(|content| content.is_empty() || content.trim_end() == value)
        })?;
    }
    note::remove(&mark)
}

fn remove_once_dead(lock: &Path, is_ours: impl Fn(&Path) -> bool) -> Result<()> {
    while is_ours(lock) {
        let Ok(since) = fs::symlink_metadata(lock).and_then(|meta| meta.modified()) else {
            return Ok(());
        };
        match SystemTime::now().duration_since(since) {
            Ok(age) if age < DEAD => std::thread::sleep((DEAD - age).min(Duration::from_millis(50))),
            // From the future: a clock was set back, and nothing can be told.
            Err(_) => return Ok(()),
            Ok(_) => return note::remove(lock),
        }
    }
    Ok(())
}

fn lock_of(place: &Place, name: &str) -> PathBuf {
    let mut path = place.git.ref_file(name).into_os_string();
    path.push(".lock");
    PathBuf::from(path)
}
