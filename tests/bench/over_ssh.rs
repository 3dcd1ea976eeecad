//! What a breath, a start and a look at the register cost through a real sshd, over a new connection
//! each time and over one that is shared.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use three_mirror::clock::Deadline;
use three_mirror::register::Register;
use three_mirror::register::git::GitRegister;

use crate::measure::{Unit, compare, compare_times, compare_with, run, spread};
use crate::support::sshd::{Client, Sshd, user};
use crate::{MIRROR, ROUNDS};

/// How plain git and ssh share a connection: as mirror's own do.
const SHARED: &str = "ssh -o BatchMode=yes -o ServerAliveInterval=1 -o ServerAliveCountMax=2 -o ControlMaster=auto \
                      -o ControlPath={dir}/run/mirror/%C -o ControlPersist=10m";
const NEW: &str = "ssh -o BatchMode=yes";

/// An sshd, and a place in which `ssh` logs in to it.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    client: Client,
    pub(crate) sshd: Sshd,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let client = Client::new();
        // What a person's .bashrc does is no cost of ours: by this bash takes itself for an inner shell.
        let sshd = Sshd::named(&client, "a SHLVL=1");
        let stage = Self { directory, client, sshd };
        for place in ["bin", "run"] {
            std::fs::create_dir(stage.place(place)).expect("a directory");
        }
        stage.client.install_ssh(&stage.place("bin/ssh"));
        stage
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn shared(&self) -> String {
        SHARED.replace("{dir}", self.directory.path().to_str().expect("UTF-8"))
    }

    /// A program that finds the stage's `ssh` and nothing of the person's. `ssh` is what git calls;
    /// unless it is said, mirror has its own way.
    fn command(&self, program: &str, ssh: Option<&str>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.place("bin").display()));
        command.env("XDG_RUNTIME_DIR", self.place("run")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        for variable in ["MIRROR_CONFIG", "MIRROR_SELF", "STATE_DIRECTORY", "GIT_SSH_COMMAND", "GIT_DIR"] {
            command.env_remove(variable);
        }
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "n").env(format!("GIT_{who}_EMAIL"), "n@localhost");
        }
        if let Some(ssh) = ssh {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        command
    }

    fn sh(&self, script: &str, ssh: Option<&str>) -> Command {
        let mut command = self.command("sh", ssh);
        command.args(["-c", script]).current_dir(self.directory.path());
        command
    }

    /// Runs a script that has to succeed.
    fn must(&self, script: &str, ssh: Option<&str>) {
        let status = self.sh(script, ssh).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "{script}");
    }

    fn mirror(&self, words: &[&str], ssh: Option<&str>) -> Command {
        self.mirror_with("mirror.toml", words, ssh)
    }

    /// With this node list of the stage.
    pub(crate) fn mirror_with(&self, list: &str, words: &[&str], ssh: Option<&str>) -> Command {
        let mut command = self.command(MIRROR, ssh);
        command.current_dir(self.directory.path()).args(["--config", list, "--self", "b"]).args(words);
        command
    }

    /// What `ssh HOST true` takes over a shared connection, as text.
    pub(crate) fn floor(&self, rounds: usize) -> String {
        let ssh = || self.sh(&format!("exec {} -p {} -- 127.0.0.1 true", self.shared(), self.sshd.port()), None);
        run(ssh());
        let taken: Vec<f64> = (0..rounds).map(|_| run(ssh()).0.as_secs_f64() * 1e3).collect();
        format!("ssh HOST true, shared connection: {} ms (n = {rounds})", spread(&taken, 2))
    }

    /// Ends the shared connections.
    pub(crate) fn forget_connections(&self) {
        for socket in std::fs::read_dir(self.place("run/mirror")).into_iter().flatten().flatten() {
            let mut exit = Command::new("ssh");
            exit.arg("-S").arg(socket.path()).args(["-O", "exit", "127.0.0.1"]).stderr(Stdio::null());
            let _ = exit.status();
        }
    }

    /// `ssh://…` of a path below the stage.
    fn url(&self, name: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", user(), self.sshd.port(), self.place(name).display())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.forget_connections();
    }
}

/// All of it.
pub(crate) fn measure() {
    let stage = Stage::new();
    breathe(&stage);
    start(&stage);
    register(&stage);
}

