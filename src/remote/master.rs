//! The ssh that logs in and holds a shared connection (`ControlMaster`, ssh_config(5)): it outlasts the trip that
//! needs it.
//!
//! A trip has a deadline, and on a busy machine or behind a slow login shell a login can take longer. If it
//! were broken off with the trip, so would be the next one, and the node could not be asked anything until
//! the machine is calm again:
//!
//! ```text
//!  trip 1  ├─ login ──────── ✗ deadline          what comes of the login is known to nobody
//!  trip 2                       ├─ login ──────── ✗
//!
//!  trip 1  ├─ login ────────────────────┐        the login is a process of its own, and goes on
//!  trip 2                       ├─ waits ┴─ session on the shared connection
//! ```
//!
//! One login to a node is under way at a time: its process holds a lock for as long as it lasts. It carries no
//! command, so nothing runs on the node that nobody waits for.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ssh;
use crate::exec::{Detached, Finished};
use crate::fsutil;

/// What a login may take. sshd breaks one off after two minutes (LoginGraceTime).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A control master that logs in.
pub(super) struct Master {
    lock: PathBuf,
    words: Vec<String>,
    /// The process, where it is ours; else another `mirror` has started it.
    process: Option<Detached>,
}

impl Master {
    /// Starts one for a shared connection with this socket, unless one is under way. `words` run a command on
    /// the node, which comes last.
    pub(super) fn begin(socket: &Path, words: &[String]) -> io::Result<Self> {
        let mut master = Self { lock: socket.with_extension("login"), words: ssh::master(words), process: None };
        master.start()?;
        Ok(master)
    }

    /// How it ended; none while it is under way. Where another's has ended without a connection, one is started.
    pub(super) fn ended(&mut self) -> io::Result<Option<Finished>> {
        match &mut self.process {
            Some(process) => process.ended(),
            None => self.start().map(|()| None),
        }
    }

    /// Waits until it has logged in or failed, if it is ours; another one is not waited for.
    pub(super) fn wait_for_own(mut self) -> io::Result<()> {
        self.process.as_mut().map_or(Ok(()), Detached::wait)
    }

    /// What it has said on its standard error so far.
    pub(super) fn stderr(&self) -> String {
        self.process.as_ref().map(Detached::stderr).unwrap_or_default()
    }

    fn start(&mut self) -> io::Result<()> {
        let lock: File = fsutil::lock_file(&self.lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(()),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut command = Command::new(self.words.first().map_or("", String::as_str));
        command.args(self.words.iter().skip(1));
        // ssh closes all but its standard streams, so one of them carries the lock. It lets go of it when it has
        // logged in and goes to the background.
        self.process = Some(Detached::start(command, lock.into(), LOGIN_TIMEOUT)?);
        Ok(())
    }
}
