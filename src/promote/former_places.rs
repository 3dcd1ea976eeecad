//! Where a service ran, by address: a node list may change while it runs.

use crate::config::{Config, Method, Node, Probe};
use crate::name::Name;
use crate::state::{Location, ServiceRecord};

/// What tells a node's former place from the one that the list gives it now.
const FORMER: &str = "-before";
/// As many tries as a probe makes by default.
const ATTEMPTS: u32 = 3;

/// Brings what is remembered in line with the node list: a place that the list has under another name
/// gets that name; a place that it has no more is returned, to be asked all the same.
pub(super) fn former_nodes(record: &mut ServiceRecord, config: &Config) -> Vec<(Name, Node)> {
    if record.checks.digest != config.digest {
        // Those answers may have come from other places.
        record.seen_stopped.clear();
        record.checks.last_full = None;
        record.checks.digest.clone_from(&config.digest);
    }
    let mut former = Vec::new();
    let places = record.running_on.iter_mut().map(|placement| &mut placement.location);
    for location in places.chain(&mut record.left_behind) {
        let is_here = |(name, node): &(&Name, &Node)| Location::of(name, node).is_same_place(location);
        if let Some((name, _)) = config.nodes.iter().find(is_here) {
            location.node = name.clone();
        } else if let Some(node) = node_at(location, config) {
            while config.nodes.contains_key(&location.node) {
                match format!("{}{FORMER}", location.node).parse() {
                    Ok(name) => location.node = name,
                    Err(_) => break,
                }
            }
            former.push((location.node.clone(), node));
        }
    }
    former
}

/// Takes a person's word that the service does not run on a node. Tells whether that was in doubt.
pub(super) fn forget(record: &mut ServiceRecord, node: &str) -> bool {
    let is_meant = |location: &Location| {
        location.node.as_str() == node || location.node.as_str().strip_suffix(FORMER) == Some(node)
    };
    let before = record.left_behind.len();
    record.left_behind.retain(|location| !is_meant(location));
    let ran_there = record.running_on.take_if(|placement| is_meant(&placement.location)).is_some();
    record.checks.last_full = None;
    ran_there || record.left_behind.len() < before
}

/// A place that is not in the list, to be reached as the nodes of the list are.
fn node_at(location: &Location, config: &Config) -> Option<Node> {
    let probe = Probe::fixed(Method::Tcp { port: location.port }, config.probe_timeout, ATTEMPTS);
    Some(Node {
        label: location.node.to_string(),
        address: location.address.parse().ok()?,
        port: location.port,
        user: location.user.clone(),
        probe,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::BootInstant;
    use crate::state::Placement;

    fn config(nodes: &str) -> Config {
        let text = format!("nodes = {{ {nodes}, z = \"192.0.2.9\" }}\nchains = {{ brain = [\"z\"] }}");
        crate::config::parse(Path::new("t.toml"), &text).expect("parses").config
    }

    fn record(config: &Config, node: &str) -> ServiceRecord {
        let (name, node) = config.node(node).expect("a node");
        let location = Location::of(name, node);
        let running_on = Some(Placement { location, since: BootInstant::default(), found_stopped: false });
        ServiceRecord { running_on, ..ServiceRecord::default() }
    }

    fn runs_on(record: &ServiceRecord) -> &str {
        record.running_on.as_ref().map_or("", |placement| placement.location.node.as_str())
    }

    #[test]
    fn a_renamed_node_is_the_same_place_and_a_removed_one_is_still_known() {
        let mut record = record(&config("a = \"192.0.2.1\""), "a");
        assert!(former_nodes(&mut record, &config("b = \"192.0.2.1\"")).is_empty());
        assert_eq!(runs_on(&record), "b");
        let former = former_nodes(&mut record, &config("c = \"192.0.2.3\""));
        assert_eq!(former.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(forget(&mut record, "b") && record.running_on.is_none());
    }

    #[test]
    fn a_node_that_has_moved_has_a_former_place_beside_its_new_one() {
        let mut record = record(&config("a = \"192.0.2.1\""), "a");
        let moved = config("a = \"192.0.2.2\"");
        for _ in 0..2 {
            let former = former_nodes(&mut record, &moved);
            assert_eq!((former.len(), runs_on(&record)), (1, "a-before"));
            assert_eq!(former[0].1.address.to_string(), "192.0.2.1");
        }
        assert!(forget(&mut record, "a"));
    }
}
