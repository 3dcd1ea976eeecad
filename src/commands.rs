//! The commands: one file each, which gathers, calls and reports.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use crate::chain::Name;
use crate::cli::{self, Chain, Cli, Command, Global, Lease};
use crate::config::{self, Config};
use crate::local_node;
use crate::output::{self, ExitStatus, OutputMode, Report, ReportFacts, StartTime};
use crate::remote::Remote;
use crate::usage_error::UsageError;

pub mod breathe;
pub mod chain_check;
pub mod chain_show;
pub mod completions;
pub mod history;
pub mod hold;
pub mod lease;
pub mod pause;
pub mod probe;
pub mod promote;
pub mod resume;
pub mod schema;
pub mod whois_brain;

/// What every command starts from.
pub struct Context {
    /// When the command began.
    pub begun: StartTime,
    /// How it was told to speak.
    pub output_mode: OutputMode,
    /// The node list.
    pub config: Config,
    /// The node this is.
    pub local_node: Option<Name>,
}

impl Context {
    fn load(global: &Global, begun: StartTime) -> Result<Self> {
        let config = config::load(node_list(global))?;
        Self::with(config, global, begun)
    }

    fn with(config: Config, global: &Global, begun: StartTime) -> Result<Self> {
        let local_node = local_node::local_node(&config, global.local_node.as_deref().filter(|name| !name.is_empty()))?;
        Ok(Self { begun, output_mode: output_mode(global), config, local_node })
    }

    /// How commands reach the nodes from here.
    pub fn remote(&self) -> Remote {
        Remote::new(&self.config, self.local_node.as_ref())
    }

    fn tell<F: ReportFacts>(&self, report: &Report<F>) -> ExitStatus {
        output::emit(report, self.local_node.as_ref(), self.begun, self.output_mode)
    }
}

/// The node list that was named. A variable that is set to nothing names none, as in a shell.
fn node_list(global: &Global) -> Option<&Path> {
    global.config.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn output_mode(global: &Global) -> OutputMode {
    OutputMode { json: global.json, quiet: global.quiet, verbose: global.verbose }
}

/// The program `mirror`, from its arguments to its exit status.
pub fn main() -> ExitCode {
    if std::env::var_os(completions::VARIABLE).is_some() {
        clap_complete::CompleteEnv::with_factory(Cli::command).var(completions::VARIABLE).complete();
    }
    let cli = match Cli::try_parse_from(cli::by_link_name(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output::say(format_args!("{}", cli::in_one_line(&error)));
            return ExitStatus::UsageError.into();
        }
        Err(help) => help.exit(),
    };
    let begun = Instant::now();
    let status = run(&cli).unwrap_or_else(|error| {
        output::say(format_args!("{error:#}"));
        let status = if error.is::<UsageError>() { ExitStatus::UsageError } else { ExitStatus::Unknown };
        status.into()
    });
    // Not a part of the command: it has ended, and let go of every lock.
    if let Command::Breathe(cli::Breathe { pace, .. }) | Command::Promote(cli::Promote { pace, .. }) = cli.command {
        std::thread::sleep(pace.pace.unwrap_or_default().saturating_sub(begun.elapsed()));
    }
    status
}

/// Runs a command to its end.
///
/// # Errors
/// A [`crate::misuse::UsageError`] for a wrong command line or configuration; any other error means
/// that something could not be found out.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let begun = StartTime::now();
    let load = || Context::load(&cli.global, begun);
    let status = match &cli.command {
        Command::Probe(arguments) => probe::run(arguments, &load()?),
        Command::WhoisBrain(arguments) => whois_brain::run(arguments, &load()?),
        Command::Breathe(arguments) => breathe::run(arguments, &load()?),
        Command::Promote(arguments) => promote::run(arguments, &load()?),
        Command::Chain(Chain::Show(arguments)) => chain_show::run(arguments, &load()?),
        Command::Chain(Chain::Check(arguments)) => {
            let loaded = config::load_with_problems(node_list(&cli.global))?;
            chain_check::run(arguments, loaded.problems, &Context::with(loaded.config, &cli.global, begun)?)
        }
        Command::Lease(Lease::Show(arguments)) => lease::show::run(arguments, &load()?),
        Command::Lease(Lease::Check(arguments)) => lease::check::run(arguments, &load()?),
        Command::Lease(Lease::History(arguments)) => lease::history::run(arguments, &load()?),
        Command::Lease(Lease::Repair(arguments)) => lease::repair::run(arguments, &load()?),
        Command::Lease(Lease::Witness(arguments)) => lease::witness::run(arguments, &load()?),
        Command::Hold(arguments) => return hold::run(arguments, &load()?),
        Command::Pause(arguments) => pause::run(arguments, &load()?),
        Command::Resume(arguments) => resume::run(arguments, &load()?),
        Command::History(arguments) => history::run(arguments, &load()?),
        Command::Schema(arguments) => schema::run(arguments, output_mode(&cli.global)),
        Command::Completions(arguments) => completions::run(arguments, output_mode(&cli.global)),
    }?;
    Ok(status.into())
}
