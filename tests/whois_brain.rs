//! `mirror whois-brain` among nodes that answer, refuse and hang, and by views of earlier looks.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;

use crate::support::mirror::{Network, Said, Started, node, run};
use crate::support::processes::signal;
use crate::support::sockets::{BlackHole, Port};
use crate::support::wait_for;
use rustix::process::Signal;
use serde_json::Value;

/// What happened at once ended before this, in ms, however loaded the machine is.
const AT_ONCE_MS: f64 = 20_000.0;
const FOREVER: &str = "50s";

/// The brain chain `a`, `b`, `c` … of nodes on these ports.
fn network(ports: &[u16], timeout: &str, more: &str) -> Network {
    let names: Vec<char> = ('a'..='z').take(ports.len()).collect();
    let mut list = String::from("[nodes]\n");
    for (name, port) in names.iter().zip(ports) {
        writeln!(list, "{name} = {{ address = \"127.0.0.1\", port = {port} }}").unwrap();
    }
    let chain: Vec<String> = names.iter().map(char::to_string).collect();
    Network::new(&format!("{list}[chains]\nbrain = {chain:?}\n[probe]\ntimeout = \"{timeout}\"\n{more}\n"))
}

fn elapsed_ms(object: &Value) -> f64 {
    object["elapsed_ms"].as_f64().unwrap()
}

#[test]
fn a_living_head_answers_at_once_though_others_hang() {
    let (up, hole) = (Port::silent(), [(); 4].map(|()| BlackHole::new()));
    let ports: Vec<u16> = std::iter::once(up.number()).chain(hole.iter().map(BlackHole::number)).collect();
    let object = network(&ports, FOREVER, "").run("whois-brain").expect(0, "known");
    assert_eq!(object["brain"], "a");
    assert_eq!(object["i_am_brain"], false);
    assert_eq!(object["chain"], serde_json::json!(["a", "b", "c", "d", "e"]));
    assert!(elapsed_ms(&object) < AT_ONCE_MS, "{object:#}");
    for name in ["b", "c", "d", "e"] {
        assert_eq!(node(&object, name)["state"], "unasked");
    }
}

#[test]
fn four_hanging_predecessors_take_one_timeout_and_not_four() {
    let (hole, up) = ([(); 4].map(|()| BlackHole::new()), Port::silent());
    let ports: Vec<u16> = hole.iter().map(BlackHole::number).chain([up.number()]).collect();
    let object = network(&ports, "3s", "").run("whois-brain").expect(0, "known");
    assert_eq!(object["brain"], "e");
    assert!((3000.0..6000.0).contains(&elapsed_ms(&object)), "{object:#}");
}

#[test]
fn who_was_not_asked_in_time_is_not_dead() {
    let (hole, up) = (BlackHole::new(), Port::silent());
    let network = network(&[hole.number(), up.number()], "4s", "");
    let started = Started::new(network.mirror(["whois-brain"]));
    // The second node is asked 200 ms later. Until after the deadline this process does nothing.
    wait_for("the head to be asked", || hole.has_swallowed().then_some(()));
    signal(started.pid(), Signal::STOP);
    std::thread::sleep(Duration::from_millis(4500));
    signal(started.pid(), Signal::CONT);
    let object = started.end().expect(0, "known");
    assert_eq!(object["brain"], "b", "{object:#}");
}

#[test]
fn a_head_that_refuses_is_passed_over_at_once() {
    let (closed, up) = (Port::refusing(), Port::silent());
    let object = network(&[closed.number(), up.number()], FOREVER, "").run("whois-brain").expect(0, "known");
    assert_eq!(object["brain"], "b");
    assert!(elapsed_ms(&object) < AT_ONCE_MS, "{object:#}");
}

#[test]
fn when_all_are_dead_there_is_nobody() {
    let (one, two) = (Port::refusing(), Port::refusing());
    let network = network(&[one.number(), two.number()], FOREVER, "");
    let object = network.run("whois-brain").expect(1, "nobody");
    assert_eq!(object["brain"], Value::Null);
    network.run("whois-brain --check --self a").expect(1, "nobody");
}

