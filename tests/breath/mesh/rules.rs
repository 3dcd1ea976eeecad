//! The rules of the mesh, one by one.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use three_mirror::sync::{BreatheVerdict, Manner, PeerState};

use super::net::{NAMES, Net};

#[test]
fn with_one_writer_the_history_stays_linear_and_all_have_it_at_once() {
    let net = Net::new(5);
    for n in 0..4 {
        let id = net.repo(1).write("one", &format!("{n}\n")).commit(&format!("commit {n}"));
        let outcome = net.breathe(1);
        assert_eq!((outcome.verdict, outcome.mesh.copies), (BreatheVerdict::InStep, Some(4)), "{outcome:?}");
        assert_eq!(outcome.exhale.unwrap().commits, 1);
        let outcome = net.breathe(3);
        assert_eq!(outcome.inhale.unwrap().commits, 1);
        assert_eq!(net.repo(3).head(), id);
    }
    assert_eq!(net.rounds_until_equal(2), 1);
    assert_eq!(net.merges(0), 0);
    net.is_sound();
}

#[test]
fn two_halves_that_wrote_a_hundred_commits_each_become_one_by_one_merge() {
    let mut net = Net::new(5);
    let side = |node: usize| node / 2 == 0;
    net.cuts = (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| side(*a) != side(*b)).collect();
    for n in 0..100 {
        for node in [0, 4] {
            net.repo(node).write(&format!("of-{node}"), &format!("{n}\n")).commit(&format!("{node}: {n}"));
        }
        if n % 25 == 0 {
            net.round();
        }
    }
    net.round();
    net.cuts.clear();
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!(net.merges(0), 1);
    assert_eq!(net.subjects(2, "main").len(), 201);
    let head = net.heads();
    net.round();
    assert_eq!(net.heads(), head, "nothing is merged once all are equal");
    net.is_sound();
}

#[test]
fn nobody_else_is_alone_and_nothing_is_lost() {
    let mut net = Net::new(3);
    net.repo(0).write("x", "1\n").commit("x");
    net.dead = [1, 2].into();
    let outcome = net.breathe(0);
    assert_eq!(outcome.verdict, BreatheVerdict::Alone, "{outcome:?}");
    assert!(outcome.exhale.is_none() && outcome.mesh.copies == Some(0));
    assert!(outcome.mesh.peers.iter().all(|peer| peer.state == PeerState::Unreachable && peer.cause.is_some()));
    net.dead = [2].into();
    assert_eq!(net.breathe(1).inhale.unwrap().commits, 1);
}

/// Each node reaches only the next one, and all breathe in lockstep.
#[test]
fn a_one_way_ring_in_lockstep_comes_to_rest() {
    let mut net = Net::new(5);
    net.cuts = (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| (a + 1) % 5 != *b).collect();
    for node in 0..5 {
        net.repo(node).write(NAMES[node], "1\n").commit(NAMES[node]);
    }
    let mut before = net.heads();
    let mut quiet = 0;
    for _ in 0..60 {
        std::thread::scope(|scope| {
            let net = &net;
            for node in 0..5 {
                scope.spawn(move || net.breathe(node));
            }
        });
        let now = net.heads();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet > 2 && net.is_equal() {
            break;
        }
    }
    assert!(net.is_equal(), "{:?}", net.heads());
    assert_eq!(net.subjects(0, "main").len(), 6);
    net.is_sound();
}

