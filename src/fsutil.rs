//! Files that belong to this program: private whatever the umask, read up to a bound, replaced as a
//! whole, and never reached through a link or a directory that another user controls.

#[cfg(test)]
mod tests;
mod walk;

pub use walk::Missing;

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::clock::Deadline;

/// How often a lock is tried that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(2);
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Whether a replaced file must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The old or the new content, whichever reached the disk.
    Cached,
    /// The new content is on the disk, and so is its name.
    Durable,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it; it must exist.
    Read,
    /// Lock it; it is created when missing.
    Lock,
    /// Read it and append to it; it is created when missing.
    Append,
    /// Write over its content; it must exist.
    Overwrite,
}

/// A directory that only this user can enter, found without trusting another user.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    fd: OwnedFd,
}

impl PrivateDirectory {
    /// Makes the directory and its missing parents with mode 0700. One that exists is made private
    /// when it belongs to this user.
    ///
    /// # Errors
    /// When it belongs to another user, lies below a directory that another user can write, or cannot
    /// be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open_as(path, Missing::Make, |_| true)
    }

    /// Opens a directory that is this program's alone as far as `is_own` knows the names of what is in
    /// it. One that holds anything else keeps its mode, as long as no other user can write it: to
    /// close /var/lib would break the system.
    ///
    /// # Errors
    /// As for [`create`](Self::create); with [`ErrorKind::NotFound`] when there is none and none is made.
    pub fn open_as(path: &Path, missing: Missing, is_own: impl Fn(&OsStr) -> bool) -> io::Result<Self> {
        let fd = walk::open(path, missing)?;
        make_private(&fd, is_own).map_err(|error| named(path, error))?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Its path, for messages and for programs that are started.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of what it holds.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        names(&self.fd)
    }

    /// Opens a regular file of this user or root in it, with mode 0600.
    ///
    /// # Errors
    /// When it is a link, a pipe or a device, belongs to another user, or cannot be opened.
    pub fn file(&self, name: &str, access: Access) -> io::Result<File> {
        open_at(self.fd.as_fd(), OsStr::new(name), access).map_err(|error| named(&self.path.join(name), error))
    }

    /// The content of a file; none when there is no such file.
    ///
    /// # Errors
    /// As for [`file`](Self::file), and when it is longer than `max` bytes.
    pub fn read(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        match self.file(name, Access::Read) {
            Ok(file) => read_bounded(file, max).map(Some).map_err(|error| named(&self.path.join(name), error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file as a whole, whatever stood in its place.
    ///
    /// # Errors
    /// When it cannot be written; the old file is then still there.
    pub fn replace(&self, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
        let replaced = replace_at(self.fd.as_fd(), OsStr::new(name), bytes, durability);
        replaced.map_err(|error| named(&self.path.join(name), error))
    }

    /// Renames a file within the directory.
    ///
    /// # Errors
    /// When there is none, or the directory cannot be written.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }
}

/// Makes a directory that only this user can enter, or makes sure that the one at `path` is such.
///
/// # Errors
/// As for [`PrivateDirectory::create`].
pub fn private_directory(path: &Path) -> io::Result<PrivateDirectory> {
    PrivateDirectory::create(path)
}

/// Makes the directory when it is missing, and makes sure that no other user can write it or lead the
/// way to it elsewhere; one that exists keeps its mode.
///
/// # Errors
/// As for [`PrivateDirectory::create`].
pub fn trusted_directory(path: &Path) -> io::Result<PrivateDirectory> {
    PrivateDirectory::open_as(path, Missing::Make, |_| false)
}

/// Whether another user can have written what is at `path`, or have put it there.
pub fn others_can_have_written(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|found| {
        let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
        is_link || !walk::is_trusted(found.st_uid) || walk::others_can_write(&found)
    })
}

/// Replaces the file at `path` as a whole, with mode 0600. Its directory is taken as it is.
///
/// # Errors
/// When it cannot be written; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let (directory, name) = parent(path)?;
    replace_at(directory.as_fd(), name, bytes, durability).map_err(|error| named(path, error))
}

/// Opens the lock file at `path`, made with mode 0600 when missing. Its directory is taken as it is.
///
/// # Errors
/// As for [`PrivateDirectory::file`].
pub fn lock_file(path: &Path) -> io::Result<File> {
    let (directory, name) = parent(path)?;
    open_at(directory.as_fd(), name, Access::Lock).map_err(|error| named(path, error))
}

/// Tries a lock again and again until the deadline, as long as another process holds it.
///
/// # Errors
/// `WouldBlock` where it is still held then; else why it cannot be had.
pub fn wait_for_lock(deadline: Deadline, try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    loop {
        match try_lock() {
            Err(TryLockError::WouldBlock) if !deadline.has_passed() => {
                std::thread::sleep(LOCK_PAUSE.min(deadline.left()))
            }
            tried => return tried,
        }
    }
}

fn parent(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| named(directory, error.into()))?, name))
}

