//! A time in memory that forked processes share.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::BootInstant;

/// A time that this process and those that it forks can read and write. The memory lives until all of
/// them have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedDeadline(NonNull<AtomicU64>);

impl SharedDeadline {
    /// Unset.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: an anonymous mapping touches no other memory.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(memory.cast()).map(Self).ok_or_else(|| io::Error::other("mmap returned no memory"))
    }

    fn nanoseconds(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page-aligned, zeroed, and never unmapped.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn get(&self) -> Option<BootInstant> {
        let nanoseconds = self.nanoseconds().load(Ordering::SeqCst);
        (nanoseconds != 0).then(|| BootInstant::since_boot(Duration::from_nanos(nanoseconds)))
    }

    pub(super) fn set(&self, deadline: Option<BootInstant>) {
        let nanoseconds = |at: BootInstant| u64::try_from(at.since().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.nanoseconds().store(deadline.map_or(0, nanoseconds), Ordering::SeqCst);
    }
}
