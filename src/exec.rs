//! The only place that starts a process: with a deadline, a process group, and output to a file. The
//! one exception is the command of [`hold`](crate::hold), which has neither and is supervised for as
//! long as it lives.
//!
//! Output goes to an anonymous file in memory and not to a pipe. A pipe stays open as long as any
//! grandchild has it, so reading it to its end can take for ever; and a daemon that a `start` command
//! leaves behind would die of SIGPIPE when its reader goes. The file is cut back while the process
//! writes and sealed when it ends, so a gigabyte of output or a daemon that keeps writing takes little
//! memory.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::clock::Deadline;

mod capture;
mod detached;
mod groups;
mod inherited;
mod passing;
#[cfg(test)]
mod tests;

pub(crate) use capture::Capture;
use capture::file_holding;
pub(crate) use detached::Detached;
pub use groups::{end_all, ended_child, reap_orphans, take_signals};
pub use inherited::{disarm_inherited, keep_variables};
pub(crate) use passing::{become_program, start_passing};

/// How much of a stream is kept by default, in bytes.
const MAX_OUTPUT: u64 = 64 * 1024;
/// How long a line for people may be, in characters.
const MAX_LINE: usize = 200;
/// How often a running process's output is cut back.
const TRIM_INTERVAL: Duration = Duration::from_millis(20);
/// How long a process may clean up after SIGTERM before it gets SIGKILL.
const TERM_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the other processes of a killed group are waited for: the kernel ends them when it gets round
/// to it, and one that waits for a disk not before that answers.
const GROUP_EXIT_TIMEOUT: Duration = Duration::from_millis(500);
const GROUP_EXIT_INTERVAL: Duration = Duration::from_millis(2);

/// A process to be started.
pub struct Exec<'a> {
    command: Command,
    stdin: Option<&'a [u8]>,
    held: Option<BorrowedFd<'a>>,
    max_output: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It was still running at the deadline, and was ended with its whole process group.
    TimedOut,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub ended: Ended,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: String,
    /// Whether either stream was longer than what is kept of it.
    pub cut: bool,
    /// From start to end.
    pub elapsed: Duration,
}

impl Finished {
    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.ended == Ended::Exited(0)
    }

    /// The first non-empty line of its standard error, else of its standard output, for people: there
    /// the programs of services say what went wrong.
    pub fn first_line(&self) -> Option<String> {
        let said = self.said();
        said.lines().map(str::trim).find(|line| !line.is_empty()).map(shorten)
    }

    /// The last non-empty line of its standard error, else of its standard output, for people: there
    /// shells, ssh and git say what went wrong.
    pub fn last_line(&self) -> Option<String> {
        let said = self.said();
        said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(shorten)
    }

    fn said(&self) -> Cow<'_, str> {
        if self.stderr.trim().is_empty() { String::from_utf8_lossy(&self.stdout) } else { Cow::from(&self.stderr) }
    }
}

fn shorten(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(MAX_LINE).collect()
}

impl<'a> Exec<'a> {
    /// `command`, its standard streams not yet decided.
    pub fn new(command: Command) -> Self {
        Self { command, stdin: None, held: None, max_output: MAX_OUTPUT }
    }

    /// Feeds it `bytes`; by default its standard input is empty.
    pub fn stdin(mut self, bytes: &'a [u8]) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Lets it inherit `fd`, so that a lock taken on it is held until the process has ended too,
    /// even when `mirror` itself is killed.
    pub fn holding(mut self, fd: BorrowedFd<'a>) -> Self {
        self.held = Some(fd);
        self
    }

    /// Keeps up to `bytes` of each output stream.
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.max_output = bytes;
        self
    }

    /// Runs it to its end or to the deadline.
    ///
    /// # Errors
    /// When it could not be started: no such program, no process or descriptor to be had.
    pub fn run(self, deadline: Deadline) -> io::Result<Finished> {
        self.start()?.wait(deadline)
    }

    /// Starts it in a process group of its own.
    ///
    /// # Errors
    /// When it could not be started: no such program, no process or descriptor to be had.
    pub fn start(self) -> io::Result<Running> {
        let stdout = Capture::new(self.max_output)?;
        let stdin = match self.stdin {
            Some(bytes) => Stdio::from(file_holding(bytes)?),
            None => Stdio::null(),
        };
        let to = Stdio::from(stdout.writer()?);
        self.start_with(stdin, to, stdout)
    }

