//! `mirror gate`: the forced command of a node's key.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::Context;
use crate::cli;
use crate::gate::{self, Call, GitService, Here, ORIGINAL_COMMAND, Refusal, Repositories};
use crate::output::{self, ExitStatus};

pub(super) fn run(arguments: &cli::Gate, load: impl Fn() -> Result<Context>) -> Result<ExitCode> {
    let Ok(asked) = std::env::var(ORIGINAL_COMMAND) else {
        let why = "no command, so no terminal either; mirror gate is the forced command of a key in authorized_keys";
        return Ok(refuse(&Refusal(why.to_owned())));
    };
    let call = match Call::parse(&asked) {
        Ok(call) => call,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let outcome = match &call {
        Call::Login(mark) => {
            writeln!(std::io::stdout(), "{mark}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Call::Git(service, path) => Err(git(arguments, load, *service, path)?),
        Call::Program | Call::Argument(_) => {
            let context = load()?;
            gate::serve_program(&Here { config: &context.config, local_node: context.local_node.as_ref() }, &call)
        }
    };
    Ok(match outcome {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(refusal) => refuse(&refusal),
    })
}

/// Becomes git's server for a repository that is named by the forced command or the node list; else the call is
/// refused.
fn git(arguments: &cli::Gate, load: impl Fn() -> Result<Context>, service: GitService, path: &str) -> Result<Refusal> {
    let given = Repositories(arguments.repo.clone());
    // A machine that only holds a repository needs no node list.
    if let Some(repository) = given.named(path) {
        match gate::serve_git(service, repository).context("cannot run git")? {}
    }
    let of_breath = Repositories(load()?.config.breath.repo.into_iter().collect());
    if let Some(repository) = of_breath.named(path) {
        match gate::serve_git(service, repository).context("cannot run git")? {}
    }
    Ok(Refusal(format!("git {service} of {path:?}, which is not the repository of [breath]")))
}

/// One line for the caller, one for the log.
fn refuse(Refusal(why): &Refusal) -> ExitCode {
    gate::refused(why);
    let shown: String = why.chars().take(200).collect();
    output::say(format_args!("gate: refused: {shown}"));
    ExitStatus::No.into()
}
