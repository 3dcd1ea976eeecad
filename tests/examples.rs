//! The examples, run as they stand.

#![allow(clippy::unwrap_used)]

#[path = "examples/demonstration.rs"]
mod demonstration;
#[path = "examples/files.rs"]
mod files;
#[path = "examples/package.rs"]
mod package;
#[path = "examples/tick.rs"]
mod tick;
#[path = "examples/units.rs"]
mod units;
#[path = "examples/watchdog.rs"]
mod watchdog;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far more than anything here takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Borne by everything that a test started.
const MARK: &str = "MIRROR_TEST_MARK";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A directory for a test, with `mirror` alone in `bin`.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mirror"), place.path().join("bin/mirror")).unwrap();
    place
}

/// A command that finds `mirror`, and that nobody's own settings reach.
fn command(program: impl AsRef<std::ffi::OsStr>, place: &Path) -> Command {
    let mut command = Command::new(program);
    let foreign =
        |name: &str| ["MIRROR_", "GIT_", "XDG_", "FIVE_MIRRORS_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    for name in ["CHECK_INTERVAL", "SYNC_INTERVAL"] {
        command.env_remove(name);
    }
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", place.join("bin").display()));
    command.env("HOME", place).env("STATE_DIRECTORY", place.join("state")).env("XDG_RUNTIME_DIR", place);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env(MARK, place).current_dir(place);
    command
}

/// The processes that bear the mark, with what they are called.
fn left(place: &Path) -> Vec<String> {
    let mark = format!("{MARK}={}", place.display());
    let bears_it = |pid: &str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let called = |pid: &str| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid}: {}", String::from_utf8_lossy(&words).replace('\0', " "))
    };
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.parse::<u32>().is_ok() && bears_it(name)).map(|pid| called(&pid)).collect()
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says that a test could not be made, where the runner shows it.
fn skip(why: &str) {
    use std::io::Write;
    // Past the runner's capture, so that it is seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn there_is(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$1\" >/dev/null", "sh", program]).status().unwrap().success()
}
