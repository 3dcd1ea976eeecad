//! Services under a lease, with real registers: who may run them, and how `mirror promote` moves
//! them.
//!
//! The nodes are this machine, as in `tests/promote.rs`. `tests/register.rs` tries the stores
//! themselves, `tests/lease_model.rs` the rules.

#![allow(clippy::unwrap_used)]

#[path = "lease/many.rs"]
mod many;
#[path = "lease/migrate.rs"]
mod migrate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::register::etcd;
use crate::support::mirror::{Network, Said, Started};
use crate::support::processes::kill;
use crate::support::service::{Bot, LOCAL};
use crate::support::sockets::Port;
use serde_json::{Value, json};
use three_mirror::lease::LeaseState;
use three_mirror::register::git::GitRegister;

/// Short enough to wait for, long enough to be distinguished from no wait on a loaded machine.
const BRIEF: &str = "valid = \"3s\"\ngrace = \"500ms\"";
const BRIEF_WAIT: f64 = 3500.0;
/// A test that waits for this has failed: it takes longer than any command may.
const ENDLESS: &str = "valid = \"10m\"\ngrace = \"1m\"";

/// Three living nodes `a`, `b`, `c`, a service with a chain in that order, and a register.
struct Stage {
    bot: Bot,
    ports: [Port; 3],
    network: Network,
}

impl Stage {
    /// With a register in a file, and these parameters.
    fn new(parameters: &str) -> Self {
        Self::with(&format!("store = \"file\"\npath = \"{{dir}}/leases\"\n{parameters}"), "timeout = \"40s\"")
    }

    fn with(lease: &str, service: &str) -> Self {
        let bot = Bot::new();
        let commands = bot.commands();
        Self::around(bot, &commands, lease, service)
    }

    fn around(bot: Bot, commands: &str, lease: &str, service: &str) -> Self {
        // `mirror` runs on no node here, and only nodes of the brain chain may wait under the failsafe.
        let failsafe = if lease.contains("failsafe") { "" } else { "failsafe = false" };
        let stage = Self { bot, ports: [(); 3].map(|()| Port::silent()), network: Network::new("") };
        std::fs::create_dir(stage.leases()).unwrap();
        let [a, b, c] = stage.ports.each_ref().map(Port::number);
        stage.network.rewrite(&format!(
            "[nodes]\na = {{ address = \"127.0.0.1\", port = {a} }}\nb = {{ address = \"127.0.0.1\", port = {b} }}\n\
             c = {{ address = \"127.0.0.1\", port = {c} }}\n[chains]\nbrain = [\"a\", \"b\", \"c\"]\n\
             bot = [\"a\", \"b\", \"c\"]\n[cycle]\nsync = \"1h\"\n[probe]\ntimeout = \"10s\"\n\
             [remote]\ncommand = {LOCAL}\n[services.bot]\n{commands}\n{service}\n[lease]\n{lease}\n{failsafe}\n"
        ));
        stage
    }

    fn leases(&self) -> PathBuf {
        self.network.path().join("leases")
    }

    fn change(&self, from: &str, to: &str) {
        let list = std::fs::read_to_string(self.network.config()).unwrap();
        assert!(list.contains(from), "{list}");
        self.network.rewrite(&list.replace(from, to));
    }

    fn promote(&self, words: &str) -> Said {
        self.network.run(&format!("promote {words}"))
    }

    fn run(&self, words: &str) -> Said {
        self.network.run(words)
    }

    fn fall(&mut self, node: &str) {
        self.ports[place(node)].refuse();
    }

    fn rise(&mut self, node: &str) {
        self.ports[place(node)].listen();
    }

    /// Writes a record without compare-and-swap.
    fn seed(&self, holder: &str, epoch: u64, state: LeaseState, previous_holder: Option<&str>) {
        self.seed_by("tester", holder, epoch, state, previous_holder);
    }

    fn seed_by(&self, by: &str, holder: &str, epoch: u64, state: LeaseState, previous_holder: Option<&str>) {
        crate::support::lease::write(&self.leases().join("bot"), by, holder, epoch, state, previous_holder);
    }

    /// Granted to `a` in epoch 1, which runs it.
    fn settled(parameters: &str) -> Self {
        let stage = Self::new(parameters);
        stage.seed("a", 1, LeaseState::Granted, None);
        stage.promote("").expect(0, "started");
        stage
    }

    /// Granted to `a`, which runs it, probes all nodes every `sync`, and has just lost the others.
    fn cut_off(sync: &str) -> Self {
        let mut stage = Self::settled(BRIEF);
        stage.change("\"1h\"", &format!("\"{sync}\""));
        stage.promote("").expect(0, "in-place");
        stage.fall("b");
        stage.fall("c");
        stage
    }

    /// Checks that b counts as a living brain, and keeps the lease.
    fn is_left_to_b(&self) {
        let object = self.promote("").expect(3, "unknown");
        assert!(only(&object)["reason"].as_str().unwrap().contains("it is left to b"), "{object:#}");
        self.run("lease check --self b bot").expect(0, "self");
    }

    /// Creates an empty repository, for leases in git.
    fn make_remote(&self) {
        let path = self.network.path().join("lease.git");
        let made = std::process::Command::new("git").args(["init", "-q", "--bare"]).arg(path).status();
        assert!(made.unwrap().success());
    }

    fn register(&self) -> String {
        std::fs::read_to_string(self.leases().join("bot")).unwrap_or_default()
    }
}

