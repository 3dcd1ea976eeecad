//! Stop and start, each with its confirmation.

use std::time::{Duration, Instant};

use super::survey::state_of;
use super::{Act, Outcome, Step};
use crate::boot_instant::BootInstant;
use crate::config::Probe;
use crate::deadline::Deadline;
use crate::decide::State;
use crate::output::millis;
use crate::service::{Cause, CommandResult, Condition, Instance};

const HEALTH_PAUSE: Duration = Duration::from_millis(20);

/// A stop that has ended.
pub(super) struct Stop {
    /// What is told of it.
    pub(super) step: Step,
    /// When it was sent.
    pub(super) issued: BootInstant,
    /// Whether `stop` itself said that it was done, and `status` did not deny it: a mere `status`
    /// could miss an instance that is just starting.
    pub(super) answered: bool,
}

/// Stops the service on a node, and waits until its `status` says so.
pub(super) fn stop(place: &Instance<'_>, deadline: Deadline) -> Stop {
    let (begun, issued) = (Instant::now(), BootInstant::now());
    let stopped = place.stop(leaving_time_to_ask(place, deadline));
    let confirmed = match stopped.cause {
        Some(Cause::NodeDied) => stopped.clone(),
        _ => place.await_status(Condition::Stopped, deadline),
    };
    let step = step(place, Act::Stop, begun, Condition::Stopped, &stopped, &confirmed);
    let answered = stopped.cause.is_none() && step.outcome == Outcome::Confirmed;
    Stop { step, issued, answered }
}

/// Whether a node says that the service runs there.
pub(super) fn still_runs(place: &Instance<'_>, deadline: Deadline) -> bool {
    place.status(deadline).condition == Condition::Running
}

/// Stops it on many nodes at once.
pub(super) fn stop_all(places: &[Instance<'_>], deadline: Deadline) -> Vec<Step> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = places.iter().map(|place| scope.spawn(move || stop(place, deadline).step)).collect();
        let broken_off = |place: &Instance<'_>| planned(place, Act::Stop, Outcome::Unconfirmed);
        threads.into_iter().zip(places).map(|(t, place)| t.join().unwrap_or_else(|_| broken_off(place))).collect()
    })
}

/// Starts the service on a node, and waits until its `status`, and its `health` where there is one,
/// say that it runs.
pub(super) fn start(place: &Instance<'_>, health: Option<&Probe>, deadline: Deadline) -> Step {
    let begun = Instant::now();
    let started = place.start(leaving_time_to_ask(place, deadline));
    let confirmed = match started.cause {
        None => place.await_status(Condition::Running, deadline),
        Some(Cause::NodeDied) => started.clone(),
        // It may run all the same: started before, or by a command that does not know how it went.
        Some(_) => place.status(deadline),
    };
    let mut step = step(place, Act::Start, begun, Condition::Running, &started, &confirmed);
    if let Some(health) = health.filter(|_| step.outcome == Outcome::Confirmed) {
        while state_of(place, health) == State::Dead {
            if deadline.left() <= HEALTH_PAUSE {
                step.outcome = Outcome::Failed;
                step.cause = Some(Cause::Unhealthy);
                break;
            }
            std::thread::sleep(HEALTH_PAUSE);
        }
        step.elapsed_ms = millis(begun.elapsed());
    }
    step
}

/// By when a start or a stop has to return: in time for its effect to be asked for even when it does
/// not. An ssh hangs for as long as a daemon that it started holds its output.
fn leaving_time_to_ask(place: &Instance<'_>, deadline: Deadline) -> Deadline {
    let left = deadline.left();
    Deadline::after(left - place.node.probe.timeout.min(left / 2))
}

/// A step that is not taken.
pub(super) fn planned(place: &Instance<'_>, act: Act, outcome: Outcome) -> Step {
    Step { node: place.name.clone(), step: act, outcome, cause: None, detail: None, elapsed_ms: 0.0 }
}

fn step(
    place: &Instance<'_>,
    act: Act,
    begun: Instant,
    wanted: Condition,
    done: &CommandResult,
    confirmed: &CommandResult,
) -> Step {
    let outcome = match confirmed.condition {
        condition if condition == wanted => Outcome::Confirmed,
        Condition::Unknown => Outcome::Unconfirmed,
        Condition::Running | Condition::Stopped => Outcome::Failed,
    };
    // Where the command itself failed, that is the cause; else what `status` said afterwards.
    let (cause, detail) = match (outcome, done.cause, confirmed.cause) {
        (Outcome::Confirmed, ..) => (None, None),
        (_, Some(cause), _) => (Some(cause), done.detail.clone()),
        (_, None, Some(cause)) => {
            (Some(cause), confirmed.detail.clone().map(|d| format!("its status afterwards: {d}")))
        }
        (_, None, None) => (Some(Cause::StillRunning), None),
    };
    Step { node: place.name.clone(), step: act, outcome, cause, detail, elapsed_ms: millis(begun.elapsed()) }
}
