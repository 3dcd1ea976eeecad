//! `mirror probe` against real listeners, servers, daemons and commands.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;

use crate::support::http::{Answer, Server};
use crate::support::mirror::{Network, Said, Started, node, run};
use crate::support::processes::{kill, lives, pid_in, wait_until_gone};
use crate::support::sockets::{BlackHole, Chatty, Port};
use crate::support::sshd::{Client, Sshd};
use crate::support::unshare::without_network;
use crate::support::wait_for;
use serde_json::Value;

/// A timeout that nobody is to wait for.
const FOREVER: &str = "50s";
/// What happened at once ended before this, in ms, however loaded the machine is.
const AT_ONCE_MS: f64 = 20_000.0;

/// The node list of one node, `a`, asked in this way.
fn one(port: u16, probe: &str) -> Network {
    Network::new(&format!(
        "[nodes]\na = {{ address = \"127.0.0.1\", port = {port}, probe = {{ {probe} }} }}\n[chains]\nbrain = [\"a\"]\n"
    ))
}

/// Asks one node; checks that node, verdict and status agree, and gives what is said of the node.
fn ask_one(port: u16, probe: &str) -> Value {
    judge(&one(port, probe).run("probe"))
}

fn judge(said: &Said) -> Value {
    let object = said.json();
    let state = object["nodes"][0]["state"].as_str().unwrap();
    let status = ["alive", "dead", "", "unknown"].iter().position(|s| *s == state).unwrap();
    said.expect(i32::try_from(status).unwrap(), state);
    object["nodes"][0].clone()
}

fn state_and_cause(node: &Value) -> (&str, &str) {
    (node["state"].as_str().unwrap(), node["cause"].as_str().unwrap_or(""))
}

fn elapsed_ms(said: &Said) -> f64 {
    said.json()["elapsed_ms"].as_f64().unwrap()
}

fn http(server: &Server, more: &str) -> Value {
    ask_one(1, &format!("method = \"http\", url = \"{}\", {more}", server.url("http")))
}

fn exec(command: &str, more: &str) -> Said {
    exec_on(command, more).run("probe")
}

fn exec_on(command: &str, more: &str) -> Network {
    one(22, &format!("method = \"exec\", command = '''{command}''', {more}"))
}

// tcp

#[test]
fn tcp_tells_an_acceptance_from_a_refusal_from_silence() {
    let (up, closed, hole) = (Port::silent(), Port::refusing(), BlackHole::new());
    let network = Network::new(&format!(
        "[nodes]\nup = {{ address = \"127.0.0.1\", port = {} }}\nclosed = {{ address = \"127.0.0.1\", port = {} }}\n\
         hole = {{ address = \"127.0.0.1\", port = {} }}\n[chains]\nbrain = [\"up\"]\n[probe]\ntimeout = \"2s\"\n",
        up.number(),
        closed.number(),
        hole.number()
    ));
    let said = network.run("probe");
    let object = said.expect(1, "dead");
    assert_eq!(state_and_cause(node(&object, "up")), ("alive", ""));
    assert_eq!(state_and_cause(node(&object, "closed")), ("dead", "refused"));
    assert_eq!(state_and_cause(node(&object, "hole")), ("dead", "timeout"));
    assert_eq!(node(&object, "hole")["latency_ms"], Value::Null);
    assert_eq!(node(&object, "hole")["attempts"], 3);
    assert!((2000.0..4000.0).contains(&elapsed_ms(&said)), "one timeout, not three: {object:#}");
    network.run("probe up").expect(0, "alive");
}

#[test]
fn a_refusal_is_not_waited_for() {
    let closed = Port::refusing();
    let said = one(closed.number(), &format!("timeout = \"{FOREVER}\"")).run("probe");
    let node = judge(&said);
    assert_eq!(state_and_cause(&node), ("dead", "refused"));
    assert_eq!(node["attempts"], 1);
    assert!(elapsed_ms(&said) < AT_ONCE_MS, "{said:?}");
}

