//! git's plumbing: a repository, and commands in it that never prompt and always end.
//!
//! There are two kinds of commands. Local ones inherit the lock given to [`Git::inherit_lock`], run
//! no hook, start no daemon, and write objects, refs and the index durably. Remote ones have a
//! deadline given by the caller, run the user's hooks, and do not inherit the lock: a credential
//! cache started by one of them would keep holding it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use crate::clock::Deadline;
use crate::exec::{Ended, Exec, Finished, Running};

mod activity;
mod environment;
mod parse;

pub use activity::{Activity, processes};
pub use parse::{UnusableRepository, error_line, is_object_id, path_from_bytes};

use parse::{head_target, parse_settings};

/// How long a local command may do nothing. The deadline of a breath does not shorten it: stopping such
/// a command halfway gains nothing.
pub(crate) const LOCAL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a local command may take at all.
const MAX_LOCAL_RUN: Duration = Duration::from_secs(3600);
/// How much output of a local command is kept: enough for a list of a few million files.
const MAX_OUTPUT_BYTES: u64 = 512 << 20;

/// The same of a command that connects to a remote: enough for a list of ten thousand refs.
const MAX_REMOTE_OUTPUT_BYTES: u64 = 2 << 20;

/// A repository on this machine.
#[derive(Debug)]
pub struct Git {
    shell: Shell,
    work_tree: Option<PathBuf>,
    dir: PathBuf,
    common: PathBuf,
    config: Vec<(String, String)>,
    ssh_command: Option<String>,
    lock: Option<File>,
}

