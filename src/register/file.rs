//! A register in a file, for the processes of one machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CasOutcome, MAX_TEXT_BYTES, NewText, ReadOutcome, Register, RegisterStore, StoreError, Swap};
use super::{Version, VersionedText};
use crate::clock::Deadline;
use crate::fsutil::{self, Durability};
use crate::hex::hex;

/// A register in a file. The lock is on a second file, `PATH.lock`, because the file itself is
/// replaced at each write.
#[derive(Debug)]
pub struct FileRegister {
    path: PathBuf,
}

impl FileRegister {
    /// The register at this path, whose directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn lock(&self, shared: bool, deadline: Deadline) -> Result<File, StoreError> {
        let path = self.sibling(".lock");
        let file = fsutil::lock_file(&path).map_err(|error| StoreError::Failed(error.to_string()))?;
        let try_lock = || if shared { file.try_lock_shared() } else { file.try_lock() };
        match fsutil::wait_for_lock(deadline, try_lock) {
            Ok(()) => Ok(file),
            Err(TryLockError::Error(error)) => Err(failed(&path, &error)),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Failed(format!("{}: another process holds the lock", path.display())))
            }
        }
    }

    fn read_unlocked(&self) -> Result<Option<VersionedText>, StoreError> {
        let foreign = |why: &str| {
            StoreError::Foreign(format!(
                "{}: {why}, so it is no register; delete it, or name another path",
                self.path.display()
            ))
        };
        // Without O_NONBLOCK, opening a named pipe would wait for a writer.
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.path, &error)),
        };
        if !file.metadata().map_err(|error| failed(&self.path, &error))?.is_file() {
            return Err(foreign("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&self.path, &error))?;
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(foreign("longer than 64 KiB"));
        }
        let version = Version(hex(&Sha256::digest(&bytes)));
        let text = String::from_utf8(bytes).map_err(|_| foreign("not UTF-8"))?;
        Ok(Some(VersionedText { version, value: text.trim_end_matches('\n').to_owned() }))
    }

    /// Replaces the file atomically, and returns once that survives a power loss.
    fn replace(&self, text: &str) -> Result<(), StoreError> {
        let line = format!("{text}\n");
        let replaced = fsutil::replace(&self.path, line.as_bytes(), Durability::Durable);
        replaced.map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn swap_locked(&self, expected: Option<&Version>, new: &NewText<'_>) -> Result<CasOutcome, StoreError> {
        let before = self.read_unlocked()?;
        if before.as_ref().map(|before| &before.version) != expected {
            return Ok(CasOutcome::Lost(before));
        }
        self.replace(new.text)?;
        let gone = || StoreError::Failed(format!("{}: it disappeared after it was written", self.path.display()));
        Ok(CasOutcome::Won(self.read_unlocked()?.ok_or_else(gone)?.version))
    }
}

impl Register for FileRegister {
    fn read(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError> {
        let _lock = self.lock(true, deadline)?;
        self.read_unlocked()
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        let swapped = self.lock(false, deadline).and_then(|_lock| self.swap_locked(expected, new));
        swapped.unwrap_or_else(CasOutcome::Unknown)
    }

    /// A file keeps no history: its content is the only entry.
    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        Ok(self.read(deadline)?.into_iter().take(max).collect())
    }
}

/// All registers in the files of one directory.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// The registers in this directory.
    ///
    /// # Errors
    /// When it does not exist. It is not created: that could mask an unmounted file system.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        anyhow::ensure!(directory.is_dir(), "{shown}: no such directory; create it for the leases");
        Ok(Self { directory: directory.to_owned() })
    }

    fn register(&self, name: &str) -> FileRegister {
        FileRegister::new(self.directory.join(name))
    }
}

impl RegisterStore for FileStore {
    fn read_each(&self, names: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome)) {
        for (index, name) in names.iter().enumerate() {
            tell(index, self.register(name).read(deadline));
        }
    }

    fn swap_each(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome)) {
        for (index, Swap { name, expected, new }) in swaps.iter().enumerate() {
            tell(index, self.register(name).compare_and_swap(*expected, new, deadline));
        }
    }

    fn history_of(&self, name: &str, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        self.register(name).history(max, deadline)
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}
