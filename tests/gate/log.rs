//! What the log of the system has of a gate's work.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::world::{Through, World, feed, program};
use crate::support::mirror::{MIRROR, Said};
use crate::support::unshare::with_mounts;

/// A place in which `/dev/log` is somebody else's socket. `/dev/null` stays.
const SURROUNDINGS: &str = r#"
    touch "$1/null"
    mount --bind /dev/null "$1/null"
    mount -t tmpfs -o mode=755 tmpfs /dev
    touch /dev/null
    mount --bind "$1/null" /dev/null
    ln -s "$1/log" /dev/log
    shift
    exec "$@"
"#;

/// `mirror gate` as sshd starts it for this command, with this on its standard input; none where there can be
/// no such place.
fn gate(world: &World, command: &str, input: &[u8]) -> Option<Said> {
    let mut words = with_mounts()?.split(' ');
    let mut gate = world.network.program(words.next()?, words);
    gate.args(["sh", "-ec", SURROUNDINGS, "sh"]).arg(world.path());
    gate.args([MIRROR, "--config"]).arg(world.list("a")).args(["--self", "a", "gate"]);
    gate.env("SSH_ORIGINAL_COMMAND", command).env("SSH_CONNECTION", "192.0.2.7 40000 192.0.2.8 22");
    gate.env("HOME", world.sshd("a").path());
    Some(feed(gate, input))
}

#[test]
fn what_is_refused_and_what_moves_a_service_is_logged_with_the_callers_address() {
    let world = World::new(Through::Default);
    let log = UnixDatagram::bind(world.path().join("log")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let line = || {
        let mut bytes = [0; 1024];
        let length = log.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let Some(said) = gate(&world, "cat /etc/shadow\u{1b}]0;\n", b"") else { return };
    world.assert_refused(&said, "cat");
    // LOG_AUTHPRIV at LOG_WARNING.
    let warning = line();
    assert!(warning.starts_with("<84>mirror-gate["), "{warning}");
    assert!(warning.contains("]: refused 192.0.2.7: ") && warning.contains("cat /etc/shadow"), "{warning}");
    assert!(!warning.contains(char::is_control), "{warning:?}");

    let start = r#"{"verb":"start","service":"bot","timeout_ms":100000}"#;
    let said = gate(&world, "sh", &program(start, "")).unwrap();
    assert_eq!((said.status, world.bot.runs_on()), (0, vec!["a".to_owned()]), "{said:?}");
    let information = line();
    assert!(information.starts_with("<86>mirror-gate["), "{information}");
    assert!(information.contains("]: accepted 192.0.2.7: ") && information.contains("bot"), "{information}");
}
