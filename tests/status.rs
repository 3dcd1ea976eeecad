//! `mirror status` asks real nodes over a real ssh: a node that is down, one that lets nobody in, one with another
//! list, one whose clock is off.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};

use crate::support::mirror::{Said, node};
use crate::support::nodes::{NAMES, Served};

/// What the laptop sees.
fn status(stage: &Served, options: &str) -> Said {
    stage.nodes.network.run(&format!("status --within 60s {options}"))
}

fn codes(object: &Value) -> Vec<&str> {
    object["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn where_all_is_well_one_screen_says_so() {
    let stage = Served::new();
    let object = status(&stage, "").expect(0, "well");
    assert_eq!(codes(&object), [""; 0], "{object:#}");
    assert_eq!((&object["self"], &object["brain"]), (&json!(null), &json!("a")));
    let bot = &object["services"][0];
    assert_eq!((&bot["state"], &bot["node"], &bot["target"]), (&json!("running"), &json!("b"), &json!("b")), "{bot:#}");
    assert_eq!((&bot["running_on"], &bot["unknown_on"]), (&json!(["b"]), &json!([])));
    assert_eq!((&bot["last_check"]["node"], &bot["last_check"]["verdict"]), (&json!("a"), &json!("started")));
    assert!(bot["since"].as_str().unwrap() <= object["at"].as_str().unwrap(), "{bot:#}");
    for name in NAMES {
        let node = node(&object, name);
        assert_eq!(
            (&node["state"], &node["answered"], &node["at_work"]),
            (&json!("alive"), &json!(true), &json!("yes"))
        );
        assert_eq!((&node["digest"], &node["digest_equal"]), (&object["digest"], &json!(true)));
        assert_eq!((&node["version"], &node["cause"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(null)));
        assert_eq!(node["beat"]["brain"], "a");
        let server = &stage.nodes.servers[NAMES.iter().position(|other| *other == name).unwrap()];
        assert!(server.logins() >= 1, "{name}");
    }
    // The same from a node, and what a node knows alone.
    assert_eq!(stage.nodes.on("c", "status --within 60s").expect(0, "well")["services"][0]["node"], "b");
    let here = stage.nodes.on("b", "status --here").expect(0, "well");
    assert_eq!((&here["here"]["node"], &here["here"]["services"][0]["condition"]), (&json!("b"), &json!("running")));
    assert_eq!(here["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn the_text_fits_80_columns_and_has_no_colour_in_a_file() {
    let stage = Served::new();
    let said = status(&stage, "--text");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.starts_with("All is well: bot runs on b; a is the brain.\n"), "{}", said.stdout);
    assert!(
        !said.stdout.contains('\x1b') && said.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        said.stdout
    );
    for words in ["  bot      b ", "*  a  ", "same"] {
        assert!(said.stdout.contains(words), "{words:?} in\n{}", said.stdout);
    }
    assert_eq!(status(&stage, "--quiet").stdout, "");
    stage.nodes.network.run("status --text --json").expect_misuse();
}

#[test]
fn a_node_that_is_down_is_wrong_and_one_that_lets_nobody_in_is_unknown() {
    let mut stage = Served::new();
    fs::write(stage.nodes.servers[2].path().join("authorized_keys"), "").unwrap();
    let object = status(&stage, "").expect(3, "unknown");
    let silent = node(&object, "c");
    assert_eq!((&silent["state"], &silent["answered"]), (&json!("alive"), &json!(false)), "{silent:#}");
    assert_eq!((&silent["cause"], &silent["at_work"]), (&json!("not-reached"), &json!("unasked")), "{silent:#}");
    assert!(silent["detail"].as_str().unwrap().contains("Permission denied"), "{silent:#}");
    assert!([&silent["beat"], &silent["version"], &silent["digest_equal"]].iter().all(|fact| fact.is_null()));
    assert_eq!(codes(&object), ["node-silent"]);
    assert_eq!(object["services"][0]["unknown_on"], json!(["c"]));
    assert_eq!(object["services"][0]["node"], "b");
    let text = status(&stage, "--text").stdout;
    assert!(text.contains("unknown  not-reached") && text.lines().all(|line| line.chars().count() <= 80), "{text}");

    stage.nodes.servers[2].kill();
    let object = status(&stage, "").expect(1, "unwell");
    let dead = node(&object, "c");
    assert_eq!((&dead["state"], &dead["cause"]), (&json!("dead"), &json!("refused")), "{dead:#}");
    assert_eq!(codes(&object), ["node-dead"]);
}

#[test]
fn a_service_that_runs_nowhere_or_twice_is_wrong() {
    let stage = Served::new();
    stage.bot.start_on("c");
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!((&object["services"][0]["state"], &codes(&object)), (&json!("several"), &vec!["service-several"]));
    stage.bot.crash("b");
    stage.bot.crash("c");
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!((&object["services"][0]["state"], &codes(&object)), (&json!("stopped"), &vec!["service-stopped"]));
    assert_eq!((&object["services"][0]["node"], &object["services"][0]["since"]), (&json!(null), &json!(null)));
}

#[test]
fn another_list_an_idle_node_and_a_clock_that_is_off_are_wrong() {
    let stage = Served::new();
    stage.nodes.edit("b", "recovery = \"60s\"", "recovery = \"61s\"");
    fs::remove_dir_all(stage.nodes.path("c").join("state")).unwrap();
    stage.nodes.set_clock_ahead("a");
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!(codes(&object), ["clock-off", "lists-differ", "not-at-work"], "{object:#}");
    assert_eq!(node(&object, "b")["digest_equal"], false);
    assert_eq!((&node(&object, "c")["at_work"], &node(&object, "c")["beat"]), (&json!("no"), &json!(null)));
    let offset = node(&object, "a")["clock_offset_ms"].as_f64().unwrap();
    assert!((3_400_000.0..3_700_000.0).contains(&offset), "{offset}");
}

#[test]
fn a_laptop_with_an_old_list_is_told_so_once() {
    let stage = Served::new();
    stage.nodes.edit(".", "recovery = \"60s\"", "recovery = \"61s\"");
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!(codes(&object), ["lists-differ"], "{object:#}");
    let message = object["warnings"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the nodes have another node list than this machine") && message.ends_with("mirror.toml")
    );
}

#[test]
fn a_node_without_mirror_or_with_a_list_it_cannot_use_is_named() {
    let stage = Served::new();
    fs::remove_file(stage.nodes.path("c").join("bin/mirror")).unwrap();
    fs::write(stage.nodes.path("b").join("mirror.toml"), "nonsense = 1\n").unwrap();
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!((&node(&object, "b")["cause"], &node(&object, "c")["cause"]), (&json!("unusable"), &json!("no-mirror")));
    let mut found = codes(&object);
    found.sort_unstable();
    assert_eq!(found, ["node-silent", "node-unusable", "service-unknown"], "{object:#}");
    // What the brain saw in its last check is the best there is.
    assert_eq!((&object["services"][0]["state"], &object["services"][0]["node"]), (&json!("unknown"), &json!("b")));
}

#[test]
fn cool_downs_pauses_and_a_breath_in_conflict_are_shown() {
    let stage = Served::new();
    stage.breath_conflicts_on("b");
    stage.bot.crash("b");
    stage.bot.before("start", "b", "echo no room >&2; exit 1");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    stage.nodes.on("a", "pause --why disk").expect(0, "paused");
    let object = status(&stage, "").expect(1, "unwell");
    assert_eq!(codes(&object), ["cool-down", "breath-conflict"], "{object:#}");
    let down = &object["cooldowns"][0];
    assert_eq!(
        (&down["service"], &down["node"], &down["failures"]),
        (&json!("bot"), &json!("b"), &json!(1)),
        "{down:#}"
    );
    assert!(down["until"].as_str().unwrap() > down["since"].as_str().unwrap());
    assert_eq!((&object["services"][0]["node"], &object["services"][0]["target"]), (&json!("c"), &json!("c")));
    assert_eq!(
        (&object["pauses"][0]["why"], &object["pauses"][0]["seen_by"]),
        (&json!("disk"), &json!(["a", "b", "c"]))
    );
    assert_eq!(object["services"][0]["paused"]["why"], "disk");
    assert_eq!(object["breath"]["conflicts"], json!(["b"]));
    let breath = &node(&object, "b")["breath"];
    assert_eq!((&breath["ahead"], &breath["behind"], &breath["verdict"]), (&json!(1), &json!(1), &json!("conflict")));
    assert!(breath["last_in_step"].is_string() && breath["head"].is_string(), "{breath:#}");
    let history = stage.nodes.on("b", "history").expect(0, "listed");
    let events = history["entries"].as_array().unwrap().iter().map(|entry| &entry["event"]);
    assert!(events.collect::<Vec<_>>().ends_with(&[&json!("breath"), &json!("pause")]), "{history:#}");
}

#[test]
fn a_plugin_a_page_and_a_watch_say_the_same() {
    let stage = Served::new();
    let said = status(&stage, "--nagios");
    assert_eq!((said.status, said.stdout.lines().count()), (0, 1), "{said:?}");
    assert!(
        said.stdout.starts_with(
            "MIRROR OK - All is well: bot runs on b; a is the brain. | services_running=1;;;0;1 nodes_alive=3;;;0;3 "
        ),
        "{said:?}"
    );
    // Each time a line where stdout is no terminal, until a signal.
    let script = "\"$MIRROR\" status --within 60s --watch 10ms >watched & pid=$!; \
                  until [ \"$(wc -l <watched)\" -ge 2 ]; do sleep 0.1; done; kill $pid; cat watched";
    let watched = stage.nodes.network.shell(script).stdout;
    assert!(watched.lines().all(|line| line.ends_with("Z All is well: bot runs on b; a is the brain.")), "{watched}");
    stage.bot.crash("b");
    stage.bot.before("start", "b", "echo '<script>alert(1)</script>' >&2; exit 1");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    let said = status(&stage, "--nagios --html page.html");
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stdout.starts_with("MIRROR WARNING - 1 problem; bot runs on c; a is the brain."), "{said:?}");
    let page = fs::read_to_string(stage.nodes.path("page.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://") && page.contains("Outage"), "{page}");
    stage.bot.crash("c");
    let said = status(&stage, "--nagios");
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stdout.starts_with("MIRROR CRITICAL - "), "{said:?}");
    stage.nodes.network.run("status --watch --here").expect_misuse();
}
