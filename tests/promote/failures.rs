//! Starts that fail, and starts that do not last.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Stage, only, steps};
use crate::support::wait_for;

fn cooldowns(object: &Value) -> Vec<(String, u64)> {
    let all = only(object)["cooldowns"].as_array().unwrap().iter();
    all.map(|cooldown| (cooldown["node"].as_str().unwrap().to_owned(), cooldown["failures"].as_u64().unwrap()))
        .collect()
}

/// How long a node is passed over.
fn length(object: &Value) -> Duration {
    let time = |key: &str| humantime::parse_rfc3339(only(object)["cooldowns"][0][key].as_str().unwrap()).unwrap();
    time("until").duration_since(time("since")).unwrap()
}

/// The reasons in the history, the oldest first.
pub(super) fn history(stage: &Stage) -> Vec<String> {
    let object = stage.network.run("history").json();
    let entries = object["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_service_that_does_not_last_is_taken_elsewhere() {
    let stage = Stage::new("failback = \"1m\"");
    stage.promote("").expect(0, "started");
    for _ in 0..3 {
        stage.bot.crash("a");
        let object = stage.promote("").expect(0, "started");
        assert_eq!((only(&object)["target"].as_str(), cooldowns(&object).len()), (Some("a"), 0), "{object:#}");
    }
    stage.bot.crash("a");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(only(&object)["target"], "b", "{object:#}");
    assert_eq!(cooldowns(&object), [("a".to_owned(), 1)]);
    assert_eq!(length(&object), Duration::from_secs(60));
    let until = only(&object)["cooldowns"][0]["until"].as_str().unwrap();
    let reason = only(&object)["reason"].as_str().unwrap();
    assert!(reason.contains("found dead 4 times within 5m") && reason.contains(until), "{reason}");
    assert!(history(&stage).iter().any(|reason| reason.contains(until)), "{:?}", history(&stage));
    // It stays there.
    stage.promote("").expect(0, "in-place");
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

#[test]
fn restarts_and_window_are_the_operators() {
    let stage = Stage::new("restarts = 0");
    stage.promote("").expect(0, "started");
    stage.bot.crash("a");
    assert_eq!(only(&stage.promote("").expect(0, "moved"))["target"], "b");
    let stage = Stage::new("restarts = 1\nwindow = \"50ms\"");
    stage.promote("").expect(0, "started");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(50));
        stage.bot.crash("a");
        assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "a");
    }
}

#[test]
fn a_healthy_instance_is_not_stopped_for_a_node_that_cools_down() {
    let stage = Stage::new("failback = \"1500ms\"");
    stage.bot.before("start", "a", "echo no room >&2; exit 1");
    let first = stage.promote("").expect(0, "started");
    assert_eq!((only(&first)["target"].as_str(), length(&first)), (Some("b"), Duration::from_millis(1500)));
    // Once the time has passed it is tried again, and then passed over for twice as long.
    let second = wait_for("it is tried again", || {
        let object = stage.promote("").json();
        (object["verdict"] != "in-place").then_some(object)
    });
    assert_eq!((second["verdict"].as_str(), cooldowns(&second)), (Some("started"), vec![("a".to_owned(), 2)]));
    assert_eq!(length(&second), Duration::from_secs(3));
    assert_eq!(stage.bot.runs_on(), ["b"]);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(2000) {
        stage.promote("").expect(0, "in-place");
    }
    assert_eq!((stage.bot.count("start a"), stage.bot.count("stop b")), (2, 1), "{}", stage.bot.log());
}

#[test]
fn a_person_ends_a_cooldown() {
    let stage = Stage::new("");
    stage.bot.before("start", "a", "exit 1");
    stage.promote("").expect(0, "started");
    stage.bot.before("start", "a", "");
    let object = stage.promote("--to a").expect(0, "moved");
    assert_eq!((stage.bot.runs_on(), cooldowns(&object).len()), (vec!["a".to_owned()], 0));
    stage.promote("").expect(0, "in-place");
}

#[test]
fn the_first_line_of_what_went_wrong_is_told() {
    let stage = Stage::new("");
    stage.bot.before("start", "a", "echo no room >&2; echo usage: bot >&2; exit 1");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(only(&object)["steps"][0]["detail"], json!("exit status 1: no room"));
    assert_eq!(only(&object)["cooldowns"][0]["why"], json!("exit status 1: no room"));
}

#[test]
fn what_can_run_nowhere_is_tried_again_ever_more_rarely() {
    let stage = Stage::new("");
    stage.network.rewrite(&stage.node_list("").replace("[cycle]\n", "[cycle]\ncheck = \"400ms\"\n"));
    for node in ["a", "b", "c"] {
        stage.bot.before("start", node, "exit 1");
    }
    let mut tries: Vec<(Instant, Instant)> = Vec::new();
    while tries.len() < 5 {
        let begun = Instant::now();
        let object = stage.promote("").expect(1, "failed");
        if steps(&object).is_empty() {
            assert!(object["reason"].as_str().unwrap().contains("tried again at "), "{object:#}");
        } else {
            tries.push((begun, Instant::now()));
        }
    }
    // The second one comes at once; from then on each pause is twice as long.
    let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1].1 - pair[0].0).collect();
    for (pause, least) in pauses[1..].iter().zip([400, 800, 1600]) {
        assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
    }
    // A living node that has not failed yet is tried at once.
    stage.bot.before("start", "b", "");
    assert_eq!(only(&stage.promote("--to b").expect(0, "started"))["target"], "b");
}
