//! One try by a process: the meaning of its exit.

use std::io;

use super::{Cause, Outcome};
use crate::config::Method;
use crate::exec::{Ended, Finished};
use crate::remote::Login;

/// The exit status of ssh for an error of its own, not of the command (ssh(1), EXIT STATUS).
const SSH_FAILED: i32 = 255;
/// The exit statuses of a shell that cannot execute or find a command (POSIX, section 2.8.2).
const NOT_RUNNABLE: [i32; 2] = [126, 127];

/// The outcome of a process that could not be started.
pub(super) fn not_started(error: &io::Error) -> Outcome {
    let cause = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Cause::ProgramMissing,
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Cause::NoFileDescriptor,
            _ => Cause::NotAsked,
        },
    };
    Outcome::Unable(cause, Some(error.to_string()))
}

/// The outcome of a process that has ended.
pub(super) fn ended(method: &Method, login: Option<&Login>, finished: &Finished) -> Outcome {
    let detail = finished.last_line();
    match finished.ended {
        // Something else answered the login, for example a banner.
        Ended::Exited(0) if *method == Method::Ssh && login.is_some_and(|login| !login.shows_in(&finished.stdout)) => {
            Outcome::Unable(Cause::Unframed, detail)
        }
        Ended::Exited(0) => Outcome::Alive,
        Ended::Exited(SSH_FAILED) if *method == Method::Ssh => ssh_failed(&finished.stderr, detail),
        Ended::Exited(code) if NOT_RUNNABLE.contains(&code) => Outcome::Unable(Cause::ProgramMissing, detail),
        Ended::Exited(code) => {
            let detail =
                detail.as_deref().map_or_else(|| format!("exit status {code}"), |w| format!("exit status {code}: {w}"));
            Outcome::No(Cause::Exit, Some(detail))
        }
        Ended::Signaled(signal) => Outcome::Unable(Cause::Killed, Some(format!("signal {signal}"))),
        Ended::TimedOut => Outcome::Lost(Cause::Timeout, None),
    }
}

/// ssh has one status for all its failures. Only its message distinguishes a host that does not answer
/// from a key that is not accepted. The second is a problem on our side and says nothing about the host.
fn ssh_failed(stderr: &str, detail: Option<String>) -> Outcome {
    const UNABLE: [(&str, Cause); 9] = [
        ("Permission denied", Cause::NotAdmitted),
        ("Host key verification failed", Cause::HostKey),
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", Cause::HostKey),
        ("Could not resolve hostname", Cause::Unresolved),
        ("Too many authentication failures", Cause::NotAdmitted),
        ("no matching", Cause::NotAdmitted),
        ("Bad owner or permissions", Cause::NotAsked),
        ("Bad configuration option", Cause::NotAsked),
        ("Network is unreachable", Cause::NoRoute),
    ];
    if let Some((_, cause)) = UNABLE.iter().find(|(text, _)| stderr.contains(text)) {
        return Outcome::Unable(*cause, detail);
    }
    if stderr.contains("Connection refused") {
        return Outcome::No(Cause::Refused, detail);
    }
    Outcome::Lost(Cause::Closed, detail)
}
