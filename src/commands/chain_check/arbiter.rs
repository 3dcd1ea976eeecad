//! What the node list survives of the arbiter. Pure: no node is asked.

use schemars::JsonSchema;
use serde::Serialize;

use super::count;
use super::here::Tried;
use crate::chain::{self, BRAIN};
use crate::config::{Config, Guard, Lease};
use crate::name::Name;
use crate::output;

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

/// Whether the login on a voter took so long that the first round of the failsafe would come too late where
/// the arbiter is silent: half of `valid` is left then.
pub(super) fn slow_login(tried: &Tried, config: &Config) -> Option<String> {
    let voters = config.chains.get(BRAIN)?;
    let is_voter = tried.works && voters.iter().any(|voter| voter.as_str() == tried.name);
    let leases = config.services.values().filter_map(|service| service.lease);
    let shortest = leases.filter(|lease| why_it_stops(config, lease, voters).is_none()).map(|lease| lease.valid).min();
    let allowed = shortest.filter(|_| is_voter)? / 2;
    (tried.elapsed_ms > output::millis(allowed)).then(|| {
        format!(
            "a login on {} took {:.0} ms, and the failsafe leaves {} ms for it (half of lease.valid); enlarge valid, or \
             make logins quicker (mirror-arbiter(7))",
            tried.name,
            tried.elapsed_ms,
            allowed.as_millis()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_login_that_takes_more_than_half_of_valid_is_too_slow() {
        let list = |more: &str| {
            let text = format!(
                "[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\nc = \"192.0.2.3\"\n\
                 [chains]\nbrain = [\"a\", \"b\"]\nbot = [\"c\", \"a\"]\n\
                 [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n\
                 [lease]\nstore = \"git\"\nremote = \"ssh://git@192.0.2.9/lease\"\nvalid = \"2s\"\n{more}"
            );
            crate::config::parse(Path::new("mirror.toml"), &text).expect("a list").config
        };
        let login =
            |name: &str, works: bool, elapsed_ms: f64| Tried { name: name.to_owned(), works, detail: None, elapsed_ms };
        let with = list("");
        let message = slow_login(&login("b", true, 1001.0), &with).expect("slow");
        assert!(message.starts_with("a login on b took 1001 ms, and the failsafe leaves 1000 ms for it"), "{message}");
        assert_eq!(slow_login(&login("b", true, 999.0), &with), None);
        assert_eq!(slow_login(&login("c", true, 5000.0), &with), None, "not a voter");
        assert_eq!(slow_login(&login("b", false, 5000.0), &with), None, "an error already");
        assert_eq!(slow_login(&login("b", true, 5000.0), &list("failsafe = false\n")), None);
    }
}
