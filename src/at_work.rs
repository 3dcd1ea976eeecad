//! Who the brain is, by a look and by the beats of others: asks the questions that
//! [`leader::at_work`](crate::leader::at_work) judges, and leaves this node's own beat.
//!
//! A check decides in three steps: [`Check::decide`] before its work, [`Check::leave_beat`] after it, and
//! [`Check::look_around`] when its result has been written, so that no question of the brain delays its
//! work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::chain::{BRAIN, Chain};
use crate::clock::BootInstant;
use crate::config::{Config, Limits, Node};
use crate::leader::at_work::{AtWork, Judge, Watch, Yield};
use crate::leader::beat::{Assessment, Beat};
use crate::leader::{self, Brain, Facts, Leader, NodeStates, State};
use crate::name::Name;
use crate::notices::Notices;
use crate::remote::Remote;
use crate::state::StateDir;
use crate::view::{self, View};

mod ask;
mod drains;
mod questions;
mod under_way;
mod warnings;

pub use ask::SCHEMA;

use under_way::UnderWay;
use warnings::Trouble;

/// Whether others are asked for their beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A check of a node: asks the nodes that it must, and leaves a beat.
    Check,
    /// Uses what the last check of this node learned, and asks nobody.
    Memory,
    /// Asks every living node of the chain, and leaves nothing.
    Ask,
}

/// One decision who the brain is.
pub struct Check<'a> {
    config: &'a Config,
    local_node: Option<&'a Name>,
    state_dir: &'a StateDir,
    remote: Remote,
    mode: Mode,
    limits: Limits,
    /// Whether the last check here ended a while ago, or there was none.
    gap: bool,
    /// Since when checks have followed each other here.
    since: BootInstant,
    /// When this one began.
    begun: BootInstant,
    /// The latest fresh beat that was left here.
    own: Mutex<Option<Beat>>,
    /// The nodes that are drained; none until they are needed, as a check must have its locks before.
    drains: Mutex<Option<Notices>>,
    inner: Mutex<Inner>,
}

struct Inner {
    watch: Watch,
    /// As it was read.
    before: Watch,
    seen: NodeStates,
    brain: Option<Brain>,
    /// What could not be kept.
    troubles: Vec<Trouble>,
    under_way: Option<UnderWay>,
}

impl<'a> Check<'a> {
    /// Begins with what the state holds.
    pub fn new(config: &'a Config, local_node: Option<&'a Name>, state_dir: &'a StateDir, mode: Mode) -> Self {
        let (limits, now) = (Limits::of(config), BootInstant::now());
        let own = state_dir.beat().filter(|beat| Some(&beat.node) == local_node);
        let own = own.filter(|beat| beat.left <= now && beat.left.until(now) <= limits.stale());
        let mut watch = if local_node.is_some() && mode != Mode::Ask { state_dir.watch() } else { Watch::default() };
        let before = watch.clone();
        watch.keep(|node| config.nodes.contains_key(node));
        match (mode, &own) {
            (Mode::Memory, None) => watch = Watch::default(),
            (Mode::Check, None) => watch.wake(),
            _ => {}
        }
        let (seen, brain, troubles, under_way) = (NodeStates::new(), None, Vec::new(), None);
        Self {
            config,
            local_node,
            state_dir,
            remote: Remote::new(config, local_node),
            mode,
            limits,
            gap: own.is_none(),
            since: own.as_ref().map_or(now, |beat| beat.since),
            begun: now,
            own: Mutex::new(own),
            drains: Mutex::new(None),
            inner: Mutex::new(Inner { watch, before, seen, brain, troubles, under_way }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chain(&self) -> Result<&'a Chain> {
        self.config.chain(BRAIN)
    }

    fn judge(&self) -> Judge<'a> {
        let steady = !self.gap && self.since.until(BootInstant::now()) >= self.limits.stale();
        Judge { node: self.local_node, digest: &self.config.digest, steady }
    }

    /// The nodes whose answers can matter: the brain chain's; all of them where isolation counts.
    ///
    /// # Errors
    /// When there is no brain chain.
    pub fn nodes_to_probe(&self) -> Result<Vec<(&'a Name, &'a Node)>> {
        let mut nodes: Vec<(&Name, &Node)> = Vec::new();
        for name in self.chain()? {
            nodes.push(self.config.node(name.as_str())?);
        }
        if self.local_node.is_some() && !self.config.witnesses.is_empty() {
            let missing = self.config.nodes.iter().filter(|(name, _)| !nodes.iter().any(|(known, _)| known == name));
            let missing: Vec<_> = missing.collect();
            nodes.extend(missing);
        }
        Ok(nodes)
    }

    /// The first node of the chain that is not passed over: most looks need no other answer.
    pub fn likely_brain(&self) -> Option<&'a Name> {
        let over = self.inner().watch.passed_over();
        let chain = self.config.chains.get(BRAIN)?;
        let order = self.order(chain);
        let likely = order.iter().find(|node| !over.contains(*node) || Some(*node) == self.local_node)?;
        chain.iter().find(|node| *node == likely)
    }

