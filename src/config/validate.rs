//! What is wrong with a node list as a whole, and what it promises.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Config, Service};
use crate::chain::{BRAIN, Name};

/// Something that is wrong with a node list, and where.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// How bad it is: an `error` makes the list unsound, a `warning` does not.
    pub severity: Severity,
    /// A stable lower-case slug.
    pub code: &'static str,
    /// The key that is meant, such as `chains.bot[2]`; for a finding of `--live`, the node.
    #[serde(rename = "where")]
    pub at: String,
    /// The line in the configuration, from 1.
    pub line: usize,
    /// The column in that line, from 1, in characters.
    pub column: usize,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The list is unsound.
    Error,
    /// The list works, but not as well as it could.
    Warning,
}

/// The worst case from a host's failure to the service's recovery, summed from the configuration.
///
/// It counts one failure. A second one on the way (the next node cannot start the service either)
/// adds a start.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Budget {
    /// The failure happens right after a check began: `cycle.check`, in ms.
    pub check_ms: u64,
    /// The check waits for the dead host: the longest probe timeout, in ms.
    pub probe_ms: u64,
    /// The living hosts are asked and stopped: the service's `timeout`, in ms.
    pub stop_ms: u64,
    /// The service starts and is confirmed: the service's `timeout`, in ms.
    pub start_ms: u64,
    /// What a lease adds, in ms: `valid` + `grace`, until an old holder that says nothing has stopped
    /// by itself; 0 without one.
    pub lease_ms: u64,
    /// The sum, in ms.
    pub total_ms: u64,
    /// What was promised: `cycle.recovery`, in ms.
    pub recovery_ms: u64,
    /// Whether the sum keeps the promise.
    pub within: bool,
}

/// The budget of the slowest service; without a service, of finding the failure.
pub fn budget(config: &Config) -> Budget {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let slowest = slowest(config).map(|(_, service)| service);
    let service = slowest.map(|service| service.timeout).unwrap_or_default();
    let lease = slowest.map(wait).unwrap_or_default();
    let probe = config.nodes.values().map(|n| n.probe.timeout).max().unwrap_or_default();
    let (check_ms, probe_ms, service_ms) = (ms(config.cycle.check), ms(probe), ms(service));
    let lease_ms = ms(lease);
    let total_ms = check_ms + probe_ms + 2 * service_ms + lease_ms;
    let recovery_ms = ms(config.cycle.recovery);
    Budget {
        check_ms,
        probe_ms,
        stop_ms: service_ms,
        start_ms: service_ms,
        lease_ms,
        total_ms,
        recovery_ms,
        within: total_ms <= recovery_ms,
    }
}

/// The service that takes longest to recover, in the worst case.
fn slowest(config: &Config) -> Option<(&Name, &Service)> {
    config.services.iter().max_by_key(|(_, service)| 2 * service.timeout + wait(service))
}

/// What a lease adds to a takeover from a node that says nothing.
fn wait(service: &Service) -> Duration {
    service.lease.map(|lease| lease.valid + lease.grace).unwrap_or_default()
}

/// Adds what is allowed but not wise. `place_of` tells where a chain stands.
pub(super) fn warn(config: &Config, place_of: impl Fn(&Name) -> (usize, usize), problems: &mut Vec<Problem>) {
    let mut warn = |code, at: String, (line, column), message: String| {
        problems.push(Problem { severity: Severity::Warning, code, at, line, column, message });
    };
    for (name, chain) in &config.chains {
        let at = format!("chains.{name}");
        if chain.len() == 1 {
            let message = format!("the chain {name} has no standby: when {} falls, nobody leads; add a node", chain[0]);
            warn("no-standby", at.clone(), place_of(name), message);
        }
        let missing: Vec<&str> = config.nodes.keys().filter(|n| !chain.contains(n)).map(Name::as_str).collect();
        if !missing.is_empty() && !chain.is_empty() {
            let message = format!(
                "the chain {name} misses {}: alone, that node cannot lead it; add it at the end",
                missing.join(", ")
            );
            warn("missing-node", at, place_of(name), message);
        }
    }
    let brain = config.chains.get(BRAIN).and_then(|chain| chain.first());
    for (name, service) in &config.services {
        let head = config.chains.get(&service.chain).and_then(|chain| chain.first());
        if let (Some(brain), Some(head)) = (brain, head)
            && brain == head
        {
            let message = format!("{head} leads both brain and {name}: its fall takes both; let them differ");
            warn("shared-leader", format!("chains.{}", service.chain), place_of(&service.chain), message);
        }
    }
    let budget = budget(config);
    if let Some((slowest, service)) = slowest(config).filter(|_| !budget.within) {
        let (lease, shorter) = match service.lease {
            Some(_) => (format!(" + lease {}", budget.lease_ms), ", lease.valid"),
            None => (String::new(), ""),
        };
        let message = format!(
            "the worst case is {} ms (check {} + probe {} + stop {} + start {}{lease}), the promise is {} ms; \
             shorten cycle.check{shorter} or services.{slowest}.timeout, or raise cycle.recovery",
            budget.total_ms, budget.check_ms, budget.probe_ms, budget.stop_ms, budget.start_ms, budget.recovery_ms
        );
        warn("over-budget", "cycle.recovery".to_owned(), (1, 1), message);
    }
}
