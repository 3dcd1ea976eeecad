//! The directory `mirror` in the git directory: only for this user, and no symbolic link is followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;

/// Creates the directory, or checks and tightens the one that exists.
pub(super) fn create_dir(dir: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| dir.display().to_string());
        }
        Err(_) => {}
    }
    let meta = fs::symlink_metadata(dir).with_context(|| dir.display().to_string())?;
    if !meta.is_dir() {
        bail!("{}: not a directory; remove it", dir.display());
    }
    check_owner(dir, &meta)?;
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(|| dir.display().to_string())?;
    }
    Ok(())
}

/// Opens a lock file for this user only.
pub(super) fn open_lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(no_follow()).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    let meta = file.metadata().with_context(|| path.display().to_string())?;
    check_owner(path, &meta)?;
    if meta.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600)).with_context(|| path.display().to_string())?;
    }
    Ok(file)
}

/// Creates a file for this user only. An old file or link of that name is replaced, not written to.
pub(super) fn create_file(path: &Path) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Reads a file that is not a symbolic link.
pub(super) fn read_file(path: &Path) -> std::io::Result<String> {
    std::io::read_to_string(OpenOptions::new().read(true).custom_flags(no_follow()).open(path)?)
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<()> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        bail!("{}: belongs to user {}; remove it, or run mirror as that user", path.display(), meta.uid());
    }
    Ok(())
}
