//! Nodes, their probes, and the chains of them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use indexmap::IndexMap;

use super::{ATTEMPTS, ATTEMPTS_LEARNED, ProbeDefaults, Resolver, SSH_PORT, Timeout};
use crate::chain::{BRAIN, Chain};
use crate::config::model::{Method, Node, Probe};
use crate::config::raw::{self, Spanned};
use crate::config::values::Port;
use crate::name::Name;
use crate::template;

const HTTP_OK: u16 = 200;

/// What a probe asks, and where the file says so.
pub(super) struct Subject<'a> {
    pub(super) name: &'a Name,
    pub(super) node: &'a Node,
    /// The probed port where the probe itself names none.
    pub(super) port: Option<Port>,
    /// The key of the probe.
    pub(super) at: String,
}

impl Resolver {
    pub(super) fn nodes(&mut self, file: &raw::File, defaults: &ProbeDefaults, user: &str) -> IndexMap<Name, Node> {
        let mut nodes: IndexMap<Name, Node> = IndexMap::new();
        let mut endpoints = HashMap::new();
        for (key, raw::Node(table)) in file.nodes.get() {
            let name = key.get();
            let mut node = Node {
                label: name.to_string(),
                address: table.address.clone(),
                port: table.port.map_or(SSH_PORT, |port| port.0),
                user: table.user.as_ref().map_or(user, |user| &user.0).to_owned(),
                probe: Probe::fixed(Method::Ssh, defaults.timeout.max, ATTEMPTS),
            };
            let at = format!("nodes.{name}.probe");
            let subject = Subject { name, node: &node, port: table.port, at };
            node.probe = self.probe(table.probe.as_ref(), defaults, &subject);
            let endpoint = (node.address.clone(), node.port, probed_port(&node.probe.method));
            if let Some(other) = endpoints.insert(endpoint, name) {
                let message = format!("{name} and {other} have one address and port; give each its own");
                self.findings.error(key.span(), "duplicate-address", format!("nodes.{name}"), message);
            }
            nodes.insert(name.clone(), node);
        }
        nodes
    }

    /// One probe: its own keys come before those of [probe], and these before the defaults.
    pub(super) fn probe(
        &mut self,
        own: Option<&Spanned<raw::Table<raw::Probe>>>,
        defaults: &ProbeDefaults,
        subject: &Subject<'_>,
    ) -> Probe {
        let span = own.map(Spanned::span).or(defaults.span.clone()).unwrap_or_default();
        let own = own.map(|own| (**own.get()).clone()).unwrap_or_default();
        let at = format!("{}.timeout", subject.at);
        let Timeout { max, floor } = self.probe_timeout(own.timeout.as_ref(), &at, defaults.timeout, defaults.auto);
        let attempts = own.attempts.or(defaults.probe.attempts);
        let attempts = attempts.map_or(if floor.is_some() { ATTEMPTS_LEARNED } else { ATTEMPTS }, |given| given.0);
        let method = self.method(&own, defaults, subject).unwrap_or_else(|(key, example)| {
            self.missing(span, key, example, subject);
            Method::Ssh
        });
        Probe { floor, ..Probe::fixed(method, max, attempts) }
    }

    /// The way of asking, or the key that it lacks and an example of that key.
    fn method(
        &self,
        own: &raw::Probe,
        defaults: &ProbeDefaults,
        subject: &Subject<'_>,
    ) -> Result<Method, (&'static str, &'static str)> {
        let Subject { name, node, .. } = subject;
        let port = own.port.or(subject.port).or(defaults.probe.port).map_or(SSH_PORT, |port| port.0);
        match own.method.or(defaults.probe.method).unwrap_or(raw::Method::Tcp) {
            raw::Method::Tcp => Ok(Method::Tcp { port }),
            raw::Method::SshBanner => Ok(Method::SshBanner { port }),
            raw::Method::Ssh => Ok(Method::Ssh),
            raw::Method::Http => {
                let url = own.url.as_ref().or(defaults.probe.url.as_ref());
                let url = url.ok_or(("url", "\"http://{address}:8080/health\""))?;
                let expect = own.expect.or(defaults.probe.expect).map_or(HTTP_OK, |status| status.0);
                Ok(Method::Http { url: fill(&url.0, name, node, &node.address.in_url()), expect })
            }
            raw::Method::Exec => {
                let command = own.command.as_ref().or(defaults.probe.command.as_ref());
                let command = command.ok_or(("command", "\"…\""))?;
                Ok(Method::Exec { command: fill(&command.0, name, node, &node.address.to_string()) })
            }
        }
    }

    fn missing(&mut self, span: Range<usize>, key: &str, example: &str, subject: &Subject<'_>) {
        let what = if key == "url" { "an http probe needs a URL" } else { "an exec probe needs a command" };
        self.findings.error(
            span,
            "missing-key",
            format!("{}.{key}", subject.at),
            format!("{what}; add {key} = {example}"),
        );
    }

    pub(super) fn chains(&mut self, file: &raw::File, nodes: &IndexMap<Name, Node>) -> IndexMap<Name, Chain> {
        let mut chains = IndexMap::new();
        for (key, members) in file.chains.get() {
            let name = key.get();
            if members.get().is_empty() {
                let message = format!("the chain {name} is empty; list its nodes in order, the first to lead first");
                self.findings.error(members.span(), "empty-chain", format!("chains.{name}"), message);
            }
            let mut chain = Chain::new();
            let mut listed = HashSet::new();
            for (index, member) in members.get().iter().enumerate() {
                let (node, span, at): (&Name, _, _) = (member.get(), member.span(), format!("chains.{name}[{index}]"));
                if listed.contains(node) {
                    let message = format!("{node} stands twice in the chain {name}; keep one");
                    self.findings.error(span, "duplicate-node", at, message);
                } else if self.is_known(node, span, &at, nodes) {
                    listed.insert(node);
                    chain.push(node.clone());
                }
            }
            chains.insert(name.clone(), chain);
        }
        let span = file.chains.span();
        if chains.is_empty() {
            let message = "[chains] is missing or empty; add at least brain = [\"NODE\", …]".to_owned();
            self.findings.error(span, "no-chain", "chains", message);
        } else if !chains.contains_key(BRAIN) && !file.services.is_empty() {
            let message = "no chain is named brain, so no node may move a service with --if-brain; add it".to_owned();
            self.findings.warning(span, "no-brain-chain", "chains", message);
        }
        chains
    }
}

fn probed_port(method: &Method) -> Option<u16> {
    match method {
        Method::Tcp { port } | Method::SshBanner { port } => Some(*port),
        Method::Ssh | Method::Http { .. } | Method::Exec { .. } => None,
    }
}

/// Fills a node's facts into a text. `${node}` belongs to a shell and stays.
fn fill(text: &str, name: &Name, node: &Node, address: &str) -> String {
    template::fill(text, |word| match word {
        "node" => Some(name.to_string()),
        "address" => Some(address.to_owned()),
        "port" => Some(node.port.to_string()),
        "user" => Some(node.user.clone()),
        _ => None,
    })
}