#[test]
fn attempts_start_within_the_one_timeout() {
    let hole = BlackHole::new();
    for attempts in [1, 5] {
        let said = one(hole.number(), &format!("timeout = \"1s\", attempts = {attempts}")).run("probe");
        assert_eq!(judge(&said)["attempts"], attempts);
        assert!((1000.0..3000.0).contains(&elapsed_ms(&said)), "{said:?}");
    }
}

/// The first SYN is swallowed, what comes after it is answered. The kernel itself sends a SYN again
/// only after 1 s.
fn lose_one_syn(probe: &str) -> Value {
    let hole = BlackHole::new();
    let network = one(hole.number(), probe);
    let probing = Started::new(network.mirror(["probe"]));
    wait_for("a SYN was swallowed", || hole.has_swallowed().then_some(()));
    hole.open();
    judge(&probing.end())
}

#[test]
fn one_lost_syn_does_not_make_a_node_dead() {
    // A try every 500 ms, of which the second gets through: not the first's own second SYN.
    let node = lose_one_syn("timeout = \"5s\", attempts = 10");
    assert_eq!(node["state"], "alive");
    assert_eq!(node["attempts"], 2);
    assert!(node["latency_ms"].as_f64().unwrap() < 1000.0, "{node:#}");
}

#[test]
fn with_one_attempt_a_lost_syn_is_fatal() {
    // What the test above would see if further attempts did nothing.
    let node = lose_one_syn("timeout = \"900ms\", attempts = 1");
    assert_eq!(state_and_cause(&node), ("dead", "timeout"));
}

#[test]
fn thousands_of_targets_need_no_thread_each() {
    let up = Chatty::new(b"");
    let mut list = String::from("[nodes]\n");
    for number in 1..=2000 {
        // The ssh ports differ, so that no two nodes have one address and port.
        let port = up.number();
        writeln!(list, "n{number} = {{ address = \"127.0.0.1\", port = {number}, probe = {{ port = {port} }} }}")
            .unwrap();
    }
    list += "[chains]\nbrain = [\"n1\"]\n[probe]\ntimeout = \"30s\"\nattempts = 1\n";
    let said = Network::new(&list).run("probe");
    assert_eq!(said.expect(0, "alive")["nodes"].as_array().unwrap().len(), 2000);
    assert!((1..=4).contains(&said.threads), "{} threads", said.threads);
    assert!(said.peak_kib < 128 * 1024, "{} KiB", said.peak_kib);
}

// ssh-banner

#[test]
fn ssh_banner_asks_for_the_daemon_and_not_just_the_port() {
    let client = Client::new();
    let sshd = Sshd::new(&client);
    let banner = |port, timeout: &str| ask_one(port, &format!("method = \"ssh-banner\", timeout = \"{timeout}\""));
    assert_eq!(banner(sshd.port(), FOREVER)["state"], "alive");
    assert_eq!(sshd.logins(), 0, "nobody logs in");

    assert_eq!(state_and_cause(&banner(Port::silent().number(), "1s")), ("dead", "timeout"));
    assert_eq!(state_and_cause(&banner(Port::refusing().number(), FOREVER)), ("dead", "refused"));
    sshd.freeze();
    assert_eq!(state_and_cause(&banner(sshd.port(), "1s")), ("dead", "timeout"));
}

#[test]
fn an_http_server_is_no_ssh_daemon() {
    let banner = |server: &Server| ask_one(server.port(), "method = \"ssh-banner\", timeout = \"1s\"");
    // A server waits for the request, which never comes.
    assert_eq!(state_and_cause(&banner(&Server::new(Answer::Status(200)))), ("dead", "timeout"));
}

#[test]
fn what_speaks_without_end_is_no_ssh_daemon() {
    let chatty = Chatty::new(b"220 mail.example.org ESMTP\r\n");
    let node = ask_one(chatty.number(), &format!("method = \"ssh-banner\", timeout = \"{FOREVER}\""));
    assert_eq!(state_and_cause(&node), ("dead", "banner"));
}

