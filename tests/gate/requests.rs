//! What is done of requests that a node sends, and when it ends.

use super::world::{NODES, NONCE, Through, World, program};
use crate::support::mirror::{MIRROR, Started};
use crate::support::processes::{lives, pid_in, wait_until_gone};
use crate::support::wait_for;

const STATUS: &str = r#"{"verb":"status","service":"bot","timeout_ms":100000}"#;

#[test]
fn a_request_that_may_not_be_is_told_apart_from_those_that_may() {
    let world = World::new(Through::Default);
    let unknown = r#"{"verb":"start","service":"unknown","timeout_ms":100000}"#;
    let start = r#"{"verb":"start","service":"bot","timeout_ms":100000}"#;
    let said = world.send("a", &program(&format!("{unknown},{start}"), ""));
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains(&format!("{NONCE} 0 status 126")), "{said:?}");
    assert!(said.stdout.contains(&format!("{NONCE} 1 status 0")), "{said:?}");
    assert!(said.stderr.contains("no service of this node's list is named unknown"), "{said:?}");
    assert_eq!(world.bot.runs_on(), ["a"]);
}

#[test]
fn a_drain_passes_the_gate_and_the_brain_makes_a_check() {
    let world = World::new(Through::Default);
    // Its check asks other nodes, as the client does.
    for node in NODES {
        let (bin, list) = (world.path().join("bin"), world.list(node));
        let gate = format!("{MIRROR} --config {} --self {node} gate", list.display());
        world.force(node, &format!("PATH={}:$PATH {gate}", bin.display()));
    }
    world.on("a", "promote --if-brain").expect(0, "started");
    let object = world.on("c", "drain a --why disk").expect(0, "drained");
    assert_eq!(object["seen_by"], serde_json::json!(["a", "b", "c"]), "{object:#}");
    assert_eq!(object["moved"][0]["target"], "b", "{object:#}");
    assert_eq!(world.bot.runs_on(), ["b"]);
    let object = world.on("b", "undrain a").expect(0, "undrained");
    assert_eq!(object["seen_by"], serde_json::json!(["a", "b", "c"]), "{object:#}");
}

#[test]
fn a_request_ends_at_its_deadline() {
    let world = World::new(Through::Default);
    world.bot.before("status", "a", "echo $$ >\"$dir/hangs\"; exec sleep 3600");
    let said = world.send("a", &program(&STATUS.replace("100000", "1000"), ""));
    assert!(said.stdout.contains(&format!("{NONCE} 0 timeout")), "{said:?}");
    wait_until_gone(pid_in(&world.bot.path().join("hangs")));
}

#[test]
fn what_hangs_ends_with_the_connection() {
    let world = World::new(Through::Default);
    world.bot.before("status", "a", "echo $$ >\"$dir/hangs\"; exec sleep 3600");
    let mut ssh = world.client.ssh(world.sshd("a"), "sh");
    let (reader, mut writer) = std::io::pipe().unwrap();
    ssh.stdin(reader);
    let started = Started::new(ssh);
    std::io::Write::write_all(&mut writer, &program(STATUS, "")).unwrap();
    let hangs = world.bot.path().join("hangs");
    let pid = wait_for("it hangs", || {
        let text = std::fs::read_to_string(&hangs).ok()?;
        text.trim().parse().ok().filter(|pid| lives(*pid))
    });
    drop(started);
    drop(writer);
    wait_until_gone(pid);
}
