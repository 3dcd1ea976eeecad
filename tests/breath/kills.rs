//! A breath killed at any moment loses nothing, and the next one finishes its work.
//!
//! `MIRROR_TEST_KILLS` says how often (200), `MIRROR_TEST_SEED` repeats a run. A breath to be killed
//! is a `mirror breathe`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Repo, World, apart, executable, git, scratch};

/// The exit status of a breath that another one is in the way of.
const BUSY: i32 = 3;

/// One `mirror breathe`.
pub(crate) struct Driver(Command);

impl Driver {
    pub(crate) fn new(repo: &Repo) -> Self {
        apart();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirror"));
        command.args(["breathe", "--quiet", "--self", "spb", "--repo"]).arg(repo.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command).committing(false, repo)
    }

    fn committing(mut self, commit: bool, repo: &Repo) -> Self {
        let list = repo.path().with_extension(if commit { "committing.toml" } else { "toml" });
        let text = format!(
            "nodes.spb = \"127.0.0.1\"\nchains.brain = [\"spb\"]\nbreath = {{ timeout = \"20s\", commit = {commit} }}\n"
        );
        fs::write(&list, text).unwrap();
        self.0.env("MIRROR_CONFIG", list);
        self
    }

    pub(crate) fn without_identity(mut self) -> Self {
        for name in ["AUTHOR", "COMMITTER"] {
            self.0.env_remove(format!("GIT_{name}_NAME")).env_remove(format!("GIT_{name}_EMAIL"));
        }
        self
    }

    pub(crate) fn spawn(mut self) -> std::process::Child {
        self.0.spawn().unwrap()
    }

    pub(crate) fn run(mut self) -> ExitStatus {
        self.0.status().unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Local,
    Incoming,
    Both,
    Conflict,
    Uncommitted,
    Committing,
}

const SCENES: [Scene; 6] =
    [Scene::Local, Scene::Incoming, Scene::Both, Scene::Conflict, Scene::Uncommitted, Scene::Committing];
const FILES: usize = 240;

/// Written, staged and removed by a person, in every state that git knows.
fn leave_uncommitted(repo: &Repo) {
    repo.write("mine/staged", "staged\n").write("mine/both", "staged\n").git(&["add", "mine"]);
    repo.write("mine/both", "and more\n").write("mine/modified", "modified\n").write("mine/untracked", "untracked\n");
    repo.write("ignored", "ignored\n");
    fs::remove_file(repo.path().join("mine/removed")).unwrap();
}

/// A remote and a clone as the scene has them, with what the clone's history must end as.
fn set(scene: Scene) -> World {
    let world = World::empty();
    let other = world.clone_as("other");
    for n in 0..FILES {
        other.write(&format!("files/{}/{n}", n % 7), &format!("{n}\n").repeat(n * 5));
    }
    other
        .write("was-file", "f\n")
        .write("was-dir/in", "i\n")
        .write("run", "#!/bin/sh\n")
        .write(".gitignore", "ignored\n");
    for name in ["both", "modified", "removed"] {
        other.write(&format!("mine/{name}"), "first\n");
    }
    other.commit("first");
    other.git(&["push", "-q", "origin", "main"]);
    let repo = world.clone_as("one");
    if !matches!(scene, Scene::Incoming | Scene::Committing) {
        for n in 0..3 {
            repo.write(&format!("local/{n}"), "local\n").write("files/0/0", "local\n").commit(&format!("local {n}"));
        }
    }
    if scene != Scene::Local {
        change(&other);
        if scene == Scene::Conflict {
            other.write("files/0/0", "theirs\n");
        }
        other.commit("incoming");
        other.git(&["push", "-q", "origin", "main"]);
    }
    if matches!(scene, Scene::Uncommitted | Scene::Committing) {
        leave_uncommitted(&repo);
    }
    world
}

fn change(other: &Repo) {
    for n in 1..FILES {
        let name = format!("files/{}/{n}", n % 7);
        match n % 5 {
            0 => fs::remove_file(other.path().join(name)).unwrap(),
            1 => _ = other.write(&format!("{name}-new \"näme\""), &"new\n".repeat(n * 9)),
            _ => _ = other.write(&name, &format!("changed {n}\n").repeat(n * 7)),
        }
    }
    fs::remove_file(other.path().join("was-file")).unwrap();
    fs::remove_dir_all(other.path().join("was-dir")).unwrap();
    other.write("was-file/in", "i\n").write("was-dir", "f\n");
    executable(&other.path().join("run"));
    symlink("run", other.path().join("link")).unwrap();
}

type Files = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// The result of an undisturbed breath; a killed breath must end the same.
struct Model {
    scene: Scene,
    world: World,
    /// Where the clone stood, which nothing may lose.
    head: String,
    /// What is uncommitted, and stays so; where it is committed, its bytes stay.
    mine: Files,
    status: String,
    end: Files,
    log: BTreeSet<String>,
    verdict: i32,
    took: Duration,
}

fn mine(repo: &Repo) -> Files {
    let mut files = repo.files();
    files.retain(|path, _| path.starts_with("mine") || path.starts_with("ignored"));
    files
}

fn subjects(repo: &Repo, branch: &str) -> BTreeSet<String> {
    let log = repo.git(&["log", "--format=%s", branch]);
    log.lines().map(|line| line.split(" at 20").next().unwrap().to_owned()).collect()
}

fn copy(world: &World, to: &Path) -> Repo {
    let done = Command::new("cp").args(["-a", "--"]).arg(world.path()).arg(to).status().unwrap();
    assert!(done.success());
    Repo(to.join("one"))
}

fn model(scene: Scene) -> Model {
    let world = set(scene);
    let dir = scratch();
    let repo = copy(&world, &dir.path().join("w"));
    let (head, mine) = (repo.head(), mine(&repo));
    let start = Instant::now();
    let end = Driver::new(&repo).committing(scene == Scene::Committing, &repo).run();
    let took = start.elapsed();
    let verdict = if scene == Scene::Conflict { 1 } else { 0 };
    assert_eq!(end.code(), Some(verdict), "{scene:?}, undisturbed");
    let (status, end, log) = (repo.status(), repo.files(), subjects(&repo, "main"));
    Model { scene, world, head, mine, status, end, log, verdict, took }
}

/// Numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// When to kill which processes.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// Not before the checkout begins.
    in_checkout: bool,
    after: Duration,
    /// Every git that works here too, not only the breath.
    all: bool,
}

