//! The failsafe: with the arbiter away, the holder goes on while all nodes of the brain chain vouch for it.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::manager::{hear, says};
use super::{Field, OBEDIENT, Running};
use crate::support::mirror::run;
use crate::support::processes::{kill, lives, signal};
use crate::support::sshd::{Client, Sshd};
use crate::support::wait_for;

/// How a node is reached, with a line in `asked` each time: not at all while `NODE.dead` exists; with a status of 0 and no output while
/// `NODE.mute` exists. Each node has its own state.
const REMOTE: &str = r#"#!/bin/sh
echo "$1" >>asked
[ -e "$1.dead" ] && exit 255
[ -e "$1.mute" ] && exit 0
STATE_DIRECTORY="$PWD/state-$1" exec sh -c "$2"
"#;

/// Three voters; `a` holds the lease.
fn field(valid: &str) -> Field {
    let field = Field::new(valid, "2s");
    let list = std::fs::read_to_string(field.network.config()).unwrap();
    let list =
        list.replace("failsafe = false, ", "").replace("b = \"192.0.2.2\"", "b = \"192.0.2.2\", c = \"192.0.2.3\"");
    let list = list.replace("brain = [\"a\", \"b\"]", "brain = [\"a\", \"b\", \"c\"]");
    let remote = "remote = { command = [\"sh\", \"{dir}/remote.sh\", \"{node}\", \"{command}\"] }\n";
    // Before the table of the service.
    let (head, service) = list.split_once("[services.bot]").unwrap();
    field.network.rewrite(&format!("{head}\n{remote}\n[services.bot]{service}"));
    std::fs::write(field.path("remote.sh"), REMOTE).unwrap();
    field
}

/// Starts the command in surroundings in which nodes find `mirror`.
fn start(field: &Field) -> Running<'_> {
    let mut command = field.holding(OBEDIENT);
    command.env("PATH", path_with_mirror());
    field.begin(command)
}

fn path_with_mirror() -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_mirror")).parent().unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

fn events(field: &Field) -> Vec<String> {
    let history = std::fs::read_to_string(field.path("state/history.jsonl")).unwrap_or_default();
    let event = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["event"].as_str()?.to_owned());
    history.lines().filter_map(event).collect()
}

#[test]
fn with_the_arbiter_away_it_goes_on_while_all_voters_vouch() {
    let field = field("4s");
    let running = start(&field);
    field.cut_off();
    wait_for("the failsafe begins", || field.shown()["failsafe_since"].is_string().then_some(()));
    // Several times as long as any read permits.
    std::thread::sleep(Duration::from_secs(10));
    assert!(lives(running.main) && !field.path("term").exists());
    assert_eq!(field.shown()["voters"], 3);
    let shown = field.network.run("lease show bot").json();
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("held here by failsafe since") && reason.ends_with("3 of 3 voters."), "{reason}");
    let status = field.network.run("status --here").json();
    let lease = &status["here"]["services"][0]["lease"];
    assert_eq!(
        (&lease["failsafe_since"], &lease["voters"]),
        (&field.shown()["failsafe_since"], &json!(3)),
        "{lease:#}"
    );
    let text = field.network.run("status --text").stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = "the lease of bot is held by failsafe on a since ";
    assert!(text.contains(words) && text.contains("Z, 3 of 3 voters: the arbiter cannot be read"), "{text}");
    assert!(text.contains("epoch 1, failsafe") && !text.contains("in doubt"), "{text}");
    field.bring_back();
    wait_for("the failsafe ends", || field.shown()["failsafe_since"].is_null().then_some(()));
    signal(running.hold(), Signal::TERM);
    assert_eq!(running.end().status, 9);
    let events = events(&field);
    let ours: Vec<_> = events.iter().filter(|event| event.starts_with("failsafe")).collect();
    // On a busy machine a read may be late once more.
    let pairs = ours.chunks(2).all(|pair| pair == ["failsafe-begin", "failsafe-end"]);
    assert!(!ours.is_empty() && pairs, "{events:?}");
}

