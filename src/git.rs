//! git's plumbing: a repository, and commands in it that never prompt and always end.
//!
//! Commands of two kinds are run. Those that work on this machine alone hold the lock given to
//! [`Git::hold`], run no hooks, start no daemon that could inherit that lock, and write objects,
//! refs and the index durably. Those that talk to a remote have a deadline given by the caller,
//! keep the person's hooks, and never hold the lock: a credential cache that one of them leaves
//! behind would hold it too.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use crate::deadline::Deadline;
use crate::exec::{Exec, Finished};

/// What a command that only works on this machine may take. It is never cut short by the deadline
/// of a breath, since half of its work helps nobody.
pub(crate) const LOCAL: Duration = Duration::from_secs(60);
/// How much output of a command is kept: a list of a few million files.
const KEPT: u64 = 512 << 20;

/// Set for every command: no question is ever asked, and the words are the same everywhere.
const QUIET: [(&str, &str); 12] = [
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("GCM_INTERACTIVE", "never"),
    ("GIT_EDITOR", ":"),
    ("GIT_SEQUENCE_EDITOR", ":"),
    ("GIT_MERGE_AUTOEDIT", "no"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("LC_ALL", "C"),
    ("LANGUAGE", ""),
];

/// What a hook or an alias that started us may have set, and what would lead git astray.
const ASTRAY: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Settings for every command; those of the person are kept but for these.
const PLAIN: [(&str, &str); 5] = [
    ("color.ui", "false"),
    ("color.push", "false"),
    ("color.transport", "false"),
    ("submodule.recurse", "false"),
    ("core.fsync", "added"),
];

/// Further settings for commands on this machine alone.
const LOCALLY: [(&str, &str); 2] = [("core.hooksPath", "/dev/null"), ("core.fsmonitor", "false")];

/// A repository on this machine.
#[derive(Debug)]
pub struct Git {
    shell: Shell,
    work_tree: Option<PathBuf>,
    dir: PathBuf,
    common: PathBuf,
    config: Vec<(String, String)>,
    ssh_command: Option<String>,
    held: Option<File>,
}

impl Git {
    /// The repository that `path` is in.
    ///
    /// # Errors
    /// When `path` is in no repository, or in one that git refuses to work in.
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
            held: None,
        };
        git.config = settings(&git.read(cmd!(git.shell, "git config --null --list"))?);
        // Asking git costs a process, and the plain case is the one that breathes all day.
        let plain = git.dir.join("HEAD").is_file() && git.dir.join("objects").is_dir();
        if !plain || git.context("core.worktree").is_some() || git.is_set("core.bare") {
            git.locate(&path)?;
        }
        Ok(git)
    }

    /// Makes an empty repository in the directory `path`, for this user alone whatever the umask.
    ///
    /// # Errors
    /// When git could not be run or cannot make one there.
    pub fn init(path: &Path) -> Result<()> {
        let shell = Shell::new().context("the working directory")?;
        shell.change_dir(path);
        let init = cmd!(shell, "git init --quiet --shared=0600 --template= .");
        let made = Exec::new(prepare(init, &LOCALLY)).run(Deadline::after(LOCAL)).context("git init")?;
        if made.success() { Ok(()) } else { bail!("git init: {}", words(&made)) }
    }

    fn locate(&mut self, path: &Path) -> Result<()> {
        let ask = cmd!(self.shell, "git rev-parse --is-bare-repository --absolute-git-dir --git-common-dir");
        let found = self.run(ask, b"")?;
        if !found.success() {
            let words = found.last_line().unwrap_or_default();
            bail!(
                "{}: not a git repository that can be used: {words}; name one by --repo, or by repo in [breath]",
                path.display()
            );
        }
        let text = String::from_utf8(found.stdout).context("the repository's path is not UTF-8")?;
        let [bare, dir, common] = text.lines().collect::<Vec<_>>()[..] else {
            bail!("{}: git rev-parse said {text:?}", path.display());
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

    /// The shell that commands are built with; it stands at the top of the work tree.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    /// The top of the work tree, unless the repository is bare.
    pub fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// The directory of this work tree's own files: `HEAD`, `index`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the files that all work trees share: `objects`, `refs`.
    pub fn common(&self) -> &Path {
        &self.common
    }

    /// The last value of a setting; section and name in lower case.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.settings(key).last()
    }

    /// Every value of a setting, in order.
    pub fn settings(&self, key: &str) -> impl Iterator<Item = &str> {
        self.config.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether a setting that is a yes or a no is a yes.
    pub fn is_set(&self, key: &str) -> bool {
        self.context(key).is_some_and(|value| matches!(&value.to_lowercase()[..], "true" | "yes" | "on" | "1"))
    }

    /// From now on, commands on this machine alone inherit `lock`.
    pub fn hold(&mut self, lock: File) {
        self.held = Some(lock);
    }

    /// Talks to remotes through `command`, unless the environment or the repository says otherwise.
    pub fn ssh_through(&mut self, command: Option<&str>) {
        let said = std::env::var_os("GIT_SSH_COMMAND").is_some() || std::env::var_os("GIT_SSH").is_some();
        if !said && self.context("core.sshcommand").is_none() {
            self.ssh_command = command.map(str::to_owned);
        }
    }

    /// Runs a command on this machine alone, `input` being its standard input.
    ///
    /// # Errors
    /// When it could not be started, took more than a minute, or said more than fits in memory.
    pub fn run(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Finished> {
        let shown = cmd.to_string();
        let exec = Exec::new(prepare(cmd, &LOCALLY)).stdin(input).keeping(KEPT);
        let exec = match &self.held {
            Some(lock) => exec.holding(lock.as_fd()),
            None => exec,
        };
        let finished = exec.run(Deadline::after(LOCAL)).with_context(|| shown.clone())?;
        if finished.ended == crate::exec::Ended::TimedOut {
            bail!("{shown}: still running after a minute");
        }
        if finished.cut {
            bail!("{shown}: too much output");
        }
        Ok(finished)
    }

    /// What a command on this machine alone says, `input` being its standard input.
    ///
    /// # Errors
    /// When it could not be run or failed.
    pub fn read_with(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Vec<u8>> {
        let shown = cmd.to_string();
        let finished = self.run(cmd, input)?;
        if !finished.success() {
            bail!("{shown}: {}", words(&finished));
        }
        Ok(finished.stdout)
    }

    /// What a command on this machine alone says.
    ///
    /// # Errors
    /// When it could not be run or failed.
    pub fn read(&self, cmd: Cmd<'_>) -> Result<Vec<u8>> {
        self.read_with(cmd, b"")
    }

    /// The one line that a command on this machine alone says.
    ///
    /// # Errors
    /// When it could not be run or failed, or the line is not UTF-8.
    pub fn line(&self, cmd: Cmd<'_>) -> Result<String> {
        let mut line = String::from_utf8(self.read(cmd)?).context("git said something that is not UTF-8")?;
        line.truncate(line.trim_end_matches('\n').len());
        Ok(line)
    }

    /// Runs a command that talks to a remote, until the deadline.
    ///
    /// # Errors
    /// When it could not be started.
    pub fn talk(&self, cmd: Cmd<'_>, deadline: Deadline) -> Result<Finished> {
        let shown = cmd.to_string();
        let mut command = prepare(cmd, &[]);
        if let Some(ssh) = &self.ssh_command {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        Exec::new(command).run(deadline).context(shown)
    }

    /// Writes a commit object and returns its id.
    ///
    /// # Errors
    /// When git does not take it for a commit, or cannot write it.
    pub fn write_commit(&self, bytes: &[u8]) -> Result<String> {
        let written = self.read_with(cmd!(self.shell, "git hash-object -t commit -w --stdin"), bytes)?;
        Ok(String::from_utf8(written)?.trim_end().to_owned())
    }

    /// The name, address and time that a commit made now bears. Where git knows no name, `fallback`.
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

    /// The file that holds this ref where git keeps refs in files.
    pub fn ref_file(&self, name: &str) -> PathBuf {
        if name == "HEAD" { self.dir.join(name) } else { self.common.join(name) }
    }

    /// The object that a ref names, or none where there is no such ref.
    ///
    /// # Errors
    /// When the refs cannot be read.
    pub fn tip(&self, name: &str) -> Result<Option<String>> {
        // A ref's own file is what git itself would read first; only without one is git asked.
        if let Ok(text) = fs::read_to_string(self.ref_file(name)) {
            let id = text.trim_end_matches('\n');
            if is_id(id) {
                return Ok(Some(id.to_owned()));
            }
        }
        let id = self.line(cmd!(self.shell, "git for-each-ref --format=%(objectname) {name}"))?;
        Ok(is_id(&id).then_some(id))
    }

    /// The branch that is checked out, as a full ref; none where `HEAD` is detached.
    ///
    /// # Errors
    /// When `HEAD` cannot be read.
    pub fn head(&self) -> Result<Option<String>> {
        let path = self.dir.join("HEAD");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let Some(name) = text.trim_end().strip_prefix("ref: ") else {
            return Ok(None);
        };
        // Where refs are kept in tables, the file is there for old programs alone.
        if name == "refs/heads/.invalid" {
            let found = self.run(cmd!(self.shell, "git symbolic-ref --quiet HEAD"), b"")?;
            let name = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
            return Ok(found.success().then_some(name));
        }
        Ok(Some(name.to_owned()))
    }
}

/// The first line that says what went wrong, for people.
pub fn words(finished: &Finished) -> String {
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    finished
        .stderr
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("warning:") && !line.starts_with("hint:"))
        .map(plain)
        .or_else(|| finished.last_line())
        .unwrap_or_else(|| format!("{:?}", finished.ended))
}

/// Whether this is an object's full name.
pub fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path as git says it: bytes, not text.
pub fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn settings(list: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(list);
    // A name without a value is a yes.
    text.split_terminator('\0').map(|entry| entry.split_once('\n').unwrap_or((entry, "true"))).map(owned).collect()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn prepare(cmd: Cmd<'_>, further: &[(&str, &str)]) -> Command {
    let mut command = Command::from(cmd);
    let asked: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in ASTRAY.iter().filter(|name| !asked.iter().any(|asked| asked == **name)) {
        command.env_remove(name);
    }
    command.envs(QUIET);
    // After those that the person gave the same way, not instead of them.
    let given: usize = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for (n, (key, value)) in PLAIN.iter().chain(further).enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{}", given + n), key);
        command.env(format!("GIT_CONFIG_VALUE_{}", given + n), value);
    }
    command.env("GIT_CONFIG_COUNT", (given + PLAIN.len() + further.len()).to_string());
    command
}
