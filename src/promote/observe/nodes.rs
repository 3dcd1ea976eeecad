//! The look at the nodes that serves all services: no longer, and at no more nodes, than they need.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::clock::BootInstant;
use crate::config::Node;
use crate::leader::{Brain, NodeStates};
use crate::name::Name;
use crate::promote::request::{Goal, Request};
use crate::remote::Remote;
use crate::state::ServiceRecord;
use crate::view::{self, View};

/// The look that serves all services.
pub(in crate::promote) struct Look<'a> {
    request: &'a Request<'a>,
    remote: &'a Remote,
    records: &'a BTreeMap<&'a Name, ServiceRecord>,
}

impl<'a> Look<'a> {
    pub(in crate::promote) fn new(
        request: &'a Request<'a>,
        remote: &'a Remote,
        records: &'a BTreeMap<&'a Name, ServiceRecord>,
    ) -> Self {
        Self { request, remote, records }
    }

    /// Takes it: what was seen, and who the brain is where that is asked.
    ///
    /// # Errors
    /// When this process cannot ask anybody, or there is no brain chain.
    pub(in crate::promote) fn take(&self) -> Result<(View, Option<Brain>)> {
        let mut view = match &self.request.view {
            Some(view) => view.clone(),
            None => self.probe()?,
        };
        let brain = self.brain(&mut view)?;
        Ok((view, brain))
    }

    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    fn probe(&self) -> Result<View> {
        let witnesses = if self.request.check.is_some() { self.request.config.witnesses.as_slice() } else { &[] };
        view::take(
            &self.nodes()?,
            witnesses,
            self.remote,
            |name| self.matters(name),
            |view, answer| {
                if let Some((name, answer)) = answer {
                    view::say(self.request.output_mode, name, answer);
                }
                self.suffices(view)
            },
        )
    }

    fn nodes(&self) -> Result<Vec<(&'a Name, &'a Node)>> {
        let config = self.request.config;
        let mut nodes = self.nodes_for_brain()?;
        for (_, service) in &self.request.services {
            for name in config.chain(service.chain.as_str())? {
                if !nodes.iter().any(|(known, _)| *known == name) {
                    nodes.push(config.node(name.as_str())?);
                }
            }
        }
        Ok(nodes)
    }

    /// Whether a node's answer is likely to be enough: the brain chain's head, this node, the node
    /// that runs a service and those before it.
    fn matters(&self, node: &Name) -> bool {
        self.matters_for_brain(node).unwrap_or_else(|| {
            self.request.services.iter().any(|(name, service)| {
                let running_on = self.records.get(name).and_then(|record| record.running_on.as_ref());
                let Some(chain) = self.request.config.chains.get(&service.chain) else { return false };
                let position = |wanted: &Name| chain.iter().position(|node| node == wanted);
                let serving = running_on.and_then(|placement| position(&placement.location.node));
                position(node).is_some_and(|at| serving.is_none_or(|serving| at <= serving))
            })
        })
    }

    /// Whether what has been seen is enough: another node is the brain, or everything is in place.
    fn suffices(&self, view: &View) -> bool {
        if self.request.check.is_some() {
            match self.brain_so_far(view) {
                None => return false,
                Some(Brain::Known(name)) if Some(&name) == self.request.local_node => {}
                Some(_) => return true,
            }
        }
        let seen = view.seen();
        self.request.services.iter().all(|(name, service)| match self.records.get(name) {
            Some(record) => {
                let goal = Goal::new(self.request, name, service);
                !is_full_check_due(&goal, record, &seen) && better_nodes_answered(&goal, record, &seen)
            }
            None => true,
        })
    }
}

/// Whether all living nodes must be asked for a service: some time has passed, or something has
/// changed.
pub(in crate::promote) fn is_full_check_due(goal: &Goal<'_>, record: &ServiceRecord, seen: &NodeStates) -> bool {
    let options = goal.options();
    let changed = || record.nodes.iter().any(|(node, state)| seen.get(node).is_some_and(|now| now != state));
    let sync = goal.config().cycle.sync;
    let old = || record.checks.last_full.is_none_or(|checked| checked.until(BootInstant::now()) >= sync);
    options.to.is_some() || options.dry_run || record.running_on.is_none() || changed() || old()
}

/// Whether the node on which the service was last seen has answered, and every better one.
fn better_nodes_answered(goal: &Goal<'_>, record: &ServiceRecord, seen: &NodeStates) -> bool {
    let Some(serving) = record.running_on.as_ref().map(|placement| &placement.location.node) else { return false };
    let mut better = goal.chain().iter().take_while(|node| *node != serving);
    seen.contains_key(serving) && better.all(|node| seen.contains_key(node))
}

/// Looks at the nodes of the chain that the first look left out. None if it left out none, or a view was given.
pub(in crate::promote) fn look_at_rest(goal: &Goal<'_>, remote: &Remote, seen: &NodeStates) -> Option<NodeStates> {
    let missing = goal.chain().iter().filter(|node| !seen.contains_key(*node));
    if goal.request().view.is_some() { None } else { look(goal, remote, missing) }
}

/// Looks at all nodes of the chain.
pub(in crate::promote) fn look_at_all(goal: &Goal<'_>, remote: &Remote) -> Option<NodeStates> {
    look(goal, remote, goal.chain().iter())
}

fn look<'n>(goal: &Goal<'_>, remote: &Remote, wanted: impl Iterator<Item = &'n Name>) -> Option<NodeStates> {
    let nodes: Vec<_> = wanted.filter_map(|name| goal.config().nodes.get_key_value(name)).collect();
    if nodes.is_empty() {
        return None;
    }
    let view = view::take(&nodes, &[], remote, view::all_first, |_, _| false).ok()?;
    Some(view.seen())
}
