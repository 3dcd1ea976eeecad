//! What goes wrong is called what it is, on the right side, with the remedy.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use three_mirror::sync::{BreathOutcome, BreatheVerdict};

use crate::world::{Repo, World, executable};

/// A clone with one local and one incoming commit.
fn stage() -> (World, Repo) {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "theirs\n")]);
    repo.write("x", "x\n").commit("local");
    (world, repo)
}

/// What a power loss leaves of a file.
const TORN: [&[u8]; 2] = [b"", &[0; 41]];

fn expect(outcome: &BreathOutcome, verdict: BreatheVerdict, words: &[&str]) {
    assert_eq!(outcome.verdict, verdict, "{outcome:?}");
    for word in words {
        assert!(outcome.reason.contains(word), "`{word}` is not in: {}", outcome.reason);
    }
}

fn object(repo: &Repo, dir: &str, id: &str) -> PathBuf {
    let path = repo.path().join(dir).join("objects").join(&id[..2]).join(&id[2..]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn a_torn_file_of_git_is_named_with_the_remedy() {
    let cases: [(&str, &[&str]); 5] = [
        ("HEAD", &[".git/HEAD", "ref: refs/heads/"]),
        ("refs/heads/main", &["refs/heads/main", "git update-ref"]),
        ("refs/remotes/origin/main", &["refs/remotes/origin/main", "can be deleted"]),
        ("index", &["index", "git reset"]),
        ("config", &["config"]),
    ];
    for (name, words) in cases {
        for torn in TORN {
            let (_world, repo) = stage();
            repo.git(&["fetch", "-q", "origin"]);
            let path = repo.path().join(".git").join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, torn).unwrap();
            expect(&repo.breathe(), BreatheVerdict::Failed, words);
            fs::write(&path, whole).unwrap();
            expect(&repo.breathe(), BreatheVerdict::InStep, &[]);
            repo.is_sound();
        }
    }
}

#[test]
fn a_torn_branch_is_mended_by_the_printed_command() {
    for torn in TORN {
        let (world, repo) = stage();
        fs::write(repo.path().join(".git/refs/heads/main"), torn).unwrap();
        let reason = repo.breathe().reason;
        let command = reason.split('`').nth(1).unwrap();
        let done = std::process::Command::new("sh").args(["-c", command]).current_dir(repo.path()).status().unwrap();
        assert!(done.success(), "{command}");
        expect(&repo.breathe(), BreatheVerdict::InStep, &[]);
        assert_eq!(repo.head(), world.remote().tip("main"));
    }
}

#[test]
fn an_emptied_packed_refs_does_not_make_the_branch_a_new_one() {
    for torn in TORN {
        let (world, repo) = stage();
        repo.git(&["pack-refs", "--all"]);
        fs::write(repo.path().join(".git/packed-refs"), torn).unwrap();
        expect(&repo.breathe(), BreatheVerdict::Failed, &["git update-ref"]);
        assert_eq!(world.remote().log(), ["incoming", "first"]);
    }
}

#[test]
fn a_torn_ref_of_the_breath_is_made_anew() {
    for torn in TORN {
        let (_world, repo) = stage();
        repo.breathe();
        fs::write(repo.path().join(".git/refs/breath/origin/main"), torn).unwrap();
        expect(&repo.breathe(), BreatheVerdict::InStep, &[]);
    }
}

#[test]
fn a_torn_repository_inside_another_one_never_uses_that() {
    let world = World::new();
    let outer = world.clone_as("outer");
    outer.git(&["clone", "-q", "../remote.git", "inner"]);
    let inner = Repo(outer.path().join("inner"));
    fs::write(inner.path().join(".git/HEAD"), "").unwrap();
    expect(&inner.breathe(), BreatheVerdict::Failed, &["inner/.git/HEAD"]);
    assert!(!outer.path().join(".git/mirror").exists());
}

#[test]
fn a_damaged_object_is_blamed_on_the_side_that_has_it() {
    let (_world, repo) = stage();
    fs::write(object(&repo, ".git", &repo.head()), "").unwrap();
    expect(&repo.breathe(), BreatheVerdict::Failed, &["is empty", "on this machine is damaged"]);
    let (_world, repo) = stage();
    let blob = repo.tip("HEAD:x");
    fs::write(object(&repo, ".git", &blob), "").unwrap();
    expect(&repo.breathe(), BreatheVerdict::Failed, &["on this machine is damaged"]);
    let (world, repo) = stage();
    let remote = world.remote();
    fs::write(object(&remote, "", &remote.tip("main")), "").unwrap();
    expect(&repo.breathe(), BreatheVerdict::Refused, &["on the remote is damaged"]);
}

#[test]
fn a_repository_of_another_user_is_not_one_without_a_remote() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a repository away");
        return;
    }
    let (world, repo) = stage();
    chown(repo.path(), Some(12345), None).unwrap();
    chown(repo.path().join(".git"), Some(12345), None).unwrap();
    expect(&repo.breathe(), BreatheVerdict::Failed, &["dubious ownership", "safe.directory"]);
    let (world_2, repo) = stage();
    chown(world_2.remote().path(), Some(12345), None).unwrap();
    expect(&repo.breathe(), BreatheVerdict::Refused, &["dubious ownership", "safe.directory", "on the remote"]);
    drop(world);
}