#[test]
fn lines_that_contradict_go_on_until_a_person_joins_them() {
    let mut net = Net::new(5);
    net.cuts = (0..5).flat_map(|other| [(3, other), (other, 3)]).collect();
    net.repo(3).write("base", "1\n2\nd\n4\n5\n").commit("d's");
    net.breathe(3);
    net.repo(0).write("base", "1\n2\na\n4\n5\n").commit("a's");
    net.breathe(0);
    net.cuts.clear();
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        outcomes = net.round();
    }
    for (node, outcome) in outcomes.iter().enumerate() {
        assert_eq!(
            (outcome.verdict, &outcome.files[..]),
            (BreatheVerdict::Conflict, &["base".to_owned()][..]),
            "{node}"
        );
        let owner = &outcome.mesh.conflicts[0].owner;
        assert_eq!(owner, if node == 3 { "a" } else { "d" }, "{outcome:?}");
    }
    // Both lines go on; new work of the first one reaches all that follow it.
    net.repo(1).write("more", "1\n").commit("more");
    net.breathe(1);
    net.round();
    assert_eq!(net.repo(4).read("more"), "1\n");
    assert!(!net.repo(3).path().join("more").exists());
    // The first line's owner dies, and a new clone comes: it takes the first line.
    net.dead.insert(0);
    fs::remove_dir_all(net.repo(2).path()).unwrap();
    net.init(2);
    net.breathe(2);
    assert_eq!(net.repo(2).read("base"), "1\n2\na\n4\n5\n");
    // A person joins them on the other line's node.
    let reference = net.breathe(3).mesh.conflicts[0].reference.clone();
    let merged = net.repo(3).try_git(&["merge", "-q", &reference]);
    assert!(!merged.status.success());
    net.repo(3).write("base", "1\n2\nboth\n4\n5\n").commit("joined");
    net.dead.clear();
    assert_eq!(net.breathe(3).verdict, BreatheVerdict::InStep);
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!(net.repo(0).read("base"), "1\n2\nboth\n4\n5\n");
    net.is_sound();
}

/// The second one's line has no ref of its own until it takes another name.
#[test]
fn a_copied_disk_takes_another_name() {
    let net = Net::new(3);
    net.repo(0).write("x", "1\n").commit("x");
    net.breathe(0);
    let identity = net.repo(0).read(".git/mirror/identity");
    let copied = crate::world::scratch();
    let copy = crate::world::Repo(copied.path().join("copy"));
    let status = std::process::Command::new("cp").arg("-a").arg(net.repo(0).path()).arg(copy.path()).status().unwrap();
    assert!(status.success());
    net.repo(0).write("y", "1\n").commit("y");
    net.breathe(0);
    // The disk comes back as it was, with work of its own.
    copy.write("z", "1\n").commit("z");
    fs::remove_dir_all(net.repo(0).path()).unwrap();
    let status = std::process::Command::new("cp").arg("-a").arg(copy.path()).arg(net.repo(0).path()).status().unwrap();
    assert!(status.success());
    net.round();
    assert!(net.rounds_until_equal(3) <= 2);
    let mut subjects = net.subjects(2, "main");
    subjects.sort();
    assert_eq!(subjects, ["base", "x", "y", "z"]);
    assert_ne!(net.repo(0).read(".git/mirror/identity"), identity);
    net.is_sound();
}

#[test]
fn a_wiped_node_that_commits_before_its_first_contact_contradicts_and_loses_nothing() {
    let net = Net::new(3);
    net.repo(0).write("x", "1\n").commit("x");
    net.breathe(0);
    fs::remove_dir_all(net.repo(0).path()).unwrap();
    net.init(0);
    net.repo(0).write("base", "mine\n").commit("own root");
    let outcome = net.breathe(0);
    assert_eq!(outcome.verdict, BreatheVerdict::Conflict, "{outcome:?}");
    assert!(outcome.reason.contains("no commit in common"), "{}", outcome.reason);
    assert_eq!(net.breathe(1).verdict, BreatheVerdict::Conflict);
    assert_eq!(net.repo(1).read("x"), "1\n");
    assert_eq!(net.repo(0).read("base"), "mine\n");
    // A person gives up the new root: the line of the others is there to be taken.
    let reference = outcome.mesh.conflicts[0].reference.clone();
    net.repo(0).git(&["merge", "-q", "-s", "ours", "--allow-unrelated-histories", &reference]);
    assert!(net.rounds_until_equal(2) <= 2);
}

