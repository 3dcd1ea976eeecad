//! A session on a shared connection, asked for in OpenSSH's own words (PROTOCOL.mux) on the connection's
//! socket: what `ssh` does there too, without starting one.

use std::fs::Metadata;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};

use crate::clock::Deadline;

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;

/// No escape character.
const NO_ESCAPE: u32 = u32::MAX;
/// The number of our one request.
const REQUEST: u32 = 0;
/// The process that holds the connection answers at once, unless it is stopped or the machine is busy.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// A longer message is none of this protocol.
const MAX_MESSAGE_LEN: usize = 256 * 1024;

/// What the process that holds the connection says.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Hello { version: u32 },
    Opened { request: u32 },
    Refused { request: u32 },
    Exited { code: u32 },
    Other,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is asked for; nothing runs yet.
    Asked,
    /// It is open.
    Open,
    /// It was refused, and nothing has run.
    Refused,
    /// It is over; none when the connection was lost.
    Over(Option<i32>),
}

/// A session; closing its socket ends it.
#[derive(Debug)]
pub(super) struct Session {
    socket: UnixStream,
    received: Vec<u8>,
    stage: Stage,
    code: Option<i32>,
}

impl Session {
    /// Asks for a session that runs `command` with these standard streams. An error means that none was
    /// asked for.
    pub(super) fn ask(
        path: &Path,
        command: &str,
        environment: &[String],
        streams: [BorrowedFd<'_>; 3],
    ) -> io::Result<Self> {
        let mut session = Self { socket: connect(path)?, received: Vec::new(), stage: Stage::Asked, code: None };
        session.send(&packet(&[HELLO, VERSION], &[]))?;
        match session.first_message(Deadline::after(ANSWER_TIMEOUT))? {
            Message::Hello { version: VERSION } => {}
            other => return Err(io::Error::other(format!("no hello of version {VERSION}: {other:?}"))),
        }
        session.send(&request(command, environment))?;
        for stream in streams {
            session.send_fd(stream)?;
        }
        Ok(session)
    }

    /// How far it is, by what has come.
    pub(super) fn stage(&mut self) -> io::Result<Stage> {
        let closed = self.receive()?;
        while let Some(message) = decode(&mut self.received)? {
            match message {
                Message::Opened { request: REQUEST } => self.stage = Stage::Open,
                Message::Refused { request: REQUEST } => self.stage = Stage::Refused,
                Message::Exited { code } => self.code = i32::try_from(code).ok(),
                _ => {}
            }
        }
        // What it printed has all come when the socket is closed, not yet when it has exited.
        if closed {
            self.stage = match self.stage {
                Stage::Asked => Stage::Refused,
                Stage::Open => Stage::Over(self.code),
                over => over,
            };
        }
        Ok(self.stage)
    }

    fn first_message(&mut self, deadline: Deadline) -> io::Result<Message> {
        loop {
            if let Some(message) = decode(&mut self.received)? {
                return Ok(message);
            }
            let left = Timespec::try_from(deadline.left()).map_err(io::Error::other)?;
            let ready = rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left));
            if ready == Ok(0) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes what has come; whether the other side has closed.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// A new socket has room for all of it.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn send_fd(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl AsFd for Session {
    /// Readable when its stage may have changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Connects to the socket of a shared connection: our own, held by a process of our own.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let user = rustix::process::geteuid();
    let is_ours = |found: &Metadata| found.file_type().is_socket() && found.uid() == user.as_raw();
    if !is_ours(&std::fs::symlink_metadata(path)?) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // Not blocking, as a process that is stopped takes no one in.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    if rustix::net::sockopt::socket_peercred(&socket)?.uid != user {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(UnixStream::from(socket))
}

fn request(command: &str, environment: &[String]) -> Vec<u8> {
    let mut strings = vec![command];
    strings.extend(environment.iter().map(String::as_str));
    // A reserved string, then no terminal, no X11, no agent, no subsystem, and the terminal's name.
    let numbers = [NEW_SESSION, REQUEST, 0, 0, 0, 0, 0, NO_ESCAPE, 0];
    packet(&numbers, &strings)
}

fn packet(numbers: &[u32], strings: &[&str]) -> Vec<u8> {
    let mut body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    for string in strings {
        body.extend(length(string.len()));
        body.extend(string.as_bytes());
    }
    let mut packet = length(body.len()).to_vec();
    packet.append(&mut body);
    packet
}

fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes()
}

/// Takes the first message from what was received, if it is whole.
fn decode(received: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let Some(length) = number(received, 0) else { return Ok(None) };
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length > MAX_MESSAGE_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if received.len() < 4 + length {
        return Ok(None);
    }
    let body: Vec<u8> = received.drain(..4 + length).skip(4).collect();
    let field = |index: usize| number(&body, index).ok_or(io::Error::from(io::ErrorKind::InvalidData));
    Ok(Some(match field(0)? {
        HELLO => Message::Hello { version: field(1)? },
        SESSION_OPENED => Message::Opened { request: field(1)? },
        PERMISSION_DENIED | FAILURE => Message::Refused { request: field(1)? },
        EXIT_MESSAGE => Message::Exited { code: field(2)? },
        _ => Message::Other,
    }))
}

fn number(bytes: &[u8], index: usize) -> Option<u32> {
    let field = bytes.get(4 * index..4 * index + 4)?;
    field.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_protocol_has_it() {
        assert_eq!(packet(&[HELLO, VERSION], &[]), [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4]);
        let request = request("sh", &["A=b".to_owned()]);
        assert_eq!(request[..8], [0, 0, 0, 49, 0x10, 0, 0, 2]);
        assert_eq!(request[28..], *b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x02sh\0\0\0\x03A=b");
    }

    #[test]
    fn a_message_is_read_once_it_is_whole() {
        let exit = packet(&[EXIT_MESSAGE, 7, 3], &[]);
        let mut received = exit[..10].to_vec();
        assert_eq!(decode(&mut received).expect("well-formed"), None);
        received.extend_from_slice(&exit[10..]);
        received.extend(packet(&[FAILURE, REQUEST], &["no more sessions"]));
        received.extend(packet(&[SESSION_OPENED, REQUEST, 7], &[]));
        assert_eq!(decode(&mut received).expect("well-formed"), Some(Message::Exited { code: 3 }));
        assert_eq!(decode(&mut received).expect("well-formed"), Some(Message::Refused { request: REQUEST }));
        assert_eq!(decode(&mut received).expect("well-formed"), Some(Message::Opened { request: REQUEST }));
        assert_eq!(decode(&mut received).expect("well-formed"), None);
        for bad in [vec![0xff; 8], packet(&[], &[]), packet(&[HELLO], &[])] {
            assert!(decode(&mut bad.clone()).is_err(), "{bad:?}");
        }
    }
}
