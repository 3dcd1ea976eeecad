//! The commands: one file each, which gathers, calls and reports.

use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use crate::at_work::{Check, Mode};
use crate::cli::{self, Chain, Cli, Command, Global, Lease};
use crate::config::{self, Config};
use crate::exec;
use crate::gate::environment;
use crate::links;
use crate::local_node;
use crate::name::Name;
use crate::output::warnings::Warning;
use crate::output::{self, ExitStatus, OutputMode, Report, ReportFacts, StartTime};
use crate::remote::Remote;
use crate::state::StateDir;
use crate::usage_error::UsageError;
use crate::view::{self, View};

pub mod beat;
pub mod breathe;
pub mod chain_check;
pub mod chain_show;
mod changes;
pub mod completions;
pub mod drain;
mod everywhere;
pub mod gate;
pub mod help;
pub mod history;
pub mod hold;
pub mod lease;
pub mod metrics;
pub mod notify;
pub mod pause;
pub mod probe;
pub mod promote;
pub mod resume;
pub mod rollout;
pub mod schema;
mod spread;
pub mod status;
pub mod undrain;
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
        let given = global.local_node.as_deref().filter(|name| !name.is_empty());
        let local_node = local_node::local_node(&config, given)?;
        let mut config = config;
        // Another machine's links are not this node's, and a laptop's change with its place.
        if local_node.is_some() {
            links::recall(&mut config);
        }
        Ok(Self { begun, output_mode: output_mode(global), config, local_node })
    }

    /// The same for a command that nothing waits for but a person.
    fn asking_silent_longer(mut self) -> Self {
        links::ask_silent_longer(&mut self.config);
        self
    }

    /// How commands reach the nodes from here.
    pub fn remote(&self) -> Remote {
        Remote::new(&self.config, self.local_node.as_ref())
    }

    /// A decision who the brain is, with or without questions to others.
    fn check<'a>(&'a self, state_dir: &'a StateDir, mode: Mode) -> Check<'a> {
        Check::new(&self.config, self.local_node.as_ref(), state_dir, mode)
    }

    /// Refuses a check on a machine that is no node: a timer that goes on after the node has left the
    /// list must not end well.
    fn must_be_a_node(&self) -> Result<()> {
        if self.local_node.is_some() {
            return Ok(());
        }
        Err(UsageError::new(format!(
            "{}: this machine is no node of the list, so it has nothing to check: none of its addresses is there; \
             name the node with --self, or stop the timer that runs this here",
            self.config.file.display()
        )))
    }

    fn tell<F: ReportFacts>(&self, report: &Report<F>) -> ExitStatus {
        self.tell_with(report, &[])
    }

    /// The same; where there is nothing new, the exit status alone.
    fn tell_if<F: ReportFacts>(&self, is_new: bool, report: &Report<F>, warnings: &[Warning]) -> ExitStatus {
        if is_new { self.tell_with(report, warnings) } else { output::HasStatus::status(report.verdict) }
    }

    fn tell_with<F: ReportFacts>(&self, report: &Report<F>, warnings: &[Warning]) -> ExitStatus {
        let mut all = output::warnings::collected();
        all.extend(warnings.iter().filter(|warning| !all.contains(warning)).cloned().collect::<Vec<_>>());
        output::emit(report, &all, self.local_node.as_ref(), self.begun, self.output_mode)
    }
}

/// How all nodes look from here; those that are found dead are told at once.
fn view_of_all(context: &Context, dead: &everywhere::Dead) -> Result<View> {
    let nodes: Vec<_> = context.config.nodes.iter().collect();
    view::take(&nodes, &[], &context.remote(), view::all_first, |_, answer| {
        if let Some((name, answer)) = answer {
            dead.add(name, answer.state);
            view::say(context.output_mode, name, answer);
        }
        false
    })
}

