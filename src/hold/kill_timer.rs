//! A kernel timer that kills this process, even while it is frozen.

use std::io;
use std::mem::MaybeUninit;

use super::timer::kernel_time;
use crate::clock::BootInstant;

/// A timer on the boot clock that sends SIGKILL to this process. SIGKILL is the only signal that takes
/// effect on a stopped process (signal(7)).
#[derive(Debug)]
pub struct KillTimer(libc::timer_t);

impl KillTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the kernel has no timer left.
    pub fn new() -> io::Result<Self> {
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: a sigevent may be all zeros, and the timer is read only after it was created.
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

    /// Sets it to this time.
    ///
    /// # Errors
    /// When the time does not fit the kernel's clock.
    pub fn set(&self, at: BootInstant) -> io::Result<()> {
        let at = kernel_time(at)?;
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec { tv_sec: at.tv_sec as libc::time_t, tv_nsec: at.tv_nsec as libc::c_long };
        let once = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: the timer belongs to this object, and the old value is not requested.
        match unsafe { libc::timer_settime(self.0, libc::TIMER_ABSTIME, &raw const once, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for KillTimer {
    fn drop(&mut self) {
        // SAFETY: the timer belongs to this object, and is not used afterwards.
        unsafe { libc::timer_delete(self.0) };
    }
}
