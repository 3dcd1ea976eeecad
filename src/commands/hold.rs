//! `mirror hold`: runs a command while the lease allows it, and not longer.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::chain::Name;
use crate::cli;
use crate::config::Lease;
use crate::hold::notify::Notify;
use crate::hold::poller::Open;
use crate::hold::supervisor::{Supervisor, Task};
use crate::hold::{self, Change, Outcome, Plan, Stopped};
use crate::lease::LeaseView;
use crate::lease::client;
use crate::output::{self, Envelope, ExitStatus, Style};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};
use crate::usage_error::UsageError;

/// The lease was lost while the command ran: EX_TEMPFAIL of sysexits(3).
const LOST: u8 = 75;
/// As env(1) and timeout(1) have it.
const CANNOT_START: u8 = 126;
const NO_SUCH_PROGRAM: u8 = 127;
/// SIGTERM, as a shell has it.
const TERMINATED: u8 = 128 + 15;

/// How it stands, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HoldVerdict {
    /// The command runs.
    Running,
    /// The command was told to stop, and has not ended yet.
    Stopping,
    /// The command has ended, by itself or since `mirror hold` was told to end.
    Ended,
    /// The lease is not granted to this node; nothing was started.
    NotOurs,
    /// The register could not be read in time; nothing was started.
    Unknown,
    /// The service is held on this node already; nothing was started.
    Busy,
    /// The command ran, and was ended, since the lease was taken away or could not be read any more.
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
    /// The epoch under which the command was started; null when it was not.
    pub epoch: Option<u64>,
    /// The process of `mirror hold`.
    pub hold_pid: u32,
    /// The process of the command, which leads a group of the same number; null when it was not
    /// started.
    pub pid: Option<i32>,
    /// What `mirror hold` ended with, or is about to; null while the command runs.
    pub exit_status: Option<u8>,
    /// Whether what was left of the command had to be killed; null while it runs.
    pub killed: Option<bool>,
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
    let store = StateDir::open(config);
    let mut told = Told::new(context, service, node, &store);
    let lock = store.lock_hold(service).with_context(|| {
        format!("{}: no lock can be had for {service}; make it writable", store.directory().display())
    })?;
    let Some(_lock) = lock else {
        return Ok(told.in_vain(HoldVerdict::Busy, format!("{service} is held on this node already.")));
    };
    let task = Task {
        command: &arguments.command,
        environment: &[("MIRROR_SERVICE", service.to_string()), ("MIRROR_HOLDER", node.to_string())],
        grace: lease.grace,
    };
    let supervisor = Supervisor::begin(&task)?;
    let plan = Plan {
        service,
        node,
        params: crate::lease::Params { valid: lease.valid, grace: lease.grace },
        check,
        known: store.lease_view(service),
        open: opener(context, service),
    };
    let (outcome, report) = hold::hold(&plan, supervisor, &mut |change, report| told.change(change, report))?;
    history::keep_lease_view(&store, Some(node), service, &report);
    Ok(told.outcome(outcome))
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

fn opener(context: &Context, service: &Name) -> Arc<Open> {
    let (config, local_node, service) = (context.config.clone(), context.local_node.clone(), service.to_string());
    Arc::new(move || {
        let register = client::beside(&config, &StateDir::open(&config), local_node.as_ref(), &service);
        register.map_err(|doubt| anyhow!("{doubt}"))?.context("there is no lease")
    })
}

/// Whoever is told of what happens: people on stderr, programs by a file, the service manager, and
/// the history.
struct Told<'a> {
    context: &'a Context,
    service: &'a Name,
    node: &'a Name,
    store: &'a StateDir,
    notify: Notify,
    facts: HoldFacts,
}

impl<'a> Told<'a> {
    fn new(context: &'a Context, service: &'a Name, node: &'a Name, store: &'a StateDir) -> Self {
        let facts = HoldFacts {
            service: service.clone(),
            epoch: None,
            hold_pid: std::process::id(),
            pid: None,
            exit_status: None,
            killed: None,
        };
        Self { context, service, node, store, notify: Notify::from_environment(), facts }
    }

