//! Without a lease a pause is set on every node, over a real ssh.

use std::fs;

use serde_json::{Value, json};

use crate::support::mirror::Said;
use crate::support::nodes::{NAMES, Served};

fn laptop(stage: &Served, words: &str) -> Said {
    stage.nodes.network.run(words)
}

/// The services that a node knows to be paused.
fn known_to(stage: &Served, name: &str) -> Vec<String> {
    super::services(&stage.nodes.on(name, "chain show").expect(0, "shown"))
}

fn forget_others(stage: &Served, name: &str) {
    for file in ["watch.json", "beat.json"] {
        fs::remove_file(stage.nodes.path(name).join("state").join(file)).unwrap();
    }
}

fn reason(object: &Value) -> &str {
    object["reason"].as_str().unwrap()
}

#[test]
fn every_node_that_can_be_told_keeps_it_and_the_others_learn_of_it_from_the_brain() {
    let mut stage = Served::new();
    stage.nodes.servers[2].kill();
    let object = laptop(&stage, "pause --why disk").expect(0, "paused");
    assert_eq!((&object["where"], &object["seen_by"]), (&json!("node"), &json!(["a", "b"])), "{object:#}");
    assert_eq!((&object["untold"][0]["node"], &object["untold"][0]["cause"]), (&json!("c"), &json!("dead")));
    assert!(reason(&object).contains("2 of 3 nodes know it"), "{object:#}");
    stage.bot.crash("b");
    stage.nodes.on("a", "promote --if-brain").expect(1, "paused");
    assert_eq!(stage.bot.runs_on(), [""; 0]);

    stage.nodes.servers[2].restart();
    forget_others(&stage, "c");
    assert_eq!(known_to(&stage, "c"), [""; 0]);
    stage.nodes.on("c", "promote --if-brain").expect(1, "not-brain");
    assert_eq!(known_to(&stage, "c"), ["all"]);
    // Paused since before, by whichever way it is asked.
    assert_eq!(stage.nodes.on("c", "pause").expect(0, "paused")["changed"], false);
    laptop(&stage, "resume bot").expect(1, "refused");
    let object = stage.nodes.on("c", "resume").expect(0, "resumed");
    assert_eq!(object["seen_by"], json!(["a", "b", "c"]), "{object:#}");
    for name in NAMES {
        assert_eq!(known_to(&stage, name), [""; 0], "{name}");
    }
    stage.nodes.on("a", "promote --if-brain").expect(0, "started");
}

#[test]
fn where_no_node_can_be_told_nothing_is_said_to_be_paused() {
    let stage = Served::new();
    for server in &stage.nodes.servers {
        fs::write(server.path().join("authorized_keys"), "").unwrap();
    }
    let object = laptop(&stage, "pause").expect(3, "unknown");
    assert_eq!((&object["seen_by"], &object["untold"][2]["node"]), (&json!([]), &json!("c")), "{object:#}");
    assert!(reason(&object).contains("no node could be told"), "{object:#}");
}

#[test]
fn a_node_that_lets_nobody_in_is_named_and_one_with_another_list_is_told() {
    let stage = Served::new();
    fs::write(stage.nodes.servers[0].path().join("authorized_keys"), "").unwrap();
    stage.nodes.edit("c", "recovery = \"60s\"", "recovery = \"61s\"");
    let object = stage.nodes.on("b", "pause bot").expect(0, "paused");
    assert_eq!(object["seen_by"], json!(["b", "c"]), "{object:#}");
    assert!(reason(&object).contains("a (") && reason(&object).contains("could not be told"), "{object:#}");
    // A node that cannot be told leads on: it learns of it as it asks the others.
    forget_others(&stage, "a");
    stage.nodes.on("a", "whois-brain --check").expect(0, "self");
    assert_eq!(known_to(&stage, "a"), ["bot"]);
}

#[test]
fn a_pause_of_the_automatic_lets_a_person_move_it() {
    let stage = Served::new();
    let object = laptop(&stage, "pause bot --auto-only --why disks").expect(0, "paused");
    assert_eq!(object["paused"][0]["auto_only"], true, "{object:#}");
    stage.nodes.on("a", "promote --if-brain").expect(0, "in-place");
    stage.nodes.on("a", "promote bot --to c").expect(0, "moved");
    assert_eq!(stage.bot.runs_on(), ["c"]);
    stage.bot.crash("c");
    let object = stage.nodes.on("a", "promote --if-brain").expect(1, "paused");
    assert!(reason(&object).contains("for the automatic only: disks"), "{object:#}");
    // Then everything stops.
    laptop(&stage, "pause bot").expect(0, "paused");
    stage.nodes.on("b", "promote bot --to b").expect(1, "paused");
    laptop(&stage, "resume").expect(0, "resumed");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
}
