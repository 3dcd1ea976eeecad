//! The reports to a service manager.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Field, OBEDIENT};
use crate::support::LONG;
use crate::support::mirror::Started;
use crate::support::processes::signal;

/// Receives messages until `ends`; returns all of them.
pub(super) fn hear(socket: &UnixDatagram, ends: impl Fn(&[String]) -> bool) -> Vec<String> {
    socket.set_read_timeout(Some(LONG)).unwrap();
    let mut heard = Vec::new();
    let mut bytes = [0; 4096];
    while !ends(&heard) {
        match socket.recv(&mut bytes) {
            Ok(length) => heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}, after {heard:?}"),
        }
    }
    heard
}

pub(super) fn says(heard: &[String], line: &str) -> usize {
    heard.iter().filter(|message| message.lines().any(|said| said == line)).count()
}

#[test]
fn it_reports_the_start_each_good_read_and_the_stop() {
    let field = Field::new("1s", "30s");
    let path = field.path("notify");
    let abstract_name = format!("mirror-test-{}", std::process::id());
    let abstract_address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let sockets = [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{abstract_name}")),
    ];
    for (socket, address) in sockets {
        let script = format!("env >environment; {OBEDIENT}");
        let mut command = field.holding(&script);
        command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "3000000").env("WATCHDOG_PID", "1");
        let started = Started::new(command);
        let heard = hear(&socket, |heard| says(heard, "WATCHDOG=1") >= 4);
        assert!(heard[0].starts_with("READY=1\n"), "{heard:?}");
        assert_eq!(says(&heard, "READY=1"), 1, "{heard:?}");
        assert!(heard.iter().any(|message| message.contains("\nSTATUS=bot runs here in epoch 1")), "{heard:?}");
        field.pid("main");
        signal(started.pid(), Signal::TERM);
        let heard = hear(&socket, |heard| says(heard, "STOPPING=1") >= 1);
        assert_eq!(says(&heard, "READY=1"), 0, "{heard:?}");
        assert_eq!(started.end().status, 9);
        std::fs::remove_file(field.path("main")).unwrap();
        let environment = std::fs::read_to_string(field.path("environment")).unwrap();
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert!(!environment.contains(variable), "{variable} reached the command");
        }
    }
}

#[test]
fn without_a_good_read_it_does_not_feed_the_watchdog() {
    let field = Field::new("4s", "30s");
    let socket = UnixDatagram::bind(field.path("notify")).unwrap();
    let mut command = field.network.mirror(["hold", "bot", "--check", "200ms", "--", "sh", "-c", OBEDIENT]);
    command.env("NOTIFY_SOCKET", field.path("notify"));
    let started = Started::new(command);
    hear(&socket, |heard| says(heard, "WATCHDOG=1") >= 3);
    field.cut_off();
    // Reads that were in progress when the register disappeared.
    hear(&socket, |heard| heard.iter().any(|message| message.starts_with("STATUS=bot is stopped in ")));
    let begun = Instant::now();
    let heard = hear(&socket, |heard| says(heard, "STOPPING=1") >= 1);
    assert_eq!(says(&heard, "WATCHDOG=1"), 0, "{heard:?} in {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(1));
    assert_eq!(started.end().status, 75);
}

#[test]
fn it_is_not_ready_when_nothing_was_started() {
    let field = Field::new("60s", "30s");
    field.grant("b");
    let socket = UnixDatagram::bind(field.path("notify")).unwrap();
    let mut command = field.holding("true");
    command.env("NOTIFY_SOCKET", field.path("notify"));
    assert_eq!(Started::new(command).end().status, 1);
    let heard = hear(&socket, |heard| !heard.is_empty());
    assert_eq!(says(&heard, "READY=1"), 0, "{heard:?}");
}
