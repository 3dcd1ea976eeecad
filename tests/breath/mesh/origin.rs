//! An origin as one more peer: it takes the branch, gives what others push there, and may be away or rewritten.

use std::fs;

use three_mirror::sync::{BreatheVerdict, PeerState};

use super::net::Net;
use crate::world::{Repo, git};

/// Three nodes, whose clones have an origin.
fn with_origin() -> (Net, Repo) {
    let mut net = Net::empty(3);
    git(net.path(), &["init", "-q", "--bare", "-b", "main", "origin.git"]);
    let origin = Repo(net.path().join("origin.git"));
    for node in 0..3 {
        net.repo(node).git(&["remote", "add", "origin", origin.path().to_str().unwrap()]);
    }
    net.remote = "origin";
    net.repo(0).write("base", "1\n").commit("base");
    assert!(net.rounds_until_equal(2) <= 2);
    (net, origin)
}

/// A commit that somebody pushes there from outside.
fn push_from_outside(net: &Net, origin: &Repo, file: &str) -> String {
    let outside = net.path().join("outside");
    if !outside.exists() {
        git(net.path(), &["clone", "-q", origin.path().to_str().unwrap(), "outside"]);
    }
    let outside = Repo(outside);
    outside.git(&["pull", "-q", "--ff-only", "origin", "main"]);
    let id = outside.write(file, "outside\n").commit(file);
    outside.git(&["push", "-q", "origin", "main"]);
    id
}

#[test]
fn the_origin_has_the_branch_and_gives_what_is_pushed_there() {
    let (net, origin) = with_origin();
    assert_eq!(origin.tip("main"), net.repo(0).head());
    let id = push_from_outside(&net, &origin, "outside");
    let outcome = net.breathe(1);
    assert_eq!((outcome.verdict, net.repo(1).head()), (BreatheVerdict::InStep, id.clone()), "{outcome:?}");
    // The others have it by the mesh, though the origin is away for good.
    fs::remove_dir_all(origin.path()).unwrap();
    let outcome = net.breathe(2);
    assert_eq!((outcome.verdict, net.repo(2).head()), (BreatheVerdict::InStep, id), "{outcome:?}");
    let report = outcome.mesh.peers.last().unwrap();
    assert_eq!((&report.node[..], report.state), ("origin", PeerState::Unreachable), "{report:?}");
    assert!(report.cause.is_some());
    assert_eq!(outcome.mesh.copies, Some(2));
}

#[test]
fn the_origin_alone_is_company_enough() {
    let (mut net, origin) = with_origin();
    net.dead = [1, 2].into();
    let id = net.repo(0).write("x", "1\n").commit("x");
    let outcome = net.breathe(0);
    assert_eq!((outcome.verdict, outcome.mesh.copies), (BreatheVerdict::InStep, Some(0)), "{outcome:?}");
    assert_eq!(origin.tip("main"), id);
}

#[test]
fn what_an_origin_forgot_by_force_is_not_lost() {
    let (net, origin) = with_origin();
    push_from_outside(&net, &origin, "one");
    net.round();
    let outside = Repo(net.path().join("outside"));
    outside.git(&["reset", "-q", "--hard", "HEAD~1"]);
    outside.write("two", "2\n").commit("two");
    outside.git(&["push", "-q", "--force", "origin", "main"]);
    assert!(net.rounds_until_equal(3) <= 3);
    net.round();
    let mut subjects = net.subjects(0, "main");
    subjects.sort();
    assert_eq!(subjects, ["base", "one", "two"]);
    assert!(net.is_equal());
    assert_eq!(origin.tip("main"), net.repo(0).head());
}

#[test]
fn a_clone_that_breathed_with_an_origin_joins_without_losing_anything() {
    let world = crate::world::World::new();
    let net = Net::empty(2);
    for node in 0..2 {
        fs::remove_dir_all(net.repo(node).path()).unwrap();
        git(
            net.path(),
            &["clone", "-q", world.remote().path().to_str().unwrap(), net.repo(node).path().to_str().unwrap()],
        );
    }
    let own = net.repo(0).write("own", "1\n").commit("own");
    crate::world::breathe(three_mirror::sync::Breath { node: Some("a"), ..net.repo(0).breath() });
    assert!(net.refs(0).contains_key("refs/breath/origin/main"));
    net.repo(1).write("other", "1\n").commit("other");
    // The first breath makes a clone of the mesh of it.
    net.breathe(0);
    assert!(!net.refs(0).contains_key("refs/breath/origin/main"));
    assert_eq!(net.repo(0).git(&["config", "--get-all", "uploadpack.hideRefs"]), "refs/heads\nHEAD");
    assert!(net.rounds_until_equal(3) <= 2);
    assert_eq!(net.subjects(1, "main"), ["other", "own", "first"]);
    assert!(net.repo(1).git(&["merge-base", "main", &own]) == own);
}
