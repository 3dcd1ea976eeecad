//! Stop and start on a node, each with its confirmation.

use std::time::{Duration, Instant};

use super::observe::probe_health;
use super::outcome::{Step, StepKind, StepOutcome};
use crate::clock::{BootInstant, Deadline};
use crate::config::Probe;
use crate::leader::State;
use crate::output::millis;
use crate::service::{Cause, CommandResult, Condition, Instance};

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
    let stopped = instance.stop(leaving_time_to_ask(instance, deadline));
    let confirmed = match stopped.cause {
        Some(Cause::NodeDied) => stopped.clone(),
        _ => instance.await_status(Condition::Stopped, deadline),
    };
    let mut step = finished(StepKind::Stop, instance, &stopped, &confirmed);
    step.elapsed_ms = millis(begun.elapsed());
    let answered = stopped.cause.is_none() && step.outcome == StepOutcome::Confirmed;
    StopResult { step, issued, answered }
}

/// Stops it on many nodes at once.
pub(super) fn stop_all(instances: &[Instance<'_>], deadline: Deadline) -> Vec<Step> {
    std::thread::scope(|scope| {
        let stops: Vec<_> =
            instances.iter().map(|instance| scope.spawn(move || stop(instance, deadline).step)).collect();
        let broken_off =
            |instance: &Instance<'_>| Step::untaken(instance.name, StepKind::Stop, StepOutcome::Unconfirmed);
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
pub(super) fn start(instance: &Instance<'_>, health: Option<&Probe>, deadline: Deadline) -> Step {
    let begun = Instant::now();
    let started = instance.start(leaving_time_to_ask(instance, deadline));
    let confirmed = match started.cause {
        None => instance.await_status(Condition::Running, deadline),
        Some(Cause::NodeDied) => started.clone(),
        // It may run all the same: started before, or by a command that does not know how it went.
        Some(_) => instance.status(deadline),
    };
    let mut step = finished(StepKind::Start, instance, &started, &confirmed);
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
    step
}

/// By when a start or a stop has to return: in time for its effect to be asked for even when it does
/// not. An ssh hangs for as long as a daemon that it started holds its output.
fn leaving_time_to_ask(instance: &Instance<'_>, deadline: Deadline) -> Deadline {
    let left = deadline.left();
    Deadline::after(left - instance.node.probe.timeout.min(left / 2))
}

/// The step, by what its command and the `status` after it came to.
fn finished(kind: StepKind, instance: &Instance<'_>, done: &CommandResult, status: &CommandResult) -> Step {
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
    let (cause, detail) = match (outcome, done.cause, status.cause) {
        (StepOutcome::Confirmed, ..) => (None, None),
        (_, Some(cause), _) => (Some(cause), done.detail.clone()),
        (_, None, Some(cause)) => (Some(cause), status.detail.clone().map(|d| format!("its status afterwards: {d}"))),
        (_, None, None) => (Some(Cause::StillRunning), None),
    };
    Step { cause, detail, ..Step::untaken(instance.name, kind, outcome) }
}
