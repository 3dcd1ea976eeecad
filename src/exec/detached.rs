//! A process that goes on by itself when nobody waits for it any more.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::{Capture, Finished, MAX_OUTPUT, ended_as, groups};

/// A process in a session of its own. Dropped, it runs on, also when `mirror` ends.
#[derive(Debug)]
pub(crate) struct Detached {
    child: Child,
    stderr: Capture,
    started: Instant,
}

impl Detached {
    /// Starts it with this as its standard output, which it keeps open. After `limit`, in whole seconds,
    /// SIGALRM ends it; what it forks outlives that (alarm(2), NOTES).
    ///
    /// # Errors
    /// When it could not be started: no such program, no process or descriptor to be had.
    pub(crate) fn start(mut command: Command, stdout: OwnedFd, limit: Duration) -> io::Result<Self> {
        let stderr = Capture::new(MAX_OUTPUT)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr.writer()?);
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX);
        // SAFETY: the closure runs between fork and exec and makes system calls only.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                libc::alarm(seconds);
                Ok(())
            });
        }
        Ok(Self { child: groups::spawn_apart(&mut command)?, stderr, started: Instant::now() })
    }

    /// What it has said on its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text_so_far()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.child.wait().map(drop)
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Finished>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        Ok(Some(Finished {
            ended: ended_as(status),
            stdout: Vec::new(),
            stderr: self.stderr(),
            cut: false,
            elapsed: self.started.elapsed(),
        }))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        groups::reaped(Pid::from_child(&self.child));
    }
}
