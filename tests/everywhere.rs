//! What is asked of all nodes at once over a real ssh: who sees whom, and what happened on any of them.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};

use crate::support::mirror::Said;
use crate::support::nodes::Served;

fn lines(said: &Said) -> Vec<Value> {
    said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// As `event node verdict`.
fn told(events: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    events.iter().map(|e| format!("{} {} {}", word(&e["event"]), word(&e["node"]), word(&e["verdict"]))).collect()
}

fn history(stage: &Served, options: &str) -> Said {
    stage.nodes.network.run(&format!("history --all --within 60s {options}"))
}

#[test]
fn the_histories_of_all_nodes_are_one_time_line_with_the_outage() {
    let stage = Served::new();
    stage.bot.crash("b");
    stage.bot.before("start", "b", "exit 1");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    stage.nodes.on("c", "pause --why disk").expect(0, "paused");
    let said = history(&stage, "");
    assert_eq!(said.status, 0, "{said:?}");
    let events = lines(&said);
    let expected = ["brain a -", "promote b started", "promote c moved", "pause - -"];
    let mut found = told(&events);
    // Each node saw the same brain, and it is told once.
    assert_eq!(found.iter().filter(|event| *event == "brain a -").count(), 1, "{found:?}");
    found.sort_by_key(|event| expected.iter().position(|other| other == event));
    assert_eq!(found, expected, "{events:#?}");
    let brain = events.iter().find(|event| event["event"] == "brain").unwrap();
    assert_eq!(brain["seen_by"], json!(["a", "b", "c"]));
    let moved = events.iter().find(|event| event["verdict"] == "moved").unwrap();
    assert!(moved["outage_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{moved:#}");
    assert_eq!((&moved["schema"], &moved["clock_corrected_ms"]), (&json!("mirror.event/1"), &json!(null)));
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let text = history(&stage, "--text").stdout;
    assert!(text.contains(" Outage ") && text.contains("a,b,c"), "{text}");
    // Of one service, and of a time that is to come.
    assert!(lines(&history(&stage, "--service bot --last 2")).len() == 2);
    assert_eq!(history(&stage, "--since 2999-01-01").stdout, "");
    stage.nodes.network.run("history --since soon").expect_misuse();
    let schema = serde_json::from_str(&stage.nodes.network.run("schema event").stdout).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for event in &events {
        assert!(schema.is_valid(event), "{event:#}");
    }
}

#[test]
fn a_clock_that_is_off_is_corrected_and_a_node_that_is_silent_is_a_line() {
    let stage = Served::new();
    stage.nodes.on("b", "pause bot --why late").expect(0, "paused");
    stage.nodes.set_clock_ahead("b");
    fs::write(stage.nodes.servers[2].path().join("authorized_keys"), "").unwrap();
    let said = history(&stage, "");
    assert_eq!(said.status, 3, "{said:?}");
    let events = lines(&said);
    let pause = events.iter().find(|event| event["event"] == "pause").unwrap();
    let ahead = pause["clock_corrected_ms"].as_f64().unwrap();
    assert!((3_400_000.0..3_700_000.0).contains(&ahead), "{pause:#}");
    let unasked = events.iter().find(|event| event["event"] == "unasked").unwrap();
    assert_eq!((&unasked["node"], &unasked["verdict"]), (&json!("c"), &json!("not-reached")));
    let text = history(&stage, "--text");
    assert!(text.stdout.contains("ahead]") && text.stdout.contains("unknown c was not asked"), "{text:?}");
    assert_eq!(text.status, 3);
}

#[test]
fn who_sees_whom_is_a_grid_in_which_a_one_way_cut_stands_out() {
    let mut stage = Served::new();
    let said = stage.nodes.network.run("probe --from all --within 60s");
    let object = said.expect(0, "alive");
    let rows = object["matrix"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| &row["from"]).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(rows.iter().all(|row| row["sees"].as_array().unwrap().iter().all(|cell| cell["state"] == "alive")));
    assert_eq!(object["one_way"], json!([]));
    // The way from b to a is cut: b asks a port of a where nobody listens.
    let a = format!("a = {}", stage.nodes.servers[0].node());
    let closed = a.replace(" }", ", probe = { port = 1 } }");
    stage.nodes.edit("b", &a, &closed);
    let object = stage.nodes.network.run("probe --from all --within 60s").expect(1, "dead");
    assert_eq!(object["one_way"], json!([{ "from": "b", "to": "a" }]), "{object:#}");
    assert_eq!(object["matrix"][1]["digest_equal"], false);
    stage.nodes.servers[2].kill();
    let text = stage.nodes.network.run("probe --from all --within 60s --text");
    assert_eq!(text.status, 1);
    let cells = |from: &str| -> Vec<String> {
        let line = text.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{from}  "))).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(cells("a"), ["a", "·", "ok", "DEAD"], "{}", text.stdout);
    assert_eq!(cells("b"), ["b", "CUT", "·", "DEAD"], "{}", text.stdout);
    assert_eq!(cells("c"), ["c", "?", "?", "?"], "{}", text.stdout);
    assert!(text.stdout.lines().skip(1).all(|line| line.chars().count() <= 80), "{}", text.stdout);
    // From some alone, and from here.
    let object = stage.nodes.on("a", "probe b --from a,b --within 60s").expect(0, "alive");
    assert_eq!(object["matrix"][0]["sees"][0]["state"], "alive");
    stage.nodes.network.run("probe --from nobody").expect_misuse();
}
