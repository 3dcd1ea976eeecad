//! Fills in every default and finds what does not fit together.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use indexmap::IndexMap;
use toml::Spanned;

use super::raw;
use super::validate::{self, Problem, Severity};
use super::values::{self, Failback};
use super::{Breath, Config, Cycle, Loaded, Method, Node, Probe, Service, digest, place};
use crate::chain::{BRAIN, Chain, Name};
use crate::usage_error::UsageError;

const CHECK: Duration = Duration::from_secs(5);
const SYNC: Duration = Duration::from_secs(12);
const RECOVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_millis(750);
const ATTEMPTS: u32 = 3;
pub(super) const SSH_PORT: u16 = 22;
const HTTP_OK: u16 = 200;
pub(super) const SERVICE_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const FAILBACK: Duration = Duration::from_secs(60);
pub(super) const RESTARTS: u32 = 3;
pub(super) const WINDOW: Duration = Duration::from_secs(5 * 60);
const BREATH_TIMEOUT: Duration = Duration::from_secs(15);
/// A longer interval or deadline than this is a mistake.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What [probe] says, for every node that does not say otherwise.
struct Network {
    probe: raw::Probe,
    timeout: Duration,
}

/// The file being resolved, and what was found wrong in it so far.
pub(super) struct Resolver<'a> {
    path: &'a Path,
    pub(super) text: &'a str,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn resolve(path: &Path, file: raw::File, text: &str) -> Result<Loaded> {
    let digest = digest::digest(&file);
    let mut resolver = Resolver { path, text, problems: Vec::new() };
    let network = file.probe.as_ref().map(|p| p.get_ref().0.clone()).unwrap_or_default();
    let cycle = Cycle {
        check: resolver.span(file.cycle.check.as_ref(), "cycle.check", CHECK),
        sync: resolver.span(file.cycle.sync.as_ref(), "cycle.sync", SYNC),
        recovery: resolver.span(file.cycle.recovery.as_ref(), "cycle.recovery", RECOVERY),
    };
    let user = file.remote.user.as_ref().map_or("root", |user| &user.0).to_owned();
    let probe_timeout = resolver.span(network.timeout.as_ref(), "probe.timeout", PROBE_TIMEOUT);
    let second_opinion = network.second_opinion.as_ref().is_some_and(|wanted| *wanted.get_ref());
    let network = Network { probe: network, timeout: probe_timeout };
    let nodes = resolver.nodes(&file, &network, &user)?;
    let chains = resolver.chains(&file, &nodes);
    let lease = file.lease.as_ref().and_then(|lease| resolver.store(lease, &nodes));
    let services = resolver.services(&file, &nodes, &chains, &network, cycle.check)?;
    let breath_timeout = resolver.span(file.breath.timeout.as_ref(), "breath.timeout", BREATH_TIMEOUT);
    let local_node = file
        .local_node
        .as_ref()
        .and_then(|local_node| resolver.known(local_node, "self", &nodes).then(|| local_node.get_ref().clone()));
    let witnesses = file.witness.addresses.iter().map(|witness| {
        let port = witness.port.or(network.probe.port.map(|p| p.0)).unwrap_or(SSH_PORT);
        Node {
            label: witness.address.to_string(),
            address: witness.address.clone(),
            port,
            user: user.clone(),
            probe: Probe { method: Method::Tcp { port }, timeout: probe_timeout, attempts: ATTEMPTS },
        }
    });
    let breath = file.breath.0;
    let config = Config {
        file: path.to_owned(),
        local_node,
        state: file.state.map(|state| resolver.relative(state.0)),
        nodes,
        chains,
        cycle,
        probe_timeout,
        second_opinion,
        remote_command: file.remote.0.command.map_or_else(Vec::new, |template| template.0),
        services,
        breath: Breath {
            repo: breath.repo.map(|repo| resolver.relative(repo.0)),
            remote: breath.remote.map_or_else(|| "origin".to_owned(), |w| w.0),
            branch: breath.branch.map_or_else(|| "main".to_owned(), |w| w.0),
            timeout: breath_timeout,
            commit: breath.commit.unwrap_or(false),
        },
        witnesses: witnesses.collect(),
        lease,
        digest,
    };
    let mut problems = resolver.problems;
    let place_of = |name: &Name| {
        let key = file.chains.get_ref().keys().find(|key| key.get_ref() == name).map(toml::Spanned::span);
        key.map_or((1, 1), |span| place(text, span.start))
    };
    validate::warn(&config, place_of, &mut problems);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Ok(Loaded { config, problems })
}

