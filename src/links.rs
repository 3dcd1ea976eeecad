//! Where deadlines are learned (`probe.timeout = "auto"`): what earlier probes saw goes into the node list
//! before it is used, and what this one saw into the state.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::BootInstant;
use crate::config::{Config, Learned, Method, Node, Probe};
use crate::leader::State;
use crate::link::Link;
use crate::name::Name;
use crate::probe::Answer;
use crate::remote::Remote;
use crate::state::StateDir;
use crate::view::{self, View};

/// Whether there is something to learn. Else no file is read.
fn is_learned(config: &Config) -> bool {
    config.nodes.values().any(|node| node.probe.floor.is_some())
}

/// Gives each probe what this node knows of the link.
pub fn recall(config: &mut Config) {
    if !is_learned(config) {
        return;
    }
    let (mut links, now) = (StateDir::open(config).links(&config.digest), BootInstant::now());
    for (name, node) in &mut config.nodes {
        let Some(bounds) = node.probe.bounds() else { continue };
        let link = links.remove(name).unwrap_or_default();
        node.probe.learned = Some(Learned { times: link.times(bounds, now), link });
    }
}

/// Keeps what a view shows of the links. A quiet check writes only now and then.
pub fn learn(config: &Config, state_dir: &StateDir, view: &View) {
    let now = BootInstant::now();
    let mut links = BTreeMap::new();
    let mut is_news = false;
    for (name, node) in &config.nodes {
        let Some(learned) = &node.probe.learned else { continue };
        let mut link = learned.link.clone();
        if let Some(Some(answer)) = view.answers.get(name) {
            is_news |= learn_from(&mut link, answer, &node.probe, now);
        }
        if link != Link::default() {
            links.insert(name.clone(), link);
        }
    }
    if is_news {
        state_dir.keep_links(&config.digest, links);
    }
}

/// Has silent nodes asked with the maximum where that is due, for somebody who waits for the answer alone.
pub fn ask_silent_longer(config: &mut Config) {
    let now = BootInstant::now();
    for node in config.nodes.values_mut().filter(|node| has(node, |link| link.is_due_for_long(now))) {
        ask_longer(node);
    }
}

/// With the maximum.
fn ask_longer(node: &mut Node) {
    if let Some(learned) = &mut node.probe.learned {
        learned.times = None;
    }
}

fn has(node: &Node, what: impl Fn(&Link) -> bool) -> bool {
    node.probe.learned.as_ref().is_some_and(|learned| what(&learned.link))
}

/// After a check: asks the nodes of whose links nothing was learned for `interval`, and with the maximum those that are
/// silent. A node that leads next has to know how long to wait for each of the others; while it does not lead, its
/// checks ask few of them.
pub fn refresh(config: &Config, local_node: Option<&Name>, state_dir: &StateDir, remote: &Remote, interval: Duration) {
    let now = BootInstant::now();
    let others = || config.nodes.iter().filter(|(name, _)| Some(*name) != local_node);
    // One wait for all silent ones.
    let asks_silent = others().any(|(_, node)| has(node, |link| link.is_due_for_long(now)));
    let is_due = |node: &Node| {
        // Other ways of asking start a process.
        let is_cheap = matches!(node.probe.method, Method::Tcp { .. });
        has(node, |link| if link.is_silent() { asks_silent } else { is_cheap && link.is_due(interval, now) })
    };
    let due = others().filter(|(_, node)| is_due(node));
    let mut due: Vec<(&Name, Node)> = due.map(|(name, node)| (name, node.clone())).collect();
    if due.is_empty() {
        return;
    }
    for (_, node) in due.iter_mut().filter(|(_, node)| has(node, Link::is_silent)) {
        ask_longer(node);
    }
    let asked: Vec<(&Name, &Node)> = due.iter().map(|(name, node)| (*name, node)).collect();
    let Ok(view) = view::take(&asked, &[], remote, |_| true, |_, _| false) else { return };
    let (mut links, now) = (state_dir.links(&config.digest), BootInstant::now());
    for (name, node) in asked {
        if let Some(Some(answer)) = view.answers.get(name) {
            learn_from(links.entry(name.clone()).or_default(), answer, &node.probe, now);
        }
    }
    state_dir.keep_links(&config.digest, links);
}

fn learn_from(link: &mut Link, answer: &Answer, probe: &Probe, now: BootInstant) -> bool {
    match answer.latency {
        Some(_) => link.answered(answer.timing.round_trip, answer.timing.waited, now),
        None if answer.state == State::Dead => link.unanswered(probe.deadline(), probe.timeout, now),
        None => false,
    }
}