    /// Who the brain is by what has come so far; `Open` when more is needed, none without a chain.
    pub fn so_far(&self, view: &View) -> Option<Brain> {
        let chain = &self.order(self.config.chains.get(BRAIN)?);
        let passed_over = &self.passed_over(&self.inner().watch);
        let facts = Facts { chain, passed_over, local_node: self.local_node, others: self.others() };
        Some(facts.brain(&view.seen(), &view.witnesses))
    }

    fn passed_over(&self, watch: &Watch) -> BTreeSet<Name> {
        let mut over = watch.passed_over();
        if let Some(local_node) = self.local_node {
            over.remove(local_node);
        }
        over
    }

    /// The nodes of the brain chain that live without a watchdog at work, as far as is known.
    pub fn not_at_work(&self) -> BTreeSet<Name> {
        let not_at_work = self.inner().watch.not_at_work(&self.judge(), &self.limits);
        let leads = |node: &Name| self.config.chains.get(BRAIN).is_some_and(|chain| chain.contains(node));
        not_at_work.into_iter().filter(|node| Some(node) != self.local_node && leads(node)).collect()
    }

    fn others(&self) -> usize {
        self.config.nodes.keys().filter(|name| Some(*name) != self.local_node).count()
    }

    /// Who the brain is. Nodes that the view lacks are probed only where `may_probe`; witnesses, which
    /// no view holds, still are where it depends on them.
    ///
    /// # Errors
    /// When there is no brain chain, or nobody can be asked.
    pub fn decide(&self, view: &mut View, may_probe: bool) -> Result<Brain> {
        let chain = self.chain()?;
        let mut inner = self.inner();
        let mut watch = std::mem::take(&mut inner.watch);
        drop(inner);
        match self.mode {
            Mode::Memory => {}
            Mode::Ask => self.ask_everybody(&mut watch, view, may_probe)?,
            Mode::Check => self.ask_the_brain(&mut watch, view, may_probe)?,
        }
        let over = self.passed_over(&watch);
        let chain = &self.order(chain);
        let seen = view.seen();
        let facts = Facts { chain, passed_over: &over, local_node: self.local_node, others: self.others() };
        let settled = !matches!(leader::leader_at_work(chain, &seen, &over), Leader::Open(_));
        if settled && facts.brain(&seen, &view.witnesses) == Brain::Open && view.witnesses.contains(&None) {
            let reached = |look: &View| look.witnesses.contains(&Some(true));
            let witnesses = &self.config.witnesses;
            view.witnesses =
                view::take(&[], witnesses, &self.remote, view::all_first, |look, _| reached(look))?.witnesses;
        }
        let mut brain = facts.final_brain(&seen, &view.witnesses);
        if brain.is(self.local_node) && self.mode != Mode::Ask {
            brain = self.or_yield(&watch, &seen, brain);
        }
        let mut inner = self.inner();
        (inner.watch, inner.seen, inner.brain) = (watch, seen, Some(brain.clone()));
        // While some services take long, the others are checked again, and so is who the brain is.
        let goes_on = inner.under_way.take().is_some();
        if self.mode == Mode::Check && (goes_on || brain.is(self.local_node)) {
            let beat = self.beat(&inner, "under-way");
            inner.under_way = beat.map(|beat| self.beat_on(beat));
        }
        Ok(brain)
    }

    /// The other brain, if there is one that this node has to yield to.
    fn or_yield(&self, watch: &Watch, seen: &NodeStates, brain: Brain) -> Brain {
        let now = BootInstant::now();
        let living = |node: &Name| seen.get(node) != Some(&State::Dead);
        match watch.yields(&self.judge(), living, now, &self.limits) {
            None => brain,
            Some(Yield::Returning(node)) => Brain::Known(node),
            Some(Yield::OtherList(node, digest)) => Brain::Unknown(format!(
                "{node} leads by another node list (digest {digest}, here {}) and goes on, as its digest is the \
                 smaller one; bring the lists in line",
                self.config.digest
            )),
        }
    }