// ssh

fn ssh_network(client: &Client, port: u16, timeout: &str) -> Network {
    let user = crate::support::sshd::user();
    Network::new(&format!(
        "[nodes]\na = {{ address = \"127.0.0.1\", port = {port}, user = \"{user}\" }}\n[chains]\nbrain = [\"a\"]\n\
         [remote]\ncommand = {}\n[probe]\nmethod = \"ssh\"\ntimeout = \"{timeout}\"\nattempts = 1\n",
        client.remote_command()
    ))
}

#[test]
fn ssh_logs_in() {
    let client = Client::new();
    let sshd = Sshd::new(&client);
    assert_eq!(judge(&ssh_network(&client, sshd.port(), FOREVER).run("probe"))["state"], "alive");
    assert_eq!(sshd.logins(), 1, "{}", sshd.log());
}

#[test]
fn a_host_key_that_is_not_the_known_one_is_no_death() {
    let client = Client::new();
    let (known, other) = (Sshd::new(&client), Sshd::new(&Client::new()));
    // Another host has taken over the address of a known one.
    let hosts = std::fs::read_to_string(client.path().join("known_hosts")).unwrap();
    let moved = hosts.replace(&format!(":{} ", known.port()), &format!(":{} ", other.port()));
    std::fs::write(client.path().join("known_hosts"), moved).unwrap();
    let node = judge(&ssh_network(&client, other.port(), FOREVER).run("probe"));
    assert_eq!(state_and_cause(&node), ("unknown", "host-key"), "{node:#}");
    assert_eq!(other.logins(), 0);

    std::fs::write(client.path().join("known_hosts"), "").unwrap();
    let node = judge(&ssh_network(&client, other.port(), FOREVER).run("probe"));
    assert_eq!(state_and_cause(&node), ("unknown", "host-key"), "{node:#}");
}

#[test]
fn a_key_that_is_not_admitted_is_no_death() {
    let client = Client::new();
    let sshd = Sshd::new(&client);
    std::fs::write(sshd.path().join("authorized_keys"), "").unwrap();
    let node = judge(&ssh_network(&client, sshd.port(), FOREVER).run("probe"));
    assert_eq!(state_and_cause(&node), ("unknown", "not-admitted"), "{node:#}");
}

#[test]
fn ssh_to_a_host_that_refuses_or_hangs_is_a_death() {
    let client = Client::new();
    let mut sshd = Sshd::new(&client);
    sshd.freeze();
    let said = ssh_network(&client, sshd.port(), "2s").run("probe");
    assert_eq!(state_and_cause(&judge(&said)), ("dead", "timeout"));
    assert!((2000.0..6000.0).contains(&elapsed_ms(&said)), "{said:?}");
    sshd.kill();
    let node = judge(&ssh_network(&client, sshd.port(), FOREVER).run("probe"));
    assert_eq!(state_and_cause(&node), ("dead", "refused"), "{node:#}");
}

#[test]
fn without_an_ssh_program_a_node_is_unknown() {
    let list = "[nodes]\na = \"127.0.0.1\"\n[chains]\nbrain = [\"a\"]\n[probe]\nmethod = \"ssh\"\n\
                [remote]\ncommand = [\"{dir}/no-such-ssh\", \"{command}\"]\n";
    let node = judge(&Network::new(list).run("probe"));
    assert_eq!(state_and_cause(&node), ("unknown", "program-missing"));
}

// http

#[test]
fn http_expects_its_status() {
    let (good, bad) = (Server::new(Answer::Status(200)), Server::new(Answer::Status(503)));
    let patient = format!("timeout = \"{FOREVER}\"");
    assert_eq!(http(&good, &patient)["state"], "alive");
    let node = http(&bad, &patient);
    assert_eq!(state_and_cause(&node), ("dead", "http-status"));
    assert!(node["detail"].as_str().unwrap().contains("503"), "{node:#}");
    assert_eq!(http(&bad, &format!("{patient}, expect = 503"))["state"], "alive");
}

