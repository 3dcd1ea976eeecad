//! Registers in the refs of a git remote.
//!
//! Each write is a commit without files: the text is the last line of its message, and its parent is
//! the write before, so a ref's history is its register's log. A local repository caches the commits.
//!
//! However many registers are asked for, a read is one `git ls-remote`, and one `git fetch` where some of
//! the refs moved; a write is one `git push`, in which each ref is compared with its own old commit:
//!
//! ```text
//!  read    ls-remote a b c ── fetch b ── cat-file
//!  write   hash-object ────── push a b c: a done, b refused, c done ── read b
//! ```
//!
//! The push is not atomic on purpose: a ref that another process moved first holds up no other.

mod cache;
mod objects;
mod push;
mod read;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use self::objects::Object;
use super::{CasOutcome, ReadOutcome, RegisterOf, RegisterStore, StoreError, Swap};
use super::{Version, VersionedText};
use crate::clock::Deadline;
use crate::exec::{Ended, Finished};
use crate::fsutil;
use crate::git::{Git, error_line};

/// The largest `--max-count` that git accepts is a little more.
const MAX_COMMITS: usize = 1 << 30;

/// All registers in the refs of a git remote that begin with a prefix.
#[derive(Debug)]
pub struct GitStore {
    git: Git,
    /// The local repository. Everything in it can be fetched again.
    cache: PathBuf,
    remote: String,
    prefix: String,
    by: String,
    memory: Memory,
}

/// What was last found at each ref. Stores of one remote may share it.
pub type Memory = Arc<Mutex<HashMap<String, VersionedText>>>;

impl GitStore {
    /// The registers at the refs `PREFIX NAME` of `remote`, a URL or an absolute path. `cache` is a
    /// private directory, created if missing; `by` is the author of the commits. `ssh_command`
    /// replaces `ssh`, unless the environment or git's settings name another.
    ///
    /// # Errors
    /// When the cache cannot be used.
    pub fn open(cache: &Path, remote: &str, prefix: &str, by: &str, ssh_command: Option<&str>) -> Result<Self> {
        fsutil::trusted_directory(cache.parent().unwrap_or(Path::new("/")))?;
        let opened = match cache::open_or_create(cache) {
            Err(_) if cache.symlink_metadata().is_ok() => {
                cache::move_aside(cache).and_then(|()| cache::open_or_create(cache))
            }
            opened => opened,
        };
        let mut git = opened.with_context(|| format!("{}: cannot keep git's objects here", cache.display()))?;
        git.set_ssh_command(ssh_command);
        let by = by.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
        let (remote, prefix) = (remote.to_owned(), prefix.to_owned());
        Ok(Self { git, cache: cache.to_owned(), remote, prefix, by, memory: Memory::default() })
    }

    /// The same, with what other stores of the same remote have found.
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    fn found(&self) -> MutexGuard<'_, HashMap<String, VersionedText>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn run_remote(&self, cmd: Cmd<'_>, deadline: Deadline) -> Result<Finished, StoreError> {
        self.git.run_remote(cmd, deadline).map_err(|error| failed(&error))
    }

    fn fault(&self, what: &str, finished: &Finished) -> StoreError {
        let why = if finished.ended == Ended::TimedOut { "no answer in time".to_owned() } else { error_line(finished) };
        StoreError::Failed(format!("git {what} {}: {why}", self.remote))
    }

    /// The text of an object to which a ref points.
    fn text(&self, reference: &str, id: &str, object: &Object) -> Result<VersionedText, StoreError> {
        match object {
            Object::Commit(value) => Ok(VersionedText { version: Version(id.to_owned()), value: value.clone() }),
            Object::Other(kind) => Err(StoreError::Foreign(format!(
                "{reference} of {} is a {kind}, not a lease; choose another ref prefix, or delete it",
                self.remote
            ))),
        }
    }

    fn remember(&self, reference: &str, found: &VersionedText) {
        self.found().insert(reference.to_owned(), found.clone());
    }

    fn is_last(&self, reference: &str, id: &str) -> Option<VersionedText> {
        self.found().get(reference).filter(|last| last.version.0 == id).cloned()
    }
}

impl RegisterStore for GitStore {
    fn read_each(&self, names: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome)) {
        let references: Vec<String> = names.iter().map(|name| self.reference(name)).collect();
        self.read_refs(&references.iter().map(String::as_str).collect::<Vec<_>>(), deadline, tell);
    }

    fn swap_each(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome)) {
        let references: Vec<String> = swaps.iter().map(|swap| self.reference(swap.name)).collect();
        let swaps: Vec<Swap<'_>> =
            swaps.iter().zip(&references).map(|(swap, reference)| Swap { name: reference, ..*swap }).collect();
        self.swap_refs(&swaps, deadline, tell);
    }

    fn history_of(&self, name: &str, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        let reference = self.reference(name);
        let mut tip = Ok(None);
        self.read_refs(&[&reference], deadline, &mut |_, found| tip = found);
        let Some(VersionedText { version: Version(tip), .. }) = tip? else { return Ok(Vec::new()) };
        let max = max.min(MAX_COMMITS).to_string();
        let log = cmd!(self.git.shell(), "git rev-list --first-parent --max-count={max} {tip}");
        let ids = String::from_utf8_lossy(&self.git.read(log).map_err(|error| failed(&error))?).into_owned();
        let ids: Vec<&str> = ids.lines().collect();
        let objects = objects::cached(&self.git, &ids).map_err(|error| failed(&error))?;
        ids.iter().map_while(|id| Some(self.text(&reference, id, objects.get(*id)?))).collect()
    }
}

fn failed(error: &anyhow::Error) -> StoreError {
    StoreError::Failed(format!("{error:#}"))
}

/// A register in one ref of a git remote.
pub type GitRegister = RegisterOf<GitStore>;

impl GitRegister {
    /// The register at the ref `reference`; for the rest, see [`GitStore::open`].
    ///
    /// # Errors
    /// When the cache cannot be used.
    pub fn open(cache: &Path, remote: &str, reference: &str, by: &str, ssh_command: Option<&str>) -> Result<Self> {
        let store = GitStore::open(cache, remote, "", by, ssh_command)?;
        Ok(Self { store, name: reference.to_owned() })
    }
}
