//! A breath of the mesh that was killed while it moved the work tree: the next one finishes or undoes the move
//! before it lets anybody commit, and goes on.

use std::fs;

use super::net::Net;
use crate::world::Repo;
use three_mirror::sync::BreatheVerdict;

const LONG: &str = "a line that is long enough to be cut\n";

/// Two nodes, the second of which was killed on its way to what the first one wrote.
struct Torn {
    net: Net,
    old: String,
    new: String,
}

fn torn() -> Torn {
    let net = Net::new(2);
    net.repo(0).write("gone", "g\n").write("dir/c", "c\n").commit("more");
    assert!(net.rounds_until_equal(2) <= 1);
    let old = net.repo(1).head();
    let repo = net.repo(0);
    fs::remove_file(repo.path().join("gone")).unwrap();
    fs::remove_file(repo.path().join("dir/c")).unwrap();
    let long = LONG.repeat(2000);
    let new = repo.write("base", &long).write("dir/c/now/a/dir", "x\n").write("added", &long).commit("changed");
    net.breathe(0);
    let mirror = net.repo(1).path().join(".git/mirror");
    let entry = format!("branch refs/heads/main\nold {old}\nnew {new}\nfiles true\n");
    fs::write(mirror.join("intent"), entry).unwrap();
    fs::write(mirror.join("token"), "").unwrap();
    fs::hard_link(mirror.join("token"), net.repo(1).path().join(".git/index.lock")).unwrap();
    Torn { net, old, new }
}

type Tear = fn(&Repo);

const STATES: [(&str, Tear); 8] = [
    ("nothing written yet", |_| {}),
    ("a file is new", |repo| _ = repo.write("base", &LONG.repeat(2000))),
    ("a file is new in part", |repo| _ = repo.write("base", &LONG.repeat(2000)[..5000])),
    ("a file is empty", |repo| _ = repo.write("base", "")),
    ("a file is missing", |repo| fs::remove_file(repo.path().join("base")).unwrap()),
    ("a file that goes is gone", |repo| fs::remove_file(repo.path().join("gone")).unwrap()),
    ("a new file is there in part", |repo| _ = repo.write("added", &LONG.repeat(3))),
    ("a file is a directory by now", |repo| {
        fs::remove_file(repo.path().join("dir/c")).unwrap();
        repo.write("dir/c/now/a/dir", "x\n").write("added", &LONG.repeat(2000));
    }),
];

#[test]
fn a_torn_move_is_finished_with_the_peers_there_and_without_them() {
    for (what, tear) in STATES {
        for alone in [false, true] {
            let Torn { mut net, old, new } = torn();
            tear(&net.repo(1));
            // The service cannot commit what is torn: the lock is there until the next breath has repaired it.
            let add = net.repo(1).try_git(&["add", "-A"]);
            assert!(!add.status.success(), "{what}");
            assert_eq!(net.repo(1).head(), old);
            if alone {
                net.dead.insert(0);
            }
            let outcome = net.breathe(1);
            let wanted = if alone { BreatheVerdict::Alone } else { BreatheVerdict::InStep };
            assert_eq!(outcome.verdict, wanted, "{what}: {outcome:?}");
            let repo = net.repo(1);
            assert_eq!((repo.head(), repo.status()), (new, String::new()), "{what}");
            assert!(!repo.path().join(".git/index.lock").exists() && !repo.path().join("gone").exists(), "{what}");
            assert_eq!(repo.read("added"), LONG.repeat(2000), "{what}");
            net.is_sound();
        }
    }
}

#[test]
fn what_a_person_wrote_into_a_torn_tree_stays() {
    let Torn { net, old, new } = torn();
    let repo = net.repo(1);
    fs::remove_file(repo.path().join("gone")).unwrap();
    repo.write("base", "a person's\n").write("own", "a person's\n");
    let outcome = net.breathe(1);
    assert_eq!((outcome.verdict, &outcome.files[..]), (BreatheVerdict::Refused, &["base".to_owned()][..]));
    assert_eq!((repo.head(), repo.read("base"), repo.read("gone")), (old, "a person's\n".into(), "g\n".into()));
    // They commit it after all: it contradicts nothing but the file that they both changed.
    repo.git(&["checkout", "-q", "base"]);
    repo.commit("a person's");
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!((net.repo(0).read("own"), net.repo(0).read("base")), ("a person's\n".into(), LONG.repeat(2000)));
    assert!(net.repo(0).try_git(&["merge-base", "--is-ancestor", &new, "main"]).status.success());
    net.is_sound();
}
