//! Ends everything that a process started, including descendants in other groups and sessions.
//!
//! A process whose parent dies becomes a child of its nearest ancestor that is a subreaper (prctl(2)).
//! So a subreaper can kill its children until it has none: their children become its own in turn. It
//! kills only children, because the pid of a child cannot be reused before it has been waited for.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// The longest pause between two scans.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// Gives up after this many scans that find no child although the kernel says that there is one.
const MAX_EMPTY_SCANS: u32 = 200;

/// Makes this process a subreaper.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Kills all children, and the descendants that become children, until there are none.
///
/// Waits for a process in uninterruptible sleep, such as one that waits for a network file system.
pub fn kill_all() {
    let mut pause = Duration::from_millis(1);
    let mut empty_scans = 0;
    loop {
        let children = children();
        empty_scans = if children.is_empty() { empty_scans + 1 } else { 0 };
        for child in children {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        loop {
            // Any child, of whatever process group.
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) if empty_scans < MAX_EMPTY_SCANS => break,
                Ok(None) | Err(_) => return,
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The children of this process, of all its threads.
fn children() -> Vec<Pid> {
    let parent = rustix::process::getpid().as_raw_nonzero().get().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in field 2 may contain spaces and parentheses (proc(5)).
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&parent)
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}
