//! A register in a ref of a git remote.
//!
//! A value is a commit without files; its message holds the text, its parent is the value before,
//! so the ref's history is the register's log. A local repository keeps the objects, so that a read
//! that finds the ref where it was is one `git ls-remote` and nothing else.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, cmd};

use super::{Entry, Held, LONGEST, Register, StoreError, Swap, Version};
use crate::deadline::Deadline;
use crate::exec::{Ended, Finished};
use crate::fsutil;
use crate::git::{Git, LOCAL_TIMEOUT, error_line, is_object_id};

/// More commits than git can be told to count.
const MOST: usize = 1 << 30;

/// A register in a ref of a git remote.
#[derive(Debug)]
pub struct GitRegister {
    git: Git,
    /// Where its repository is. All that is in it can be had again.
    cache: PathBuf,
    remote: String,
    reference: String,
    by: String,
    /// What the ref held when it was last looked at.
    last: RefCell<Option<Held>>,
}

impl GitRegister {
    /// The register at the ref `reference` of `remote`, a URL or an absolute path. `cache` is a
    /// directory of our own, made where it is missing; commits are made in the name of `by`.
    /// `ssh_command` is called instead of `ssh`, unless the environment or git's settings say
    /// otherwise.
    ///
    /// # Errors
    /// When the cache cannot be used.
    pub fn open(cache: &Path, remote: &str, reference: &str, by: &str, ssh_command: Option<&str>) -> Result<Self> {
        fsutil::trusted_directory(cache.parent().unwrap_or(Path::new("/")))?;
        let mut git = match usable(cache) {
            Err(_) if cache.symlink_metadata().is_ok() => put_aside(cache).and_then(|()| usable(cache)),
            made => made,
        }
        .with_context(|| format!("{}: cannot keep git's objects here", cache.display()))?;
        git.set_ssh_command(ssh_command);
        let by = by.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
        let (remote, reference) = (remote.to_owned(), reference.to_owned());
        Ok(Self { git, cache: cache.to_owned(), remote, reference, by, last: RefCell::new(None) })
    }

    fn read_once(&self, deadline: Deadline) -> Result<Option<Held>, StoreError> {
        let Some(id) = self.tip(deadline)? else { return Ok(None) };
        match self.commit(&id, deadline) {
            // It moved on between the list and the fetch: one more look.
            Err(StoreError::Failed(_)) if !deadline.has_passed() => {
                self.tip(deadline)?.map(|id| self.commit(&id, deadline)).transpose()
            }
            read => read.map(Some),
        }
    }

    /// Whether the cache is no sound repository, as after a power cut. A git that did not get to say so
    /// has found nothing.
    fn is_damaged(&self) -> bool {
        let sound = cmd!(self.git.shell(), "git fsck --no-dangling --no-progress --no-reflogs");
        let looked = self.git.run_remote(sound, Deadline::after(LOCAL_TIMEOUT));
        looked.is_ok_and(|looked| matches!(looked.ended, Ended::Exited(status) if status != 0))
    }

    fn talk(&self, cmd: Cmd<'_>, deadline: Deadline) -> Result<Finished, StoreError> {
        self.git.run_remote(cmd, deadline).map_err(|error| StoreError::Failed(format!("{error:#}")))
    }

