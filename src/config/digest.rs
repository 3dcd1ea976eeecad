//! The digest of a node list: two nodes with different ones are two networks.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::resolve::{FAILBACK, SERVICE_TIMEOUT, SSH_PORT};
use super::values::{self, Failback};
use super::{lease, raw};
use crate::chain::Name;

/// What is digested: sorted by name, defaults and layout left out.
#[derive(Serialize)]
struct Canonical<'a> {
    nodes: BTreeMap<&'a Name, CanonicalNode<'a>>,
    chains: BTreeMap<&'a Name, Vec<&'a Name>>,
    services: BTreeMap<&'a Name, CanonicalService<'a>>,
    /// Left out where there is none, so that a list without a lease keeps its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<CanonicalStore<'a>>,
}

/// Where the leases are: two nodes that look in two places are two networks.
#[derive(Serialize)]
struct CanonicalStore<'a> {
    store: raw::StoreKind,
    remote: Option<&'a values::GitUrl>,
    prefix: Option<&'a str>,
    endpoints: Option<Vec<&'a values::Endpoint>>,
    ca: Option<&'a values::FilePath>,
    cert: Option<&'a values::FilePath>,
    key: Option<&'a values::FilePath>,
    user: Option<&'a values::Line>,
    path: Option<&'a values::FilePath>,
}

#[derive(Serialize)]
struct CanonicalLease {
    valid_ms: u128,
    grace_ms: u128,
    guard: lease::Guard,
    failsafe: bool,
}

#[derive(Serialize)]
struct CanonicalNode<'a> {
    address: String,
    port: u16,
    user: Option<&'a values::User>,
    probe: Option<&'a raw::Probe>,
}

#[derive(Serialize)]
struct CanonicalService<'a> {
    chain: &'a Name,
    status: Option<&'a values::Text>,
    start: Option<&'a values::Text>,
    stop: Option<&'a values::Text>,
    timeout_ms: u128,
    failback: values::Failback,
    health: Option<&'a raw::Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<CanonicalLease>,
}

/// The first 16 hexadecimal digits of the SHA-256 of nodes, chains and services, and of the lease.
pub(super) fn digest(file: &raw::File) -> String {
    let node = |node: &'_ raw::Node| {
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
            lease: file.lease.as_ref().map(|network| {
                let local_node = raw.lease.as_ref().map(|local_node| &local_node.get_ref().0);
                let span = |local_node: Option<&toml::Spanned<values::Span>>,
                            network: Option<&toml::Spanned<values::Span>>,
                            default: std::time::Duration| {
                    local_node.or(network).map_or(default, |span| span.get_ref().0).as_millis()
                };
                let network = network.get_ref();
                let guard = local_node.and_then(|local_node| local_node.guard.as_ref()).or(network.guard.as_ref());
                CanonicalLease {
                    valid_ms: span(
                        local_node.and_then(|local_node| local_node.valid.as_ref()),
                        network.valid.as_ref(),
                        lease::VALID,
                    ),
                    grace_ms: span(
                        local_node.and_then(|local_node| local_node.grace.as_ref()),
                        network.grace.as_ref(),
                        lease::GRACE,
                    ),
                    guard: guard.map_or(lease::Guard::Hold, |guard| *guard.get_ref()),
                    failsafe: network.failsafe.unwrap_or(lease::FAILSAFE),
                }
            }),
        };
        (name.get_ref(), service)
    });
    let lease = file.lease.as_ref().map(|lease| {
        let lease = lease.get_ref();
        CanonicalStore {
            store: lease.store,
            remote: lease.remote.as_ref().map(toml::Spanned::get_ref),
            prefix: lease
                .prefix
                .as_ref()
                .map(|prefix| prefix.get_ref().0.as_str())
                .or(lease::default_prefix(lease.store)),
            endpoints: lease.endpoints.as_ref().map(|list| list.get_ref().iter().map(toml::Spanned::get_ref).collect()),
            ca: lease.ca.as_ref().map(toml::Spanned::get_ref),
            cert: lease.cert.as_ref().map(toml::Spanned::get_ref),
            key: lease.key.as_ref().map(toml::Spanned::get_ref),
            user: lease.user.as_ref().map(toml::Spanned::get_ref),
            path: lease.path.as_ref().map(toml::Spanned::get_ref),
        }
    });
    let canonical = Canonical { nodes: nodes.collect(), chains: chains.collect(), services: services.collect(), lease };
    // Maps with text keys, numbers and texts: there is nothing in it that JSON cannot say.
    let bytes = serde_json::to_vec(&canonical).unwrap_or_default();
    Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
