//! `mirror hold`: runs a command while the lease allows it, and not longer.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Context;
use super::lease::witness::is_yes;
use crate::chain::BRAIN;
use crate::cli;
use crate::clock::Deadline;
use crate::config::{Config, Lease, Store};
use crate::hex::hex;
use crate::hold::command::HeldCommand;
use crate::hold::failsafe::Voters;
use crate::hold::machine_lock::MachineLock;
use crate::hold::poller::OpenRegister;
use crate::hold::supervisor::Supervisor;
use crate::hold::{self, HoldRequest};
use crate::lease::failsafe::Grant;
use crate::lease::witness::{self, Testimony};
use crate::lease::{client, stored};
use crate::name::Name;
use crate::output::{self, ExitStatus, Style};
use crate::remote::question::Question;
use crate::state::{Lock, StateDir};
use crate::usage_error::UsageError;

pub(super) mod read_log;
mod reporter;
pub(super) mod state_file;

use reporter::Reporter;

/// The processes of a hold that is being killed need this long to end.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The state of a hold, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HoldVerdict {
    /// The command runs.
    Running,
    /// The command was told to stop and has not ended yet.
    Stopping,
    /// The command has ended, by itself or because `mirror hold` was told to end.
    Ended,
    /// The lease is not granted to this node; nothing was started.
    NotOurs,
    /// The register could not be read in time; nothing was started.
    Unknown,
    /// The service is held on this node already; nothing was started.
    Busy,
    /// The command was stopped because the lease was taken away or could no longer be read.
    Lost,
    /// The command could not be started.
    Failed,
}

impl output::HasStatus for HoldVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Running | Self::Stopping | Self::Ended => ExitStatus::Yes,
            Self::NotOurs | Self::Lost | Self::Failed => ExitStatus::No,
            Self::Unknown | Self::Busy => ExitStatus::Unknown,
        }
    }
}

/// What `mirror hold` writes into `hold-SERVICE.json` in the state directory, at each change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HoldFacts {
    /// The service.
    pub service: Name,
    /// The epoch under which the command was started; null if it was not.
    pub epoch: Option<u64>,
    /// The pid of `mirror hold`.
    pub hold_pid: u32,
    /// The pid of the command, which is also its process group; null if it was not started.
    pub pid: Option<i32>,
    /// The exit status of `mirror hold`; null while the command runs.
    pub exit_status: Option<u8>,
    /// Whether the command had to be killed; null while it runs.
    pub killed: Option<bool>,
    /// Since when the command has run by the failsafe, RFC 3339, UTC: the register cannot be read, and all
    /// voters vouch for the grant. Null otherwise.
    pub failsafe_since: Option<String>,
    /// How many voters vouch; null without the failsafe.
    pub voters: Option<usize>,
}

impl output::ReportFacts for HoldFacts {
    type Verdict = HoldVerdict;
    const SCHEMA: &'static str = "mirror.hold/1";

    fn text(&self, _: Style) -> String {
        String::new()
    }
}

pub(super) fn run(arguments: &cli::Hold, context: &Context) -> Result<ExitCode> {
    let config = &context.config;
    let (service, settings) = config.service(&arguments.service)?;
    let file = config.file.display();
    let Some(lease) = settings.lease else {
        return Err(UsageError::new(format!("{file}: there is no lease to hold {service} under; add [lease]")));
    };
    let Some(node) = &context.local_node else {
        return Err(UsageError::new(format!("{file}: this machine is no node of the list; name the node with --self")));
    };
    let check = interval(arguments, &lease)?;
    let state_dir = StateDir::open(config);
    let mut reporter = Reporter::new(context, service, node, &state_dir);
    let Some((_file_lock, machine_lock)) = lock(&state_dir, service, &identity(config, service, node))? else {
        return Ok(reporter.not_started(HoldVerdict::Busy, format!("{service} is held on this node already.")));
    };
    let command = HeldCommand {
        words: &arguments.command,
        environment: &[("MIRROR_SERVICE", service.to_string()), ("MIRROR_HOLDER", node.to_string())],
        grace: lease.grace,
    };
    let supervisor = Supervisor::begin(&command)?;
    machine_lock.answer()?;
    let request = HoldRequest {
        service,
        node,
        params: lease.into(),
        check,
        known: stored::load(&state_dir, service),
        open: opener(context, service),
        voters: lease.failsafe.then(|| Arc::new(voters(context, service))),
    };
    let (outcome, lease_view) = hold::hold(&request, supervisor, &mut |event, view| reporter.event(event, view))?;
    stored::keep(&state_dir, Some(node), service, &lease_view);
    Ok(reporter.outcome(outcome))
}

