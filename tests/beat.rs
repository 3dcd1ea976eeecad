//! Who is at work, on nodes that are reached by a real ssh and a real sshd, each with a state of its own.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::mirror::{MIRROR, Network, Said, Started, node, run};
use crate::support::processes::signal;
use crate::support::sshd::{Client, Sshd};
use crate::support::unshare::with_mounts;
use crate::support::wait_for;
use rustix::process::Signal;
use serde_json::Value;

const NODES: [&str; 3] = ["a", "b", "c"];
/// A beat is fresh for 64 s, and a node is asked once in 30 s: however loaded the machine is, that is
/// long, and where it has to pass, it is made to.
const CYCLE: &str = "[cycle]\ncheck = \"30s\"\nsync = \"30s\"\n";

/// Three nodes, `a`, `b` and `c`, that lead in this order.
struct Field {
    client: Client,
    nodes: [Sshd; 3],
    network: Network,
}

impl Field {
    fn new() -> Self {
        let client = Client::new();
        let field = Self { nodes: NODES.map(|node| Sshd::named(&client, node)), network: Network::new(""), client };
        for node in NODES {
            std::fs::create_dir_all(field.bin(node)).unwrap();
            std::os::unix::fs::symlink(MIRROR, field.bin(node).join("mirror")).unwrap();
            field.write_list(node, &NODES);
        }
        field
    }

    fn bin(&self, node: &str) -> PathBuf {
        self.network.path().join("bin").join(node)
    }

    fn state(&self, node: &str) -> PathBuf {
        self.network.path().join("state").join(node)
    }

    fn list(&self, node: &str) -> PathBuf {
        self.network.path().join(format!("{node}.toml"))
    }

    /// Gives a node its list, with this brain chain.
    fn write_list(&self, node: &str, chain: &[&str]) {
        let dir = self.network.path().display();
        let there = format!(
            "export PATH={dir}/bin/{{node}}:$PATH MIRROR_SELF={{node}} MIRROR_CONFIG={dir}/{{node}}.toml \
             STATE_DIRECTORY={dir}/state/{{node}}; {{command}}"
        );
        let command = self.client.remote_command().replace("\"{command}\"", &serde_json::to_string(&there).unwrap());
        let nodes: String =
            NODES.iter().zip(&self.nodes).map(|(name, sshd)| format!("{name} = {}\n", sshd.node())).collect();
        let list = format!(
            "[nodes]\n{nodes}[chains]\nbrain = {chain:?}\n{CYCLE}[probe]\ntimeout = \"4s\"\n\
             [remote]\ncommand = {command}\n"
        );
        std::fs::write(self.list(node), list).unwrap();
    }

    fn command(&self, node: &str, words: &str) -> Command {
        let mut command = self.network.mirror(words.split_whitespace());
        command.env("MIRROR_SELF", node).env("MIRROR_CONFIG", self.list(node));
        command.env("STATE_DIRECTORY", self.state(node));
        command
    }

    fn on(&self, node: &str, words: &str) -> Said {
        run(self.command(node, words))
    }

    fn check(&self, node: &str) -> Said {
        self.on(node, "whois-brain --check")
    }

    /// Has so many seconds pass for a node: all that its state remembers was so much earlier.
    fn later_on(&self, node: &str, seconds: u64) {
        for name in ["beat.json", "watch.json"] {
            let path = self.state(node).join(name);
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let mut state: Value = serde_json::from_str(&text).unwrap();
            earlier(&mut state, seconds);
            std::fs::write(path, state.to_string()).unwrap();
        }
    }

    /// The same for all nodes.
    fn later(&self, seconds: u64) {
        for node in NODES {
            self.later_on(node, seconds);
        }
    }

    /// Has a node's checks followed each other for long enough to judge others by that.
    fn is_steady(&self, node: &str) {
        let path = self.state(node).join("beat.json");
        let mut beat: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        earlier(&mut beat["value"]["since"], 100);
        std::fs::write(path, beat.to_string()).unwrap();
    }

    /// All nodes check, one after another, and `a` leads; then this happens to `a`, and some time passes.
    fn strike(&self, trouble: &str) {
        self.check("a").expect(0, "self");
        self.check("b").expect(1, "other");
        self.check("c").expect(1, "other");
        self.is_steady("b");
        match trouble {
            "frozen" => self.nodes[0].freeze(),
            "refused" => std::fs::write(self.nodes[0].path().join("authorized_keys"), "").unwrap(),
            "no mirror" => std::fs::remove_file(self.bin("a").join("mirror")).unwrap(),
            _ => std::fs::write(self.list("a"), "[nodes\n").unwrap(),
        }
        self.later(40);
        // What was read of it is young enough.
        assert_eq!(self.check("b").expect(1, "other")["brain"], "a", "{trouble}");
        self.later(40);
    }
}

