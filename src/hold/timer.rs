//! A timer on the boot clock, which also counts the time that the machine sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::BootInstant;

/// A timer with an absolute time. If that passed while the process or the machine was frozen, it expires
/// at once; a timeout of poll(2) would wait for the remainder.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    pub fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?))
    }

    /// Sets it to this time, or unsets it.
    pub fn set(&self, at: Option<BootInstant>) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = at.map_or(Ok(zero), kernel_time)?;
        let once = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

impl AsFd for Timer {
    /// Readable once it has expired, until it is set again.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A time as the kernel's timers take it.
pub(super) fn kernel_time(at: BootInstant) -> io::Result<Timespec> {
    // Zero would unset the timer.
    Timespec::try_from(at.since().max(Duration::from_nanos(1))).map_err(io::Error::other)
}
