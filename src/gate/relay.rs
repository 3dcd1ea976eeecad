//! A shell that carries a program out, and the session's standard input, whose end is the end of everything.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::REQUEST_TIMEOUT;
use crate::clock::Deadline;
use crate::exec;

/// A request is no longer, in bytes.
const MAX_REQUEST: usize = 1024 * 1024;
/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Whether the end of standard input is the end of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// It is.
    Yes,
    /// It is once the nonce has come there: what runs the session may pass no standard input on.
    WithNonce,
}

/// The first line that comes, without its end. What follows, the text of the program, is for a shell.
pub(super) fn first_line() -> Result<Vec<u8>, String> {
    let (mut input, deadline) = (stdin(), Deadline::after(REQUEST_TIMEOUT));
    let (mut line, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        if !is_readable(&input, deadline.left()) {
            return Err("the request did not come in time".to_owned());
        }
        let count = match input.read(&mut piece) {
            Ok(0) => return Err("the request is cut off".to_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(format!("the request cannot be read: {error}")),
        };
        let end = piece[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&piece[..end.unwrap_or(count)]);
        if line.len() > MAX_REQUEST {
            return Err(format!("the request is longer than {MAX_REQUEST} bytes"));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Runs the program in this shell until it ends; when the session's standard input ends, the program's does
/// too, and it ends everything that it started.
pub(super) fn run(shell: Command, program: &str, live: Live, nonce: &str) -> io::Result<i32> {
    let (mut child, mut to_child) = exec::start_passing(shell)?;
    let ended = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    // A shell that has ended reads nothing; its status says why.
    let _ = to_child.write_all(program.as_bytes());
    let mut link = Link { input: Some(stdin()), to_child: Some(to_child), live, nonce, head: Vec::new() };
    loop {
        let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
        if let Some(input) = &link.input {
            watched.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
        }
        match rustix::event::poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !watched[0].revents().is_empty() {
            let status = child.wait()?;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if watched.get(1).is_some_and(|input| !input.revents().is_empty()) {
            link.receive();
        }
    }
}

/// The caller's end of the session, and the program's.
struct Link<'a> {
    input: Option<ManuallyDrop<File>>,
    to_child: Option<ChildStdin>,
    live: Live,
    nonce: &'a str,
    /// The beginning of what has come, as long as it is not known to be live.
    head: Vec<u8>,
}

impl Link<'_> {
    /// Takes what has come: nothing of it reaches the program but its end.
    fn receive(&mut self) {
        let Some(input) = &mut self.input else { return };
        let mut piece = vec![0; PIECE];
        match input.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => {
                self.input = None;
                if self.live == Live::Yes {
                    self.to_child = None;
                }
            }
            Ok(count) if self.live == Live::WithNonce => {
                let room = (self.nonce.len() + 1).saturating_sub(self.head.len());
                self.head.extend_from_slice(&piece[..count.min(room)]);
                if self.head.strip_suffix(b"\n") == Some(self.nonce.as_bytes()) {
                    self.live = Live::Yes;
                }
            }
            Ok(_) => {}
        }
    }
}

/// Standard input as it is, without a buffer between; it stays open.
fn stdin() -> ManuallyDrop<File> {
    // SAFETY: descriptor 0 is open for as long as the process runs, and is never closed by this.
    ManuallyDrop::new(unsafe { File::from_raw_fd(0) })
}

fn is_readable(input: &File, wait: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(wait) else { return false };
    loop {
        match rustix::event::poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
