//! `mirror pause`, `mirror resume` and `mirror history`, and what `promote` makes of a pause.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

use crate::support::mirror::{Network, Said, run};
use crate::support::service::{Bot, LOCAL};
use crate::support::sockets::Port;

mod everywhere;

/// Two living nodes that are both this machine, and a service; every node has a state of its own.
struct Field {
    network: Network,
    bot: Bot,
    nodes: [Port; 2],
}

const LEASE: &str = r#"lease = { store = "file", path = "lease", valid = "4s", grace = "1s" }"#;

impl Field {
    fn new(lease: &str) -> Self {
        let nodes = [(); 2].map(|()| Port::silent());
        let [a, b] = nodes.each_ref().map(Port::number);
        let bot = Bot::new();
        let network = Network::new(&format!(
            r#"
            {lease}
            [nodes]
            a = {{ address = "127.0.0.1", port = {a} }}
            b = {{ address = "127.0.0.1", port = {b} }}
            [chains]
            brain = ["a", "b"]
            bot = ["a", "b"]
            [probe]
            timeout = "10s"
            [remote]
            command = {LOCAL}
            [services.bot]
            {}
            timeout = "30s"
            failback = "always"
            [services.web]
            chain = "bot"
            status = "false"
            start = "false"
            stop = "true"
            "#,
            bot.commands()
        ));
        std::fs::create_dir(network.path().join("lease")).unwrap();
        Self { network, bot, nodes }
    }

    /// `mirror` as this node, with its own state; on the own node commands run without the template.
    fn on(&self, node: &str, words: &str) -> Said {
        let mut command: Command = self.network.mirror(["--self", node]);
        command.args(words.split_whitespace());
        command.env("STATE_DIRECTORY", self.network.path().join(format!("state-{node}"))).env("NODE", node);
        run(command)
    }
}

fn services(object: &Value) -> Vec<String> {
    let paused = object["paused"].as_array().unwrap();
    paused.iter().map(|paused| paused["service"].as_str().unwrap_or("all").to_owned()).collect()
}

#[test]
fn while_paused_nothing_is_started_moved_or_stopped() {
    let field = Field::new("");
    let object = field.on("a", "pause bot --why disks").expect(0, "paused");
    assert_eq!((object["where"].as_str(), services(&object)), (Some("node"), vec!["bot".to_owned()]), "{object:#}");
    let reason = |object: &Value| object["services"][0]["reason"].as_str().unwrap().to_owned();

    let object = field.on("a", "promote bot").expect(1, "paused");
    assert!(reason(&object).contains("by a: disks. Nothing was touched; after `mirror resume`: bot would be started"));
    field.on("a", "promote bot --to b").expect(1, "paused");
    field.on("a", "promote bot --dry-run").expect(1, "paused");
    // It runs on a worse node, and is not moved; and on two, and is not stopped.
    field.bot.start_on("b");
    field.on("a", "promote bot").expect(1, "paused");
    field.bot.start_on("a");
    field.on("a", "promote bot").expect(1, "paused");
    assert_eq!(field.bot.runs_on(), ["a", "b"]);
    // In place is in place.
    field.bot.crash("b");
    let object = field.on("a", "promote bot").expect(0, "in-place");
    assert!(reason(&object).starts_with("bot runs on a, and is paused since 20"), "{object:#}");
    assert_eq!(field.bot.count("start a") + field.bot.count("stop a") + field.bot.count("stop b"), 1, "only ours");

    field.bot.crash("a");
    field.on("a", "resume bot").expect(0, "resumed");
    field.on("a", "promote bot").expect(0, "started");
    assert_eq!(field.bot.runs_on(), ["a"]);
}

#[test]
fn with_a_lease_every_node_sees_it_and_without_one_only_the_node() {
    for (lease, place, elsewhere) in [(LEASE, "register", vec!["all".to_owned()]), ("", "node", vec![])] {
        let field = Field::new(lease);
        let object = field.on("a", "pause").expect(0, "paused");
        assert_eq!((object["where"].as_str(), object["changed"].as_bool()), (Some(place), Some(true)));
        let seen = |node| services(&field.on(node, "chain show --probe").expect(0, "shown"));
        assert_eq!((seen("a"), seen("b")), (vec!["all".to_owned()], elsewhere), "{place}");
        // What one node has read it knows without asking.
        let object = field.on("a", "chain show").expect(0, "shown");
        assert!(object["reason"].as_str().unwrap().starts_with("PAUSED: every service, paused since 20"), "{object:#}");
        let object = field.on("a", "pause").expect(0, "paused");
        assert_eq!(object["changed"], false);
        field.on("a", "resume").expect(0, "resumed");
        assert_eq!(services(&field.on("a", "chain show").expect(0, "shown")), [""; 0]);
        assert_eq!(field.on("a", "resume").expect(0, "resumed")["changed"], false);
    }
}

#[test]
fn one_service_is_paused_and_the_other_is_not() {
    let field = Field::new("");
    field.on("a", "pause web").expect(0, "paused");
    field.on("a", "promote bot").expect(0, "started");
    field.on("a", "promote web").expect(1, "paused");
    field.on("a", "pause bot").expect(0, "paused");
    field.on("a", "resume web").expect(0, "resumed");
    assert_eq!(services(&field.on("a", "chain show").expect(0, "shown")), ["bot"]);
    // All at once is another pause, which is not ended for one of them.
    field.on("a", "pause").expect(0, "paused");
    let object = field.on("a", "resume bot").expect(1, "refused");
    assert_eq!(services(&object), ["bot", "all"]);
    field.on("a", "resume").expect(0, "resumed");
    field.on("a", "pause nothing").expect_misuse();
    field.on("a", "resume nothing").expect_misuse();
}

