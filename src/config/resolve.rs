//! Fills in every default and finds what does not fit together.

mod lease;
mod nodes;
mod services;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::address::Witness;
use super::model::{Breath, Config, Cycle, Method, Node, Probe, there_are};
use super::problem::Findings;
use super::raw::{self, Spanned};
use super::values::DurationText;
use crate::chain::Chain;
use crate::name::Name;

const CHECK: Duration = Duration::from_secs(5);
const SYNC: Duration = Duration::from_secs(12);
const RECOVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_millis(750);
const ATTEMPTS: u32 = 3;
const SSH_PORT: u16 = 22;
const USER: &str = "root";
const BREATH_TIMEOUT: Duration = Duration::from_secs(15);
/// A longer interval or deadline is a mistake.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A resolved file.
pub(super) struct Resolved {
    /// The configuration, without its digest.
    pub(super) config: Config,
    /// What is wrong with it.
    pub(super) findings: Findings,
    /// Where its nodes, chains, services and `cycle.recovery` stand.
    pub(super) keys: Vec<(String, Range<usize>)>,
}

/// The file being resolved, and what was found wrong in it so far.
struct Resolver {
    /// The directory at which relative paths start.
    base: PathBuf,
    findings: Findings,
}

/// What [probe] says, for every node that does not say otherwise.
struct ProbeDefaults {
    probe: raw::NetworkProbe,
    span: Option<Range<usize>>,
    timeout: Duration,
}

/// What services refer to.
struct Network<'a> {
    nodes: &'a IndexMap<Name, Node>,
    chains: &'a IndexMap<Name, Chain>,
    probe: &'a ProbeDefaults,
    check: Duration,
}

/// Resolves a file; none when it has no nodes, and so nothing that could be resolved.
pub(super) fn resolve(path: &Path, file: raw::File) -> Option<Resolved> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = absolute.parent().map(Path::to_owned).unwrap_or_default();
    let mut resolver = Resolver { base, findings: Findings::default() };
    let keys = keys(&file);
    let cycle = Cycle {
        check: resolver.duration(file.cycle.check.as_ref(), "cycle.check", CHECK),
        sync: resolver.duration(file.cycle.sync.as_ref(), "cycle.sync", SYNC),
        recovery: resolver.duration(file.cycle.recovery.as_ref(), "cycle.recovery", RECOVERY),
    };
    let probe = file.probe.as_ref().map(|probe| (**probe.get()).clone()).unwrap_or_default();
    let timeout = resolver.duration(probe.timeout.as_ref(), "probe.timeout", PROBE_TIMEOUT);
    let probe = ProbeDefaults { probe, span: file.probe.as_ref().map(Spanned::span), timeout };
    let user = file.remote.user.as_ref().map_or(USER, |user| &user.0);
    let nodes = resolver.nodes(&file, &probe, user);
    if nodes.is_empty() {
        return None;
    }
    let chains = resolver.chains(&file, &nodes);
    let lease = file.lease.as_ref().and_then(|lease| resolver.store(lease, &nodes));
    let network = Network { nodes: &nodes, chains: &chains, probe: &probe, check: cycle.check };
    let services = resolver.services(&file, &network);
    let local_node = file.local_node.as_ref();
    let local_node = local_node.filter(|name| resolver.is_known(name.get(), name.span(), "self", &nodes));
    let config = Config {
        file: path.to_owned(),
        local_node: local_node.map(|name| name.get().clone()),
        state: file.state.as_ref().map(|state| resolver.path(&state.0)),
        witnesses: witnesses(&file, &probe, user),
        nodes,
        chains,
        cycle,
        probe_timeout: timeout,
        second_opinion: probe.probe.second_opinion.unwrap_or(false),
        remote_command: file.remote.command.as_ref().map_or_else(Vec::new, |template| template.0.clone()),
        services,
        breath: resolver.breath(&file.breath),
        lease,
        digest: String::new(),
    };
    Some(Resolved { config, findings: resolver.findings, keys })
}

fn keys(file: &raw::File) -> Vec<(String, Range<usize>)> {
    let named = |table: &'static str| move |name: &Spanned<Name>| (format!("{table}.{}", name.get()), name.span());
    let mut keys: Vec<(String, Range<usize>)> = file.nodes.get().keys().map(named("nodes")).collect();
    keys.extend(file.chains.get().keys().map(named("chains")));
    keys.extend(file.services.keys().map(named("services")));
    keys.push(("chains".to_owned(), file.chains.span()));
    if let Some(lease) = &file.lease {
        let secrets = [("lease.key", &lease.get().key), ("lease.password_file", &lease.get().password_file)];
        keys.extend(secrets.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path.as_ref()?.span()))));
    }
    keys.extend(file.cycle.recovery.as_ref().map(|recovery| ("cycle.recovery".to_owned(), recovery.span())));
    keys
}

fn witnesses(file: &raw::File, defaults: &ProbeDefaults, user: &str) -> Vec<Node> {
    let witness = |witness: &raw::Text<Witness>| {
        let port = witness.port.or(defaults.probe.port.map(|port| port.0)).unwrap_or(SSH_PORT);
        let probe = Probe { method: Method::Tcp { port }, timeout: defaults.timeout, attempts: ATTEMPTS };
        let (label, address) = (witness.address.to_string(), witness.address.clone());
        Node { label, address, port, user: user.to_owned(), probe }
    };
    file.witness.addresses.iter().map(witness).collect()
}

impl Resolver {
    /// A relative path starts at the directory of the file.
    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path).components().filter(|part| *part != Component::CurDir).collect()
    }

    fn duration(&mut self, given: Option<&Spanned<DurationText>>, at: &str, default: Duration) -> Duration {
        let Some(given) = given else { return default };
        let duration = given.get().0;
        if duration.is_zero() || duration > MAX_DURATION {
            let shown = humantime::format_duration(duration);
            let message = format!("{at} cannot be {shown}; write more than 0 s and at most a year");
            self.findings.error(given.span(), "unusable-duration", at, message);
            return default;
        }
        duration
    }

    fn is_known(&mut self, name: &Name, span: Range<usize>, at: &str, nodes: &IndexMap<Name, Node>) -> bool {
        let known = nodes.contains_key(name);
        if !known {
            let names = there_are(nodes.keys());
            let message = format!("{:?} is not in [nodes]; {names}; name one of them, or add it", name.as_str());
            self.findings.error(span, "unknown-node", at, message);
        }
        known
    }

    /// With peers, there is an origin only where the file names one.
    fn breath_remote(&mut self, breath: &raw::Breath) -> String {
        let has_peers = breath.peers.unwrap_or(false);
        let Some(given) = &breath.remote else {
            return if has_peers { String::new() } else { "origin".to_owned() };
        };
        if given.get().0.is_empty() && !has_peers {
            let message = "remote is empty, and there are no peers: a breath needs one of them; name a remote, or write peers = true";
            self.findings.error(given.span(), "no-remote", "breath.remote", message.to_owned());
        }
        given.get().0.clone()
    }

    fn breath(&mut self, breath: &raw::Breath) -> Breath {
        Breath {
            repo: breath.repo.as_ref().map(|repo| self.path(&repo.0)),
            remote: self.breath_remote(breath),
            peers: breath.peers.unwrap_or(false),
            branch: breath.branch.as_ref().map_or("main", |name| &name.0).to_owned(),
            timeout: self.duration(breath.timeout.as_ref(), "breath.timeout", BREATH_TIMEOUT),
            commit: breath.commit.unwrap_or(false),
            changed: breath.changed.as_ref().map(|command| command.0.clone()),
        }
    }
}
