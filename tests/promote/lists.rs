//! Node lists that change while the service runs.

use super::{Stage, only, steps};

/// Nodes that know themselves by their port, whatever the list calls them.
fn stage() -> Stage {
    let stage = Stage::new("timeout = \"5s\"");
    stage.network.rewrite(&list(&stage));
    stage
}

fn list(stage: &Stage) -> String {
    stage.node_list("timeout = \"5s\"").replace("NODE={node}", "NODE={port}")
}

fn port(stage: &Stage, node: usize) -> String {
    stage.ports[node].number().to_string()
}

/// The list without its first node, which ran the service.
fn shortened(stage: &Stage) -> String {
    let kept = list(stage).replace("[\"a\", \"b\", \"c\"]", "[\"b\", \"c\"]");
    kept.lines().filter(|line| !line.starts_with("a = ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_node_that_was_taken_from_the_list_is_still_asked_to_stop() {
    let stage = stage();
    stage.promote("").expect(0, "started");
    stage.network.rewrite(&shortened(&stage));
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(steps(&object), ["stop a confirmed", "start b confirmed"]);
    assert_eq!((only(&object)["fencing"].as_str(), stage.bot.runs_on()), (Some("confirmed"), vec![port(&stage, 1)]));
    stage.promote("").expect(0, "in-place");
}

#[test]
fn where_it_cannot_be_asked_nothing_is_started_until_a_person_says_so() {
    let stage = stage();
    stage.promote("").expect(0, "started");
    stage.network.rewrite(&shortened(&stage));
    for verb in ["status", "stop"] {
        stage.bot.before(verb, &port(&stage, 0), "exit 127");
    }
    for _ in 0..2 {
        let object = stage.promote("").expect(3, "blocked");
        let reason = only(&object)["reason"].as_str().unwrap();
        assert!(reason.contains("promote bot --forget a") && reason.contains("program-missing"), "{reason}");
    }
    assert_eq!(stage.bot.runs_on(), [port(&stage, 0)]);
    assert!(stage.promote("--forget nobody").expect_misuse().contains("nobody"));
    stage.bot.crash(&port(&stage, 0));
    stage.promote("--forget a").expect(0, "started");
    assert_eq!(stage.bot.runs_on(), [port(&stage, 1)]);
}

#[test]
fn a_renamed_node_is_the_same_node() {
    let stage = stage();
    stage.promote("").expect(0, "started");
    let acts = stage.bot.acts();
    let renamed = list(&stage).replace("a = {", "z = {").replace("\"a\"", "\"z\"");
    stage.network.rewrite(&renamed);
    let object = stage.promote("").expect(0, "in-place");
    assert_eq!((only(&object)["target"].as_str(), stage.bot.acts()), (Some("z"), acts));
}

#[test]
fn a_node_that_moved_is_stopped_at_its_former_address() {
    let stage = stage();
    stage.promote("").expect(0, "started");
    let elsewhere = crate::support::sockets::Port::silent();
    let moved = list(&stage).replace(&format!("port = {}", port(&stage, 0)), &format!("port = {}", elsewhere.number()));
    stage.network.rewrite(&moved);
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(steps(&object), ["stop a-before confirmed", "start a confirmed"]);
    assert_eq!(stage.bot.runs_on(), [elsewhere.number().to_string()]);
}
