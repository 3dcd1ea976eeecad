//! Where it ought to run, and where it does so far.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Verdict;
use super::course::Course;
use super::survey::Fare;
use super::tenure::Tenure;
use crate::chain::Name;
use crate::decide::{self, Leader, Standing, State};
use crate::lease::Value;

impl Course<'_> {
    /// The target: the one that was named, or the one that the chain gives.
    pub(super) fn chosen(&mut self) -> Result<Name, (Verdict, String)> {
        if let Some(to) = self.order.to {
            return match self.seen.get(to) {
                Some(State::Alive) => Ok(to.clone()),
                Some(State::Dead) => Err((Verdict::Refused, format!("{to} is dead; name a living node."))),
                Some(State::Unknown) | None => Err((Verdict::Unknown, format!("Whether {to} lives is unknown."))),
            };
        }
        // What a brain left unfinished as it died is finished, as long as it can be.
        if let Some(Value { holder, .. }) = self.tenure.as_ref().and_then(Tenure::unfinished)
            && self.chain.contains(holder)
            && self.seen.get(holder) == Some(&State::Alive)
            && self.fares.get(holder) != Some(&Fare::Unknown)
            && !self.record.passed_over.contains_key(holder)
        {
            return Ok(holder.clone());
        }
        // The node that ran it last, and that we cannot ask, may run it still.
        let remembered = self.record.on.as_ref().map(|(on, _)| on);
        let last = self.tenure.as_ref().map_or(remembered, Tenure::last_holder);
        if let Some(on) = last
            && self.chain.contains(on)
            && !matches!(self.seen.get(on), Some(State::Alive | State::Dead))
            && !self.fares.values().any(|fare| *fare == Fare::Well)
        {
            return Err((Verdict::Unknown, format!("{} ran on {on}, which could not be asked.", self.name)));
        }
        match self.target() {
            Leader::Known(node) => Ok(node.clone()),
            Leader::Nobody => {
                Err((Verdict::Refused, format!("Every node of the chain {} is dead.", self.service.chain)))
            }
            Leader::Doubt(node) | Leader::Open(node) => {
                Err((Verdict::Unknown, format!("Where {} belongs is unknown: {node} could not be asked.", self.name)))
            }
        }
    }

    pub(super) fn target(&self) -> Leader<'_> {
        // Under a lease it belongs nowhere but where the lease says, however well it runs.
        let permitted = |node: &Name| match &self.tenure {
            Some(tenure) => tenure.value().is_none() || tenure.holder() == Some(node),
            None => true,
        };
        let well = |node: &Name| self.fares.get(node) == Some(&Fare::Well) && permitted(node);
        let remembered = self.record.on.as_ref().filter(|(on, _)| well(on));
        let on = remembered.map(|(on, _)| on).or_else(|| self.chain.iter().find(|node| well(node)));
        let standing = Standing {
            on: on.cloned(),
            on_for: remembered.map_or(Duration::ZERO, |(_, since)| since.until(self.now)),
            alive_for: self.ages.alive_for(self.now),
            passed_over: self.record.passed_over.keys().chain(self.silent()).cloned().collect(),
        };
        decide::target(&self.chain, &self.seen, self.service.failback, &standing)
    }

    /// Where it runs or, as far as a living node will say, might run, but ought not to. The target
    /// is among them when it has to be restarted.
    pub(super) fn strays(&self, target: &Name) -> BTreeSet<Name> {
        let stray = |(node, fare): &(&Name, &Fare)| match fare {
            Fare::Well | Fare::Unknown => *node != target,
            Fare::Unwell => true,
            Fare::Stopped | Fare::Died => false,
        };
        self.fares.iter().filter(stray).map(|(node, _)| node.clone()).collect()
    }

    /// The target, if it said how the service fares there; else the node on which it runs well. A
    /// node that says nothing cannot be trusted to start anything either, nor to have stopped it:
    /// that node is the error.
    pub(super) fn heard_from(&self, target: Name) -> Result<Name, Name> {
        if self.fares.get(&target) != Some(&Fare::Unknown) {
            return Ok(target);
        }
        let well = |node: &&Name| self.fares.get(*node) == Some(&Fare::Well);
        self.chain.iter().find(well).cloned().ok_or(target)
    }

    /// The node that ran it: where it runs now, else where it was last seen.
    pub(super) fn previous(&self) -> Option<Name> {
        let remembered = self.record.on.as_ref().map(|(on, _)| on);
        let runs = |node: &&Name| matches!(self.fares.get(*node), Some(Fare::Well | Fare::Unwell));
        let remembered = self.tenure.as_ref().and_then(Tenure::last_holder).or(remembered);
        remembered.filter(runs).or_else(|| self.chain.iter().find(runs)).or(remembered).cloned()
    }
}
