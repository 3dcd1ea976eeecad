//! The one look that serves all services: no longer, and at no more nodes, than they need.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Request, survey};
use crate::chain::Name;
use crate::config::{Config, Node, Service};
use crate::leader::{Brain, NodeStates};
use crate::remote::Remote;
use crate::state::ServiceRecord;
use crate::view::{self, View};

/// The one look that serves all services.
pub(super) struct Look<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) remote: &'a Remote,
    pub(super) records: &'a BTreeMap<&'a Name, ServiceRecord>,
}

impl Look<'_> {
    pub(super) fn take(&self) -> Result<(View, Option<Brain>)> {
        let Request { config, check, .. } = *self.request;
        let mut view = match &self.request.view {
            Some(view) => view.clone(),
            None => {
                let witnesses = if check.is_some() { config.witnesses.as_slice() } else { &[] };
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
                )?
            }
        };
        let may_probe = self.request.view.is_none();
        let brain = check.map(|check| check.decide(&mut view, may_probe)).transpose()?;
        Ok((view, brain))
    }

    fn nodes(&self) -> Result<Vec<(&Name, &Node)>> {
        let config = self.request.config;
        let mut nodes = self.request.check.map_or_else(|| Ok(Vec::new()), |check| check.nodes_to_probe())?;
        for (_, service) in &self.request.services {
            for name in config.chain(service.chain.as_str())? {
                if !nodes.iter().any(|(known, _)| *known == name) {
                    nodes.push(config.node(name.as_str())?);
                }
            }
        }
        Ok(nodes)
    }

    /// Whether a node's answer is likely to be enough: the likely brain's, this node's, that of the node
    /// that runs a service and of those before it.
    fn matters(&self, node: &Name) -> bool {
        let Request { config, local_node, check, .. } = *self.request;
        if let Some(check) = check {
            let head = check.likely_brain();
            if head == Some(node) || local_node == Some(node) {
                return true;
            }
            if head != local_node {
                return false;
            }
        }
        self.request.services.iter().any(|(name, service)| {
            let on = self.records.get(name).and_then(|record| record.on.as_ref()).map(|(on, _)| on);
            let Some(chain) = config.chains.get(&service.chain) else { return false };
            let place = |wanted: &Name| chain.iter().position(|node| node == wanted);
            place(node).is_some_and(|at| on.and_then(place).is_none_or(|on| at <= on))
        })
    }

    /// Whether what has been seen is enough: another node is the brain, or everything is in place.
    fn suffices(&self, view: &View) -> bool {
        let Request { config, local_node, check, .. } = *self.request;
        if let Some(check) = check {
            match check.so_far(view) {
                Some(Brain::Open) | None => return false,
                Some(Brain::Known(name)) if Some(&name) == local_node => {}
                Some(_) => return true,
            }
        }
        let seen = view.seen();
        self.request.services.iter().all(|(name, service)| match self.records.get(name) {
            Some(record) => !survey::due(record, &seen, self.request) && at_home(config, service, record, &seen),
            None => true,
        })
    }
}

/// Whether the node on which the service was last seen has answered, and every better one.
fn at_home(config: &Config, service: &Service, record: &ServiceRecord, seen: &NodeStates) -> bool {
    let Some((on, _)) = &record.on else { return false };
    let Some(chain) = config.chains.get(&service.chain) else { return false };
    seen.contains_key(on) && chain.iter().take_while(|node| *node != on).all(|node| seen.contains_key(node))
}