#[test]
fn http_follows_no_redirect() {
    let elsewhere = Server::new(Answer::Status(200));
    let here = Server::new(Answer::Redirect(elsewhere.url("http")));
    let node = http(&here, &format!("timeout = \"{FOREVER}\""));
    assert_eq!(state_and_cause(&node), ("dead", "http-status"));
    assert_eq!(elsewhere.asked(), 0);
    assert_eq!(http(&here, &format!("timeout = \"{FOREVER}\", expect = 302"))["state"], "alive");
}

#[test]
fn http_without_an_answer_is_dead_after_one_timeout() {
    for answer in [Answer::Nothing, Answer::EndlessHeaders] {
        let server = Server::new(answer.clone());
        let url = server.url("http");
        let said = one(1, &format!("method = \"http\", url = \"{url}\", timeout = \"1s\"")).run("probe");
        assert_eq!(judge(&said)["state"], "dead", "{answer:?}: {said:?}");
        assert!(elapsed_ms(&said) < 4000.0, "{answer:?}: {said:?}");
    }
    let hole = BlackHole::new();
    let url = format!("http://127.0.0.1:{}/", hole.number());
    let said = one(1, &format!("method = \"http\", url = \"{url}\", timeout = \"1s\"")).run("probe");
    assert_eq!(state_and_cause(&judge(&said)), ("dead", "timeout"));
    assert!((1000.0..4000.0).contains(&elapsed_ms(&said)), "{said:?}");
}

#[test]
fn an_endless_body_is_an_answer() {
    let server = Server::new(Answer::EndlessBody);
    let url = server.url("http");
    let said = one(1, &format!("method = \"http\", url = \"{url}\", timeout = \"{FOREVER}\"")).run("probe");
    assert_eq!(judge(&said)["state"], "alive");
    assert!(elapsed_ms(&said) < AT_ONCE_MS, "{said:?}");
    assert!(said.peak_kib < 64 * 1024, "{} KiB", said.peak_kib);
}

#[test]
fn what_is_no_http_is_dead() {
    let garbage = http(&Server::new(Answer::Garbage), &format!("timeout = \"{FOREVER}\""));
    assert_eq!(state_and_cause(&garbage), ("dead", "http"));
    let url = format!("http://127.0.0.1:{}/", Port::refusing().number());
    let refused = ask_one(1, &format!("method = \"http\", url = \"{url}\", timeout = \"{FOREVER}\""));
    assert_eq!(state_and_cause(&refused), ("dead", "refused"));
}

#[test]
fn https_to_a_port_that_speaks_plain_text_is_dead() {
    let server = Server::new(Answer::Status(200));
    let node = ask_one(1, &format!("method = \"http\", url = \"{}\", timeout = \"{FOREVER}\"", server.url("https")));
    assert_eq!(state_and_cause(&node), ("dead", "tls"), "{node:#}");
}

#[test]
fn http_asks_the_node_and_no_proxy() {
    let (server, proxy) = (Server::new(Answer::Status(200)), Server::new(Answer::Status(200)));
    let network = one(1, &format!("method = \"http\", url = \"{}\"", server.url("http")));
    let mut probe = network.mirror(["probe"]);
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        probe.env(name, proxy.url("http"));
    }
    run(probe).expect(0, "alive");
    assert_eq!((server.asked(), proxy.asked()), (1, 0));
}

// exec

#[test]
fn exec_asks_a_command() {
    assert_eq!(judge(&exec("exit 0", ""))["state"], "alive");
    let node = judge(&exec("echo out of order >&2; exit 7", ""));
    assert_eq!(state_and_cause(&node), ("dead", "exit"));
    assert_eq!(node["detail"], "exit status 7: out of order");
    let node = judge(&exec("no-such-program-anywhere", ""));
    assert_eq!(state_and_cause(&node), ("unknown", "program-missing"));
    let node = judge(&exec("kill -9 $$", ""));
    assert_eq!(state_and_cause(&node), ("unknown", "killed"));
}