fn place(node: &str) -> usize {
    ["a", "b", "c"].iter().position(|name| *name == node).unwrap()
}

fn only(object: &Value) -> &Value {
    let services = object["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "{object:#}");
    &services[0]
}

/// Its steps, such as `stop b confirmed`.
fn steps(object: &Value) -> Vec<String> {
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let all = only(object)["steps"].as_array().unwrap().iter();
    all.map(|step| ["step", "node", "outcome"].map(|key| word(step, key)).join(" ")).collect()
}

/// The report on its lease, without the time.
fn leased(object: &Value) -> (Value, Value, Value, Value, Value) {
    let lease = &only(object)["lease"];
    let get = |key: &str| lease[key].clone();
    (get("epoch_before"), get("holder_before"), get("epoch"), get("holder"), get("confirmed_by"))
}

fn waited(object: &Value) -> f64 {
    only(object)["lease"]["waited_ms"].as_f64().unwrap()
}

fn told(epoch_before: u64, before: &str, epoch: u64, holder: &str, confirmed: Option<&str>) -> [Value; 5] {
    let confirmed = confirmed.map_or(Value::Null, Value::from);
    [epoch_before.into(), before.into(), epoch.into(), holder.into(), confirmed]
}

fn list((a, b, c, d, e): (Value, Value, Value, Value, Value)) -> [Value; 5] {
    [a, b, c, d, e]
}

#[test]
fn a_first_claim_is_waited_out_and_then_nothing_is_touched() {
    let stage = Stage::new(BRIEF);
    stage.run("lease show").expect(1, "vacant");
    stage.run("lease check bot --self a").expect(1, "vacant");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(only(&object)["fencing"], "lease");
    assert_eq!(steps(&object), ["start a confirmed"]);
    assert!(waited(&object) >= BRIEF_WAIT - 1.0, "{object:#}");
    assert_eq!(only(&object)["lease"]["epoch_before"], Value::Null);
    assert_eq!((&only(&object)["lease"]["epoch"], &only(&object)["lease"]["holder"]), (&json!(1), &json!("a")));
    let show = stage.run("lease show bot").expect(0, "granted");
    let lease = &show["leases"][0];
    assert_eq!((&lease["holder"], &lease["epoch"], &lease["was"]), (&json!("a"), &json!(1), &Value::Null));
    assert!(lease["seen_since"].is_string(), "{show:#}");
    stage.run("lease check bot --self a").expect(0, "self");
    stage.run("lease check bot --self b").expect(1, "other");

    let (before, register) = (stage.bot.acts(), stage.register());
    let object = stage.promote("").expect(0, "in-place");
    assert_eq!((only(&object)["fencing"].clone(), stage.bot.acts()), (Value::Null, before));
    assert_eq!(only(&object)["lease"]["epoch"], 1);
    assert_eq!(stage.register(), register);
}

#[test]
fn a_dead_holder_is_waited_out() {
    let mut stage = Stage::settled(BRIEF);
    stage.fall("a");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["previous"]), (&json!("b"), &json!("a")));
    assert_eq!(only(&object)["fencing"], "lease");
    assert_eq!(list(leased(&object)), told(1, "a", 2, "b", None));
    assert!(waited(&object) >= BRIEF_WAIT - 1.0, "{object:#}");
    assert_eq!(steps(&object), ["start b confirmed"], "a dead node is asked nothing");
    let lease = stage.run("lease show bot").expect(0, "granted")["leases"][0].clone();
    assert_eq!((&lease["was"], &lease["why"]), (&json!("a"), &json!("a is dead")));
    // It comes back, and nothing moves.
    stage.rise("a");
    stage.promote("").expect(0, "stopped-elsewhere");
    stage.promote("").expect(0, "in-place");
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

#[test]
fn a_switchover_waits_for_the_confirmation_and_for_nothing_else() {
    let stage = Stage::settled(ENDLESS);
    let object = stage.promote("--to c --why maintenance").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(1, "a", 2, "c", Some("a")));
    assert_eq!(steps(&object), ["stop a confirmed", "start c confirmed"]);
    assert_eq!(only(&object)["fencing"], "lease");
    assert_eq!(stage.bot.runs_on(), ["c"]);
    assert!(stage.register().contains(r#""why":"maintenance""#), "{}", stage.register());
    // Even if it no longer runs on the old node: without that node's confirmation, it might be starting.
    stage.bot.crash("c");
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(steps(&object), ["stop c confirmed", "start b confirmed"]);
    assert_eq!(list(leased(&object)), told(2, "c", 3, "b", Some("c")));
}

/// Under the failsafe a holder asks the nodes of the brain chain for its lease, and no other machine.
#[test]
fn a_machine_that_is_no_node_grants_after_a_confirmed_stop_and_never_by_waiting() {
    let mut stage = Stage::settled(&format!("{BRIEF}\nfailsafe = true"));
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(1, "a", 2, "b", Some("a")));
    stage.fall("b");
    let object = stage.promote("").expect(3, "unknown");
    let reason = only(&object)["reason"].as_str().unwrap();
    assert!(reason.contains("claimed for a. Only a node of the brain chain"), "{reason}");
    assert!(!stage.register().contains("\"granted\""), "{}", stage.register());
    assert_eq!(stage.bot.runs_on(), ["b"], "nothing was started");
    let object = stage.promote("--self c").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["fencing"]), (&json!("a"), &json!("lease")), "{object:#}");
}

