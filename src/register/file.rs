//! A register in a file, for the processes of one machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Entry, Held, LONGEST, Register, StoreError, Swap, Version};
use crate::deadline::Deadline;
use crate::fsutil::{self, Durability};

/// How often a lock that somebody holds is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// A register in a file. A second file, `PATH.lock`, is locked, since the file itself is replaced.
#[derive(Debug)]
pub struct FileRegister {
    path: PathBuf,
}

impl FileRegister {
    /// The register at this path; its directory is there already.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn lock(&self, shared: bool, deadline: Deadline) -> Result<File, StoreError> {
        let path = self.beside(".lock");
        let file = fsutil::lock_file(&path).map_err(|error| StoreError::Failed(error.to_string()))?;
        loop {
            match if shared { file.try_lock_shared() } else { file.try_lock() } {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
                Err(TryLockError::WouldBlock) if deadline.has_passed() => {
                    return Err(StoreError::Failed(format!("{}: another process holds the lock", path.display())));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE.min(deadline.left())),
            }
        }
    }

    fn held(&self) -> Result<Option<Held>, StoreError> {
        let foreign = |why: &str| {
            StoreError::Foreign(format!(
                "{}: {why}, so it is no register; delete it, or point elsewhere",
                self.path.display()
            ))
        };
        // Opening a pipe would wait for whoever writes into it.
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.path, &error)),
        };
        if !file.metadata().map_err(|error| failed(&self.path, &error))?.is_file() {
            return Err(foreign("no plain file"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&self.path, &error))?;
        if bytes.len() > LONGEST {
            return Err(foreign("longer than 64 KiB"));
        }
        let version = Version(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect());
        let text = String::from_utf8(bytes).map_err(|_| foreign("not UTF-8"))?;
        Ok(Some(Held { version, text: text.trim_end_matches('\n').to_owned() }))
    }

    /// In full or not at all, and from then on for good.
    fn replace(&self, text: &str) -> Result<(), Swap> {
        let line = format!("{text}\n");
        let replaced = fsutil::replace(&self.path, line.as_bytes(), Durability::Durable);
        replaced.map_err(|error| Swap::Unknown(StoreError::Failed(error.to_string())))
    }
}

impl Register for FileRegister {
    fn read(&self, deadline: Deadline) -> Result<Option<Held>, StoreError> {
        let _lock = self.lock(true, deadline)?;
        self.held()
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &Entry<'_>, deadline: Deadline) -> Swap {
        let _lock = match self.lock(false, deadline) {
            Ok(lock) => lock,
            Err(fault) => return Swap::Unknown(fault),
        };
        match self.held() {
            Ok(held) if held.as_ref().map(|held| &held.version) == expected => {}
            Ok(held) => return Swap::Lost(held),
            Err(fault) => return Swap::Unknown(fault),
        }
        match self.replace(new.text).map(|()| self.held()) {
            Ok(Ok(Some(held))) => Swap::Won(held.version),
            Ok(Ok(None)) => Swap::Unknown(StoreError::Failed(format!("{} has gone", self.path.display()))),
            Ok(Err(fault)) => Swap::Unknown(fault),
            Err(unknown) => unknown,
        }
    }

    /// A file keeps only what it holds.
    fn history(&self, most: usize, deadline: Deadline) -> Result<Vec<Held>, StoreError> {
        Ok(self.read(deadline)?.into_iter().take(most).collect())
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {error}", path.display()))
}
