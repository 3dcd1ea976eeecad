//! Uncommitted work: it stays, or is committed first.

use std::fs;

use three_mirror::sync::{Breath, BreatheVerdict};

use crate::world::World;

#[test]
fn uncommitted_work_stays_byte_for_byte() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("l", "l\n").commit("local");
    repo.write("b", "staged\n").git(&["add", "b"]);
    repo.write("b", "and more\n").write("dir/c", "not staged\n").write("new/file", "untracked\n");
    fs::remove_file(repo.path().join("l")).unwrap();
    let (status, files) = (repo.status(), repo.files());
    let staged = repo.git(&["diff", "--cached"]);
    world.incoming(&[("a", "incoming\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((repo.status(), repo.git(&["diff", "--cached"])), (status, staged));
    let mut now = repo.files();
    now.insert("a".into(), files[std::path::Path::new("a")].clone());
    assert_eq!(now, files);
    assert_eq!((repo.read("a"), repo.head()), ("incoming\n".into(), world.remote().tip("main")));
    repo.is_sound();
}

#[test]
fn incoming_changes_to_uncommitted_files_are_refused() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("a", "mine\n").write("dir/c", "mine\n").git(&["add", "dir/c"]);
    let before = (repo.head(), repo.status(), repo.files());
    world.incoming(&[("a", "theirs\n"), ("dir/c", "theirs\n"), ("b", "theirs\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
    assert_eq!(outcome.files, ["a", "dir/c"]);
    assert_eq!((repo.head(), repo.status(), repo.files()), before);
    repo.is_sound();
    repo.git(&["stash", "-q"]);
    assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
}

#[test]
fn untracked_files_are_never_written_over() {
    for ignored in [false, true] {
        let world = World::new();
        let repo = world.clone_as("one");
        if ignored {
            fs::write(repo.path().join(".git/info/exclude"), "new\nwas\nmore\n").unwrap();
        }
        repo.write("new", "mine\n").write("was", "mine\n").write("more/of/it", "mine\n");
        let before = (repo.head(), repo.status(), repo.files());
        world.incoming(&[("new", "theirs\n"), ("was/there", "theirs\n"), ("more/of/it/all", "theirs\n")]);
        let outcome = repo.breathe();
        assert_eq!(outcome.verdict, BreatheVerdict::Refused, "{outcome:?}");
        assert_eq!(outcome.files, ["more/of/it", "new", "was"]);
        assert_eq!((repo.head(), repo.status(), repo.files()), before);
        for name in ["new", "was"] {
            fs::remove_file(repo.path().join(name)).unwrap();
        }
        fs::remove_dir_all(repo.path().join("more")).unwrap();
        assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
        repo.is_sound();
    }
}

#[test]
fn an_ignored_file_in_a_directory_that_becomes_a_file_is_in_the_way() {
    let world = World::new();
    let repo = world.clone_as("one");
    fs::write(repo.path().join(".git/info/exclude"), "secret\n").unwrap();
    repo.write("dir/secret", "mine\n");
    let other = world.clone_as("other");
    fs::remove_dir_all(other.path().join("dir")).unwrap();
    world.incoming(&[("dir", "theirs\n")]);
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.read("dir/secret")), (BreatheVerdict::Refused, "mine\n".into()), "{outcome:?}");
    assert_eq!(outcome.files, ["dir/secret"]);
    assert_eq!(repo.read("dir/c"), "c\n");
}

#[test]
fn hidden_local_changes_are_not_written_over() {
    for flag in ["--skip-worktree", "--assume-unchanged"] {
        let world = World::new();
        let repo = world.clone_as("one");
        repo.git(&["update-index", flag, "a"]);
        repo.write("a", "mine\n");
        world.incoming(&[("a", "theirs\n")]);
        let outcome = repo.breathe();
        assert_eq!(
            (outcome.verdict, repo.read("a")),
            (BreatheVerdict::Refused, "mine\n".into()),
            "{flag}: {outcome:?}"
        );
        repo.is_sound();
    }
}

#[test]
fn commit_commits_it_first() {
    let world = World::new();
    let repo = world.clone_as("one");
    fs::write(repo.path().join(".git/info/exclude"), "ignored\n").unwrap();
    repo.write("b", "mine\n").write("new", "mine\n").write("ignored", "i\n");
    fs::remove_file(repo.path().join("dir/c")).unwrap();
    world.incoming(&[("a", "theirs\n")]);
    let outcome = crate::world::breathe(Breath { commit: true, ..repo.breath() });
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let log = repo.log();
    assert!(log[0].starts_with("mirror: uncommitted work of spb at 20"), "{log:?}");
    assert_eq!(log[1..], ["incoming", "first"]);
    assert_eq!((repo.status(), repo.head()), (String::new(), world.remote().tip("main")));
    assert_eq!(
        (repo.read("b"), repo.read("new"), repo.read("ignored")),
        ("mine\n".into(), "mine\n".into(), "i\n".into())
    );
    assert!(!repo.path().join("dir/c").exists());
    assert_eq!(repo.git(&["ls-files"]), "a\nb\nnew");
    repo.is_sound();
    let head = repo.head();
    let outcome = crate::world::breathe(Breath { commit: true, ..repo.breath() });
    assert_eq!(
        (outcome.verdict, repo.head()),
        (BreatheVerdict::InStep, head),
        "with nothing to commit, no commit is made"
    );
}

#[test]
fn commit_makes_the_first_commit_too() {
    let world = World::empty();
    let repo = world.clone_as("one");
    repo.write("x", "x\n");
    let outcome = crate::world::breathe(Breath { commit: true, ..repo.breath() });
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!((repo.head(), repo.status()), (world.remote().tip("main"), String::new()));
    repo.is_sound();
}

#[test]
fn what_is_not_merged_yet_is_never_committed() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.write("a", "one\n").git(&["stash", "-q"]);
    repo.write("a", "two\n").commit("local");
    assert!(!repo.try_git(&["stash", "pop"]).status.success());
    let before = (repo.head(), repo.status(), repo.files());
    world.incoming(&[("b", "theirs\n")]);
    for commit in [false, true] {
        let outcome = crate::world::breathe(Breath { commit, ..repo.breath() });
        assert_eq!(
            (outcome.verdict, &outcome.files[..]),
            (BreatheVerdict::Refused, &["a".to_owned()][..]),
            "{outcome:?}"
        );
        assert_eq!((repo.head(), repo.status(), repo.files()), before);
    }
    repo.is_sound();
}
