//! The process that reads and judges, and orders the supervisor.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::failsafe::Failsafe;
use super::ipc::{CommandEnd, Received, SupervisorOrder, SupervisorReport};
use super::policy::{Judgement, RunPolicy};
use super::poller::{PollResult, Poller};
use super::run_window::RunWindow;
use super::signals::{drain, termination_signals};
use super::supervisor::Supervisor;
use super::timer::Timer;
use super::{HoldEvent, HoldOutcome, HoldRequest, OnEvent, StopReason};
use crate::clock::BootInstant;
use crate::exec;
use crate::lease::{LeaseView, Permit};

const NO_ANSWER: &str = "the register did not answer in time";

struct HoldRun<'a> {
    request: &'a HoldRequest<'a>,
    supervisor: Supervisor,
    policy: RunPolicy,
    wakeups: Wakeups,
    failsafe: Option<Failsafe>,
    /// The command, once the supervisor was ordered to start it.
    instance: Option<Instance>,
    /// Whether the supervisor reported that nothing runs.
    nothing_runs: bool,
    reads: Reads,
}

/// What makes this process look around, besides the supervisor and the poller.
struct Wakeups {
    signals: UnixStream,
    timer: Timer,
    /// Readable when a round of the failsafe has ended.
    round_ended: Option<UnixStream>,
}

/// How the reads have gone since the last one that extended the permit.
#[derive(Default)]
struct Reads {
    /// Why they do not extend it; none if none has failed.
    error: Option<String>,
    /// Whether the register answered, and must not be obeyed.
    distrusted: bool,
    /// Whether the voters have extended the permit instead.
    by_failsafe: bool,
}

/// The command, and how long it may run.
struct Instance {
    window: RunWindow,
    stop_reason: StopReason,
}

impl Instance {
    fn is_stopping(&self) -> bool {
        self.stop_reason != StopReason::NotStopped
    }
}

/// See [`hold`](super::hold).
pub(super) fn run(
    request: &HoldRequest<'_>,
    supervisor: Supervisor,
    on_event: &mut OnEvent<'_>,
) -> Result<(HoldOutcome, LeaseView)> {
    let (failsafe, round_ended) = match &request.voters {
        None => (None, None),
        Some(voters) => {
            let (failsafe, round_ended) = Failsafe::new(Arc::clone(voters), request.params)?;
            (Some(failsafe), Some(round_ended))
        }
    };
    let wakeups = Wakeups {
        signals: termination_signals().context("cannot handle signals")?,
        timer: Timer::new().context("cannot create a timer")?,
        round_ended,
    };
    let mut hold = HoldRun {
        request,
        supervisor,
        policy: RunPolicy::new(request.node.clone(), request.params, BootInstant::now(), request.known.clone()),
        wakeups,
        failsafe,
        instance: None,
        nothing_runs: false,
        reads: Reads::default(),
    };
    let poller = Poller::start(request.service, Arc::clone(&request.open), request.check, request.params.valid)?;
    let outcome = hold.run(&poller, on_event);
    if hold.nothing_runs || hold.instance.is_none() {
        hold.supervisor.dismiss();
        // Ends the reads in progress without haste: nothing else runs any more.
        exec::end_all();
    } else {
        hold.supervisor.kill_tree();
    }
    Ok((outcome?, hold.policy.lease_view().clone()))
}