    /// The same, with a pipe to its standard input and one from its standard output, for a process that
    /// is listened to while it runs.
    ///
    /// # Errors
    /// When it could not be started: no such program, no process or descriptor to be had.
    pub fn start_piped(self) -> io::Result<(Running, ChildStdin, ChildStdout)> {
        let unused = Capture::new(self.max_output)?;
        let mut running = self.start_with(Stdio::piped(), Stdio::piped(), unused)?;
        let pipes = running.child.stdin.take().zip(running.child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok((running, stdin, stdout))
    }

    fn start_with(mut self, stdin: Stdio, stdout_to: Stdio, stdout: Capture) -> io::Result<Running> {
        let stderr = Capture::new(self.max_output)?;
        let parent = rustix::process::getpid();
        let held: Option<RawFd> = self.held.map(|fd| fd.as_raw_fd());
        self.command.stdin(stdin).stdout(stdout_to).stderr(stderr.writer()?).process_group(0);
        // SAFETY: the closure runs between fork and exec and makes system calls only; it neither
        // allocates nor locks. `held` stays open in the parent for as long as `self` lives.
        unsafe {
            self.command.pre_exec(move || {
                // The child must not outlive its parent. SIGTERM lets git remove its lock files;
                // the kernel sends it when the thread that started the child ends.
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::Error::from(io::ErrorKind::Interrupted));
                }
                if let Some(fd) = held {
                    rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(fd), FdFlags::empty())?;
                }
                Ok(())
            });
        }
        groups::end_with_us();
        let started = Instant::now();
        let child = groups::spawn(&mut self.command)?;
        let mut running = Running { child, pidfd: None, stdout, stderr, started, ended: None };
        let pid = running.pid();
        running.pidfd = Some(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        Ok(running)
    }
}

/// A process that was started. Dropped before it has ended, it is ended with its whole group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pidfd: Option<rustix::fd::OwnedFd>,
    stdout: Capture,
    stderr: Capture,
    started: Instant,
    ended: Option<Ended>,
}

impl Running {
    /// The id of its process group.
    pub fn group(&self) -> i32 {
        self.pid().as_raw_nonzero().get()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Cuts the output back to its bound; to be called now and then while the process runs.
    pub fn trim(&self) {
        self.stdout.trim();
        self.stderr.trim();
    }

    /// What it has said on its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text_so_far()
    }

    /// Leaves it out when a signal ends `mirror`: it ends by itself, when its standard input does or by
    /// the SIGTERM that it gets then, and needs more time for it than a signal leaves.
    pub fn end_by_itself(&self) {
        groups::forget(self.pid());
    }

    /// Gives it so long to end by itself, without waiting for it here.
    pub fn leave(mut self, patience: Duration) {
        let left = std::thread::Builder::new().spawn(move || self.wait_a_while(Deadline::after(patience)).map(drop));
        // Without a thread it was ended at once.
        drop(left);
    }

    /// Waits for its end, and ends it at the deadline.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn wait(mut self, deadline: Deadline) -> io::Result<Finished> {
        match self.wait_a_while(deadline)? {
            Some(finished) => Ok(finished),
            None => self.time_out(),
        }
    }

    /// Waits for its end until `patience` at most; then it runs on.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn wait_a_while(&mut self, patience: Deadline) -> io::Result<Option<Finished>> {
        while !self.ended_within(patience.left().min(TRIM_INTERVAL))? {
            self.trim();
            if patience.has_passed() {
                return Ok(None);
            }
        }
        self.finish().map(Some)
    }

    /// Ends it and its whole group, first by SIGTERM, then by SIGKILL, and gives the others of the group some time
    /// to be gone: what they had open they close only then.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn end(mut self) -> io::Result<Finished> {
        let finished = self.time_out()?;
        let end = Deadline::after(GROUP_EXIT_TIMEOUT);
        while rustix::process::test_kill_process_group(self.pid()).is_ok() && !end.has_passed() {
            std::thread::sleep(GROUP_EXIT_INTERVAL);
        }
        Ok(finished)
    }

    fn time_out(&mut self) -> io::Result<Finished> {
        self.end_group()?;
        self.ended = Some(Ended::TimedOut);
        self.finish()
    }

    /// The result of a process that has ended; waits for one that has not.
    ///
    /// # Errors
    /// When the system cannot wait for it.
    pub fn finish(&mut self) -> io::Result<Finished> {
        let ended = match self.ended {
            Some(ended) => ended,
            None => ended_as(self.reap()?),
        };
        self.ended = Some(ended);
        let (stdout, stdout_cut) = self.stdout.take()?;
        let (stderr, stderr_cut) = self.stderr.take()?;
        Ok(Finished {
            ended,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            cut: stdout_cut || stderr_cut,
            elapsed: self.started.elapsed(),
        })
    }

    fn ended_within(&mut self, wait: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&self.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        // Before it is reaped: its number can be another process's afterwards.
        groups::forget(self.pid());
        let status = self.child.wait();
        groups::reaped(self.pid());
        status
    }

    fn end_group(&mut self) -> io::Result<()> {
        // The group outlives its leader, so it is signalled even when the leader is gone.
        let _ = rustix::process::kill_process_group(self.pid(), Signal::TERM);
        self.ended_within(TERM_TIMEOUT)?;
        let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
        self.reap()?;
        Ok(())
    }
}

impl AsFd for Running {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_ref().expect("set by start, before anybody else holds it").as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
            let _ = self.reap();
        }
    }
}

fn ended_as(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Signaled(signal.unwrap_or(0)),
    }
}
