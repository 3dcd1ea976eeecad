//! One try by a TCP connection: connect, and for `ssh-banner` read the greeting.

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::{Cause, Outcome};

/// A server may send other lines before its version (RFC 4253, section 4.2), but not more than this.
const MAX_GREETING_BYTES: usize = 8 * 1024;

/// A connection attempt.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    to: SocketAddr,
    /// What was read so far, when a greeting is expected.
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
    /// The outcome, when the kernel knows it at once.
    pub(super) fn connect(to: SocketAddr, wants_greeting: bool) -> Result<Self, Outcome> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(failed_at_once)?;
        if !wants_greeting {
            reset_instead_of_completing_handshake(&fd);
        }
        match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {
                Ok(Self { fd, to, greeting: wants_greeting.then(Vec::new), connected: false })
            }
            Err(errno) => Err(failed_at_once(errno)),
        }
    }

    /// The outcome once the socket is ready; none when more data must arrive.
    pub(super) fn ready(&mut self) -> Option<Outcome> {
        if !self.connected {
            match sockopt::socket_error(&self.fd) {
                Ok(Ok(())) => {}
                Ok(Err(errno)) | Err(errno) => return Some(failed_later(errno)),
            }
            if self.is_itself() {
                return Some(Outcome::No(Cause::Refused, None));
            }
            self.connected = true;
            if self.greeting.is_none() {
                return Some(Outcome::Alive);
            }
        }
        self.read_greeting()
    }

    /// The round trip of the handshake as the kernel measured it, however late this process learned of it.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        // SAFETY: a struct of numbers, for which all zeros is a value.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
        let (socket, into) = (self.fd.as_raw_fd(), std::ptr::from_mut(&mut info).cast());
        // SAFETY: the kernel writes at most `length` bytes into `info`, which outlives the call.
        let done = unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length) };
        (done == 0 && info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into()))
    }

    fn read_greeting(&mut self) -> Option<Outcome> {
        let greeting = self.greeting.as_mut()?;
        let mut chunk = [0; 512];
        loop {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => return Some(Outcome::Lost(Cause::Closed, Some("closed before a greeting".to_owned()))),
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

    /// Whether the socket connected to itself (TCP's simultaneous open on a free local port). That
    /// proves only that the port is free.
    fn is_itself(&self) -> bool {
        self.to.ip().is_loopback()
            && rustix::net::getsockname(&self.fd).ok().and_then(|a| SocketAddr::try_from(a).ok()) == Some(self.to)
    }
}

/// Answers the peer's SYN-ACK with a reset instead of the handshake's last packet.
///
/// By then the port is known to listen, and the server is never woken. An sshd would otherwise spend
/// 7 ms of processor time on a process and a key exchange, write a log line, and from OpenSSH 9.8 on
/// refuse a client that connects often without logging in (`PerSourcePenalties`).
///
/// Without TCP_QUICKACK the kernel delays the last packet, and closing a socket with a zero linger
/// time sends a reset. Where the kernel does not delay, the server sees a connection that closes at
/// once. HAProxy's checks use the same technique.
fn reset_instead_of_completing_handshake(socket: &OwnedFd) {
    let _ = sockopt::set_tcp_quickack(socket, false);
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
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
            return Some(Outcome::No(Cause::Banner, Some(shown)));
        }
    }
    (read.len() > MAX_GREETING_BYTES).then(|| Outcome::No(Cause::Banner, Some("no ssh greeting in 8 KiB".to_owned())))
}

/// The outcome of an error before anything was sent. Most of these mean that we cannot ask.
fn failed_at_once(errno: Errno) -> Outcome {
    let detail = Some(std::io::Error::from(errno).to_string());
    match errno {
        Errno::CONNREFUSED => Outcome::No(Cause::Refused, None),
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Outcome::Unable(Cause::NoFileDescriptor, detail),
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => {
            Outcome::Unable(Cause::NoRoute, detail)
        }
        Errno::ADDRNOTAVAIL => Outcome::Unable(Cause::NoLocalAddress, detail),
        Errno::ACCESS | Errno::PERM => Outcome::Unable(Cause::Forbidden, detail),
        _ => Outcome::Unable(Cause::NotAsked, detail),
    }
}

/// The outcome of an error that came over the network. "Host unreachable", from a router or from
/// failed address resolution on the local link, proves no more than silence does.
fn failed_later(errno: Errno) -> Outcome {
    let detail = Some(std::io::Error::from(errno).to_string());
    match errno {
        Errno::CONNREFUSED => Outcome::No(Cause::Refused, None),
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN => Outcome::Lost(Cause::Unreachable, detail),
        Errno::TIMEDOUT => Outcome::Lost(Cause::Timeout, None),
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Outcome::Lost(Cause::Closed, detail),
        _ => Outcome::Unable(Cause::NotAsked, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(read: &[u8]) -> Option<bool> {
        judge_greeting(read).map(|outcome| matches!(outcome, Outcome::Alive))
    }

    #[test]
    fn a_connect_probe_does_not_wake_the_server() {
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
        assert_eq!(alive(&[b'x'; MAX_GREETING_BYTES + 1]), Some(false));
    }
}