fn open_at(directory: BorrowedFd<'_>, name: &OsStr, access: Access) -> io::Result<File> {
    // Without NONBLOCK, opening a pipe waits for its other end.
    let always = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = always
        | match access {
            Access::Read => OFlags::RDONLY,
            Access::Overwrite => OFlags::WRONLY,
            Access::Lock => OFlags::RDWR | OFlags::CREATE,
            Access::Append => OFlags::RDWR | OFlags::CREATE | OFlags::APPEND,
        };
    let fd = match rustix::fs::openat(directory, name, flags, PRIVATE_FILE) {
        Err(Errno::LOOP) => return Err(refused("a symbolic link; remove it")),
        // A pipe that nobody reads, or a device without a driver.
        Err(Errno::NXIO) => return Err(refused("not a regular file; remove it")),
        opened => opened?,
    };
    let found = regular(&fd)?;
    if access != Access::Read && found.st_nlink > 1 {
        return Err(refused("a file with a second name (hard link); remove it"));
    }
    let (own, mode) = (rustix::process::geteuid().as_raw(), Mode::from_raw_mode(found.st_mode));
    if found.st_uid == own && mode != PRIVATE_FILE {
        rustix::fs::fchmod(&fd, PRIVATE_FILE)?;
    } else if found.st_uid != own && (found.st_uid != 0 || mode.intersects(Mode::WGRP | Mode::WOTH)) {
        return Err(not_ours(found.st_uid));
    }
    Ok(File::from(fd))
}

fn regular(fd: &OwnedFd) -> io::Result<rustix::fs::Stat> {
    let found = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(refused("not a regular file; remove it"));
    }
    Ok(found)
}

fn read_bounded(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(refused(&format!("longer than {max} bytes")));
    }
    Ok(bytes)
}

fn replace_at(directory: BorrowedFd<'_>, name: &OsStr, bytes: &[u8], durability: Durability) -> io::Result<()> {
    // Several threads of several processes may replace the same file at once.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut new = OsStr::new(".").to_owned();
    new.push(name);
    new.push(format!(".{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(directory, &new, flags, PRIVATE_FILE) {
        // A killed process that had the same number left it.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(directory, &new, AtFlags::empty())?;
            rustix::fs::openat(directory, &new, flags, PRIVATE_FILE)?
        }
        opened => opened?,
    };
    let replaced = write_and_rename(directory, (File::from(fd), &new), name, bytes, durability);
    if replaced.is_err() {
        let _ = rustix::fs::unlinkat(directory, &new, AtFlags::empty());
    }
    replaced
}

fn write_and_rename(
    directory: BorrowedFd<'_>,
    (mut file, new): (File, &OsStr),
    name: &OsStr,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    // A umask may have taken rights of the owner.
    rustix::fs::fchmod(&file, PRIVATE_FILE)?;
    file.write_all(bytes)?;
    if durability == Durability::Durable {
        file.sync_all()?;
    }
    rustix::fs::renameat(directory, new, directory, name)?;
    if durability == Durability::Durable {
        // Until the directory is on the disk, a power cut may bring the old file back.
        rustix::fs::fsync(directory)?;
    }
    Ok(())
}

fn make_private(fd: &OwnedFd, is_own: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    let found = rustix::fs::fstat(fd)?;
    let mode = Mode::from_raw_mode(found.st_mode);
    if !mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Ok(());
    }
    if !mode.contains(Mode::SVTX) && names(fd)?.iter().all(|name| is_own(name)) {
        return Ok(rustix::fs::fchmod(fd, Mode::RWXU)?);
    }
    if walk::others_can_write(&found) {
        return Err(refused("other users can write this directory; name one that is for this program alone"));
    }
    Ok(())
}

fn names(fd: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

fn not_ours(owner: u32) -> io::Error {
    let own = rustix::process::geteuid().as_raw();
    refused(&format!("belongs to user {owner}, and this is user {own}; run as that user, or name another place"))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
