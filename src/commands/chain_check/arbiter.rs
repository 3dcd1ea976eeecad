//! What the node list survives of the arbiter. Pure: no node is asked.

use schemars::JsonSchema;
use serde::Serialize;

use super::count;
use crate::chain::{self, BRAIN};
use crate::config::{Config, Guard, Lease};
use crate::name::Name;

/// What the node list survives of the arbiter of its leases.
#[derive(Serialize, JsonSchema)]
pub struct ArbiterFacts {
    /// The number of nodes that may fall, whichever they are, while the arbiter answers.
    pub survives_any: usize,
    /// The nodes that must all answer while the arbiter is away, or the holder stops: those of the chain
    /// `brain`.
    pub voters: Vec<Name>,
    /// The services that go on while the arbiter is away and all voters answer.
    pub goes_on: Vec<Name>,
    /// The services that stop when the arbiter is away for longer than `valid`.
    pub stops: Vec<StopsWithArbiter>,
    /// What is survived, as half a sentence for people.
    pub covered: String,
    /// What is not, each as half a sentence for people.
    pub not_covered: Vec<String>,
}

/// A service that does not go on without the arbiter.
#[derive(Serialize, JsonSchema)]
pub struct StopsWithArbiter {
    /// The service.
    pub service: Name,
    /// Why, as half a sentence.
    pub why: String,
}

/// None for a list without a lease.
pub(super) fn facts(config: &Config) -> Option<ArbiterFacts> {
    config.lease.as_ref()?;
    let voters = config.chains.get(BRAIN).cloned().unwrap_or_default();
    let (mut goes_on, mut stops) = (Vec::new(), Vec::new());
    for (service, settings) in &config.services {
        let Some(lease) = &settings.lease else { continue };
        match why_it_stops(config, lease, &voters) {
            None => goes_on.push(service.clone()),
            Some(why) => stops.push(StopsWithArbiter { service: service.clone(), why }),
        }
    }
    let survives_any = chain::survives_any(config.chains.values());
    let all = all_of(&voters, config.nodes.len());
    let mut covered = format!("any {} while the arbiter answers", count(survives_any, "node"));
    let mut not_covered = Vec::new();
    if !goes_on.is_empty() {
        covered += &format!("; the arbiter while {all}");
        not_covered.push(format!("the arbiter and {} at the same time", one_of(&voters, config.nodes.len())));
    }
    not_covered.extend(stops.iter().map(|stops| format!("the arbiter, for {}: {}", stops.service, stops.why)));
    not_covered.push("a start or a takeover while the arbiter is away".to_owned());
    Some(ArbiterFacts { survives_any, voters, goes_on, stops, covered, not_covered })
}

/// None for a service that goes on.
fn why_it_stops(config: &Config, lease: &Lease, voters: &[Name]) -> Option<String> {
    if !lease.failsafe {
        return Some("failsafe = false".to_owned());
    }
    if lease.guard == Guard::Tick {
        return Some("guard = \"tick\" reads the register only".to_owned());
    }
    if config.state.is_some() || !config.remote_command.is_empty() {
        return None;
    }
    // A login has no $STATE_DIRECTORY, so a user other than root would answer from a directory of its own.
    let users = voters.iter().filter_map(|voter| Some((voter, &config.nodes.get(voter)?.user)));
    let mut strangers = users.filter(|(_, user)| *user != "root");
    strangers.next().map(|(voter, user)| {
        format!("{voter} cannot answer as {user}, whose state is not the node's; name a directory as `state`")
    })
}

fn all_of(voters: &[Name], nodes: usize) -> String {
    match voters {
        [only] => format!("{only}, the only node of the chain {BRAIN}, answers"),
        _ if voters.len() == nodes => format!("all {nodes} nodes answer"),
        _ => format!("all {} of the chain {BRAIN} answer", count(voters.len(), "node")),
    }
}

fn one_of(voters: &[Name], nodes: usize) -> String {
    match voters {
        [only] => only.to_string(),
        _ if voters.len() == nodes => "a node".to_owned(),
        _ => format!("a node of the chain {BRAIN}"),
    }
}