#[test]
fn while_the_register_answers_nobody_is_asked() {
    let field = field("9s");
    let mut command = field.network.mirror(["hold", "bot", "--check", "500ms", "--", "sh", "-c", OBEDIENT]);
    command.env("PATH", path_with_mirror());
    let running = field.begin(command);
    // Longer than any read permits; a machine that stands still for less than half of that is no late register.
    std::thread::sleep(Duration::from_secs(10));
    assert!(lives(running.main));
    assert!(!field.path("asked").exists(), "{:?}", std::fs::read_to_string(field.path("asked")));
    let shown = &field.network.run("lease show bot").expect(0, "granted")["leases"][0];
    let reads = &shown["reads"];
    // The file is written every five seconds: it knows some of the twenty reads by now.
    assert!(reads["answered"].as_u64().unwrap() >= 1 && reads["failed"] == 0, "{shown:#}");
    let of = |key: &str| reads[key].as_f64().unwrap();
    assert!(of("min_ms") <= of("median_ms") && of("median_ms") <= of("max_ms"), "{shown:#}");
    assert!(of("max_ms") < shown["valid_ms"].as_f64().unwrap() && shown["read_ms"].is_f64(), "{shown:#}");
    signal(running.hold(), Signal::TERM);
    assert_eq!(running.end().status, 9);
    wait_for("hold has ended", || {
        field.network.run("lease show bot").json()["leases"][0]["reads"].is_null().then_some(())
    });
}

/// A login takes longer than a short `valid`, so the first round must not need one.
#[test]
fn the_connections_to_the_voters_are_open_before_they_are_needed() {
    let client = Client::new();
    let field = Field::new("9s", "2s");
    let servers = ["b", "c"].map(|name| {
        let mut sshd = Sshd::named(&client, name);
        sshd.configure(&format!("ForceCommand touch {}; exec sh", field.path("asked").display()));
        sshd
    });
    let [b, c] = &servers;
    let list = std::fs::read_to_string(field.network.config()).unwrap();
    let list =
        list.replace("failsafe = false, ", "").replace("brain = [\"a\", \"b\"]", "brain = [\"a\", \"b\", \"c\"]");
    field.network.rewrite(&list.replace("\"192.0.2.2\"", &format!("{}, c = {}", b.node(), c.node())));
    client.install_ssh(&field.path("bin/ssh"));
    let mut command = field.holding(OBEDIENT);
    command.env("PATH", format!("{}:{}", field.path("bin").display(), path_with_mirror()));
    let running = field.begin(command);
    let is_socket = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
    let connections =
        || std::fs::read_dir(field.path("mirror")).into_iter().flatten().flatten().filter(is_socket).count();
    wait_for("b and c are connected", || (connections() == 2).then_some(()));
    let logins = [b.logins(), c.logins()];
    b.sessions().into_iter().for_each(kill);
    wait_for("b is connected again", || (b.logins() > logins[0] && connections() == 2).then_some(()));
    assert!(c.logins() == logins[1] && lives(running.main) && !field.path("asked").exists());
    signal(running.hold(), Signal::TERM);
    assert_eq!(running.end().status, 9);
}

/// The register answers nothing, neither yes nor an error: no read has failed when the first round is due.
#[test]
fn a_register_that_hangs_is_noticed_before_the_permit_expires() {
    let field = field("4s");
    let running = start(&field);
    let lock = std::fs::File::open(field.path("lease/bot.lock")).unwrap();
    lock.lock().unwrap();
    wait_for("the failsafe begins", || field.shown()["failsafe_since"].is_string().then_some(()));
    std::thread::sleep(Duration::from_secs(8));
    assert!(lives(running.main) && !field.path("term").exists());
    drop(lock);
    wait_for("the failsafe ends", || field.shown()["failsafe_since"].is_null().then_some(()));
    assert!(lives(running.main) && !field.path("term").exists());
}

