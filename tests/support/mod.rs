//! The real things that the tests drive `mirror` against, one a file. Each cleans up on drop.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod http;
pub mod lease;
pub mod mirror;
pub mod nodes;
pub mod processes;
pub mod program;
pub mod service;
pub mod sockets;
pub mod sshd;
pub mod terminal;
pub mod unshare;
pub mod user;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes a program, with the directory that it is in.
pub fn write_program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Longer than anything here takes on a loaded machine; a wait as long as this has failed.
pub const LONG: Duration = Duration::from_secs(180);

/// Waits until `ready` gives something.
///
/// # Panics
/// When it does not within [`LONG`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
