//! A register in a ref of a git remote.
//!
//! Each write is a commit without files: the text is the last line of its message, and its parent is
//! the write before, so the ref's history is the register's log. A local repository caches the
//! commits: while the ref has not moved, a read is one `git ls-remote`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, cmd};

use super::{CasOutcome, MAX_TEXT_BYTES, NewText, Register, StoreError, Version, VersionedText};
use crate::clock::Deadline;
use crate::exec::{Ended, Finished};
use crate::fsutil;
use crate::git::{Git, LOCAL_TIMEOUT, error_line, is_object_id};

/// The largest `--max-count` that git accepts is a little more.
const MAX_COMMITS: usize = 1 << 30;

/// A register in a ref of a git remote.
#[derive(Debug)]
pub struct GitRegister {
    git: Git,
    /// The local repository. Everything in it can be fetched again.
    cache: PathBuf,
    remote: String,
    reference: String,
    by: String,
    /// What the latest read found.
    last: RefCell<Option<VersionedText>>,
}

impl GitRegister {
    /// The register at the ref `reference` of `remote`, a URL or an absolute path. `cache` is a
    /// private directory, created if missing; `by` is the author of the commits. `ssh_command`
    /// replaces `ssh`, unless the environment or git's settings name another.
    ///
    /// # Errors
    /// When the cache cannot be used.
    pub fn open(cache: &Path, remote: &str, reference: &str, by: &str, ssh_command: Option<&str>) -> Result<Self> {
        fsutil::trusted_directory(cache.parent().unwrap_or(Path::new("/")))?;
        let mut git = match open_or_create(cache) {
            Err(_) if cache.symlink_metadata().is_ok() => move_aside(cache).and_then(|()| open_or_create(cache)),
            opened => opened,
        }
        .with_context(|| format!("{}: cannot keep git's objects here", cache.display()))?;
        git.set_ssh_command(ssh_command);
        let by = by.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
        let (remote, reference) = (remote.to_owned(), reference.to_owned());
        Ok(Self { git, cache: cache.to_owned(), remote, reference, by, last: RefCell::new(None) })
    }

    fn read_once(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError> {
        let Some(id) = self.remote_tip(deadline)? else { return Ok(None) };
        match self.commit_text(&id, deadline) {
            // The ref moved between ls-remote and fetch; try once more.
            Err(StoreError::Failed(_)) if !deadline.has_passed() => {
                self.remote_tip(deadline)?.map(|id| self.commit_text(&id, deadline)).transpose()
            }
            read => read.map(Some),
        }
    }

    /// Whether the cache is damaged, as after a power loss. Only a definite answer of `git fsck`
    /// counts.
    fn is_damaged(&self) -> bool {
        let fsck = cmd!(self.git.shell(), "git fsck --no-dangling --no-progress --no-reflogs");
        let checked = self.git.run_remote(fsck, Deadline::after(LOCAL_TIMEOUT));
        checked.is_ok_and(|checked| matches!(checked.ended, Ended::Exited(status) if status != 0))
    }

    fn run_remote(&self, cmd: Cmd<'_>, deadline: Deadline) -> Result<Finished, StoreError> {
        self.git.run_remote(cmd, deadline).map_err(|error| StoreError::Failed(format!("{error:#}")))
    }

    /// The commit that the ref names on the remote.
    fn remote_tip(&self, deadline: Deadline) -> Result<Option<String>, StoreError> {
        let Self { remote, reference, .. } = self;
        let listed =
            self.run_remote(cmd!(self.git.shell(), "git ls-remote --quiet -- {remote} {reference}"), deadline)?;
        if !listed.success() {
            return Err(self.failed("ls-remote", &listed));
        }
        // The pattern also matches other refs that end with the same path.
        let text = String::from_utf8_lossy(&listed.stdout);
        let ours = text.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == *reference);
        match ours {
            None => Ok(None),
            Some((id, _)) if is_object_id(id) => Ok(Some(id.to_owned())),
            Some((id, _)) => {
                Err(StoreError::Failed(format!("git ls-remote {remote} printed {id:?} instead of a commit")))
            }
        }
    }

