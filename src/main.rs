//! Arguments → run → exit status.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use three_mirror::cli::{self, Cli};
use three_mirror::cmd;
use three_mirror::misuse::Misuse;
use three_mirror::report::{self, Status};

fn main() -> ExitCode {
    if std::env::var_os(cmd::completions::VARIABLE).is_some() {
        clap_complete::CompleteEnv::with_factory(Cli::command).var(cmd::completions::VARIABLE).complete();
    }
    let cli = Cli::parse_from(cli::by_link_name(std::env::args_os().collect()));
    let status = cmd::run(&cli).unwrap_or_else(|error| {
        report::say(format_args!("{error:#}"));
        if error.is::<Misuse>() { Status::Misuse } else { Status::Unknown }
    });
    status.into()
}
