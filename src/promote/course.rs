//! One service's way through a promotion: find it, decide, stop, start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ages::Uptime;
use super::opinion::Opinion;
use super::survey::{self, ServiceHealth};
use super::tenure::Takeover;
use super::{Act, Outcome, PausesOnDemand, PromoteVerdict, Request, ServiceOutcome, Step, act, list};
use crate::boot_instant::BootInstant;
use crate::chain::{Chain, Name};
use crate::config::{Failback, Probe, Service};
use crate::deadline::Deadline;
use crate::decide::{Leader, NodeStates, State};
use crate::pause::Paused;
use crate::remote::Remote;
use crate::service::{Cause, Instance};
use crate::state::ServiceRecord;
use crate::view;

/// How long a node on which a start failed is passed over when `failback` is `"always"`: at once
/// would mean a try, and an outage, at every check.
const PASSED_OVER: Duration = Duration::from_secs(60);

pub(super) struct ServiceRun<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) remote: &'a Remote,
    pub(super) name: &'a Name,
    pub(super) service: &'a Service,
    pub(super) chain: Chain,
    pub(super) record: ServiceRecord,
    /// Its lease, where it is under one.
    pub(super) takeover: Option<Takeover<'a>>,
    pauses: &'a PausesOnDemand<'a>,
    /// The pause that holds for it, once that was asked: then nothing is touched.
    paused: Option<Paused>,
    pub(super) seen: NodeStates,
    pub(super) uptime: &'a Uptime<'a>,
    pub(super) now: BootInstant,
    /// How it fares where that was asked.
    pub(super) health_by_node: BTreeMap<Name, ServiceHealth>,
    /// Who reaches the node that may run it and that seems to be dead; none where nobody was asked.
    pub(super) opinion: Option<Opinion>,
    pub(super) steps: Vec<Step>,
}