    fn commit_text(&self, id: &str, deadline: Deadline) -> Result<VersionedText, StoreError> {
        if let Some(last) = self.last.borrow().as_ref()
            && last.version.0 == id
        {
            return Ok(last.clone());
        }
        let found = match self.cached(id)? {
            Some(found) => found,
            None => {
                self.fetch(deadline)?;
                let missing = || StoreError::Failed(format!("{} moved while it was fetched", self.reference));
                self.cached(id)?.ok_or_else(missing)?
            }
        };
        self.last.replace(Some(found.clone()));
        Ok(found)
    }

    fn has_locally(&self, version: &Version) -> bool {
        self.last.borrow().as_ref().is_some_and(|last| last.version == *version)
            || matches!(self.cached(&version.0), Ok(Some(_)) | Err(StoreError::Foreign(_)))
    }

    fn fetch(&self, deadline: Deadline) -> Result<(), StoreError> {
        let Self { remote, reference, .. } = self;
        let keep = format!("+{reference}:{reference}");
        let fetch = cmd!(
            self.git.shell(),
            "git fetch --quiet --no-tags --no-write-fetch-head --no-auto-maintenance -- {remote} {keep}"
        );
        let fetched = self.run_remote(fetch, deadline)?;
        if fetched.success() { Ok(()) } else { Err(self.failed("fetch", &fetched)) }
    }

    /// The commit's text, if the local repository has the commit.
    fn cached(&self, id: &str) -> Result<Option<VersionedText>, StoreError> {
        let failed = |error: anyhow::Error| StoreError::Failed(format!("{error:#}"));
        let asked = format!("{id}\n");
        let batch = self.git.read_with(cmd!(self.git.shell(), "git cat-file --batch"), asked.as_bytes());
        let object = batch.map_err(failed)?;
        let newline = object.iter().position(|byte| *byte == b'\n').unwrap_or(object.len());
        let header = String::from_utf8_lossy(&object[..newline]).into_owned();
        match header.split(' ').collect::<Vec<_>>()[..] {
            [_, "missing"] => Ok(None),
            [_, "commit", _] => {
                let value = last_line(&object[newline + 1..]);
                Ok(Some(VersionedText { version: Version(id.to_owned()), value }))
            }
            [_, kind, _] => Err(StoreError::Foreign(format!(
                "{} of {} is a {kind}, not a lease; choose another ref prefix, or delete it",
                self.reference, self.remote
            ))),
            _ => Err(StoreError::Failed(format!("git cat-file printed {header:?}"))),
        }
    }

