//! What a node list promises: the worst case from a failure to the recovery.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::limits::Limits;
use super::model::{Config, Lease, Service};
use crate::name::Name;

/// The worst case from a host's failure to the service's recovery, summed from the configuration.
///
/// It counts one failure. A second one on the way (the next node cannot start the service either)
/// adds a start. A brain that is alive and does not work adds `beat_ms`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Budget {
    /// The failure happens right after a check began: `cycle.check`, in ms.
    pub check_ms: u64,
    /// The check waits for the dead host: the longest probe timeout, in ms.
    pub probe_ms: u64,
    /// The living hosts are asked and stopped: the service's `timeout`, in ms.
    pub stop_ms: u64,
    /// The target inhales before the start and nothing answers: the service's `inhale`, in ms.
    pub inhale_ms: u64,
    /// The service starts and is confirmed: the service's `timeout`, in ms.
    pub start_ms: u64,
    /// What a lease adds, in ms: `valid` + `grace`, until an old holder that says nothing has stopped
    /// by itself; 0 without one.
    pub lease_ms: u64,
    /// The sum, in ms.
    pub total_ms: u64,
    /// What a brain adds that is alive and does not work, in ms: until its last beat is stale (2 x
    /// `cycle.check` + `probe.timeout`, at least 2 s), the next brain asks for it again (`cycle.check`, at
    /// least 2 s) and has its answer (4 x `probe.timeout`, at least 1 s, at most 5 s or half of `cycle.check`).
    pub beat_ms: u64,
    /// The sum with `beat_ms`, in ms: the brain stops working at the moment of the failure.
    pub total_inert_ms: u64,
    /// What was promised: `cycle.recovery`, in ms.
    pub recovery_ms: u64,
    /// Whether `total_ms` keeps the promise.
    pub within: bool,
}

/// The budget of the slowest service; without a service, of finding the failure.
pub fn budget(config: &Config) -> Budget {
    let slowest = slowest(config).map(|(_, service)| service);
    let service_ms = ms(slowest.map(|service| service.timeout).unwrap_or_default());
    let inhale_ms = ms(slowest.and_then(|service| service.inhale).unwrap_or_default());
    let lease_ms = ms(slowest.map(lease_wait).unwrap_or_default());
    let check_ms = ms(config.cycle.check);
    let probe_ms = ms(config.nodes.values().map(|node| node.probe.timeout).max().unwrap_or_default());
    let beat_ms = ms(Limits::worst(config).takeover());
    let total_ms = check_ms + probe_ms + 2 * service_ms + inhale_ms + lease_ms;
    let recovery_ms = ms(config.cycle.recovery);
    Budget {
        check_ms,
        probe_ms,
        stop_ms: service_ms,
        inhale_ms,
        start_ms: service_ms,
        lease_ms,
        total_ms,
        beat_ms,
        total_inert_ms: total_ms + beat_ms,
        recovery_ms,
        within: total_ms <= recovery_ms,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The service that takes longest to recover, in the worst case.
pub(super) fn slowest(config: &Config) -> Option<(&Name, &Service)> {
    config
        .services
        .iter()
        .max_by_key(|(_, service)| 2 * service.timeout + service.inhale.unwrap_or_default() + lease_wait(service))
}

/// What a lease adds to a takeover from a node that does not answer.
fn lease_wait(service: &Service) -> Duration {
    service.lease.as_ref().map(Lease::wait).unwrap_or_default()
}