impl HoldRun<'_> {
    fn run(&mut self, poller: &Poller, on_event: &mut OnEvent<'_>) -> Result<HoldOutcome> {
        let give_up_at = BootInstant::now().plus(self.request.params.valid);
        loop {
            if let Some(outcome) = self.take_reports(on_event) {
                return Ok(outcome);
            }
            if drain(&self.wakeups.signals) {
                if self.instance.is_none() {
                    return Ok(HoldOutcome::Interrupted);
                }
                self.stop(StopReason::Signal, "a signal told it to", on_event);
            }
            drain(&poller.wake);
            exec::reap_orphans(self.supervisor.pid());
            while let Ok(result) = poller.results.try_recv() {
                if let Some(outcome) = self.take_result(result, on_event) {
                    return Ok(outcome);
                }
            }
            self.take_rounds(on_event);
            let now = BootInstant::now();
            let round_due = self.begin_round_if_due(now);
            let wake_at = match &self.instance {
                None if now >= give_up_at => return Ok(HoldOutcome::Unknown(self.why_unknown())),
                None => give_up_at,
                Some(instance) if instance.is_stopping() && now >= instance.window.overdue() => {
                    let why = "its supervisor was frozen, and was killed with it";
                    return Ok(killed(instance.stop_reason.clone().or_lost(why)));
                }
                Some(instance) if instance.is_stopping() => instance.window.overdue(),
                Some(instance) if now < instance.window.stops() => instance.window.stops(),
                Some(_) => {
                    let why = self.why_unknown();
                    self.stop(StopReason::LeaseLost(why.clone()), &why, on_event);
                    continue;
                }
            };
            self.wakeups.timer.set(Some(round_due.map_or(wake_at, |due| due.min(wake_at))))?;
            let link = self.supervisor.link.as_fd();
            let wakeups = &self.wakeups;
            let fds = [link, wakeups.signals.as_fd(), poller.wake.as_fd(), wakeups.timer.as_fd()];
            let fds = fds.into_iter().chain(wakeups.round_ended.as_ref().map(AsFd::as_fd));
            let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes all reports of the supervisor; an outcome when nothing runs any more.
    fn take_reports(&mut self, on_event: &mut OnEvent<'_>) -> Option<HoldOutcome> {
        loop {
            match self.supervisor.link.receive() {
                Received::Nothing => return None,
                Received::Message(SupervisorReport::Started { pid }) => {
                    let epoch = self.policy.epoch().unwrap_or_default();
                    on_event(&HoldEvent::Started { epoch, pid }, self.policy.lease_view());
                }
                Received::Message(SupervisorReport::NotStarted { why, missing }) => {
                    self.nothing_runs = true;
                    return Some(HoldOutcome::NotStarted { why, missing });
                }
                Received::Message(SupervisorReport::Ended(CommandEnd { status, expired, killed })) => {
                    self.nothing_runs = true;
                    let stop_reason = self.stop_reason();
                    let stop_reason = if expired { stop_reason.or_lost(&self.why_unknown()) } else { stop_reason };
                    return Some(HoldOutcome::Ended { status, stop_reason, killed });
                }
                Received::Closed if self.instance.is_none() => {
                    return Some(HoldOutcome::Unknown("its supervisor was killed".to_owned()));
                }
                Received::Closed => return Some(killed(self.stop_reason().or_lost("its supervisor was killed"))),
            }
        }
    }

    /// Judges the result of a read; an outcome when nothing was started and nothing will be.
    fn take_result(&mut self, result: PollResult, on_event: &mut OnEvent<'_>) -> Option<HoldOutcome> {
        let now = BootInstant::now();
        on_event(&HoldEvent::Read(result.took()), self.policy.lease_view());
        let judgement = match result {
            PollResult::Read(observation) => self.policy.judge(observation, now),
            PollResult::Failed(why) => Judgement::Unknown(why),
            PollResult::Foreign(why) => Judgement::Distrusted(why),
        };
        self.reads.distrusted |= matches!(judgement, Judgement::Distrusted(_));
        match (judgement, &self.instance) {
            (Judgement::Permitted(permit), None) => self.start(permit),
            (Judgement::Permitted(Permit { until, .. }), Some(_)) => {
                if self.extend(until, now) {
                    if std::mem::take(&mut self.reads).error.is_some() {
                        on_event(&HoldEvent::Recovered, self.policy.lease_view());
                    }
                    on_event(&HoldEvent::Extended, self.policy.lease_view());
                }
            }
            (Judgement::Denied(why), None) => return Some(HoldOutcome::NotOurs(why)),
            (Judgement::Denied(why), Some(_)) => self.stop(StopReason::LeaseLost(why.clone()), &why, on_event),
            (Judgement::Unknown(why) | Judgement::Distrusted(why), None) => self.reads.error = Some(why),
            (Judgement::Unknown(why) | Judgement::Distrusted(why), Some(instance)) => {
                let (left, stopping) = (now.until(instance.window.stops()), instance.is_stopping());
                if self.reads.error.replace(why.clone()).is_none() && !stopping {
                    on_event(&HoldEvent::AtRisk { why, left }, self.policy.lease_view());
                }
            }
        }
        None
    }

    fn start(&mut self, Permit { epoch, until }: Permit) {
        self.policy.started(epoch);
        let window = RunWindow::new(until, self.request.params.grace);
        self.instance = Some(Instance { window, stop_reason: StopReason::NotStopped });
        self.supervisor.link.send(&SupervisorOrder::Start { epoch, until });
    }

    /// Whether the permit was extended.
    fn extend(&mut self, until: BootInstant, now: BootInstant) -> bool {
        let Some(instance) = &mut self.instance else { return false };
        // If the permit expired meanwhile, this process was frozen: a read of now says nothing of the
        // time that it missed.
        if instance.is_stopping() || now >= instance.window.stops() {
            return false;
        }
        instance.window.extend(until);
        self.supervisor.link.send(&SupervisorOrder::Extend { until });
        true
    }

    /// Takes the rounds of the failsafe that have ended.
    fn take_rounds(&mut self, on_event: &mut OnEvent<'_>) {
        if let Some(wake) = &self.wakeups.round_ended {
            drain(wake);
        }
        while let Some(vouched) = self.failsafe.as_mut().and_then(Failsafe::next_vouched) {
            let now = BootInstant::now();
            let judgement = self.policy.judge_round(&vouched.grant, vouched.began, now);
            if let Judgement::Permitted(Permit { until, .. }) = judgement
                && !self.reads.distrusted
                && self.extend(until, now)
            {
                if !std::mem::replace(&mut self.reads.by_failsafe, true) {
                    // A read that is merely late is an error from now on, so that its return is reported.
                    self.reads.error.get_or_insert_with(|| NO_ANSWER.to_owned());
                    let voters = self.failsafe.as_ref().map_or(0, Failsafe::voters);
                    on_event(&HoldEvent::FailsafeBegan { voters }, self.policy.lease_view());
                }
                on_event(&HoldEvent::Extended, self.policy.lease_view());
            }
        }
    }

    /// Begins a round of the failsafe if the register is late or cannot be read; otherwise, when that is due.
    fn begin_round_if_due(&mut self, now: BootInstant) -> Option<BootInstant> {
        let runs = self.instance.as_ref().is_some_and(|instance| !instance.is_stopping());
        if !runs || self.reads.distrusted {
            return None;
        }
        let (grant, renewed) = (self.policy.grant()?, self.policy.renewed()?);
        let failsafe = self.failsafe.as_mut()?;
        let read_failed = self.reads.error.is_some();
        if now >= failsafe.due(renewed, read_failed) {
            failsafe.begin(grant, now);
        }
        Some(failsafe.due(renewed, read_failed))
    }

    fn stop(&mut self, reason: StopReason, why: &str, on_event: &mut OnEvent<'_>) {
        let Some(instance) = self.instance.as_mut().filter(|instance| !instance.is_stopping()) else { return };
        instance.window.stop(BootInstant::now());
        instance.stop_reason = reason;
        self.supervisor.link.send(&SupervisorOrder::Stop);
        on_event(&HoldEvent::Stopping(why.to_owned()), self.policy.lease_view());
    }

    fn stop_reason(&self) -> StopReason {
        self.instance.as_ref().map_or(StopReason::NotStopped, |instance| instance.stop_reason.clone())
    }

    fn why_unknown(&self) -> String {
        self.reads.error.clone().unwrap_or_else(|| NO_ANSWER.to_owned())
    }
}

fn killed(stop_reason: StopReason) -> HoldOutcome {
    HoldOutcome::Ended { status: 128 + libc::SIGKILL, stop_reason, killed: true }
}
