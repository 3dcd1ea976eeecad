//! `mirror drain` and `mirror undrain` over a real ssh: what runs on a node leaves, the brain's duty too, and every
//! node knows, whichever way it learns of it.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};

use crate::support::mirror::{Said, Started, node};
use crate::support::nodes::{NAMES, Served};
use crate::support::wait_for;

/// From the laptop.
fn drain(stage: &Served, words: &str) -> Said {
    stage.nodes.network.run(&format!("drain {words}"))
}

fn undrain(stage: &Served, words: &str) -> Said {
    stage.nodes.network.run(&format!("undrain {words}"))
}

/// Which nodes a node knows to be drained.
fn known_to(stage: &Served, name: &str) -> Vec<String> {
    let object = stage.nodes.on(name, "chain show").expect(0, "shown");
    object["drained"].as_array().unwrap().iter().map(|of| of["node"].as_str().unwrap().to_owned()).collect()
}

fn brain(stage: &Served, name: &str) -> Value {
    let said = stage.nodes.on(name, "whois-brain --check");
    assert!(said.status < 2, "{said:?}");
    said.json()["brain"].clone()
}

fn events(stage: &Served, name: &str) -> Vec<String> {
    let object = stage.nodes.on(name, "history").expect(0, "listed");
    let entries = object["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["event"].as_str().unwrap().to_owned()).filter(|event| event.ends_with("drain")).collect()
}

fn reason(object: &Value) -> &str {
    object["reason"].as_str().unwrap()
}

#[test]
fn what_runs_there_leaves_and_comes_back_when_its_failback_says_so() {
    let stage = Served::new();
    let object = drain(&stage, "b --why disk").expect(0, "drained");
    assert_eq!(object["seen_by"], json!(["a", "b", "c"]), "{object:#}");
    let moved = &object["moved"][0];
    assert_eq!((&moved["service"], &moved["verdict"]), (&json!("bot"), &json!("moved")), "{object:#}");
    assert_eq!((&moved["previous"], &moved["target"]), (&json!("b"), &json!("c")), "{object:#}");
    assert_eq!((&moved["fencing"], &object["changed"]), (&json!("confirmed"), &json!(true)), "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["c"]);
    assert_eq!(stage.bot.count("start c"), 1);
    for name in NAMES {
        assert_eq!(known_to(&stage, name), ["b"], "{name}");
        assert_eq!(events(&stage, name), ["drain"], "{name}");
    }
    // Nothing is moved there, and everybody says why.
    let object = stage.nodes.on("a", "promote --if-brain").expect(0, "in-place");
    assert!(reason(&object).contains("b is drained since 20") && reason(&object).contains(": disk."), "{object:#}");
    let object = stage.nodes.on("c", "promote --to b").expect(1, "refused");
    assert!(reason(&object).contains("mirror undrain b"), "{object:#}");
    let object = stage.nodes.network.run("status --within 60s").expect(0, "well");
    assert_eq!((&object["drains"][0]["node"], &object["drains"][0]["why"]), (&json!("b"), &json!("disk")));
    assert_eq!(
        (&object["drains"][0]["seen_by"], &object["services"][0]["target"]),
        (&json!(["a", "b", "c"]), &json!("c"))
    );
    assert_eq!(stage.nodes.on("a", "chain show --down c").expect(0, "shown")["services"][0]["target"], "a");
    // A second one changes nothing, and keeps the reason.
    let object = stage.nodes.on("c", "drain b --why other").expect(0, "drained");
    assert_eq!((&object["changed"], &object["moved"]), (&json!(false), &json!([])), "{object:#}");
    let object = undrain(&stage, "b --if-why other").expect(1, "kept");
    assert!(reason(&object).contains(": disk."), "{object:#}");

    let object = undrain(&stage, "b --if-why disk").expect(0, "undrained");
    assert_eq!((&object["seen_by"], &object["moved"]), (&json!(["a", "b", "c"]), &json!([])), "{object:#}");
    assert_eq!(events(&stage, "a"), ["drain", "undrain"]);
    stage.nodes.on("a", "promote --if-brain").expect(0, "in-place");
    stage.nodes.on("a", "promote --to b").expect(0, "moved");
    assert_eq!(stage.bot.runs_on(), ["b"]);
    assert_eq!(undrain(&stage, "b").expect(0, "undrained")["changed"], false);
    stage.nodes.network.run("drain nothing").expect_misuse();
    stage.nodes.network.run("drain").expect_misuse();
}

#[test]
fn under_a_lease_it_leaves_by_the_lease() {
    let register = tempfile::tempdir().unwrap();
    let path = register.path().display();
    let stage =
        Served::with(&format!("[lease]\nstore = \"file\"\npath = \"{path}\"\nvalid = \"20s\"\ngrace = \"5s\"\n"));
    let object = drain(&stage, "b").expect(0, "drained");
    let moved = &object["moved"][0];
    assert_eq!((&moved["target"], &moved["fencing"]), (&json!("c"), &json!("lease")), "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["c"]);
    let object = stage.nodes.on("a", "lease show bot").json();
    let lease = object.to_string();
    assert!(lease.contains("\"holder\":\"c\"") && lease.contains("b is drained"), "{object:#}");
}

#[test]
fn a_drained_brain_gives_its_duty_to_the_next_and_gets_it_back() {
    let stage = Served::new();
    // On the node itself, which is then no longer the brain: the next one moves what has to move.
    let object = stage.nodes.on("a", "drain --why reboot").expect(0, "drained");
    assert_eq!((&object["node"], &object["moved"]), (&json!("a"), &json!([])), "{object:#}");
    for name in NAMES {
        assert_eq!(brain(&stage, name), "b", "{name}");
    }
    stage.nodes.on("a", "promote --if-brain").expect(1, "not-brain");
    stage.nodes.on("b", "promote --if-brain").expect(0, "in-place");
    let object = stage.nodes.on("c", "whois-brain").expect(0, "known");
    assert!(reason(&object).contains("a is drained since 20") && reason(&object).contains("reboot"), "{object:#}");
    assert_eq!(node(&object, "a")["drained"]["by"], "a", "{object:#}");
    // The one that serves is drained too: the last one does both.
    let object = drain(&stage, "b").expect(0, "drained");
    assert_eq!(object["moved"][0]["target"], "c", "{object:#}");
    assert_eq!(brain(&stage, "c"), "c");
    stage.nodes.on("c", "promote --if-brain").expect(0, "in-place");

    undrain(&stage, "a").expect(0, "undrained");
    stage.nodes.on("c", "promote --if-brain").expect(1, "not-brain");
    assert_eq!(brain(&stage, "a"), "a");
}

#[test]
fn where_all_are_drained_a_service_stays_and_starts_again_where_it_ran() {
    let stage = Served::new();
    drain(&stage, "a").expect(0, "drained");
    drain(&stage, "c").expect(0, "drained");
    let object = drain(&stage, "b").expect(1, "not-moved");
    assert_eq!((&object["moved"][0]["target"], &object["moved"][0]["verdict"]), (&json!("b"), &json!("in-place")));
    assert!(reason(&object).contains("did not leave b"), "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["b"]);
    // They are drained in the order of the chain, so its head leads.
    assert_eq!(brain(&stage, "a"), "a");
    stage.bot.crash("b");
    stage.nodes.on("a", "promote").expect(0, "started");
    assert_eq!(stage.bot.runs_on(), ["b"]);
    // The first that is free again takes it.
    undrain(&stage, "c").expect(0, "undrained");
    stage.nodes.on("c", "promote --if-brain").expect(0, "moved");
    assert_eq!(stage.bot.runs_on(), ["c"]);
}

#[test]
fn a_drained_node_is_no_target_of_a_failover() {
    let mut stage = Served::new();
    drain(&stage, "c").expect(0, "drained");
    stage.bot.crash("b");
    stage.nodes.servers[1].kill();
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    assert_eq!(stage.bot.runs_on(), ["a"], "it passed over c");
}

#[test]
fn a_node_that_was_down_learns_of_it_from_the_brain_and_brings_back_nothing_older() {
    let mut stage = Served::new();
    drain(&stage, "a").expect(0, "drained");
    assert_eq!(known_to(&stage, "c"), ["a"]);
    stage.nodes.servers[2].kill();
    undrain(&stage, "a").expect(0, "undrained");
    let object = drain(&stage, "b --why disk").expect(0, "drained");
    assert_eq!(object["moved"][0]["target"], "a", "{object:#}");
    assert_eq!((&object["seen_by"], &object["untold"][0]["cause"]), (&json!(["a", "b"]), &json!("dead")), "{object:#}");
    stage.nodes.servers[2].restart();
    // It was down for long: what its checks had learned of the others is old.
    for file in ["watch.json", "beat.json"] {
        fs::remove_file(stage.nodes.path("c").join("state").join(file)).unwrap();
    }
    assert_eq!(known_to(&stage, "c"), ["a"]);
    stage.nodes.on("c", "promote --if-brain").expect(1, "not-brain");
    assert_eq!(known_to(&stage, "c"), ["b"]);
    assert_eq!(events(&stage, "c"), ["drain", "undrain", "drain"]);
    stage.nodes.on("a", "promote --if-brain").expect(0, "in-place");
    assert_eq!(known_to(&stage, "a"), ["b"]);
}

#[test]
fn a_brain_that_cannot_be_told_leads_until_it_knows() {
    let stage = Served::new();
    let keys = stage.nodes.servers[0].path().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    let object = drain(&stage, "a").expect(3, "unknown");
    assert_eq!((&object["seen_by"], &object["untold"][0]["node"]), (&json!(["b", "c"]), &json!("a")), "{object:#}");
    assert!(object["untold"][0]["detail"].as_str().unwrap().contains("Permission denied"), "{object:#}");
    // Nobody else leads: two would.
    assert_eq!(brain(&stage, "b"), "a");
    fs::write(&keys, key).unwrap();
    // What it hears from the others in its rounds.
    for file in ["watch.json", "beat.json"] {
        fs::remove_file(stage.nodes.path("a").join("state").join(file)).unwrap();
    }
    assert_eq!(brain(&stage, "a"), "b");
    for file in ["watch.json", "beat.json"] {
        fs::remove_file(stage.nodes.path("b").join("state").join(file)).unwrap();
    }
    assert_eq!(brain(&stage, "b"), "b");
}

#[test]
fn another_list_is_no_hindrance() {
    let stage = Served::new();
    stage.nodes.edit("c", "recovery = \"60s\"", "recovery = \"61s\"");
    let object = drain(&stage, "b").expect(0, "drained");
    assert_eq!((&object["seen_by"], &object["moved"][0]["target"]), (&json!(["a", "b", "c"]), &json!("c")));
    // A list without the node: what is drained is none of its business.
    stage.nodes.edit("c", "b = {", "x = {");
    for (old, new) in [("\"a\", \"b\", \"c\"", "\"a\", \"c\""), ("\"b\", \"c\", \"a\"", "\"c\", \"a\"")] {
        stage.nodes.edit("c", old, new);
    }
    undrain(&stage, "b").expect(0, "undrained");
    drain(&stage, "b").expect(0, "drained");
}

#[test]
fn what_is_killed_in_the_middle_is_finished_by_the_next_check_and_starts_nothing_twice() {
    let stage = Served::new();
    // The start hangs until it is let go.
    stage.bot.before("start", "c", "echo >\"$dir/begun\"; while [ ! -f \"$dir/go\" ]; do sleep 0.05; done");
    let started = Started::new(stage.nodes.network.mirror(["drain", "b"]));
    wait_for("the start to begin", || stage.bot.path().join("begun").exists().then_some(()));
    drop(started);
    fs::write(stage.bot.path().join("go"), "").unwrap();
    wait_for("the brain to have ended", || {
        let said = stage.nodes.on("a", "promote --if-brain");
        (said.status == 0).then_some(())
    });
    assert_eq!(stage.bot.runs_on(), ["c"]);
    assert_eq!(stage.bot.count("start b") + stage.bot.count("start a"), 1, "only the first one");
    assert_eq!(drain(&stage, "b").expect(0, "drained")["moved"], json!([]));
    assert_eq!(stage.bot.runs_on(), ["c"]);
}

#[test]
fn two_that_drain_at_once_leave_one_instance() {
    let stage = Served::new();
    let both = ["a", "b"].map(|name| {
        let program = stage.nodes.path(name).join("bin/mirror");
        let mut command = stage.nodes.network.program(program, ["drain", "b"]);
        command.current_dir(stage.nodes.path(name));
        Started::new(command)
    });
    for one in both {
        one.end().expect(0, "drained");
    }
    assert_eq!(stage.bot.runs_on(), ["c"]);
    assert_eq!(stage.bot.count("start c"), 1);
    let other = drain(&stage, "c").expect(0, "drained");
    assert_eq!(other["moved"][0]["target"], "a", "{other:#}");
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

#[test]
fn a_pause_keeps_it_where_it_is() {
    let stage = Served::new();
    stage.nodes.on("a", "pause").expect(0, "paused");
    let object = drain(&stage, "b").expect(1, "not-moved");
    assert_eq!(object["moved"][0]["verdict"], "paused", "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["b"]);
}