impl Resolver<'_> {
    pub(super) fn error(&mut self, span: Range<usize>, code: &'static str, at: String, message: String) {
        let (line, column) = place(self.text, span.start);
        // What stands once in the file and counts for many nodes is wrong once.
        if self.problems.iter().any(|p| (p.line, p.column, &p.message) == (line, column, &message)) {
            return;
        }
        self.problems.push(Problem { severity: Severity::Error, code, at, line, column, message });
    }

    fn usage_error(&self, span: Range<usize>, message: &str) -> anyhow::Error {
        let (line, column) = place(self.text, span.start);
        UsageError::new(format!("{}:{line}:{column}: {message}", self.path.display()))
    }

    /// A path in the file starts from the file's own directory.
    pub(super) fn relative(&self, path: PathBuf) -> PathBuf {
        self.path.parent().map_or_else(|| path.clone(), |parent| parent.join(&path))
    }

    pub(super) fn span(&mut self, given: Option<&Spanned<values::Span>>, at: &str, default: Duration) -> Duration {
        let Some(spanned) = given else { return default };
        let span = spanned.get_ref().0;
        if span.is_zero() || span > LONGEST {
            let message =
                format!("{at} cannot be {}; write more than 0 s and at most a year", humantime::format_duration(span));
            self.error(spanned.span(), "unusable-duration", at.to_owned(), message);
            return default;
        }
        span
    }

    fn known(&mut self, name: &Spanned<Name>, at: &str, nodes: &IndexMap<Name, Node>) -> bool {
        let known = nodes.contains_key(name.get_ref());
        if !known {
            let message = format!(
                "{:?} is not in [nodes]; {}; name one of them, or add it",
                name.get_ref().as_str(),
                super::known(nodes.keys())
            );
            self.error(name.span(), "unknown-node", at.to_owned(), message);
        }
        known
    }

    fn nodes(&mut self, file: &raw::File, network: &Network, user: &str) -> Result<IndexMap<Name, Node>> {
        let mut nodes: IndexMap<Name, Node> = IndexMap::new();
        let mut endpoints = HashMap::new();
        for (name, raw::Node(table)) in file.nodes.get_ref() {
            let at = format!("nodes.{}", name.get_ref());
            let mut node = Node {
                label: name.get_ref().to_string(),
                address: table.address.clone(),
                port: table.port.map_or(SSH_PORT, |p| p.0),
                user: table.user.as_ref().map_or(user, |u| &u.0).to_owned(),
                probe: Probe { method: Method::Ssh, timeout: PROBE_TIMEOUT, attempts: ATTEMPTS },
            };
            let span = table.probe.as_ref().or(file.probe.as_ref()).map_or_else(|| name.span(), Spanned::span);
            let local_node = table.probe.as_ref().map(|p| p.get_ref().0.clone()).unwrap_or_default();
            node.probe =
                self.probe(&local_node, network, table.port, (name.get_ref(), &node), &format!("{at}.probe"), span)?;
            let endpoint = (node.address.clone(), node.port, probed_port(&node.probe.method));
            if let Some(other) = endpoints.insert(endpoint, name.get_ref()) {
                let message = format!("{} and {other} have one address and port; give each its own", name.get_ref());
                self.error(name.span(), "duplicate-address", at, message);
            }
            nodes.insert(name.get_ref().clone(), node);
        }
        if nodes.is_empty() {
            return Err(
                self.usage_error(file.nodes.span(), "[nodes] is missing or empty; add a node: NAME = \"ADDRESS\"")
            );
        }
        Ok(nodes)
    }

    /// One probe: its own keys before the network's, those before the defaults.
    fn probe(
        &mut self,
        local_node: &raw::Probe,
        network: &Network,
        node_port: Option<values::Port>,
        (name, node): (&Name, &Node),
        at: &str,
        span: Range<usize>,
    ) -> Result<Probe> {
        if let Some(misplaced) = &local_node.second_opinion {
            return Err(self.usage_error(misplaced.span(), "second_opinion is the whole network's; put it in [probe]"));
        }
        let port = local_node.port.or(node_port).or(network.probe.port).map_or(SSH_PORT, |p| p.0);
        let filled = |text: &str, address: &str| fill(text, name.as_str(), address, node);
        let method = match local_node.method.or(network.probe.method).unwrap_or(raw::Method::Tcp) {
            raw::Method::Tcp => Method::Tcp { port },
            raw::Method::SshBanner => Method::SshBanner { port },
            raw::Method::Ssh => Method::Ssh,
            raw::Method::Http => match local_node.url.as_ref().or(network.probe.url.as_ref()) {
                Some(url) => Method::Http {
                    url: filled(&url.0, &node.address.in_url()),
                    expect: local_node.expect.or(network.probe.expect).map_or(HTTP_OK, |s| s.0),
                },
                None => {
                    return Err(
                        self.usage_error(span, "an http probe needs a URL; add url = \"http://{address}:8080/health\"")
                    );
                }
            },
            raw::Method::Exec => match local_node.command.as_ref().or(network.probe.command.as_ref()) {
                Some(command) => Method::Exec { command: filled(&command.0, &node.address.to_string()) },
                None => return Err(self.usage_error(span, "an exec probe needs a command; add command = \"…\"")),
            },
        };
        Ok(Probe {
            method,
            timeout: self.span(local_node.timeout.as_ref(), &format!("{at}.timeout"), network.timeout),
            attempts: local_node.attempts.or(network.probe.attempts).map_or(ATTEMPTS, |a| a.0),
        })
    }

    fn chains(&mut self, file: &raw::File, nodes: &IndexMap<Name, Node>) -> IndexMap<Name, Chain> {
        let mut chains = IndexMap::new();
        for (name, members) in file.chains.get_ref() {
            let mut chain = Chain::new();
            if members.get_ref().is_empty() {
                let message =
                    format!("the chain {} is empty; list its nodes in order, the first to lead first", name.get_ref());
                self.error(members.span(), "empty-chain", format!("chains.{}", name.get_ref()), message);
            }
            for (index, member) in members.get_ref().iter().enumerate() {
                let at = format!("chains.{}[{index}]", name.get_ref());
                if chain.contains(member.get_ref()) {
                    let message =
                        format!("{} stands twice in the chain {}; keep one", member.get_ref(), name.get_ref());
                    self.error(member.span(), "duplicate-node", at, message);
                } else if self.known(member, &at, nodes) {
                    chain.push(member.get_ref().clone());
                }
            }
            chains.insert(name.get_ref().clone(), chain);
        }
        if chains.is_empty() {
            let message = "[chains] is missing or empty; add at least brain = [\"NODE\", …]".to_owned();
            self.error(file.chains.span(), "no-chain", "chains".to_owned(), message);
        } else if !chains.contains_key(BRAIN) && !file.services.is_empty() {
            let message = "no chain is named brain, so nobody may move a service by --if-brain; add it";
            self.problems.push(Problem {
                severity: Severity::Warning,
                code: "no-brain-chain",
                at: "chains".to_owned(),
                line: 1,
                column: 1,
                message: message.to_owned(),
            });
        }
        chains
    }

    fn services(
        &mut self,
        file: &raw::File,
        nodes: &IndexMap<Name, Node>,
        chains: &IndexMap<Name, Chain>,
        network: &Network,
        check: Duration,
    ) -> Result<IndexMap<Name, Service>> {
        let mut services = IndexMap::new();
        for (name, raw) in &file.services {
            let at = format!("services.{}", name.get_ref());
            let chain = raw.chain.as_ref().unwrap_or(name);
            if !chains.contains_key(chain.get_ref()) {
                let message = format!(
                    "the service {} has no chain: {:?} is not in [chains]; {}; name one with chain = \"…\", or add it",
                    name.get_ref(),
                    chain.get_ref().as_str(),
                    super::known(chains.keys())
                );
                self.error(chain.span(), "unknown-chain", format!("{at}.chain"), message);
            }
            let mut command = |given: &Option<values::Text>, key: &str| match given {
                Some(text) => text.0.clone(),
                None => {
                    let message = format!("the service {} has no {key} command; add {key} = \"…\"", name.get_ref());
                    self.error(name.span(), "missing-command", format!("{at}.{key}"), message);
                    String::new()
                }
            };
            let (status, start, stop) =
                (command(&raw.status, "status"), command(&raw.start, "start"), command(&raw.stop, "stop"));
            let failback = match raw.failback.as_ref().map(|f| (f.span(), *f.get_ref())) {
                Some((span, Failback::After(wait))) if wait.is_zero() => {
                    let message = "failback cannot be 0 s; write \"always\", or a longer time".to_owned();
                    self.error(span, "unusable-duration", format!("{at}.failback"), message);
                    Failback::Always
                }
                Some((span, Failback::After(wait))) if wait > LONGEST => {
                    let message = "failback is longer than a year; write \"never\", or a shorter time".to_owned();
                    self.error(span, "unusable-duration", format!("{at}.failback"), message);
                    Failback::Never
                }
                Some((_, failback)) => failback,
                None => Failback::After(FAILBACK),
            };
            let health = match &raw.health {
                Some(health) => {
                    let mut by_node = IndexMap::new();
                    for (node_name, node) in nodes {
                        let at = format!("{at}.health");
                        let who = (node_name, node);
                        let probe = self.probe(&health.get_ref().0, network, None, who, &at, health.span())?;
                        by_node.insert(node_name.clone(), probe);
                    }
                    Some(by_node)
                }
                None => None,
            };
            let timeout = self.span(raw.timeout.as_ref(), &format!("{at}.timeout"), SERVICE_TIMEOUT);
            let restarts = raw.restarts.map_or(RESTARTS, |restarts| restarts.0);
            let window = self.span(raw.window.as_ref(), &format!("{at}.window"), WINDOW);
            let lease = self.lease(file.lease.as_ref(), (name.get_ref(), raw.lease.as_ref()), check, timeout);
            let chain = chain.get_ref().clone();
            let service = Service { chain, status, start, stop, timeout, failback, restarts, window, health, lease };
            services.insert(name.get_ref().clone(), service);
        }
        Ok(services)
    }
}

fn probed_port(method: &Method) -> Option<u16> {
    match method {
        Method::Tcp { port } | Method::SshBanner { port } => Some(*port),
        Method::Ssh | Method::Http { .. } | Method::Exec { .. } => None,
    }
}

/// Fills a node's facts into a text. `${node}` is a shell's own and stays.
fn fill(text: &str, name: &str, address: &str, node: &Node) -> String {
    crate::template::fill(text, |template| match template {
        "node" => Some(name.to_owned()),
        "address" => Some(address.to_owned()),
        "port" => Some(node.port.to_string()),
        "user" => Some(node.user.clone()),
        _ => None,
    })
}
