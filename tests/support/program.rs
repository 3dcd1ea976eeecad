//! The real binary, run in a directory with nothing of the caller's around it; the node list is `mirror.toml` in it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary.
pub const MIRROR: &str = env!("CARGO_BIN_EXE_mirror");

/// What became of a call.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; 128 and more for a signal.
    pub status: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let status = output.status.code().or_else(|| Some(128 + output.status.signal()?)).expect("an end");
        Self { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The binary with these arguments, in this directory.
pub fn command<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(MIRROR);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("HOME", directory).env("STATE_DIRECTORY", directory.join("state"));
    // A relative path, so that messages name it as it stands.
    command.env("MIRROR_CONFIG", "mirror.toml");
    for name in ["MIRROR_SELF", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "COMPLETE"] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
pub fn mirror<A: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Ran {
    command(directory, arguments).output().expect("runs").into()
}