    /// The object that the ref names.
    fn tip(&self, deadline: Deadline) -> Result<Option<String>, StoreError> {
        let Self { remote, reference, .. } = self;
        let listed = self.talk(cmd!(self.git.shell(), "git ls-remote --quiet -- {remote} {reference}"), deadline)?;
        if !listed.success() {
            return Err(self.failed("ls-remote", &listed));
        }
        // The pattern also matches refs that merely end like ours.
        let text = String::from_utf8_lossy(&listed.stdout);
        let ours = text.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == *reference);
        match ours {
            None => Ok(None),
            Some((id, _)) if is_object_id(id) => Ok(Some(id.to_owned())),
            Some((id, _)) => Err(StoreError::Failed(format!("git ls-remote {remote} said {id:?}"))),
        }
    }

    fn commit(&self, id: &str, deadline: Deadline) -> Result<Held, StoreError> {
        if let Some(last) = self.last.borrow().as_ref()
            && last.version.0 == id
        {
            return Ok(last.clone());
        }
        let held = match self.kept(id)? {
            Some(held) => held,
            None => {
                self.fetch(deadline)?;
                let missing = || StoreError::Failed(format!("{} went on while it was fetched", self.reference));
                self.kept(id)?.ok_or_else(missing)?
            }
        };
        self.last.replace(Some(held.clone()));
        Ok(held)
    }

    fn knows(&self, version: &Version) -> bool {
        self.last.borrow().as_ref().is_some_and(|last| last.version == *version)
            || matches!(self.kept(&version.0), Ok(Some(_)) | Err(StoreError::Foreign(_)))
    }

    fn fetch(&self, deadline: Deadline) -> Result<(), StoreError> {
        let Self { remote, reference, .. } = self;
        let keep = format!("+{reference}:{reference}");
        let fetch = cmd!(
            self.git.shell(),
            "git fetch --quiet --no-tags --no-write-fetch-head --no-auto-maintenance -- {remote} {keep}"
        );
        let fetched = self.talk(fetch, deadline)?;
        if fetched.success() { Ok(()) } else { Err(self.failed("fetch", &fetched)) }
    }

    /// The commit, where the local repository has it.
    fn kept(&self, id: &str) -> Result<Option<Held>, StoreError> {
        let failed = |error: anyhow::Error| StoreError::Failed(format!("{error:#}"));
        let asked = format!("{id}\n");
        let batch = self.git.read_with(cmd!(self.git.shell(), "git cat-file --batch"), asked.as_bytes());
        let object = batch.map_err(failed)?;
        let newline = object.iter().position(|byte| *byte == b'\n').unwrap_or(object.len());
        let header = String::from_utf8_lossy(&object[..newline]).into_owned();
        match header.split(' ').collect::<Vec<_>>()[..] {
            [_, "missing"] => Ok(None),
            [_, "commit", _] => Ok(Some(Held { version: Version(id.to_owned()), text: text(&object[newline + 1..]) })),
            [_, kind, _] => Err(StoreError::Foreign(format!(
                "{} of {} is a {kind}, not a lease; choose another ref prefix, or delete it",
                self.reference, self.remote
            ))),
            _ => Err(StoreError::Failed(format!("git cat-file said {header:?}"))),
        }
    }

    fn write(&self, parent: Option<&Version>, new: &Entry<'_>) -> Result<String> {
        let tree = self.git.line(cmd!(self.git.shell(), "git hash-object -w -t tree --stdin"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let by = format!("{} <mirror> {now} +0000", self.by);
        let parent = parent.map(|Version(id)| format!("parent {id}\n")).unwrap_or_default();
        let Entry { text, summary } = new;
        let commit = format!("tree {tree}\n{parent}author {by}\ncommitter {by}\n\n{summary}\n\n{text}\n");
        self.git.write_commit(commit.as_bytes())
    }

    fn push(&self, expected: Option<&Version>, new: &Entry<'_>, deadline: Deadline) -> Result<Pushed, StoreError> {
        if let Some(parent) = expected.filter(|parent| !self.knows(parent)) {
            // Without its parent a commit cannot be sent, though the remote has it.
            self.fetch(deadline)?;
            if self.kept(&parent.0)?.is_none() {
                return Ok(Pushed::Refused("what is to be replaced is not there".to_owned()));
            }
        }
        let id = self.write(expected, new).map_err(|error| StoreError::Failed(format!("{error:#}")))?;
        let Self { remote, reference, .. } = self;
        let old = expected.map_or("", |Version(id)| id);
        let lease = format!("--force-with-lease={reference}:{old}");
        let to = format!("{id}:{reference}");
        let push = cmd!(self.git.shell(), "git push --porcelain --no-verify --no-follow-tags {lease} -- {remote} {to}");
        let pushed = self.talk(push, deadline)?;
        let said = String::from_utf8_lossy(&pushed.stdout);
        let line = said.lines().find(|line| line.split('\t').nth(1).is_some_and(|refs| refs == to));
        match line.and_then(|line| line.split_once('\t')) {
            // Refused by us or by the remote, each before anything was changed; but where the remote
            // did not say what it did, it may have done it.
            Some(("!", why)) if !why.contains("[remote failure]") => {
                Ok(Pushed::Refused(why.rsplit('\t').next().unwrap_or(why).to_owned()))
            }
            Some((" " | "*" | "=" | "+", _)) if pushed.success() => {
                let version = Version(id);
                let held = Held { version: version.clone(), text: new.text.to_owned() };
                self.last.replace(Some(held));
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
    fn read(&self, deadline: Deadline) -> Result<Option<Held>, StoreError> {
        match self.read_once(deadline) {
            Err(StoreError::Failed(_)) if !deadline.has_passed() && self.is_damaged() => {
                let anew = put_aside(&self.cache).and_then(|()| make(&self.cache));
                anew.map_err(|error| StoreError::Failed(format!("{}: {error:#}", self.cache.display())))?;
                self.read_once(deadline)
            }
            read => read,
        }
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &Entry<'_>, deadline: Deadline) -> Swap {
        loop {
            let why = match self.push(expected, new, deadline) {
                Ok(Pushed::Done(version)) => return Swap::Won(version),
                Ok(Pushed::Refused(why)) => why,
                Err(fault) => return Swap::Unknown(fault),
            };
            match self.read(deadline) {
                Ok(held) if held.as_ref().map(|held| &held.version) != expected => return Swap::Lost(held),
                // Whoever holds the remote's lock on the ref has not moved it yet.
                Ok(_) if why.contains("lock") && !deadline.has_passed() => {}
                Ok(_) => {
                    return Swap::Unknown(StoreError::Failed(format!("git push {}: refused: {why}", self.remote)));
                }
                Err(fault) => return Swap::Unknown(fault),
            }
        }
    }

    fn history(&self, most: usize, deadline: Deadline) -> Result<Vec<Held>, StoreError> {
        let Some(Held { version: Version(tip), .. }) = self.read(deadline)? else { return Ok(Vec::new()) };
        let failed = |error: anyhow::Error| StoreError::Failed(format!("{error:#}"));
        let most = most.min(MOST).to_string();
        let log = cmd!(self.git.shell(), "git rev-list --first-parent --max-count={most} {tip}");
        let ids = String::from_utf8_lossy(&self.git.read(log).map_err(failed)?).into_owned();
        ids.lines().map_while(|id| self.kept(id).transpose()).collect()
    }
}

/// The last line of the message; nothing where there is none that could be ours.
fn text(commit: &[u8]) -> String {
    let blank = commit.windows(2).position(|pair| pair == b"\n\n");
    let message = blank.map_or(&b""[..], |blank| &commit[blank + 2..]);
    let last = message.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if last.len() > LONGEST { String::new() } else { String::from_utf8_lossy(last).into_owned() }
}

/// The repository at `cache`, made where it is missing. Its settings name programs that git runs, so
/// one that another user can have written is not used.
fn usable(cache: &Path) -> Result<Git> {
    let parts = [cache.to_owned(), cache.join(".git"), cache.join(".git/config")];
    if let Some(part) = parts.iter().find(|part| fsutil::others_can_have_written(part)) {
        bail!("{}: another user can have written it", part.display());
    }
    if !cache.join(".git/HEAD").is_file() {
        make(cache)?;
    }
    Git::open(cache)
}

/// Makes room for a new cache. What stood there is kept, for whoever wants to know what befell it.
fn put_aside(cache: &Path) -> Result<()> {
    let mut name = cache.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = cache.with_file_name(name);
    let _ = std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside));
    std::fs::rename(cache, &aside).with_context(|| format!("{}: cannot be put aside", cache.display()))
}

/// Makes the local repository: elsewhere first, and then at once, so that whoever comes at the same
/// time finds a whole one or none.
fn make(cache: &Path) -> Result<()> {
    let parent = cache.parent().unwrap_or(Path::new("/"));
    fsutil::trusted_directory(parent)?;
    let mut name = cache.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{:?}", std::process::id(), std::thread::current().id()));
    let new: PathBuf = parent.join(name);
    fsutil::private_directory(&new)?;
    let made = Git::init(&new).and_then(|()| Ok(std::fs::rename(&new, cache)?));
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&new);
        if cache.join(".git/HEAD").is_file() {
            return Ok(());
        }
    }
    made
}
