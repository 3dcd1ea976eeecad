//! The keeper: a process of its own, which starts the command, ends it in time, and ends with it
//! everything that it had started.
//!
//! It asks nobody and waits for nothing but its orders, its child and its alarm. So neither a read
//! that hangs nor a `hold` that is frozen delays a stop; and when `hold` is killed the orders end,
//! and the keeper kills at once. When the keeper itself is killed, the kernel kills the command
//! (prctl(2), PR_SET_PDEATHSIG), and what that had started falls to `hold`. When both are frozen, the
//! keeper is killed by its [fuse](super::fuse).

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use super::ipc::{Ended, IpcLink, Message, SupervisorOrder, SupervisorReport};
use super::kill_timer::KillTimer;
use super::policy::{Act, RunWindow};
use super::timer::Timer;
use super::{notify, reaper};
use crate::boot_instant::BootInstant;
use crate::exec;

/// What the keeper is to know from the beginning.
#[derive(Debug)]
pub struct Task<'a> {
    /// The command and its arguments.
    pub command: &'a [OsString],
    /// What is added to its environment, beside the epoch.
    pub environment: &'a [(&'a str, String)],
    /// How long it has between being told to stop and being dead.
    pub grace: Duration,
}

/// The keeper, as `hold` sees it.
#[derive(Debug)]
pub struct Supervisor {
    /// Orders go in, reports come out.
    pub link: IpcLink,
    pid: Pid,
}

