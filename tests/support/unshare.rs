//! Surroundings of a test's own.

use std::process::{Command, Stdio};

/// The words that run a program without any network, loopback included; none, and a line that says
/// so, where this machine permits nobody to make such surroundings.
pub fn without_network() -> Option<&'static str> {
    first_that_works(["unshare -rn", "unshare -n"], "true", "a place without network")
}

/// The same with mounts that nobody else sees.
pub fn with_mounts() -> Option<&'static str> {
    first_that_works(["unshare -m", "unshare -rm"], "mount -t tmpfs none /tmp", "mounts of its own")
}

fn first_that_works(all: [&'static str; 2], trial: &str, what: &str) -> Option<&'static str> {
    let works = |words: &&str| {
        let line = format!("{words} {trial}");
        let mut words = line.split(' ');
        let status = Command::new(words.next()?).args(words).stderr(Stdio::null()).status();
        Some(status.is_ok_and(|status| status.success()))
    };
    let found = all.into_iter().find(|words| works(words) == Some(true));
    if found.is_none() {
        eprintln!("skipped: neither user namespaces nor root to be had for {what}");
    }
    found
}
