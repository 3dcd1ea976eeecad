//! `commit = true` never takes an incoming submodule change back, and never commits a nested
//! repository as a bare pointer.

use std::fs;

use three_mirror::sync::{Breath, BreathOutcome, BreatheVerdict};

use crate::world::{Repo, World, breathe, git};

impl Repo {
    pub(crate) fn breathe_committing(&self) -> BreathOutcome {
        breathe(Breath { commit: true, ..self.breath() })
    }

    /// Breathes twice: the first breath takes the incoming commit, the second finds what is stale.
    fn settle(&self) -> BreathOutcome {
        let outcome = self.breathe_committing();
        assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
        let outcome = self.breathe_committing();
        assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
        outcome
    }
}

/// A remote with the submodule `lib`, and two clones of it.
struct Stage {
    world: World,
    lib: Repo,
    author: Repo,
    node: Repo,
}

const ALLOW: &str = "protocol.file.allow=always";

fn stage() -> Stage {
    let world = World::new();
    git(world.path(), &["init", "-q", "-b", "main", "lib"]);
    let lib = Repo(world.path().join("lib"));
    lib.write("v", "1\n").commit("v1");
    let author = world.clone_as("author");
    author.git(&["-c", ALLOW, "submodule", "--quiet", "add", "../lib", "lib"]);
    author.commit("add lib");
    author.git(&["push", "-q", "origin", "main"]);
    let node = world.clone_as("one");
    node.git(&["-c", ALLOW, "submodule", "--quiet", "update", "--init"]);
    Stage { world, lib, author, node }
}

impl Stage {
    /// A new version of the submodule, recorded and pushed by the author.
    fn release(&self, version: &str) -> String {
        let id = self.lib.write("v", version).commit(version);
        self.record(&id)
    }

    fn record(&self, id: &str) -> String {
        let inner = Repo(self.author.path().join("lib"));
        inner.git(&["fetch", "-q", "origin"]);
        inner.git(&["checkout", "-q", id]);
        self.push(&format!("record {id}"));
        id.to_owned()
    }

    fn push(&self, message: &str) {
        self.author.commit(message);
        self.author.git(&["push", "-q", "origin", "main"]);
    }

    fn recorded(&self) -> String {
        self.world.remote().tip("main:lib")
    }
}

#[test]
fn an_incoming_submodule_commit_is_not_taken_back() {
    let stage = stage();
    let new = stage.release("2\n");
    let outcome = stage.node.settle();
    assert_eq!((stage.recorded(), &outcome.files[..]), (new, &["lib".to_owned()][..]), "{outcome:?}");
    assert!(outcome.reason.contains("git submodule update lib"), "{}", outcome.reason);
    assert_eq!(outcome.exhale, None);
}

#[test]
fn an_incoming_step_back_is_not_undone_by_the_newer_checkout() {
    let stage = stage();
    let old = stage.recorded();
    stage.release("2\n");
    stage.node.breathe_committing();
    stage.node.git(&["-c", ALLOW, "submodule", "--quiet", "update"]);
    stage.record(&old);
    stage.node.settle();
    assert_eq!(stage.recorded(), old);
}

#[test]
fn a_submodule_that_is_not_checked_out_stays_as_recorded() {
    let stage = stage();
    fs::remove_dir_all(stage.node.path().join("lib")).unwrap();
    let outcome = stage.node.settle();
    assert_eq!(outcome.files, ["lib"]);
    fs::create_dir(stage.node.path().join("lib")).unwrap();
    let new = stage.release("2\n");
    stage.node.settle();
    assert_eq!(stage.recorded(), new);
}

#[test]
fn a_removed_or_renamed_submodule_does_not_come_back() {
    for rename in [false, true] {
        let stage = stage();
        if rename {
            stage.author.git(&["mv", "lib", "moved"]);
        } else {
            stage.author.git(&["rm", "-q", "lib"]);
        }
        stage.push("without lib");
        let outcome = stage.node.settle();
        assert_eq!(outcome.files, ["lib/"], "{outcome:?}");
        let names = stage.world.remote().git(&["ls-tree", "--name-only", "main"]);
        assert!(!names.lines().any(|name| name == "lib"), "{names}");
    }
}

#[test]
fn a_submodule_that_a_person_moved_forward_is_committed() {
    let stage = stage();
    let inner = Repo(stage.node.path().join("lib"));
    let new = inner.write("v", "mine\n").commit("mine");
    let outcome = stage.node.settle();
    assert_eq!((stage.recorded(), &outcome.files[..]), (new, &[][..]));
}

#[test]
fn a_nested_repository_is_named_and_not_committed() {
    let world = World::new();
    let repo = world.clone_as("one");
    for name in ["empty", "deep/full"] {
        fs::create_dir_all(repo.path().join(name)).unwrap();
        git(&repo.path().join(name), &["init", "-q", "-b", "main"]);
    }
    Repo(repo.path().join("deep/full")).write("x", "x\n").commit("inner");
    repo.git(&["worktree", "add", "-q", "linked", "-b", "side"]);
    repo.write("deep/file", "f\n").write("fine", "f\n");
    let outcome = repo.breathe_committing();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(outcome.files, ["deep/full/", "empty/", "linked/"]);
    let names = world.remote().git(&["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(names, "a\nb\ndeep/file\ndir/c\nfine");
}