/// The node list that was named. A variable that is set to nothing names none, as in a shell.
fn node_list(global: &Global) -> Option<&Path> {
    global.config.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn output_mode(global: &Global) -> OutputMode {
    OutputMode { json: global.json, text: global.text, quiet: global.quiet, verbose: global.verbose }
}

/// The program `mirror`, from its arguments to its exit status.
pub fn main() -> ExitCode {
    exec::disarm_inherited();
    // Such as a thread that the system does not grant: what began with it cannot be known to its end.
    std::panic::set_hook(Box::new(|panic| {
        let said = in_one_line(panic);
        // A scope repeats what one of its threads has said.
        if !said.starts_with("a scoped thread panicked") {
            output::say(format_args!("cannot go on: {said}"));
        }
    }));
    let arguments = cli::by_link_name(std::env::args_os().collect());
    if environment::is_gate(arguments.iter().skip(1)) {
        environment::purge();
    }
    if std::env::var_os(completions::VARIABLE).is_some() {
        clap_complete::CompleteEnv::with_factory(Cli::command).var(completions::VARIABLE).complete();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output::say(format_args!("{}", cli::in_one_line(&error)));
            return ExitStatus::UsageError.into();
        }
        Err(help) => help.exit(),
    };
    if cli.global.journal {
        output::journal::mark_all();
    }
    let begun = Instant::now();
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(&cli)));
    let status = ended.unwrap_or_else(|_| Ok(ExitStatus::Unknown.into())).unwrap_or_else(|error| {
        output::say(format_args!("{error:#}"));
        let status = if error.is::<UsageError>() { ExitStatus::UsageError } else { ExitStatus::Unknown };
        status.into()
    });
    // Not a part of the command: it has ended, and let go of every lock.
    if let Command::Breathe(cli::Breathe { pace, .. })
    | Command::Promote(cli::Promote { pace, .. })
    | Command::Notify(cli::Notify { pace, .. }) = cli.command
    {
        std::thread::sleep(pace.pace.unwrap_or_default().saturating_sub(begun.elapsed()));
    }
    status
}

fn in_one_line(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let said = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied());
    let ours = panic.location().filter(|place| place.file().starts_with("src"));
    let place = ours.map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    said.unwrap_or("an error within").replace('\n', " ") + &place
}

/// Runs a command to its end.
///
/// # Errors
/// A [`crate::usage_error::UsageError`] for a wrong command line or configuration; any other error means
/// that something could not be found out.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let begun = StartTime::now();
    let load = || Context::load(&cli.global, begun);
    let status = match &cli.command {
        Command::Probe(arguments) => probe::run(arguments, &load()?.asking_silent_longer()),
        Command::WhoisBrain(arguments) => whois_brain::run(arguments, &load()?),
        Command::Beat(arguments) => beat::run(arguments, &load()?),
        Command::Drain(arguments) => drain::run(arguments, &load()?),
        Command::Undrain(arguments) => undrain::run(arguments, &load()?),
        Command::Breathe(arguments) => breathe::run(arguments, &load()?),
        Command::Promote(arguments) => promote::run(arguments, &load()?),
        Command::Chain(Chain::Show(arguments)) => chain_show::run(arguments, &load()?),
        Command::Chain(Chain::Check(arguments)) => {
            let loaded = config::load_with_problems(node_list(&cli.global))?;
            let found = chain_check::Found { problems: loaded.problems, places: loaded.places };
            chain_check::run(arguments, found, &Context::with(loaded.config, &cli.global, begun)?)
        }
        Command::Lease(Lease::Show(arguments)) => lease::show::run(arguments, &load()?),
        Command::Lease(Lease::Check(arguments)) => lease::check::run(arguments, &load()?),
        Command::Lease(Lease::History(arguments)) => lease::history::run(arguments, &load()?),
        Command::Lease(Lease::Repair(arguments)) => lease::repair::run(arguments, &load()?),
        Command::Lease(Lease::Migrate(arguments)) => lease::migrate::run(arguments, &load()?),
        Command::Lease(Lease::Witness(arguments)) => lease::witness::run(arguments, &load()?),
        Command::Hold(arguments) => return hold::run(arguments, &load()?),
        Command::Gate(arguments) => return gate::run(arguments, load),
        Command::Pause(arguments) => pause::run(arguments, &load()?),
        Command::Resume(arguments) => resume::run(arguments, &load()?),
        Command::Status(arguments) => status::run(arguments, &load()?),
        Command::History(arguments) => history::run(arguments, &load()?),
        Command::Rollout(arguments) => {
            let (file, mode) = (|| config::place(node_list(&cli.global)), output_mode(&cli.global));
            match arguments {
                cli::Rollout { stage: Some(text), .. } => rollout::stage(&file()?, text, begun, mode),
                cli::Rollout { switch: Some(digest), .. } => rollout::switch(&file()?, digest, begun, mode),
                cli::Rollout { file: Some(new), .. } => rollout::run(arguments, new, &load()?),
                cli::Rollout { file: None, .. } => Err(UsageError::new("no list is named; name its file".to_owned())),
            }
        }
        Command::Notify(arguments) => notify::run(arguments, &load()?),
        Command::Metrics(arguments) => metrics::run(arguments, &load()?),
        Command::Schema(arguments) => schema::run(arguments, output_mode(&cli.global)),
        Command::Completions(arguments) => completions::run(arguments, output_mode(&cli.global)),
        Command::Help(arguments) => help::run(arguments, output_mode(&cli.global)),
    }?;
    Ok(status.into())
}
