//! A relay on loopback that makes a server seem far away.
//!
//! ```text
//!  client   connects ── speaks ···················· hears the server's first words
//!  relay    accepts     holds it until 1.5 R        2 R
//!  server                  accepts, speaks at 1.5 R
//! ```
//!
//! R is the round trip. The kernel answers the client's connection at once, so the relay adds the round trip
//! that it would take: the server hears of it after 1.5 R, as it would on a line of that length.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Runs until the process ends.
pub(crate) struct Relay {
    port: u16,
}

/// Bytes, and when they arrive; none at the end.
type Chunk = (Instant, Vec<u8>);

impl Relay {
    /// Stands before a server of this machine.
    pub(crate) fn before(server: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || carry(client, server, round_trip));
            }
        });
        Self { port }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn carry(client: TcpStream, server: u16, round_trip: Duration) {
    let one_way = round_trip / 2;
    let accepted = Instant::now();
    let (to_server, for_server) = channel();
    let from_client = client.try_clone().expect("a socket");
    std::thread::spawn(move || collect(from_client, &to_server, |now| now.max(accepted + round_trip) + one_way));
    std::thread::sleep(round_trip + one_way);
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { return };
    let (to_client, for_client) = channel();
    let from_server = server.try_clone().expect("a socket");
    std::thread::spawn(move || collect(from_server, &to_client, |now| now + one_way));
    std::thread::spawn(move || deliver(server, &for_server));
    deliver(client, &for_client);
}

fn collect(mut from: TcpStream, to: &Sender<Chunk>, arrives: impl Fn(Instant) -> Instant) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let length = from.read(&mut bytes).unwrap_or(0);
        if to.send((arrives(Instant::now()), bytes[..length].to_vec())).is_err() || length == 0 {
            return;
        }
    }
}

fn deliver(mut to: TcpStream, chunks: &Receiver<Chunk>) {
    let _ = to.set_nodelay(true);
    while let Ok((at, bytes)) = chunks.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
