//! One service's way through a promotion: find it, decide, stop, start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::opinion::Opinion;
use super::survey::{self, Fare};
use super::tenure::Tenure;
use super::{Act, Fencing, Order, Outcome, PausesOnDemand, Promotion, Step, Verdict, act, list};
use crate::chain::{Chain, Name};
use crate::config::{Failback, Probe, Service};
use crate::deadline::Deadline;
use crate::decide::{self, Leader, Seen, Standing, State};
use crate::pause::Paused;
use crate::remote::Remote;
use crate::service::{DIED, Place};
use crate::state::{Record, Tick};
use crate::view::{self, View};

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
    pub(super) alive_for: &'a BTreeMap<Name, Duration>,
    pub(super) now: Tick,
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
        view: &View,
        alive_for: &'a BTreeMap<Name, Duration>,
        now: Tick,
    ) -> Self {
        let chain = order.config.chains.get(&service.chain).cloned().unwrap_or_default();
        let seen = view.seen();
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
            alive_for,
            now,
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
        self.paused = self.pauses.get().of(self.name).cloned();
        if !self.order.dry_run {
            self.record.swept = Some(Tick::now());
        }
        let previous = self.previous();
        if let Some(reason) = self.lease_in_doubt() {
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

    /// Starts it on the target; where that fails, on the next node of the chain, and so on.
    pub(super) fn start_on_first(&mut self, mut target: Name, previous: Option<Name>) -> Promotion {
        loop {
            let deadline = Deadline::after(self.service.timeout);
            let Some(place) = self.place(&target) else {
                return self.end(Verdict::Unknown, format!("{target} is not in the node list."), None, previous);
            };
            let step = act::start(&place, self.health(&target), deadline);
            self.say(&step);
            let (outcome, died) = (step.outcome, step.cause.as_deref() == Some(DIED));
            self.steps.push(step);
            if outcome == Outcome::Confirmed {
                return self.started(target, previous);
            }
            self.record.passed_over.insert(target.clone(), Tick::now());
            if self.record.on.as_ref().is_some_and(|(on, _)| *on == target) {
                self.record.on = None;
            }
            if died {
                self.note(&target, Fare::Died);
            }
            let failed: BTreeSet<Name> = (!died).then(|| target.clone()).into_iter().collect();
            let tried: BTreeSet<&Name> =
                self.steps.iter().filter(|s| s.step == Act::Start).map(|step| &step.node).collect();
            let mute = |node: &Name| self.tenure.is_some() && self.fares.get(node) == Some(&Fare::Unknown);
            let untried = |node: &&Name| self.seen.get(*node) == Some(&State::Alive) && !tried.contains(node);
            let next = self.chain.iter().filter(untried).find(|node| !mute(node)).cloned();
            if let Some(next) = next.clone().filter(|_| self.tenure.is_some()) {
                if let Err((verdict, reason)) = self.get_lease(&next, &failed, &BTreeSet::new()) {
                    return self.end(verdict, reason, Some(next), previous);
                }
            } else if let Err(reason) = self.stop_on(&failed, false, &target, Deadline::after(self.service.timeout)) {
                return self.end(Verdict::Blocked, reason, Some(target), previous);
            }
            match next {
                Some(next) => target = next,
                None => {
                    let starts = self.steps.iter().filter(|s| s.step == Act::Start);
                    let tried: BTreeSet<&Name> = starts.map(|step| &step.node).collect();
                    let reason = format!("{} could not be started on {}.", self.name, list(tried.into_iter()));
                    return self.end(Verdict::Failed, reason, Some(target), previous);
                }
            }
        }
    }

    fn started(&mut self, target: Name, previous: Option<Name>) -> Promotion {
        self.record.passed_over.remove(&target);
        self.record.on = None;
        self.remember(&target);
        let fencing = self.fencing(&target, previous.as_ref());
        let moved = previous.as_ref().filter(|previous| **previous != target);
        let (verdict, reason) = match moved {
            Some(previous) => (Verdict::Moved, format!("{} now runs on {target}; before, on {previous}.", self.name)),
            None => (Verdict::Started, format!("{} now runs on {target}.", self.name)),
        };
        let (verdict, reason) = match self.order.to.filter(|to| **to != target) {
            Some(to) => {
                (Verdict::Failed, format!("{} could not be started on {to}, and now runs on {target}.", self.name))
            }
            None => (verdict, reason),
        };
        let mut promotion = self.end(verdict, reason, Some(target), previous);
        promotion.fencing = Some(fencing);
        promotion
    }

    /// Confirmed when the node it ran on said that it is stopped; when that is not known, when all
    /// nodes of the chain said so.
    fn fencing(&self, target: &Name, previous: Option<&Name>) -> Fencing {
        if self.tenure.is_some() {
            return Fencing::Lease;
        }
        let said_stopped = |node: &Name| self.fares.get(node) == Some(&Fare::Stopped) || node == target;
        let living = || self.chain.iter().filter(|node| self.seen.get(*node) == Some(&State::Alive));
        let confirmed = match previous {
            Some(previous) => said_stopped(previous) && living().all(said_stopped),
            None => self.chain.iter().all(said_stopped),
        };
        if confirmed { Fencing::Confirmed } else { Fencing::None }
    }

    /// Stops it on these nodes, and notes what they said. `Err` tells which living node did not
    /// confirm.
    pub(super) fn stop_on(
        &mut self,
        nodes: &BTreeSet<Name>,
        in_place: bool,
        target: &Name,
        deadline: Deadline,
    ) -> Result<(), String> {
        let places: Vec<Place<'_>> = nodes.iter().filter_map(|node| self.place(node)).collect();
        let steps = act::stop_all(&places, deadline);
        let mut unconfirmed = Vec::new();
        for step in steps {
            self.say(&step);
            match step.outcome {
                Outcome::Confirmed => self.note(&step.node, Fare::Stopped),
                _ if step.cause.as_deref() == Some(DIED) => self.note(&step.node, Fare::Died),
                _ => {
                    let why = step.detail.as_deref().or(step.cause.as_deref()).unwrap_or("no answer");
                    unconfirmed.push(format!("{} ({why})", step.node));
                }
            }
            self.steps.push(step);
        }
        if unconfirmed.is_empty() {
            return Ok(());
        }
        let what = if in_place { format!("it runs on {target}") } else { "nothing was started".to_owned() };
        let who = unconfirmed.join(", ");
        Err(format!("{who} is alive but did not confirm that {} is stopped there; {what}.", self.name))
    }

    /// The target: the one that was named, or the one that the chain gives.
    fn chosen(&mut self) -> Result<Name, (Verdict, String)> {
        if let Some(to) = self.order.to {
            return match self.seen.get(to) {
                Some(State::Alive) => Ok(to.clone()),
                Some(State::Dead) => Err((Verdict::Refused, format!("{to} is dead; name a living node."))),
                Some(State::Unknown) | None => Err((Verdict::Unknown, format!("Whether {to} lives is unknown."))),
            };
        }
        // What a brain left unfinished as it died is finished, as long as it can be.
        if let Some(holder) = self.tenure.as_ref().and_then(Tenure::unfinished)
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

    fn target(&self) -> Leader<'_> {
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
            alive_for: self.alive_for.clone(),
            passed_over: self.record.passed_over.keys().chain(self.silent()).cloned().collect(),
        };
        decide::target(&self.chain, &self.seen, self.service.failback, &standing)
    }

    /// Where it runs or, as far as a living node will say, might run, but ought not to. The target
    /// is among them when it has to be restarted.
    fn strays(&self, target: &Name) -> BTreeSet<Name> {
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
    fn heard_from(&self, target: Name) -> Result<Name, Name> {
        if self.fares.get(&target) != Some(&Fare::Unknown) {
            return Ok(target);
        }
        let well = |node: &&Name| self.fares.get(*node) == Some(&Fare::Well);
        self.chain.iter().find(well).cloned().ok_or(target)
    }

    /// The node that ran it: where it runs now, else where it was last seen.
    fn previous(&self) -> Option<Name> {
        let remembered = self.record.on.as_ref().map(|(on, _)| on);
        let runs = |node: &&Name| matches!(self.fares.get(*node), Some(Fare::Well | Fare::Unwell));
        let remembered = self.tenure.as_ref().and_then(Tenure::last_holder).or(remembered);
        remembered.filter(runs).or_else(|| self.chain.iter().find(runs)).or(remembered).cloned()
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
        if let Ok(rest) = view::take(&nodes, &[], self.remote, view::everybody, |_, _| false) {
            self.seen.extend(rest.seen());
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
            self.record.on = Some((target.clone(), Tick::now()));
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

    fn health(&self, node: &Name) -> Option<&'a Probe> {
        self.service.health.as_ref()?.get(node)
    }

    fn say(&self, step: &Step) {
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
