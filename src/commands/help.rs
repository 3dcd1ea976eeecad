//! `mirror help`: the help of a command, or a page of the manual.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Result;
use clap::CommandFactory;
use rustix::fs::MemfdFlags;

use crate::cli::topics::{self, TOPICS, Topic};
use crate::cli::{self, Cli};
use crate::output::{ExitStatus, OutputMode};
use crate::usage_error::UsageError;

pub(super) fn run(arguments: &cli::Help, output_mode: OutputMode) -> Result<ExitStatus> {
    if let [name] = arguments.topic.as_slice()
        && let Some(topic) = topics::find(name)
    {
        return Ok(show(topic, output_mode));
    }
    let mut program = Cli::command();
    program.build();
    let mut command = &mut program;
    for word in &arguments.topic {
        let Some(below) = command.find_subcommand_mut(word) else {
            let topics = TOPICS.map(|topic| topic.name).join(", ");
            let wanted = arguments.topic.join(" ");
            return Err(UsageError::new(format!(
                "no command and no topic is named {wanted:?}; the topics are {topics}; mirror --help lists the commands"
            )));
        };
        command = below;
    }
    let help = command.render_long_help();
    let text = if io::stdout().is_terminal() { help.ansi().to_string() } else { help.to_string() };
    Ok(output_mode.print(&text))
}

/// Shows a page by man(1) on a terminal, else as plain text.
fn show(topic: &Topic, output_mode: OutputMode) -> ExitStatus {
    if !output_mode.quiet && io::stdout().is_terminal() {
        // It returns only if there is no man, or no memory for the page.
        let _ = become_man(topic.roff);
    }
    output_mode.print(&topic.text())
}

/// Replaces this process by `man`, with the page as its standard input; the pager reads keys from the
/// terminal itself.
fn become_man(roff: &str) -> io::Error {
    let page = || -> io::Result<File> {
        let mut page = File::from(rustix::fs::memfd_create("page", MemfdFlags::CLOEXEC)?);
        page.write_all(roff.as_bytes())?;
        page.rewind()?;
        Ok(page)
    };
    match page() {
        Ok(page) => Command::new("man").args(["-l", "-"]).stdin(page).exec(),
        Err(error) => error,
    }
}
