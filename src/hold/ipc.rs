//! The messages between `hold` and its supervisor: one a packet, over a pair of sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;

/// No message is longer.
const MAX_MESSAGE_BYTES: usize = 4096;

/// From `hold` to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum SupervisorOrder {
    /// Start the command, under this epoch and until this time.
    Start {
        /// The command's `MIRROR_EPOCH`.
        epoch: u64,
        /// When the permit expires.
        until: BootInstant,
    },
    /// Another read permits it until this time.
    Extend {
        /// When that permit expires.
        until: BootInstant,
    },
    /// Stop it now.
    Stop,
}

/// From the supervisor to `hold`.
#[derive(Debug, Serialize, Deserialize)]
pub enum SupervisorReport {
    /// The command runs.
    Started {
        /// Its pid, which is also its process group.
        pid: i32,
    },
    /// It could not be started.
    NotStarted {
        /// Why, in words.
        why: String,
        /// Whether there is no such program.
        missing: bool,
    },
    /// It has ended, and so has everything that it started.
    Ended(CommandEnd),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEnd {
    /// Its exit status as a shell has it: 128 and the number of the signal that ended it.
    pub status: i32,
    /// Whether its permit expired.
    pub expired: bool,
    /// Whether it was killed because it had not ended in time.
    pub killed: bool,
}

/// One end of the connection.
#[derive(Debug)]
pub struct IpcLink(OwnedFd);

/// The result of a receive that does not wait.
#[derive(Debug)]
pub enum Received<T> {
    /// A message.
    Message(T),
    /// Nothing yet.
    Nothing,
    /// The other side has closed its end, or died.
    Closed,
}

impl IpcLink {
    /// Both ends. Started programs inherit neither.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message. Errors are ignored: without an extension the permit expires, and a lost order to
    /// stop takes effect then.
    pub fn send(&self, message: &impl Serialize) {
        if let Ok(bytes) = serde_json::to_vec(message) {
            let _ = rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL);
        }
    }

    /// Receives a message, without waiting for one.
    pub fn receive<T: DeserializeOwned>(&self) -> Received<T> {
        let mut bytes = [0; MAX_MESSAGE_BYTES];
        loop {
            return match rustix::net::recv(&self.0, &mut bytes, RecvFlags::empty()) {
                Ok((0, _)) => Received::Closed,
                Ok((length, _)) => match serde_json::from_slice(&bytes[..length.min(MAX_MESSAGE_BYTES)]) {
                    Ok(message) => Received::Message(message),
                    Err(_) => continue,
                },
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Nothing,
                Err(_) => Received::Closed,
            };
        }
    }
}

impl AsFd for IpcLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
