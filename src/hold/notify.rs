//! Reports to a service manager, as sd_notify(3) does: one datagram to the socket that it named.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variables that a manager sets for `mirror`. The command must not inherit them: the manager
/// expects reports from one process only.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The manager's socket, where there is one.
#[derive(Debug)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The one that the environment names. A socket that cannot be used is ignored.
    pub fn from_environment() -> Self {
        let address = || {
            let name = std::env::var_os("NOTIFY_SOCKET")?;
            match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
                [b'/', ..] => SocketAddr::from_pathname(&name).ok(),
                _ => None,
            }
        };
        let socket = || {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not delay a stop.
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        };
        Self(address().and_then(|address| Some((socket()?, address))))
    }

    /// Sends these lines.
    pub fn send(&self, lines: &str) {
        if let Self(Some((socket, address))) = self {
            let _ = socket.send_to_addr(lines.as_bytes(), address);
        }
    }
}
