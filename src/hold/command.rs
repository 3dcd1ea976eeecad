//! Starts the held command, and finds out how it ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use super::backstop::BackstopLink;
use super::cgroup::CommandGroup;
use super::ipc::SupervisorReport;
use super::notify;
use super::process_tree::MARKER;
use super::supervise::Surroundings;
use crate::exec;

/// The command that is held.
#[derive(Debug)]
pub struct HeldCommand<'a> {
    /// The program and its arguments.
    pub words: &'a [OsString],
    /// What is added to its environment, besides the epoch.
    pub environment: &'a [(&'a str, String)],
    /// How long it has to stop.
    pub grace: Duration,
}

/// Starts it in a process group of its own. `unblocked` is the signal mask that it gets.
///
/// # Errors
/// The report that it could not be started.
pub(super) fn start(
    held: &HeldCommand<'_>,
    epoch: u64,
    unblocked: libc::sigset_t,
    surroundings: &Surroundings<'_>,
) -> Result<Pid, SupervisorReport> {
    let not_started = |why: String, missing| SupervisorReport::NotStarted { why, missing };
    let Some((program, arguments)) = held.words.split_first() else {
        return Err(not_started("there is no command".to_owned(), true));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(held.environment.iter().map(|(name, value)| (name, value)));
    command.env("MIRROR_EPOCH", epoch.to_string()).env(MARKER, surroundings.marker).process_group(0);
    for variable in notify::VARIABLES {
        command.env_remove(variable);
    }
    let supervisor = rustix::process::getpid();
    let group = surroundings.group.and_then(CommandGroup::open_processes);
    let backstop = surroundings.backstop.socket().try_clone_to_owned();
    let backstop = backstop.map_err(|error| not_started(format!("no descriptor: {error}"), false))?;
    // SAFETY: the closure runs between fork and exec and makes system calls only.
    unsafe {
        command.pre_exec(move || {
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const unblocked, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The supervisor may have died before the line above.
            if rustix::process::getppid() != Some(supervisor) {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            if let Some(group) = &group {
                let _ = rustix::io::write(group, b"0");
            }
            BackstopLink::register_self(backstop.as_fd());
            Ok(())
        });
    }
    match command.spawn() {
        Ok(child) => Ok(Pid::from_child(&child)),
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            Err(not_started(format!("{}: {error}", program.to_string_lossy()), missing))
        }
    }
}

/// Whether the command has ended; leaves it as a zombie, so that its pid is not reused. Reaps other
/// reparented children, which would else stay zombies for as long as the command runs.
pub(super) fn has_ended(leader: Pid) -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        if matches!(rustix::process::waitid(WaitId::Pid(leader), peek), Ok(Some(_)) | Err(Errno::CHILD)) {
            return true;
        }
        match exec::ended_child() {
            None => return false,
            Some(pid) if pid == leader => return true,
            Some(pid) => drop(rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)),
        }
    }
}

/// Waits for the command; its exit status as a shell has it.
pub(super) fn wait_for_status(leader: Pid) -> i32 {
    loop {
        match rustix::process::waitpid(Some(leader), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return status.exit_status().or(signal).unwrap_or(128);
            }
            _ => return 128,
        }
    }
}
