//! The file of the node list: where it is looked for, and which file is trusted.
//!
//! A node list is code: its commands run as the user who runs `mirror`. So it is read only where nobody
//! but root and that user could have written it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use rustix::fs::OFlags;

use super::text::line_column;
use crate::usage_error::UsageError;

/// A longer file is not a node list.
const MAX_FILE: u64 = 1024 * 1024;
/// As many as Linux itself follows.
const MAX_LINKS: usize = 40;
/// Others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Only the owner of a file may rename or remove it.
const STICKY: u32 = 0o1000;

/// Where a node list is, or will be where there is none yet: the last place of those that are looked at for root,
/// the first for others.
pub(super) fn place() -> PathBuf {
    let candidates = candidates();
    let found = candidates.iter().find(|path| std::fs::symlink_metadata(path).is_ok());
    let is_root = rustix::process::geteuid().is_root();
    let made = if is_root { candidates.last() } else { candidates.first() };
    found.or(made).cloned().unwrap_or_default()
}

fn candidates() -> Vec<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("mirror/mirror.toml"))
        .into_iter()
        .chain([PathBuf::from("/etc/mirror/mirror.toml")])
        .collect()
}

/// Where a node list is looked for when none is named: the first file that exists.
pub(super) fn find() -> Result<PathBuf> {
    let candidates = candidates();
    // One that is there and cannot be read is an error, and not a reason to read another.
    let is_absent = |path: &Path| {
        std::fs::symlink_metadata(path)
            .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    };
    candidates.iter().find(|path| !is_absent(path)).cloned().ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        UsageError::new(format!(
            "no configuration found; write one to {}, or name it with --config",
            looked.join(" or ")
        ))
    })
}

/// Reads a trusted file.
///
/// # Errors
/// When it cannot be read, is not a regular file, could have been written by others, is longer than
/// 1 MiB, or is not UTF-8.
pub(super) fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_long(path));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let (line, column) = line_column(&valid, usize::MAX);
            Err(UsageError::new(format!("{shown}:{line}:{column}: not UTF-8; save the file as UTF-8")))
        }
    }
}

/// Opens a file that only root and this user can have written. Never waits, as for a FIFO.
fn open(path: &Path) -> Result<File> {
    let real = resolve(path)?;
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(real);
    let file = opened.map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(UsageError::new(format!(
            "{}: not a regular file; name a file that holds a node list with --config",
            path.display()
        )));
    }
    check(path, &metadata)?;
    if metadata.len() > MAX_FILE {
        return Err(too_long(path));
    }
    Ok(file)
}

/// The path without symbolic links. Each directory on the way, and each link, must be one that only root
/// and this user can have changed: replacing a part of the path replaces the file.
fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    let mut ahead = components(&absolute);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(component) = ahead.pop_front() {
        if component == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&component);
        let metadata = std::fs::symlink_metadata(&next).map_err(|error| unreadable(path, &error))?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(unreadable(path, &std::io::Error::from(rustix::io::Errno::LOOP)));
            }
            check_owner(&next, &metadata)?;
            let target = std::fs::read_link(&next).map_err(|error| unreadable(path, &error))?;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            let mut target = components(&target);
            target.append(&mut ahead);
            ahead = target;
            continue;
        }
        if metadata.is_dir() && !ahead.is_empty() {
            check(&next, &metadata)?;
        }
        real = next;
    }
    Ok(real)
}

fn components(path: &Path) -> VecDeque<OsString> {
    let normal = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(normal).collect()
}

/// Refuses what others than root and this user may change.
fn check(path: &Path, metadata: &Metadata) -> Result<()> {
    check_owner(path, metadata)?;
    let is_sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 && !is_sticky {
        let (path, mode) = (path.display(), metadata.mode() & 0o7777);
        return Err(UsageError::new(format!(
            "{path}: others may write here (mode {mode:04o}), and a node list is code that runs as you; \
             chmod go-w {path}"
        )));
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<()> {
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == 0 || owner == own || (metadata.is_dir() && is_unmapped(owner)) {
        return Ok(());
    }
    let (path, user) = (path.display(), if own == 0 { "root".to_owned() } else { format!("root or {own}") });
    Err(UsageError::new(format!(
        "{path}: belongs to the user {owner}, and a node list is code that runs as you; chown it to {user}"
    )))
}

/// Whether a user is none of this user namespace: the directories of the host of an unprivileged
/// container, which nobody within it can change.
fn is_unmapped(user: u32) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    !map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|number| number.parse::<u64>().ok());
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (first, count) = (first.unwrap_or(0), count.unwrap_or(u64::MAX));
        (first..first.saturating_add(count)).contains(&u64::from(user))
    })
}

fn too_long(path: &Path) -> anyhow::Error {
    UsageError::new(format!(
        "{}: longer than 1 MiB, so it is not a node list; name another file with --config",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    UsageError::new(format!("{}: {error}; name a file that can be read with --config", path.display()))
}
