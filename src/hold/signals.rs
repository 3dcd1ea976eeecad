//! How the two processes of `hold` learn of signals: through descriptors that poll(2) can wait for.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::exec;

/// For `hold`: readable when a signal asks it to end.
pub(super) fn termination_signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in exec::take_signals() {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Empties a stream; whether there was anything in it.
pub(super) fn drain(mut stream: &UnixStream) -> bool {
    let mut bytes = [0; 256];
    let mut any = false;
    while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
        any = true;
    }
    any
}

/// For the supervisor: blocks every signal; returns a descriptor that is readable when a child has
/// ended, and the signal mask before.
pub(super) fn block_all() -> io::Result<(OwnedFd, libc::sigset_t)> {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut child = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: each set is initialised before it is used; the descriptor is a new one.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, child.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok((OwnedFd::from_raw_fd(fd), before.assume_init())),
        }
    }
}

/// Empties a signal descriptor.
pub(super) fn drain_signals(signals: &OwnedFd) {
    let mut bytes = [0; 1024];
    while rustix::io::read(signals, &mut bytes).is_ok_and(|length| length > 0) {}
}
