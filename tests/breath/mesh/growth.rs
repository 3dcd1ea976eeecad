//! What a clone of the mesh keeps does not grow with time.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::net::Net;

fn lives(net: &Net, node: usize, of: &str) -> usize {
    net.refs(node).keys().filter(|name| name.starts_with(&format!("refs/breath/{of}."))).count()
}

#[test]
fn refs_of_former_lives_go_once_another_one_contains_them() {
    let net = Net::new(4);
    for life in 0..5 {
        fs::remove_dir_all(net.repo(3).path()).unwrap();
        net.init(3);
        net.repo(life % 3).write("of-life", &format!("{life}\n")).commit(&format!("life {life}"));
        assert!(net.rounds_until_equal(2) <= 2);
        // The last one hears in this round what the first ones have pushed in the one before.
        net.round();
        for node in 0..4 {
            assert_eq!(lives(&net, node, "d"), 1, "life {life}: {:?}", net.refs(node));
        }
    }
    let before: Vec<_> = (0..4).map(|node| net.refs(node)).collect();
    assert!(net.round().iter().all(|outcome| outcome.inhale.is_none() && outcome.exhale.is_none()));
    assert_eq!((0..4).map(|node| net.refs(node)).collect::<Vec<_>>(), before, "nothing comes back");
    net.is_sound();
}

/// A node that was away still has a ref that the others have removed.
#[test]
fn a_former_life_does_not_come_back_with_a_node_that_was_away() {
    let mut net = Net::new(4);
    net.repo(1).write("x", "1\n").commit("x");
    assert!(net.rounds_until_equal(2) <= 2);
    let former = net.refs(0).into_keys().find(|name| name.contains("/d.")).unwrap();
    net.dead.insert(2);
    fs::remove_dir_all(net.repo(3).path()).unwrap();
    net.init(3);
    net.repo(1).write("y", "1\n").commit("y");
    for _ in 0..3 {
        net.round();
    }
    assert!(!net.refs(0).contains_key(&former) && net.refs(2).contains_key(&former));
    net.dead.clear();
    net.repo(2).write("z", "1\n").commit("z");
    assert!(net.rounds_until_equal(3) <= 2);
    net.round();
    assert!((0..4).all(|node| !net.refs(node).contains_key(&former)), "{:?}", net.refs(2));
    net.is_sound();
}

/// Two days old, as what a killed push left.
fn age(path: &Path) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(48 * 3600)).unwrap();
}

#[test]
fn loose_objects_are_packed_and_what_killed_pushes_left_goes() {
    let net = Net::new(2);
    let repo = net.repo(0);
    // Enough that git itself would collect: more than 27 of them begin with 17.
    for n in 0..6500 {
        repo.write(&format!("many/{}/{n}", n % 80), &format!("{n}\n"));
    }
    repo.commit("many");
    let objects = repo.path().join(".git/objects");
    let files = |directory: &str| fs::read_dir(objects.join(directory)).map_or(0, Iterator::count);
    assert!(files("17") > 27);
    let left = ["tmp_objdir-incoming-old", "pack/tmp_pack_old", "pack/.tmp-7-pack-old.pack", "tmp_objdir-incoming-new"];
    for name in left {
        match name.contains("objdir") {
            true => fs::create_dir(objects.join(name)).unwrap(),
            false => fs::write(objects.join(name), "half").unwrap(),
        }
        if name.contains("old") {
            age(&objects.join(name));
        }
    }
    net.breathe(0);
    assert!(files("17") == 0 && files("pack") > 0, "{} loose, {} of packs", files("17"), files("pack"));
    let there: Vec<&str> = left.into_iter().filter(|name| objects.join(name).exists()).collect();
    assert_eq!(there, ["tmp_objdir-incoming-new"], "a push of now is not disturbed");
    fs::remove_dir(objects.join(there[0])).unwrap();
    assert!(net.rounds_until_equal(2) <= 1);
    net.is_sound();
}
