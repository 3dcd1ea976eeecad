//! Locks and interrupted checkouts: a breath repairs its own and leaves a person's alone.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use three_mirror::sync::BreatheVerdict;

use crate::world::{Repo, World};

impl Repo {
    fn dot_git(&self, name: &str) -> PathBuf {
        self.path().join(".git").join(name)
    }
}

#[test]
fn one_breath_at_a_time() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let lock = File::open(repo.dot_git("mirror/breath.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(repo.breath().breathe().unwrap().verdict, BreatheVerdict::Busy);
    drop(lock);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
}

#[test]
fn a_person_s_index_lock_is_waited_for_and_never_touched() {
    let world = World::new();
    let repo = world.clone_as("one");
    let lock = repo.dot_git("index.lock");
    fs::write(&lock, "a person's").unwrap();
    let head = repo.head();
    let new = world.incoming(&[("a", "new\n")]);
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::Busy, head), "{outcome:?}");
    assert!(outcome.reason.contains("index.lock"), "{}", outcome.reason);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "a person's");
    let lock_again = lock.clone();
    let person = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        fs::remove_file(lock_again).unwrap();
    });
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    person.join().unwrap();
    assert_eq!(repo.head(), new);
}

#[test]
fn a_person_s_ref_lock_is_named_and_never_touched() {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "new\n")]);
    let before = (repo.head(), repo.status(), repo.files());
    for name in ["refs/heads/main.lock", "HEAD.lock"] {
        let lock = repo.dot_git(name);
        fs::write(&lock, "").unwrap();
        for _ in 0..2 {
            let outcome = repo.breathe();
            assert_eq!(outcome.verdict, BreatheVerdict::Busy, "{outcome:?}");
            assert!(outcome.reason.contains(name), "{}", outcome.reason);
            assert_eq!((repo.head(), repo.status(), repo.files()), before);
            assert!(!repo.dot_git("mirror/intent").exists());
        }
        fs::remove_file(&lock).unwrap();
    }
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    repo.is_sound();
}

#[test]
fn a_breath_s_own_ref_lock_is_removed_once_it_is_surely_dead() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let new = world.incoming(&[("a", "new\n")]);
    fs::write(repo.dot_git("mirror/mark"), format!("{new}\nrefs/heads/main\nHEAD\nrefs/remotes/origin/main\n"))
        .unwrap();
    fs::create_dir_all(repo.dot_git("refs/breath/origin")).unwrap();
    fs::write(repo.dot_git("refs/heads/main.lock"), format!("{new}\n")).unwrap();
    for name in ["HEAD.lock", "refs/remotes/origin/main.lock", "refs/breath/origin/main.lock"] {
        fs::write(repo.dot_git(name), "").unwrap();
    }
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::InStep, new), "{outcome:?}");
    repo.is_sound();
}

#[test]
fn a_ref_lock_that_does_not_fit_the_mark_is_a_person_s() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let new = world.incoming(&[("a", "new\n")]);
    let lock = repo.dot_git("refs/heads/main.lock");
    let mark = || fs::write(repo.dot_git("mirror/mark"), format!("{new}\nrefs/heads/main\n")).unwrap();
    mark();
    fs::write(&lock, "something else\n").unwrap();
    assert_eq!(repo.breathe().verdict, BreatheVerdict::Busy);
    // A lock that was there before the breath marked the ref.
    fs::write(&lock, "").unwrap();
    fs::write(repo.dot_git("mirror/mark"), format!("{new}\nlocked refs/heads/main\n")).unwrap();
    assert_eq!(repo.breathe().verdict, BreatheVerdict::Busy);
    assert!(lock.exists());
}

#[test]
fn a_breath_s_own_lock_is_recognised_whatever_its_date() {
    let far = Duration::from_secs(70 * 365 * 24 * 3600);
    for date in [SystemTime::UNIX_EPOCH, SystemTime::now() - Duration::from_secs(60), SystemTime::now() + far] {
        let world = World::new();
        let repo = world.clone_as("one");
        repo.breathe();
        let new = world.incoming(&[("a", "new\n")]);
        fs::write(repo.dot_git("mirror/mark"), format!("{new}\nrefs/heads/main\nHEAD\n")).unwrap();
        for name in ["refs/heads/main.lock", "HEAD.lock", "refs/breath/origin/main.lock"] {
            let lock = repo.dot_git(name);
            fs::write(&lock, "").unwrap();
            File::options().append(true).open(&lock).unwrap().set_times(FileTimes::new().set_modified(date)).unwrap();
        }
        let outcome = repo.breathe();
        assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::InStep, new), "{outcome:?}");
        repo.is_sound();
    }
}

