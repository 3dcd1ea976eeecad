//! What is allowed in a node list but not wise.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::budget::{budget, slowest};
use super::model::{Config, listed};
use super::problem::Findings;
use crate::chain::{BRAIN, Chain};
use crate::name::Name;

/// Where the keys stand.
pub(super) struct Spans<'a>(HashMap<&'a str, Range<usize>>);

impl<'a> Spans<'a> {
    pub(super) fn new(keys: &'a [(String, Range<usize>)]) -> Self {
        Self(keys.iter().map(|(key, span)| (key.as_str(), span.clone())).collect())
    }

    fn of(&self, key: &str) -> Range<usize> {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// Adds a warning for each thing that is allowed but not wise.
pub(super) fn warn(config: &Config, spans: &Spans<'_>, findings: &mut Findings) {
    for (name, chain) in &config.chains {
        warn_of_chain(config, name, chain, spans, findings);
    }
    warn_of_shared_leaders(config, spans, findings);
    warn_of_budget(config, spans, findings);
}

fn warn_of_chain(config: &Config, name: &Name, chain: &Chain, spans: &Spans<'_>, findings: &mut Findings) {
    let at = format!("chains.{name}");
    let span = spans.of(&at);
    if let [only] = chain.as_slice() {
        let message = format!("the chain {name} has no standby: when {only} falls, nobody leads; add a node");
        findings.warning(span.clone(), "no-standby", at.clone(), message);
    }
    let missing = config.nodes.len() - chain.len();
    if missing > 0 && !chain.is_empty() {
        let members: HashSet<&Name> = chain.iter().collect();
        let names = listed(config.nodes.keys().filter(|node| !members.contains(node)), missing);
        let message = format!(
            "the chain {name} misses {names}: alone, such a node cannot lead it; add what is missing at the end"
        );
        findings.warning(span, "missing-node", at, message);
    }
}

fn warn_of_shared_leaders(config: &Config, spans: &Spans<'_>, findings: &mut Findings) {
    let Some(brain) = config.chains.get(BRAIN).and_then(|chain| chain.first()) else { return };
    for (name, service) in &config.services {
        let head = config.chains.get(&service.chain).and_then(|chain| chain.first());
        if head == Some(brain) {
            let at = format!("chains.{}", service.chain);
            let message = format!("{brain} leads both brain and {name}: its fall takes both; let them differ");
            findings.warning(spans.of(&at), "shared-leader", at, message);
        }
    }
}

fn warn_of_budget(config: &Config, spans: &Spans<'_>, findings: &mut Findings) {
    let budget = budget(config);
    let Some((slowest, service)) = slowest(config).filter(|_| !budget.within) else { return };
    let (lease, shorter) = match service.lease {
        Some(_) => (format!(" + lease {}", budget.lease_ms), ", lease.valid"),
        None => (String::new(), ""),
    };
    let inhale = if service.inhale.is_some() { format!(" + inhale {}", budget.inhale_ms) } else { String::new() };
    let message = format!(
        "the worst case is {} ms (check {} + probe {} + stop {}{inhale} + start {}{lease}), the promise is {} ms; \
         shorten cycle.check{shorter} or services.{slowest}.timeout, or raise cycle.recovery",
        budget.total_ms, budget.check_ms, budget.probe_ms, budget.stop_ms, budget.start_ms, budget.recovery_ms
    );
    // Where the promise is not in the file, the service that does not keep it is.
    let recovery = spans.0.get("cycle.recovery").cloned();
    let span = recovery.unwrap_or_else(|| spans.of(&format!("services.{slowest}")));
    findings.warning(span, "over-budget", "cycle.recovery", message);
}
