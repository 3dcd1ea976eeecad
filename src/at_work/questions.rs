//! Which nodes a check asks for their beats, and when.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use anyhow::Result;

use super::ask::{self, Asked};
use super::{Check, Mode};
use crate::chain::BRAIN;
use crate::clock::{BootInstant, Deadline};
use crate::config::Node;
use crate::leader::at_work::{Others, Watch};
use crate::leader::{self, Leader, NodeStates, State};
use crate::links;
use crate::name::Name;
use crate::view::{self, View};

impl<'a> Check<'a> {
    /// A standby asks the node that it takes for the brain, and those before it that it passes over. A
    /// node that would lead, but has only just begun to work, asks everybody whether another one does.
    pub(super) fn ask_the_brain(&self, watch: &mut Watch, view: &mut View, may_probe: bool) -> Result<()> {
        let chain = self.config.chain(BRAIN)?;
        let mut asked = BTreeSet::new();
        loop {
            let (seen, over) = (view.seen(), self.passed_over(watch));
            let order = self.order(chain);
            match leader::leader_at_work(&order, &seen, &over) {
                Leader::Known(name) if Some(name) == self.local_node => {
                    if self.gap {
                        self.ask_all(watch, |node| seen.get(node) != Some(&State::Dead) && !asked.contains(node));
                        if self.order(chain) != order {
                            // The others knew who is drained: another node is next, and was not looked at.
                            if may_probe {
                                let order = self.order(chain);
                                let walk = |seen: &NodeStates| leader::leader_at_work(&order, seen, &over);
                                self.probe_missing(&self.nodes_to_probe()?, view, walk)?;
                            }
                            return self.ask_the_brain(watch, view, may_probe);
                        }
                    } else if let Some(other) = self.yields_to(watch, &seen) {
                        self.ask_all(watch, |node| *node == other);
                    }
                    return Ok(());
                }
                Leader::Known(name) => {
                    let before =
                        |node: &Name| order.iter().take_while(|other| *other != name).any(|other| other == node);
                    let wanted = |node: &Name| node == name || over.contains(node) && before(node);
                    let suspect = watch.is_suspect(name, BootInstant::now(), &self.judge(), &self.limits);
                    if suspect && may_probe {
                        let all: Vec<(&Name, &Node)> = self.config.nodes.iter().collect();
                        self.probe_missing(&all, view, |_| Leader::Nobody)?;
                    }
                    let seen = view.seen();
                    let living = |node: &Name| seen.get(node) == Some(&State::Alive);
                    let now =
                        self.ask_all(watch, |node| (suspect || wanted(node)) && living(node) && !asked.contains(node));
                    let brains: Vec<_> = now.iter().filter(|(node, _)| wanted(node)).cloned().collect();
                    asked.extend(now.into_iter().map(|(node, _)| node));
                    if brains.is_empty() {
                        return Ok(());
                    }
                    self.ask_others_in_doubt(watch, &brains, view, may_probe)?;
                }
                // Another node is next, and was not looked at as long as the first one was enough.
                Leader::Open(_) if may_probe && !asked.is_empty() => {
                    let nodes = self.nodes_to_probe()?;
                    if self.probe_missing(&nodes, view, |seen| leader::leader_at_work(&order, seen, &over))? {
                        return Ok(());
                    }
                }
                Leader::Open(_) | Leader::InDoubt(_) | Leader::Nobody => return Ok(()),
            }
        }
    }

    fn yields_to(&self, watch: &Watch, seen: &NodeStates) -> Option<Name> {
        use crate::leader::at_work::Yield::{OtherList, Returning};
        let living = |node: &Name| seen.get(node) != Some(&State::Dead);
        match watch.yields(&self.judge(), living, BootInstant::now(), &self.limits)? {
            Returning(node) | OtherList(node, _) => Some(node),
        }
    }

    /// Where one of these could not be read, and nobody has had a beat of it for long enough, the other
    /// living nodes are asked what they have read of it.
    fn ask_others_in_doubt(
        &self,
        watch: &mut Watch,
        asked: &[(Name, BootInstant)],
        view: &mut View,
        may_probe: bool,
    ) -> Result<()> {
        for (node, began) in asked {
            if !watch.is_in_doubt(node, *began, &self.judge(), &self.limits) {
                continue;
            }
            if may_probe {
                let all: Vec<(&Name, &Node)> = self.config.nodes.iter().collect();
                self.probe_missing(&all, view, |_| Leader::Nobody)?;
            }
            let seen = view.seen();
            let other = |other: &Name| other != node && seen.get(other) == Some(&State::Alive);
            self.ask_all(watch, other);
            let is_other = |name: &&Name| other(name) && Some(*name) != self.local_node;
            let living: Vec<&Name> = self.config.nodes.keys().filter(is_other).collect();
            let read = living.iter().filter(|name| watch.node(name).is_some_and(|known| known.is_readable())).count();
            watch.settle_doubt(node, *began, Others { living: living.len(), read }, &self.judge(), &self.limits);
        }
        Ok(())
    }

