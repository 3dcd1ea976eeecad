//! `mirror hold`: runs a command while the lease allows it, and not longer.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::arbiter;
use crate::chain::Name;
use crate::cli;
use crate::config::Lease;
use crate::history::{self, Entry, Event};
use crate::hold::keeper::{Keeper, Task};
use crate::hold::notify::Notify;
use crate::hold::watch::Open;
use crate::hold::{self, Change, Outcome, Plan, Stopped};
use crate::lease::Sight;
use crate::misuse::Misuse;
use crate::report::{self, Object, Paint, Status};
use crate::state::Store;

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
pub enum Verdict {
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

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Running | Self::Stopping | Self::Ended => Status::Yes,
            Self::NotOurs | Self::Lost | Self::Failed => Status::No,
            Self::Unknown | Self::Busy => Status::Unknown,
        }
    }
}

/// What `mirror hold` writes into `hold-SERVICE.json` in the state directory, at each change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Facts {
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

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.hold/1";

    fn text(&self, _: Paint) -> String {
        String::new()
    }
}

pub(super) fn run(arguments: &cli::Hold, setting: &Setting) -> Result<ExitCode> {
    let config = &setting.config;
    let (service, settings) = config.service(&arguments.service)?;
    let file = config.file.display();
    let Some(lease) = settings.lease else {
        return Err(Misuse::new(format!("{file}: there is no lease to hold {service} under; add [lease]")));
    };
    let Some(node) = &setting.own else {
        return Err(Misuse::new(format!("{file}: this machine is no node of the list; name the node with --self")));
    };
    let check = interval(arguments, &lease)?;
    let store = Store::open(config);
    let mut told = Told::new(setting, service, node, &store);
    let lock = store.lock_hold(service).with_context(|| {
        format!("{}: no lock can be had for {service}; make it writable", store.directory().display())
    })?;
    let Some(_lock) = lock else {
        return Ok(told.in_vain(Verdict::Busy, format!("{service} is held on this node already.")));
    };
    let task = Task {
        command: &arguments.command,
        environment: &[("MIRROR_SERVICE", service.to_string()), ("MIRROR_HOLDER", node.to_string())],
        grace: lease.grace,
    };
    let keeper = Keeper::begin(&task)?;
    let plan = Plan {
        service,
        node,
        params: crate::lease::Params { valid: lease.valid, grace: lease.grace },
        check,
        known: store.sight(service),
        open: opener(setting, service),
    };
    let (outcome, sight) = hold::hold(&plan, keeper, &mut |change, sight| told.change(change, sight))?;
    history::keep_sight(&store, Some(node), service, &sight);
    Ok(told.outcome(outcome))
}

fn interval(arguments: &cli::Hold, lease: &Lease) -> Result<Duration> {
    match arguments.check {
        None => Ok(lease.interval()),
        Some(check) if check < lease.valid && !check.is_zero() => Ok(check),
        Some(check) => {
            let shown = humantime::format_duration;
            let (check, valid) = (shown(check), shown(lease.valid));
            Err(Misuse::new(format!(
                "--check {check}: a read may be relied on for {valid} (lease.valid); name something shorter, such as {}",
                shown(lease.interval())
            )))
        }
    }
}

fn opener(setting: &Setting, service: &Name) -> Arc<Open> {
    let (config, own, service) = (setting.config.clone(), setting.own.clone(), service.to_string());
    Arc::new(move || {
        let register = arbiter::beside(&config, &Store::open(&config), own.as_ref(), &service);
        register.map_err(|doubt| anyhow!("{doubt}"))?.context("there is no lease")
    })
}

/// Whoever is told of what happens: people on stderr, programs by a file, the service manager, and
/// the history.
struct Told<'a> {
    setting: &'a Setting,
    service: &'a Name,
    node: &'a Name,
    store: &'a Store,
    notify: Notify,
    facts: Facts,
}

impl<'a> Told<'a> {
    fn new(setting: &'a Setting, service: &'a Name, node: &'a Name, store: &'a Store) -> Self {
        let facts = Facts {
            service: service.clone(),
            epoch: None,
            hold_pid: std::process::id(),
            pid: None,
            exit_status: None,
            killed: None,
        };
        Self { setting, service, node, store, notify: Notify::from_environment(), facts }
    }

    fn change(&mut self, change: &Change, sight: &Sight) {
        let service = self.service;
        match change {
            Change::Runs { epoch, pid } => {
                (self.facts.epoch, self.facts.pid) = (Some(*epoch), Some(*pid));
                let reason = format!("{service} runs here in epoch {epoch}, as process {pid}.");
                self.notify.tell(&format!("READY=1\nWATCHDOG=1\nSTATUS={reason}"));
                self.say(&reason);
                self.show(Verdict::Running, &reason);
                self.record(Event::HoldStart, None, &reason);
                history::keep_sight(self.store, Some(self.node), service, sight);
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
                self.show(Verdict::Stopping, &reason);
            }
        }
    }

    /// Nothing was started.
    fn in_vain(&mut self, verdict: Verdict, reason: String) -> ExitCode {
        self.notify.tell(&format!("STATUS={}", one_line(&reason)));
        self.say(&reason);
        // Of one that runs already the file is another's.
        if verdict != Verdict::Busy {
            self.facts.exit_status = Some(report::Verdict::status(verdict) as u8);
            self.show(verdict, &reason);
        }
        report::Verdict::status(verdict).into()
    }

    fn outcome(&mut self, outcome: Outcome) -> ExitCode {
        let service = self.service;
        let (verdict, reason, status) = match outcome {
            Outcome::NotOurs(why) => {
                return self.in_vain(Verdict::NotOurs, format!("{service} was not started: {why}."));
            }
            Outcome::Unknown(why) => {
                return self.in_vain(
                    Verdict::Unknown,
                    format!("{service} was not started, as it is unknown whether it may be: {why}."),
                );
            }
            Outcome::NotStarted { why, missing } => {
                let status = if missing { NO_SUCH_PROGRAM } else { CANNOT_START };
                (Verdict::Failed, format!("{service} could not be started: {why}."), status)
            }
            Outcome::Interrupted => {
                (Verdict::Ended, format!("{service} was not started: a signal came first."), TERMINATED)
            }
            Outcome::Ended { status, stopped, killed } => {
                self.facts.killed = Some(killed);
                let end = if killed { "was killed" } else { "has ended" };
                match stopped {
                    Stopped::Lost(why) => {
                        (Verdict::Lost, format!("{service} {end}, as it may not run any longer: {why}."), LOST)
                    }
                    Stopped::Not | Stopped::Asked => {
                        let number = u8::try_from(status).unwrap_or(u8::MAX);
                        (Verdict::Ended, format!("{service} {end}, with status {number}."), number)
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
        if !self.setting.voice.quiet {
            report::say(format_args!("{reason}"));
        }
    }

    fn show(&self, verdict: Verdict, reason: &str) {
        let object = Object {
            schema: <Facts as report::Facts>::SCHEMA,
            at: humantime::format_rfc3339_millis(self.setting.begun.at).to_string(),
            own: Some(self.node),
            verdict,
            reason,
            elapsed_ms: report::millis(self.setting.begun.instant.elapsed()),
            facts: &self.facts,
        };
        if let Ok(text) = serde_json::to_string(&object) {
            self.store.show(&format!("hold-{}.json", self.service), &(text + "\n"));
        }
    }

    fn record(&self, event: Event, verdict: Option<Verdict>, reason: &str) {
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
