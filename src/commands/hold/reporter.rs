//! Publishes what happens to a held command.

use std::process::ExitCode;
use std::time::SystemTime;

use super::super::Context;
use super::read_log::ReadLog;
use super::{HoldFacts, HoldVerdict};
use crate::hold::notify::Notify;
use crate::hold::{HoldEvent, HoldOutcome, StopReason};
use crate::lease::{LeaseView, stored};
use crate::name::Name;
use crate::output::{self, Envelope, Priority};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// The lease was lost while the command ran: EX_TEMPFAIL of sysexits(3).
const LOST: u8 = 75;
/// As for env(1) and timeout(1).
const CANNOT_START: u8 = 126;
const NO_SUCH_PROGRAM: u8 = 127;
/// SIGTERM, as a shell reports it.
const TERMINATED: u8 = 128 + 15;

/// Publishes the events of a hold to stderr, the state file, the service manager and the history.
pub(super) struct Reporter<'a> {
    context: &'a Context,
    service: &'a Name,
    node: &'a Name,
    state_dir: &'a StateDir,
    notify: Notify,
    read_log: ReadLog,
    facts: HoldFacts,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(context: &'a Context, service: &'a Name, node: &'a Name, state_dir: &'a StateDir) -> Self {
        let facts = HoldFacts {
            service: service.clone(),
            epoch: None,
            hold_pid: std::process::id(),
            pid: None,
            exit_status: None,
            killed: None,
            failsafe_since: None,
            voters: None,
        };
        let read_log = ReadLog::new(context, service);
        Self { context, service, node, state_dir, notify: Notify::from_environment(), read_log, facts }
    }

    pub(super) fn event(&mut self, event: &HoldEvent, lease_view: &LeaseView) {
        let service = self.service;
        match event {
            HoldEvent::Started { epoch, pid } => {
                (self.facts.epoch, self.facts.pid) = (Some(*epoch), Some(*pid));
                let reason = format!("{service} runs here in epoch {epoch}, as process {pid}.");
                self.notify.send(&format!("READY=1\nWATCHDOG=1\nSTATUS={reason}"));
                self.say(Priority::Moved, &reason);
                self.show(HoldVerdict::Running, &reason);
                self.record(Event::HoldStart, None, &reason);
                stored::keep(self.state_dir, Some(self.node), service, lease_view);
            }
            HoldEvent::Read(took) => self.read_log.add(*took),
            HoldEvent::Extended => self.notify.send("WATCHDOG=1"),
            HoldEvent::FailsafeBegan { voters } => {
                let since = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
                (self.facts.failsafe_since, self.facts.voters) = (Some(since), Some(*voters));
                let reason = format!(
                    "{service} goes on by failsafe: the lease cannot be read, and {voters} of {voters} voters vouch for it."
                );
                self.notify.send(&format!("STATUS={reason}"));
                self.say(Priority::Moved, &reason);
                self.show(HoldVerdict::Running, &reason);
                self.record(Event::FailsafeBegin, None, &reason);
            }
            HoldEvent::Recovered => {
                self.end_failsafe("the lease was read again");
                let reason = format!("{service} may go on: the lease was read again.");
                self.notify.send(&format!("STATUS={reason}"));
                self.say(Priority::Moved, &reason);
            }
            HoldEvent::AtRisk { why, left } => {
                let left = left.as_secs_f64();
                let reason = format!("{service} is stopped in {left:.1} s unless the lease is read by then: {why}");
                self.notify.send(&format!("STATUS={}", one_line(&reason)));
                self.say(Priority::Failed, &reason);
            }
            HoldEvent::Stopping(why) => {
                self.end_failsafe(why);
                let reason = format!("{service} is stopped: {why}.");
                self.notify.send(&format!("STOPPING=1\nSTATUS={}", one_line(&reason)));
                self.say(Priority::Moved, &reason);
                self.show(HoldVerdict::Stopping, &reason);
            }
        }
    }

    fn end_failsafe(&mut self, why: &str) {
        let service = self.service;
        if self.facts.failsafe_since.take().is_some() {
            self.facts.voters = None;
            let reason = format!("{service} no longer runs by failsafe: {why}.");
            self.show(HoldVerdict::Running, &reason);
            self.record(Event::FailsafeEnd, None, &reason);
        }
    }

    /// Reports that nothing was started.
    pub(super) fn not_started(&mut self, verdict: HoldVerdict, reason: String) -> ExitCode {
        self.notify.send(&format!("STATUS={}", one_line(&reason)));
        self.say(priority(verdict), &reason);
        // The state file belongs to the hold that is already running.
        if verdict != HoldVerdict::Busy {
            self.facts.exit_status = Some(output::HasStatus::status(verdict) as u8);
            self.show(verdict, &reason);
        }
        output::HasStatus::status(verdict).into()
    }

    pub(super) fn outcome(&mut self, outcome: HoldOutcome) -> ExitCode {
        let service = self.service;
        self.end_failsafe("the command has ended");
        let (verdict, reason, status) = match outcome {
            HoldOutcome::NotOurs(why) => {
                return self.not_started(HoldVerdict::NotOurs, format!("{service} was not started: {why}."));
            }
            HoldOutcome::Unknown(why) => {
                return self.not_started(
                    HoldVerdict::Unknown,
                    format!("{service} was not started, as it is unknown whether it may run: {why}."),
                );
            }
            HoldOutcome::NotStarted { why, missing } => {
                let status = if missing { NO_SUCH_PROGRAM } else { CANNOT_START };
                (HoldVerdict::Failed, format!("{service} could not be started: {why}."), status)
            }
            HoldOutcome::Interrupted => {
                (HoldVerdict::Ended, format!("{service} was not started: a signal came first."), TERMINATED)
            }
            HoldOutcome::Ended { status, stop_reason, killed } => {
                self.facts.killed = Some(killed);
                let end = if killed { "was killed" } else { "has ended" };
                match stop_reason {
                    StopReason::LeaseLost(why) => {
                        (HoldVerdict::Lost, format!("{service} {end}, as it may not run any longer: {why}."), LOST)
                    }
                    StopReason::NotStopped | StopReason::Signal => {
                        let number = u8::try_from(status).unwrap_or(u8::MAX);
                        (HoldVerdict::Ended, format!("{service} {end}, with status {number}."), number)
                    }
                }
            }
        };
        self.facts.exit_status = Some(status);
        self.notify.send(&format!("STOPPING=1\nSTATUS={}", one_line(&reason)));
        self.say(priority(verdict), &reason);
        self.show(verdict, &reason);
        if self.facts.pid.is_some() {
            self.record(Event::HoldEnd, Some(verdict), &reason);
        }
        status.into()
    }

    fn say(&self, priority: Priority, reason: &str) {
        if !self.context.output_mode.quiet {
            output::say_as(priority, format_args!("{reason}"));
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
            self.state_dir.show(&format!("hold-{}.json", self.service), &(text + "\n"));
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
        history::record(self.state_dir, &entry);
    }
}

/// A line break would end the status and begin another variable.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn priority(verdict: HoldVerdict) -> Priority {
    match verdict {
        HoldVerdict::Unknown | HoldVerdict::Lost | HoldVerdict::Failed => Priority::Failed,
        HoldVerdict::Running | HoldVerdict::Stopping | HoldVerdict::Ended => Priority::Moved,
        HoldVerdict::NotOurs | HoldVerdict::Busy => Priority::Quiet,
    }
}
