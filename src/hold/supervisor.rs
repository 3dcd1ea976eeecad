//! The supervisor as `hold` sees it: a process between `hold` and the command.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::command::HeldCommand;
use super::ipc::IpcLink;
use super::{reaper, supervise};

/// The supervisor, as `hold` sees it.
#[derive(Debug)]
pub struct Supervisor {
    /// Takes orders, returns reports.
    pub link: IpcLink,
    pid: Pid,
}

impl Supervisor {
    /// Forks the supervisor, which then waits for orders.
    ///
    /// # Errors
    /// When a process or descriptor cannot be created, or this process has other threads: a lock that
    /// one of them holds would stay locked in the supervisor for ever.
    pub fn begin(command: &HeldCommand<'_>) -> Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").context("/proc is not mounted")?.count();
        if threads != 1 {
            bail!("the supervisor must be forked before other threads start, and there are {threads}");
        }
        reaper::become_subreaper().context("this kernel has no subreapers")?;
        let (ours, theirs) = IpcLink::pair().context("cannot create a socket pair")?;
        let hold = rustix::process::getpid();
        // SAFETY: this is the only thread, so the child may do anything that a process may do.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("cannot fork"),
            0 => {
                drop(ours);
                let supervised = catch_unwind(AssertUnwindSafe(|| supervise::supervise(command, &theirs, hold)));
                // Files and buffers that were open before the fork belong to the parent.
                // SAFETY: it does not return, and runs no destructors.
                unsafe { libc::_exit(i32::from(!matches!(supervised, Ok(Ok(()))))) }
            }
            pid => {
                let pid = Pid::from_raw(pid).context("fork returned no pid")?;
                Ok(Self { link: ours, pid })
            }
        }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends the supervisor, when nothing runs under it.
    pub fn dismiss(self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        while matches!(rustix::process::waitpid(Some(self.pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }

    /// Kills the supervisor, which may be frozen or dead already, and everything that it or this process
    /// started.
    pub fn kill_tree(self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        reaper::kill_all();
    }
}
