//! `mirror promote` with a service that is a real process on each of three nodes.
//!
//! The nodes are this machine: each has a port that can fall, and `[remote] command` tells the
//! service which node it is on. `tests/remote.rs` does the same over ssh.

#![allow(clippy::unwrap_used)]

#[path = "promote/failures.rs"]
mod failures;
#[path = "promote/inhales.rs"]
mod inhales;
#[path = "promote/lists.rs"]
mod lists;
#[path = "promote/several.rs"]
mod several;
#[path = "promote/silent.rs"]
mod silent;

use std::fs::File;
use std::time::{Duration, Instant};

use crate::support::mirror::{Network, Said, Started, run};
use crate::support::processes::{pid_in, wait_until_gone};
use crate::support::service::{Bot, LOCAL};
use crate::support::sockets::Port;
use crate::support::wait_for;
use serde_json::{Value, json};

/// Three living nodes `a`, `b`, `c`, and a service with a chain in that order.
struct Stage {
    bot: Bot,
    ports: [Port; 3],
    network: Network,
}

impl Stage {
    /// With these further keys of the service.
    fn new(service: &str) -> Self {
        let stage = Self { bot: Bot::new(), ports: [(); 3].map(|()| Port::silent()), network: Network::new("") };
        stage.network.rewrite(&stage.node_list(service));
        stage
    }

    fn node_list(&self, service: &str) -> String {
        let [a, b, c] = self.ports.each_ref().map(Port::number);
        let timeout = if service.contains("timeout") { "" } else { "timeout = \"40s\"" };
        format!(
            "[nodes]\na = {{ address = \"127.0.0.1\", port = {a} }}\nb = {{ address = \"127.0.0.1\", port = {b} }}\n\
             c = {{ address = \"127.0.0.1\", port = {c} }}\n[chains]\nbrain = [\"a\", \"b\", \"c\"]\n\
             bot = [\"a\", \"b\", \"c\"]\n[cycle]\nsync = \"1h\"\n[probe]\ntimeout = \"10s\"\n\
             [remote]\ncommand = {LOCAL}\n[services.bot]\n{}\n{timeout}\n{service}\n",
            self.bot.commands()
        )
    }

    fn promote(&self, words: &str) -> Said {
        self.network.run(&format!("promote {words}"))
    }

    fn fall(&mut self, node: &str) {
        self.ports[place(node)].refuse();
    }

    fn rise(&mut self, node: &str) {
        self.ports[place(node)].listen();
    }
}

fn place(node: &str) -> usize {
    ["a", "b", "c"].iter().position(|name| *name == node).unwrap()
}