/// Excludes a second hold: by a file in the state directory, and by a lock that survives the deletion of
/// that directory. None when there is one. One that is just being killed is waited for.
fn lock(state_dir: &StateDir, service: &Name, identity: &str) -> Result<Option<(Lock, MachineLock)>> {
    let give_up_at = Instant::now() + LOCK_TIMEOUT;
    loop {
        let file_lock = state_dir.lock_hold(service).with_context(|| {
            format!("{}: {service} cannot be locked; make the directory writable", state_dir.directory().display())
        })?;
        if let Some(file_lock) = file_lock
            && let Some(machine_lock) = MachineLock::try_lock(identity)?
        {
            return Ok(Some((file_lock, machine_lock)));
        }
        if Instant::now() >= give_up_at {
            return Ok(None);
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

/// The same for two holds of one lease by one node, whatever their state directories.
fn identity(config: &Config, service: &Name, node: &Name) -> String {
    let place = match &config.lease {
        None => String::new(),
        Some(Store::Git { remote, prefix }) => format!("git {remote} {prefix}"),
        Some(Store::Etcd { endpoints, prefix, .. }) => format!("etcd {} {prefix}", endpoints.join(" ")),
        Some(Store::File { path }) => format!("file {}", path.display()),
    };
    let digest = Sha256::digest(format!("{place}\n{service}\n{node}"));
    hex(&digest[..16])
}

fn interval(arguments: &cli::Hold, lease: &Lease) -> Result<Duration> {
    match arguments.check {
        None => Ok(lease.interval()),
        Some(check) if check < lease.valid && !check.is_zero() => Ok(check),
        Some(check) => {
            let shown = humantime::format_duration;
            let (check, valid) = (shown(check), shown(lease.valid));
            Err(UsageError::new(format!(
                "--check {check}: a read may be relied on for {valid} (lease.valid); name something shorter, such as {}",
                shown(lease.interval())
            )))
        }
    }
}

/// The nodes of the brain chain, and how each is asked: this node by its file, the others by
/// `mirror lease witness`.
fn voters(context: &Context, service: &Name) -> Voters {
    let names = context.config.chains.get(BRAIN).map(|chain| chain.to_vec()).unwrap_or_default();
    let (config, remote) = (Arc::new(context.config.clone()), Arc::new(context.remote()));
    let (local_node, service) = (context.local_node.clone(), service.clone());
    let connect = {
        let (config, remote) = (Arc::clone(&config), Arc::clone(&remote));
        move |voter: &Name| remote.connect(voter, config.nodes.get(voter)?)
    };
    let ask = move |voter: &Name, grant: &Grant, deadline: Deadline| {
        if Some(voter) == local_node.as_ref() {
            return witness::testify(&config, &service, grant).0 == Testimony::Vouched;
        }
        let Some(node) = config.nodes.get(voter) else { return false };
        let question = Question::Witness {
            service: service.clone(),
            holder: grant.holder.clone(),
            epoch: grant.epoch,
            digest: config.digest.clone(),
        };
        let answer = remote.ask(voter, node, &question.to_string(), deadline);
        answer.status == Some(0) && is_yes(&answer.output, &service, grant, &config.digest)
    };
    Voters { names, ask: Arc::new(ask), connect: Arc::new(connect) }
}

fn opener(context: &Context, service: &Name) -> Arc<OpenRegister> {
    let (config, local_node, service) = (context.config.clone(), context.local_node.clone(), service.to_string());
    Arc::new(move || {
        let register = client::open_register(&config, &StateDir::open(&config), local_node.as_ref(), &service);
        register.map_err(|error| anyhow!("{error}"))?.context("there is no lease")
    })
}
