//! Everything that a process started, whatever it did to get away.
//!
//! A process whose parent has died becomes the child of the nearest one above that asked for it (a
//! subreaper, prctl(2)). So whoever asked kills its children until it has none: their children come
//! to it in turn, also those in groups and sessions of their own. Only children are killed, since
//! the number of a child belongs to nobody else until it has been waited for.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// After so many looks that find no child to kill though there is one, nobody can tell which it is.
const LOOKS: u32 = 200;

/// Has the children of one's children become one's own when those die.
pub fn adopt() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Kills all children, and those that come in their stead, until there is none.
///
/// What waits for a disk or a network file system in a way that no signal ends is waited for.
pub fn end() {
    let mut pause = Duration::from_millis(1);
    let mut found_none = 0;
    loop {
        let children = children();
        found_none = if children.is_empty() { found_none + 1 } else { 0 };
        for child in children {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        loop {
            // Any child; waitpid(2) without a number would mean those of our own group.
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) if found_none < LOOKS => break,
                Ok(None) | Err(_) => return,
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
}

/// The children of this process, of all its threads.
fn children() -> Vec<Pid> {
    let local_node = rustix::process::getpid().as_raw_nonzero().get().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before them may hold spaces and parentheses (proc(5)).
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(&local_node)
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}