/// Moves every instant in a state back in time; an age is none.
fn earlier(state: &mut Value, seconds: u64) {
    match state {
        Value::Object(map) => {
            if let Some(since_boot) = map.get_mut("secs") {
                *since_boot = since_boot.as_u64().unwrap().saturating_sub(seconds).into();
            }
            map.iter_mut().filter(|(key, _)| *key != "age").for_each(|(_, value)| earlier(value, seconds));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| earlier(value, seconds)),
        _ => {}
    }
}

fn at_work<'a>(object: &'a Value, name: &str) -> &'a Value {
    &node(object, name)["at_work"]
}

fn codes(object: &Value) -> Vec<&str> {
    let warnings = object["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn a_check_leaves_a_beat() {
    let field = Field::new();
    let none = field.on("a", "beat").expect(1, "none");
    assert_eq!(none["beat"], Value::Null);
    assert_eq!(none["schema"], "mirror.beat/1");
    // A question that is no check leaves none.
    field.on("a", "whois-brain").expect(0, "known");
    field.on("a", "beat").expect(1, "none");

    field.check("a").expect(0, "self");
    let fresh = field.on("a", "beat").expect(0, "fresh");
    let beat = &fresh["beat"];
    assert_eq!((&beat["verdict"], &beat["brain"], &beat["node"]), (&"self".into(), &"a".into(), &"a".into()));
    assert_eq!(beat["digest"], field.on("a", "chain show").json()["digest"]);
    assert_eq!(beat["version"], env!("CARGO_PKG_VERSION"));
    assert!(beat["age_ms"].as_f64().unwrap() < 60_000.0, "{beat:#}");
    assert_eq!(field.on("a", "beat --quiet").stdout, "");

    field.later(100);
    let stale = field.on("a", "beat").expect(1, "stale");
    assert!(stale["beat"]["age_ms"].as_f64().unwrap() > 100_000.0, "{stale:#}");
    // One of an earlier boot is none.
    let path = field.state("a").join("beat.json");
    let mut beat: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    beat["boot"] = "another".into();
    std::fs::write(path, beat.to_string()).unwrap();
    field.on("a", "beat").expect(1, "none");
}

#[test]
fn a_brain_that_is_not_at_work_is_passed_over_and_gets_the_lead_back() {
    let field = Field::new();
    field.check("a").expect(0, "self");
    let object = field.check("b").expect(1, "other");
    assert_eq!((&object["brain"], at_work(&object, "a")), (&"a".into(), &"yes".into()), "{object:#}");

    // Its timer is stopped. The next one leads, says why, and is followed.
    field.later(40);
    assert_eq!(field.check("b").expect(1, "other")["brain"], "a");
    field.later(40);
    let object = field.check("b").expect(0, "self");
    assert_eq!(at_work(&object, "a"), "no", "{object:#}");
    assert!(object["reason"].as_str().unwrap().contains("a is alive but not at work"), "{object:#}");
    assert_eq!(codes(&object), ["passed-over"]);
    let history = field.on("b", "history").json();
    let last = history["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["event"], &last["node"]), (&"brain".into(), &"b".into()), "{history:#}");
    assert!(last["why"].as_str().unwrap().contains("its last check ended"), "{history:#}");
    assert_eq!(field.check("c").expect(1, "other")["brain"], "b");
    let shown = field.on("b", "chain show --probe").json();
    assert_eq!(shown["brain"], "b", "{shown:#}");
    assert!(shown["reason"].as_str().unwrap().contains("not at work"), "{shown:#}");

    // A question that is no check asks nobody, and uses what the last check has learned; nor does a
    // check before the time.
    let logins = field.nodes.each_ref().map(Sshd::logins);
    let quick = field.on("b", "whois-brain").expect(0, "known");
    assert_eq!((&quick["brain"], at_work(&quick, "a")), (&"b".into(), &"no".into()), "{quick:#}");
    field.check("b").expect(0, "self");
    field.check("c").expect(1, "other");
    assert_eq!(field.nodes.each_ref().map(Sshd::logins), logins);

    // Its timer runs again: it waits until the other one gives way, and then leads.
    let object = field.check("a").expect(1, "other");
    assert_eq!(object["brain"], "b", "{object:#}");
    assert!(object["reason"].as_str().unwrap().contains("only just begun"), "{object:#}");
    field.later(40);
    field.check("b").expect(0, "self");
    assert_eq!(field.check("b").expect(1, "other")["brain"], "a", "it has looked around");
    assert_eq!(field.check("a").expect(0, "self")["brain"], "a");
    assert_eq!(field.check("c").expect(1, "other")["brain"], "a");
}

#[test]
fn a_brain_that_has_not_begun_since_its_boot_is_passed_over_by_whom_works_for_long() {
    let field = Field::new();
    // Somebody tries the commands: alive is enough, and that is said.
    let object = field.check("b").expect(1, "other");
    assert_eq!((&object["brain"], &object["at_work"]), (&"a".into(), &"no".into()), "{object:#}");
    assert!(object["reason"].as_str().unwrap().contains("enough that a is alive"), "{object:#}");
    // A watchdog that has been at work for a while.
    field.is_steady("b");
    field.later(40);
    let object = field.check("b").expect(0, "self");
    assert!(object["reason"].as_str().unwrap().contains("finished no check since it booted"), "{object:#}");
}

#[test]
fn a_brain_whose_beat_nobody_can_read_is_passed_over() {
    for trouble in ["frozen", "refused", "no mirror", "typo"] {
        let field = Field::new();
        field.strike(trouble);
        let object = field.check("b").expect(0, "self");
        assert_eq!(at_work(&object, "a"), "no", "{trouble}: {object:#}");
        let reason = object["reason"].as_str().unwrap();
        assert!(reason.contains("by no other living node either"), "{trouble}: {object:#}");
    }
}

#[test]
fn a_brain_whose_beat_another_node_has_read_is_not_passed_over() {
    let field = Field::new();
    field.strike("refused");
    // c can still log in there.
    let path = field.state("c").join("watch.json");
    let mut watch: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    watch["value"]["nodes"]["a"]["beat"]["sighting"]["age"]["secs"] = 0.into();
    let read = &mut watch["value"]["nodes"]["a"]["beat"]["sighting"]["read"]["secs"];
    *read = (read.as_u64().unwrap() + 70).into();
    std::fs::write(path, watch.to_string()).unwrap();
    let object = field.check("b").expect(1, "other");
    assert_eq!((&object["brain"], at_work(&object, "a")), (&"a".into(), &"yes".into()), "{object:#}");
}

#[test]
fn who_can_log_in_nowhere_passes_nobody_over() {
    let field = Field::new();
    field.check("a").expect(0, "self");
    field.check("b").expect(1, "other");
    std::fs::write(field.client.path().join("known_hosts"), "").unwrap();
    field.is_steady("b");
    field.later(40);
    field.check("b").expect(1, "other");
    field.later(40);
    let object = field.check("b").expect(1, "other");
    assert_eq!(object["brain"], "a");
    assert_eq!(at_work(&object, "a"), "unasked", "{object:#}");
}

/// The begins and ends of troubles in a node's history.
fn troubles(field: &Field, node: &str) -> Vec<String> {
    let history = field.on(node, "history").json();
    let troubles = history["entries"].as_array().unwrap().iter().filter(|entry| entry["event"] == "trouble");
    troubles.map(|entry| entry["verdict"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_that_differ_are_told_of_when_it_begins_and_when_it_ends() {
    let field = Field::new();
    field.write_list("b", &["a", "c", "b"]);
    field.check("a").expect(0, "self");
    for _ in 0..3 {
        field.check("b").expect(1, "other");
        field.later(40);
        field.check("a").expect(0, "self");
    }
    assert_eq!(troubles(&field, "b"), ["lists-differ"]);
    field.write_list("b", &["a", "b", "c"]);
    field.check("b").expect(1, "other");
    assert_eq!(troubles(&field, "b"), ["lists-differ", "lists-differ-ended"]);
}

#[test]
fn of_two_that_lead_by_other_lists_the_smaller_digest_goes_on() {
    let field = Field::new();
    field.write_list("b", &["b", "a", "c"]);
    let digest = |node: &str| field.on(node, "chain show").json()["digest"].as_str().unwrap().to_owned();
    let (first, second) = if digest("a") < digest("b") { ("a", "b") } else { ("b", "a") };
    field.check(first).expect(0, "self");
    // Each takes itself for the head.
    let object = field.check(second).expect(3, "unknown");
    assert_eq!(codes(&object), ["lists-differ"], "{object:#}");
    field.check(second).expect(3, "unknown");
    assert_eq!(troubles(&field, second), ["lists-differ"]);
    assert!(object["reason"].as_str().unwrap().contains("smaller"), "{object:#}");
    // The other order: the one that goes on comes to it later, and finds a brain there.
    for node in NODES {
        let _ = std::fs::remove_dir_all(field.state(node));
    }
    field.check(second).expect(0, "self");
    let object = field.check(first).expect(0, "self");
    assert_eq!(codes(&object), ["lists-differ"], "{object:#}");
    field.later(40);
    field.check(second).expect(0, "self");
    field.check(second).expect(3, "unknown");
    // A standby says it too, and passes nobody over for it.
    let said = field.check("c");
    assert_eq!(said.json()["brain"], "a", "{said:?}");
}

#[test]
fn trouble_of_ones_own_is_said_once() {
    let field = Field::new();
    // The clock of a is an hour ahead, as its answers have it.
    let mirror = field.bin("a").join("mirror");
    std::fs::remove_file(&mirror).unwrap();
    let ahead = humantime::format_rfc3339_millis(std::time::SystemTime::now() + Duration::from_secs(3600));
    let script = format!("#!/bin/sh\n{MIRROR} \"$@\" | sed 's/\"at\":\"[^\"]*\"/\"at\":\"{ahead}\"/'\n");
    std::fs::write(&mirror, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&mirror, mode).unwrap();
    field.check("a").expect(0, "self");
    let said = field.check("b");
    assert_eq!(codes(&said.json()), ["clock-off"], "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    let said = field.check("b");
    assert_eq!((codes(&said.json()), said.stderr.as_str()), (vec!["clock-off"], ""), "{said:?}");
    let shown = field.on("b", "chain show").json();
    assert_eq!(codes(&shown), ["clock-off"]);
}

#[test]
fn a_full_disk_takes_no_beat_away() {
    let field = Field::new();
    let state = field.state("a");
    std::fs::create_dir_all(&state).unwrap();
    let Some(unshare) = with_mounts() else { return };
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 none {state} || exit 99\n\
         \"$MIRROR\" whois-brain --check --quiet || exit 98\n\
         cat /dev/zero >{state}/filler 2>/dev/null\nsleep 0.3\n\
         \"$MIRROR\" beat --json | sed 's/.*age_ms\":\\([0-9]*\\).*/\\1/' >{dir}/before\n\
         \"$MIRROR\" whois-brain --check --json >{dir}/full 2>{dir}/said\n\
         \"$MIRROR\" chain show --json >{dir}/shown\n\
         \"$MIRROR\" beat --json || exit 97",
        state = state.display(),
        dir = field.network.path().display()
    );
    let words = unshare.split(' ').map(str::to_owned).chain(["sh".to_owned(), "-c".to_owned(), script]);
    let mut command = field.network.program("env", words);
    command.env("MIRROR_SELF", "a").env("MIRROR_CONFIG", field.list("a")).env("STATE_DIRECTORY", &state);
    let said = run(command);
    let object = said.expect(0, "fresh");
    let read = |name: &str| std::fs::read_to_string(field.network.path().join(name)).unwrap();
    let before: f64 = read("before").trim().parse().unwrap();
    assert!(before >= 300.0 && object["beat"]["age_ms"].as_f64().unwrap() < before + 60_000.0);
    let full: Value = serde_json::from_str(&read("full")).unwrap();
    assert_eq!((&full["verdict"], codes(&full)), (&"self".into(), vec!["state-unusable"]), "{full:#}");
    let warned = read("said");
    assert_eq!(warned.matches("No space left on device").count(), 1, "{warned}");
    let shown: Value = serde_json::from_str(&read("shown")).unwrap();
    assert_eq!(codes(&shown), ["state-unusable"], "{shown:#}");
}

#[test]
fn a_standby_learns_how_far_all_nodes_are() {
    let field = Field::new();
    for node in NODES {
        let list = std::fs::read_to_string(field.list(node)).unwrap();
        let list = list.replace("timeout = \"4s\"", "timeout = \"auto\"\ntimeout_max = \"30s\"");
        std::fs::write(field.list(node), list).unwrap();
    }
    field.check("a").expect(0, "self");
    field.check("b").expect(1, "other");
    // It has to know how long to wait for each of them before it leads.
    let object = field.on("b", "probe --json").expect(0, "alive");
    for other in ["a", "c"] {
        assert!(node(&object, other)["deadline_ms"].as_f64().unwrap() < 30_000.0, "{object:#}");
    }
}

#[test]
fn a_person_may_ask_who_is_at_work() {
    let field = Field::new();
    let laptop = |words: &str| {
        let mut command = field.network.mirror(words.split_whitespace());
        command.env("MIRROR_CONFIG", field.list("a")).env("STATE_DIRECTORY", field.network.path().join("laptop"));
        run(command)
    };
    let object = laptop("whois-brain").expect(0, "known");
    assert_eq!((&object["brain"], &object["at_work"]), (&"a".into(), &"unasked".into()), "{object:#}");
    // No watchdog has ever run here.
    let object = laptop("whois-brain --at-work").expect(0, "known");
    assert_eq!((&object["brain"], &object["at_work"]), (&"a".into(), &"no".into()), "{object:#}");
    field.check("b").expect(1, "other");
    let object = laptop("whois-brain --at-work").expect(0, "known");
    assert_eq!((&object["brain"], at_work(&object, "a")), (&"b".into(), &"no".into()), "{object:#}");
    assert!(!field.network.path().join("laptop").join("beat.json").exists());
}

#[test]
fn a_node_that_led_for_a_moment_relies_on_what_the_brain_after_it_knew() {
    let mut field = Field::new();
    let run = field.network.path().join("run");
    for node in NODES {
        let list = std::fs::read_to_string(field.list(node)).unwrap();
        let list = list.replace("[chains]\n", "[chains]\nbot = [\"c\", \"a\", \"b\"]\n");
        let service = format!(
            "[services.bot]\nstatus = 'test -e {0}.$MIRROR_SELF'\nstart = 'touch {0}.$MIRROR_SELF'\n\
             stop = 'rm -f {0}.$MIRROR_SELF'\ntimeout = \"20s\"\n",
            run.display()
        );
        std::fs::write(field.list(node), list + &service).unwrap();
    }
    let promote = |field: &Field, node: &str| field.on(node, "promote --if-brain");
    // While a is down, b leads: it cannot know what runs on a.
    field.nodes[0].kill();
    promote(&field, "b").expect(0, "started");
    field.nodes[0].restart();
    promote(&field, "a").expect(0, "in-place");
    for node in ["b", "c"] {
        promote(&field, node).expect(1, "not-brain");
    }
    field.is_steady("b");
    field.nodes[0].freeze();
    field.later(40);
    field.check("b").expect(1, "other");
    field.later(40);
    std::fs::remove_file(run.with_extension("c")).unwrap();
    let object = promote(&field, "b").expect(0, "started");
    field.nodes[0].thaw();
    assert_eq!(object["services"][0]["target"], "c", "{object:#}");
    assert!(run.with_extension("c").exists());
}

#[test]
fn a_brain_with_a_service_that_hangs_is_at_work() {
    let field = Field::new();
    let good = field.network.path().join("good");
    for node in NODES {
        let list = std::fs::read_to_string(field.list(node)).unwrap();
        let list = list.replace(CYCLE, "[cycle]\ncheck = \"200ms\"\n").replace("\"4s\"", "\"20s\"");
        let list = list.replace("[chains]\n", "[chains]\nhome = [\"a\"]\n");
        let services = format!(
            "[services.good]\nchain = \"home\"\nstatus = 'test -e {good}'\n\
             start = 'touch {good}'\nstop = 'true'\ntimeout = \"20s\"\n\
             [services.hung]\nchain = \"home\"\nstatus = 'sleep 3600'\nstart = 'true'\nstop = 'true'\n\
             timeout = \"120s\"\n",
            good = good.display()
        );
        std::fs::write(field.list(node), list + &services).unwrap();
    }
    let check = Started::new(field.command("a", "promote --if-brain"));
    let running = || field.on("a", "beat").json()["beat"]["running"]["good"] == "a";
    wait_for("the beat says where the other service runs", || running().then_some(()));
    let beat = field.on("a", "beat").expect(0, "fresh");
    assert_eq!(beat["beat"]["verdict"], "under-way", "{beat:#}");

    // The check goes on, and so do its beats.
    let kept = || std::fs::read_to_string(field.state("a").join("beat.json")).unwrap();
    for _ in 0..3 {
        let last = kept();
        wait_for("the beat is left anew", || (kept() != last).then_some(()));
    }
    wait_for("another node has read it", || {
        (at_work(&field.check("b").expect(1, "other"), "a") == "yes").then_some(())
    });
    assert_eq!(field.check("b").expect(1, "other")["brain"], "a");

    // It ends what it has started.
    signal(check.pid(), Signal::TERM);
    check.end();
}
