//! Three lines that contradict each other, and what becomes of one resolution, of two alike, and of two that differ.

use three_mirror::sync::BreatheVerdict;

use super::net::Net;

/// Four nodes, three of which changed the same line while they were apart.
fn contradicting() -> Net {
    let mut net = Net::new(4);
    let apart = (0..4).flat_map(|a| (0..4).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    net.cuts = apart;
    for (node, text) in [(0, "a"), (1, "b"), (2, "c")] {
        net.repo(node).write("base", &format!("1\n2\n{text}\n4\n5\n")).commit(text);
        net.breathe(node);
    }
    net.cuts.clear();
    net.round();
    for outcome in net.round() {
        assert_eq!(outcome.verdict, BreatheVerdict::Conflict, "{outcome:?}");
        assert_eq!(outcome.mesh.conflicts.len(), 2, "{outcome:?}");
    }
    assert_eq!(net.heads()[3], net.heads()[0], "the fourth one follows the first line");
    net
}

/// A person joins all lines on a node.
fn resolve(net: &Net, node: usize, text: &str) {
    let repo = net.repo(node);
    for conflict in net.breathe(node).mesh.conflicts {
        let merged = repo.try_git(&["merge", "-q", "--no-edit", &conflict.reference]);
        if !merged.status.success() {
            repo.write("base", text).commit("resolved");
        }
    }
    repo.write("base", text);
    if repo.status() != "" {
        repo.commit("resolved at last");
    }
}

#[test]
fn one_resolution_is_everybodys() {
    let net = contradicting();
    resolve(&net, 2, "all\n");
    net.breathe(2);
    assert!(net.rounds_until_equal(2) <= 1);
    assert_eq!(net.repo(3).read("base"), "all\n");
}

#[test]
fn two_that_are_alike_are_merged() {
    let net = contradicting();
    resolve(&net, 1, "all\n");
    resolve(&net, 2, "all\n");
    net.round();
    net.rounds_until_equal(3);
    assert_eq!(net.repo(3).read("base"), "all\n");
}

#[test]
fn two_that_differ_contradict_until_one_more_is_made() {
    let net = contradicting();
    resolve(&net, 1, "b's\n");
    resolve(&net, 2, "c's\n");
    net.round();
    for outcome in net.round() {
        assert_eq!((outcome.verdict, outcome.mesh.conflicts.len()), (BreatheVerdict::Conflict, 1), "{outcome:?}");
    }
    resolve(&net, 3, "at last\n");
    net.breathe(3);
    assert!(net.rounds_until_equal(2) <= 1);
    assert_eq!(net.repo(0).read("base"), "at last\n");
}
