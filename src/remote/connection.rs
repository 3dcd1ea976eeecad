//! The way to a node: an `ssh`, a shell, a command of a template; or a session on a connection that an
//! `ssh` shares, without starting another.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};

use super::master::Master;
use super::mux::{Session, Stage};
use super::{environment, ssh};
use crate::clock::Deadline;
use crate::exec::{Capture, Ended, Exec, Finished, Running};

/// How long the program on the own node is given to end by itself; nobody waits for it.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is looked whether a login has made the shared connection.
const LOGIN_POLL: Duration = Duration::from_millis(2);
/// How much is kept of what comes on standard error, in bytes.
const MAX_ERRORS: u64 = 64 * 1024;

/// How a node is reached, and what is written there.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    /// The arguments, program first.
    pub words: &'a [String],
    /// What goes to its standard input.
    pub input: &'a [u8],
    /// Where a shared connection may be used without starting a process.
    pub socket: Option<&'a Path>,
    /// Whether a process has to end by itself, as the commands may be among its own processes.
    pub gentle: bool,
}

/// A way to a node that is open, and the pipes to it.
pub(super) struct Connection<'a> {
    route: Route<'a>,
    carrier: Carrier,
    /// Open for as long as anything is waited for: its end is the end of everything on that side.
    stdin: Option<File>,
    /// None until it is logged in.
    stdout: Option<File>,
    /// How much of the input is written.
    written: usize,
    /// Whether anything has come.
    heard: bool,
}

enum Carrier {
    /// On the way to a shared connection; once that has failed, with how it ended.
    Login(Master, Option<Finished>),
    Process(Running),
    Shared {
        session: Session,
        errors: Capture,
        begun: Instant,
        stage: Stage,
    },
}

/// What an exchange came to.
pub(super) struct Exchange {
    /// Whether anything has come.
    pub came: bool,
    /// Whether nothing more will come.
    pub over: bool,
}

impl<'a> Connection<'a> {
    /// Opens it: over a shared connection where one can be had.
    pub(super) fn open(route: Route<'a>) -> io::Result<Self> {
        match route.socket {
            Some(socket) if !socket.exists() => Self::log_in(route, socket),
            socket => Self::share_or_start(route, socket),
        }
    }

    /// An ssh deals with what a connection has left behind, or somebody else has put there.
    fn share_or_start(route: Route<'a>, socket: Option<&Path>) -> io::Result<Self> {
        socket.and_then(|socket| Self::share(route, socket)).map_or_else(|| Self::start(route), Ok)
    }

    fn log_in(route: Route<'a>, socket: &Path) -> io::Result<Self> {
        // Where there is no place for a lock, the login is the session's own.
        let Ok(master) = Master::begin(socket, route.words) else { return Self::start(route) };
        Ok(Self { route, carrier: Carrier::Login(master, None), stdin: None, stdout: None, written: 0, heard: false })
    }

    fn start(route: Route<'a>) -> io::Result<Self> {
        let mut process = Command::new(route.words.first().map_or("", String::as_str));
        process.args(route.words.iter().skip(1));
        let (running, stdin, stdout) = Exec::new(process).start_piped()?;
        if route.gentle {
            running.end_by_itself();
        }
        Self::new(route, Carrier::Process(running), OwnedFd::from(stdin), OwnedFd::from(stdout))
    }

