//! What a service manager is told, by sd_notify(3): one datagram to the socket that it named.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What a manager sets for those that it started, and what is not for the command that they guard:
/// the manager knows one process, and that is `mirror`.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The manager's socket, where there is one.
#[derive(Debug)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The one that the environment names; what cannot be reached is as if nobody asked.
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
            // A manager that does not listen must not hold up whoever has to stop something.
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        };
        Self(address().and_then(|address| Some((socket()?, address))))
    }

    /// Tells it these lines.
    pub fn tell(&self, lines: &str) {
        if let Self(Some((socket, address))) = self {
            let _ = socket.send_to_addr(lines.as_bytes(), address);
        }
    }
}
