//! Nodes that answer a probe and not a question.

use serde_json::{Value, json};

use super::failures::history;
use super::{Stage, only, steps};

/// The step of a node that did not answer.
fn silence<'a>(object: &'a Value, node: &str) -> &'a Value {
    let steps = only(object)["steps"].as_array().unwrap();
    steps.iter().find(|step| step["node"] == node).unwrap_or_else(|| panic!("no step of {node}: {object:#}"))
}

#[test]
fn a_silent_node_that_did_not_run_it_is_passed_over() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.promote("").expect(0, "started");
    stage.bot.before("status", "b", "echo not today >&2; exit 127");
    stage.bot.before("start", "a", "exit 1");
    stage.bot.crash("a");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["fencing"]), (&json!("c"), &json!("none")));
    let step = silence(&object, "b");
    assert_eq!(
        (&step["step"], &step["outcome"], &step["cause"]),
        (&json!("status"), &json!("unconfirmed"), &json!("program-missing"))
    );
    let reason = only(&object)["reason"].as_str().unwrap();
    assert!(reason.contains("b did not say") && reason.contains("not today"), "{reason}");
    assert_eq!(stage.bot.runs_on(), ["c"]);
    // Nor does it block what is in place, at every further look: `--to` asks all nodes.
    for _ in 0..3 {
        stage.promote("--to c").expect(0, "in-place");
    }
    assert_eq!(stage.bot.count("stop b"), 0);
}

#[test]
fn a_silent_node_that_ran_it_last_blocks() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.promote("").expect(0, "started");
    stage.bot.before("status", "a", "exit 127");
    stage.bot.before("stop", "a", "exit 127");
    let object = stage.promote("").expect(3, "blocked");
    assert_eq!(silence(&object, "a")["cause"], "program-missing");
    assert!(only(&object)["reason"].as_str().unwrap().contains("program-missing"), "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

#[test]
fn a_node_that_never_answered_blocks_nothing_once_it_runs_elsewhere() {
    let stage = Stage::new("timeout = \"3s\"");
    for verb in ["status", "stop", "start"] {
        stage.bot.before(verb, "c", "exit 127");
    }
    stage.promote("").expect(3, "blocked");
    stage.bot.start_on("a");
    stage.promote("").expect(3, "blocked");
    stage.promote("").expect(0, "in-place");
    stage.bot.before("start", "a", "exit 1");
    stage.bot.crash("a");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["fencing"]), (&json!("b"), &json!("none")));
}

#[test]
fn a_block_that_lasts_is_one_entry_and_its_end_another() {
    let stage = Stage::new("timeout = \"2s\"");
    stage.bot.before("status", "b", "exit 127");
    stage.bot.before("stop", "b", "exit 127");
    for _ in 0..3 {
        stage.promote("").expect(3, "blocked");
    }
    let blocked = || history(&stage).iter().filter(|reason| reason.contains("b (")).count();
    assert_eq!(blocked(), 1, "{:?}", history(&stage));
    stage.bot.start_on("a");
    stage.bot.before("status", "b", "");
    stage.promote("").expect(0, "in-place");
    let last = history(&stage).pop().unwrap();
    assert!(last.contains("no longer blocked"), "{last}");
    stage.promote("").expect(0, "in-place");
    assert_eq!(history(&stage).pop().unwrap(), last);
}

#[test]
fn a_node_that_said_nothing_and_then_stopped_ran_nothing() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.bot.start_on("a");
    stage.bot.before("status", "c", "[ -e \"$dir/stopped\" ] || sleep 3600");
    stage.bot.before("stop", "c", ": >\"$dir/stopped\"");
    let object = stage.promote("").expect(0, "in-place");
    assert_eq!(steps(&object), ["stop c confirmed"]);
    assert_eq!(history(&stage), [""; 0]);
}

#[test]
fn after_nodes_have_come_back_it_is_looked_once_more() {
    let mut stage = Stage::new("failback = \"never\"");
    stage.promote("").expect(0, "started");
    stage.fall("a");
    stage.bot.crash("a");
    assert_eq!(only(&stage.promote("").expect(0, "moved"))["target"], "b");
    stage.rise("a");
    // As on the other side of a cut: it is just being started there.
    stage.bot.before("status", "b", "[ -e \"$dir/looked\" ] || { : >\"$dir/looked\"; exit 1; }");
    let acts = stage.bot.acts();
    stage.promote("").expect(0, "in-place");
    assert_eq!((stage.bot.runs_on(), stage.bot.acts()), (vec!["b".to_owned()], acts));
}