/// The chain `a`, `b`, of which one cannot be asked.
fn with_doubt(doubtful: char, ports: [u16; 2]) -> Network {
    let node = |name: char, port: u16| {
        let probe =
            if name == doubtful { ", probe = { method = \"exec\", command = \"no-such-program\" }" } else { "" };
        format!("{name} = {{ address = \"127.0.0.1\", port = {port}{probe} }}\n")
    };
    let nodes = node('a', ports[0]) + &node('b', ports[1]);
    Network::new(&format!("[nodes]\n{nodes}[chains]\nbrain = [\"a\", \"b\"]\n"))
}

#[test]
fn nobody_leads_on_doubt() {
    let (up, other) = (Port::silent(), Port::refusing());
    let ports = [up.number(), other.number()];
    let object = with_doubt('a', [other.number(), up.number()]).run("whois-brain").expect(3, "unknown");
    assert_eq!(object["brain"], Value::Null);
    // Doubt before the first living one counts, doubt behind it does not.
    with_doubt('a', [other.number(), up.number()]).run("whois-brain --check --self b").expect(3, "unknown");
    assert_eq!(with_doubt('b', ports).run("whois-brain").expect(0, "known")["brain"], "a");
}

#[test]
fn check_asks_whether_it_is_this_node() {
    let (one, two) = (Port::silent(), Port::silent());
    let network = network(&[one.number(), two.number()], FOREVER, "");
    let local_node = network.run("whois-brain --check --self a").expect(0, "self");
    assert_eq!((&local_node["self"], &local_node["i_am_brain"]), (&Value::from("a"), &Value::from(true)));
    let other = network.run("whois-brain --check --self b").expect(1, "other");
    assert_eq!((&other["brain"], &other["i_am_brain"]), (&Value::from("a"), &Value::from(false)));
    // A machine that is no node of the list has nothing to check, and its timer must not end well.
    assert!(network.run("whois-brain --check").expect_misuse().contains("--self"));
    network.run("whois-brain").expect(0, "known");
    assert!(network.run("whois-brain --check --self nobody").expect_misuse().contains("nobody"));
}

// isolation

/// This node, `a`, alone among the dead, with this witness.
fn alone_with(witness: u16) -> Said {
    let (local_node, closed) = (Port::silent(), [Port::refusing(), Port::refusing()]);
    let ports = [local_node.number(), closed[0].number(), closed[1].number()];
    let more = format!("[witness]\naddresses = [\"127.0.0.1:{witness}\"]");
    network(&ports, "1s", &more).run("whois-brain --self a --check")
}

#[test]
fn alone_with_a_witness_a_node_is_the_brain() {
    let up = Port::silent();
    alone_with(up.number()).expect(0, "self");
    // A refusal has come over the network as well.
    let closed = Port::refusing();
    alone_with(closed.number()).expect(0, "self");
}

#[test]
fn alone_without_a_witness_a_node_is_isolated() {
    let hole = BlackHole::new();
    let object = alone_with(hole.number()).expect(3, "isolated");
    assert_eq!((&object["brain"], &object["i_am_brain"]), (&Value::Null, &Value::from(false)));
}

#[test]
fn another_living_node_is_witness_enough() {
    let (local_node, other, hole) = (Port::silent(), Port::silent(), BlackHole::new());
    let more = format!("[witness]\naddresses = [\"127.0.0.1:{}\"]", hole.number());
    let network = network(&[local_node.number(), other.number()], FOREVER, &more);
    let object = network.run("whois-brain --self a --check").expect(0, "self");
    assert!(elapsed_ms(&object) < AT_ONCE_MS, "{object:#}");
}

#[test]
fn an_operator_is_never_isolated() {
    let (up, hole) = (Port::silent(), BlackHole::new());
    let more = format!("[witness]\naddresses = [\"127.0.0.1:{}\"]", hole.number());
    assert_eq!(network(&[up.number()], "1s", &more).run("whois-brain").expect(0, "known")["brain"], "a");
}

// by a view

/// A chain whose head is dead and whose second is alive, and a view of it in the file `view`.
fn seen() -> (Network, [Port; 2]) {
    let ports = [Port::refusing(), Port::silent()];
    let network = network(&[ports[0].number(), ports[1].number()], "20s", "[cycle]\ncheck = \"1m\"");
    let said = network.run("probe");
    said.expect(1, "dead");
    std::fs::write(network.path().join("view"), said.stdout).unwrap();
    (network, ports)
}