#[test]
fn an_unresponsive_holder_delays_a_takeover_and_does_not_block_it() {
    let stage = Stage::settled(BRIEF);
    stage.change("timeout = \"40s\"", "timeout = \"3s\"\nfailback = \"always\"");
    stage.bot.before("status", "a", "sleep 3600");
    stage.bot.before("stop", "a", "sleep 3600");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(only(&object)["target"], "b", "{object:#}");
    assert_eq!(list(leased(&object)), told(1, "a", 2, "b", None));
    assert!(waited(&object) >= BRIEF_WAIT - 1.0, "{object:#}");
    assert_eq!(steps(&object), ["stop a unconfirmed", "start b confirmed"]);
}

#[test]
fn a_stop_that_fails_confirms_nothing() {
    let stage = Stage::settled(BRIEF);
    // It stops, but the command fails, so the takeover waits.
    stage.bot.before("stop", "a", "kill -9 \"$(cat \"$pid_file\")\"; rm -f \"$pid_file\"; exit 1");
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(1, "a", 2, "b", None));
    assert!(waited(&object) >= BRIEF_WAIT - 1.0, "{object:#}");
    // Its status says that it still runs: nothing is started beside it, and the claim stays.
    stage.bot.before("stop", "b", "exit 1");
    stage.change("timeout = \"40s\"", "timeout = \"3s\"");
    let object = stage.promote("--to c").expect(3, "blocked");
    assert_eq!((stage.bot.runs_on(), stage.bot.count("start c")), (vec!["b".to_owned()], 0), "{object:#}");
    stage.run("lease show").expect(1, "claimed");
    stage.bot.before("stop", "b", "");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(only(&object)["target"], "c", "{object:#}");
    assert_eq!(stage.bot.runs_on(), ["c"]);
}

#[test]
fn an_abandoned_claim_is_finished() {
    let mut stage = Stage::settled(ENDLESS);
    stage.seed("c", 2, LeaseState::Claimed, Some("a"));
    let object = stage.promote("").expect(0, "in-place");
    assert_eq!(only(&object)["lease"]["epoch"], 1, "a quiet tick relies on what was read");
    stage.run("lease check bot --self a").expect(1, "claimed");
    stage.run("lease check bot --self c").expect(1, "claimed");
    // By any process on this machine.
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(2, "a", 2, "c", Some("a")));
    assert_eq!(stage.bot.runs_on(), ["c"]);
    // For another node, if the target has died.
    stage.seed("b", 3, LeaseState::Claimed, Some("c"));
    stage.fall("b");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(3, "c", 4, "a", Some("c")));
    // Or if the operator says so.
    stage.rise("b");
    stage.seed("b", 5, LeaseState::Claimed, Some("a"));
    let object = stage.promote("--to c").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(5, "a", 6, "c", Some("a")));
    // Back to the previous holder: no other node can run it.
    stage.seed("b", 7, LeaseState::Claimed, Some("c"));
    let object = stage.promote("--to c").expect(0, "started");
    assert_eq!(list(leased(&object)), told(7, "c", 8, "c", None));
    assert_eq!(stage.bot.runs_on(), ["c"]);
    assert_eq!(steps(&object), ["stop c confirmed", "start c confirmed"], "in the new epoch");
}

#[test]
fn a_granted_lease_is_settled_wherever_the_service_runs() {
    let stage = Stage::settled(ENDLESS);
    stage.bot.crash("a");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(list(leased(&object)), told(1, "a", 1, "a", None));
    assert_eq!(stage.bot.runs_on(), ["a"]);
    // The brain died between grant and start.
    stage.seed("b", 2, LeaseState::Granted, Some("a"));
    stage.change("\"1h\"", "\"1ms\"");
    stage.change("timeout = \"40s\"", "timeout = \"40s\"\nfailback = \"always\"");
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(2, "b", 2, "b", None));
    assert_eq!(steps(&object), ["stop a confirmed", "start b confirmed"]);
    assert_eq!(stage.bot.runs_on(), ["b"]);
}

#[test]
fn an_instance_without_the_lease_is_a_stray_however_well_it_runs() {
    let stage = Stage::settled(ENDLESS);
    stage.bot.start_on("c");
    stage.promote("--to a").expect(0, "stopped-elsewhere");
    assert_eq!(stage.bot.runs_on(), ["a"]);
    // An instance from before there was a lease is stopped, and started under the lease.
    let stage = Stage::new(BRIEF);
    stage.bot.start_on("b");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(only(&object)["target"], "b", "{object:#}");
    assert_eq!(steps(&object), ["stop b confirmed", "start b confirmed"]);
}

/// This node finds a claim by a brain that seems dead from here. That brain may have died since the claim, or
/// be about to grant it.
#[test]
fn a_lone_node_gives_another_brains_claim_time() {
    let mut stage = Stage::settled(BRIEF);
    stage.change("\"1h\"", "\"1ms\"");
    stage.fall("b");
    stage.fall("c");
    stage.seed_by("b", "b", 2, LeaseState::Claimed, Some("a"));
    let object = stage.promote("").expect(0, "started");
    assert!(waited(&object) > 0.0 && object["elapsed_ms"].as_f64() >= Some(BRIEF_WAIT), "{object:#}");
    assert_eq!(list(leased(&object)), told(2, "a", 3, "a", None));
}

