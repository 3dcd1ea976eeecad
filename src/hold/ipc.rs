//! What `hold` and its keeper say to each other: one message a packet, over a pair of sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::boot_instant::BootInstant;

/// Longer messages are none of ours.
const LONGEST: usize = 4096;

/// From `hold` to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum SupervisorOrder {
    /// Start the command, under this epoch and until this moment.
    Start {
        /// For the command to know.
        epoch: u64,
        /// When the permit runs out.
        until: BootInstant,
    },
    /// A further read permits it until this moment.
    Extend {
        /// When that permit runs out.
        until: BootInstant,
    },
    /// Stop it now.
    Stop,
}

/// From the keeper to `hold`.
#[derive(Debug, Serialize, Deserialize)]
pub enum SupervisorReport {
    /// The command runs.
    Started {
        /// As this process, which leads a group of the same number.
        pid: i32,
    },
    /// It could not be started.
    NotStarted {
        /// Why, in words.
        why: String,
        /// Whether there is no such program.
        missing: bool,
    },
    /// It has ended, and so has everything that it had started.
    Ended(Ended),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit status as a shell has it: 128 and the number of the signal that ended it.
    pub status: i32,
    /// Whether its permit ran out.
    pub expired: bool,
    /// Whether it was killed, since it had not ended in time.
    pub killed: bool,
}

/// One end.
#[derive(Debug)]
pub struct IpcLink(OwnedFd);

/// What was heard.
#[derive(Debug)]
pub enum Message<T> {
    /// This.
    Said(T),
    /// Nothing yet.
    Nothing,
    /// The other side has gone.
    Gone,
}

impl IpcLink {
    /// Both ends. No program that is started inherits either.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Says something. Where the other side has gone or hears nothing, it is left: what would have
    /// been permitted is then not, and what is to end ends in its time.
    pub fn say(&self, word: &impl Serialize) {
        if let Ok(bytes) = serde_json::to_vec(word) {
            let _ = rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL);
        }
    }

    /// What the other side says, without waiting for it.
    pub fn hear<T: DeserializeOwned>(&self) -> Message<T> {
        let mut bytes = [0; LONGEST];
        loop {
            return match rustix::net::recv(&self.0, &mut bytes, RecvFlags::empty()) {
                Ok((0, _)) => Message::Gone,
                Ok((length, _)) => match serde_json::from_slice(&bytes[..length.min(LONGEST)]) {
                    Ok(word) => Message::Said(word),
                    Err(_) => continue,
                },
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Message::Nothing,
                Err(_) => Message::Gone,
            };
        }
    }
}

impl AsFd for IpcLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
