//! The forced command of a key in `authorized_keys`: what a node may have another one do, and nothing else.
//!
//! ssh gives the command that was asked for in `SSH_ORIGINAL_COMMAND`. It is compared with the few forms
//! that nodes send, and never run: what runs comes from the node list of this node, from this program and
//! from git. The one thing of the caller's that goes into a shell is the nonce, hexadecimal digits.

use std::fmt;
use std::time::Duration;

use crate::remote::login;

pub mod environment;
mod git;
mod journal;
mod program;
mod relay;
mod words;

pub use git::{Repositories, serve as serve_git};
pub use journal::{accepted, refused};
pub use program::{Here, serve as serve_program};
pub use words::ORIGINAL_COMMAND;

/// How long the request may take to arrive once the session is open.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a caller asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A program of `mirror`'s that comes on standard input.
    Program,
    /// The same as an argument; its first line.
    Argument(Vec<u8>),
    /// A login that shows that it ran: the mark to be printed.
    Login(String),
    /// git's end of a fetch (`upload-pack`) or a push (`receive-pack`), and the path that was named.
    Git(GitService, String),
}

/// What git asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitService {
    /// What it fetches from.
    UploadPack,
    /// What it pushes to.
    ReceivePack,
}

impl fmt::Display for GitService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        })
    }
}

/// Why a call is refused: one line.
#[derive(Debug)]
pub struct Refusal(pub String);

impl Call {
    /// What this command asks for.
    ///
    /// # Errors
    /// When no node sends such a command.
    pub fn parse(command: &str) -> Result<Self, Refusal> {
        if command == words::SHELL {
            return Ok(Self::Program);
        }
        if let Some((service, path)) = words::git(command) {
            return Ok(Self::Git(service, path));
        }
        if let Some(line) = words::argument(command) {
            return Ok(Self::Argument(line));
        }
        match login::asked_by(command) {
            Some(mark) => Ok(Self::Login(mark)),
            None => Err(Refusal(format!("no node asks for {command:?}"))),
        }
    }
}
