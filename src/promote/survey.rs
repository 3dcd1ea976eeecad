//! Where a service runs: on the one node that matters in a quiet tick, or on all that live.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::Request;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::config::Probe;
use crate::deadline::Deadline;
use crate::decide::{NodeStates, State};
use crate::probe::{self, Target};
use crate::service::{Cause, CommandResult, Condition, Instance};
use crate::state::ServiceRecord;

/// How a service fares on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceHealth {
    /// It runs.
    Healthy,
    /// `status` says that it runs, `health` that it does not work.
    Unhealthy,
    /// It does not run.
    Stopped,
    /// The node did not say.
    Unknown,
    /// The node fell while it was asked.
    Died,
}

/// Whether all living nodes have to be asked: some time has passed, or something has changed.
pub(super) fn due(record: &ServiceRecord, seen: &NodeStates, request: &Request<'_>) -> bool {
    let changed = || record.seen.iter().any(|(node, state)| seen.get(node).is_some_and(|now| now != state));
    let old = || record.swept.is_none_or(|swept| swept.until(BootInstant::now()) >= request.config.cycle.sync);
    request.to.is_some() || request.dry_run || record.on.is_none() || changed() || old()
}

/// Asks for the service on one node, by `health` where there is one.
pub(super) fn ask(
    place: &Instance<'_>,
    health: Option<&Probe>,
    deadline: Deadline,
    request: &Request<'_>,
) -> ServiceHealth {
    match health.map(|probe| state_of(place, probe)) {
        Some(State::Alive) => ServiceHealth::Healthy,
        Some(State::Dead) => match service_health(&place.status(deadline)) {
            ServiceHealth::Healthy => ServiceHealth::Unhealthy,
            other => other,
        },
        Some(State::Unknown) | None => {
            let done = place.status(deadline);
            let condition = match done.condition {
                Condition::Running => "runs",
                Condition::Stopped => "does not run",
                Condition::Unknown => "unknown",
            };
            let words = done.detail.as_deref().map(|detail| format!(", {detail}")).unwrap_or_default();
            request.output_mode.step(format_args!("{}: status: {condition}{words}", place.name));
            service_health(&done)
        }
    }
}

/// Asks for the service on many nodes at once; the one that `careful` names by `health` too.
pub(super) fn ask_all(
    places: &[Instance<'_>],
    careful: Option<(&Name, Option<&Probe>)>,
    deadline: Deadline,
    request: &Request<'_>,
) -> BTreeMap<Name, ServiceHealth> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = places
            .iter()
            .map(|place| {
                let health = careful.and_then(|(name, health)| health.filter(|_| name == place.name));
                (place.name, scope.spawn(move || ask(place, health, deadline, request)))
            })
            .collect();
        asked
            .into_iter()
            .map(|(name, thread)| (name.clone(), thread.join().unwrap_or(ServiceHealth::Unknown)))
            .collect()
    })
}

/// The state of a service by its health probe.
pub(super) fn state_of(place: &Instance<'_>, health: &Probe) -> State {
    let login = place.remote.login(place.name, place.node);
    let target = Target { address: &place.node.address, probe: health, login: Some(login), delay: Duration::ZERO };
    let mut state = State::Unknown;
    let asked = probe::ask(&[target], |_, answer| {
        state = answer.state;
        ControlFlow::Continue(())
    });
    asked.map_or(State::Unknown, |()| state)
}

fn service_health(done: &CommandResult) -> ServiceHealth {
    match (done.condition, done.cause) {
        (Condition::Running, _) => ServiceHealth::Healthy,
        (Condition::Stopped, _) => ServiceHealth::Stopped,
        (Condition::Unknown, Some(Cause::NodeDied)) => ServiceHealth::Died,
        (Condition::Unknown, _) => ServiceHealth::Unknown,
    }
}
