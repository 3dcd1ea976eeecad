//! Lines for systemd's journal: each begins with its priority (sd-daemon(3)), which the journal takes off.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much a line matters, as the numbers of syslog(3) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A quiet tick: everything is as it was.
    Quiet = 7,
    /// Something moved.
    Moved = 5,
    /// Something is in the way.
    Doubtful = 4,
    /// Something failed, or could not be found out.
    Failed = 3,
}

static ASKED: AtomicBool = AtomicBool::new(false);

/// Marks every line, wherever it goes.
pub fn mark_all() {
    ASKED.store(true, Ordering::Relaxed);
}

/// What stands before a line on this stream; nothing where the journal does not read it.
pub(super) fn prefix(stream: impl AsFd, priority: Priority) -> String {
    if ASKED.load(Ordering::Relaxed) || is_the_journal(stream) {
        format!("<{}>", priority as u8)
    } else {
        String::new()
    }
}

/// Whether the stream is the one that the service manager connected to the journal.
fn is_the_journal(stream: impl AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(found) = rustix::fs::fstat(stream) else { return false };
    named == format!("{}:{}", found.st_dev, found.st_ino)
}