    fn write(&self, parent: Option<&Version>, new: &NewText<'_>) -> Result<String> {
        let tree = self.git.line(cmd!(self.git.shell(), "git hash-object -w -t tree --stdin"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let by = format!("{} <mirror> {now} +0000", self.by);
        let parent = parent.map(|Version(id)| format!("parent {id}\n")).unwrap_or_default();
        let NewText { text, summary } = new;
        let commit = format!("tree {tree}\n{parent}author {by}\ncommitter {by}\n\n{summary}\n\n{text}\n");
        self.git.write_commit(commit.as_bytes())
    }

    fn push(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> Result<Pushed, StoreError> {
        if let Some(parent) = expected.filter(|parent| !self.has_locally(parent)) {
            // git pushes a commit only if the local repository has its parent too.
            self.fetch(deadline)?;
            if self.cached(&parent.0)?.is_none() {
                return Ok(Pushed::Refused("the value to be replaced is no longer on the remote".to_owned()));
            }
        }
        let id = self.write(expected, new).map_err(|error| StoreError::Failed(format!("{error:#}")))?;
        let Self { remote, reference, .. } = self;
        let old = expected.map_or("", |Version(id)| id);
        let lease = format!("--force-with-lease={reference}:{old}");
        let to = format!("{id}:{reference}");
        let push = cmd!(self.git.shell(), "git push --porcelain --no-verify --no-follow-tags {lease} -- {remote} {to}");
        let pushed = self.run_remote(push, deadline)?;
        let report = String::from_utf8_lossy(&pushed.stdout);
        let line = report.lines().find(|line| line.split('\t').nth(1).is_some_and(|refs| refs == to));
        match line.and_then(|line| line.split_once('\t')) {
            // Rejected by git or by the remote before the ref changed. After a remote failure, the ref
            // may have changed all the same.
            Some(("!", why)) if !why.contains("[remote failure]") => {
                Ok(Pushed::Refused(why.rsplit('\t').next().unwrap_or(why).to_owned()))
            }
            Some((" " | "*" | "=" | "+", _)) if pushed.success() => {
                let version = Version(id);
                self.last.replace(Some(VersionedText { version: version.clone(), value: new.text.to_owned() }));
                Ok(Pushed::Done(version))
            }
            _ => Err(self.failed("push", &pushed)),
        }
    }

    fn failed(&self, what: &str, finished: &Finished) -> StoreError {
        let why = if finished.ended == Ended::TimedOut { "no answer in time".to_owned() } else { error_line(finished) };
        StoreError::Failed(format!("git {what} {}: {why}", self.remote))
    }
}

enum Pushed {
    Done(Version),
    Refused(String),
}

impl Register for GitRegister {
    fn read(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError> {
        match self.read_once(deadline) {
            Err(StoreError::Failed(_)) if !deadline.has_passed() && self.is_damaged() => {
                let recreated = move_aside(&self.cache).and_then(|()| create(&self.cache));
                recreated.map_err(|error| StoreError::Failed(format!("{}: {error:#}", self.cache.display())))?;
                self.read_once(deadline)
            }
            read => read,
        }
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        loop {
            let why = match self.push(expected, new, deadline) {
                Ok(Pushed::Done(version)) => return CasOutcome::Won(version),
                Ok(Pushed::Refused(why)) => why,
                Err(error) => return CasOutcome::Unknown(error),
            };
            match self.read(deadline) {
                Ok(found) if found.as_ref().map(|found| &found.version) != expected => return CasOutcome::Lost(found),
                // Another push holds the lock on the remote's ref and has not moved it yet.
                Ok(_) if why.contains("lock") && !deadline.has_passed() => {}
                Ok(_) => {
                    return CasOutcome::Unknown(StoreError::Failed(format!(
                        "git push {}: refused: {why}",
                        self.remote
                    )));
                }
                Err(error) => return CasOutcome::Unknown(error),
            }
        }
    }

    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        let Some(VersionedText { version: Version(tip), .. }) = self.read(deadline)? else { return Ok(Vec::new()) };
        let failed = |error: anyhow::Error| StoreError::Failed(format!("{error:#}"));
        let max = max.min(MAX_COMMITS).to_string();
        let log = cmd!(self.git.shell(), "git rev-list --first-parent --max-count={max} {tip}");
        let ids = String::from_utf8_lossy(&self.git.read(log).map_err(failed)?).into_owned();
        ids.lines().map_while(|id| self.cached(id).transpose()).collect()
    }
}

/// The last line of the commit's message; empty if it is too long to be a register's text.
fn last_line(commit: &[u8]) -> String {
    let blank = commit.windows(2).position(|pair| pair == b"\n\n");
    let message = blank.map_or(&b""[..], |blank| &commit[blank + 2..]);
    let last = message.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if last.len() > MAX_TEXT_BYTES { String::new() } else { String::from_utf8_lossy(last).into_owned() }
}

/// Opens the repository at `cache`, or creates it. Its settings name programs that git runs, so one that
/// another user can have written is refused.
fn open_or_create(cache: &Path) -> Result<Git> {
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
fn move_aside(cache: &Path) -> Result<()> {
    let mut name = cache.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = cache.with_file_name(name);
    let _ = std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside));
    std::fs::rename(cache, &aside).with_context(|| format!("{}: cannot be renamed", cache.display()))
}

/// Creates the local repository under another name and renames it, so that a concurrent process
/// finds a complete repository or none.
fn create(cache: &Path) -> Result<()> {
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
