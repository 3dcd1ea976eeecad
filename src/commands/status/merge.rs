//! What all nodes said, put together. Pure: nothing is asked here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::facts::{
    BreathSummary, CooldownStatus, DrainStatus, LastCheck, LeaseStatus, NodeStatus, PauseStatus, ServiceState,
    ServiceStatus,
};
use super::here::{Here, HereBeat, HereCondition, HereService};
use crate::chain::{self, BRAIN};
use crate::commands::everywhere::Refusal;
use crate::config::{Config, Node, Service};
use crate::leader::at_work::AtWork;
use crate::leader::{self, Leader, NodeStates, State};
use crate::name::Name;
use crate::pause::{Paused, Pauses};
use crate::view::{NodeReport, ReportedState, View};

/// What one node said.
pub(super) struct Said {
    pub(super) here: Here,
    pub(super) clock_offset_ms: Option<f64>,
}

/// What all nodes said, or why they did not, and how they look from here.
pub(super) struct Told<'a> {
    pub(super) config: &'a Config,
    pub(super) view: View,
    pub(super) answers: Vec<(&'a Name, Result<Said, Refusal>)>,
}

impl<'a> Told<'a> {
    fn said(&self, node: &Name) -> Option<&Said> {
        self.answers.iter().find(|(name, _)| *name == node)?.1.as_ref().ok()
    }

    fn all(&self) -> impl Iterator<Item = (&'a Name, &Said)> {
        self.answers.iter().filter_map(|(name, said)| Some((*name, said.as_ref().ok()?)))
    }

    fn of_service(&self, service: &Name) -> impl Iterator<Item = (&'a Name, &HereService, Option<f64>)> {
        self.all().filter_map(move |(name, said)| {
            let of = said.here.services.iter().find(|of| of.service == *service)?;
            Some((name, of, said.clock_offset_ms))
        })
    }

    /// A node that answers lives, whatever a probe saw of it.
    fn states(&self) -> NodeStates {
        let mut seen = self.view.seen();
        seen.extend(self.all().map(|(name, _)| (name.clone(), State::Alive)));
        seen
    }