#[test]
fn exec_knows_its_node() {
    let node = judge(&exec("test {node}/{address}/{port} = a/127.0.0.1/22", ""));
    assert_eq!(node["state"], "alive");
}

#[test]
fn a_command_that_hangs_is_ended_with_its_children() {
    let command = "echo $$ >{dir}/shell; sleep 3600 & echo $! >{dir}/child; wait";
    let network = exec_on(command, "timeout = \"2s\", attempts = 1");
    let said = network.run("probe");
    assert_eq!(state_and_cause(&judge(&said)), ("dead", "timeout"));
    assert!((2000.0..6000.0).contains(&elapsed_ms(&said)), "{said:?}");
    for name in ["shell", "child"] {
        wait_until_gone(pid_in(&network.path().join(name)));
    }
}

#[test]
fn a_command_that_ignores_sigterm_is_ended_too() {
    let network =
        exec_on("trap '' TERM; echo $$ >{dir}/shell; while :; do sleep 1; done", "timeout = \"1s\", attempts = 1");
    assert_eq!(judge(&network.run("probe"))["state"], "dead");
    wait_until_gone(pid_in(&network.path().join("shell")));
}

#[test]
fn a_grandchild_that_holds_the_output_is_not_waited_for() {
    for start in ["sleep 3600", "setsid sleep 3600"] {
        let network = exec_on(&format!("{start} & echo $! >{{dir}}/pid"), &format!("timeout = \"{FOREVER}\""));
        let said = network.run("probe");
        let left_behind = pid_in(&network.path().join("pid"));
        let lived = lives(left_behind);
        kill(left_behind);
        assert_eq!(judge(&said)["state"], "alive");
        assert!(lived, "{start}: it is not ours to end");
        assert!(elapsed_ms(&said) < AT_ONCE_MS, "{said:?}");
    }
}

#[test]
fn a_gigabyte_of_output_takes_no_memory() {
    let network = exec_on("head -c 1G /dev/zero", &format!("timeout = \"{FOREVER}\", attempts = 1"));
    // No file may grow beyond 512 MiB, not even one in memory.
    let said = network.shell("ulimit -f 1048576; exec \"$MIRROR\" probe");
    assert_eq!(judge(&said)["state"], "alive", "{said:?}");
    assert!(said.peak_kib < 64 * 1024, "{} KiB", said.peak_kib);
}

#[test]
fn killing_the_prober_ends_what_it_started() {
    let network = exec_on("echo $$ >{dir}/pid; exec sleep 3600", &format!("timeout = \"{FOREVER}\""));
    let probing = Started::new(network.mirror(["probe"]));
    let child = pid_in(&network.path().join("pid"));
    kill(probing.pid());
    assert_eq!(probing.end().status, 128 + 9);
    wait_until_gone(child);
}

// nobody could be asked

/// One node for each method that needs a network.
const ALL_METHODS: &str = "[nodes]\ntcp = \"192.0.2.1\"\nbanner = { address = \"192.0.2.2\", probe = { method = \"ssh-banner\" } }\n\
     ssh = { address = \"192.0.2.3\", probe = { method = \"ssh\" } }\n\
     http = { address = \"192.0.2.4\", probe = { method = \"http\", url = \"http://{address}/\" } }\n\
     own = \"127.0.0.1\"\nname = \"host.invalid\"\n\
     v6 = \"2001:db8::1\"\n\
     web = { address = \"192.0.2.5\", probe = { method = \"http\", url = \"http://host.invalid/\" } }\n\
     [chains]\nbrain = [\"tcp\", \"own\"]\n[probe]\ntimeout = \"20s\"\n";