    fn change(&mut self, change: &Change, report: &LeaseView) {
        let service = self.service;
        match change {
            Change::Runs { epoch, pid } => {
                (self.facts.epoch, self.facts.pid) = (Some(*epoch), Some(*pid));
                let reason = format!("{service} runs here in epoch {epoch}, as process {pid}.");
                self.notify.tell(&format!("READY=1\nWATCHDOG=1\nSTATUS={reason}"));
                self.say(&reason);
                self.show(HoldVerdict::Running, &reason);
                self.record(Event::HoldStart, None, &reason);
                history::keep_lease_view(self.store, Some(self.node), service, report);
            }
            Change::Good => self.notify.tell("WATCHDOG=1"),
            Change::Sure => {
                let reason = format!("{service} may go on: the lease was read again.");
                self.notify.tell(&format!("STATUS={reason}"));
                self.say(&reason);
            }
            Change::Doubtful { why, left } => {
                let left = left.as_secs_f64();
                let reason = format!("{service} is stopped in {left:.1} s unless the lease is read by then: {why}");
                self.notify.tell(&format!("STATUS={}", one_line(&reason)));
                self.say(&reason);
            }
            Change::Stops(why) => {
                let reason = format!("{service} is stopped: {why}.");
                self.notify.tell(&format!("STOPPING=1\nSTATUS={}", one_line(&reason)));
                self.say(&reason);
                self.show(HoldVerdict::Stopping, &reason);
            }
        }
    }

    /// Nothing was started.
    fn in_vain(&mut self, verdict: HoldVerdict, reason: String) -> ExitCode {
        self.notify.tell(&format!("STATUS={}", one_line(&reason)));
        self.say(&reason);
        // Of one that runs already the file is another's.
        if verdict != HoldVerdict::Busy {
            self.facts.exit_status = Some(output::HasStatus::status(verdict) as u8);
            self.show(verdict, &reason);
        }
        output::HasStatus::status(verdict).into()
    }

    fn outcome(&mut self, outcome: Outcome) -> ExitCode {
        let service = self.service;
        let (verdict, reason, status) = match outcome {
            Outcome::NotOurs(why) => {
                return self.in_vain(HoldVerdict::NotOurs, format!("{service} was not started: {why}."));
            }
            Outcome::Unknown(why) => {
                return self.in_vain(
                    HoldVerdict::Unknown,
                    format!("{service} was not started, as it is unknown whether it may be: {why}."),
                );
            }
            Outcome::NotStarted { why, missing } => {
                let status = if missing { NO_SUCH_PROGRAM } else { CANNOT_START };
                (HoldVerdict::Failed, format!("{service} could not be started: {why}."), status)
            }
            Outcome::Interrupted => {
                (HoldVerdict::Ended, format!("{service} was not started: a signal came first."), TERMINATED)
            }
            Outcome::Ended { status, stopped, killed } => {
                self.facts.killed = Some(killed);
                let end = if killed { "was killed" } else { "has ended" };
                match stopped {
                    Stopped::Lost(why) => {
                        (HoldVerdict::Lost, format!("{service} {end}, as it may not run any longer: {why}."), LOST)
                    }
                    Stopped::Not | Stopped::Asked => {
                        let number = u8::try_from(status).unwrap_or(u8::MAX);
                        (HoldVerdict::Ended, format!("{service} {end}, with status {number}."), number)
                    }
                }
            }
        };
        self.facts.exit_status = Some(status);
        self.notify.tell(&format!("STOPPING=1\nSTATUS={}", one_line(&reason)));
        self.say(&reason);
        self.show(verdict, &reason);
        if self.facts.pid.is_some() {
            self.record(Event::HoldEnd, Some(verdict), &reason);
        }
        status.into()
    }

    fn say(&self, reason: &str) {
        if !self.context.output_mode.quiet {
            output::say(format_args!("{reason}"));
        }
    }

    fn show(&self, verdict: HoldVerdict, reason: &str) {
        let object = Envelope {
            warnings: &[],
            schema: <HoldFacts as output::ReportFacts>::SCHEMA,
            at: humantime::format_rfc3339_millis(self.context.begun.at).to_string(),
            local_node: Some(self.node),
            verdict,
            reason,
            elapsed_ms: output::millis(self.context.begun.instant.elapsed()),
            facts: &self.facts,
        };
        if let Ok(text) = serde_json::to_string(&object) {
            self.store.show(&format!("hold-{}.json", self.service), &(text + "\n"));
        }
    }

    fn record(&self, event: Event, verdict: Option<HoldVerdict>, reason: &str) {
        let entry = Entry {
            service: Some(self.service.clone()),
            node: Some(self.node.clone()),
            epoch: self.facts.epoch,
            verdict: verdict.and_then(history::slug),
            ..Entry::new(Some(self.node), event, reason)
        };
        history::record(self.store, &entry);
    }
}

/// A line would end a status early, and begin another variable.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
