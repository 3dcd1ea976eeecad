//! What comes in and what goes out, when all goes well.

use std::fs;
use std::os::unix::fs::symlink;

use three_mirror::sync::BreatheVerdict;

use crate::world::{World, executable};

#[test]
fn in_step_nothing_moves() {
    let world = World::new();
    let repo = world.clone_as("one");
    let (head, status) = (repo.head(), repo.status());
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((outcome.inhale, outcome.exhale), (None, None));
    assert!(outcome.reason.contains(&head[..12]), "{}", outcome.reason);
    assert_eq!((repo.head(), repo.status()), (head, status));
    repo.is_sound();
}

#[test]
fn incoming_commits_are_fast_forwarded_to() {
    let world = World::new();
    let repo = world.clone_as("one");
    let old = repo.head();
    world.incoming(&[("a", "new\n"), ("d", "d\n")]);
    let new = world.incoming(&[("d", "d2\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let inhale = outcome.inhale.unwrap();
    assert_eq!((inhale.from, inhale.to, inhale.commits), (Some(old), Some(new.clone()), 2));
    assert_eq!(outcome.exhale, None);
    assert_eq!((repo.head(), repo.read("a"), repo.read("d")), (new.clone(), "new\n".into(), "d2\n".into()));
    assert_eq!(repo.status(), "");
    assert_eq!(repo.tip("refs/remotes/origin/main"), new);
    assert!(repo.git(&["reflog", "-1"]).contains("mirror: breath"));
    repo.is_sound();
}

#[test]
fn local_commits_are_pushed() {
    let world = World::new();
    let repo = world.clone_as("one");
    let old = repo.head();
    repo.write("x", "x\n").commit("local 1");
    let new = repo.write("x", "x2\n").commit("local 2");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let exhale = outcome.exhale.unwrap();
    assert_eq!((exhale.from, exhale.to, exhale.commits), (Some(old), Some(new.clone()), 2));
    assert_eq!(outcome.inhale, None);
    assert_eq!((world.remote().tip("main"), repo.tip("refs/remotes/origin/main")), (new.clone(), new));
    repo.is_sound();
}

#[test]
fn local_commits_are_replayed_onto_incoming_ones() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("a", "a1\na2\na3\nlocal\n").commit("local 1");
    repo.git(&["commit", "-q", "--allow-empty", "-m", "local, empty\n\nwith a body"]);
    repo.write("x", "x\n");
    repo.git(&["add", "-A"]);
    repo.git(&[
        "commit",
        "-q",
        "--author",
        "Zoë <zoe@example.org>",
        "--date",
        "2001-02-03T04:05:06+0100",
        "-m",
        "local 3",
    ]);
    let old = repo.head();
    let upstream = world.incoming(&[("a", "incoming\na1\na2\na3\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(outcome.inhale.unwrap().commits, 1);
    let exhale = outcome.exhale.unwrap();
    assert_eq!((exhale.from, exhale.commits), (Some(upstream), 3));
    assert_eq!(repo.log(), ["local 3", "local, empty", "local 1", "incoming", "first"]);
    assert_eq!(repo.read("a"), "incoming\na1\na2\na3\nlocal\n");
    assert_eq!(repo.git(&["log", "-1", "--format=%an %ae %ai"]), "Zoë zoe@example.org 2001-02-03 04:05:06 +0100");
    assert_eq!(repo.git(&["log", "-1", "--format=%b", "HEAD~1"]), "with a body");
    assert_eq!(repo.git(&["log", "-1", "--format=%s", &old]), "local 3", "what was replayed is there still");
    assert_eq!((repo.head(), repo.status()), (world.remote().tip("main"), String::new()));
    repo.is_sound();
}

#[test]
fn a_person_s_merge_is_kept_and_joined() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["switch", "-q", "-c", "side"]);
    let side = repo.write("side", "side\n").commit("side");
    repo.git(&["switch", "-q", "main"]);
    repo.write("x", "x\n").commit("local");
    repo.git(&["merge", "-q", "--no-edit", "side"]);
    let merge = repo.head();
    world.incoming(&[("y", "y\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    for commit in [side, merge] {
        repo.git(&["merge-base", "--is-ancestor", &commit, "refs/remotes/origin/main"]);
    }
    assert_eq!((repo.read("side"), repo.read("x"), repo.read("y")), ("side\n".into(), "x\n".into(), "y\n".into()));
    assert_eq!(repo.status(), "");
    repo.is_sound();
}

#[test]
fn an_empty_remote_gets_the_branch() {
    let world = World::empty();
    let repo = world.clone_as("one");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let head = repo.write("x", "x\n").commit("first");
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let exhale = outcome.exhale.unwrap();
    assert_eq!((exhale.from, exhale.to, exhale.commits), (None, Some(head.clone()), 1));
    assert_eq!(world.remote().tip("main"), head);
}

#[test]
fn a_branch_without_a_commit_gets_the_remote_s() {
    let world = World::empty();
    let repo = world.clone_as("one");
    let new = world.incoming_first();
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((repo.head(), repo.read("x"), repo.status()), (new, "x\n".into(), String::new()));
    repo.is_sound();
}

impl World {
    fn incoming_first(&self) -> String {
        let other = self.clone_as("other");
        let id = other.write("x", "x\n").commit("first");
        other.git(&["push", "-q", "origin", "main"]);
        id
    }
}

#[test]
fn every_kind_of_file_arrives() {
    let world = World::new();
    let other = world.clone_as("other");
    let odd = "dir/ä \"q\" 'new\nline' \\ *?";
    other.write("was-file", "f\n").write("was-dir/in", "i\n").write("run", "#!/bin/sh\n").write(odd, "odd\n");
    other.write("gone/deep/er", "g\n").write("empty", "").write("eol.txt", "l\n");
    symlink("a", other.path().join("link")).unwrap();
    other.commit("kinds 1");
    other.git(&["push", "-q", "origin", "main"]);
    let repo = world.clone_as("one");
    fs::remove_file(other.path().join("was-file")).unwrap();
    fs::remove_dir_all(other.path().join("was-dir")).unwrap();
    fs::remove_dir_all(other.path().join("gone")).unwrap();
    fs::remove_file(other.path().join("link")).unwrap();
    other.write("was-file/in", "now a directory\n").write("was-dir", "now a file\n").write("link", "now a file\n");
    other.write(odd, "odder\n").write(".gitattributes", "*.txt eol=crlf\n").write("more.txt", "1\n2\n");
    executable(&other.path().join("run"));
    symlink("was-dir", other.path().join("new link")).unwrap();
    other.commit("kinds 2");
    other.git(&["push", "-q", "origin", "main"]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(repo.status(), "");
    let fresh = world.clone_as("fresh");
    let (mut here, mut there) = (repo.files(), fresh.files());
    // An attribute that arrives does not touch files that were there before, in git as here.
    here.remove(std::path::Path::new("eol.txt"));
    there.remove(std::path::Path::new("eol.txt"));
    assert_eq!(here, there);
    assert_eq!(repo.read("more.txt"), "1\r\n2\r\n");
    repo.is_sound();
}

#[test]
fn a_linked_work_tree_and_a_directory_in_one_breathe_too() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["switch", "-q", "-c", "elsewhere"]);
    repo.git(&["worktree", "add", "-q", "../linked", "main"]);
    let linked = crate::world::Repo(world.path().join("linked"));
    linked.write("x", "x\n").commit("local");
    world.incoming(&[("b", "new\n")]);
    let inner = linked.path().join("dir");
    let outcome = crate::world::breathe(three_mirror::sync::Breath { repo: &inner, ..linked.breath() });
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((linked.read("b"), linked.status()), ("new\n".into(), String::new()));
    assert_eq!(linked.head(), world.remote().tip("main"));
}

#[test]
fn settings_that_would_lead_it_astray_do_not() {
    let world = World::new();
    let repo = world.clone_as("one");
    for (key, value) in [
        ("push.followTags", "true"),
        ("color.ui", "always"),
        ("commit.gpgSign", "true"),
        ("status.showUntrackedFiles", "no"),
        ("fetch.prune", "true"),
        ("merge.ff", "only"),
        ("rebase.autoStash", "true"),
        ("core.quotePath", "true"),
        ("diff.noprefix", "true"),
        ("index.version", "4"),
        ("core.untrackedCache", "true"),
        ("core.splitIndex", "true"),
    ] {
        repo.git(&["config", key, value]);
    }
    repo.git(&["config", "commit.gpgSign", "false"]);
    repo.write("x", "x\n").commit("local");
    repo.git(&["tag", "-a", "-m", "t", "t"]);
    world.incoming(&[("b", "new\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((repo.head(), repo.status()), (world.remote().tip("main"), String::new()));
    assert_eq!(world.remote().git(&["tag"]), "");
    repo.is_sound();
}

#[test]
fn it_works_without_any_identity() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["config", "user.useConfigOnly", "true"]);
    repo.write("x", "x\n").commit("local");
    world.incoming(&[("b", "new\n")]);
    let done = crate::kills::Driver::new(&repo).without_identity().run();
    assert!(done.success(), "{done:?}");
    assert_eq!(repo.log(), ["local", "incoming", "first"]);
    let committer = repo.git(&["log", "-1", "--format=%cn %ce"]);
    assert!(committer.starts_with("mirror spb mirror@"), "{committer}");
}