#[test]
fn without_a_network_nobody_is_dead() {
    let Some(unshare) = without_network() else { return };
    let network = Network::new(ALL_METHODS);
    let said = network.shell(&format!("exec {unshare} \"$MIRROR\" probe"));
    let object = said.expect(3, "unknown");
    for node in object["nodes"].as_array().unwrap() {
        assert_eq!(node["state"], "unknown", "{node:#}");
    }
    for (name, cause) in [("tcp", "no-route"), ("http", "no-route"), ("name", "unresolved"), ("web", "unresolved")] {
        assert_eq!(node(&object, name)["cause"], cause, "{object:#}");
    }
    network.shell(&format!("exec {unshare} \"$MIRROR\" whois-brain")).expect(3, "unknown");
}

/// A node list of this many nodes, each of which is asked in this way.
fn many(count: usize, probe: &str) -> Network {
    let mut list = String::from("[nodes]\n");
    for number in 1..=count {
        writeln!(list, "n{number} = {{ address = \"127.0.0.1\", port = {number}, probe = {{ {probe} }} }}").unwrap();
    }
    Network::new(&(list + "[chains]\nbrain = [\"n1\"]\n"))
}

fn with_descriptors(network: &Network, limit: u32) -> Said {
    network.shell(&format!("ulimit -n {limit}; exec \"$MIRROR\" probe"))
}

#[test]
fn a_node_that_gets_no_descriptor_in_time_is_unknown() {
    let silent = Port::silent();
    let network =
        many(60, &format!("method = \"ssh-banner\", port = {}, timeout = \"2s\", attempts = 2", silent.number()));
    let said = with_descriptors(&network, 16);
    let object = said.expect(1, "dead");
    let mut unknown = 0;
    for node in object["nodes"].as_array().unwrap() {
        match node["attempts"].as_u64().unwrap() {
            0 => {
                assert_eq!(state_and_cause(node), ("unknown", "no-file-descriptor"), "{node:#}");
                unknown += 1;
            }
            _ => assert_eq!(state_and_cause(node), ("dead", "timeout"), "{node:#}"),
        }
    }
    assert!((40..60).contains(&unknown), "{unknown} of 60 could not be asked");
}

#[test]
fn few_descriptors_go_round_among_many_nodes() {
    let up = Chatty::new(b"");
    let network = many(300, &format!("port = {}, timeout = \"30s\"", up.number()));
    with_descriptors(&network, 16).expect(0, "alive");
}

#[test]
fn without_descriptors_no_command_and_no_server_is_dead() {
    let server = Server::new(Answer::Status(200));
    let asked_by = [
        "method = \"exec\", command = \"sleep 1\", timeout = \"30s\", attempts = 1".to_owned(),
        format!("method = \"http\", url = \"{}\", timeout = \"30s\", attempts = 1", server.url("http")),
    ];
    for probe in asked_by {
        for limit in [8, 16, 30] {
            let said = with_descriptors(&many(30, &probe), limit);
            assert_ne!(said.status, 1, "{probe}, {limit} descriptors: {said:?}");
            let states: Vec<_> = said.json()["nodes"].as_array().unwrap().iter().map(|n| n["state"].clone()).collect();
            assert!(states.iter().all(|state| state != "dead"), "{probe}, {limit} descriptors: {states:?}");
        }
    }
}

// deadlines that are learned

