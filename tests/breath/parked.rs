//! Local commits that cannot go to the branch are parked on the remote.

use std::fs;

use three_mirror::sync::BreatheVerdict;

use crate::world::{Repo, World, executable};

fn parked(world: &World) -> Vec<String> {
    let refs = world.remote().git(&["for-each-ref", "--format=%(objectname)", "refs/conflicts"]);
    refs.lines().map(str::to_owned).collect()
}

#[test]
fn uncommitted_work_in_the_way_does_not_keep_commits_from_leaving() {
    let in_the_way: [fn(&Repo); 2] = [|repo| _ = repo.write("a", "mine\n"), |repo| _ = repo.write("new", "mine\n")];
    for leave in in_the_way {
        let world = World::new();
        let repo = world.clone_as("one");
        world.incoming(&[("a", "theirs\n"), ("new", "theirs\n")]);
        repo.write("x", "1\n").commit("local 1");
        let tip = repo.write("x", "2\n").commit("local 2");
        leave(&repo);
        let before = (repo.head(), repo.status(), repo.files());
        for _ in 0..2 {
            let outcome = repo.breathe();
            assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
            assert!(outcome.reason.contains("2 commits have not been pushed to main"), "{}", outcome.reason);
            let reference = outcome.parked.unwrap().reference;
            assert_eq!(world.remote().tip(&reference), tip);
            assert_eq!((repo.head(), repo.status(), repo.files()), before);
        }
        assert_eq!(parked(&world), [tip]);
    }
}

#[test]
fn without_local_commits_nothing_is_parked() {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "theirs\n")]);
    repo.write("a", "mine\n");
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, outcome.parked), (BreatheVerdict::Refused, None));
    assert!(!outcome.reason.contains("pushed"), "{}", outcome.reason);
}

#[test]
fn a_checkout_that_fails_does_not_keep_commits_from_leaving() {
    let world = World::new();
    let repo = world.clone_as("one");
    let tip = repo.write("x", "x\n").commit("local");
    repo.git(&["config", "filter.gone.smudge", "no-such-program"]);
    repo.git(&["config", "filter.gone.required", "true"]);
    world.incoming(&[(".gitattributes", "*.bin filter=gone\n"), ("q.bin", "x\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Failed, "{outcome:?}");
    assert!(outcome.reason.contains("no-such-program"), "{}", outcome.reason);
    assert_eq!((parked(&world), repo.status()), (vec![tip], String::new()));
    repo.is_sound();
}

#[test]
fn a_lasting_conflict_keeps_one_ref_with_the_newest_commit() {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "theirs\n")]);
    for n in 0..4 {
        repo.write("a", &format!("mine {n}\n"));
        let outcome = repo.breathe_committing();
        assert_eq!(outcome.verdict, BreatheVerdict::Conflict, "{outcome:?}");
        assert_eq!(parked(&world), [repo.head()]);
    }
    assert_eq!(world.remote().git(&["rev-list", "--count", &repo.head()]), "5");
}

#[test]
fn a_parked_commit_that_the_newest_does_not_contain_stays() {
    let world = World::new();
    let repo = world.clone_as("one");
    world.incoming(&[("a", "theirs\n")]);
    let first = repo.write("a", "mine 1\n").commit("first try");
    repo.breathe();
    repo.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let second = repo.write("a", "mine 2\n").commit("second try");
    repo.breathe();
    let mut both = [first, second];
    both.sort();
    assert_eq!(parked(&world), both);
}

#[test]
fn a_remote_that_forbids_deletions_still_takes_the_newest() {
    let world = World::new();
    let repo = world.clone_as("one");
    let hook = world.remote().path().join("hooks/update");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ncase $3 in *[!0]*) exit 0 ;; *) exit 1 ;; esac\n").unwrap();
    executable(&hook);
    world.incoming(&[("a", "theirs\n")]);
    for n in 0..2 {
        let tip = repo.write("a", &format!("mine {n}\n")).commit("local");
        let outcome = repo.breathe();
        assert_eq!(outcome.parked.map(|parked| parked.commit), Some(tip));
    }
    assert_eq!(parked(&world).len(), 2);
}
