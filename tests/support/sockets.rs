//! Ports that answer, refuse, swallow or stay silent. All on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A port that the kernel accepts connections on, and on which nobody ever speaks; or that refuses,
/// as that of a living host whose daemon is gone. It can change over, and nobody else can take it.
pub struct Port {
    number: u16,
    _held: OwnedFd,
    listener: Option<OwnedFd>,
}

impl Port {
    /// A free port that accepts and stays silent.
    pub fn silent() -> Self {
        let mut port = Self::refusing();
        port.listen();
        port
    }

    /// A free port that refuses.
    pub fn refusing() -> Self {
        let held = socket();
        sockopt::set_socket_reuseaddr(&held, true).unwrap();
        let number = bind(&held, 0);
        Self { number, _held: held, listener: None }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// From now on it accepts.
    pub fn listen(&mut self) {
        let listener = socket();
        sockopt::set_socket_reuseaddr(&listener, true).unwrap();
        bind(&listener, self.number);
        rustix::net::listen(&listener, 4096).unwrap();
        self.listener = Some(listener);
    }

    /// From now on it refuses.
    pub fn refuse(&mut self) {
        self.listener = None;
    }
}

/// A port on which everybody is accepted, and hears the same over and over until it closes; with
/// nothing to say, it closes at once.
pub struct Chatty {
    port: u16,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Chatty {
    /// On a free port.
    pub fn new(words: &'static [u8]) -> Self {
        let socket = socket();
        let port = bind(&socket, 0);
        rustix::net::listen(&socket, 4096).unwrap();
        let listener = TcpListener::from(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let accepted = listener.accept();
                if let (Ok((mut stream, _)), false) = (accepted, words.is_empty()) {
                    std::thread::spawn(move || while stream.write_all(words).is_ok() {});
                }
            }
        });
        Self { port, stopping, thread: Some(thread) }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }
}

impl Drop for Chatty {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port that swallows every SYN, as a host that lost its power does: it listens, and the queue of
/// connections that nobody accepted is full.
pub struct BlackHole {
    listener: TcpListener,
    _filling: Vec<OwnedFd>,
}

impl BlackHole {
    /// On a free port.
    pub fn new() -> Self {
        let socket = socket();
        bind(&socket, 0);
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let to = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        loop {
            let filler = self::socket();
            rustix::io::ioctl_fionbio(&filler, true).unwrap();
            let _ = rustix::net::connect(&filler, &to);
            if !is_connected(&filler, Duration::from_millis(300)) {
                break;
            }
            filling.push(filler);
            assert!(filling.len() < 16, "the queue has no end");
        }
        Self { listener, _filling: filling }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Whether a connection to it is being tried just now.
    pub fn has_swallowed(&self) -> bool {
        const SYN_SENT: &str = "02";
        let to = format!(":{:04X}", self.number());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(2);
            words.next().is_some_and(|remote| remote.ends_with(&to)) && words.next() == Some(SYN_SENT)
        })
    }

    /// From now on connections are accepted, by the kernel.
    pub fn open(&self) {
        rustix::net::listen(&self.listener, 128).unwrap();
        self.listener.set_nonblocking(true).unwrap();
        while self.listener.accept().is_ok() {}
    }
}

fn socket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

fn bind(socket: &OwnedFd, port: u16) -> u16 {
    rustix::net::bind(socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap().port()
}

fn is_connected(socket: &OwnedFd, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).unwrap();
    let ready = rustix::event::poll(&mut [PollFd::new(&socket.as_fd(), PollFlags::OUT)], Some(&timeout)).unwrap();
    ready > 0 && rustix::net::getpeername(socket).is_ok()
}
