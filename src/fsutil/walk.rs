//! The way to a directory, one name at a time, so that no other user can lead it elsewhere.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{named, not_ours, refused};

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The owner that a user namespace shows for users that it does not map (user_namespaces(7)).
const OVERFLOW_UID: u32 = 65534;

/// What to do where a directory is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it, for this user alone.
    Make,
    /// Fail.
    Fail,
}

/// Opens this user's directory at `path`. Every directory on the way belongs to root or this user, and
/// another user can write it only when it is sticky; a symbolic link on the way counts only where
/// no other user can have put it.
pub(super) fn open(path: &Path, missing: Missing) -> io::Result<OwnedFd> {
    let path = std::path::absolute(path)?;
    let mut names: VecDeque<OsString> = components(&path).collect();
    // Nobody stands above the root directory, so its owner is trusted whatever it is.
    let (mut directory, mut reached, mut sticky) = (root()?, PathBuf::from("/"), false);
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        let next = reached.join(&name);
        let failed = |error: io::Error| named(&next, error);
        let (fd, found) = step(&directory, &name, missing).map_err(failed)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::LOOP.into()));
                }
                if sticky || !is_trusted(found.st_uid) {
                    return Err(failed(refused("a symbolic link that another user can have made; remove it")));
                }
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
                if target.is_absolute() {
                    (directory, reached, sticky) = (root()?, PathBuf::from("/"), false);
                }
                for name in components(&target).rev() {
                    names.push_front(name);
                }
            }
            FileType::Directory => {
                let is_last = names.is_empty();
                if !is_trusted(found.st_uid) || (is_last && !is_own(found.st_uid)) {
                    return Err(failed(not_ours(found.st_uid)));
                }
                sticky = Mode::from_raw_mode(found.st_mode).contains(Mode::SVTX);
                if !is_last && !sticky && others_can_write(&found) {
                    let why = "other users can write this directory; run `chmod go-w` on it, or name another place";
                    return Err(failed(refused(why)));
                }
                (directory, reached) = (fd, next);
            }
            _ => return Err(failed(Errno::NOTDIR.into())),
        }
    }
    // What was opened by its name alone cannot be listed or synced.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&directory, ".", flags, Mode::empty()).map_err(|error| named(&path, error.into()))
}

fn root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn step(directory: &OwnedFd, name: &OsStr, missing: Missing) -> io::Result<(OwnedFd, Stat)> {
    let look = || rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let fd = match look() {
        Err(Errno::NOENT) if missing == Missing::Make => {
            match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
                // A umask may have taken rights of the owner.
                Ok(()) => rustix::fs::chmodat(directory, name, Mode::RWXU, AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            look()?
        }
        opened => opened?,
    };
    let found = rustix::fs::fstat(&fd)?;
    Ok((fd, found))
}

fn is_own(owner: u32) -> bool {
    owner == rustix::process::geteuid().as_raw()
}

pub(super) fn is_trusted(owner: u32) -> bool {
    owner == 0 || is_own(owner) || (owner == OVERFLOW_UID && root_is_unmapped())
}

/// A group that has its owner's number is that user's own (`USERGROUPS_ENAB` of login.defs(5)).
pub(super) fn others_can_write(found: &Stat) -> bool {
    let mode = Mode::from_raw_mode(found.st_mode);
    mode.contains(Mode::WOTH) || (mode.contains(Mode::WGRP) && found.st_gid != found.st_uid)
}

/// In a user namespace without it, root's directories seem to be nobody's.
fn root_is_unmapped() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let maps_root = |line: &str| line.split_whitespace().nth(1) == Some("0");
    !map.is_empty() && !map.lines().any(maps_root)
}
