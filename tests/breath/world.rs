//! A remote and clones of it in a temporary directory, without the tester's own settings.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::{Duration, Instant};

use three_mirror::sync::{Breath, BreathOutcome};

static APART: Once = Once::new();

/// Keeps the tester's own settings out, for git here and for git under a breath.
pub(crate) fn apart() {
    APART.call_once(|| {
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Author"),
            ("GIT_AUTHOR_EMAIL", "author@example.org"),
            ("GIT_COMMITTER_NAME", "Committer"),
            ("GIT_COMMITTER_EMAIL", "committer@example.org"),
        ] {
            // SAFETY: every test comes through here before it reads the environment or starts
            // anything; nothing else in this program reads it in another language's way.
            unsafe { std::env::set_var(name, value) };
        }
    });
}

/// A directory that goes away again; in memory unless `TMPDIR` says where, since hundreds of clones
/// come and go.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = match std::env::var_os("TMPDIR") {
        None if memory.is_dir() => memory.to_owned(),
        _ => std::env::temp_dir(),
    };
    tempfile::Builder::new().prefix("mirror-breath-").tempdir_in(dir).unwrap()
}

pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// An empty remote.
    pub(crate) fn empty() -> Self {
        apart();
        let world = Self { dir: scratch() };
        git(world.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        world
    }

    /// A remote with one commit: the files `a`, `b` and `dir/c`.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        let seed = world.clone_as("seed");
        seed.write("a", "a1\na2\na3\n").write("b", "b\n").write("dir/c", "c\n").commit("first");
        seed.git(&["push", "-q", "origin", "main"]);
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn remote(&self) -> Repo {
        Repo(self.path().join("remote.git"))
    }

    pub(crate) fn clone_as(&self, name: &str) -> Repo {
        git(self.path(), &["clone", "-q", "remote.git", name]);
        let repo = Repo(self.path().join(name));
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        // So that a copy of the world is a world of its own.
        repo.git(&["remote", "set-url", "origin", "../remote.git"]);
        repo
    }

    /// A commit that somebody else pushes.
    pub(crate) fn incoming(&self, files: &[(&str, &str)]) -> String {
        let other = self.path().join("other");
        let other = if other.exists() { Repo(other) } else { self.clone_as("other") };
        other.git(&["pull", "-q", "--ff-only", "origin", "main"]);
        for (name, text) in files {
            other.write(name, text);
        }
        let id = other.commit("incoming");
        other.git(&["push", "-q", "origin", "main"]);
        id
    }
}

#[derive(Clone)]
pub(crate) struct Repo(pub(crate) PathBuf);

impl Repo {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.0, args)
    }

    pub(crate) fn try_git(&self, args: &[&str]) -> Output {
        try_git(&self.0, args)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn tip(&self, name: &str) -> String {
        self.git(&["rev-parse", "--verify", name])
    }

    pub(crate) fn status(&self) -> String {
        self.git(&["status", "--porcelain", "-uall"])
    }

    /// The subjects of the history, newest first.
    pub(crate) fn log(&self) -> Vec<String> {
        self.git(&["log", "--format=%s", "main"]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn breath(&self) -> Breath<'_> {
        Breath {
            repo: &self.0,
            remote: "origin",
            branch: "main",
            timeout: Duration::from_secs(20),
            commit: false,
            manner: three_mirror::sync::Manner::Patient,
            node: Some("spb"),
            ssh_command: None,
        }
    }

    pub(crate) fn breathe(&self) -> BreathOutcome {
        breathe(self.breath())
    }

    /// Every file of the work tree: mode, and bytes or a link's target.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        walk(&self.0, &mut |path, meta| {
            let bytes = if meta.is_symlink() {
                fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(path).unwrap()
            };
            found.insert(path.strip_prefix(&self.0).unwrap().to_owned(), (meta.mode() & 0o170_100, bytes));
        });
        found
    }

    /// Nothing of a breath is left behind, and the repository is whole.
    pub(crate) fn is_sound(&self) {
        // git may be tidying up behind everybody's back.
        while self.0.join(".git/gc.pid").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut locks = Vec::new();
        walk_all(&self.0.join(".git"), &mut |path, _| {
            if path.extension().is_some_and(|end| end == "lock") && !path.ends_with("mirror/breath.lock") {
                locks.push(path.to_owned());
            }
        });
        assert!(locks.is_empty(), "locks are left: {locks:?}");
        for name in ["intent", "mark", "index", "old", "new"] {
            let path = self.0.join(".git/mirror").join(name);
            assert!(!path.exists(), "{} is left", path.display());
        }
        self.git(&["fsck", "--no-dangling", "--no-progress"]);
    }
}

fn walk(dir: &Path, see: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if path.ends_with(".git") {
            continue;
        }
        if meta.is_dir() { walk(&path, see) } else { see(&path, &meta) }
    }
}

fn walk_all(dir: &Path, see: &mut impl FnMut(&Path, &fs::Metadata)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() { walk_all(&path, see) } else { see(&path, &meta) }
    }
}

/// Breathes. A process that another test is just starting may still hold the lock of the last breath
/// until it has executed its program; that is waited for.
pub(crate) fn breathe(breath: Breath<'_>) -> BreathOutcome {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let outcome = breath.breathe().unwrap();
        if outcome.reason != "another breath is running in this repository" || Instant::now() > end {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn try_git(dir: &Path, args: &[&str]) -> Output {
    Command::new("git").args(args).current_dir(dir).output().unwrap()
}

#[track_caller]
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = try_git(dir, args);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?} in {}: {words}", dir.display());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
