//! What a gate tells the system's log, where the caller has no hand in it: standard error goes to the caller.

use std::os::unix::net::UnixDatagram;

use crate::output::sanitize;

/// The socket of syslog(3); systemd's journal has it too.
const SOCKET: &str = "/dev/log";
/// Security messages (LOG_AUTHPRIV), at two priorities.
const WARNING: u8 = 10 << 3 | 4;
const INFO: u8 = 10 << 3 | 6;
/// How much of a line is kept.
const MAX_LINE: usize = 400;

/// A call was refused.
pub fn refused(why: &str) {
    log(WARNING, &format!("refused{}: {why}", caller()));
}

/// A service is about to be started or stopped.
pub fn accepted(what: &str) {
    log(INFO, &format!("accepted{}: {what}", caller()));
}

/// The address that the caller has, by sshd.
fn caller() -> String {
    let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
    connection.split(' ').next().filter(|address| !address.is_empty()).map_or_else(String::new, |a| format!(" {a}"))
}

/// Without a log there is none: a gate must not depend on it, nor fill a disk.
fn log(priority: u8, line: &str) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let line: String = line.chars().map(|c| if sanitize::is_unsafe(c) { ' ' } else { c }).take(MAX_LINE).collect();
    let message = format!("<{priority}>mirror-gate[{}]: {line}", std::process::id());
    let _ = socket.set_nonblocking(true).and_then(|()| socket.send_to(message.as_bytes(), SOCKET));
}