#[test]
fn a_breath_killed_at_any_moment_loses_nothing() {
    apart();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("MIRROR_TEST_KILLS").unwrap_or(200);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("MIRROR_TEST_SEED").unwrap_or(clock.as_nanos() as u64) | 1;
    println!("MIRROR_TEST_SEED={seed} MIRROR_TEST_KILLS={kills}");
    let models: Vec<Model> = SCENES.into_iter().map(model).collect();
    let mut random = Random(seed);
    let mut in_checkout = 0;
    for n in 0..kills {
        let model = &models[(n % models.len() as u64) as usize];
        let window = random.below(2) == 0 && !matches!(model.scene, Scene::Local | Scene::Conflict);
        let most = if window { 9_000 } else { model.took.as_micros() as u64 };
        let kill =
            Kill { in_checkout: window, after: Duration::from_micros(random.below(most)), all: random.below(2) == 0 };
        in_checkout += u32::from(trial(model, kill, n));
    }
    println!("{in_checkout} of {kills} were killed during the checkout");
    assert!(u64::from(in_checkout) * 8 >= kills, "too few kills hit the checkout");
}

/// Returns whether the breath was killed during its checkout.
fn trial(model: &Model, kill: Kill, n: u64) -> bool {
    let dir = scratch();
    let repo = copy(&model.world, &dir.path().join("w"));
    let about = format!("kill {n}, {:?}, {kill:?}", model.scene);
    let in_checkout = run_and_kill(model, kill, &repo);
    assert_eq!(mine(&repo), model.mine, "{about}: right after the kill");
    repo.git(&["cat-file", "-e", &format!("{}^{{tree}}", model.head)]);
    let remote = Repo(dir.path().join("w/remote.git"));
    let end = breathe_again(model, &repo);
    assert_eq!(end, Some(model.verdict), "{about}: the next breath");
    assert_eq!(mine(&repo), model.mine, "{about}: after the next breath");
    assert_eq!(repo.status(), model.status, "{about}");
    assert!(repo.files() == model.end, "{about}: the tree differs from an undisturbed breath's");
    assert_eq!(subjects(&repo, "main"), model.log, "{about}");
    repo.git(&["cat-file", "-e", &format!("{}^{{tree}}", model.head)]);
    if model.scene == Scene::Conflict {
        git(remote.path(), &["cat-file", "-e", &model.head]);
    } else {
        assert_eq!(remote.tip("main"), repo.head(), "{about}");
    }
    repo.is_sound();
    in_checkout
}

fn run_and_kill(model: &Model, kill: Kill, repo: &Repo) -> bool {
    let mut driver = Driver::new(repo).committing(model.scene == Scene::Committing, repo);
    let mut child = driver.0.spawn().unwrap();
    let intent = repo.path().join(".git/mirror/intent");
    while kill.in_checkout && !intent.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(100));
    }
    std::thread::sleep(kill.after);
    let pid = Pid::from_child(&child);
    if kill.all {
        // Stopped first, or it would see its children die and go on to something else.
        let _ = kill_process(pid, Signal::STOP);
        for child in descendants(pid) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
    let _ = kill_process(pid, Signal::KILL);
    child.wait().unwrap();
    intent.exists()
}

/// Those that work in this repository; the ones that serve the remote are not ours to kill.
fn descendants(pid: Pid) -> Vec<Pid> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(id) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else { continue };
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent.filter(|_| !command.contains("receive-pack") && !command.contains("upload-pack")) {
            parents.push((id, parent));
        }
    }
    let mut found = vec![pid.as_raw_nonzero().get()];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        at += 1;
    }
    found[1..].iter().filter_map(|id| Pid::from_raw(*id)).collect()
}

/// A git of the killed breath may live for another moment, and keep the lock.
fn breathe_again(model: &Model, repo: &Repo) -> Option<i32> {
    let mut last = None;
    for _ in 0..100 {
        last = Driver::new(repo).committing(model.scene == Scene::Committing, repo).run().code();
        if last != Some(BUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    last
}