    fn share(route: Route<'a>, socket: &Path) -> Option<Self> {
        let begun = Instant::now();
        let environment = environment::of_session(socket, route.words)?;
        let errors = Capture::new(MAX_ERRORS).ok()?;
        let (their_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        let their_stderr = errors.writer().ok()?;
        let streams = [their_stdin.as_fd(), their_stdout.as_fd(), their_stderr.as_fd()];
        let session = Session::ask(socket, ssh::SHELL, &environment, streams).ok()?;
        let carrier = Carrier::Shared { session, errors, begun, stage: Stage::Asked };
        Self::new(route, carrier, stdin, stdout).ok()
    }

    fn new(route: Route<'a>, carrier: Carrier, stdin: OwnedFd, stdout: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&stdin, true)?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        Ok(Self {
            route,
            carrier,
            stdin: Some(File::from(stdin)),
            stdout: Some(File::from(stdout)),
            written: 0,
            heard: false,
        })
    }

    /// Writes what is to be written, and passes on what has come.
    pub(super) fn exchange(&mut self, hear: &mut dyn FnMut(&[u8]), wait: Duration) -> io::Result<Exchange> {
        if let Carrier::Login(..) = self.carrier {
            return self.follow_login(wait);
        }
        let (readable, changed) = self.poll(wait)?;
        self.carrier.trim();
        let mut over = changed && self.carrier.is_over()?;
        if self.carrier.is_refused() {
            if !self.heard {
                // Nothing has run there, so it is asked for anew.
                *self = Self::start(self.route)?;
                return Ok(Exchange { came: false, over: false });
            }
            over = true;
        }
        self.write();
        let came = (readable || over) && self.read(hear, if over { Duration::ZERO } else { wait });
        self.heard |= came;
        Ok(Exchange { came, over })
    }

    /// Goes over to the shared connection as soon as it is there.
    fn follow_login(&mut self, wait: Duration) -> io::Result<Exchange> {
        let (Carrier::Login(master, failure), Some(socket)) = (&mut self.carrier, self.route.socket) else {
            return Ok(Exchange { came: false, over: false });
        };
        let ended = master.ended()?;
        if socket.exists() || ended.as_ref().is_some_and(Finished::success) {
            *self = Self::share_or_start(self.route, Some(socket))?;
        } else if ended.is_some() {
            *failure = ended;
            return Ok(Exchange { came: false, over: true });
        } else {
            std::thread::sleep(wait.min(LOGIN_POLL));
        }
        Ok(Exchange { came: false, over: false })
    }

    /// Waits until there is something to read, or the carrier's state may have changed.
    fn poll(&self, wait: Duration) -> io::Result<(bool, bool)> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let (Some(stdout), Some(carrier)) = (&self.stdout, self.carrier.as_fd()) else { return Ok((false, false)) };
        let mut watched = vec![PollFd::new(stdout, PollFlags::IN), PollFd::from_borrowed_fd(carrier, PollFlags::IN)];
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.written < self.route.input.len()) {
            watched.push(PollFd::new(stdin, PollFlags::OUT));
        }
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(_) => Ok((!watched[0].revents().is_empty(), !watched[1].revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, hear: &mut dyn FnMut(&[u8]), wait: Duration) -> bool {
        let (mut came, mut buffer) = (false, [0; 16 * 1024]);
        let Some(stdout) = self.stdout.as_mut() else { return false };
        loop {
            match stdout.read(&mut buffer) {
                Ok(0) => {
                    // Closed, while the process goes on: nothing is there to be polled for.
                    std::thread::sleep(wait.min(Duration::from_millis(1)));
                    return came;
                }
                Ok(count) => {
                    came = true;
                    hear(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return came,
            }
        }
    }

    /// Passes on what still comes after the end, until its output is closed: what a command said is passed on
    /// beside the program, which does not wait for that.
    pub(super) fn hear_out(&mut self, hear: &mut dyn FnMut(&[u8]), deadline: Deadline) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let Some(stdout) = self.stdout.as_mut() else { return Ok(()) };
        while !deadline.has_passed() {
            let left = Timespec::try_from(deadline.left()).map_err(io::Error::other)?;
            let _ = rustix::event::poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&left));
            match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hear(&buffer[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn write(&mut self) {
        let Some(stdin) = self.stdin.as_mut() else { return };
        let rest = &self.route.input[self.written..];
        if rest.is_empty() {
            return;
        }
        match stdin.write(rest) {
            Ok(count) => self.written += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Nobody reads it: its end will tell why.
            Err(_) => self.written = self.route.input.len(),
        }
    }

    /// What has come on standard error so far.
    pub(super) fn stderr(&self) -> String {
        match &self.carrier {
            Carrier::Login(master, _) => master.stderr(),
            Carrier::Process(running) => running.stderr(),
            Carrier::Shared { errors, .. } => errors.text_so_far(),
        }
    }

    /// How it ended, once nothing more comes.
    pub(super) fn finish(&mut self) -> io::Result<Finished> {
        let (errors, begun, code) = match &mut self.carrier {
            Carrier::Login(_, failure) => return failure.take().ok_or_else(|| io::ErrorKind::NotConnected.into()),
            Carrier::Process(running) => return running.finish(),
            Carrier::Shared { errors, begun, stage: Stage::Over(code), .. } => (errors, begun, *code),
            Carrier::Shared { errors, begun, .. } => (errors, begun, None),
        };
        let mut stderr = errors.text_so_far();
        if code.is_none() {
            stderr += "The shared connection was closed.";
        }
        // What `ssh` exits with when the connection is lost.
        let ended = Ended::Exited(code.unwrap_or(ssh::FAILED));
        Ok(Finished { ended, stdout: Vec::new(), stderr, cut: false, elapsed: begun.elapsed() })
    }

    /// Hangs up, which ends what is still under way on that side.
    pub(super) fn close(mut self) {
        drop(self.stdin.take());
        match self.carrier {
            Carrier::Process(running) if self.route.gentle => running.leave(FAREWELL),
            Carrier::Login(..) | Carrier::Process(_) | Carrier::Shared { .. } => {}
        }
    }
}

impl Carrier {
    /// What becomes readable when its state changes.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Login(..) => None,
            Self::Process(running) => Some(running.as_fd()),
            Self::Shared { session, .. } => Some(session.as_fd()),
        }
    }

    fn trim(&self) {
        match self {
            Self::Login(..) => {}
            Self::Process(running) => running.trim(),
            Self::Shared { errors, .. } => errors.trim(),
        }
    }

    fn is_over(&mut self) -> io::Result<bool> {
        let Self::Shared { session, stage, .. } = self else { return Ok(true) };
        *stage = session.stage()?;
        Ok(matches!(stage, Stage::Over(_)))
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Shared { stage: Stage::Refused, .. })
    }
}
