//! Remotes that refuse, hang or are not there, and others that are quicker.

use std::fs;
use std::time::{Duration, Instant};

use three_mirror::output::{ExitStatus, HasStatus as _};
use three_mirror::sync::{Breath, BreatheVerdict};

use crate::world::{World, executable};

fn hook(world: &World, name: &str, text: &str) {
    let path = world.remote().path().join("hooks").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    executable(&path);
}

#[test]
fn a_remote_that_is_not_there_is_unreachable() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("x", "x\n").commit("local");
    repo.git(&["remote", "set-url", "origin", "../nowhere.git"]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Unreachable, "{outcome:?}");
    assert!(outcome.reason.contains("nowhere.git"), "{}", outcome.reason);
    assert_eq!(outcome.verdict.status(), ExitStatus::Unknown);
    repo.is_sound();
}

#[test]
fn a_remote_that_hangs_is_unreachable_in_time() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["config", "remote.origin.uploadpack", "sleep 600; true"]);
    let start = Instant::now();
    let outcome = crate::world::breathe(Breath { timeout: Duration::from_millis(300), ..repo.breath() });
    assert_eq!(outcome.verdict, BreatheVerdict::Unreachable, "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    repo.is_sound();
}

#[test]
fn a_push_that_hangs_is_unreachable_in_time_and_goes_later() {
    let world = World::new();
    let repo = world.clone_as("one");
    let head = repo.write("x", "x\n").commit("local");
    repo.git(&["config", "remote.origin.receivepack", "sleep 600; true"]);
    let outcome = crate::world::breathe(Breath { timeout: Duration::from_millis(500), ..repo.breath() });
    assert_eq!(outcome.verdict, BreatheVerdict::Unreachable, "{outcome:?}");
    repo.git(&["config", "--unset", "remote.origin.receivepack"]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!(world.remote().tip("main"), head);
}

#[test]
fn a_hook_that_says_no_is_quoted() {
    let world = World::new();
    let repo = world.clone_as("one");
    hook(&world, "pre-receive", "echo 'no commits on a Friday' >&2; exit 1");
    repo.write("x", "x\n").commit("local");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
    assert!(outcome.reason.contains("no commits on a Friday"), "{}", outcome.reason);
    repo.is_sound();
}

#[test]
fn a_person_s_own_pre_push_hook_is_heard() {
    let world = World::new();
    let repo = world.clone_as("one");
    let path = repo.path().join(".git/hooks/pre-push");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "#!/bin/sh\necho 'tests fail' >&2\nexit 1\n").unwrap();
    executable(&path);
    repo.write("x", "x\n").commit("local");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
    assert!(outcome.reason.contains("tests fail"), "{}", outcome.reason);
}

#[test]
fn a_conflict_that_cannot_be_parked_says_so() {
    let world = World::new();
    let repo = world.clone_as("one");
    let tip = repo.write("a", "local\n").commit("local");
    world.incoming(&[("a", "theirs\n")]);
    hook(&world, "pre-receive", "exit 1");
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, outcome.parked), (BreatheVerdict::Conflict, None));
    assert!(outcome.reason.contains("only here"), "{}", outcome.reason);
    assert_eq!(repo.head(), tip);
}

/// A hook on the remote puts somebody else's commit in first, `times` times over.
fn quicker(world: &World, times: u32) {
    let other = world.clone_as("quicker");
    for n in 0..times {
        other.write(&format!("quick-{n}"), "q\n").commit(&format!("quicker {n}"));
        other.git(&["push", "-q", "origin", &format!("HEAD:refs/waiting/{n}")]);
    }
    let script = "unset GIT_QUARANTINE_PATH
        n=$(cat ../count 2>/dev/null || echo 0)
        if git rev-parse -q --verify refs/waiting/$n >/dev/null; then
            echo $((n + 1)) >../count
            git update-ref refs/heads/main refs/waiting/$n
        fi";
    hook(world, "pre-receive", script);
}

#[test]
fn a_lost_race_is_run_again() {
    let world = World::new();
    let repo = world.clone_as("one");
    quicker(&world, 3);
    repo.write("x", "x\n").commit("local");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(repo.log(), ["local", "quicker 2", "quicker 1", "quicker 0", "first"]);
    assert_eq!(outcome.inhale.unwrap().commits, 3);
    assert_eq!(repo.head(), world.remote().tip("main"));
    repo.is_sound();
}

#[test]
fn a_race_that_cannot_be_won_ends() {
    let world = World::new();
    let repo = world.clone_as("one");
    quicker(&world, 20);
    repo.write("x", "x\n").commit("local");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Raced, "{outcome:?}");
    assert!(repo.log().contains(&"local".to_owned()));
    assert_eq!(repo.status(), "");
    repo.is_sound();
}

#[test]
fn an_idle_breath_connects_once() {
    let world = World::new();
    let repo = world.clone_as("one");
    let count = world.path().join("connections");
    for (key, program) in [("uploadpack", "git-upload-pack"), ("receivepack", "git-receive-pack")] {
        let counting = format!("echo x >>{}; {program}", count.display());
        repo.git(&["config", &format!("remote.origin.{key}"), &counting]);
    }
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
    world.incoming(&[("a", "new\n")]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\n");
    repo.write("x", "x\n").commit("local");
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\nx\nx\n");
}
