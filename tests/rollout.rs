//! `mirror rollout` over a real ssh: a new list on all nodes, one that is away, one that would be lost.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};

use crate::support::mirror::{Said, node};
use crate::support::nodes::{NAMES, Served};

fn rollout(stage: &Served, options: &str) -> Said {
    stage.nodes.network.run(&format!("rollout new.toml --within 60s {options}"))
}

/// Writes a new list, in which something is replaced.
fn write(stage: &Served, old: &str, new: &str) {
    let list = stage.nodes.list();
    assert!(list.contains(old), "{list}");
    fs::write(stage.nodes.path("new.toml"), list.replace(old, new)).unwrap();
}

fn digests(stage: &Served) -> Vec<Value> {
    NAMES.map(|name| stage.nodes.on(name, "chain show").expect(0, "shown")["digest"].clone()).to_vec()
}

const LONGER: (&str, &str) = ("recovery = \"60s\"", "recovery = \"61s\"");

#[test]
fn a_new_list_is_shown_and_then_in_force_on_every_node() {
    let stage = Served::new();
    // What is a node's own stays.
    let own = stage.nodes.path("b").join("mirror.toml");
    fs::write(&own, format!("self = \"b\"\n{}", fs::read_to_string(&own).unwrap())).unwrap();
    write(&stage, LONGER.0, LONGER.1);
    let before = digests(&stage);
    let object = rollout(&stage, "--dry-run").expect(0, "planned");
    assert_eq!(object["changes"], json!(["cycle.recovery is \"61s\"; before, \"60s\"."]), "{object:#}");
    assert_eq!(digests(&stage), before);
    let object = rollout(&stage, "").expect(0, "rolled-out");
    assert_ne!(object["digest"], object["digest_new"]);
    assert_eq!(digests(&stage), vec![object["digest_new"].clone(); 3]);
    assert!(fs::read_to_string(&own).unwrap().starts_with("self = \"b\"\n"));
    assert!(NAMES.iter().all(|name| !stage.nodes.path(name).join("mirror.toml.new").exists()));
}

#[test]
fn a_node_that_leaves_gets_the_list_too_and_one_that_joins_is_named_while_it_is_away() {
    let stage = Served::new();
    let list = stage.nodes.list();
    let without_c = |list: &str| {
        let list = list.replace("brain = [\"a\", \"b\", \"c\"]", "brain = [\"a\", \"b\"]");
        let list = list.replace("bot = [\"b\", \"c\", \"a\"]", "bot = [\"a\", \"b\"]");
        list.lines().filter(|line| !line.starts_with("c = ")).map(|line| format!("{line}\n")).collect::<String>()
    };
    let new = without_c(&list).replace("[nodes]\n", "[nodes]\nd = { address = \"127.0.0.1\", port = 1 }\n");
    fs::write(stage.nodes.path("new.toml"), &new).unwrap();
    let object = rollout(&stage, "").expect(3, "partial");
    let changes: Vec<&str> = object["changes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for told in [
        "nodes.d is new: ",
        "nodes.c goes: ",
        "chains.bot is [\"a\",\"b\"]; before, ",
        "bot runs on b and moves to a: ",
    ] {
        assert!(changes.iter().any(|change| change.starts_with(told)), "{told}: {changes:?}");
    }
    for name in NAMES {
        assert_eq!(node(&object, name)["outcome"], "done", "{object:#}");
    }
    assert_eq!(node(&object, "d")["outcome"], "not-reached", "{object:#}");
    for name in ["a", "b"] {
        assert_eq!(stage.nodes.on(name, "chain show").expect(0, "shown")["digest"], object["digest_new"]);
    }
}

#[test]
fn a_node_that_is_away_is_named_and_gets_it_later() {
    let stage = Served::new();
    write(&stage, LONGER.0, LONGER.1);
    let keys = stage.nodes.servers[2].path().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    let object = rollout(&stage, "").expect(3, "partial");
    let (a, c) = (node(&object, "a"), node(&object, "c"));
    assert_eq!((&a["step"], &a["outcome"]), (&json!("switch"), &json!("done")), "{object:#}");
    assert_eq!((&c["step"], &c["outcome"]), (&json!("stage"), &json!("not-reached")), "{object:#}");
    assert!(object["reason"].as_str().unwrap().contains("not c: run this again"), "{object:#}");
    fs::write(&keys, key).unwrap();
    let object = rollout(&stage, "").expect(0, "rolled-out");
    assert_eq!(digests(&stage), vec![object["digest_new"].clone(); 3]);
}

#[test]
fn a_node_that_hangs_takes_no_time_from_the_others_and_no_brain_goes_ahead_alone() {
    let stage = Served::new();
    write(&stage, LONGER.0, LONGER.1);
    let within = |time: &str| stage.nodes.network.run(&format!("rollout new.toml --within {time}"));
    // Its kernel goes on accepting connections, so a probe takes it for alive.
    stage.nodes.servers[2].freeze();
    let object = within("10s").expect(3, "partial");
    stage.nodes.servers[2].thaw();
    assert_eq!(node(&object, "c")["outcome"], "not-reached", "{object:#}");
    for name in ["a", "b"] {
        let of = node(&object, name);
        assert_eq!((&of["step"], &of["outcome"]), (&json!("switch"), &json!("done")), "{object:#}");
    }
    // Nobody but the brain can be reached.
    write(&stage, LONGER.0, "recovery = \"62s\"");
    let before = digests(&stage);
    stage.nodes.servers[1..].iter().for_each(|server| server.freeze());
    let object = within("5s").expect(3, "partial");
    stage.nodes.servers[1..].iter().for_each(|server| server.thaw());
    assert_eq!(node(&object, "a")["step"], "stage", "{object:#}");
    assert!(
        object["reason"].as_str().unwrap().starts_with("0 of 3 nodes have the new list; not a, b, c"),
        "{object:#}"
    );
    assert_eq!(digests(&stage), before);
}

#[test]
fn a_list_that_loses_what_runs_or_that_a_node_cannot_take_is_refused_everywhere() {
    let stage = Served::new();
    let before = digests(&stage);
    write(&stage, "bot = [\"b\", \"c\", \"a\"]", "bot = [\"c\", \"a\"]");
    let object = rollout(&stage, "").expect(1, "refused");
    assert_eq!(object["problems"].as_array().unwrap().iter().filter(|p| p["code"] == "still-serving").count(), 1);
    assert!(object["reason"].as_str().unwrap().contains("bot runs on b"), "{object:#}");
    // One that is unsound, and one that a node cannot take.
    write(&stage, "brain = [\"a\", \"b\", \"c\"]", "brain = [\"a\", \"x\"]");
    rollout(&stage, "").expect(1, "refused");
    write(&stage, LONGER.0, LONGER.1);
    fs::remove_file(stage.nodes.path("c").join("bin/mirror")).unwrap();
    let object = rollout(&stage, "").expect(1, "refused");
    assert_eq!(node(&object, "c")["outcome"], "refused", "{object:#}");
    stage.nodes.install("c", &format!("exec {} \"$@\"", crate::support::mirror::MIRROR));
    assert_eq!(digests(&stage), before);
}
