//! `mirror completions`: the script by which a shell asks `mirror` what could come next.

use anyhow::{Context, Result};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::cli;
use crate::report::{self, Status};

/// The variable in which the shell's script names the shell; `mirror` then completes and does
/// nothing else.
pub const VARIABLE: &str = "COMPLETE";

/// The script of a shell.
///
/// # Errors
/// When it cannot be written.
pub fn script(shell: &str) -> Result<String> {
    let completer: &dyn EnvCompleter = match shell {
        "zsh" => &Zsh,
        "fish" => &Fish,
        _ => &Bash,
    };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "mirror", "mirror", "mirror", &mut script)
        .context("cannot write the script")?;
    String::from_utf8(script).context("the script is no text")
}

pub(super) fn run(arguments: &cli::Completions) -> Result<Status> {
    Ok(if report::write(&script(&arguments.shell)?) { Status::Yes } else { Status::Unknown })
}
