//! Stop and start on a node, each with its confirmation.

use std::time::{Duration, Instant};

use super::observe::probe_health;
use super::outcome::{Step, StepKind, StepOutcome};
use crate::clock::{BootInstant, Deadline};
use crate::config::Probe;
use crate::leader::State;
use crate::output::millis;
use crate::service::{Cause, Condition, Inhaled, Instance, ServiceResult};

/// The pause between two health probes of a service that was just started.
const HEALTH_PROBE_PAUSE: Duration = Duration::from_millis(20);

/// A stop that has ended.
pub(super) struct StopResult {
    /// What is reported of it.
    pub step: Step,
    /// When it was sent.
    pub issued: BootInstant,
    /// Whether `stop` itself said that it was done, and `status` did not deny it: a mere `status`
    /// could miss an instance that is just starting.
    pub answered: bool,
}

/// Stops the service on a node, and waits until its `status` says so.
pub(super) fn stop(instance: &Instance<'_>, deadline: Deadline) -> StopResult {
    let (begun, issued) = (Instant::now(), BootInstant::now());
    let stopped = instance.stop_confirmed(deadline);
    let mut step = finished(StepKind::Stop, instance, &stopped);
    step.elapsed_ms = millis(begun.elapsed());
    let is_done = stopped.act.is_some_and(|act| act.cause.is_none());
    let answered = is_done && step.outcome == StepOutcome::Confirmed;
    StopResult { step, issued, answered }
}

/// Stops it on many nodes at once.
pub(super) fn stop_all(instances: &[Instance<'_>], deadline: Deadline) -> Vec<Step> {
    std::thread::scope(|scope| {
        let stops: Vec<_> =
            instances.iter().map(|instance| scope.spawn(move || stop(instance, deadline).step)).collect();
        let broken_off =
            |instance: &Instance<'_>| Step::untaken(instance.node_name, StepKind::Stop, StepOutcome::Unconfirmed);
        stops.into_iter().zip(instances).map(|(stop, at)| stop.join().unwrap_or_else(|_| broken_off(at))).collect()
    })
}

/// Whether a node says that the service runs there.
pub(super) fn still_runs(instance: &Instance<'_>, deadline: Deadline) -> bool {
    instance.status(deadline).condition == Condition::Running
}

/// Starts the service on a node, and waits until its `status`, and its `health` where there is one,
/// say that it runs.
///
/// A health probe that cannot be asked (no descriptor to be had, its program missing here) says
/// nothing about the service: then `status` alone decides, as it does when a check asks for health.
pub(super) fn start(instance: &Instance<'_>, health: Option<&Probe>, deadline: Deadline) -> (Step, Option<Inhaled>) {
    let begun = Instant::now();
    let started = instance.start_confirmed(deadline);
    let mut step = finished(StepKind::Start, instance, &started);
    if let Some(health) = health.filter(|_| step.outcome == StepOutcome::Confirmed) {
        while probe_health(instance, health) == State::Dead {
            if deadline.left() <= HEALTH_PROBE_PAUSE {
                step.outcome = StepOutcome::Failed;
                step.cause = Some(Cause::Unhealthy);
                break;
            }
            std::thread::sleep(HEALTH_PROBE_PAUSE);
        }
    }
    step.elapsed_ms = millis(begun.elapsed());
    (step, started.inhaled)
}

/// The step, by what its command and the `status` after it came to.
fn finished(kind: StepKind, instance: &Instance<'_>, result: &ServiceResult) -> Step {
    let ServiceResult { act, status, .. } = result;
    let wanted = match kind {
        StepKind::Stop => Condition::Stopped,
        StepKind::Start | StepKind::Status => Condition::Running,
    };
    let outcome = match status.condition {
        condition if condition == wanted => StepOutcome::Confirmed,
        Condition::Unknown => StepOutcome::Unconfirmed,
        Condition::Running | Condition::Stopped => StepOutcome::Failed,
    };
    // Where the command itself failed, that is the cause; else what `status` said afterwards.
    let failed = act.as_ref().filter(|act| act.cause.is_some());
    let (cause, detail) = match (outcome, failed, status.cause) {
        (StepOutcome::Confirmed, ..) => (None, None),
        (_, Some(act), _) => (act.cause, act.detail.clone()),
        (_, None, Some(cause)) if act.is_none() => (Some(cause), status.detail.clone()),
        (_, None, Some(cause)) => (Some(cause), status.detail.clone().map(|d| format!("its status afterwards: {d}"))),
        (_, None, None) => (Some(Cause::StillRunning), None),
    };
    Step { cause, detail, ..Step::untaken(instance.node_name, kind, outcome) }
}