impl<'a> ServiceRun<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        remote: &'a Remote,
        (name, service): (&'a Name, &'a Service),
        (record, takeover, pauses): (ServiceRecord, Option<Takeover<'a>>, &'a PausesOnDemand<'a>),
        seen: NodeStates,
        uptime: &'a Uptime<'a>,
    ) -> Self {
        let chain = request.config.chains.get(&service.chain).cloned().unwrap_or_default();
        Self {
            request,
            remote,
            name,
            service,
            chain,
            record,
            takeover,
            pauses,
            paused: None,
            seen,
            uptime,
            now: BootInstant::now(),
            health_by_node: BTreeMap::new(),
            opinion: None,
            steps: Vec::new(),
        }
    }

    /// To the end: what became of it, and what to remember.
    pub(super) fn run(mut self) -> (ServiceOutcome, ServiceRecord) {
        self.forget_old_failures();
        let deadline = Deadline::after(self.service.timeout);
        let sweeping = survey::due(&self.record, &self.seen, self.request);
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
            Some(paused) => promotion.while_paused(paused, self.request.dry_run),
            None => promotion,
        };
        (promotion, self.record)
    }

    /// Whether nothing is to be touched.
    pub(super) fn only_looks(&self) -> bool {
        self.request.dry_run || self.paused.is_some()
    }

    /// Everything as it was: one node is asked, and nothing is touched.
    fn quiet(&mut self, deadline: Deadline) -> Option<ServiceOutcome> {
        let (on, _) = self.record.on.clone()?;
        if self.seen.get(&on) != Some(&State::Alive) || self.place(&on).is_none() {
            return None;
        }
        let due = self.takeover.as_ref().is_some_and(Takeover::is_due);
        let service_health = self.beside_the_register(due, |service_run| {
            Some(survey::ask(&service_run.place(&on)?, service_run.health(&on), deadline, service_run.request))
        })?;
        self.note(&on, service_health);
        if self.takeover.as_ref().is_some_and(|takeover| takeover.doubt().is_some() || takeover.holder() != Some(&on)) {
            return None;
        }
        let Leader::Known(target) = self.target() else { return None };
        (service_health == ServiceHealth::Healthy && *target == on).then(|| self.in_place(&on))
    }

    /// Does something, and reads the register meanwhile where that is due.
    fn beside_the_register<T: Send>(&mut self, due: bool, act: impl FnOnce(&mut Self) -> T) -> T {
        let mut takeover = self.takeover.take();
        let done = std::thread::scope(|scope| {
            if let Some(takeover) = takeover.as_mut().filter(|_| due) {
                scope.spawn(|| takeover.read());
            }
            act(self)
        });
        self.takeover = takeover;
        done
    }

    /// All living nodes are asked, then it is decided and done.
    fn in_full(&mut self, deadline: Deadline) -> ServiceOutcome {
        self.see_the_rest();
        self.beside_the_register(true, |service_run| service_run.survey(deadline));
        let pauses = self.pauses.get().as_ref();
        self.paused = pauses.ok().and_then(|pauses| pauses.of(self.name)).cloned();
        if !self.request.dry_run {
            self.record.swept = Some(BootInstant::now());
        }
        let previous = self.previous();
        if let Some(reason) = self.lease_in_doubt() {
            self.record.swept = None;
            return self.end(PromoteVerdict::Unknown, reason, None, previous);
        }
        if let Err(doubt) = pauses {
            let reason = format!("Whether {} is paused is unknown: {doubt}; nothing was touched.", self.name);
            self.record.swept = None;
            return self.end(PromoteVerdict::Unknown, reason, None, previous);
        }
        if let Some(doubt) = self.doubt() {
            return self.end(PromoteVerdict::Unknown, doubt, None, previous);
        }
        let target = match self.chosen() {
            Ok(target) => target,
            Err((verdict, reason)) => return self.end(verdict, reason, None, previous),
        };
        if self.takeover.is_some() {
            return self.under_lease(target, previous, deadline);
        }
        let target = match self.heard_from(target) {
            Ok(target) => target,
            Err(mute) => {
                let reason =
                    format!("{mute} is alive but did not say whether {} runs there; nothing was started.", self.name);
                return self.end(PromoteVerdict::Blocked, reason, Some(mute), previous);
            }
        };
        let strays = self.strays(&target);
        let in_place = self.health_by_node.get(&target) == Some(&ServiceHealth::Healthy);
        if self.only_looks() {
            return self.plan(target, &strays, in_place, previous);
        }
        if in_place && strays.is_empty() {
            return self.in_place(&target);
        }
        // A node that said nothing has used up all the time; its stop, and that of the others, has
        // its own.
        let mute = self.health_by_node.values().any(|service_health| *service_health == ServiceHealth::Unknown);
        let deadline = if mute { Deadline::after(self.service.timeout) } else { deadline };
        if let Err(reason) = self.stop_on(&strays, in_place, &target, deadline) {
            // What is still to be stopped is looked for at the next check, and not only when the next
            // sweep is due.
            self.record.swept = None;
            return self.end(PromoteVerdict::Blocked, reason, Some(target), previous);
        }
        // It may have seemed to die only now.
        if let Some(doubt) = self.doubt() {
            self.record.swept = None;
            return self.end(PromoteVerdict::Unknown, doubt, Some(target), previous);
        }
        if in_place {
            self.remember(&target);
            let reason = format!("{} runs on {target}, and was stopped elsewhere.", self.name);
            return self.end(PromoteVerdict::StoppedElsewhere, reason, Some(target), previous);
        }
        self.start_on_first(target, previous)
    }

    /// Looks at the nodes of the chain whose answer was not waited for.
    fn see_the_rest(&mut self) {
        if self.request.view.is_some() {
            return;
        }
        let missing = self.chain.iter().filter(|node| !self.seen.contains_key(*node));
        let nodes: Vec<_> = missing.filter_map(|name| self.request.config.nodes.get_key_value(name)).collect();
        if nodes.is_empty() {
            return;
        }
        let began = BootInstant::now();
        if let Ok(rest) = view::take(&nodes, &[], self.remote, view::everybody, |_, _| false) {
            let seen = rest.seen();
            self.uptime.add(&seen, began);
            self.seen.extend(seen);
        }
    }

    /// Asks all living nodes for the service, and meanwhile what they think of the one that is dead.
    fn survey(&mut self, deadline: Deadline) {
        let on = self.record.on.as_ref().map(|(on, _)| on);
        let careful = on.map(|on| (on, self.health(on)));
        let unasked =
            |node: &&Name| self.seen.get(*node) == Some(&State::Alive) && !self.health_by_node.contains_key(*node);
        let places: Vec<Instance<'_>> = self.chain.iter().filter(unasked).filter_map(|node| self.place(node)).collect();
        let (suspect, pauses) = (self.suspect(), self.pauses);
        let (health_by_node, opinion) = std::thread::scope(|scope| {
            let opinion = suspect.map(|(of, others)| scope.spawn(move || Opinion::ask(of, &others, deadline)));
            scope.spawn(|| pauses.get());
            let health_by_node = survey::ask_all(&places, careful, deadline, self.request);
            (health_by_node, opinion.and_then(|opinion| opinion.join().ok()))
        });
        self.opinion = opinion;
        for (node, service_health) in health_by_node {
            self.note(&node, service_health);
        }
    }

    pub(super) fn note(&mut self, node: &Name, service_health: ServiceHealth) {
        if service_health == ServiceHealth::Died {
            self.seen.insert(node.clone(), State::Dead);
        }
        self.health_by_node.insert(node.clone(), service_health);
    }

    pub(super) fn plan(
        &mut self,
        target: Name,
        strays: &BTreeSet<Name>,
        in_place: bool,
        previous: Option<Name>,
    ) -> ServiceOutcome {
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
        self.end(PromoteVerdict::Planned, reason, Some(target), previous)
    }

    pub(super) fn in_place(&mut self, target: &Name) -> ServiceOutcome {
        self.remember(target);
        let reason = format!("{} runs on {target}.", self.name);
        self.end(PromoteVerdict::InPlace, reason, Some(target.clone()), Some(target.clone()))
    }

    pub(super) fn remember(&mut self, target: &Name) {
        if self.record.on.as_ref().is_none_or(|(on, _)| on != target) {
            self.record.on = Some((target.clone(), BootInstant::now()));
        }
    }

    fn forget_old_failures(&mut self) {
        let wait = match self.service.failback {
            Failback::Always => PASSED_OVER,
            Failback::Never => Duration::MAX,
            Failback::After(wait) => wait,
        };
        let now = self.now;
        self.record.cooldown.retain(|_, failed| failed.until(now) < wait);
    }

    pub(super) fn place(&self, node: &Name) -> Option<Instance<'a>> {
        let (name, node) = self.request.config.nodes.get_key_value(node)?;
        Some(Instance { remote: self.remote, title: self.name, service: self.service, name, node })
    }

    pub(super) fn health(&self, node: &Name) -> Option<&'a Probe> {
        self.service.health.as_ref()?.get(node)
    }

    pub(super) fn say(&self, step: &Step) {
        let words = step.detail.as_deref().or(step.cause.map(Cause::slug)).unwrap_or("");
        self.request.output_mode.step(format_args!("{}: {:?}: {:?} {words}", step.node, step.step, step.outcome));
    }

    pub(super) fn end(
        &mut self,
        verdict: PromoteVerdict,
        reason: String,
        target: Option<Name>,
        previous: Option<Name>,
    ) -> ServiceOutcome {
        let steps = std::mem::take(&mut self.steps);
        let lease = self.takeover.as_ref().map(Takeover::told);
        ServiceOutcome { service: self.name.clone(), verdict, reason, target, previous, fencing: None, steps, lease }
    }
}