    /// Probes what the view lacks until the walk is decided, and tells whether nothing was to be probed.
    fn probe_missing<'b>(
        &self,
        nodes: &[(&'b Name, &'b Node)],
        view: &mut View,
        walk: impl Fn(&NodeStates) -> Leader<'b>,
    ) -> Result<bool> {
        let seen = view.seen();
        let missing: Vec<_> = nodes.iter().copied().filter(|(name, _)| !seen.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(true);
        }
        let rest = view::take(&missing, &[], &self.remote, view::all_first, |look, _| {
            let mut all = seen.clone();
            all.extend(look.seen());
            matches!(walk(&all), Leader::Known(_))
        })?;
        view.answers.extend(rest.answers.into_iter().filter(|(_, answer)| answer.is_some()));
        Ok(false)
    }

    /// For a person who wants to know now: all living nodes of the chain are asked.
    pub(super) fn ask_everybody(&self, watch: &mut Watch, view: &mut View, may_probe: bool) -> Result<()> {
        let chain = self.config.chain(BRAIN)?;
        if may_probe {
            self.probe_missing(&self.nodes_to_probe()?, view, |_| Leader::Nobody)?;
        }
        let seen = view.seen();
        self.ask_all(watch, |node| chain.contains(node) && seen.get(node) == Some(&State::Alive));
        watch.judge_at_once(BootInstant::now(), &self.limits);
        Ok(())
    }

    /// After the work: a brain asks the nodes that it passed over whether they are back, and now and
    /// then all others whether one of them leads as well. Each learns of its links.
    pub fn look_around(&self) {
        let mut inner = self.inner();
        if self.mode != Mode::Check || self.local_node.is_none() {
            return;
        }
        let Some(true) = inner.brain.as_ref().map(|brain| brain.is(self.local_node)) else {
            inner.watch.no_round();
            self.keep_watch(&mut inner);
            self.refresh_links();
            return;
        };
        let (now, seen, over) = (BootInstant::now(), inner.seen.clone(), self.passed_over(&inner.watch));
        let round = inner.watch.round_is_due(now, &self.limits);
        let uptimes = self.state_dir.uptimes();
        let dead = |node: &Name| seen.get(node) == Some(&State::Dead) || uptimes.dead_since(node).is_some();
        let mut watch = std::mem::take(&mut inner.watch);
        self.ask_all(&mut watch, |node| (round || over.contains(node)) && !dead(node));
        inner.watch = watch;
        self.keep_watch(&mut inner);
        self.refresh_links();
    }

    fn refresh_links(&self) {
        links::refresh(self.config, self.local_node, self.state_dir, &self.remote, self.limits.round());
    }

    /// Asks these of the other nodes, all at once, as far as they may be asked now; takes what they say,
    /// and tells who was asked, and when.
    fn ask_all(&self, watch: &mut Watch, wanted: impl Fn(&Name) -> bool) -> Vec<(Name, BootInstant)> {
        let now = BootInstant::now();
        let others = self.config.nodes.iter().filter(|(name, _)| Some(*name) != self.local_node && wanted(name));
        let due: Vec<(&Name, &Node)> = others.filter(|(name, _)| watch.is_due(name, now, &self.limits)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        // A check that waits for an answer is at work all the same.
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _beating = own.filter(|_| self.mode == Mode::Check).map(|beat| self.beat_on(beat));
        let patience = |name: &Name| {
            let known = watch.node(name).is_some_and(|known| known.beat().is_some() || known.is_readable());
            Deadline::after(if known || self.gap { self.limits.answer() } else { self.limits.first_answer() })
        };
        let due: Vec<_> = due.into_iter().map(|node| (node, patience(node.0))).collect();
        let asked: Vec<(&Name, Asked)> = std::thread::scope(|scope| {
            let threads: Vec<_> = due
                .iter()
                .map(|(node, deadline)| (node.0, scope.spawn(move || ask::ask(&self.remote, *node, *deadline))))
                .collect();
            threads.into_iter().filter_map(|(name, thread)| Some((name, thread.join().ok()?))).collect()
        });
        let began = asked.iter().map(|(name, asked)| ((*name).clone(), asked.began)).collect();
        for (name, Asked { ended, answer, told, notices, .. }) in asked {
            self.hear_notices(&notices);
            watch.learn(name, answer, ended, (&self.judge(), self.comes_before(name)), &self.limits);
            for (node, sighting) in told {
                if self.config.nodes.contains_key(&node) && Some(&node) != self.local_node {
                    watch.hear(&node, sighting, ended, &self.limits);
                }
            }
        }
        began
    }

    /// Whether a node comes before this one: only such a node can be passed over.
    fn comes_before(&self, node: &Name) -> bool {
        let Some(chain) = self.config.chains.get(BRAIN) else { return false };
        let chain = self.order(chain);
        let place = |wanted: &Name| chain.iter().position(|node| node == wanted);
        match (place(node), self.local_node.and_then(place)) {
            (Some(at), Some(own)) => at < own,
            (at, None) => at.is_some(),
            (None, _) => false,
        }
    }
}
