//! A fuse on the boot clock: what the kernel does to a process that is not there to do it.

use std::io;
use std::mem::MaybeUninit;

use super::timer::goes_off;
use crate::boot_instant::BootInstant;

/// A timer of the kernel that kills this process at its moment, also one that is stopped: unlike any
/// other signal, SIGKILL is carried out then (signal(7)).
#[derive(Debug)]
pub struct KillTimer(libc::timer_t);

impl KillTimer {
    /// One that is not set.
    ///
    /// # Errors
    /// When there is no timer to be had.
    pub fn new() -> io::Result<Self> {
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: all of a sigevent may be zero, and the timer is used only where it was made.
        unsafe {
            let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            match libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, timer.as_mut_ptr()) {
                0 => Ok(Self(timer.assume_init())),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Sets it to this moment.
    ///
    /// # Errors
    /// When the moment is beyond all clocks.
    pub fn set(&self, at: BootInstant) -> io::Result<()> {
        let at = goes_off(at)?;
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec { tv_sec: at.tv_sec as libc::time_t, tv_nsec: at.tv_nsec as libc::c_long };
        let once = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: the timer is this one's own, and the old value is not asked for.
        match unsafe { libc::timer_settime(self.0, libc::TIMER_ABSTIME, &raw const once, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for KillTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is this one's own, and nobody uses it after this.
        unsafe { libc::timer_delete(self.0) };
    }
}
