//! One try by a TCP connection: connect, and for `ssh-banner` read the greeting.

use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Outcome;

/// A server may say other things before its version (RFC 4253, 4.2); more than this is no greeting.
const LONGEST_GREETING: usize = 8 * 1024;

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    to: SocketAddr,
    /// What was read so far, when a greeting is wanted.
    greeting: Option<Vec<u8>>,
    connected: bool,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Starts to connect.
    ///
    /// # Errors
    /// The outcome, when it is there at once.
    pub(super) fn connect(to: SocketAddr, wants_greeting: bool) -> Result<Self, Outcome> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(failed_at_once)?;
        if !wants_greeting {
            leave_before_the_handshake_ends(&fd);
        }
        match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {
                Ok(Self { fd, to, greeting: wants_greeting.then(Vec::new), connected: false })
            }
            Err(errno) => Err(failed_at_once(errno)),
        }
    }

    /// What its readiness means; none when more has to come.
    pub(super) fn ready(&mut self) -> Option<Outcome> {
        if !self.connected {
            match sockopt::socket_error(&self.fd) {
                Ok(Ok(())) => {}
                Ok(Err(errno)) | Err(errno) => return Some(failed_later(errno)),
            }
            if self.is_itself() {
                return Some(Outcome::No("refused", None));
            }
            self.connected = true;
            if self.greeting.is_none() {
                return Some(Outcome::Alive);
            }
        }
        self.read_greeting()
    }

    fn read_greeting(&mut self) -> Option<Outcome> {
        let greeting = self.greeting.as_mut()?;
        let mut chunk = [0; 512];
        loop {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => return Some(Outcome::Lost("closed", Some("closed before a greeting".to_owned()))),
                Ok(count) => greeting.extend_from_slice(&chunk[..count]),
                Err(Errno::AGAIN) => return judge_greeting(greeting),
                Err(Errno::INTR) => {}
                Err(errno) => return Some(failed_later(errno)),
            }
            if let Some(outcome) = judge_greeting(greeting) {
                return Some(outcome);
            }
        }
    }

    /// A connection to a free port of this machine can meet itself (TCP's simultaneous open), which
    /// proves nothing but that the port is free.
    fn is_itself(&self) -> bool {
        self.to.ip().is_loopback()
            && rustix::net::getsockname(&self.fd).ok().and_then(|a| SocketAddr::try_from(a).ok()) == Some(self.to)
    }
}

/// Makes a connection answer the peer's consent with a reset instead of the last packet of TCP's
/// handshake. That the port listens is known by then, and its server is never woken: sshd would
/// spend 7 ms of processor time on a process and a key exchange, write a line to its log, and from
/// OpenSSH 9.8 on refuse (`PerSourcePenalties`) whoever connects so often without logging in.
///
/// The kernel delays the last packet, and a socket that does not linger is closed by a reset; where
/// it does not do so, the server sees a connection that is closed at once. HAProxy's checks do the
/// same.
fn leave_before_the_handshake_ends(socket: &OwnedFd) {
    let _ = sockopt::set_tcp_quickack(socket, false);
    let _ = sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
}

fn judge_greeting(read: &[u8]) -> Option<Outcome> {
    const WANTED: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];
    for line in read.split(|byte| *byte == b'\n') {
        if WANTED.iter().any(|wanted| line.starts_with(wanted)) {
            return Some(Outcome::Alive);
        }
        let may_become = WANTED.iter().any(|wanted| wanted.starts_with(line));
        if line.starts_with(b"SSH-") && !may_become {
            let shown = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).take(80).collect();
            return Some(Outcome::No("banner", Some(shown)));
        }
    }
    (read.len() > LONGEST_GREETING).then(|| Outcome::No("banner", Some("no ssh greeting in 8 KiB".to_owned())))
}

/// What the system said before anything was sent: mostly that we cannot ask.
fn failed_at_once(errno: Errno) -> Outcome {
    let words = Some(std::io::Error::from(errno).to_string());
    match errno {
        Errno::CONNREFUSED => Outcome::No("refused", None),
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Outcome::Unable("no-file-descriptor", words),
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => {
            Outcome::Unable("no-route", words)
        }
        Errno::ADDRNOTAVAIL => Outcome::Unable("no-local-address", words),
        Errno::ACCESS | Errno::PERM => Outcome::Unable("forbidden", words),
        _ => Outcome::Unable("not-asked", words),
    }
}

/// What the network said later. That a host cannot be reached, told by a router or by silence on
/// the own link, is no stronger than silence from the host itself.
fn failed_later(errno: Errno) -> Outcome {
    let words = Some(std::io::Error::from(errno).to_string());
    match errno {
        Errno::CONNREFUSED => Outcome::No("refused", None),
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN => Outcome::Lost("unreachable", words),
        Errno::TIMEDOUT => Outcome::Lost("timeout", None),
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Outcome::Lost("closed", words),
        _ => Outcome::Unable("not-asked", words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(read: &[u8]) -> Option<bool> {
        judge_greeting(read).map(|outcome| matches!(outcome, Outcome::Alive))
    }

    #[test]
    fn a_server_is_asked_without_being_woken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("not blocking");
        let address = listener.local_addr().expect("an address");
        let mut socket = Socket::connect(address, false).expect("starts to connect");
        let outcome = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_micros(100));
            socket.ready()
        });
        assert!(matches!(outcome, Some(Outcome::Alive)), "{outcome:?}");
        drop(socket);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let woken = listener.accept();
        assert!(woken.is_err(), "{woken:?}");
    }

    #[test]
    fn a_greeting_may_follow_other_lines_and_come_in_pieces() {
        assert_eq!(alive(b""), None);
        assert_eq!(alive(b"SSH"), None);
        assert_eq!(alive(b"SSH-2.0-OpenSSH_9.2\r\n"), Some(true));
        assert_eq!(alive(b"go away\r\nSSH-2.0-x"), Some(true));
        assert_eq!(alive(b"SSH-1.5-old\n"), Some(false));
        assert_eq!(alive(b"HTTP/1.1 400 Bad Request\r\n"), None);
        assert_eq!(alive(&[b'x'; LONGEST_GREETING + 1]), Some(false));
    }
}