    /// The nodes that take themselves for the brain, in the order of the chain.
    pub(super) fn leading(&self) -> Vec<&'a Name> {
        let chain = self.config.chains.get(BRAIN).map_or(&[][..], Vec::as_slice);
        let leads = |node: &&Name| {
            let beat = self.said(node).and_then(|said| said.here.beat.as_ref());
            beat.is_some_and(|beat| beat.fresh && beat.brain.as_ref() == Some(*node))
        };
        chain.iter().filter(leads).collect()
    }

    /// The brain: the node that takes itself for it, else the one that the nodes at work take for it, else, where
    /// none is at work, the first that lives.
    pub(super) fn brain(&self) -> Option<&'a Name> {
        if let Some(first) = self.leading().first() {
            return Some(first);
        }
        let mut beats = self.all().filter_map(|(_, said)| said.here.beat.as_ref()).filter(|beat| beat.fresh).peekable();
        if beats.peek().is_none() {
            let chain = self.config.chains.get(BRAIN)?;
            let drains = self.drains();
            let order = chain::drained_last(chain, |node| drains.iter().any(|drain| drain.drained.node == *node));
            return match leader::final_leader(order.iter(), &self.states()) {
                Leader::Known(name) => self.config.nodes.get_key_value(name).map(|(name, _)| name),
                _ => None,
            };
        }
        let taken = beats.find_map(|beat| beat.brain.as_ref())?;
        self.config.nodes.get_key_value(taken).map(|(name, _)| name)
    }

    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        self.answers
            .iter()
            .filter_map(|(name, said)| Some(self.node(name, self.config.nodes.get(*name)?, said)))
            .collect()
    }

    fn node(&self, name: &Name, node: &Node, said: &Result<Said, Refusal>) -> NodeStatus {
        let report = NodeReport::new(name, node, self.view.answers.get(name).and_then(Option::as_ref));
        let (said, refusal) = match said {
            Ok(said) => (Some(said), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let here = said.map(|said| &said.here);
        let lives = said.is_some() || report.state == ReportedState::Alive;
        let (cause, detail) = match (refusal, lives) {
            (None, _) => (None, None),
            (Some(_), false) if report.cause.is_some() => (report.cause, report.detail),
            (Some(refusal), _) => (Some(refusal.cause().to_owned()), Some(refusal.why().to_owned())),
        };
        let beat = here.and_then(|here| here.beat.clone());
        NodeStatus {
            node: name.clone(),
            address: report.address,
            state: if lives { ReportedState::Alive } else { report.state },
            answered: said.is_some(),
            cause,
            detail,
            at_work: match (here, &beat) {
                (None, _) => AtWork::Unasked,
                (_, Some(HereBeat { fresh: true, .. })) => AtWork::Yes,
                _ => AtWork::No,
            },
            beat,
            version: here.map(|here| here.version.clone()),
            digest: here.map(|here| here.digest.clone()),
            digest_equal: here.map(|here| here.digest == self.config.digest),
            breath: here.and_then(|here| here.breath.clone()),
            clock_offset_ms: said.and_then(|said| said.clock_offset_ms),
        }
    }

    pub(super) fn services(&self, pauses: &[PauseStatus], cooldowns: &[CooldownStatus]) -> Vec<ServiceStatus> {
        let pauses = Pauses(pauses.iter().map(|pause| pause.paused.clone()).collect());
        let drains = self.drains();
        let service = |(name, service): (&Name, &Service)| {
            let is_passed_over = |node: &Name| {
                cooldowns.iter().any(|down| down.service == *name && down.node == *node)
                    || drains.iter().any(|drain| drain.drained.node == *node)
            };
            self.service(name, service, pauses.of(name), &is_passed_over)
        };
        self.config.services.iter().map(service).collect()
    }

    fn service(
        &self,
        name: &Name,
        service: &Service,
        paused: Option<&Paused>,
        is_passed_over: &dyn Fn(&Name) -> bool,
    ) -> ServiceStatus {
        let states = self.states();
        let chain = self.config.chains.get(&service.chain).map_or(&[][..], Vec::as_slice);
        let asked: Vec<&Name> =
            chain.iter().filter(|node| self.answers.iter().any(|(asked, _)| *asked == *node)).collect();
        let condition = |node: &Name| self.of_service(name).find(|(of, ..)| *of == node).map(|(_, of, _)| of.condition);
        let running_on: Vec<Name> = asked
            .iter()
            .filter(|node| condition(node) == Some(HereCondition::Running))
            .map(|node| (*node).clone())
            .collect();
        let silent = |node: &&&Name| {
            states.get(**node) != Some(&State::Dead) && matches!(condition(node), None | Some(HereCondition::Unknown))
        };
        let unknown_on: Vec<Name> = asked.iter().filter(silent).map(|node| (*node).clone()).collect();
        let last_check = self.last_check(name);
        // A node that does not say: what the brain saw in its last check is the best there is.
        let seen_on = || {
            let checked =
                last_check.as_ref().and_then(|check| self.of_service(name).find(|(node, ..)| **node == check.node));
            let seen = checked.and_then(|(_, of, _)| of.seen.clone()).map(|seen| seen.node);
            seen.filter(|node| unknown_on.contains(node))
        };
        let (state, node) = match running_on.as_slice() {
            [] if unknown_on.is_empty() && asked.len() == chain.len() => (ServiceState::Stopped, None),
            [] => (ServiceState::Unknown, seen_on()),
            [only] => (ServiceState::Running, Some(only.clone())),
            [first, ..] => (ServiceState::Several, Some(first.clone())),
        };
        let target = leader::leader(chain.iter().filter(|node| !is_passed_over(node)), &states);
        ServiceStatus {
            service: name.clone(),
            chain: service.chain.clone(),
            state,
            since: node.as_ref().and_then(|node| self.since(name, node)),
            node,
            running_on,
            unknown_on,
            target: if let Leader::Known(target) = target { Some(target.clone()) } else { None },
            last_check,
            lease: self.lease(name),
            paused: paused.cloned(),
        }
    }

    /// Since when a service has run on a node: since the last move there, as far as the histories tell, else since
    /// the brain has seen it there.
    fn since(&self, service: &Name, node: &Name) -> Option<String> {
        let moves = self.of_service(service).filter_map(|(_, of, offset)| {
            let last = of.last_move.as_ref()?;
            Some((corrected(&last.at, offset), &last.node))
        });
        if let Some((at, _)) = moves.max_by(|one, other| one.0.cmp(&other.0)).filter(|(_, to)| *to == node) {
            return Some(at);
        }
        let seen = self.of_service(service).filter_map(|(_, of, offset)| {
            let seen = of.seen.as_ref().filter(|seen| seen.node == *node && of.last_check.is_some())?;
            Some(corrected(&seen.since, offset))
        });
        seen.min()
    }

    fn last_check(&self, service: &Name) -> Option<LastCheck> {
        let checks = self.of_service(service).filter_map(|(name, of, offset)| {
            let check = of.last_check.as_ref()?;
            let verdict = || self.said(name)?.here.beat.as_ref().map(|beat| beat.verdict.clone());
            Some(LastCheck {
                node: name.clone(),
                at: corrected(&check.at, offset),
                age_ms: check.age_ms,
                verdict: check.trouble.clone().or_else(verdict),
            })
        });
        checks.min_by(|one, other| one.age_ms.total_cmp(&other.age_ms))
    }

    /// The latest that any node saw of a lease. What its holder saw counts where the epoch is the same.
    fn lease(&self, service: &Name) -> Option<LeaseStatus> {
        let seen = self.of_service(service).filter_map(|(name, of, _)| {
            let lease = of.lease.clone()?;
            let is_holder = lease.holder.as_ref() == Some(name);
            let is_old = lease.read_age_ms.is_none_or(|age| age > lease.valid_ms);
            let runs = of.condition == HereCondition::Running;
            let in_doubt = is_holder && runs && is_old && lease.failsafe_since.is_none();
            Some(((lease.epoch, lease.state, is_holder), LeaseStatus { lease, seen_by: name.clone(), in_doubt }))
        });
        seen.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, lease)| lease)
    }

    pub(super) fn pauses(&self) -> Vec<PauseStatus> {
        let known = self.known_to(|here| &here.pauses);
        known.into_iter().map(|(paused, seen_by)| PauseStatus { paused, seen_by }).collect()
    }

    pub(super) fn drains(&self) -> Vec<DrainStatus> {
        let known = self.known_to(|here| &here.drains);
        known.into_iter().map(|(drained, seen_by)| DrainStatus { drained, seen_by }).collect()
    }

    /// Each fact once, and which nodes have it.
    fn known_to<T: Clone + PartialEq>(&self, of: impl Fn(&Here) -> &[T]) -> Vec<(T, Vec<Name>)> {
        let mut all: Vec<(T, Vec<Name>)> = Vec::new();
        for (name, said) in self.all() {
            for fact in of(&said.here) {
                match all.iter_mut().find(|(known, _)| known == fact) {
                    Some((_, seen_by)) => seen_by.push(name.clone()),
                    None => all.push((fact.clone(), vec![name.clone()])),
                }
            }
        }
        all
    }

    /// By the brain, which decides; by all nodes where it did not say.
    pub(super) fn cooldowns(&self) -> Vec<CooldownStatus> {
        let brain = self.brain().filter(|brain| self.said(brain).is_some());
        let mut all: BTreeMap<(Name, Name), CooldownStatus> = BTreeMap::new();
        for (_, said) in self.all().filter(|(name, _)| brain.is_none_or(|brain| brain == *name)) {
            for of in &said.here.services {
                for down in &of.cooldowns {
                    let until = corrected(&down.until, said.clock_offset_ms);
                    let key = (of.service.clone(), down.node.clone());
                    if all.get(&key).is_none_or(|known| known.until < until) {
                        let status = CooldownStatus {
                            service: of.service.clone(),
                            node: down.node.clone(),
                            since: corrected(&down.since, said.clock_offset_ms),
                            until,
                            failures: down.failures,
                            why: down.why.clone(),
                        };
                        all.insert(key, status);
                    }
                }
            }
        }
        all.into_values().collect()
    }

    pub(super) fn breath(&self, nodes: &[NodeStatus]) -> Option<BreathSummary> {
        self.config.breath.repo.as_ref()?;
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for head in nodes.iter().filter_map(|node| node.breath.as_ref()?.head.as_deref()) {
            *count.entry(head).or_default() += 1;
        }
        let said: usize = count.values().sum();
        let mut heads: Vec<(&str, usize)> = count.into_iter().collect();
        heads.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let conflicts =
            nodes.iter().filter(|node| node.breath.as_ref().is_some_and(|breath| breath.conflict.is_some()));
        Some(BreathSummary {
            in_step: (said > 1).then_some(heads.len() == 1),
            heads: heads.into_iter().map(|(head, _)| head.to_owned()).collect(),
            conflicts: conflicts.map(|node| node.node.clone()).collect(),
        })
    }
}

/// A time of another node's clock by the clock here.
fn corrected(at: &str, offset_ms: Option<f64>) -> String {
    let offset = offset_ms.unwrap_or_default();
    let Ok(time) = humantime::parse_rfc3339(at) else { return at.to_owned() };
    let span = Duration::try_from_secs_f64(offset.abs() / 1000.0).unwrap_or_default();
    let here: Option<SystemTime> = if offset > 0.0 { time.checked_sub(span) } else { time.checked_add(span) };
    here.map_or_else(|| at.to_owned(), |here| humantime::format_rfc3339_millis(here).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_clock_that_is_ahead_was_earlier() {
        let at = "2026-01-01T01:00:00.000Z";
        assert_eq!(corrected(at, Some(3_600_000.0)), "2026-01-01T00:00:00.000Z");
        assert_eq!(corrected(at, Some(-1500.0)), "2026-01-01T01:00:01.500Z");
        assert_eq!(corrected(at, None), at);
        assert_eq!(corrected("no time", Some(1.0)), "no time");
    }
}