impl Git {
    /// Opens the repository that contains `path`.
    ///
    /// # Errors
    /// When `path` is in no repository, or in one that git refuses to use.
    pub fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
        if !path.is_dir() {
            bail!("{}: no such directory; name the repository to breathe in", path.display());
        }
        let shell = Shell::new().context("the working directory")?;
        shell.change_dir(&path);
        let dir = path.join(".git");
        let mut git = Self {
            shell,
            work_tree: Some(path.clone()),
            common: dir.clone(),
            dir,
            config: Vec::new(),
            ssh_command: None,
            lock: None,
        };
        if git.dir.join("HEAD").is_file() {
            // Else git would silently take the repository of a directory above.
            head_target(&git.dir.join("HEAD"))?;
        }
        let listed = git.run(cmd!(git.shell, "git config --null --list"), b"")?;
        if !listed.success() {
            return Err(UnusableRepository(format!("{}: {}", path.display(), error_line(&listed))).into());
        }
        git.config = parse_settings(&listed.stdout);
        // Asking git costs a process; the usual layout is recognised without one.
        let plain = git.dir.join("HEAD").is_file() && git.dir.join("objects").is_dir();
        if !plain || git.setting("core.worktree").is_some() || git.is_set("core.bare") {
            git.locate(&path)?;
        }
        Ok(git)
    }

    /// Creates an empty repository in the directory `path`, readable by this user alone whatever the umask.
    ///
    /// # Errors
    /// When git could not be run or failed.
    pub fn init(path: &Path) -> Result<()> {
        let shell = Shell::new().context("the working directory")?;
        shell.change_dir(path);
        let init = cmd!(shell, "git init --quiet --shared=0600 --template= .");
        let made = Exec::new(environment::local(init)).run(Deadline::after(LOCAL_TIMEOUT)).context("git init")?;
        if made.success() { Ok(()) } else { bail!("git init: {}", error_line(&made)) }
    }

    fn locate(&mut self, path: &Path) -> Result<()> {
        let ask = cmd!(self.shell, "git rev-parse --is-bare-repository --absolute-git-dir --git-common-dir");
        let found = self.run(ask, b"")?;
        if !found.success() {
            let message = error_line(&found);
            if self.dir.symlink_metadata().is_ok() || message.contains("dubious ownership") {
                return Err(UnusableRepository(format!("{}: {message}", path.display())).into());
            }
            bail!(
                "{}: not a usable git repository: {message}; name one with --repo, or by repo in [breath]",
                path.display()
            );
        }
        let text = String::from_utf8(found.stdout).context("the repository's path is not UTF-8")?;
        let [bare, dir, common] = text.lines().collect::<Vec<_>>()[..] else {
            bail!("{}: unexpected output of git rev-parse: {text:?}", path.display());
        };
        self.dir = PathBuf::from(dir);
        self.common = path.join(common);
        self.work_tree = None;
        if bare == "false" {
            let top = self.line(cmd!(self.shell, "git rev-parse --show-toplevel"));
            let top = PathBuf::from(top.with_context(|| format!("{}: no work tree here", path.display()))?);
            self.shell.change_dir(&top);
            self.work_tree = Some(top);
        }
        Ok(())
    }

    /// Asks git whether it is willing to use this repository.
    ///
    /// # Errors
    /// When it is not; the message says why.
    pub fn check_usable(&self) -> Result<()> {
        let found = self.run(cmd!(self.shell, "git rev-parse --git-dir"), b"")?;
        match found.success() {
            true => Ok(()),
            false => Err(UnusableRepository(error_line(&found)).into()),
        }
    }

    /// The shell that commands are built with. Its directory is the top of the work tree.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    /// The top of the work tree, unless the repository is bare.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// The directory of the files that belong to this work tree: `HEAD`, `index`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the files that all work trees share: `objects`, `refs`.
    pub fn common(&self) -> &Path {
        &self.common
    }

    /// The last value of a setting. Write section and name in lower case.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings(key).last()
    }

    /// Every value of a setting, in order.
    pub fn settings(&self, key: &str) -> impl Iterator<Item = &str> {
        self.config.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean setting is true.
    pub fn is_set(&self, key: &str) -> bool {
        self.setting(key).is_some_and(|value| matches!(&value.to_lowercase()[..], "true" | "yes" | "on" | "1"))
    }

    /// Lets every later local command inherit `lock`, so that it stays locked until they have ended.
    pub fn inherit_lock(&mut self, lock: File) {
        self.lock = Some(lock);
    }

    /// Releases that lock. Returns whether there was one.
    pub fn release_lock(&mut self) -> bool {
        self.lock.take().is_some()
    }

    /// Uses `command` as ssh, unless the environment or the repository names one.
    pub fn set_ssh_command(&mut self, command: Option<&str>) {
        let in_environment = std::env::var_os("GIT_SSH_COMMAND").is_some() || std::env::var_os("GIT_SSH").is_some();
        if !in_environment && self.setting("core.sshcommand").is_none() {
            self.ssh_command = command.map(str::to_owned);
        }
    }

    /// Runs a local command with `input` as its standard input.
    ///
    /// # Errors
    /// When it could not be started, did nothing for a minute, or wrote more than fits in memory.
    pub fn run(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Finished> {
        let shown = cmd.to_string();
        self.run_local(environment::local(cmd), &shown, input)
    }

    /// The same without any setting of this user or machine.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_isolated(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Finished> {
        let shown = cmd.to_string();
        self.run_local(environment::isolated(cmd), &shown, input)
    }

    fn run_local(&self, command: Command, shown: &str, input: &[u8]) -> Result<Finished> {
        let exec = Exec::new(command).stdin(input).keeping(MAX_OUTPUT_BYTES);
        let exec = match &self.lock {
            Some(lock) => exec.holding(lock.as_fd()),
            None => exec,
        };
        let finished = exec.start().and_then(wait_while_active).with_context(|| shown.to_owned())?;
        if finished.ended == Ended::TimedOut {
            bail!("{shown}: did nothing for a minute, or ran for an hour");
        }
        if finished.cut {
            bail!("{shown}: too much output");
        }
        Ok(finished)
    }

    /// The output of a local command with `input` as its standard input.
    ///
    /// # Errors
    /// When it could not be run or failed.
    pub fn read_with(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Vec<u8>> {
        let shown = cmd.to_string();
        let finished = self.run(cmd, input)?;
        if !finished.success() {
            bail!("{shown}: {}", error_line(&finished));
        }
        Ok(finished.stdout)
    }

    /// The output of a local command.
    ///
    /// # Errors
    /// When it could not be run or failed.
    pub fn read(&self, cmd: Cmd<'_>) -> Result<Vec<u8>> {
        self.read_with(cmd, b"")
    }

    /// The output of a local command that prints one line.
    ///
    /// # Errors
    /// When it could not be run or failed, or the line is not UTF-8.
    pub fn line(&self, cmd: Cmd<'_>) -> Result<String> {
        let mut line = String::from_utf8(self.read(cmd)?).context("git printed text that is not UTF-8")?;
        line.truncate(line.trim_end_matches('\n').len());
        Ok(line)
    }

    /// Runs a command that connects to a remote, until the deadline.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn run_remote(&self, cmd: Cmd<'_>, deadline: Deadline) -> Result<Finished> {
        let shown = cmd.to_string();
        self.start_remote(cmd)?.wait(deadline).context(shown)
    }

    /// Starts a command that connects to a remote.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn start_remote(&self, cmd: Cmd<'_>) -> Result<Running> {
        let shown = cmd.to_string();
        let mut command = environment::remote(cmd);
        if let Some(ssh) = &self.ssh_command {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        Exec::new(command).keeping(MAX_REMOTE_OUTPUT_BYTES).start().context(shown)
    }

    /// Writes a commit object and returns its id.
    ///
    /// # Errors
    /// When git rejects it as a commit or cannot write it.
    pub fn write_commit(&self, bytes: &[u8]) -> Result<String> {
        let written = self.read_with(cmd!(self.shell, "git hash-object -t commit -w --stdin"), bytes)?;
        Ok(String::from_utf8(written)?.trim_end().to_owned())
    }

    /// Writes commit objects and returns their ids, in the same order, with as many processes for many as
    /// for one.
    ///
    /// # Errors
    /// When git rejects one as a commit or cannot write it.
    pub fn write_commits(&self, commits: &[Vec<u8>]) -> Result<Vec<String>> {
        if let [only] = commits {
            return Ok(vec![self.write_commit(only)?]);
        }
        // git reads many objects only from files.
        let this = (std::process::id(), std::thread::current().id());
        let directory = self.dir.join(format!("mirror-commits.{}.{:?}", this.0, this.1));
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let written = self.write_commits_from(&directory, commits);
        let _ = fs::remove_dir_all(&directory);
        written
    }

    fn write_commits_from(&self, directory: &Path, commits: &[Vec<u8>]) -> Result<Vec<String>> {
        let mut paths = String::new();
        for (number, commit) in commits.iter().enumerate() {
            let path = directory.join(number.to_string());
            fs::write(&path, commit).with_context(|| path.display().to_string())?;
            paths += &format!("{}\n", path.display());
        }
        let hash = cmd!(self.shell, "git hash-object -t commit -w --no-filters --stdin-paths");
        let ids = String::from_utf8(self.read_with(hash, paths.as_bytes())?)?;
        let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
        if ids.len() != commits.len() {
            bail!("git hash-object wrote {} of {} commits", ids.len(), commits.len());
        }
        Ok(ids)
    }

    /// The committer line (name, address, time) of a commit made now. `fallback` is the name to use
    /// when git has none.
    ///
    /// # Errors
    /// When git could not be run.
    pub fn identity(&self, fallback: &str) -> Result<String> {
        let known = self.run(cmd!(self.shell, "git var GIT_COMMITTER_IDENT"), b"")?;
        if known.success() {
            return Ok(String::from_utf8_lossy(&known.stdout).trim_end().to_owned());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let plain = |text: &str| text.replace(['<', '>', '\n', ' '], "-");
        Ok(format!("mirror {} <mirror@{}> {now} +0000", plain(fallback), plain(&host)))
    }

    /// The file of this ref, in a repository that keeps refs in files.
    pub fn ref_file(&self, name: &str) -> PathBuf {
        if name == "HEAD" { self.dir.join(name) } else { self.common.join(name) }
    }

    /// The object that a ref points to, or none if the ref does not exist.
    ///
    /// # Errors
    /// When the refs cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Option<String>> {
        // git reads the ref's own file first, too. Only without one is a process needed.
        if let Ok(text) = fs::read_to_string(self.ref_file(name)) {
            let id = text.trim_end_matches('\n');
            if is_object_id(id) {
                return Ok(Some(id.to_owned()));
            }
        }
        let id = self.line(cmd!(self.shell, "git for-each-ref --format=%(objectname) {name}"))?;
        Ok(is_object_id(&id).then_some(id))
    }

    /// The branch that is checked out, as a full ref; none if `HEAD` is detached.
    ///
    /// # Errors
    /// When `HEAD` cannot be read.
    pub fn current_branch(&self) -> Result<Option<String>> {
        let Some(name) = head_target(&self.dir.join("HEAD"))? else {
            return Ok(None);
        };
        // With the reftable format this file exists only for old programs.
        if name == "refs/heads/.invalid" {
            let found = self.run(cmd!(self.shell, "git symbolic-ref --quiet HEAD"), b"")?;
            let name = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
            return Ok(found.success().then_some(name));
        }
        Ok(Some(name))
    }
}

/// Waits for a local command, for as long as it does something.
fn wait_while_active(mut running: Running) -> std::io::Result<Finished> {
    let (last, mut before) = (Deadline::after(MAX_LOCAL_RUN), Activity::default());
    loop {
        if let Some(finished) = running.wait_a_while(Deadline::after(LOCAL_TIMEOUT).sooner(last))? {
            return Ok(finished);
        }
        let now = Activity::of_group(running.group());
        if now == before || last.has_passed() {
            return running.end();
        }
        before = now;
    }
}
