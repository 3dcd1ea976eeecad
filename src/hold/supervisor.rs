//! The supervisor as `hold` sees it: a process between `hold` and the command.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::backstop::{self, Backstop, BackstopLink};
use super::cgroup::CommandGroup;
use super::command::HeldCommand;
use super::ipc::IpcLink;
use super::process_tree::CommandProcesses;
use super::reaper;
use super::supervise::{self, Surroundings};
use crate::lease::Nonce;

/// The supervisor, as `hold` sees it.
#[derive(Debug)]
pub struct Supervisor {
    /// Takes orders, returns reports.
    pub link: IpcLink,
    pid: Pid,
    backstop: Backstop,
    group: Option<CommandGroup>,
    /// The backstop acts when the last process has closed it.
    _backstop_link: BackstopLink,
}

impl Supervisor {
    /// Forks the supervisor, which then waits for orders, and the backstop.
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
        let (backstop_link, backstop_end) = backstop::link().context("cannot share memory and a socket pair")?;
        let marker = Nonce::fresh().context("no random bits")?.to_string();
        let group = CommandGroup::create();
        let hold = rustix::process::getpid();
        // SAFETY: this is the only thread, so the child may do anything that a process may do.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("cannot fork"),
            0 => {
                drop((ours, backstop_end));
                let surroundings =
                    Surroundings { hold, backstop: &backstop_link, marker: &marker, group: group.as_ref() };
                let supervised =
                    catch_unwind(AssertUnwindSafe(|| supervise::supervise(command, &theirs, &surroundings)));
                // Files and buffers that were open before the fork belong to the parent.
                // SAFETY: it does not return, and runs no destructors.
                unsafe { libc::_exit(i32::from(!matches!(supervised, Ok(Ok(()))))) }
            }
            pid => {
                drop(theirs);
                let pid = Pid::from_raw(pid).context("fork returned no pid")?;
                let processes = CommandProcesses { supervisor: pid, marker, group: group.clone() };
                match Backstop::fork(backstop_end, &[ours.as_fd(), backstop_link.socket()], processes) {
                    Ok(backstop) => Ok(Self { link: ours, pid, backstop, group, _backstop_link: backstop_link }),
                    Err(error) => {
                        end_process(pid);
                        Err(error)
                    }
                }
            }
        }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends the supervisor and the backstop, when nothing runs under them.
    pub fn dismiss(self) {
        end_process(self.pid);
        self.backstop.dismiss();
        self.remove_group();
    }

    /// Kills the supervisor, which may be frozen or dead already, and everything that it or this process
    /// started, including the backstop.
    pub fn kill_tree(self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        reaper::kill_all();
        self.remove_group();
    }

    fn remove_group(&self) {
        if let Some(group) = &self.group {
            group.remove();
        }
    }
}

/// Kills a child, and waits for it.
fn end_process(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
}