/// A backup of a node that is older than what it breathed out, without the directory of the breath.
#[test]
fn a_wiped_node_with_an_older_clone_that_commits_before_its_first_contact_loses_nothing() {
    let net = Net::new(3);
    let backup = crate::world::scratch();
    let copy = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    };
    copy(net.repo(0).path(), &backup.path().join("repo"));
    net.repo(0).write("x", "1\n").commit("x");
    net.breathe(0);
    fs::remove_dir_all(net.repo(0).path()).unwrap();
    copy(&backup.path().join("repo"), net.repo(0).path());
    let repo = net.repo(0);
    fs::remove_dir_all(repo.path().join(".git/mirror")).unwrap();
    for name in net.refs(0).keys() {
        repo.git(&["update-ref", "-d", name]);
    }
    repo.write("y", "1\n").commit("y");
    let outcome = net.breathe(0);
    assert_eq!((outcome.verdict, outcome.mesh.copies), (BreatheVerdict::InStep, Some(2)), "{outcome:?}");
    assert!(net.rounds_until_equal(2) <= 1);
    assert_eq!((net.subjects(2, "main"), net.merges(2)), (vec!["y".into(), "x".into(), "base".into()], 0));
    net.is_sound();
}

/// Attributes that are committed count on every node alike; a driver that one node alone knows counts on none.
#[test]
fn committed_attributes_merge_alike_and_private_drivers_not_at_all() {
    let mut net = Net::new(3);
    net.repo(0)
        .write(".gitattributes", "base merge=union\nother merge=mine\n")
        .write("other", "1\n")
        .commit("attributes");
    assert!(net.rounds_until_equal(2) <= 1);
    net.repo(1).git(&["config", "merge.mine.driver", "true"]);
    let knows_attributes = net.repo(0).try_git(&["--attr-source=HEAD", "version"]).status.success();
    let apart: Vec<_> = (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).collect();
    if knows_attributes {
        net.cuts = apart.iter().copied().collect();
        for node in [0, 2] {
            net.repo(node).write("base", &format!("1\n2\n{}\n4\n5\n", NAMES[node])).commit(NAMES[node]);
        }
        net.round();
        net.cuts.clear();
        assert!(net.rounds_until_equal(2) <= 2);
        assert_eq!(net.repo(1).read("base"), "1\n2\na\nc\n4\n5\n");
        assert_eq!(net.merges(0), 1);
    }
    net.cuts = apart.into_iter().collect();
    for node in [0, 2] {
        net.repo(node).write("other", NAMES[node]).commit(&format!("other of {}", NAMES[node]));
    }
    net.round();
    net.cuts.clear();
    net.round();
    for outcome in net.round() {
        assert_eq!((outcome.verdict, &outcome.files[..]), (BreatheVerdict::Conflict, &["other".to_owned()][..]));
    }
}

#[test]
fn hostile_settings_and_attributes_change_no_merge() {
    let mut net = Net::new(3);
    let hostile = net.repo(1);
    for (key, value) in [
        ("merge.conflictStyle", "diff3"),
        ("merge.renames", "false"),
        ("merge.directoryRenames", "true"),
        ("merge.ours.driver", "true"),
        ("diff.renames", "copies"),
        ("diff.algorithm", "patience"),
        ("core.attributesFile", "/dev/stdin"),
        ("log.showSignature", "true"),
        ("i18n.logOutputEncoding", "latin1"),
        ("fetch.prune", "true"),
        ("push.followTags", "true"),
    ] {
        hostile.git(&["config", key, value]);
    }
    fs::create_dir_all(hostile.path().join(".git/info")).unwrap();
    fs::write(hostile.path().join(".git/info/attributes"), "* merge=union\n").unwrap();
    net.cuts = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].into();
    net.repo(0).write("base", "a\n2\n3\n4\n5\n").write("of-a", "1\n").commit("a");
    net.repo(2).write("base", "1\n2\n3\n4\nc\n").write("of-c", "1\n").commit("c");
    net.round();
    net.cuts.clear();
    // The hostile one merges first, and the others make the same merge.
    net.cuts = [(0, 2), (2, 0)].into();
    net.breathe(1);
    let merged = net.repo(1).head();
    net.cuts.clear();
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!(net.repo(0).head(), merged);
    // What contradicts is not joined by a private `merge=union`.
    net.cuts = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].into();
    net.repo(0).write("base", "x\n").commit("x");
    net.repo(2).write("base", "y\n").commit("y");
    net.round();
    net.cuts.clear();
    net.round();
    assert_eq!(net.breathe(1).verdict, BreatheVerdict::Conflict);
}