#[test]
fn a_deadline_is_learned_and_a_silent_node_is_asked_for_longer_now_and_then() {
    let network = Network::new(
        "self = \"a\"\n[nodes]\na = \"127.0.0.1\"\nb = { address = \"127.0.0.2\", probe = { timeout = \"40s\" } }\n\
         [chains]\nbrain = [\"a\"]\n[probe]\nmethod = \"exec\"\n\
         command = '''test -e {dir}/slow && exec sleep 1000; true'''\n\
         timeout = \"auto\"\ntimeout_max = \"30s\"\n",
    );
    let ask = || judge(&network.run("probe a"));
    let deadline_ms = |node: &Value| node["deadline_ms"].as_f64().unwrap();
    assert_eq!(deadline_ms(&ask()), 30_000.0, "nothing is known yet");
    // Even of one answer something follows.
    assert!(deadline_ms(&ask()) < 30_000.0);
    wait_for("a short deadline", || (deadline_ms(&ask()) < 3_000.0).then_some(()));
    assert_eq!(deadline_ms(node(&network.run("probe").json(), "b")), 40_000.0, "b has its own");

    std::fs::write(network.path().join("slow"), "").unwrap();
    let silent = ask();
    assert_eq!((state_and_cause(&silent), deadline_ms(&silent) < 30_000.0), (("dead", "timeout"), true), "{silent:#}");
    // The next question is as short, and one some seconds later is not.
    std::thread::sleep(Duration::from_millis(4100));
    let longer = Started::new(network.mirror(["probe", "a"]));
    std::fs::remove_file(network.path().join("slow")).unwrap();
    assert_eq!(deadline_ms(&judge(&longer.end())), 30_000.0);
    assert!(deadline_ms(&ask()) < 30_000.0);

    // With another list, or without the state, it is learned anew; an operator's laptop learns nothing.
    let text = std::fs::read_to_string(network.config()).unwrap();
    network.rewrite(&text.replace("30s", "20s"));
    assert_eq!(deadline_ms(&ask()), 20_000.0);
    network.rewrite(&text.replace("self = \"a\"\n", ""));
    for _ in 0..2 {
        assert_eq!(deadline_ms(&ask()), 30_000.0);
    }
}

#[test]
fn the_deadline_and_its_bounds_are_checked() {
    let list = |more: &str| one(22, more);
    let said = list("timeout = \"soon\"").run("probe");
    assert!(said.expect_misuse().contains("such as \"750ms\" or \"5s\", or \"auto\""), "{said:?}");
    let bounds = Network::new(
        "nodes.a = \"127.0.0.1\"\nchains.brain = [\"a\"]\n[probe]\ntimeout = \"auto\"\ntimeout_max = \"1s\"\n\
         timeout_min = \"2s\"\n",
    );
    let said = bounds.run("probe");
    assert!(said.expect_misuse().contains(":6:15: timeout_min is longer than timeout_max"), "{said:?}");
}

// which nodes are asked

#[test]
fn named_nodes_and_a_chains_nodes_are_asked_and_no_others() {
    let (up, closed) = (Port::silent(), Port::refusing());
    let network = Network::new(&format!(
        "[nodes]\na = {{ address = \"127.0.0.1\", port = {} }}\nb = {{ address = \"127.0.0.1\", port = {} }}\n\
         c = {{ address = \"127.0.0.2\", port = 1 }}\n[chains]\nbrain = [\"b\", \"a\"]\n",
        up.number(),
        closed.number()
    ));
    let asked = |words: &str| {
        let object = network.run(words).json();
        let names = object["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(asked("probe a"), "a");
    assert_eq!(asked("probe --chain brain"), "b a");
    assert_eq!(asked("probe --chain brain a c"), "b a c");
    assert_eq!(asked("probe"), "a b c");
    assert!(network.run("probe nobody").expect_misuse().contains("nobody"));
    assert!(network.run("probe --chain nothing").expect_misuse().contains("nothing"));
}

#[test]
fn waiting_costs_no_processor_time() {
    let hole = BlackHole::new();
    let network = one(hole.number(), "timeout = \"3s\"");
    let probing = Started::new(network.mirror(["probe"]));
    wait_for("a SYN was swallowed", || hole.has_swallowed().then_some(()));
    std::thread::sleep(Duration::from_millis(2000));
    let ticks = crate::support::processes::cpu_ticks(probing.pid());
    assert_eq!(judge(&probing.end())["state"], "dead");
    assert!(ticks < 20, "{ticks} ticks of 10 ms");
}