/// What the object says of its only service.
fn only(object: &Value) -> &Value {
    let services = object["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "{object:#}");
    assert_eq!(services[0]["verdict"], object["verdict"], "{object:#}");
    &services[0]
}

/// Its steps, such as `stop b confirmed`.
fn steps(object: &Value) -> Vec<String> {
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let all = only(object)["steps"].as_array().unwrap().iter();
    all.map(|step| ["step", "node", "outcome"].map(|key| word(step, key)).join(" ")).collect()
}

#[test]
fn it_is_started_on_the_head_and_the_second_time_nothing_is_touched() {
    let stage = Stage::new("");
    let object = stage.promote("").expect(0, "started");
    let service = only(&object);
    assert_eq!((&service["service"], &service["target"]), (&json!("bot"), &json!("a")));
    assert_eq!((&service["previous"], &service["fencing"]), (&Value::Null, &json!("confirmed")));
    assert_eq!(steps(&object), ["start a confirmed"]);
    assert_eq!(stage.bot.runs_on(), ["a"]);

    let before = stage.bot.log();
    let object = stage.promote("").expect(0, "in-place");
    assert_eq!((only(&object)["target"].as_str(), only(&object)["previous"].as_str()), (Some("a"), Some("a")));
    assert_eq!(only(&object)["fencing"], Value::Null);
    assert_eq!(steps(&object), [""; 0]);
    // A quiet tick asks the target, and nobody else.
    assert_eq!(stage.bot.log().strip_prefix(&before), Some("status a\n"));
}

#[test]
fn one_that_runs_already_is_left_alone() {
    let stage = Stage::new("");
    stage.bot.start_on("a");
    stage.promote("").expect(0, "in-place");
    assert_eq!(stage.bot.acts(), 1, "{}", stage.bot.log());
}

#[test]
fn when_its_node_falls_the_next_one_takes_over() {
    let mut stage = Stage::new("");
    stage.promote("").expect(0, "started");
    stage.fall("a");
    let object = stage.promote("").expect(0, "moved");
    let service = only(&object);
    assert_eq!((&service["previous"], &service["target"]), (&json!("a"), &json!("b")));
    assert_eq!(service["fencing"], "none", "a dead node has confirmed nothing");
    assert_eq!(steps(&object), ["start b confirmed"]);
    assert_eq!(stage.bot.count("stop a"), 0);
    stage.fall("b");
    assert_eq!(only(&stage.promote("").expect(0, "moved"))["target"], "c");
    stage.fall("c");
    let object = stage.promote("").expect(1, "refused");
    assert_eq!(only(&object)["target"], Value::Null);
}

/// The nodes have a `mirror` of their own; `c` reaches `a` at another port than everybody else.
fn give_opinions(stage: &Stage, port_of_a_for_c: u16) {
    let list = stage.node_list("").replace("[probe]\n", "[probe]\nsecond_opinion = true\n");
    stage.network.rewrite(&list);
    let path = stage.network.path();
    let [a, ..] = stage.ports.each_ref().map(Port::number);
    std::fs::write(path.join("b.toml"), &list).unwrap();
    std::fs::write(path.join("c.toml"), list.replace(&a.to_string(), &port_of_a_for_c.to_string())).unwrap();
    std::fs::create_dir(path.join("bin")).unwrap();
    let script = format!("#!/bin/sh\nexec \"$MIRROR\" --config {}/\"$NODE\".toml \"$@\"\n", path.display());
    let wrapper = path.join("bin/mirror");
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn promote_with_opinions(stage: &Stage, words: &str) -> Said {
    let search = format!("{}:{}", stage.network.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut promote = stage.network.mirror(format!("promote {words}").split_whitespace());
    promote.env("PATH", search);
    run(promote)
}

#[test]
fn a_node_that_another_reaches_is_not_dead() {
    let mut stage = Stage::new("");
    let mut side_door = Port::silent();
    give_opinions(&stage, side_door.number());
    promote_with_opinions(&stage, "").expect(0, "started");
    let acts = stage.bot.acts();
    stage.ports[0].refuse();
    for words in ["", "--to b", "--dry-run"] {
        let object = promote_with_opinions(&stage, words).expect(3, "unknown");
        let reason = only(&object)["reason"].as_str().unwrap();
        assert!(reason.contains("dead as seen from here but alive as seen from c"), "{reason}");
    }
    assert_eq!((stage.bot.acts(), stage.bot.runs_on()), (acts, vec!["a".to_owned()]));
    // Dead for everybody.
    side_door.refuse();
    stage.bot.crash("a");
    assert_eq!(only(&promote_with_opinions(&stage, "").expect(0, "moved"))["target"], "b");
    // One that has no `mirror` has no opinion.
    std::fs::remove_file(stage.network.path().join("bin/mirror")).unwrap();
    stage.ports[1].refuse();
    assert_eq!(only(&promote_with_opinions(&stage, "").expect(0, "moved"))["target"], "c");
}

#[test]
fn a_crash_on_a_living_node_is_mended_in_place() {
    let stage = Stage::new("");
    stage.promote("").expect(0, "started");
    stage.bot.crash("a");
    let object = stage.promote("").expect(0, "started");
    assert_eq!((&only(&object)["previous"], &only(&object)["target"]), (&json!("a"), &json!("a")));
    assert_eq!(only(&object)["fencing"], "confirmed");
    assert_eq!(stage.bot.runs_on(), ["a"]);
    assert_eq!((stage.bot.count("start a"), stage.bot.count("start b")), (2, 0));
}

#[test]
fn what_runs_elsewhere_too_is_stopped_there() {
    let stage = Stage::new("");
    stage.promote("").expect(0, "started");
    stage.bot.start_on("b");
    stage.bot.start_on("c");
    // Only the full sweep sees it: --dry-run always makes one, and forgets it again.
    let object = stage.promote("--dry-run").expect(0, "planned");
    assert_eq!(steps(&object), ["stop b planned", "stop c planned"]);
    assert_eq!(stage.bot.runs_on(), ["a", "b", "c"]);
    let object = stage.promote("--to a").expect(0, "stopped-elsewhere");
    assert_eq!(only(&object)["target"], "a");
    assert_eq!(stage.bot.runs_on(), ["a"]);
    assert_eq!(stage.bot.count("start a"), 1);
}

#[test]
fn the_full_sweep_comes_round_by_itself() {
    let stage = Stage::new("");
    stage.network.rewrite(&stage.node_list("").replace("\"1h\"", "\"100ms\""));
    stage.promote("").expect(0, "started");
    stage.bot.start_on("c");
    std::thread::sleep(Duration::from_millis(100));
    stage.promote("").expect(0, "stopped-elsewhere");
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

#[test]
fn to_moves_it_and_the_old_node_confirms() {
    let stage = Stage::new("");
    stage.promote("").expect(0, "started");
    let object = stage.promote("bot --to c --why maintenance").expect(0, "moved");
    let service = only(&object);
    assert_eq!((&service["previous"], &service["target"]), (&json!("a"), &json!("c")));
    assert_eq!(service["fencing"], "confirmed");
    assert_eq!(object["why"], "maintenance");
    assert_eq!(steps(&object), ["stop a confirmed", "start c confirmed"]);
    assert_eq!(stage.bot.runs_on(), ["c"]);
    // It stays there: the better node has not been alive for a minute.
    stage.promote("").expect(0, "in-place");
    assert_eq!(stage.bot.runs_on(), ["c"]);
}

#[test]
fn to_takes_living_nodes_of_the_chain_only() {
    let mut stage = Stage::new("");
    stage.fall("b");
    let object = stage.promote("--to b").expect(1, "refused");
    assert_eq!((only(&object)["target"].clone(), stage.bot.acts()), (Value::Null, 0));
    assert!(stage.promote("--to nobody").expect_misuse().contains("nobody"));
    assert!(stage.promote("no-such-service").expect_misuse().contains("no-such-service"));
    let shorter = stage.node_list("").replace("bot = [\"a\", \"b\", \"c\"]", "bot = [\"a\", \"b\"]");
    stage.network.rewrite(&shorter);
    assert!(stage.promote("--to c").expect_misuse().contains("chain"));
    assert_eq!(stage.bot.acts(), 0);
}

#[test]
fn a_dry_run_touches_nothing() {
    let stage = Stage::new("");
    let object = stage.promote("--dry-run").expect(0, "planned");
    assert_eq!(only(&object)["target"], "a");
    assert_eq!(steps(&object), ["start a planned"]);
    assert_eq!(stage.bot.acts(), 0);
    assert!(!stage.network.path().join("state").exists(), "it remembers nothing");
    stage.bot.start_on("b");
    let object = stage.promote("--dry-run --to a").expect(0, "planned");
    assert_eq!(steps(&object), ["stop b planned", "start a planned"]);
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

#[test]
fn a_pace_holds_up_the_end_and_nothing_else() {
    let stage = Stage::new("");
    let pause = Duration::from_millis(700);
    let said = stage.promote("--pace 700ms");
    said.expect(0, "started");
    assert!(said.took >= pause, "{said:?}");
    assert!(stage.network.run("promote nothing --pace 700ms").took >= pause, "when it fails too");
    // The object is there, and the service's lock is free, while it goes on.
    let said = stage.network.path().join("said");
    let words = "promote --pace 1h".split_whitespace();
    let _paced = Started::into(stage.network.mirror(words), File::create(&said).unwrap().into());
    wait_for("the object", || std::fs::read_to_string(&said).unwrap().ends_with('\n').then_some(()));
    stage.promote("").expect(0, "in-place");
}

#[test]
fn of_two_at_once_one_is_busy() {
    let stage = Stage::new("");
    stage.bot.before("start", "a", "touch \"$dir/starting\"; while [ ! -e \"$dir/go\" ]; do sleep 0.02; done");
    let first = Started::new(stage.network.mirror(["promote"]));
    wait_for("it starts", || stage.bot.path().join("starting").exists().then_some(()));
    let object = stage.promote("").expect(3, "busy");
    assert_eq!(steps(&object), [""; 0]);
    // To look is no promotion.
    stage.promote("--dry-run").expect(0, "planned");
    std::fs::write(stage.bot.path().join("go"), "").unwrap();
    first.end().expect(0, "started");
    assert_eq!(stage.bot.count("start a"), 1);
    stage.promote("").expect(0, "in-place");
}

#[test]
fn a_killed_promotion_holds_no_lock() {
    let stage = Stage::new("");
    stage.bot.before("start", "a", "echo $$ >\"$dir/starting\"; [ -e \"$dir/go\" ] || exec sleep 3600");
    let first = Started::new(stage.network.mirror(["promote"]));
    let starting = pid_in(&stage.bot.path().join("starting"));
    crate::support::processes::kill(first.pid());
    assert_eq!(first.end().status, 128 + 9);
    // What it had asked a shell to run on the node goes on there, as over ssh, and holds no lock.
    crate::support::processes::kill(starting);
    std::fs::write(stage.bot.path().join("go"), "").unwrap();
    stage.promote("").expect(0, "started");
}

#[test]
fn a_living_node_that_does_not_stop_it_blocks() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.bot.start_on("b");
    for stop in ["exit 1", "exit 0", "echo $$ >\"$dir/stopping\"; exec sleep 3600"] {
        stage.bot.before("stop", "b", stop);
        let object = stage.promote("--to a").expect(3, "blocked");
        assert!(only(&object)["reason"].as_str().unwrap().contains('b'), "{object:#}");
        assert_eq!(only(&object)["fencing"], Value::Null);
        assert_eq!(stage.bot.runs_on(), ["b"], "{stop}");
        assert_eq!(stage.bot.count("start a"), 0, "nothing is started");
    }
    wait_until_gone(pid_in(&stage.bot.path().join("stopping")));
    // Once it can be stopped, all goes on.
    stage.bot.before("stop", "b", "");
    assert_eq!(only(&stage.promote("--to a").expect(0, "moved"))["fencing"], "confirmed");
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

#[test]
fn a_living_node_that_does_not_say_whether_it_runs_blocks() {
    let stage = Stage::new("timeout = \"2s\"");
    stage.bot.before("status", "b", "sleep 3600");
    let object = stage.promote("").expect(3, "blocked");
    assert!(only(&object)["reason"].as_str().unwrap().contains('b'), "{object:#}");
    assert_eq!(stage.bot.count("start a"), 0);
    stage.bot.before("status", "b", "exit 127");
    stage.promote("").expect(3, "blocked");
    // A dead one blocks nobody.
    let mut stage = stage;
    stage.fall("b");
    stage.promote("").expect(0, "started");
}

#[test]
fn a_node_that_says_nothing_keeps_no_other_from_being_stopped() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.bot.start_on("a");
    stage.bot.start_on("b");
    stage.bot.before("status", "c", "sleep 3600");
    // What is not done yet is not taken for done by the next tick either.
    for words in ["--to a", ""] {
        let object = stage.promote(words).expect(3, "blocked");
        assert!(only(&object)["reason"].as_str().unwrap().contains("c ("), "{object:#}");
        assert_eq!(stage.bot.runs_on(), ["a"]);
    }
    stage.bot.before("status", "c", "");
    stage.promote("").expect(0, "in-place");
}

#[test]
fn nothing_is_started_on_a_target_that_does_not_say_whether_it_runs() {
    let stage = Stage::new("timeout = \"2s\"\nfailback = \"always\"");
    stage.bot.before("status", "a", "exit 127");
    stage.promote("").expect(3, "blocked");
    assert_eq!((stage.bot.count("start"), stage.bot.count("stop")), (0, 0));
    // Where it runs well on another node, it is left there.
    stage.bot.start_on("b");
    stage.promote("").expect(3, "blocked");
    assert_eq!(stage.bot.runs_on(), ["b"]);
    assert_eq!(stage.bot.count("start a"), 0);
}

#[test]
fn a_node_that_cannot_start_it_is_passed_over() {
    let stage = Stage::new("");
    stage.bot.before("start", "a", "echo no room >&2; exit 1");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(only(&object)["target"], "b");
    assert_eq!(steps(&object), ["start a failed", "stop a confirmed", "start b confirmed"]);
    let first = &only(&object)["steps"][0];
    assert_eq!((&first["cause"], &first["detail"]), (&json!("exit"), &json!("exit status 1: no room")));
    assert_eq!(stage.bot.runs_on(), ["b"]);
    // And not tried again at once, even when the service has to move.
    stage.promote("").expect(0, "in-place");
    stage.bot.crash("b");
    assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "b");
    assert_eq!(stage.bot.count("start a"), 1);
}

#[test]
fn a_node_that_says_it_started_but_did_not_is_passed_over() {
    let stage = Stage::new("timeout = \"3s\"");
    stage.bot.before("start", "a", "exit 0");
    assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "b");
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

#[test]
fn when_no_node_can_start_it_that_is_a_no() {
    let stage = Stage::new("");
    for node in ["a", "b", "c"] {
        stage.bot.before("start", node, "exit 1");
    }
    let object = stage.promote("").expect(1, "failed");
    assert_eq!(steps(&object).iter().filter(|step| step.starts_with("start")).count(), 3);
    assert_eq!(stage.bot.runs_on(), [""; 0]);
    // To try again is better than to run nowhere.
    stage.bot.before("start", "b", "");
    assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "b");
}

#[test]
fn health_finds_what_status_does_not() {
    let stage = Stage::new("health = { method = \"exec\", command = \"test ! -e {dir}/sick-{node}\" }");
    stage.promote("").expect(0, "started");
    stage.promote("").expect(0, "in-place");
    let sick = stage.network.path().join("sick-a");
    std::fs::write(&sick, "").unwrap();
    // Unwell where it is, so it is stopped and started; unwell after that too, so it goes on to b.
    stage.network.rewrite(
        &stage.node_list("health = { method = \"exec\", command = \"test ! -e {dir}/sick-{node}\" }\ntimeout = \"4s\""),
    );
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(only(&object)["target"], "b", "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

// the brain

/// As on the node itself, where commands need no template.
fn promote_as(stage: &Stage, node: &str) -> Said {
    let mut command = stage.network.mirror(["promote", "--if-brain", "--self", node]);
    command.env("NODE", node);
    run(command)
}

#[test]
fn if_brain_is_for_the_brain_alone() {
    let mut stage = Stage::new("");
    let object = promote_as(&stage, "b").expect(1, "not-brain");
    assert_eq!(object["brain"], "a");
    let nobody = stage.network.run("promote --if-brain");
    assert!(nobody.expect_misuse().contains("this machine is no node"), "{nobody:?}");
    assert_eq!(stage.bot.log(), "", "nobody was even asked");
    assert_eq!(promote_as(&stage, "a").expect(0, "started")["brain"], "a");
    stage.fall("a");
    assert_eq!(only(&promote_as(&stage, "b").expect(0, "moved"))["target"], "b");
}

#[test]
fn nobody_acts_on_doubt() {
    let stage = Stage::new("");
    let [_, b, c] = stage.ports.each_ref().map(Port::number);
    let doubt = stage.node_list("").replacen(
        "127.0.0.1\", port = ",
        "127.0.0.1\", probe = { method = \"exec\", command = \"no-such-program\" }, port = ",
        1,
    );
    assert!(doubt.contains("no-such-program") && b != c);
    stage.network.rewrite(&doubt);
    promote_as(&stage, "b").expect(3, "unknown");
    let object = stage.promote("").expect(3, "unknown");
    assert_eq!(only(&object)["target"], Value::Null);
    assert_eq!(stage.bot.log().matches("start").count(), 0);
    // A person may know better.
    assert_eq!(only(&stage.promote("--to b").expect(0, "started"))["target"], "b");
}

// failback

/// A stage on which `a` has fallen, `b` has taken over, and `a` is back.
fn back_again(failback: &str) -> Stage {
    let mut stage = Stage::new(&format!("failback = {failback:?}"));
    stage.promote("").expect(0, "started");
    stage.fall("a");
    stage.bot.crash("a");
    stage.promote("").expect(0, "moved");
    stage.rise("a");
    stage
}

#[test]
fn failback_comes_after_its_time_and_not_before() {
    let stage = back_again("2s");
    let begun = Instant::now();
    let mut stayed = 0;
    let object = wait_for("it returns", || {
        let object = stage.promote("").json();
        let stays = object["verdict"] == "in-place";
        stayed += usize::from(stays);
        (!stays).then_some(object)
    });
    assert_eq!(object["verdict"], "moved", "{object:#}");
    assert_eq!(steps(&object), ["stop b confirmed", "start a confirmed"]);
    assert_eq!(only(&object)["fencing"], "confirmed");
    assert!(begun.elapsed() >= Duration::from_secs(2) && stayed > 0, "after {:?}", begun.elapsed());
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

#[test]
fn failback_never_leaves_it_where_it_is_and_always_does_not() {
    let stage = back_again("never");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        stage.promote("").expect(0, "in-place");
    }
    assert_eq!(stage.bot.runs_on(), ["b"]);

    let stage = back_again("always");
    assert_eq!(only(&stage.promote("").expect(0, "moved"))["target"], "a");
    assert_eq!(stage.bot.runs_on(), ["a"]);
}

// by a view

#[test]
fn one_look_serves_several_decisions() {
    let mut stage = Stage::new("");
    stage.fall("a");
    std::fs::write(stage.network.path().join("view"), stage.network.run("probe").stdout).unwrap();
    stage.rise("a");
    assert_eq!(stage.network.run("whois-brain --view view").json()["brain"], "b");
    assert_eq!(only(&stage.promote("--view view").expect(0, "started"))["target"], "b");
    assert_eq!(stage.bot.count("status a"), 0, "dead is dead");
    let piped = stage.network.shell("\"$MIRROR\" probe | \"$MIRROR\" promote --view -");
    piped.expect(0, "in-place");
}

#[test]
fn a_view_that_is_not_trusted_moves_nothing() {
    let stage = Stage::new("");
    let view = stage.network.run("probe").stdout;
    let by = |text: &str| {
        std::fs::write(stage.network.path().join("view"), text).unwrap();
        stage.promote("--view view")
    };
    by(&view.replace("\"digest\":\"", "\"digest\":\"0")).expect(3, "unknown");
    let year = view.find("\"at\":\"").unwrap() + 6;
    by(&format!("{}2020{}", &view[..year], &view[year + 4..])).expect(3, "unknown");
    by(&format!("{}2220{}", &view[..year], &view[year + 4..])).expect_misuse();
    by(&view[..view.len() / 2]).expect_misuse();
    by(&view.replace("mirror.probe/1", "mirror.whois-brain/1")).expect_misuse();
    assert_eq!(stage.bot.log(), "");
    by(&view).expect(0, "started");
}

// memory

#[test]
fn lost_memory_costs_caution_only() {
    let stage = Stage::new("");
    stage.promote("").expect(0, "started");
    for file in std::fs::read_dir(stage.network.path().join("state")).unwrap() {
        std::fs::write(file.unwrap().path(), b"\xff{\"boot\":").unwrap();
    }
    stage.promote("").expect(0, "in-place");
    assert_eq!(stage.bot.acts(), 1);
}

#[test]
fn where_nothing_can_be_remembered_it_works_all_the_same() {
    let stage = Stage::new("");
    let promote = || {
        let mut command = stage.network.mirror(["promote"]);
        command.env("STATE_DIRECTORY", "/proc/no-such-place");
        command
    };
    stage.bot.before("start", "a", "touch \"$dir/starting\"; while [ ! -e \"$dir/go\" ]; do sleep 0.02; done");
    let first = Started::new(promote());
    wait_for("it starts", || stage.bot.path().join("starting").exists().then_some(()));
    run(promote()).expect(3, "busy");
    std::fs::write(stage.bot.path().join("go"), "").unwrap();
    first.end().expect(0, "started");
    run(promote()).expect(0, "in-place");
    assert_eq!(stage.bot.acts(), 1);
}

// several services

#[test]
fn each_service_goes_its_own_way_and_the_worst_stands_for_all() {
    let stage = Stage::new("");
    let list = stage.node_list("");
    let second = "[services.other]\nchain = \"bot\"\nstatus = \"false\"\nstart = \"false\"\nstop = \"true\"\n";
    stage.network.rewrite(&(list + second));
    let object = stage.promote("").expect(1, "failed");
    let verdicts: Vec<_> = object["services"].as_array().unwrap().iter().map(|s| s["verdict"].clone()).collect();
    assert_eq!(verdicts, ["started", "failed"]);
    assert_eq!(stage.bot.runs_on(), ["a"]);
    stage.promote("bot").expect(0, "in-place");
    stage.network.rewrite("[nodes]\na = \"127.0.0.1\"\n[chains]\nbrain = [\"a\"]\n");
    assert!(stage.promote("").expect_misuse().contains("no service"));
}
