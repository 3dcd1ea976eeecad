//! The journal: what a breath is about to do, written so that it survives a kill and a power loss.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::worktree::Worktree;
use crate::fsutil::{self, Durability, Missing, PrivateDirectory};

/// A move of the work tree, the index and the branch that is about to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalEntry {
    /// The full name of the branch.
    pub(super) branch: String,
    /// None if the branch has no commit yet.
    pub(super) old: Option<String>,
    pub(super) new: String,
    /// Whether files change. If not, the files are a person's work and must stay as they are.
    pub(super) files: bool,
}

/// The name is part of the format: an upgraded `mirror` finishes what an older one began.
const FILE: &str = "intent";
/// Much longer than any that is written here.
const MAX_BYTES: u64 = 64 * 1024;

impl JournalEntry {
    pub(super) fn write(&self, worktree: &Worktree) -> Result<()> {
        let Self { branch, old, new, files } = self;
        let text = format!("branch {branch}\nold {}\nnew {new}\nfiles {files}\n", old.as_deref().unwrap_or("-"));
        write(&worktree.dir, FILE, &text)
    }

    pub(super) fn read(worktree: &Worktree) -> Result<Option<Self>> {
        let Some(text) = read(&worktree.dir, FILE)? else {
            return Ok(None);
        };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let (Some(branch), Some(old), Some(new), Some(files)) =
            (field("branch"), field("old"), field("new"), field("files"))
        else {
            bail!("{}: invalid content", worktree.dir.join(FILE).display());
        };
        Ok(Some(Self {
            branch: branch.to_owned(),
            old: (old != "-").then(|| old.to_owned()),
            new: new.to_owned(),
            files: files == "true",
        }))
    }

    pub(super) fn remove(worktree: &Worktree) -> Result<()> {
        remove(&worktree.dir.join(FILE))
    }
}

/// Writes a file atomically and durably.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    Ok(fsutil::replace(&dir.join(name), text.as_bytes(), Durability::Durable)?)
}

/// The content of a file; none if it does not exist.
pub(super) fn read(dir: &Path, name: &str) -> Result<Option<String>> {
    match PrivateDirectory::open_as(dir, Missing::Fail, |_| true) {
        Ok(dir) => Ok(dir.read(name, MAX_BYTES)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file if it exists.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        _ => Ok(()),
    }
}