#[test]
fn a_setting_here_that_forbids_the_push_is_named() {
    let cases = [
        ("remote.origin.pushurl", "no_push", "remote.origin.pushurl"),
        ("remote.origin.mirror", "true", "mirror"),
        ("push.gpgSign", "true", "push.gpgSign"),
        ("push.pushOption", "ci.skip", "push.pushOption"),
        ("protocol.file.allow", "never", "protocol"),
        ("core.hooksPath", "../hooks", "no pushes from here"),
    ];
    for (key, value, word) in cases {
        let (world, repo) = stage();
        let hook = world.path().join("hooks/pre-push");
        fs::create_dir(hook.parent().unwrap()).unwrap();
        fs::write(&hook, "#!/bin/sh\necho 'no pushes from here'\nexit 1\n").unwrap();
        executable(&hook);
        repo.git(&["config", key, value]);
        let verdict = if key == "core.hooksPath" { BreatheVerdict::Refused } else { BreatheVerdict::Failed };
        expect(&repo.breathe(), verdict, &[word]);
    }
}

#[test]
fn a_remote_that_refuses_is_not_unreachable() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["core.bare", "false"], &["checked out", "core.bare true"]),
        (&["receive.hideRefs", "refs/heads"], &["hidden ref", "receive.hideRefs"]),
        (&["receive.maxInputSize", "10"], &["unpacker error", "could not store"]),
    ];
    for (context, words) in cases {
        let (world, repo) = stage();
        world.remote().git(&[&["config"], context].concat());
        expect(&repo.breathe(), BreatheVerdict::Refused, words);
    }
}

#[test]
fn a_stale_lock_on_the_remote_is_named() {
    let (world, repo) = stage();
    let lock = world.remote().path().join("refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    expect(&repo.breathe(), BreatheVerdict::Busy, &["refs/heads/main.lock", "on origin"]);
    fs::remove_file(&lock).unwrap();
    expect(&repo.breathe(), BreatheVerdict::InStep, &[]);
}

#[test]
fn a_program_that_is_missing_here_is_not_an_unreachable_remote() {
    for (key, value) in [("core.sshCommand", "no-such-ssh"), ("remote.origin.url", "nosuch://127.0.0.1/x")] {
        let (_world, repo) = stage();
        repo.git(&["config", "remote.origin.url", "ssh://127.0.0.1:1/x"]);
        repo.git(&["config", key, value]);
        expect(&repo.breathe(), BreatheVerdict::Failed, &["install that program"]);
    }
}

#[test]
fn a_shallow_clone_without_a_common_commit_says_so() {
    let world = World::new();
    let repo = world.clone_as("one");
    for n in 0..3 {
        repo.write("x", &format!("{n}\n")).commit("more");
    }
    repo.breathe();
    let url = format!("file://{}", world.remote().path().display());
    crate::world::git(world.path(), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = Repo(world.path().join("shallow"));
    shallow.write("y", "y\n").commit("local");
    let other = world.clone_as("other");
    other.git(&["reset", "-q", "--hard", "HEAD~2"]);
    other.write("z", "z\n").commit("another line");
    other.git(&["push", "-q", "--force", "origin", "main"]);
    expect(&shallow.breathe(), BreatheVerdict::Refused, &["shallow", "git fetch --unshallow"]);
}

#[test]
fn an_incoming_path_that_git_refuses_ends_at_once() {
    let (world, repo) = stage();
    let other = Repo(world.path().join("other"));
    let blob = other.tip("HEAD:a");
    let tree = |entries: &str| {
        let script = format!("printf '{entries}' | git mktree");
        let made = std::process::Command::new("sh").args(["-c", &script]).current_dir(other.path()).output().unwrap();
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let inner = tree(&format!("100644 blob {blob}\\t..\\n"));
    let outer = tree(&format!("040000 tree {inner}\\t..\\n100644 blob {blob}\\ta\\n"));
    let evil = other.git(&["commit-tree", "-p", "HEAD", "-m", "evil", &outer]);
    other.git(&["push", "-q", "origin", &format!("{evil}:refs/heads/main")]);
    let before = (repo.head(), repo.status(), repo.files());
    expect(&repo.breathe(), BreatheVerdict::Refused, &["path that git refuses", "1 commit has not been pushed"]);
    assert_eq!((repo.head(), repo.status(), repo.files()), before);
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let outcome = repo.breathe();
    expect(&outcome, BreatheVerdict::Refused, &["path that git refuses"]);
    assert_eq!(outcome.files, Vec::<String>::new());
}

#[test]
fn a_missing_lfs_object_is_named() {
    if !std::process::Command::new("git").args(["lfs", "version"]).output().unwrap().status.success() {
        println!("skipped: git-lfs is not installed");
        return;
    }
    let (world, repo) = stage();
    let other = Repo(world.path().join("other"));
    for clone in [&repo, &other] {
        clone.git(&["lfs", "install", "--local"]);
    }
    other.git(&["lfs", "track", "*.bin"]);
    other.write("q.bin", "large\n").commit("lfs");
    other.git(&["-c", "core.hooksPath=/dev/null", "push", "-q", "origin", "main"]);
    let head = repo.head();
    let outcome = repo.breathe();
    expect(&outcome, BreatheVerdict::Failed, &["q.bin", "git lfs push"]);
    assert_eq!((repo.head(), outcome.parked.map(|parked| parked.commit)), (head.clone(), Some(head)));
    repo.git(&["config", "lfs.skipdownloaderrors", "true"]);
    expect(&repo.breathe(), BreatheVerdict::InStep, &[]);
    repo.is_sound();
}