impl Supervisor {
    /// Makes the keeper, which then waits for its orders.
    ///
    /// # Errors
    /// When there is no process or descriptor to be had, or this process has other threads: what a
    /// lock of theirs guards would be out of reach for the keeper.
    pub fn begin(task: &Task<'_>) -> Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").context("/proc is not mounted")?.count();
        if threads != 1 {
            bail!("a keeper is made before other threads are, and there are {threads}");
        }
        reaper::adopt().context("this kernel has no subreapers")?;
        let (ours, theirs) = IpcLink::pair().context("no sockets to be had")?;
        let parent = rustix::process::getpid();
        // SAFETY: this is the only thread, so the child may do whatever a process may.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()).context("no process to be had"),
            0 => {
                drop(ours);
                let kept = catch_unwind(AssertUnwindSafe(|| keep(task, &theirs, parent)));
                // Nothing of what the process had open before is this one's to flush or to remove.
                // SAFETY: it does not return, and runs nothing on the way.
                unsafe { libc::_exit(i32::from(!matches!(kept, Ok(Ok(()))))) }
            }
            pid => {
                let pid = Pid::from_raw(pid).context("fork gave no number")?;
                Ok(Self { link: ours, pid })
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends the keeper, under which nothing runs any more, or nothing ever ran.
    pub fn dismiss(self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        while matches!(rustix::process::waitpid(Some(self.pid), WaitOptions::empty()), Err(Errno::INTR)) {}
    }

    /// Kills the keeper, which may be frozen or gone already, and everything that it or this process
    /// had started.
    pub fn kill_tree(self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        reaper::end();
    }
}

/// Until there is nothing more to keep.
fn keep(task: &Task<'_>, link: &IpcLink, hold: Pid) -> io::Result<()> {
    // Signals are for `hold`, which then gives an order; what a terminal sends to its group does not
    // even come here.
    let (children, unblocked) = block_signals()?;
    let _ = rustix::process::setpgid(None, None);
    reaper::adopt()?;
    let alarm = Timer::new()?;
    let Some((epoch, until)) = first_order(link)? else { return Ok(()) };
    let mut term = RunWindow::new(until, task.grace);
    let fuse = KillTimer::new()?;
    fuse.set(term.last())?;
    let report = if term.act(BootInstant::now()) == Act::Run {
        start(task, epoch, unblocked)
    } else {
        Err(SupervisorReport::NotStarted { why: "the permit ran out before it could be".to_owned(), missing: false })
    };
    let leader = match report {
        Ok(leader) => leader,
        Err(report) => {
            link.say(&report);
            return Ok(());
        }
    };
    link.say(&SupervisorReport::Started { pid: leader.as_raw_nonzero().get() });
    let (mut told, mut expired, mut killed) = (false, false, false);
    loop {
        match hear(link, &mut term) {
            HoldRun::Listens => {}
            HoldRun::Gone => {
                killed = true;
                break;
            }
        }
        if rustix::process::getppid() != Some(hold) {
            killed = true;
            break;
        }
        if has_ended(leader) {
            break;
        }
        let now = BootInstant::now();
        let act = term.act(now);
        if act != Act::Run && !told {
            expired = !term.is_told();
            term.stop(now);
        }
        match act {
            Act::Run => {}
            Act::Stop if told => {}
            Act::Stop => {
                let _ = rustix::process::kill_process_group(leader, Signal::TERM);
                // One that is stopped would not hear of it.
                let _ = rustix::process::kill_process_group(leader, Signal::CONT);
            }
            Act::Kill => {
                killed = true;
                break;
            }
        }
        told |= act == Act::Stop;
        alarm.set(term.next(now))?;
        fuse.set(term.last())?;
        let fds = [link.as_fd(), alarm.as_fd(), children.as_fd()];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drain(&children);
    }
    // The whole group at once; then whoever left it, one generation after another. The leader is not
    // waited for before, so the group's number is still its own.
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    let status = wait_for(leader);
    reaper::end();
    link.say(&SupervisorReport::Ended(Ended { status, expired, killed }));
    Ok(())
}

enum HoldRun {
    Listens,
    Gone,
}

/// Takes all orders that are there.
fn hear(link: &IpcLink, term: &mut RunWindow) -> HoldRun {
    loop {
        match link.hear() {
            Message::Said(SupervisorOrder::Extend { until }) => term.extend(until),
            Message::Said(SupervisorOrder::Stop) => term.stop(BootInstant::now()),
            Message::Said(SupervisorOrder::Start { .. }) => {}
            Message::Nothing => return HoldRun::Listens,
            Message::Gone => return HoldRun::Gone,
        }
    }
}

fn first_order(link: &IpcLink) -> io::Result<Option<(u64, BootInstant)>> {
    loop {
        match link.hear() {
            Message::Said(SupervisorOrder::Start { epoch, until }) => return Ok(Some((epoch, until))),
            Message::Said(SupervisorOrder::Extend { .. }) => {}
            Message::Said(SupervisorOrder::Stop) | Message::Gone => return Ok(None),
            Message::Nothing => {
                let fd = link.as_fd();
                match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

fn start(task: &Task<'_>, epoch: u64, unblocked: libc::sigset_t) -> Result<Pid, SupervisorReport> {
    let not_started = |why: String, missing| SupervisorReport::NotStarted { why, missing };
    let Some((program, arguments)) = task.command.split_first() else {
        return Err(not_started("there is no command".to_owned(), true));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(task.environment.iter().map(|(name, value)| (name, value)));
    command.env("MIRROR_EPOCH", epoch.to_string()).process_group(0);
    for variable in notify::VARIABLES {
        command.env_remove(variable);
    }
    let supervisor = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec and makes system calls only.
    unsafe {
        command.pre_exec(move || {
            // The command is not to inherit that every signal is blocked.
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const unblocked, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() != Some(supervisor) {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
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

/// Whether it has ended; it is not waited for. What came to the keeper in its stead is, lest it stay
/// as a zombie for as long as the command runs.
fn has_ended(leader: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        if matches!(rustix::process::waitid(WaitId::Pid(leader), look), Ok(Some(_)) | Err(Errno::CHILD)) {
            return true;
        }
        match exec::ended_child() {
            None => return false,
            Some(pid) if pid == leader => return true,
            Some(pid) => drop(rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)),
        }
    }
}

/// Its exit status as a shell has it.
fn wait_for(leader: Pid) -> i32 {
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

/// Blocks every signal, and gives a descriptor that is readable when a child has ended, and what was
/// blocked before.
fn block_signals() -> io::Result<(OwnedFd, libc::sigset_t)> {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut child = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: each set is made before it is used; the descriptor is a new one.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, child.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok((OwnedFd::from_raw_fd(fd), before.assume_init())),
        }
    }
}

fn drain(signals: &OwnedFd) {
    let mut bytes = [0; 1024];
    while rustix::io::read(signals, &mut bytes).is_ok_and(|length| length > 0) {}
}