fn breathe(stage: &Stage) {
    let url = stage.url("shared.git");
    stage.must(
        &format!(
            "git init -q --bare -b main shared.git && git clone -q shared.git clone && cd clone &&
             git commit -q --allow-empty -m first && git branch -M main && git push -q -u origin main &&
             git remote set-url origin '{url}'"
        ),
        None,
    );
    std::fs::write(stage.place("mirror.toml"), "nodes.b = \"127.0.0.1\"\nchains.brain = [\"b\"]\n").expect("written");
    let breathe = |ssh: Option<&'static str>| move || stage.mirror(&["breathe", "--repo", "clone"], ssh);
    let by_hand = |ssh: String| move || stage.sh("cd clone && git pull -q --rebase && git push -q", Some(&ssh));
    let (git_new, git_shared) = (by_hand(NEW.to_owned()), by_hand(stage.shared()));
    let pair = "git pull --rebase && git push";
    let new = breathe(Some(NEW));
    compare("idle breathe, a new connection", &new, &format!("{pair}, new ones"), &git_new, ROUNDS, Unit::Ratio);
    let shared = breathe(None);
    compare("idle breathe, a shared connection", &shared, &format!("{pair}, new ones"), &git_new, ROUNDS, Unit::Ratio);
    compare("idle breathe, a shared connection", &shared, &format!("{pair}, shared"), &git_shared, ROUNDS, Unit::Ratio);
    assert!(sockets(stage) > 0, "nothing was shared");
}

fn sockets(stage: &Stage) -> usize {
    std::fs::read_dir(stage.place("run/mirror")).into_iter().flatten().count()
}

/// The brain is this machine, and the service belongs on the other side of the sshd.
fn start(stage: &Stage) {
    let state = stage.place("state");
    std::fs::create_dir(&state).expect("a directory");
    let runs = stage.place("runs").display().to_string();
    // A start that takes as long as a start does; the nodes tell themselves apart by the sshd's NODE.
    let start = format!("sleep 0.05; touch '{runs}-'$NODE");
    let list = format!(
        "state = {state:?}
[nodes]
a = {node}
b = {{ address = \"127.0.0.1\", port = 1 }}
[chains]
brain = [\"b\", \"a\"]
bot = [\"a\", \"b\"]
[services.bot]
status = \"test -e '{runs}-'$NODE\"
start = \"{start}\"
stop = \"rm -f '{runs}-'$NODE\"
restarts = 1000
",
        node = stage.sshd.node(),
    );
    std::fs::write(stage.place("mirror.toml"), list).expect("written");
    let promote = || stage.mirror(&["promote", "--json"], None);
    let started = PathBuf::from(format!("{runs}-a"));
    let alone = || {
        let mut command = stage.sh(&start, None);
        command.env("NODE", "a");
        command
    };
    let forget = || {
        assert!(started.exists(), "nothing was started");
        std::fs::remove_file(&started).expect("removed");
    };
    let (a, b) = ("promote of a stopped service on another node", "its start command alone");
    compare_with(a, &promote, b, &alone, ROUNDS, Unit::Difference, &forget);
    println!("the floor: {}\n", stage.floor(ROUNDS));
}

fn register(stage: &Stage) {
    let reference = "refs/mirror/bot";
    let script = format!("git init -q --bare register.git && cd clone && git push -q ../register.git main:{reference}");
    stage.must(&script, None);
    let (path, url) = (stage.place("register.git").display().to_string(), stage.url("register.git"));
    // In this process, so its ssh is told all that the stage's has.
    let known = |ssh: &str| ssh.replacen("ssh", &stage.place("bin/ssh").display().to_string(), 1);
    let (new, shared) = (known(NEW), known(&stage.shared()));
    for (how, remote, ssh) in [("by path", &path, &new), ("a new connection", &url, &new), ("shared", &url, &shared)] {
        let cache = stage.place(&format!("cache of {how}"));
        let register = GitRegister::open(&cache, remote, reference, "n", Some(ssh)).expect("a register");
        let read = || look(&register);
        let list = || {
            let mut command = stage.command("git", Some(ssh));
            command.args(["ls-remote", "--quiet", "--", remote, reference]);
            run(command).0
        };
        let a = format!("a read of the git register, {how}");
        compare_times(&a, &read, &format!("git ls-remote, {how}"), &list, ROUNDS, Unit::Ratio);
    }
}

fn look(register: &GitRegister) -> Duration {
    let begun = Instant::now();
    register.read(Deadline::after(Duration::from_secs(20))).expect("a read").expect("a value");
    begun.elapsed()
}
