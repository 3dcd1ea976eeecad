//! One service's way through a promotion: find it, decide, stop, start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ages::Ages;
use super::opinion::Opinion;
use super::survey::{self, Fare};
use super::tenure::Tenure;
use super::{Act, Order, Outcome, PausesOnDemand, Promotion, Step, Verdict, act, list};
use crate::chain::{Chain, Name};
use crate::config::{Failback, Probe, Service};
use crate::deadline::Deadline;
use crate::decide::{Leader, Seen, State};
use crate::moment::Moment;
use crate::pause::Paused;
use crate::remote::Remote;
use crate::service::Place;
use crate::state::Record;
use crate::view;

/// How long a node on which a start failed is passed over when `failback` is `"always"`: at once
/// would mean a try, and an outage, at every check.
const PASSED_OVER: Duration = Duration::from_secs(60);

pub(super) struct Course<'a> {
    pub(super) order: &'a Order<'a>,
    pub(super) remote: &'a Remote,
    pub(super) name: &'a Name,
    pub(super) service: &'a Service,
    pub(super) chain: Chain,
    pub(super) record: Record,
    /// Its lease, where it is under one.
    pub(super) tenure: Option<Tenure<'a>>,
    pauses: &'a PausesOnDemand<'a>,
    /// The pause that holds for it, once that was asked: then nothing is touched.
    paused: Option<Paused>,
    pub(super) seen: Seen,
    pub(super) ages: &'a Ages<'a>,
    pub(super) now: Moment,
    /// How it fares where that was asked.
    pub(super) fares: BTreeMap<Name, Fare>,
    /// Who reaches the node that may run it and that seems to be dead; none where nobody was asked.
    pub(super) opinion: Option<Opinion>,
    pub(super) steps: Vec<Step>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        order: &'a Order<'a>,
        remote: &'a Remote,
        (name, service): (&'a Name, &'a Service),
        (record, tenure, pauses): (Record, Option<Tenure<'a>>, &'a PausesOnDemand<'a>),
        seen: Seen,
        ages: &'a Ages<'a>,
    ) -> Self {
        let chain = order.config.chains.get(&service.chain).cloned().unwrap_or_default();
        Self {
            order,
            remote,
            name,
            service,
            chain,
            record,
            tenure,
            pauses,
            paused: None,
            seen,
            ages,
            now: Moment::now(),
            fares: BTreeMap::new(),
            opinion: None,
            steps: Vec::new(),
        }
    }

    /// To the end: what became of it, and what to remember.
    pub(super) fn run(mut self) -> (Promotion, Record) {
        self.forget_old_failures();
        let deadline = Deadline::after(self.service.timeout);
        let sweeping = survey::due(&self.record, &self.seen, self.order);
        let promotion = match if sweeping { None } else { self.quiet(deadline) } {
            Some(promotion) => promotion,
            // Under a lease, a node that said nothing and has used up all the time keeps nobody: the
            // others have their own.
            None if self.silent().next().is_some() => self.in_full(Deadline::after(self.service.timeout)),
            None => self.in_full(deadline),
        };
        let known = |node: &Name| self.chain.contains(node);
        self.record.seen.extend(self.seen.iter().filter(|(node, _)| known(node)).map(|(n, s)| (n.clone(), *s)));
        let promotion = match &self.paused {
            Some(paused) => promotion.while_paused(paused, self.order.dry_run),
            None => promotion,
        };
        (promotion, self.record)
    }

    /// Whether nothing is to be touched.
    pub(super) fn only_looks(&self) -> bool {
        self.order.dry_run || self.paused.is_some()
    }

    /// Everything as it was: one node is asked, and nothing is touched.
    fn quiet(&mut self, deadline: Deadline) -> Option<Promotion> {
        let (on, _) = self.record.on.clone()?;
        if self.seen.get(&on) != Some(&State::Alive) || self.place(&on).is_none() {
            return None;
        }
        let due = self.tenure.as_ref().is_some_and(Tenure::is_due);
        let fare = self.beside_the_register(due, |course| {
            Some(survey::ask(&course.place(&on)?, course.health(&on), deadline, course.order))
        })?;
        self.note(&on, fare);
        if self.tenure.as_ref().is_some_and(|tenure| tenure.doubt().is_some() || tenure.holder() != Some(&on)) {
            return None;
        }
        let Leader::Known(target) = self.target() else { return None };
        (fare == Fare::Well && *target == on).then(|| self.in_place(&on))
    }

    /// Does something, and reads the register meanwhile where that is due.
    fn beside_the_register<T: Send>(&mut self, due: bool, act: impl FnOnce(&mut Self) -> T) -> T {
        let mut tenure = self.tenure.take();
        let done = std::thread::scope(|scope| {
            if let Some(tenure) = tenure.as_mut().filter(|_| due) {
                scope.spawn(|| tenure.read());
            }
            act(self)
        });
        self.tenure = tenure;
        done
    }

    /// All living nodes are asked, then it is decided and done.
    fn in_full(&mut self, deadline: Deadline) -> Promotion {
        self.see_the_rest();
        self.beside_the_register(true, |course| course.survey(deadline));
        let pauses = self.pauses.get().as_ref();
        self.paused = pauses.ok().and_then(|pauses| pauses.of(self.name)).cloned();
        if !self.order.dry_run {
            self.record.swept = Some(Moment::now());
        }
        let previous = self.previous();
        if let Some(reason) = self.lease_in_doubt() {
            self.record.swept = None;
            return self.end(Verdict::Unknown, reason, None, previous);
        }
        if let Err(doubt) = pauses {
            let reason = format!("Whether {} is paused is unknown: {doubt}; nothing was touched.", self.name);
            self.record.swept = None;
            return self.end(Verdict::Unknown, reason, None, previous);
        }
        if let Some(doubt) = self.doubt() {
            return self.end(Verdict::Unknown, doubt, None, previous);
        }
        let target = match self.chosen() {
            Ok(target) => target,
            Err((verdict, reason)) => return self.end(verdict, reason, None, previous),
        };
        if self.tenure.is_some() {
            return self.under_lease(target, previous, deadline);
        }
        let target = match self.heard_from(target) {
            Ok(target) => target,
            Err(mute) => {
                let reason =
                    format!("{mute} is alive but did not say whether {} runs there; nothing was started.", self.name);
                return self.end(Verdict::Blocked, reason, Some(mute), previous);
            }
        };
        let strays = self.strays(&target);
        let in_place = self.fares.get(&target) == Some(&Fare::Well);
        if self.only_looks() {
            return self.plan(target, &strays, in_place, previous);
        }
        if in_place && strays.is_empty() {
            return self.in_place(&target);
        }
        // A node that said nothing has used up all the time; its stop, and that of the others, has
        // its own.
        let mute = self.fares.values().any(|fare| *fare == Fare::Unknown);
        let deadline = if mute { Deadline::after(self.service.timeout) } else { deadline };
        if let Err(reason) = self.stop_on(&strays, in_place, &target, deadline) {
            // What is still to be stopped is looked for at the next check, and not only when the next
            // sweep is due.
            self.record.swept = None;
            return self.end(Verdict::Blocked, reason, Some(target), previous);
        }
        // It may have seemed to die only now.
        if let Some(doubt) = self.doubt() {
            self.record.swept = None;
            return self.end(Verdict::Unknown, doubt, Some(target), previous);
        }
        if in_place {
            self.remember(&target);
            let reason = format!("{} runs on {target}, and was stopped elsewhere.", self.name);
            return self.end(Verdict::StoppedElsewhere, reason, Some(target), previous);
        }
        self.start_on_first(target, previous)
    }

    /// Looks at the nodes of the chain whose answer was not waited for.
    fn see_the_rest(&mut self) {
        if self.order.view.is_some() {
            return;
        }
        let missing = self.chain.iter().filter(|node| !self.seen.contains_key(*node));
        let nodes: Vec<_> = missing.filter_map(|name| self.order.config.nodes.get_key_value(name)).collect();
        if nodes.is_empty() {
            return;
        }
        let began = Moment::now();
        if let Ok(rest) = view::take(&nodes, &[], self.remote, view::everybody, |_, _| false) {
            let seen = rest.seen();
            self.ages.add(&seen, began);
            self.seen.extend(seen);
        }
    }

    /// Asks all living nodes for the service, and meanwhile what they think of the one that is dead.
    fn survey(&mut self, deadline: Deadline) {
        let on = self.record.on.as_ref().map(|(on, _)| on);
        let careful = on.map(|on| (on, self.health(on)));
        let unasked = |node: &&Name| self.seen.get(*node) == Some(&State::Alive) && !self.fares.contains_key(*node);
        let places: Vec<Place<'_>> = self.chain.iter().filter(unasked).filter_map(|node| self.place(node)).collect();
        let (suspect, pauses) = (self.suspect(), self.pauses);
        let (fares, opinion) = std::thread::scope(|scope| {
            let opinion = suspect.map(|(of, others)| scope.spawn(move || Opinion::ask(of, &others, deadline)));
            scope.spawn(|| pauses.get());
            let fares = survey::ask_all(&places, careful, deadline, self.order);
            (fares, opinion.and_then(|opinion| opinion.join().ok()))
        });
        self.opinion = opinion;
        for (node, fare) in fares {
            self.note(&node, fare);
        }
    }

    pub(super) fn note(&mut self, node: &Name, fare: Fare) {
        if fare == Fare::Died {
            self.seen.insert(node.clone(), State::Dead);
        }
        self.fares.insert(node.clone(), fare);
    }

    pub(super) fn plan(
        &mut self,
        target: Name,
        strays: &BTreeSet<Name>,
        in_place: bool,
        previous: Option<Name>,
    ) -> Promotion {
        let stops = strays.iter().map(|node| (node, Act::Stop));
        let acts: Vec<_> = stops.chain((!in_place).then_some((&target, Act::Start))).collect();
        for (node, act) in acts {
            if let Some(place) = self.place(node) {
                self.steps.push(act::planned(&place, act, Outcome::Planned));
            }
        }
        let reason = match (in_place, strays.is_empty()) {
            (true, true) => {
                format!("{} runs on {target} and on no other living node; there is nothing to do.", self.name)
            }
            (true, false) => format!("{} would be stopped on {}.", self.name, list(strays.iter())),
            (false, true) => format!("{} would be started on {target}.", self.name),
            (false, false) => {
                format!("{} would be stopped on {} and started on {target}.", self.name, list(strays.iter()))
            }
        };
        self.end(Verdict::Planned, reason, Some(target), previous)
    }

    pub(super) fn in_place(&mut self, target: &Name) -> Promotion {
        self.remember(target);
        let reason = format!("{} runs on {target}.", self.name);
        self.end(Verdict::InPlace, reason, Some(target.clone()), Some(target.clone()))
    }

    pub(super) fn remember(&mut self, target: &Name) {
        if self.record.on.as_ref().is_none_or(|(on, _)| on != target) {
            self.record.on = Some((target.clone(), Moment::now()));
        }
    }

    fn forget_old_failures(&mut self) {
        let wait = match self.service.failback {
            Failback::Always => PASSED_OVER,
            Failback::Never => Duration::MAX,
            Failback::After(wait) => wait,
        };
        let now = self.now;
        self.record.passed_over.retain(|_, failed| failed.until(now) < wait);
    }

    pub(super) fn place(&self, node: &Name) -> Option<Place<'a>> {
        let (name, node) = self.order.config.nodes.get_key_value(node)?;
        Some(Place { remote: self.remote, title: self.name, service: self.service, name, node })
    }

    pub(super) fn health(&self, node: &Name) -> Option<&'a Probe> {
        self.service.health.as_ref()?.get(node)
    }

    pub(super) fn say(&self, step: &Step) {
        let words = step.detail.as_deref().or(step.cause.as_deref()).unwrap_or("");
        self.order.voice.step(format_args!("{}: {:?}: {:?} {words}", step.node, step.step, step.outcome));
    }

    pub(super) fn end(
        &mut self,
        verdict: Verdict,
        reason: String,
        target: Option<Name>,
        previous: Option<Name>,
    ) -> Promotion {
        let steps = std::mem::take(&mut self.steps);
        let lease = self.tenure.as_ref().map(Tenure::told);
        Promotion { service: self.name.clone(), verdict, reason, target, previous, fencing: None, steps, lease }
    }
}