/// Decides by the view after a change to its text.
fn by_changed_view(change: impl Fn(String) -> String) -> (Network, Said) {
    let (network, _ports) = seen();
    let view = network.path().join("view");
    let text = change(std::fs::read_to_string(&view).unwrap());
    std::fs::write(&view, text).unwrap();
    let said = network.run("whois-brain --view view");
    (network, said)
}

/// Sets the view's time to so many seconds from now.
fn taken(seconds_from_now: i64) -> impl Fn(String) -> String {
    move |text| {
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let at = now.checked_add_signed(seconds_from_now).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at);
        object["at"] = humantime::format_rfc3339_millis(at).to_string().into();
        object.to_string()
    }
}

#[test]
fn a_pipeline_decides_by_one_look() {
    let (network, _ports) = seen();
    let pipe = |more: &str| network.shell(&format!("\"$MIRROR\" probe | \"$MIRROR\" whois-brain --view - {more}"));
    assert_eq!(pipe("").expect(0, "known")["brain"], "b");
    pipe("--check --self b").expect(0, "self");
    pipe("--check --self a").expect(1, "other");
}

#[test]
fn by_a_view_nobody_is_asked() {
    let (network, mut ports) = seen();
    ports[0].listen();
    ports[1].refuse();
    let object = network.run("whois-brain --view view").expect(0, "known");
    assert_eq!(object["brain"], "b");
    assert_eq!(network.run("whois-brain").expect(0, "known")["brain"], "a");
}

#[test]
fn a_stale_view_is_no_view() {
    let (_, said) = by_changed_view(taken(-3600));
    let object = said.expect(3, "unknown");
    assert!(object["reason"].as_str().unwrap().contains("old"), "{object:#}");
    assert_eq!(object["brain"], Value::Null);
    // cycle.check and probe.timeout are 80 s together.
    by_changed_view(taken(-40)).1.expect(0, "known");
    by_changed_view(taken(-90)).1.expect(3, "unknown");
}

#[test]
fn a_view_of_another_node_list_is_no_view() {
    let (network, said) = by_changed_view(|text| text.replace("\"digest\":\"", "\"digest\":\"0"));
    said.expect(3, "unknown");
    // The same in earnest: the list has changed since.
    let said = network.run("probe");
    let more = std::fs::read_to_string(network.config()).unwrap() + "\n[services.brain]\nstatus = \"true\"\n";
    network.rewrite(&(more + "start = \"true\"\nstop = \"true\"\n"));
    std::fs::write(network.path().join("view"), said.stdout).unwrap();
    network.run("whois-brain --view view").expect(3, "unknown");
}

#[test]
fn a_view_that_is_none_is_misuse() {
    let halves = |text: String| text[..text.len() / 2].to_owned();
    assert!(by_changed_view(halves).1.expect_misuse().contains("view"));
    let other = |text: String| text.replace("mirror.probe/1", "mirror.probe/2");
    assert!(by_changed_view(other).1.expect_misuse().contains("schema"));
    assert!(by_changed_view(taken(3600)).1.expect_misuse().contains("future"));
    by_changed_view(|text| text.replace("\"node\":\"a\"", "\"node\":\"zz\"")).1.expect_misuse();
    by_changed_view(|text| text.replace("\"node\":\"a\"", "\"node\":\"b\"")).1.expect_misuse();
    by_changed_view(|text| text.replace("\"node\":\"a\"", "\"node\":\"../a\"")).1.expect_misuse();
    by_changed_view(|text| text.replace("\"dead\"", "\"undead\"")).1.expect_misuse();
    by_changed_view(|_| String::new()).1.expect_misuse();
    by_changed_view(|text| text.clone() + &text).1.expect_misuse();
    let (network, _ports) = seen();
    network.run("whois-brain --view no-such-file").expect_misuse();
    network.run("whois-brain --view .").expect_misuse();
    run(network.mirror(["whois-brain", "--view", "-"])).expect_misuse();
}

#[test]
fn a_view_that_lacks_the_head_is_doubt() {
    let (network, mut ports) = seen();
    ports[0].listen();
    let pipe = |nodes: &str| network.shell(&format!("\"$MIRROR\" probe {nodes} | \"$MIRROR\" whois-brain --view -"));
    pipe("b").expect(3, "unknown");
    assert_eq!(pipe("a").expect(0, "known")["brain"], "a");
}