#[test]
fn unoffered_work_is_visible_to_nobody() {
    let net = Net::new(2);
    let secret = net.repo(0).write("x", "1\n").commit("not offered");
    let seen = net.repo(1).git(&["ls-remote", net.repo(0).path().to_str().unwrap()]);
    assert!(!seen.contains(&secret) && seen.lines().all(|line| line.contains("refs/breath/")), "{seen}");
    let push = |refspec: &str| {
        let pushed = net.repo(1).try_git(&["push", "-q", "-f", net.repo(0).path().to_str().unwrap(), refspec]);
        pushed.status.success()
    };
    assert!(push("main:refs/breath/x.0a1b2c3d"));
    assert!(!push(":refs/breath/x.0a1b2c3d"), "nothing is deleted");
    net.repo(1).git(&["commit", "-q", "--amend", "-m", "another"]);
    assert!(!push("main:refs/breath/x.0a1b2c3d"), "nothing goes back");
}

#[test]
fn files_in_the_way_are_named_and_the_commits_go_out_all_the_same() {
    let net = Net::new(2);
    net.repo(0).write("base", "changed\n").commit("changed");
    net.breathe(0);
    net.repo(1).write("own", "1\n").commit("own");
    net.repo(1).write("base", "a person's\n");
    let outcome = net.breathe(1);
    assert_eq!(
        (outcome.verdict, &outcome.files[..]),
        (BreatheVerdict::Refused, &["base".to_owned()][..]),
        "{outcome:?}"
    );
    assert_eq!(net.repo(1).read("base"), "a person's\n");
    net.breathe(0);
    assert_eq!(net.repo(0).read("own"), "1\n");
    net.repo(1).git(&["checkout", "-q", "base"]);
    assert!(net.rounds_until_equal(2) <= 2);
}

#[test]
fn untracked_files_in_the_way_are_named_and_stay() {
    let net = Net::new(2);
    net.repo(0).write("new", "incoming\n").commit("new");
    net.breathe(0);
    net.repo(1).write("own", "1\n").commit("own");
    net.repo(1).write("new", "a person's\n");
    let outcome = net.breathe(1);
    let found = (outcome.verdict, &outcome.files[..]);
    assert_eq!(found, (BreatheVerdict::Refused, &["new".to_owned()][..]), "{outcome:?}");
    assert_eq!(net.repo(1).read("new"), "a person's\n");
    net.breathe(0);
    assert_eq!(net.repo(0).read("own"), "1\n");
    fs::remove_file(net.repo(1).path().join("new")).unwrap();
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!(net.repo(1).read("new"), "incoming\n");
}

/// Before a start: the breath that runs may have the news in its refs, and not yet in the files.
#[test]
fn an_inhale_waits_for_the_breath_that_runs() {
    let net = Net::new(2);
    let id = net.repo(0).write("x", "1\n").commit("x");
    net.breathe(0);
    let lock = fs::File::open(net.repo(1).path().join(".git/mirror/breath.lock")).unwrap();
    lock.lock().unwrap();
    let mut inhale = net.command(1, &["--inhale", "--timeout", "100s"]);
    let inhale = inhale.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    let ended = inhale.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(net.repo(1).head(), id);
    // Not for ever.
    lock_again(&net, || {
        let ended = net.command(1, &["--inhale", "--timeout", "400ms"]).output().unwrap();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    });
}