#[test]
fn a_pause_outlives_an_arbiter_that_cannot_be_asked() {
    let field = Field::new(LEASE);
    field.on("a", "pause").expect(0, "paused");
    field.on("b", "chain show --probe").expect(0, "shown");
    std::fs::rename(field.network.path().join("lease"), field.network.path().join("away")).unwrap();
    for node in ["a", "b"] {
        assert_eq!(services(&field.on(node, "chain show --probe").expect(0, "shown")), ["all"], "{node}");
        let object = field.on(node, "promote bot").expect(3, "unknown");
        assert!(object["reason"].as_str().unwrap().contains("It is paused since"), "{object:#}");
    }
    // And nobody says that it was ended, or begun.
    let object = field.on("a", "resume").expect(3, "unknown");
    assert!(object["reason"].as_str().unwrap().contains("no such directory"), "{object:#}");
    field.on("a", "pause bot").expect(3, "unknown");
    assert_eq!(services(&field.on("a", "chain show").expect(0, "shown")), ["all"]);
}

#[test]
fn what_is_no_switch_is_not_written_over() {
    let field = Field::new(LEASE);
    std::fs::write(field.network.path().join("lease/_pause"), "something else\n").unwrap();
    let object = field.on("a", "pause").expect(3, "unknown");
    assert!(object["reason"].as_str().unwrap().contains("there is something else"), "{object:#}");
    assert_eq!(std::fs::read_to_string(field.network.path().join("lease/_pause")).unwrap(), "something else\n");
    // And what it is, nobody knows: it may be a pause.
    let object = field.on("b", "promote bot").expect(3, "unknown");
    assert!(object["reason"].as_str().unwrap().contains("is paused is unknown"), "{object:#}");
    let object = field.on("b", "chain show --probe").expect(0, "shown");
    assert!(object["reason"].as_str().unwrap().starts_with("UNKNOWN whether anything is paused"), "{object:#}");
    std::fs::remove_file(field.network.path().join("lease/_pause")).unwrap();
    field.on("b", "promote bot").expect(0, "started");
}

fn entries(field: &Field, words: &str) -> Vec<(String, String)> {
    let object = field.on("a", words).expect(0, "listed");
    let entries = object["entries"].as_array().unwrap().iter();
    let slug = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("-").to_owned();
    entries.map(|entry| (slug(entry, "event"), slug(entry, "verdict"))).collect()
}

#[test]
fn what_was_done_and_seen_is_in_the_history_and_what_was_not_is_not() {
    let field = Field::new("");
    assert_eq!(entries(&field, "history"), []);
    field.on("a", "promote bot --if-brain --why first").expect(0, "started");
    // Nothing new: the same brain, in place, and what is only thought of.
    field.on("a", "promote bot --if-brain").expect(0, "in-place");
    field.on("a", "promote bot --to b --dry-run").expect(0, "planned");
    field.on("a", "whois-brain").expect(0, "known");
    field.on("a", "promote bot --to b").expect(0, "moved");
    field.on("a", "pause --why maintenance").expect(0, "paused");
    field.on("a", "pause").expect(0, "paused");
    field.on("a", "promote bot").expect(1, "paused");
    field.on("a", "resume").expect(0, "resumed");
    // A try that fails again and again is written down once.
    for _ in 0..3 {
        field.on("a", "promote web").expect(1, "failed");
    }
    let wanted = [
        ("brain", "-"),
        ("promote", "started"),
        ("promote", "moved"),
        ("pause", "-"),
        ("resume", "-"),
        ("promote", "failed"),
    ]
    .map(|(event, verdict)| (event.to_owned(), verdict.to_owned()));
    assert_eq!(entries(&field, "history"), wanted);
    assert_eq!(entries(&field, "history -n 2"), wanted[4..]);
    assert_eq!(entries(&field, "history --last 0"), []);
    let object = field.on("a", "history").expect(0, "listed");
    assert_eq!(
        (object["entries"][1]["why"].as_str(), object["entries"][1]["node"].as_str()),
        (Some("first"), Some("a"))
    );
    assert_eq!(object["entries"][3]["why"], "maintenance");
}

#[test]
fn who_died_and_what_became_of_a_lease_is_in_the_history() {
    let mut field = Field::new(LEASE);
    field.on("a", "promote bot").expect(0, "started");
    let last = |field: &Field, number: usize| {
        let object = field.on("a", &format!("history --last {number}")).expect(0, "listed");
        let told = |entry: &Value| {
            let part = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", part("event"), part("node"), part("verdict"), entry["epoch"])
        };
        object["entries"].as_array().unwrap().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(last(&field, 9), ["lease a claimed 1", "lease a granted 1", "promote a started 1"]);
    // Another brain moved it.
    field.on("b", "promote bot --to b --why tidy").expect(0, "moved");
    field.on("a", "lease check bot").expect(1, "other");
    assert_eq!(last(&field, 1), ["lease b granted 2"]);
    let object = field.on("a", "history --last 1").expect(0, "listed");
    assert_eq!(object["entries"][0]["why"], "tidy", "{object:#}");
    field.nodes[1].refuse();
    for _ in 0..2 {
        field.on("a", "promote bot --dry-run").expect(0, "planned");
    }
    assert_eq!(last(&field, 1), ["lease b granted 2"]);
    field.on("a", "promote bot").expect(0, "moved");
    assert_eq!(last(&field, 4)[0], "node b dead null");
    field.nodes[1].listen();
    field.on("a", "promote bot --to b").expect(0, "moved");
    assert_eq!(last(&field, 4)[0], "node b alive null");
}