/// The serving node is cut off, and learns of that by the claim: it ends the service, and probes nodes that
/// did not matter before.
#[test]
fn a_brain_that_grants_its_claim_is_alive() {
    for (sync, stops) in [("1ms", false), ("1h", true)] {
        let stage = Stage::cut_off(sync);
        stage.seed_by("b", "b", 2, LeaseState::Claimed, Some("a"));
        if stops {
            stage.bot.crash("a");
        }
        let brain = Started::new(stage.network.mirror(["promote", "--json"]));
        std::thread::sleep(Duration::from_millis(1500));
        stage.seed_by("b", "b", 2, LeaseState::Granted, Some("a"));
        brain.end().expect(3, "unknown");
        stage.run("lease check --self b bot").expect(0, "self");
        stage.is_left_to_b();
    }
}

/// A brain replaces only a record that it has read.
#[test]
fn a_brain_that_replaced_our_record_is_alive() {
    let stage = Stage::cut_off("1ms");
    // It took the lease, and may have died afterwards.
    stage.seed_by("b", "b", 2, LeaseState::Granted, Some("a"));
    let brain = Started::new(stage.network.mirror(["promote", "--json"]));
    crate::support::wait_for("a claim", || stage.register().contains("\"epoch\":3").then_some(()));
    stage.seed_by("b", "b", 4, LeaseState::Granted, Some("b"));
    brain.end().expect(3, "unknown");
    stage.is_left_to_b();
}

/// As when the serving node is cut off from the other nodes, but not from the arbiter.
#[test]
fn of_two_brains_that_do_not_see_each_other_one_gives_way() {
    let mut stage = Stage::settled(BRIEF);
    stage.change("timeout = \"10s\"", "timeout = \"1500ms\"");
    stage.change("\"1h\"", "\"1ms\"");
    stage.fall("b");
    stage.fall("c");
    stage.promote("").expect(0, "in-place");
    std::thread::sleep(Duration::from_millis(3600));
    stage.promote("").expect(0, "in-place");
    // This node has seen b dead for a while, and has read the register without this claim.
    stage.seed_by("b", "b", 2, LeaseState::Claimed, Some("a"));
    let register = stage.register();
    let object = stage.promote("").expect(3, "unknown");
    assert!(only(&object)["reason"].as_str().unwrap().contains("it is left to b"), "{object:#}");
    assert_eq!((stage.register(), steps(&object)), (register, Vec::<String>::new()));
    stage.promote("--dry-run").expect(3, "unknown");
    // The brain that sees more nodes overrules the other, but only once.
    stage.rise("c");
    let object = stage.promote("").expect(0, "started");
    assert_eq!(list(leased(&object)), told(2, "a", 3, "a", None));
    stage.seed_by("b", "b", 4, LeaseState::Claimed, Some("a"));
    stage.promote("").expect(3, "unknown");
    // An operator may decide otherwise.
    let object = stage.promote("--to c").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(4, "a", 5, "c", Some("a")));
    // Once it is seen alive, its claim is finished.
    stage.seed_by("b", "b", 6, LeaseState::Claimed, Some("c"));
    stage.rise("b");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(6, "c", 6, "b", Some("c")));
}

#[test]
fn while_the_arbiter_is_away_nothing_is_touched() {
    let mut stage = Stage::settled(BRIEF);
    let hidden = stage.network.path().join("hidden");
    std::fs::rename(stage.leases(), &hidden).unwrap();
    // A quiet tick relies on a recent read.
    stage.promote("").expect(0, "in-place");
    stage.change("\"1h\"", "\"1ms\"");
    let before = stage.bot.acts();
    let object = stage.promote("").expect(3, "unknown");
    let reason = only(&object)["reason"].as_str().unwrap();
    assert!(reason.contains("bot runs on a") && reason.contains("no such directory"), "{reason}");
    assert_eq!(only(&object)["lease"]["epoch"], Value::Null, "{object:#}");
    stage.promote("--to b").expect(3, "unknown");
    stage.fall("a");
    let object = stage.promote("").expect(3, "unknown");
    assert!(only(&object)["reason"].as_str().unwrap().contains("bot runs on no living node"), "{object:#}");
    stage.bot.start_on("c");
    stage.promote("").expect(3, "unknown");
    stage.run("lease check bot --self a").expect(3, "unknown");
    let show = stage.run("lease show bot").expect(3, "unknown");
    assert!(show["reason"].as_str().unwrap().contains("last seen: bot: granted to a in epoch 1"), "{show:#}");
    stage.run("lease history bot").expect(3, "unknown");
    stage.run("lease repair bot").expect(3, "unknown");
    assert_eq!(stage.bot.acts(), before + 1, "{}", stage.bot.log());
    std::fs::rename(hidden, stage.leases()).unwrap();
    stage.promote("").expect(0, "moved");
    assert_eq!(stage.bot.count("stop c"), 1, "a stray that said that it runs");
}