#[test]
fn a_unanimous_round_feeds_the_watchdog() {
    let field = field("3s");
    let socket = UnixDatagram::bind(field.path("notify")).unwrap();
    let mut command = field.holding(OBEDIENT);
    command.env("PATH", path_with_mirror()).env("NOTIFY_SOCKET", field.path("notify"));
    let running = field.begin(command);
    hear(&socket, |heard| says(heard, "WATCHDOG=1") >= 1);
    field.cut_off();
    let began = |heard: &[String]| heard.iter().any(|message| message.starts_with("STATUS=bot goes on by failsafe"));
    hear(&socket, |heard| began(heard));
    hear(&socket, |heard| says(heard, "WATCHDOG=1") >= 5);
    std::fs::write(field.path("b.dead"), "").unwrap();
    hear(&socket, |heard| says(heard, "STOPPING=1") >= 1);
    assert_eq!(running.end().status, 75);
}

#[test]
fn without_one_voter_it_stops() {
    for fault in ["b.dead", "b.mute"] {
        let field = field("3s");
        std::fs::write(field.path(fault), "").unwrap();
        let running = start(&field);
        field.cut_off();
        let said = running.end();
        assert_eq!(said.status, 75, "{fault}: {said:?}");
        assert!(field.path("term").exists() && !said.stderr.contains("failsafe"), "{fault}: {said:?}");
    }
}

#[test]
fn a_voter_that_dies_or_claims_during_it_ends_it() {
    let claim = |field: &Field| {
        // What b would keep after a claim of its own.
        let mut view: Value =
            serde_json::from_slice(&std::fs::read(field.path("state/lease-bot.json")).unwrap()).unwrap();
        let record = &mut view["value"]["seen"]["found"]["value"];
        (record["holder"], record["epoch"], record["state"]) = (json!("b"), json!(2), json!("claimed"));
        std::fs::create_dir(field.path("state-b")).unwrap();
        std::fs::write(field.path("state-b/lease-bot.json"), view.to_string()).unwrap();
    };
    let die = |field: &Field| std::fs::write(field.path("c.dead"), "").unwrap();
    for fault in [&claim as &dyn Fn(&Field), &die] {
        let field = field("3s");
        let running = start(&field);
        field.cut_off();
        wait_for("the failsafe begins", || field.shown()["failsafe_since"].is_string().then_some(()));
        fault(&field);
        let said = running.end();
        assert_eq!(said.status, 75, "{said:?}");
        assert!(field.shown()["failsafe_since"].is_null());
    }
}

#[test]
fn a_register_that_answers_is_not_overruled() {
    let field = field("3s");
    let running = start(&field);
    std::fs::write(field.path("lease/bot"), "something else\n").unwrap();
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    assert!(!said.stderr.contains("failsafe"), "{said:?}");
}

#[test]
fn a_witness_knows_its_node_list_and_the_latest_record() {
    let field = field("3s");
    let digest = field.network.run("chain show").json()["digest"].as_str().unwrap().to_owned();
    let ask = |holder: &str, epoch: u64, digest: &str| {
        field.network.run(&format!("lease witness bot --holder {holder} --epoch {epoch} --digest {digest}"))
    };
    ask("a", 1, &digest).expect(0, "vouched");
    ask("a", 1, "0123456789abcdef").expect(1, "lists-differ");
    field.network.run("lease show bot").expect(0, "granted");
    let object = ask("a", 1, &digest).expect(0, "vouched");
    assert_eq!(
        (&object["known_holder"], &object["known_epoch"], &object["known_state"]),
        (&json!("a"), &json!(1), &json!("granted"))
    );
    field.grant("b");
    field.network.run("lease show bot").expect(0, "granted");
    ask("a", 1, &digest).expect(1, "newer-known");
    ask("c", 2, &digest).expect(1, "newer-known");
    ask("b", 2, &digest).expect(0, "vouched");
    std::fs::write(field.path("state/lease-bot.json"), "{").unwrap();
    ask("b", 2, &digest).expect(3, "unknown");
    let _ = run(field.network.mirror(["lease", "witness", "bot"])).expect_misuse();
}