/// A repository whose breath was killed during the checkout from `old` to `new`.
struct Interrupted {
    _world: World,
    repo: Repo,
    old: String,
    new: String,
}

const LONG: &str = "a line that is long enough to be cut\n";

fn interrupted() -> Interrupted {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let other = world.clone_as("other");
    fs::remove_file(other.path().join("b")).unwrap();
    symlink("a", other.path().join("link")).unwrap();
    let long = LONG.repeat(10_000);
    fs::remove_file(other.path().join("dir/c")).unwrap();
    let new = world.incoming(&[("a", &long[..]), ("dir/c/now/a/dir", "x\n"), ("added/file", &long)]);
    repo.git(&["fetch", "-q", "origin"]);
    let old = repo.head();
    let intent = format!("branch refs/heads/main\nold {old}\nnew {new}\nfiles true\n");
    fs::write(repo.dot_git("mirror/intent"), intent).unwrap();
    fs::write(repo.dot_git("mirror/token"), "").unwrap();
    fs::hard_link(repo.dot_git("mirror/token"), repo.dot_git("index.lock")).unwrap();
    Interrupted { _world: world, repo, old, new }
}

#[test]
fn an_interrupted_checkout_is_undone_and_done_again() {
    let torn: [fn(&Repo); 8] = [
        |_| {},
        |repo| _ = repo.write("a", &LONG.repeat(10_000)),
        |repo| _ = repo.write("a", &LONG.repeat(10_000)[..5000]),
        |repo| _ = repo.write("a", ""),
        |repo| fs::remove_file(repo.path().join("a")).unwrap(),
        |repo| fs::remove_file(repo.path().join("b")).unwrap(),
        |repo| _ = repo.write("added/file", &LONG.repeat(10)),
        |repo| {
            fs::remove_file(repo.path().join("dir/c")).unwrap();
            repo.write("dir/c/now/a/dir", "x\n").write("added/file", &LONG.repeat(10_000));
            fs::remove_file(repo.path().join("b")).unwrap();
            symlink("a", repo.path().join("link")).unwrap();
        },
    ];
    for (n, torn) in torn.into_iter().enumerate() {
        let stage = interrupted();
        torn(&stage.repo);
        // Without the remote, the repair is all that happens.
        stage.repo.git(&["config", "remote.origin.url", "../nowhere.git"]);
        assert_eq!(stage.repo.breathe().verdict, BreatheVerdict::Unreachable);
        assert_eq!((stage.repo.head(), stage.repo.status()), (stage.old, String::new()), "case {n}");
        assert!(!stage.repo.path().join("added").exists());
        stage.repo.is_sound();
        stage.repo.git(&["config", "remote.origin.url", "../remote.git"]);
        assert_eq!(stage.repo.breathe().verdict, BreatheVerdict::InStep);
        assert_eq!((stage.repo.head(), stage.repo.status()), (stage.new, String::new()), "case {n}");
        stage.repo.is_sound();
    }
}

#[test]
fn what_a_person_wrote_after_the_kill_stays() {
    let stage = interrupted();
    let repo = &stage.repo;
    fs::remove_file(repo.path().join("b")).unwrap();
    repo.write("a", "a person's\n").write("added/file", "a person's\n").write("added/other", "a person's\n");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
    assert_eq!(outcome.files, ["a", "added/file"]);
    for name in ["a", "added/file", "added/other"] {
        assert_eq!(repo.read(name), "a person's\n");
    }
    assert_eq!((repo.read("b"), repo.head()), ("b\n".into(), stage.old));
    repo.is_sound();
}

#[test]
fn a_complete_checkout_only_lacks_its_branch() {
    let stage = interrupted();
    stage.repo.git(&["config", "remote.origin.url", "../nowhere.git"]);
    fs::remove_file(stage.repo.dot_git("index.lock")).unwrap();
    stage.repo.git(&["read-tree", "-m", "-u", &stage.old, &stage.new]);
    assert_eq!(stage.repo.breathe().verdict, BreatheVerdict::Unreachable);
    assert_eq!((stage.repo.head(), stage.repo.status()), (stage.new, String::new()));
    stage.repo.is_sound();
}