#[test]
fn a_register_from_a_backup_is_not_obeyed_until_it_is_repaired() {
    let mut stage = Stage::settled(BRIEF);
    stage.change("\"1h\"", "\"1ms\"");
    let backup = stage.register();
    stage.promote("--to b").expect(0, "moved");
    for restored in [Some(backup), None] {
        let file = stage.leases().join("bot");
        let _ = match &restored {
            Some(text) => std::fs::write(&file, text),
            None => std::fs::remove_file(&file),
        };
        let acts = stage.bot.acts();
        stage.run("lease check bot --self a").expect(3, "unknown");
        stage.run("lease show").expect(3, "unknown");
        let object = stage.promote("").expect(3, "unknown");
        assert!(only(&object)["reason"].as_str().unwrap().ends_with("mirror lease repair bot."), "{object:#}");
        stage.promote("--to c").expect(3, "unknown");
        assert_eq!(stage.bot.acts(), acts);
        assert_eq!(stage.register(), restored.clone().unwrap_or_default());

        let begun = Instant::now();
        let seen = stage.run("lease repair bot --why restored").expect(0, "repaired");
        let epoch = seen["epoch"].as_u64().unwrap();
        assert!(epoch > seen["epoch_seen"].as_u64().unwrap(), "{seen:#}");
        assert!(epoch > seen["epoch_before"].as_u64().unwrap_or(0), "{seen:#}");
        assert!(stage.register().contains(r#""why":"restored""#));
        stage.run("lease check bot --self b").expect(1, "claimed");
        let sound = stage.run("lease repair bot").expect(0, "sound");
        assert!(sound["reason"].as_str().unwrap().contains(&format!("seen epoch {epoch} at the latest")), "{sound:#}");
        // The promotion waits whatever the nodes confirm: no one knows which node runs it.
        let object = stage.promote("").expect(0, "started");
        assert!(begun.elapsed() >= Duration::from_millis(1500), "{object:#}");
        assert_eq!(only(&object)["lease"]["confirmed_by"], Value::Null, "{object:#}");
        assert_eq!((&only(&object)["lease"]["epoch"], &only(&object)["target"]), (&json!(epoch), &json!("b")));
        assert_eq!(stage.bot.runs_on(), ["b"]);
    }
    stage.fall("b");
    stage.promote("").expect(0, "moved");
}

#[test]
fn a_forged_epoch_is_not_obeyed_and_does_not_use_up_the_epochs() {
    const LAST: u64 = (1 << 53) - 1;
    let stage = Stage::settled(BRIEF);
    stage.change("\"1h\"", "\"1ms\"");
    stage.seed("c", LAST, LeaseState::Granted, None);
    let object = stage.promote("").expect(3, "unknown");
    let reason = only(&object)["reason"].as_str().unwrap();
    assert!(reason.contains("jumped from epoch 1 to 9007199254740991"), "{reason}");
    let object = stage.run("lease repair bot").expect(0, "repaired");
    assert_eq!(object["epoch"], 2, "{object:#}");
    stage.promote("").expect(0, "started");
    assert_eq!(stage.bot.runs_on(), ["a"]);
    // A network that knows no other record goes on from there.
    let stage = Stage::new(BRIEF);
    stage.seed("a", LAST, LeaseState::Granted, None);
    stage.promote("").expect(0, "started");
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(LAST, "a", 1, "b", Some("a")));
    stage.run("lease check bot --self b").expect(0, "self");
}

#[test]
fn foreign_content_is_not_obeyed() {
    let stage = Stage::settled(BRIEF);
    stage.change("\"1h\"", "\"1ms\"");
    std::fs::write(stage.leases().join("bot"), "hello\n").unwrap();
    let acts = stage.bot.acts();
    stage.promote("").expect(3, "unknown");
    stage.run("lease check bot --self a").expect(3, "unknown");
    stage.run("lease repair bot").expect(3, "unknown");
    stage.run("lease history bot").expect(3, "unknown");
    assert_eq!((stage.bot.acts(), stage.register().as_str()), (acts, "hello\n"));
}

#[test]
fn after_a_failed_start_the_next_node_gets_the_lease() {
    let stage = Stage::settled(ENDLESS);
    stage.bot.crash("a");
    stage.bot.before("start", "a", "exit 1");
    stage.bot.before("start", "b", "exit 1");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(only(&object)["target"], "c");
    let expected = ["start a failed", "stop a confirmed", "start b failed", "stop b confirmed", "start c confirmed"];
    assert_eq!(steps(&object), expected);
    assert_eq!(list(leased(&object)), told(1, "a", 3, "c", Some("b")));
}

#[test]
fn a_dry_run_says_what_it_would_do() {
    let mut stage = Stage::settled(BRIEF);
    let register = stage.register();
    let reason = |said: Said| only(&said.expect(0, "planned"))["reason"].as_str().unwrap().to_owned();
    let said = reason(stage.promote("--dry-run --to b"));
    assert!(said.contains("granted to b, epoch 2, when a has confirmed its stop, at the latest 3s 500ms"), "{said}");
    stage.fall("a");
    let said = reason(stage.promote("--dry-run"));
    assert!(said.contains("granted to b, epoch 2"), "{said}");
    assert_eq!((stage.register(), stage.bot.acts()), (register, 1));
    stage.rise("a");
    let said = reason(stage.promote("--dry-run"));
    assert!(said.ends_with("there is nothing to do."), "{said}");
}

#[test]
fn a_tick_that_guards_a_service_guards_its_start() {
    let service = "timeout = \"4s\"\n[services.bot.lease]\nguard = \"tick\"\nvalid = \"1h\"\n";
    let stage = Stage::with("store = \"file\"\npath = \"{dir}/leases\"", service);
    stage.seed("a", 1, LeaseState::Granted, None);
    let bin = stage.network.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let script =
        "#!/bin/sh\necho \"$NODE $*\" >>\"$(dirname \"$0\")/asked\"\nexec \"$MIRROR\" \"$@\" --self \"$NODE\"\n";
    std::fs::write(bin.join("mirror"), script).unwrap();
    std::fs::set_permissions(bin.join("mirror"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let promote = |words: &[&str]| {
        let mut command = stage.network.mirror([&["promote"], words].concat());
        command.env("PATH", &path);
        crate::support::mirror::run(command)
    };
    promote(&[]).expect(0, "started");
    let asked = std::fs::read_to_string(bin.join("asked")).unwrap();
    assert_eq!(asked, "a lease check --quiet bot\n");
    // The lease moved while the start was on its way.
    stage.bot.crash("a");
    std::fs::write(bin.join("mirror"), "#!/bin/sh\nexit 1\n").unwrap();
    let object = promote(&["--to", "a"]).expect(1, "failed");
    assert!(steps(&object).contains(&"start a failed".to_owned()), "{object:#}");
    assert_eq!(stage.bot.count("start a"), 1, "it was not started");
}

#[test]
fn in_a_git_remote_every_takeover_is_kept() {
    let stage = Stage::with(&format!("store = \"git\"\nremote = \"{{dir}}/lease.git\"\n{BRIEF}"), "timeout = \"40s\"");
    stage.run("lease show").expect(3, "unknown");
    stage.promote("").expect(3, "unknown");
    assert_eq!(stage.bot.acts(), 0);
    stage.make_remote();
    stage.run("lease show").expect(1, "vacant");
    stage.promote("").expect(0, "started");
    stage.promote("--to b --why 'one'").expect(0, "moved");
    let mut stage = stage;
    stage.fall("b");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(2, "b", 3, "a", None));
    assert!(waited(&object) >= BRIEF_WAIT - 1.0);
    let done = stage.run("history").expect(0, "listed");
    let promotions = done["entries"].as_array().unwrap().iter().filter(|entry| entry["event"] == "promote");
    let epochs: Vec<_> = promotions.map(|entry| entry["epoch"].as_u64()).collect();
    // The first is that the remote was missing.
    assert_eq!(epochs, [None, Some(1), Some(2), Some(3)], "{done:#}");
    let history = stage.run("lease history bot").expect(0, "shown");
    let takeovers: Vec<String> = history["takeovers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| format!("{} {} {} {}", t["epoch"], t["was"], t["holder"], t["state"]).replace('"', ""))
        .collect();
    assert_eq!(takeovers, ["3 b a granted", "2 a b granted", "1 null a granted"]);
    assert!(history["takeovers"][0]["claimed_at"].is_string() && history["takeovers"][0]["granted_at"].is_string());
    let last = stage.run("lease history bot -n 1").expect(0, "shown");
    assert_eq!(last["takeovers"].as_array().unwrap().len(), 1);
    // On another machine, which has no state of it.
    let mut elsewhere = stage.network.mirror(["lease", "check", "bot", "--self", "a"]);
    elsewhere.env("STATE_DIRECTORY", stage.network.path().join("elsewhere"));
    crate::support::mirror::run(elsewhere).expect(0, "self");
}

/// The ExecCondition of a unit must tolerate a slow arbiter, but a tick has a service to stop.
#[test]
fn a_check_waits_for_valid_and_at_a_tick_for_grace() {
    let lease = "store = \"git\"\nremote = \"ssh://git@192.0.2.9/lease\"\nvalid = \"15s\"\ngrace = \"2s\"";
    for (guard, pause, status, verdict) in
        [("hold", "4", 0, "self"), ("tick", "0", 0, "self"), ("tick", "4", 3, "unknown")]
    {
        let stage = Stage::with(&format!("{lease}\nguard = \"{guard}\""), "timeout = \"4s\"");
        stage.make_remote();
        let (here, remote) = (stage.network.path(), stage.network.path().join("lease.git"));
        let git = GitRegister::open(&here.join("cache"), remote.to_str().unwrap(), "refs/mirror/bot", "tester", None);
        crate::support::lease::write_to(&git.unwrap(), "tester", "a", 1, LeaseState::Granted, None);
        // Reaches this host instead of another, after a pause.
        let ssh = format!("#!/bin/sh\nsleep {pause}\nexec git upload-pack '{}'\n", remote.display());
        std::fs::write(here.join("ssh"), ssh).unwrap();
        let mut check = stage.network.mirror(["lease", "check", "bot", "--self", "a"]);
        check.env("GIT_SSH_COMMAND", format!("sh '{}'", here.join("ssh").display())).env("GIT_SSH_VARIANT", "simple");
        crate::support::mirror::run(check).expect(status, verdict);
    }
}

#[test]
fn etcd_keeps_takeovers_too() {
    if !etcd::is_there() {
        return;
    }
    let etcd = etcd::Etcd::new(1);
    let endpoints = json!(etcd.endpoints()).to_string();
    let mut stage = Stage::with(&format!("store = \"etcd\"\nendpoints = {endpoints}\n{BRIEF}"), "timeout = \"40s\"");
    stage.promote("").expect(0, "started");
    stage.promote("--to b").expect(0, "moved");
    stage.fall("b");
    let object = stage.promote("").expect(0, "moved");
    assert_eq!(list(leased(&object)), told(2, "b", 3, "a", None));
    let history = stage.run("lease history bot").expect(0, "shown");
    assert_eq!(history["takeovers"].as_array().unwrap().len(), 3, "{history:#}");
    stage.run("lease check bot --self a").expect(0, "self");
}

#[test]
fn the_node_list_is_checked_with_its_lease() {
    let network = Network::new("");
    let check = |lease: &str| {
        network.rewrite(&format!(
            "nodes = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\n[chains]\nbrain = [\"b\", \"a\"]\nbot = [\"a\", \"b\"]\n\
             [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\ntimeout = \"1s\"\n{lease}\n"
        ));
        let object = network.run("chain check").expect(0, "sound");
        let problems = object["problems"].as_array().unwrap().iter();
        let codes = problems.map(|problem| format!("{} {}", problem["code"], problem["where"]).replace('"', ""));
        (codes.collect::<Vec<_>>(), object["budget"]["lease_ms"].as_u64().unwrap(), object["digest"].clone())
    };
    let bare = check("");
    assert_eq!((bare.0.len(), bare.1), (0, 0));
    let git = |host: &str| format!("[lease]\nstore = \"git\"\nremote = \"ssh://git@{host}:2222/lease\"");
    let away = check(&git("192.0.2.9"));
    assert_eq!((away.0.len(), away.1), (1, 3000), "{:?}", away.0);
    assert!(away.0[0].starts_with("over-budget"), "7.75 s and 3 s are more than 10 s: {:?}", away.0);
    assert_eq!(check(&git("192.0.2.1")).0[1], "arbiter-on-node lease.remote");
    assert_eq!(check("[lease]\nstore = \"git\"\nremote = \"/srv/lease\"").0[1], "arbiter-local lease.remote");
    assert_eq!(check("[lease]\nstore = \"file\"\npath = \"/srv/lease\"").0[1], "arbiter-local lease.path");
    let etcd = |more: &str| {
        let endpoints = "[\"http://192.0.2.9:2379\", \"http://192.0.2.2:2379\"]";
        check(&format!("[lease]\nstore = \"etcd\"\nendpoints = {endpoints}\n{more}"))
    };
    assert_eq!(etcd("").0[1], "arbiter-on-node lease.endpoints[1]");
    let clear = etcd("user = \"m\"\npassword_file = \"one\"").0;
    assert_eq!(clear.iter().filter(|code| code.starts_with("password-in-clear")).count(), 2, "{clear:?}");
    let short = check(&format!("{}\nvalid = \"299ms\"\ngrace = \"99ms\"", git("192.0.2.9"))).0;
    assert_eq!(short, ["short-lease services.bot.lease.valid", "short-lease services.bot.lease.grace"]);
    // The place of the lease is part of the digest; the path of the password file is not.
    let other = check(&git("192.0.2.8")).2;
    assert!(bare.2 != away.2 && away.2 != other);
    assert_eq!(check(&format!("{}\nvalid = \"2s\"\nprefix = \"refs/mirror/\"", git("192.0.2.9"))).2, away.2);
    assert_ne!(check(&format!("{}\nvalid = \"3s\"", git("192.0.2.9"))).2, away.2);
    assert_eq!(etcd("user = \"m\"\npassword_file = \"one\"").2, etcd("user = \"m\"\npassword_file = \"two\"").2);
    let list = std::fs::read_to_string(network.config()).unwrap();
    let (head, _) = list.split_once("[lease]").unwrap();
    for (url, codes) in [("https://m:word@192.0.2.9/l", 1), ("https://m@192.0.2.9:443/a:b@c", 0)] {
        network.rewrite(&format!("{head}[lease]\nstore = \"git\"\nremote = \"{url}\"\n"));
        let object = network.run("chain check").json();
        let problems = object["problems"].as_array().unwrap().iter();
        let found = problems.filter(|problem| problem["code"] == "secret-in-url").count();
        assert_eq!(found, codes, "{object:#}");
        assert!(!object.to_string().contains("word@"), "{object:#}");
    }
}

#[test]
fn the_check_tells_what_is_survived_of_the_arbiter() {
    let network = Network::new("");
    let check = |brain: &str, lease: &str, more: &str| {
        network.rewrite(&format!(
            "{more}\n[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\nc = \"192.0.2.3\"\n\
             [chains]\nbrain = {brain}\nbot = [\"a\", \"b\", \"c\"]\n\
             [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\ntimeout = \"1s\"\n{lease}\n"
        ));
        let object = network.run("chain check").expect(0, "sound");
        object["arbiter"].clone()
    };
    let lease = |more: &str| format!("[lease]\nstore = \"git\"\nremote = \"ssh://git@192.0.2.9/lease\"\n{more}");
    let (all, two) = ("[\"b\", \"a\", \"c\"]", "[\"b\", \"a\"]");
    assert!(check(all, "", "").is_null());
    let arbiter = check(all, &lease(""), "");
    assert_eq!(arbiter["covered"], "any 2 nodes while the arbiter answers; the arbiter while all 3 nodes answer");
    assert_eq!(
        arbiter["not_covered"],
        json!(["the arbiter and a node at the same time", "a start or a takeover while the arbiter is away"])
    );
    assert_eq!((&arbiter["survives_any"], &arbiter["goes_on"]), (&json!(2), &json!(["bot"])));
    assert_eq!((&arbiter["voters"], &arbiter["stops"]), (&json!(["b", "a", "c"]), &json!([])));
    let covered = check(two, &lease(""), "")["covered"].clone();
    assert_eq!(
        covered,
        "any 1 node while the arbiter answers; the arbiter while all 2 nodes of the chain brain answer"
    );
    let without = check(all, &lease("failsafe = false"), "");
    assert_eq!(without["covered"], "any 2 nodes while the arbiter answers");
    assert_eq!(without["stops"], json!([{"service": "bot", "why": "failsafe = false"}]));
    assert_eq!(without["not_covered"][0], "the arbiter, for bot: failsafe = false");
    let user = "[remote]\nuser = \"mirror\"\n";
    let why = check(all, &(lease("") + "\n" + user), "")["stops"][0]["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.starts_with("b cannot answer as mirror")), "{why}");
    assert_eq!(check(all, &(lease("") + "\n" + user), "state = \"/var/lib/mirror\"")["goes_on"], json!(["bot"]));
}

#[test]
fn lease_commands_need_a_lease() {
    let stage = Stage::new("");
    let list = std::fs::read_to_string(stage.network.config()).unwrap();
    stage.network.rewrite(list.split("[lease]").next().unwrap());
    for words in ["lease show", "lease check bot --self a", "lease history bot", "lease repair bot"] {
        assert!(stage.run(words).expect_misuse().contains("add [lease]"), "{words}");
    }
    let object = stage.promote("").expect(0, "started");
    assert_eq!((&only(&object)["lease"], &only(&object)["fencing"]), (&Value::Null, &json!("confirmed")));
}

/// When the guarded service acted, in ns, on which node and in which epoch.
fn beats(stage: &Stage) -> Vec<(u64, u64, String)> {
    let text = std::fs::read_to_string(stage.bot.path().join("beats")).unwrap_or_default();
    let beat = |line: &str| {
        let [time, node, epoch] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        Some((epoch.parse().ok()?, time.parse().ok()?, node.to_owned()))
    };
    text.lines().filter_map(beat).collect()
}

/// Checks that every epoch has one node, and has ended when the next one begins.
fn never_two(beats: &[(u64, u64, String)]) {
    let mut sorted = beats.to_vec();
    sorted.sort();
    for pair in sorted.windows(2) {
        let [(epoch, time, node), (next_epoch, next_time, next_node)] = pair else { unreachable!() };
        if epoch == next_epoch {
            assert_eq!(node, next_node, "epoch {epoch} has two nodes");
        } else if node != next_node {
            assert!(time < next_time, "{node} acted {} ns after {next_node} began", time - next_time);
        }
    }
}

#[test]
fn the_next_promotion_finishes_a_killed_one_and_two_never_run() {
    let rounds = std::env::var("MIRROR_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    kills("store = \"file\"\npath = \"{dir}/leases\"", 400, rounds, [900_000, 120_000]);
}

#[test]
fn the_next_promotion_finishes_a_killed_one_in_a_git_remote() {
    kills("store = \"git\"\nremote = \"{dir}/lease.git\"", 2000, 16, [2_600_000, 300_000]);
}

/// Kills so many promotions, each within so many µs: in turn takeovers from a node that is cut off, and moves
/// from a node that answers.
fn kills(store: &str, valid_ms: u64, rounds: u64, within: [u64; 2]) {
    let bot = Bot::new();
    let script = bot.path().join("guarded.sh");
    std::fs::write(&script, include_str!("lease/guarded.sh")).unwrap();
    let line = |verb| {
        let (script, dir) = (script.display(), bot.path().display());
        format!("{verb} = \"VALID_MS={valid_ms} sh {script} {dir} {verb}\"\n")
    };
    let commands = ["status", "start", "stop"].map(line).concat();
    let lease = format!("{store}\nvalid = \"{valid_ms}ms\"\ngrace = \"200ms\"");
    let mut stage = Stage::around(bot, &commands, &lease, "timeout = \"10s\"\nfailback = \"never\"");
    stage.make_remote();
    stage.promote("").expect(0, "started");
    let (mut unfinished, mut moves) = (0, 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let show = stage.run("lease show").json();
        let holder = show["leases"][0]["holder"].as_str().unwrap_or("a").to_owned();
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|node| *node != holder).collect();
        // Cut off, it runs on until it notices; or it is asked to stop.
        let words = if round % 2 == 0 {
            stage.fall(&holder);
            vec!["promote".to_owned()]
        } else {
            ["promote", "--to", others[usize::try_from(random % 2).unwrap()]].map(str::to_owned).to_vec()
        };
        let begun = Instant::now();
        let brain = Started::new(stage.network.mirror(&words));
        let boot_instant = Duration::from_micros(random % within[usize::from(round % 2 == 1)]);
        std::thread::sleep(boot_instant.saturating_sub(begun.elapsed()));
        kill(brain.pid());
        brain.end();
        let state = stage.run("lease show").json();
        unfinished += u32::from(state["verdict"] == "claimed");
        // With the state directory of another brain, or with this one's.
        let mut next = stage.network.mirror(["promote"]);
        if random & 4 == 0 {
            next.env("STATE_DIRECTORY", stage.network.path().join("other"));
        }
        let said = crate::support::mirror::run(next);
        assert_eq!(said.status, 0, "round {round}, killed after {boot_instant:?}: {said:?}");
        moves += u32::from(said.json()["verdict"] == "moved");
        if round % 2 == 0 {
            stage.rise(&holder);
        }
    }
    let beats = beats(&stage);
    println!("{rounds} kills, {unfinished} unfinished claims, {moves} moves, {} beats", beats.len());
    assert!(beats.len() > usize::try_from(rounds).unwrap(), "{} beats", beats.len());
    // Otherwise it was never killed at a critical time.
    assert!(unfinished > 0 || rounds < 100, "no claim was left unfinished");
    never_two(&beats);
}
