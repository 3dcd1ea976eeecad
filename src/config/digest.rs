//! The digest of a node list: two nodes with different ones are two networks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::model::{Breath, Config, Cycle, Lease, Node, Probe, Service, Store};
use super::values::Failback;
use crate::chain::Chain;
use crate::hex::hex;
use crate::name::Name;

/// How many bytes of the hash are shown, two digits each.
const SHOWN_BYTES: usize = 8;

/// All that must be alike on every node: the resolved values, sorted by name. What is a node's own
/// (`self`, `state`, its witnesses) is left out.
#[derive(Serialize)]
struct Alike<'a> {
    nodes: BTreeMap<&'a Name, AlikeNode<'a>>,
    chains: BTreeMap<&'a Name, &'a Chain>,
    services: BTreeMap<&'a Name, AlikeService<'a>>,
    cycle: &'a Cycle,
    probe: (Duration, bool),
    remote: &'a [String],
    breath: AlikeBreath<'a>,
    lease: Option<AlikeStore<'a>>,
}

#[derive(Serialize)]
struct AlikeNode<'a> {
    address: String,
    port: u16,
    user: &'a str,
    probe: &'a Probe,
}

#[derive(Serialize)]
struct AlikeService<'a> {
    chain: &'a Name,
    commands: [&'a str; 3],
    timeout: Duration,
    failback: String,
    restarts: (u32, Duration),
    inhale: Option<Duration>,
    health: Option<BTreeMap<&'a Name, &'a Probe>>,
    lease: Option<Lease>,
}

#[derive(Serialize)]
struct AlikeBreath<'a> {
    repo: Option<&'a Path>,
    remote: &'a str,
    branch: &'a str,
    timeout: Duration,
    commit: bool,
    changed: Option<&'a str>,
    peers: bool,
}

#[derive(Serialize)]
enum AlikeStore<'a> {
    Git {
        remote: &'a str,
        prefix: &'a str,
    },
    Etcd {
        endpoints: &'a [String],
        prefix: &'a str,
        ca: Option<&'a Path>,
        identity: Option<(&'a Path, &'a Path)>,
        user: Option<&'a str>,
    },
    File {
        path: &'a Path,
    },
}

/// The first 16 hexadecimal digits of the SHA-256 of all that must be alike on every node.
///
/// It is the same however the file is laid out. A path below the file's own directory counts from
/// there, so that a copy of the file elsewhere has the same digest.
pub(super) fn digest(config: &Config) -> String {
    let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
    let base = file.parent().unwrap_or(Path::new(""));
    let alike = Alike {
        nodes: config.nodes.iter().map(|(name, node)| (name, alike_node(node))).collect(),
        chains: config.chains.iter().collect(),
        services: config.services.iter().map(|(name, service)| (name, alike_service(service))).collect(),
        cycle: &config.cycle,
        probe: (config.probe_timeout, config.second_opinion),
        remote: &config.remote_command,
        breath: alike_breath(&config.breath, base),
        lease: config.lease.as_ref().map(|store| alike_store(store, base)),
    };
    // Maps with text keys, numbers and texts: JSON can express all of it, but for a path that is not UTF-8,
    // which a TOML file cannot hold.
    let bytes = serde_json::to_vec(&alike).unwrap_or_default();
    hex(&Sha256::digest(&bytes)[..SHOWN_BYTES])
}

fn alike_node(node: &Node) -> AlikeNode<'_> {
    AlikeNode { address: node.address.to_string(), port: node.port, user: &node.user, probe: &node.probe }
}

fn alike_service(service: &Service) -> AlikeService<'_> {
    AlikeService {
        chain: &service.chain,
        commands: [&service.status, &service.start, &service.stop],
        timeout: service.timeout,
        failback: match service.failback {
            Failback::Always => "always".to_owned(),
            Failback::Never => "never".to_owned(),
            Failback::After(wait) => format!("{} ns", wait.as_nanos()),
        },
        restarts: (service.restarts, service.window),
        inhale: service.inhale,
        health: service.health.as_ref().map(|health| health.iter().collect()),
        lease: service.lease,
    }
}

fn alike_breath<'a>(breath: &'a Breath, base: &Path) -> AlikeBreath<'a> {
    let repo = breath.repo.as_deref().map(|repo| from(base, repo));
    AlikeBreath {
        repo,
        remote: &breath.remote,
        branch: &breath.branch,
        timeout: breath.timeout,
        commit: breath.commit,
        changed: breath.changed.as_deref(),
        peers: breath.peers,
    }
}

fn alike_store<'a>(store: &'a Store, base: &Path) -> AlikeStore<'a> {
    match store {
        Store::Git { remote, prefix } => AlikeStore::Git { remote, prefix },
        Store::Etcd { endpoints, prefix, ca, identity, user } => AlikeStore::Etcd {
            endpoints,
            prefix,
            ca: ca.as_deref().map(|ca| from(base, ca)),
            identity: identity.as_ref().map(|(cert, key)| (from(base, cert), from(base, key))),
            user: user.as_ref().map(|(user, _)| user.as_str()),
        },
        Store::File { path } => AlikeStore::File { path: from(base, path) },
    }
}

fn from<'a>(base: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(base).unwrap_or(path)
}
