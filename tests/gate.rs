//! `mirror gate`, as the forced command of keys that a real sshd lets in.

#![allow(clippy::unwrap_used)]

mod attacks;
mod log;
mod requests;
mod world;

use serde_json::Value;

use crate::support::mirror::node;
use world::{Through, World};

#[test]
fn a_service_starts_and_moves_through_gates() {
    for through in [Through::Default, Through::Template] {
        let world = World::new(through);
        let object = world.on("a", "promote").expect(0, "started");
        assert_eq!(object["services"][0]["target"], "a", "{through:?}");
        world.on("a", "promote").expect(0, "in-place");
        let object = world.on("a", "promote --to b").expect(0, "moved");
        assert_eq!(object["services"][0]["fencing"], "confirmed", "{through:?}");
        assert_eq!(world.bot.runs_on(), ["b"]);
        // From another node, which asks all over ssh.
        world.on("c", "promote --to a").expect(0, "moved");
        assert_eq!(world.bot.runs_on(), ["a"]);
    }
}

#[test]
fn a_failure_says_what_it_says_without_a_gate() {
    let world = World::new(Through::Default);
    world.bot.before("start", "b", "echo 'no room left' >&2; exit 5");
    let object = world.on("a", "promote --to b").json();
    let steps = object["services"][0]["steps"].as_array().unwrap();
    let start = steps.iter().find(|step| step["step"] == "start" && step["node"] == "b").unwrap();
    assert!(start["detail"].as_str().unwrap().contains("no room left"), "{object:#}");
}

#[test]
fn a_standby_reads_the_beat_of_the_brain() {
    let world = World::new(Through::Default);
    world.on("a", "whois-brain --check").expect(0, "self");
    let object = world.on("b", "whois-brain --check").expect(1, "other");
    assert_eq!(node(&object, "a")["at_work"], "yes", "{object:#}");
}

#[test]
fn a_login_is_a_probe() {
    let world = World::new(Through::Default);
    world.replace("method = \"tcp\"", "method = \"ssh\"");
    world.on("a", "probe b c").expect(0, "alive");
}

#[test]
fn every_node_tells_what_it_can_do() {
    let world = World::new(Through::Template);
    let object = world.on("a", "chain check --live --within 100s").json();
    assert_eq!(object["live"]["answered"], 3, "{object:#}");
    for row in object["live"]["nodes"].as_array().unwrap() {
        assert_eq!(row["digest"], object["digest"], "{object:#}");
        let reached = row["here"]["nodes"].as_array().unwrap();
        assert!(reached.iter().all(|tried| tried["works"] == true), "{object:#}");
    }
    let codes: Vec<&Value> = object["problems"].as_array().unwrap().iter().map(|problem| &problem["code"]).collect();
    assert!(!codes.iter().any(|code| *code == "not-reached" || *code == "digest-differs"), "{object:#}");
}

#[test]
fn a_breath_goes_through_the_gate_of_the_node_that_has_the_repository() {
    let world = World::new(Through::Default);
    world.make_repositories();
    world.commit("b", "one");
    world.breathe("b").expect(0, "in-step");
    world.breathe("c").expect(0, "in-step");
    assert!(world.path().join("c.repo/one").is_file());
    // The repository of [breath] needs no option.
    let listed = world.git(&world.path(), &["ls-remote", &world.url("b", "b.repo")]);
    assert!(listed.contains("refs/heads/main"), "{listed}");
    let dotted = world.git(&world.path(), &["ls-remote", &world.url("b", "b.repo/.git")]);
    assert_eq!(dotted, listed);
}

#[test]
fn a_question_about_a_grant_is_answered() {
    let world = World::new(Through::Default);
    let request = "{\"verb\":\"status\",\"command\":\"mirror lease witness --json bot --holder a --epoch 1 --digest \
                   0123456789abcdef\",\"timeout_ms\":60000}";
    let ended = world.send("a", &world::program(request, ""));
    assert!(ended.stdout.contains("\"schema\":\"mirror.lease-witness/1\""), "{ended:?}");
    assert!(ended.stdout.contains("\"verdict\":\"lists-differ\""), "{ended:?}");
    assert!(ended.stdout.contains(&format!("{} 0 status 1", world::NONCE)), "{ended:?}");
}
