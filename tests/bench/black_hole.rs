//! Something that never answers a connection.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::loopback;

/// A listener whose queue is full: the kernel answers no further SYN.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn new() -> Self {
        Self::bound(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// One that swallows at every loopback address.
    pub(crate) fn wide() -> Self {
        Self::bound(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    fn bound(to: SocketAddr) -> Self {
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a socket");
        rustix::net::bind(&listener, &to).expect("bound");
        rustix::net::listen(&listener, 0).expect("listening");
        let bound = SocketAddr::try_from(rustix::net::getsockname(&listener).expect("an address")).expect("an address");
        let address = loopback(bound.port());
        let patience = Duration::from_millis(200);
        let fillers = std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).take(16).collect();
        Self { address, _listener: listener, _fillers: fillers }
    }

    /// One of its addresses.
    pub(crate) fn at(&self, index: usize) -> SocketAddr {
        let host = [127, 1, u8::try_from(index / 250).expect("small"), u8::try_from(index % 250 + 1).expect("small")];
        SocketAddr::from((host, self.address.port()))
    }
}
