//! The one look that serves all services: no longer, and at no more nodes, than they need.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Order, survey};
use crate::brain::{self, Brain};
use crate::chain::{BRAIN, Name};
use crate::config::{Config, Node, Service};
use crate::decide::Seen;
use crate::remote::Remote;
use crate::state::Record;
use crate::view::{self, View};

/// The one look that serves all services.
pub(super) struct Look<'a> {
    pub(super) order: &'a Order<'a>,
    pub(super) remote: &'a Remote,
    pub(super) records: &'a BTreeMap<&'a Name, Record>,
}

impl Look<'_> {
    pub(super) fn take(&self) -> Result<(View, Option<Brain>)> {
        let Order { config, own, if_brain, .. } = *self.order;
        let mut view = match &self.order.view {
            Some(view) => view.clone(),
            None => {
                let witnesses = if if_brain { config.witnesses.as_slice() } else { &[] };
                view::take(
                    &self.nodes()?,
                    witnesses,
                    self.remote,
                    |name| self.matters(name),
                    |view, answer| {
                        if let Some((name, answer)) = answer {
                            view::say(self.order.voice, name, answer);
                        }
                        self.suffices(view)
                    },
                )?
            }
        };
        let brain = if_brain.then(|| brain::by_view(config, own, self.remote, &mut view)).transpose()?;
        Ok((view, brain))
    }

    fn nodes(&self) -> Result<Vec<(&Name, &Node)>> {
        let config = self.order.config;
        let mut nodes = if self.order.if_brain { brain::nodes_to_ask(config, self.order.own)? } else { Vec::new() };
        for (_, service) in &self.order.services {
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
        let Order { config, own, if_brain, .. } = *self.order;
        if if_brain {
            let head = config.chains.get(BRAIN).and_then(|chain| chain.first());
            if head == Some(node) || own == Some(node) {
                return true;
            }
            if head != own {
                return false;
            }
        }
        self.order.services.iter().any(|(name, service)| {
            let on = self.records.get(name).and_then(|record| record.on.as_ref()).map(|(on, _)| on);
            let Some(chain) = config.chains.get(&service.chain) else { return false };
            let place = |wanted: &Name| chain.iter().position(|node| node == wanted);
            place(node).is_some_and(|at| on.and_then(place).is_none_or(|on| at <= on))
        })
    }

    /// Whether what has been seen is enough: another node is the brain, or everything is in place.
    fn suffices(&self, view: &View) -> bool {
        let Order { config, own, if_brain, .. } = *self.order;
        if if_brain {
            match brain::decided(config, own, view) {
                Some(Brain::Open) | None => return false,
                Some(Brain::Known(name)) if Some(&name) == own => {}
                Some(_) => return true,
            }
        }
        let seen = view.seen();
        self.order.services.iter().all(|(name, service)| match self.records.get(name) {
            Some(record) => !survey::due(record, &seen, self.order) && at_home(config, service, record, &seen),
            None => true,
        })
    }
}

/// Whether the node on which the service was last seen has answered, and every better one.
fn at_home(config: &Config, service: &Service, record: &Record, seen: &Seen) -> bool {
    let Some((on, _)) = &record.on else { return false };
    let Some(chain) = config.chains.get(&service.chain) else { return false };
    seen.contains_key(on) && chain.iter().take_while(|node| *node != on).all(|node| seen.contains_key(node))
}
