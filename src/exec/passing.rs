//! Programs that talk past `mirror`: they have its own standard output and error.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Starts a program that writes where `mirror` does, and reads from a pipe. It has no deadline: the end of
/// the pipe tells it to end.
///
/// # Errors
/// When it could not be started.
pub(crate) fn start_passing(mut command: Command) -> io::Result<(Child, ChildStdin)> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    Ok((child, stdin))
}

/// Becomes another program, with all standard streams of `mirror`.
///
/// # Errors
/// When it cannot be run.
pub(crate) fn become_program(mut command: Command) -> io::Result<Infallible> {
    Err(command.exec())
}