#[test]
fn a_person_who_went_on_after_the_kill_is_not_disturbed() {
    let stage = interrupted();
    let repo = &stage.repo;
    repo.git(&["config", "remote.origin.url", "../nowhere.git"]);
    fs::remove_file(repo.dot_git("index.lock")).unwrap();
    repo.write("a", "a person's\n").write("added/file", "");
    let head = repo.commit("by hand");
    assert_eq!(repo.breathe().verdict, BreatheVerdict::Unreachable);
    assert_eq!((repo.head(), repo.status(), repo.read("added/file")), (head, String::new(), String::new()));
    repo.is_sound();
}

#[test]
fn uncommitted_work_that_was_being_committed_is_never_made_old() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let old = repo.head();
    let new = repo.write("a", "mine\n").write("n", "mine\n").commit("uncommitted work");
    repo.git(&["reset", "-q", &old]);
    let intent = format!("branch refs/heads/main\nold {old}\nnew {new}\nfiles false\n");
    fs::write(repo.dot_git("mirror/intent"), intent).unwrap();
    let before = (repo.status(), repo.files());
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!((repo.head(), repo.status(), repo.files()), (old, before.0, before.1));
    repo.is_sound();
}

#[test]
fn a_filter_that_fails_half_way_leaves_the_tree_as_it_was() {
    let world = World::new();
    let repo = world.clone_as("one");
    let names: Vec<String> = (0..9).map(|n| format!("files/{n}")).collect();
    let files = |text| names.iter().map(|name| (&name[..], text)).collect::<Vec<_>>();
    world.incoming(&files("old\n"));
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    repo.write("b", "mine\n");
    repo.git(&["config", "filter.picky.smudge", "grep -v bad"]);
    repo.git(&["config", "filter.picky.clean", "cat"]);
    repo.git(&["config", "filter.picky.required", "true"]);
    let before = (repo.head(), repo.status(), repo.files());
    world.incoming(
        &[&files("new\n")[..], &[("files/5", "bad\n"), (".gitattributes", "files/5 filter=picky\n")]].concat(),
    );
    for _ in 0..2 {
        let outcome = repo.breathe();
        assert_eq!(outcome.verdict, BreatheVerdict::Failed, "{outcome:?}");
        assert!(outcome.reason.contains("grep -v bad"), "{}", outcome.reason);
        assert_eq!((repo.head(), repo.status(), repo.files()), before);
        repo.is_sound();
    }
    repo.git(&["config", "filter.picky.smudge", "cat"]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!((repo.read("files/5"), repo.status()), ("bad\n".into(), " M b".into()));
}

#[test]
fn a_commit_made_during_the_checkout_is_not_lost() {
    let world = World::new();
    let repo = world.clone_as("one");
    let by_hand = repo.git(&["commit-tree", "-p", "HEAD", "-m", "by hand", "HEAD^{tree}"]);
    // A filter runs in the middle of the checkout.
    let commit = format!("git update-ref refs/heads/main {by_hand} && cat");
    repo.git(&["config", "filter.sly.smudge", &commit]);
    world.incoming(&[("files/5", "new\n"), (".gitattributes", "files/5 filter=sly\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(repo.log(), ["by hand", "incoming", "first"]);
    assert_eq!((repo.head(), repo.status()), (world.remote().tip("main"), String::new()));
    repo.is_sound();
}

/// Breathes through the program with files limited in size, as on a disk that is full.
fn breathe_on_a_full_disk(repo: &Repo, kib: u64) -> std::process::Output {
    let config = repo.dot_git("mirror.toml");
    fs::write(&config, "nodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }\n").unwrap();
    // Blocks of 512 bytes by POSIX, of 1 KiB in bash; the file is far larger than both.
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    std::process::Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_mirror"), "breathe", "--config"])
        .arg(config)
        .arg("--repo")
        .arg(repo.path())
        .output()
        .unwrap()
}

#[test]
fn on_a_full_disk_the_files_of_a_killed_breath_are_still_its_own() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.breathe();
    let old = repo.head();
    let big = "0123456789abcdef\n".repeat(120_000);
    let new = world.incoming(&[("big", &big), ("a", "new\n")]);
    repo.git(&["fetch", "-q"]);
    // The breath was killed after its last file and before its index; the next finds no room.
    fs::write(repo.dot_git("mirror/intent"), format!("branch refs/heads/main\nold {old}\nnew {new}\nfiles true\n"))
        .unwrap();
    repo.write("big", &big).write("a", "new\n");
    let said = breathe_on_a_full_disk(&repo, 500);
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::InStep, new), "{outcome:?}");
    assert_eq!((repo.status(), repo.read("big")), (String::new(), big));
    repo.is_sound();
}
