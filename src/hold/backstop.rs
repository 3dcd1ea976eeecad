//! The backstop: a third process, which ends the command when `hold` and the supervisor cannot.
//!
//! The kernel ends a command together with its parent only as long as the command keeps its user:
//! runuser, su, sudo and setpriv clear `PR_SET_PDEATHSIG` (prctl(2)). So when `hold` and the supervisor
//! are killed, such a command would run on, and when both are frozen, killing the supervisor would not
//! end it. The backstop is neither parent nor child of the command. It waits for one of two events while
//! the command runs:
//!
//! - both other processes are gone: their end of the link closes;
//! - the deadline passes that the supervisor keeps in shared memory.
//!
//! ```text
//!  supervisor   deadline = stop + grace·29/30 ──── deadline moves with each extension ──── frozen
//!  backstop     ├── sleep ── deadline moved? ── sleep again ──────────────── deadline ── kill all
//! ```
//!
//! The deadline is in shared memory, not in messages: after a freeze of its own, the backstop must see
//! the latest deadline at once and not work through a queue of old ones.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal};

use super::process_tree::CommandProcesses;
use super::shared_deadline::SharedDeadline;
use super::signals;
use super::timer::Timer;
use crate::clock::BootInstant;

/// From one scan for processes of the command to the next.
const SCAN_INTERVAL: Duration = Duration::from_millis(10);
/// A process that survives SIGKILL this long waits for a device, and no signal ends it.
const MAX_SCANS: u32 = 3000;

/// What `hold`, the supervisor and the command share with the backstop.
#[derive(Debug)]
pub(super) struct BackstopLink {
    /// Closes when `hold` and the supervisor are gone.
    socket: OwnedFd,
    /// When the backstop kills the command; none while nothing runs.
    pub(super) deadline: SharedDeadline,
}

/// The backstop's own end, before it is forked.
#[derive(Debug)]
pub(super) struct BackstopEnd {
    socket: OwnedFd,
    deadline: SharedDeadline,
}

/// The forked backstop.
#[derive(Debug)]
pub(super) struct Backstop {
    pidfd: OwnedFd,
}

/// Both ends.
pub(super) fn link() -> io::Result<(BackstopLink, BackstopEnd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let deadline = SharedDeadline::new()?;
    Ok((BackstopLink { socket: ours, deadline }, BackstopEnd { socket: theirs, deadline }))
}

impl BackstopLink {
    /// Makes the backstop look at a deadline that is sooner than before.
    pub(super) fn wake(&self) {
        let _ = rustix::net::send(&self.socket, &[0], SendFlags::NOSIGNAL);
    }

    /// For the command, between fork and exec: tells the backstop which process it is. Only system calls.
    pub(super) fn register_self(socket: BorrowedFd<'_>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Ok(pidfd) = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
            let fds = [pidfd.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            let _ = sendmsg(socket, &[IoSlice::new(&[1])], &mut ancillary, SendFlags::NOSIGNAL);
        }
    }

    /// The socket for [`register_self`](Self::register_self).
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Backstop {
    /// Forks the backstop. It is a child of this process, but does not depend on it. It closes its copies of
    /// `links`, by whose end others notice the death of this process.
    pub(super) fn fork(end: BackstopEnd, links: &[BorrowedFd<'_>], processes: CommandProcesses) -> Result<Self> {
        // SAFETY: the caller is the only thread, so the child may do anything that a process may do.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("cannot fork"),
            0 => {
                for link in links {
                    // SAFETY: this process runs no destructors and never uses these descriptors again.
                    unsafe { libc::close(link.as_raw_fd()) };
                }
                let _ = catch_unwind(AssertUnwindSafe(|| stand_by(&end, &processes)));
                // SAFETY: it does not return, and runs no destructors.
                unsafe { libc::_exit(0) }
            }
            pid => {
                let pid = Pid::from_raw(pid).context("fork returned no pid")?;
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("this kernel has no pidfd_open")?;
                Ok(Self { pidfd })
            }
        }
    }

    /// Ends the backstop, when nothing runs any more.
    pub(super) fn dismiss(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        while matches!(
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED),
            Err(Errno::INTR)
        ) {}
    }
}

/// The backstop's process.
fn stand_by(end: &BackstopEnd, processes: &CommandProcesses) -> io::Result<()> {
    // Neither a terminal nor a manager that signals the whole unit ends it before the command ends.
    let _ = signals::block_all()?;
    let _ = rustix::process::setsid();
    release_streams()?;
    let timer = Timer::new()?;
    let mut leader = None;
    loop {
        let deadline = end.deadline.get();
        if deadline.is_some_and(|deadline| BootInstant::now() >= deadline) {
            break;
        }
        timer.set(deadline)?;
        match receive(end.socket.as_fd()) {
            Event::Command(pidfd) => leader = Some(pidfd),
            Event::Wake => {}
            Event::Nothing => {
                let fds = [end.socket.as_fd(), timer.as_fd()];
                match rustix::event::poll(&mut fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)), None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Event::Closed if end.deadline.get().is_some() => break,
            Event::Closed => return Ok(()),
        }
    }
    kill_command(leader.as_ref(), processes);
    Ok(())
}

/// A reader of the command's output must not wait for the backstop.
fn release_streams() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: replaces a standard stream, which no object here owns.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

enum Event {
    Command(OwnedFd),
    Wake,
    Nothing,
    Closed,
}

fn receive(socket: BorrowedFd<'_>) -> Event {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    match recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) if received.bytes == 0 => Event::Closed,
        Ok(_) => {
            let mut fds = ancillary.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            fds.next().and_then(|mut fds| fds.next()).map_or(Event::Wake, Event::Command)
        }
        Err(Errno::AGAIN) => Event::Nothing,
        Err(Errno::INTR) => Event::Wake,
        Err(_) => Event::Closed,
    }
}

/// Kills the command and everything that it started, as far as it can still be found.
fn kill_command(leader: Option<&OwnedFd>, processes: &CommandProcesses) {
    processes.kill_group();
    for _ in 0..MAX_SCANS {
        let found = processes.find(leader.map(AsFd::as_fd));
        if let Some(leader) = leader {
            let _ = pidfd_send_signal(leader, Signal::KILL);
        }
        // The kernel takes a moment to take the killed out of the group.
        if found.is_empty() && processes.remove_group() {
            break;
        }
        found.iter().for_each(super::process_tree::Process::kill);
        std::thread::sleep(SCAN_INTERVAL);
    }
}
