//! The local repository that keeps what was fetched. Everything in it can be fetched again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::fsutil;
use crate::git::Git;

/// Opens the repository at `cache`, or creates it. Its settings name programs that git runs, so one that
/// another user can have written is refused.
pub(super) fn open_or_create(cache: &Path) -> Result<Git> {
    let parts = [cache.to_owned(), cache.join(".git"), cache.join(".git/config")];
    if let Some(part) = parts.iter().find(|part| fsutil::others_can_have_written(part)) {
        bail!("{}: another user can have written it", part.display());
    }
    if !cache.join(".git/HEAD").is_file() {
        create(cache)?;
    }
    Git::open(cache)
}

/// Makes room for a new cache. Keeps the damaged one for inspection.
pub(super) fn move_aside(cache: &Path) -> Result<()> {
    let mut name = cache.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = cache.with_file_name(name);
    let _ = std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside));
    std::fs::rename(cache, &aside).with_context(|| format!("{}: cannot be renamed", cache.display()))
}

/// Creates the local repository under another name and renames it, so that a concurrent process
/// finds a complete repository or none.
pub(super) fn create(cache: &Path) -> Result<()> {
    let parent = cache.parent().unwrap_or(Path::new("/"));
    fsutil::trusted_directory(parent)?;
    let mut name = cache.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{:?}", std::process::id(), std::thread::current().id()));
    let new: PathBuf = parent.join(name);
    fsutil::private_directory(&new)?;
    let created = Git::init(&new).and_then(|()| Ok(std::fs::rename(&new, cache)?));
    if created.is_err() {
        let _ = std::fs::remove_dir_all(&new);
        if cache.join(".git/HEAD").is_file() {
            return Ok(());
        }
    }
    created
}
