//! The digest of a node list: two nodes with different ones are two networks.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::file;
use super::resolve::{FAILBACK, SERVICE_TIMEOUT, SSH_PORT};
use super::values::{self, Failback};
use crate::chain::Name;

/// What is digested: sorted by name, defaults and layout left out.
#[derive(Serialize)]
struct Canonical<'a> {
    nodes: BTreeMap<&'a Name, CanonicalNode<'a>>,
    chains: BTreeMap<&'a Name, Vec<&'a Name>>,
    services: BTreeMap<&'a Name, CanonicalService<'a>>,
}

#[derive(Serialize)]
struct CanonicalNode<'a> {
    address: String,
    port: u16,
    user: Option<&'a values::User>,
    probe: Option<&'a file::Probe>,
}

#[derive(Serialize)]
struct CanonicalService<'a> {
    chain: &'a Name,
    status: Option<&'a values::Text>,
    start: Option<&'a values::Text>,
    stop: Option<&'a values::Text>,
    timeout_ms: u128,
    failback: values::Failback,
    health: Option<&'a file::Probe>,
}

/// The first 16 hexadecimal digits of the SHA-256 of nodes, chains and services.
pub(super) fn digest(file: &file::File) -> String {
    let node = |node: &'_ file::Node| {
        let table = &node.0;
        (table.address.to_string(), table.port.map_or(SSH_PORT, |p| p.0))
    };
    let nodes = file.nodes.get_ref().iter().map(|(name, raw)| {
        let (address, port) = node(raw);
        let (user, probe) = (raw.0.user.as_ref(), raw.0.probe.as_ref().map(|probe| &probe.get_ref().0));
        (name.get_ref(), CanonicalNode { address, port, user, probe })
    });
    let chains = file
        .chains
        .get_ref()
        .iter()
        .map(|(name, members)| (name.get_ref(), members.get_ref().iter().map(toml::Spanned::get_ref).collect()));
    let services = file.services.iter().map(|(name, raw)| {
        let service = CanonicalService {
            chain: raw.chain.as_ref().unwrap_or(name).get_ref(),
            status: raw.status.as_ref(),
            start: raw.start.as_ref(),
            stop: raw.stop.as_ref(),
            timeout_ms: raw.timeout.as_ref().map_or(SERVICE_TIMEOUT, |t| t.get_ref().0).as_millis(),
            failback: raw.failback.as_ref().map_or(Failback::After(FAILBACK), |f| *f.get_ref()),
            health: raw.health.as_ref().map(|probe| &probe.get_ref().0),
        };
        (name.get_ref(), service)
    });
    let canonical = Canonical { nodes: nodes.collect(), chains: chains.collect(), services: services.collect() };
    // Maps with text keys, numbers and texts: there is nothing in it that JSON cannot say.
    let bytes = serde_json::to_vec(&canonical).unwrap_or_default();
    Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
