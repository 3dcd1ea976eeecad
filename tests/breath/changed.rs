//! The command that runs after an inhale that brought something.

use three_mirror::sync::ChangedOutcome;

use crate::kills::Driver;
use crate::world::{Repo, World};

const NOTES: &str = "echo \"$MIRROR_FROM $MIRROR_TO\" >> ../told; cat >> ../told";

fn told(world: &World) -> String {
    std::fs::read_to_string(world.path().join("told")).unwrap_or_default()
}

fn breathe(repo: &Repo, command: &str) -> three_mirror::sync::BreathOutcome {
    repo.breath().breathe_and_run(Some(command)).unwrap()
}

#[test]
fn it_runs_once_for_each_inhale_and_never_for_an_exhale() {
    let world = World::new();
    let spb = world.clone_as("spb");
    let before = spb.head();
    assert!(breathe(&spb, NOTES).changed.is_none());
    spb.write("own", "1\n").commit("own");
    assert!(breathe(&spb, NOTES).changed.is_none());
    let own = spb.head();
    let incoming = world.incoming(&[("b", "new\n"), ("größe", "1\n")]);
    let changed = breathe(&spb, NOTES).changed.unwrap();
    assert_eq!((changed.outcome, &changed.to), (ChangedOutcome::Done, &incoming));
    assert_eq!(changed.from.as_ref(), Some(&own));
    assert_eq!(told(&world), format!("{own} {incoming}\nb\ngröße\n"));
    assert!(breathe(&spb, NOTES).changed.is_none());
    assert_ne!(before, own);
}

#[test]
fn its_failure_is_told_and_fails_no_breath() {
    let world = World::new();
    let spb = world.clone_as("spb");
    world.incoming(&[("b", "new\n")]);
    let outcome = breathe(&spb, "echo no such unit >&2; exit 5");
    assert_eq!(outcome.verdict, three_mirror::sync::BreatheVerdict::InStep);
    assert!(outcome.reason.contains("no such unit"), "{}", outcome.reason);
    assert_eq!(outcome.changed.unwrap().outcome, ChangedOutcome::Failed);
    world.incoming(&[("b", "newer\n")]);
    let slow = three_mirror::sync::Breath { timeout: std::time::Duration::from_secs(2), ..spb.breath() };
    let outcome = slow.breathe_and_run(Some("exec sleep 600")).unwrap();
    assert_eq!(outcome.changed.unwrap().outcome, ChangedOutcome::TimedOut);
    assert!(breathe(&spb, NOTES).changed.is_none());
}

/// The work tree has moved, and the breath was killed before the command ran.
#[test]
fn a_killed_breath_leaves_it_to_the_next_one() {
    let world = World::new();
    let spb = world.clone_as("spb");
    let from = spb.head();
    let to = world.incoming(&[("b", "new\n")]);
    std::fs::create_dir_all(spb.path().join(".git/mirror")).unwrap();
    std::fs::write(spb.path().join(".git/mirror/moved-from"), &from).unwrap();
    spb.git(&["pull", "-q", "--ff-only", "origin", "main"]);
    assert_eq!(breathe(&spb, NOTES).changed.unwrap().from.as_ref(), Some(&from));
    assert_eq!(told(&world), format!("{from} {to}\nb\n"));
}

/// The command may breathe itself, and the lock of the breath is free for it.
#[test]
fn it_may_breathe_itself() {
    let world = World::new();
    let spb = world.clone_as("spb");
    world.incoming(&[("b", "new\n")]);
    let mirror = env!("CARGO_BIN_EXE_mirror");
    // Writes the node list.
    assert!(Driver::new(&spb).run().success());
    world.incoming(&[("b", "newer\n")]);
    let list = spb.path().with_extension("toml");
    let command = format!("MIRROR_CONFIG={} {mirror} breathe --self spb --quiet --repo .", list.display());
    assert_eq!(breathe(&spb, &command).changed.unwrap().outcome, ChangedOutcome::Done);
}

#[test]
fn an_inhale_alone_pushes_nothing() {
    let world = World::new();
    let spb = world.clone_as("spb");
    let incoming = world.incoming(&[("b", "new\n")]);
    spb.write("own", "1\n").commit("own");
    let manner = three_mirror::sync::Manner::InhaleOnly;
    let outcome = crate::world::breathe(three_mirror::sync::Breath { manner, ..spb.breath() });
    assert_eq!(outcome.inhale.unwrap().commits, 1);
    assert!(outcome.exhale.is_none());
    assert_eq!(world.remote().tip("main"), incoming);
    assert_eq!(spb.log(), ["own", "incoming", "first"]);
    assert!(spb.breathe().exhale.is_some());
}