    fn beat(&self, inner: &Inner, verdict: &str) -> Option<Beat> {
        let idle = self.passed_over(&inner.watch).into_iter();
        let idle = idle.filter(|node| inner.seen.get(node) == Some(&State::Alive));
        // A drained node that has given way must not lead again before this node has given way to it.
        let gave_way = self.drains().drained().into_iter().filter(|node| self.has_given_way(node));
        let gave_way =
            gave_way.filter(|node| Some(node) != self.local_node && inner.seen.get(node) != Some(&State::Dead));
        let over: BTreeSet<Name> = idle.chain(gave_way).collect();
        let last = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref();
        Some(Beat {
            node: self.local_node?.clone(),
            left: BootInstant::now(),
            since: self.since,
            digest: self.config.digest.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: verdict.to_owned(),
            assessment: Assessment {
                brain: match &inner.brain {
                    Some(Brain::Known(name)) => Some(name.clone()),
                    _ => None,
                },
                passed_over: over.into_iter().collect(),
                running: last.map(|beat| beat.assessment.running.clone()).unwrap_or_default(),
            },
            took: self.begun.until(BootInstant::now()),
        })
    }

    /// Where the brain before this node last saw a service run, and how long ago, by its last beat.
    pub fn handed_over(&self, service: &Name) -> Option<(Name, Duration)> {
        let (inner, now) = (self.inner(), BootInstant::now());
        let of_brains = inner.watch.nodes().filter_map(|(node, known)| {
            let leads = |found: &Assessment| found.brain.as_ref() == Some(node) && !found.running.is_empty();
            known.beat().filter(|beat| leads(&beat.assessment))
        });
        let latest = of_brains.min_by_key(|beat| beat.sighting.age(now))?;
        Some((latest.assessment.running.get(service)?.clone(), latest.sighting.age(now)))
    }

    /// Leaves this node's beat at the end of its check. `running` says where the services run; none when the
    /// check did not ask.
    pub fn leave_beat(&self, verdict: &str, running: Option<BTreeMap<Name, Name>>) {
        let mut inner = self.inner();
        inner.under_way = None;
        if self.mode == Mode::Check
            && let Some(mut beat) = self.beat(&inner, verdict)
        {
            if let Some(running) = running {
                beat.assessment.running = running;
            }
            let kept = self.state_dir.leave_beat(&beat);
            *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat);
            inner.troubles.extend(warnings::not_left(&kept));
            self.heed_drain(inner.brain.as_ref());
        }
        self.keep_watch(&mut inner);
    }

    fn keep_watch(&self, inner: &mut Inner) {
        if self.mode == Mode::Check && self.local_node.is_some() && inner.watch != inner.before {
            self.state_dir.keep_watch(&inner.watch);
            inner.before = inner.watch.clone();
        }
    }

    /// Whether a node is at work, as far as is known.
    pub fn at_work(&self, node: &Name) -> AtWork {
        let now = BootInstant::now();
        if Some(node) == self.local_node {
            let own = self.state_dir.beat().filter(|beat| beat.node == *node);
            let fresh = own.is_some_and(|beat| beat.left.until(now) <= self.limits.stale());
            return if fresh { AtWork::Yes } else { AtWork::Unasked };
        }
        self.inner().watch.at_work(node, now, &self.limits)
    }

    /// Why the living nodes before the brain do not lead, as half a sentence; none where there are none.
    pub fn why(&self) -> Option<String> {
        Some(self.why_not(&self.inner())).filter(|why| !why.is_empty())
    }

    fn why_not(&self, inner: &Inner) -> String {
        self.not_leading(inner).into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; ")
    }

    /// The living nodes before the brain that do not lead, each with the reason.
    fn not_leading(&self, inner: &Inner) -> Vec<(&'a Name, String)> {
        let (Some(Brain::Known(brain)), Some(chain)) = (&inner.brain, self.config.chains.get(BRAIN)) else {
            return Vec::new();
        };
        let drains = self.drains();
        // Nobody waits for the answer of a drained node.
        let living = |node: &&Name| match inner.seen.get(*node) {
            Some(state) => *state == State::Alive,
            None => drains.drain_of(node).is_some(),
        };
        let why = |node: &'a Name| {
            if let Some(drain) = drains.drain_of(node) {
                return Some((node, format!("{node} is {}", drain.words())));
            }
            if Some(node) == self.local_node {
                return Some((node, format!("{node} has only just begun to work, and leads once {brain} gives way")));
            }
            let over = inner.watch.node(node)?.passed_over()?;
            Some((node, format!("{node} is alive but not at work: {}", over.why)))
        };
        chain.iter().take_while(|node| *node != brain).filter(living).filter_map(why).collect()
    }
}