fn lock_again(net: &Net, meanwhile: impl FnOnce()) {
    let lock = fs::File::open(net.repo(1).path().join(".git/mirror/breath.lock")).unwrap();
    lock.lock().unwrap();
    meanwhile();
}

#[test]
fn an_inhale_alone_takes_and_gives_nothing() {
    let net = Net::new(2);
    net.repo(0).write("x", "1\n").commit("x");
    net.breathe(0);
    net.repo(1).write("y", "1\n").commit("y");
    let before = net.refs(0);
    let outcome = net.breathe_in(1, Manner::InhaleOnly);
    assert_eq!(outcome.inhale.unwrap().commits, 1);
    assert_eq!(net.refs(0), before);
    assert_eq!(net.subjects(1, "main"), ["y", "x", "base"]);
}

/// Another version of git may merge in another way, so that two nodes make different merges of the same heads.
#[test]
fn merges_that_differ_by_node_come_to_rest_also_with_the_first_node_dead() {
    let mut net = Net::new(4);
    for node in 0..4 {
        net.cuts.extend((0..4).map(|other| (node, other)));
        net.repo(node).write(NAMES[node], "1\n").commit(NAMES[node]);
        net.breathe(node);
    }
    // Each of two nodes makes its own merge of the first two heads.
    for (node, date) in [(1, "2001-01-01T00:00:00Z"), (2, "2002-01-01T00:00:00Z")] {
        let repo = net.repo(node);
        for other in 0..4 {
            repo.try_git(&["fetch", "-q", net.repo(other).path().to_str().unwrap(), "refs/breath/*:refs/breath/*"]);
        }
        let heads = net.repo(node).git(&["for-each-ref", "--format=%(objectname)", "refs/breath"]);
        let main = repo.head();
        for head in heads.lines().filter(|head| *head != main) {
            let mut merge = std::process::Command::new("git");
            merge.args(["merge", "-q", "--no-ff", "-m", "mirror: merge", head]).current_dir(repo.path());
            for who in ["AUTHOR", "COMMITTER"] {
                merge.env(format!("GIT_{who}_NAME"), "mirror").env(format!("GIT_{who}_EMAIL"), "merge@mirror.invalid");
                merge.env(format!("GIT_{who}_DATE"), date);
            }
            assert!(merge.status().unwrap().success());
        }
    }
    net.cuts.clear();
    net.dead.insert(0);
    let mut rounds = 0;
    while !net.is_equal() && rounds < 30 {
        net.round();
        rounds += 1;
    }
    assert!(net.is_equal(), "{:?}", net.heads());
    let heads = net.heads();
    net.round();
    assert_eq!(net.heads(), heads, "nothing is merged once all are equal");
    net.dead.clear();
    assert!(net.rounds_until_equal(2) <= 2);
    net.is_sound();
}

#[test]
fn clocks_that_are_ten_years_apart_decide_nothing() {
    let mut net = Net::new(3);
    net.cuts = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].into();
    for (node, date) in [(0, "2036-01-01T00:00:00Z"), (1, "2016-01-01T00:00:00Z")] {
        let repo = net.repo(node);
        repo.write(NAMES[node], "1\n").git(&["add", "-A"]);
        let mut commit = std::process::Command::new("git");
        commit.args(["commit", "-q", "-m", NAMES[node]]).current_dir(repo.path());
        commit.env("GIT_COMMITTER_DATE", date).env("GIT_AUTHOR_DATE", date);
        assert!(commit.status().unwrap().success());
        net.breathe(node);
    }
    net.cuts.clear();
    assert!(net.rounds_until_equal(2) <= 2);
    assert_eq!(net.merges(2), 1);
    net.is_sound();
}
