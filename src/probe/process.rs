//! One try by a process: what its end means.

use std::io;

use super::Outcome;
use crate::config::Method;
use crate::exec::{Ended, Finished};
use crate::remote::Login;

/// What ssh exits with when it has itself to blame and not the command (ssh(1), EXIT STATUS).
const SSH_FAILED: i32 = 255;
/// What a shell exits with when it cannot run a command, or cannot find it (POSIX, 2.8.2).
const NOT_RUNNABLE: [i32; 2] = [126, 127];

/// The outcome of a process that could not be started.
pub(super) fn not_started(error: &io::Error) -> Outcome {
    let cause = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => "program-missing",
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => "no-file-descriptor",
            _ => "not-asked",
        },
    };
    Outcome::Unable(cause, Some(error.to_string()))
}

/// The outcome of a process that has ended.
pub(super) fn ended(method: &Method, login: Option<&Login>, finished: &Finished) -> Outcome {
    let words = finished.last_line();
    match finished.ended {
        // A login that something else answered, such as a banner, shows nothing.
        Ended::Exited(0) if *method == Method::Ssh && login.is_some_and(|login| !login.shows_in(&finished.stdout)) => {
            Outcome::Unable("unframed", words)
        }
        Ended::Exited(0) => Outcome::Alive,
        Ended::Exited(SSH_FAILED) if *method == Method::Ssh => ssh_failed(&finished.stderr, words),
        Ended::Exited(code) if NOT_RUNNABLE.contains(&code) => Outcome::Unable("program-missing", words),
        Ended::Exited(code) => {
            let detail = words.map_or_else(|| format!("exit status {code}"), |w| format!("exit status {code}: {w}"));
            Outcome::No("exit", Some(detail))
        }
        Ended::Signaled(signal) => Outcome::Unable("killed", Some(format!("signal {signal}"))),
        Ended::TimedOut => Outcome::Lost("timeout", None),
    }
}

/// ssh has one status for all its failures; only its words tell a host that does not answer from a
/// key that is not accepted. The second is our own trouble and says nothing of the host.
fn ssh_failed(stderr: &str, words: Option<String>) -> Outcome {
    const UNABLE: [(&str, &str); 9] = [
        ("Permission denied", "not-admitted"),
        ("Host key verification failed", "host-key"),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "host-key"),
        ("Could not resolve hostname", "unresolved"),
        ("Too many authentication failures", "not-admitted"),
        ("no matching", "not-admitted"),
        ("Bad owner or permissions", "not-asked"),
        ("Bad configuration option", "not-asked"),
        ("Network is unreachable", "no-route"),
    ];
    if let Some((_, cause)) = UNABLE.iter().find(|(text, _)| stderr.contains(text)) {
        return Outcome::Unable(cause, words);
    }
    if stderr.contains("Connection refused") {
        return Outcome::No("refused", words);
    }
    Outcome::Lost("closed", words)
}
