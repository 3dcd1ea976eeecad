//! Notes: what a breath is about to do, written so that they outlive it and the machine's power.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Place;

/// What is about to happen to the work tree, the index and the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// In full.
    pub(super) branch: String,
    /// None where the branch has no commit yet.
    pub(super) old: Option<String>,
    pub(super) new: String,
    /// Whether files change. Where not, they hold what a person wrote, and only that.
    pub(super) files: bool,
}

const NAME: &str = "intent";

impl Intent {
    pub(super) fn write(&self, place: &Place) -> Result<()> {
        let Self { branch, old, new, files } = self;
        let text = format!("branch {branch}\nold {}\nnew {new}\nfiles {files}\n", old.as_deref().unwrap_or("-"));
        write(&place.dir, NAME, &text)
    }

    pub(super) fn read(place: &Place) -> Result<Option<Self>> {
        let Some(text) = read(&place.dir, NAME)? else {
            return Ok(None);
        };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let (Some(branch), Some(old), Some(new), Some(files)) =
            (field("branch"), field("old"), field("new"), field("files"))
        else {
            bail!("{}: cannot be understood", place.dir.join(NAME).display());
        };
        Ok(Some(Self {
            branch: branch.to_owned(),
            old: (old != "-").then(|| old.to_owned()),
            new: new.to_owned(),
            files: files == "true",
        }))
    }

    pub(super) fn remove(place: &Place) -> Result<()> {
        remove(&place.dir.join(NAME))
    }
}

/// Writes a note that is whole or absent, whatever happens.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let (path, whole) = (dir.join(format!("{name}.new")), dir.join(name));
    let written = || -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&path, &whole)?;
        File::open(dir)?.sync_all()
    };
    written().with_context(|| whole.display().to_string())
}

pub(super) fn read(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        _ => Ok(()),
    }
}
