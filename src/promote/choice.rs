//! Where it ought to run, and where it does so far.

use std::collections::BTreeSet;
use std::time::Duration;

use super::PromoteVerdict;
use super::course::ServiceRun;
use super::survey::ServiceHealth;
use super::tenure::Takeover;
use crate::chain::Name;
use crate::decide::{self, Leader, Placement, State};
use crate::lease::LeaseRecord;

impl ServiceRun<'_> {
    /// The target: the one that was named, or the one that the chain gives.
    pub(super) fn chosen(&mut self) -> Result<Name, (PromoteVerdict, String)> {
        if let Some(to) = self.request.to {
            return match self.seen.get(to) {
                Some(State::Alive) => Ok(to.clone()),
                Some(State::Dead) => Err((PromoteVerdict::Refused, format!("{to} is dead; name a living node."))),
                Some(State::Unknown) | None => {
                    Err((PromoteVerdict::Unknown, format!("Whether {to} lives is unknown.")))
                }
            };
        }
        // What a brain left unfinished as it died is finished, as long as it can be.
        if let Some(LeaseRecord { holder, .. }) = self.takeover.as_ref().and_then(Takeover::unfinished)
            && self.chain.contains(holder)
            && self.seen.get(holder) == Some(&State::Alive)
            && self.health_by_node.get(holder) != Some(&ServiceHealth::Unknown)
            && !self.record.cooldown.contains_key(holder)
        {
            return Ok(holder.clone());
        }
        // The node that ran it last, and that we cannot ask, may run it still.
        let remembered = self.record.on.as_ref().map(|(on, _)| on);
        let last = self.takeover.as_ref().map_or(remembered, Takeover::last_holder);
        if let Some(on) = last
            && self.chain.contains(on)
            && !matches!(self.seen.get(on), Some(State::Alive | State::Dead))
            && !self.health_by_node.values().any(|service_health| *service_health == ServiceHealth::Healthy)
        {
            return Err((PromoteVerdict::Unknown, format!("{} ran on {on}, which could not be asked.", self.name)));
        }
        match self.target() {
            Leader::Known(node) => Ok(node.clone()),
            Leader::Nobody => {
                Err((PromoteVerdict::Refused, format!("Every node of the chain {} is dead.", self.service.chain)))
            }
            Leader::LeaseError(node) | Leader::Open(node) => Err((
                PromoteVerdict::Unknown,
                format!("Where {} belongs is unknown: {node} could not be asked.", self.name),
            )),
        }
    }

    pub(super) fn target(&self) -> Leader<'_> {
        // Under a lease it belongs nowhere but where the lease says, however well it runs.
        let permitted = |node: &Name| match &self.takeover {
            Some(takeover) => takeover.value().is_none() || takeover.holder() == Some(node),
            None => true,
        };
        let well = |node: &Name| self.health_by_node.get(node) == Some(&ServiceHealth::Healthy) && permitted(node);
        let remembered = self.record.on.as_ref().filter(|(on, _)| well(on));
        let on = remembered.map(|(on, _)| on).or_else(|| self.chain.iter().find(|node| well(node)));
        let placement = Placement {
            on: on.cloned(),
            on_for: remembered.map_or(Duration::ZERO, |(_, since)| since.until(self.now)),
            alive_for: self.uptime.alive_for(self.now),
            cooldown: self.record.cooldown.keys().chain(self.silent()).cloned().collect(),
        };
        decide::target(&self.chain, &self.seen, self.service.failback, &placement)
    }

    /// Where it runs or, as far as a living node will say, might run, but ought not to. The target
    /// is among them when it has to be restarted.
    pub(super) fn strays(&self, target: &Name) -> BTreeSet<Name> {
        let stray = |(node, service_health): &(&Name, &ServiceHealth)| match service_health {
            ServiceHealth::Healthy | ServiceHealth::Unknown => *node != target,
            ServiceHealth::Unhealthy => true,
            ServiceHealth::Stopped | ServiceHealth::Died => false,
        };
        self.health_by_node.iter().filter(stray).map(|(node, _)| node.clone()).collect()
    }

    /// The target, if it said how the service fares there; else the node on which it runs well. A
    /// node that says nothing cannot be trusted to start anything either, nor to have stopped it:
    /// that node is the error.
    pub(super) fn heard_from(&self, target: Name) -> Result<Name, Name> {
        if self.health_by_node.get(&target) != Some(&ServiceHealth::Unknown) {
            return Ok(target);
        }
        let well = |node: &&Name| self.health_by_node.get(*node) == Some(&ServiceHealth::Healthy);
        self.chain.iter().find(well).cloned().ok_or(target)
    }

    /// The node that ran it: where it runs now, else where it was last seen.
    pub(super) fn previous(&self) -> Option<Name> {
        let remembered = self.record.on.as_ref().map(|(on, _)| on);
        let runs = |node: &&Name| {
            matches!(self.health_by_node.get(*node), Some(ServiceHealth::Healthy | ServiceHealth::Unhealthy))
        };
        let remembered = self.takeover.as_ref().and_then(Takeover::last_holder).or(remembered);
        remembered.filter(runs).or_else(|| self.chain.iter().find(runs)).or(remembered).cloned()
    }
}
