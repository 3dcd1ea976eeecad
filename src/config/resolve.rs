//! Fills in every default and finds what does not fit together.

mod lease;
mod nodes;
mod services;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::address::Witness;
use super::model::{Breath, Config, Cycle, Method, Node, Notify, Probe, there_are};
use super::problem::Findings;
use super::raw::{self, Spanned};
use super::values::{DurationText, ProbeTimeout};
use crate::chain::Chain;
use crate::name::Name;

const CHECK: Duration = Duration::from_secs(5);
const SYNC: Duration = Duration::from_secs(12);
const RECOVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_millis(750);
/// No deadline that is learned is shorter: a living host may be busy for so long.
const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 3;
/// Where the deadline is learned, and so shorter: of two tries that are lost, the third is still in time.
const ATTEMPTS_LEARNED: u32 = 5;
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
    timeout: Timeout,
    /// The times of a deadline that is learned.
    auto: Timeout,
}

/// The deadline of a probe.
#[derive(Clone, Copy)]
struct Timeout {
    /// The longest one.
    max: Duration,
    /// Where it is learned: the shortest one.
    floor: Option<Duration>,
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
    let auto = resolver.learned_timeout(&probe);
    let fixed = Timeout { max: PROBE_TIMEOUT, floor: None };
    let timeout = resolver.probe_timeout(probe.timeout.as_ref(), "probe.timeout", fixed, auto);
    let probe = ProbeDefaults { probe, span: file.probe.as_ref().map(Spanned::span), timeout, auto };
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
        probe_timeout: timeout.max,
        second_opinion: probe.probe.second_opinion.unwrap_or(false),
        remote_command: file.remote.command.as_ref().map_or_else(Vec::new, |template| template.0.clone()),
        services,
        breath: resolver.breath(&file.breath),
        notify: resolver.notify(&file.notify),
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
        let probe = Probe::fixed(Method::Tcp { port }, defaults.timeout.max, ATTEMPTS);
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
        given.and_then(|given| self.usable(given.get().0, given.span(), at)).unwrap_or(default)
    }

    fn usable(&mut self, duration: Duration, span: Range<usize>, at: &str) -> Option<Duration> {
        if duration.is_zero() || duration > MAX_DURATION {
            let shown = humantime::format_duration(duration);
            let message = format!("{at} cannot be {shown}; write more than 0 s and at most a year");
            self.findings.error(span, "unusable-duration", at, message);
            return None;
        }
        Some(duration)
    }

    /// Between which a deadline that is learned stays.
    fn learned_timeout(&mut self, probe: &raw::NetworkProbe) -> Timeout {
        let max = self.duration(probe.timeout_max.as_ref(), "probe.timeout_max", PROBE_TIMEOUT);
        let floor = self.duration(probe.timeout_min.as_ref(), "probe.timeout_min", PROBE_TIMEOUT_MIN.min(max));
        if let Some(given) = probe.timeout_min.as_ref().filter(|_| floor > max) {
            let message = "timeout_min is longer than timeout_max; shorten it".to_owned();
            self.findings.error(given.span(), "unusable-duration", "probe.timeout_min", message);
        }
        Timeout { max, floor: Some(floor.min(max)) }
    }

    fn probe_timeout(
        &mut self,
        given: Option<&Spanned<ProbeTimeout>>,
        at: &str,
        default: Timeout,
        auto: Timeout,
    ) -> Timeout {
        let Some(given) = given else { return default };
        match *given.get() {
            ProbeTimeout::Auto => auto,
            ProbeTimeout::After(duration) => {
                Timeout { max: self.usable(duration, given.span(), at).unwrap_or(default.max), floor: None }
            }
        }
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

    fn notify(&self, notify: &raw::Notify) -> Notify {
        Notify {
            command: notify.command.as_ref().map(|command| command.0.clone()),
            url: notify.url.as_ref().map(|url| url.0.clone()),
            format: notify.format.unwrap_or_default(),
            token_file: notify.token_file.as_ref().map(|file| self.path(&file.0)),
            beat_url: notify.beat_url.as_ref().map(|url| url.0.clone()),
        }
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
