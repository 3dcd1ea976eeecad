//! The service: it beats, and now and then commits a line of work.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::beats;
use crate::field::{BEATS, CLONE, NODE, WORK_INTERVAL, context};

/// The time from one beat to the next.
const BEAT: Duration = Duration::from_millis(10);

/// Beats until its node's leader is gone.
pub(crate) fn beat(leader: &str) -> Result<()> {
    let node = context(NODE);
    let pause = Duration::try_from_secs_f64(context(WORK_INTERVAL).parse()?)?;
    let worker = node.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(pause);
            // A commit may fail while a breath runs; the next one has its changes.
            if let Err(error) = work(&worker) {
                eprintln!("bot: {error:#}");
            }
        }
    });
    let mut file = OpenOptions::new().append(true).open(context(BEATS)).context("beats")?;
    let mut next = Instant::now();
    while rustix::process::getppid().is_some_and(|pid| pid.to_string() == leader) {
        file.write_all(beats::line(&node, std::process::id()).as_bytes())?;
        next = (next + BEAT).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Each node has its own file, so that the work of two nodes never conflicts.
fn work(node: &str) -> Result<()> {
    let name = format!("journal-{node}");
    let mut journal = OpenOptions::new().create(true).append(true).open(Path::new(CLONE).join(&name))?;
    writeln!(journal, "{}", beats::now())?;
    for arguments in [["add", &name].as_slice(), &["commit", "--quiet", "--message", "A line of work"]] {
        let git = Command::new("git").arg("-C").arg(CLONE).args(arguments).stdin(Stdio::null()).output()?;
        if !git.status.success() {
            anyhow::bail!("git {}: {}", arguments[0], String::from_utf8_lossy(&git.stderr).trim());
        }
    }
    Ok(())
}
