//! With `commit = true`, one path that `git add` refuses stops neither commits nor other files.

use std::fs;
use std::os::unix::fs::symlink;

use three_mirror::sync::BreatheVerdict;

use crate::world::{Repo, World};

/// Leaves something that `git add` refuses.
type Leave = fn(&Repo);

const REFUSED: [(&str, Leave); 6] = [
    ("crlf", |repo| {
        repo.git(&["config", "core.autocrlf", "input"]);
        repo.git(&["config", "core.safecrlf", "true"]);
        repo.write("crlf", "a\r\nb\r\n");
    }),
    ("q.bin", |repo| {
        repo.write(".gitattributes", "*.bin filter=x\n").write("q.bin", "1\n");
        repo.git(&["config", "filter.x.clean", "no-such-program"]);
        repo.git(&["config", "filter.x.required", "true"]);
    }),
    ("q.u", |repo| _ = repo.write(".gitattributes", "*.u working-tree-encoding=UTF-16\n").write("q.u", "ascii\n")),
    ("git~1", |repo| _ = repo.write("git~1", "y\n")),
    ("deep/er/git~1", |repo| _ = repo.write("deep/er/git~1", "y\n").write("deep/er/good", "y\n")),
    ("inner/", |repo| {
        fs::create_dir(repo.path().join("inner")).unwrap();
        crate::world::git(&repo.path().join("inner"), &["init", "-q", "-b", "main"]);
    }),
];

#[test]
fn a_path_that_git_refuses_is_named_and_everything_else_moves() {
    for (name, leave) in REFUSED {
        let world = World::new();
        let repo = world.clone_as("one");
        world.incoming(&[("a", "incoming\n")]);
        repo.write("mine", "committed\n").commit("mine");
        for n in 0..20 {
            repo.write(&format!("fine/{n}"), "fine\n");
        }
        repo.write("b", "modified\n");
        fs::remove_file(repo.path().join("dir/c")).unwrap();
        leave(&repo);
        for _ in 0..2 {
            let outcome = repo.breathe_committing();
            assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{name}: {outcome:?}");
            assert_eq!(outcome.files, [name], "{outcome:?}");
            assert!(outcome.reason.contains(&format!("not committed: {name}")), "{}", outcome.reason);
        }
        assert_eq!(repo.read("a"), "incoming\n");
        let pushed = world.remote().git(&["ls-tree", "-r", "--name-only", "main"]);
        let pushed: Vec<_> = pushed.lines().collect();
        for wanted in ["mine", "fine/0", "fine/19"] {
            assert!(pushed.contains(&wanted), "{name}: {wanted} is missing in {pushed:?}");
        }
        assert!(!pushed.contains(&name) && !pushed.contains(&"dir/c"), "{name}: {pushed:?}");
        assert_eq!(world.remote().git(&["show", "main:b"]), "modified");
        repo.is_sound();
    }
}

#[test]
fn what_git_takes_but_looks_odd_is_committed() {
    let world = World::new();
    let repo = world.clone_as("one");
    symlink("/none", repo.path().join("dangling")).unwrap();
    fs::remove_dir_all(repo.path().join("dir")).unwrap();
    symlink("a", repo.path().join("dir")).unwrap();
    repo.write("odd \"*?[x]:(top)", "odd\n").write(":(exclude)a", "odd\n");
    let outcome = repo.breathe_committing();
    assert_eq!((outcome.verdict, &outcome.files[..]), (BreatheVerdict::InStep, &[][..]), "{outcome:?}");
    assert_eq!((repo.status(), repo.head()), (String::new(), world.remote().tip("main")));
}

#[test]
fn work_outside_of_a_sparse_cone_is_carried() {
    let world = World::new();
    world.incoming(&[("in/x", "1\n"), ("out/y", "1\n"), ("out/z", "1\n")]);
    let repo = world.clone_as("one");
    repo.git(&["sparse-checkout", "set", "--cone", "in"]);
    repo.write("out/new", "new\n").write("out/y", "changed\n").write("in/x", "2\n");
    let outcome = repo.breathe_committing();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    let remote = world.remote();
    assert_eq!(
        ["out/new", "out/y", "out/z", "in/x", "dir/c"].map(|name| remote.git(&["show", &format!("main:{name}")])),
        ["new", "changed", "1", "2", "c"]
    );
    world.incoming(&[("out/z", "2\n"), ("out/new", "2\n"), ("in/x", "3\n")]);
    let outcome = repo.breathe_committing();
    assert_eq!((outcome.verdict, outcome.exhale), (BreatheVerdict::InStep, None));
    assert_eq!((repo.read("in/x"), repo.status()), ("3\n".into(), String::new()));
    assert_eq!(remote.git(&["show", "main:out/z"]), "2");
    repo.is_sound();
}
