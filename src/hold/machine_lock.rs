//! A lock that no file system holds: it excludes a second hold of a lease on this machine even when the
//! state directory, with the lock file in it, is deleted and created again.
//!
//! The lock is the name of an abstract Unix socket (unix(7)), which exists as long as a process has the
//! socket open: `hold`, its supervisor and its backstop. Any user may bind any name, so a name alone
//! would let every local user keep a service from starting. Therefore there are several names, and only a
//! socket of root or of this user counts as a holder:
//!
//! ```text
//!  name 0   bound by another user: ignored
//!  name 1   bound here, and then all other names are checked for a holder
//!  name 2   free
//! ```
//!
//! Each contender binds first and checks the other names afterwards, so of two at least one sees the
//! other.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The number of names that another user must bind to keep a service from starting.
const MAX_NAMES: u32 = 32;

/// The lock, held until this process and those that it forked have ended.
#[derive(Debug)]
pub struct MachineLock {
    listener: UnixListener,
}

impl MachineLock {
    /// Locks what `identity` names; none when another process holds it.
    ///
    /// # Errors
    /// When no socket can be created, or other users have bound all names.
    pub fn try_lock(identity: &str) -> Result<Option<Self>> {
        let name = |number| format!("mirror-hold-{identity}-{number}");
        for number in 0..MAX_NAMES {
            let Ok(listener) = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name(number))?) else {
                if is_held(&name(number)) {
                    return Ok(None);
                }
                continue;
            };
            for other in (0..MAX_NAMES).filter(|other| *other != number) {
                if is_held(&name(other)) {
                    return Ok(None);
                }
            }
            return Ok(Some(Self { listener }));
        }
        anyhow::bail!("other users have bound all sockets named mirror-hold-{identity}-N")
    }

    /// Answers contenders from now on, so that their connections do not fill the queue.
    ///
    /// # Errors
    /// When no thread can be created.
    pub fn answer(&self) -> Result<()> {
        let listener = self.listener.try_clone().context("cannot duplicate a socket")?;
        let answer = move || listener.incoming().for_each(drop);
        std::thread::Builder::new().name("lock".to_owned()).spawn(answer).context("cannot create a thread")?;
        Ok(())
    }
}

/// Whether root or this user has bound the name.
fn is_held(name: &str) -> bool {
    let peer = || {
        // A frozen holder cannot answer, but the kernel queues the connection. With a full queue, a
        // socket that blocks would wait for another user's process.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        rustix::net::sockopt::socket_peercred(&socket)
    };
    peer().is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_it_until_it_ends() {
        let identity = format!("test-{}", std::process::id());
        let lock = MachineLock::try_lock(&identity).expect("a socket").expect("free");
        assert!(MachineLock::try_lock(&identity).expect("a socket").is_none());
        assert!(MachineLock::try_lock(&format!("{identity}-other")).expect("a socket").is_some());
        drop(lock);
        assert!(MachineLock::try_lock(&identity).expect("a socket").is_some());
    }
}
