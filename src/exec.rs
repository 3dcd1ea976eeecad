//! The only place that starts a process: a deadline, a process group, output to a file. (One other
//! command is started, by [`hold`](crate::hold): that has neither, and is watched over as long as it
//! lives.)
//!
//! Output goes to an anonymous file in memory and not to a pipe. A pipe stays open for as long as
//! any grandchild holds it, so reading one to its end can take for ever; and a daemon that a
//! `start` command left behind would die of SIGPIPE when its reader goes. The file is cut back
//! while the process writes, and sealed when it ends, so that neither a gigabyte of output nor a
//! daemon that goes on writing takes more than a little memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::deadline::Deadline;

mod groups;

pub use groups::{end_all, ended_child, reap_strangers, take_signals};

/// How much of a stream is kept unless asked otherwise, in bytes.
const KEPT: u64 = 64 * 1024;
/// How often a running process's output is cut back.
const TRIM_EVERY: Duration = Duration::from_millis(20);
/// What a process may take to clean up after SIGTERM before it gets SIGKILL.
const CLEAN_UP: Duration = Duration::from_millis(50);

/// A process to be started.
pub struct Exec<'a> {
    command: Command,
    stdin: Option<&'a [u8]>,
    held: Option<BorrowedFd<'a>>,
    kept: u64,
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
    /// Whether either stream was longer than what was kept of it.
    pub cut: bool,
    /// From start to end.
    pub elapsed: Duration,
}

impl Finished {
    /// Whether it exited with status 0.
    pub fn success(&self) -> bool {
        self.ended == Ended::Exited(0)
    }

    /// The last line that is not empty of what it said, its errors before its output, for people.
    pub fn last_line(&self) -> Option<String> {
        let of = |text: &str| {
            text.lines()
                .map(str::trim)
                .rfind(|line| !line.is_empty())
                .map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect())
        };
        of(&self.stderr).or_else(|| of(&String::from_utf8_lossy(&self.stdout)))
    }
}

impl<'a> Exec<'a> {
    /// `command`, its standard streams not yet decided.
    pub fn new(command: Command) -> Self {
        Self { command, stdin: None, held: None, kept: KEPT }
    }

    /// Feeds it `bytes`; without this its standard input is empty.
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

    /// Keeps up to `bytes` of each stream.
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.kept = bytes;
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
        let stdout = Capture::new(self.kept)?;
        let stdin = match self.stdin {
            Some(bytes) => Stdio::from(file_holding(bytes)?),
            None => Stdio::null(),
        };
        let to = Stdio::from(stdout.file.try_clone()?);
        self.start_with(stdin, to, stdout)
    }

    /// The same, with a pipe to its standard input and one from its standard output, for a process that
    /// is listened to while it runs.
    ///
    /// # Errors
    /// When it could not be started: no such program, no process or descriptor to be had.
    pub fn start_piped(self) -> io::Result<(Running, ChildStdin, ChildStdout)> {
        let unused = Capture::new(self.kept)?;
        let mut running = self.start_with(Stdio::piped(), Stdio::piped(), unused)?;
        let pipes = running.child.stdin.take().zip(running.child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok((running, stdin, stdout))
    }

    fn start_with(mut self, stdin: Stdio, stdout_to: Stdio, stdout: Capture) -> io::Result<Running> {
        let stderr = Capture::new(self.kept)?;
        let parent = rustix::process::getpid();
        let held: Option<RawFd> = self.held.map(|fd| fd.as_raw_fd());
        self.command.stdin(stdin).stdout(stdout_to).stderr(stderr.file.try_clone()?).process_group(0);
        // SAFETY: the closure runs between fork and exec and makes system calls only; it neither
        // allocates nor locks. `held` stays open in the parent for as long as `self` lives.
        unsafe {
            self.command.pre_exec(move || {
                // Whoever is waited for must not outlive who waits. SIGTERM lets git take its
                // lock files away; the signal is sent when the thread that started it ends.
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
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Keeps the output within its bounds; to be called now and then while the process runs.
    pub fn trim(&self) {
        self.stdout.trim();
        self.stderr.trim();
    }

    /// What it has said on its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
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
    /// When the system does not let it be waited for.
    pub fn wait(mut self, deadline: Deadline) -> io::Result<Finished> {
        match self.wait_a_while(deadline)? {
            Some(finished) => Ok(finished),
            None => self.end(),
        }
    }

    /// Waits for its end, but no longer than until `patience`; it runs on when that has passed.
    ///
    /// # Errors
    /// When the system does not let it be waited for.
    pub fn wait_a_while(&mut self, patience: Deadline) -> io::Result<Option<Finished>> {
        while !self.ended_within(patience.left().min(TRIM_EVERY))? {
            self.trim();
            if patience.has_passed() {
                return Ok(None);
            }
        }
        self.finish().map(Some)
    }

    /// Ends it and its whole group, first by SIGTERM, then by SIGKILL.
    ///
    /// # Errors
    /// When the system does not let it be waited for.
    pub fn end(mut self) -> io::Result<Finished> {
        self.end_group()?;
        self.ended = Some(Ended::TimedOut);
        self.finish()
    }

    /// What became of a process that has ended; waits for one that has not.
    ///
    /// # Errors
    /// When the system does not let it be waited for.
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
        // First, since afterwards its id may be another's.
        groups::forget(self.pid());
        let status = self.child.wait();
        groups::waited_for(self.pid());
        status
    }

    fn end_group(&mut self) -> io::Result<()> {
        // The group outlives its leader, so it is signalled even when the leader is gone.
        let _ = rustix::process::kill_process_group(self.pid(), Signal::TERM);
        self.ended_within(CLEAN_UP)?;
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

/// One stream of a process, in memory, of which the beginning is kept.
#[derive(Debug)]
struct Capture {
    file: File,
    kept: u64,
    cut: std::cell::Cell<bool>,
}

impl Capture {
    fn new(kept: u64) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("mirror-output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        // Appending, so that a writer whose file was cut back goes on at the cut.
        rustix::fs::fcntl_setfl(&fd, OFlags::APPEND)?;
        Ok(Self { file: File::from(fd), kept, cut: std::cell::Cell::new(false) })
    }

    fn trim(&self) {
        if self.file.metadata().is_ok_and(|m| m.len() > self.kept) {
            self.cut.set(true);
            let _ = self.file.set_len(self.kept);
        }
    }

    fn take(&self) -> io::Result<(Vec<u8>, bool)> {
        // From here on whoever still holds it can write no more; it gets an error, not a signal.
        let _ = rustix::fs::fcntl_add_seals(&self.file, SealFlags::GROW);
        self.trim();
        Ok((self.so_far()?, self.cut.get()))
    }

    fn so_far(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len().min(self.kept);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

fn file_holding(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("mirror-input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
