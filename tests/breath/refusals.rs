//! What a breath does not touch, and what it is told to do that cannot be.

use std::fs;
use std::path::Path;

use three_mirror::sync::{Breath, BreatheVerdict};

use crate::world::{Repo, World};

#[test]
fn a_person_s_unfinished_work_is_refused_and_named() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["switch", "-q", "-c", "side"]);
    repo.write("a", "side\n").commit("side");
    repo.git(&["switch", "-q", "main"]);
    repo.write("a", "main\n").commit("local");
    let cases: [(&[&str], &str, &[&str]); 5] = [
        (&["merge", "side"], "merge", &["merge", "--abort"]),
        (&["rebase", "side"], "rebase", &["rebase", "--abort"]),
        (&["cherry-pick", "side"], "cherry-pick", &["cherry-pick", "--abort"]),
        (&["revert", "HEAD~1", "--no-edit"], "revert", &["revert", "--abort"]),
        (&["bisect", "start"], "bisect", &["bisect", "reset"]),
    ];
    repo.write("b", "b2\n").commit("to be reverted");
    repo.write("b", "b3\n").commit("on top of it");
    let head = repo.head();
    for (start, word, end) in cases {
        repo.try_git(start);
        let before = (repo.status(), repo.files());
        let outcome = repo.breathe();
        assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{start:?}: {outcome:?}");
        assert!(outcome.reason.contains(word), "{}", outcome.reason);
        assert_eq!((repo.status(), repo.files()), before);
        repo.git(end);
        assert_eq!(repo.head(), head);
    }
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    repo.is_sound();
}

#[test]
fn another_branch_or_none_is_refused() {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "new\n")]);
    repo.git(&["switch", "-q", "-c", "side"]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused);
    assert!(outcome.reason.contains("side is checked out"), "{}", outcome.reason);
    repo.git(&["switch", "-q", "--detach"]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused);
    assert!(outcome.reason.contains("detached"), "{}", outcome.reason);
    assert_eq!(repo.read("a"), "a1\na2\na3\n");
}

#[test]
fn a_bare_repository_is_refused() {
    let world = World::new();
    let remote = world.remote();
    remote.git(&["remote", "add", "origin", "nowhere"]);
    assert_eq!(remote.breathe().verdict, BreatheVerdict::Refused);
}

#[test]
fn a_conflict_is_parked_and_leaves_everything_as_it_was() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("x", "x\n").commit("local 1");
    let tip = repo.write("a", "local\n").write("b", "local\n").commit("local 2");
    repo.write("dir/c", "uncommitted\n");
    let before = (repo.head(), repo.status(), repo.files());
    let theirs = world.incoming(&[("a", "theirs\n"), ("b", "theirs\n")]);
    for _ in 0..2 {
        let outcome = repo.breathe();
        assert_eq!(outcome.verdict, BreatheVerdict::Conflict, "{outcome:?}");
        assert_eq!(outcome.files, ["a", "b"]);
        let parked = outcome.parked.unwrap();
        assert_eq!((&parked.reference, &parked.commit), (&format!("refs/conflicts/spb/{tip}"), &tip));
        assert_eq!(world.remote().tip(&parked.reference), tip);
        assert_eq!(world.remote().tip("main"), theirs);
        assert_eq!((repo.head(), repo.status(), repo.files()), before);
    }
    repo.is_sound();
}

#[test]
fn histories_with_nothing_in_common_are_refused() {
    let world = World::new();
    let repo = Repo(world.path().join("apart"));
    fs::create_dir(repo.path()).unwrap();
    repo.git(&["init", "-q", "-b", "main"]);
    repo.git(&["remote", "add", "origin", "../remote.git"]);
    let head = repo.write("z", "z\n").commit("apart");
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::Refused, head), "{outcome:?}");
    assert!(outcome.reason.contains("no commit in common"), "{}", outcome.reason);
    repo.is_sound();
}

#[test]
fn what_cannot_be_is_an_error() {
    let world = World::new();
    let repo = world.clone_as("one");
    let nowhere = world.path().join("nowhere");
    let good = repo.breath();
    let wrong = [
        Breath { repo: &nowhere, ..good },
        Breath { repo: Path::new("/proc"), ..good },
        Breath { remote: "upstream", ..good },
        Breath { remote: "--upload-pack=x", ..good },
        Breath { branch: "-f", ..good },
        Breath { branch: "a..b", ..good },
    ];
    for breath in wrong {
        let error = breath.breathe().unwrap_err();
        assert!(!format!("{error:#}").contains('\n'), "{error:#}");
    }
    assert!(!repo.path().join(".git/mirror").exists());
}
