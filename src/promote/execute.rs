//! One service's way through a promotion: observe, plan, carry out the first action, plan anew.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver};

use super::memory;
use super::now::Now;
use super::observe::{self, Question};
use super::observed::{InstanceReport, Observed, PauseState, SecondOpinion, ServiceHealth};
use super::outcome::{PromoteVerdict, ServiceOutcome, Step, StepOutcome};
use super::plan::{self, Action, Plan, plan, quiet_plan};
use super::request::Goal;
use super::shared::Shared;
use super::steps;
use super::takeover::{Acquisition, PendingTakeover, Refusal, Takeover};
use crate::clock::{BootInstant, Deadline};
use crate::name::Name;
use crate::service::{Inhaled, Instance};
use crate::state::ServiceRecord;

mod report;

pub(super) use report::cooldowns;

/// More actions than this follow from no plan that comes to an end.
const MAX_ACTIONS: usize = 1000;

/// The answers of the nodes that were asked for one service, as they come.
pub(super) type Answers = Receiver<(Name, InstanceReport)>;

/// One service in the course of one promotion.
pub(super) struct Execution<'a> {
    goal: Goal<'a>,
    shared: &'a Shared<'a>,
    takeover: Option<Takeover<'a>>,
    observed: Observed,
    deadline: Deadline,
    /// What a target inhaled while the service still ran elsewhere, and which node that is.
    inhaled_ahead: Option<(Name, Inhaled)>,
    /// What the last start brought along, and to which node.
    inhaled: Option<(Name, Inhaled)>,
}

/// What ends a promotion in the middle of its plan.
struct BrokenOff(PromoteVerdict, String);

impl<'a> Execution<'a> {
    pub(super) fn new(goal: Goal<'a>, shared: &'a Shared<'a>, mut observed: Observed) -> Self {
        memory::begin(&goal, observed.record_mut(), BootInstant::now());
        let deadline = Deadline::after(goal.service().timeout);
        Self { goal, shared, takeover: None, observed, deadline, inhaled_ahead: None, inhaled: None }
    }

    /// What the nodes are asked first: the one that runs the service alone, where everything is as it
    /// was; else every living one.
    pub(super) fn first_questions(&self) -> (Vec<Question<'a>>, Answers) {
        let serving = self.quiet_node().cloned();
        let is_wanted = |node: &&Name| match &serving {
            Some(serving) => *node == serving,
            None => self.observed.is_alive(node),
        };
        self.questions(self.goal.chain().iter().filter(is_wanted).collect())
    }

    fn questions(&self, nodes: BTreeSet<&Name>) -> (Vec<Question<'a>>, Answers) {
        let (sender, answers) = mpsc::channel();
        let question = |node: &Name| {
            let is_serving = self.observed.running_on() == Some(node);
            let instance = self.instance(node)?;
            let patience = Deadline::after(instance.node.probe.patience());
            // A person who names the target can wait for every node.
            let is_dispensable = self.goal.service().lease.is_none()
                && self.goal.options().to.is_none()
                && self.observed.is_passed_over_if_silent(node);
            Some(Question {
                instance,
                health: self.goal.health_probe(node).filter(|_| is_serving),
                deadline: if is_dispensable { self.deadline.sooner(patience) } else { self.deadline },
                answer: sender.clone(),
            })
        };
        (nodes.into_iter().filter_map(question).collect(), answers)
    }

    /// The only node that has to be asked, where everything is as it was.
    fn quiet_node(&self) -> Option<&Name> {
        let due = observe::is_full_check_due(&self.goal, self.observed.record(), self.observed.nodes());
        let serving = self.observed.running_on().filter(|_| !due)?;
        (self.observed.is_alive(serving) && self.goal.chain().contains(serving)).then_some(serving)
    }

    /// To the end: what became of it, and what to remember. The answers are those to the first
    /// questions.
    pub(super) fn run(
        mut self,
        answers: Answers,
        takeover: Option<PendingTakeover<'_, 'a>>,
    ) -> (ServiceOutcome, ServiceRecord) {
        self.takeover = takeover.and_then(PendingTakeover::join);
        self.observed.set_lease(self.takeover.as_ref().map(Takeover::facts));
        let plan = match self.check_quietly(&answers) {
            Some(plan) => plan,
            None => {
                self.observe_in_full(answers);
                self.carry_out()
            }
        };
        self.finish(plan)
    }

    fn check_quietly(&mut self, answers: &Answers) -> Option<Plan> {
        let serving = self.quiet_node()?.clone();
        let due = self.takeover.as_ref().is_some_and(Takeover::is_read_due);
        let answer = self.beside_register(due, |_| answers.recv().ok());
        let report = answer.map_or_else(|| InstanceReport::new(ServiceHealth::Unknown), |(_, report)| report);
        if report.health == ServiceHealth::Unknown {
            // It used up all the time; the other nodes get their own.
            self.deadline = Deadline::after(self.goal.service().timeout);
        }
        self.observed.add_instance(&serving, report);
        quiet_plan(&self.goal, &self.observed, Now::take())
    }

    /// Does something, and reads the register meanwhile where that is due.
    fn beside_register<T>(&mut self, due: bool, act: impl FnOnce(&mut Self) -> T) -> T {
        let mut takeover = self.takeover.take();
        let done = std::thread::scope(|scope| {
            if let Some(takeover) = takeover.as_mut().filter(|_| due) {
                scope.spawn(|| takeover.read());
            }
            act(self)
        });
        self.takeover = takeover;
        self.observed.set_lease(self.takeover.as_ref().map(Takeover::facts));
        done
    }

    /// Asks every living node that was not asked yet, reads the register, and asks whether the service
    /// is paused.
    fn observe_in_full(&mut self, answers: Answers) {
        let began = BootInstant::now();
        if let Some(rest) = observe::look_at_rest(&self.goal, self.shared.remote(), self.observed.nodes()) {
            let uptimes = self.shared.uptime().add(&rest, began);
            self.observed.add_nodes(rest, uptimes);
        }
        self.beside_register(true, |execution| execution.ask_rest(answers));
        let pause = match self.shared.pauses() {
            Ok(pauses) => {
                let by_hand = self.goal.options().to.is_some();
                PauseState::Known(pauses.that_stops(self.goal.name(), by_hand).cloned())
            }
            Err(error) => PauseState::Unknown(error.to_string()),
        };
        self.observed.set_pause(pause);
        memory::full_check(&self.goal, &mut self.observed, began);
    }

    /// Looks once more at the nodes, the register and the service: others may have acted meanwhile.
    fn look_again(&mut self) {
        let began = BootInstant::now();
        let seen = observe::look_at_all(&self.goal, self.shared.remote()).unwrap_or_default();
        let uptimes = self.shared.uptime().add(&seen, began);
        self.observed.look_again(seen, uptimes);
        self.deadline = Deadline::after(self.goal.service().timeout);
        if let Some(takeover) = &mut self.takeover {
            takeover.read_anew();
        }
        let (_, nothing) = mpsc::channel();
        self.beside_register(false, |execution| execution.ask_rest(nothing));
    }

    fn ask_rest(&mut self, answers: Answers) {
        let suspect = plan::suspect(&self.goal, &self.observed).cloned();
        let others = suspect.as_ref().map(|_| self.living_others()).unwrap_or_default();
        let (shared, deadline) = (self.shared, self.deadline);
        let opinion = std::thread::scope(|scope| {
            let opinion = suspect.map(|of| scope.spawn(move || observe::ask_second_opinion(&of, &others, deadline)));
            scope.spawn(|| shared.pauses().is_ok());
            for (node, report) in answers {
                self.observed.add_instance(&node, report);
            }
            let living = self.goal.chain().iter().filter(|node| self.observed.is_alive(node));
            let unasked = living.chain(self.goal.former()).filter(|node| self.observed.health(node).is_none());
            let (questions, answers) = self.questions(unasked.collect());
            observe::ask_services(scope, questions, self.goal.request().output_mode);
            for (node, report) in answers {
                self.observed.add_instance(&node, report);
            }
            opinion.and_then(|opinion| opinion.join().ok())
        });
        if let Some(opinion) = opinion {
            self.observed.set_second_opinion(opinion);
        }
    }

    /// Plans and acts until nothing is left to do; the last plan tells what became of it.
    fn carry_out(&mut self) -> Plan {
        let mut plan = plan(&self.goal, &self.observed, Now::take());
        for _ in 0..MAX_ACTIONS {
            let only_looks = self.goal.options().dry_run || self.observed.paused().is_some();
            let next = plan.actions.first().filter(|action| !only_looks || action.only_observes());
            let Some(action) = next.cloned() else { return plan };
            if !action.binds_to_nothing() {
                self.observed.commit(plan.target.as_ref(), plan.previous.as_ref());
            }
            if let Err(BrokenOff(verdict, reason)) = self.act(&action) {
                return Plan { actions: Vec::new(), verdict, reason, ..plan };
            }
            plan = self::plan(&self.goal, &self.observed, Now::take());
        }
        let reason = format!("The promotion of {} did not come to an end.", self.goal.name());
        Plan { actions: Vec::new(), verdict: PromoteVerdict::Unknown, reason, ..plan }
    }

    fn act(&mut self, action: &Action) -> Result<(), BrokenOff> {
        match action {
            Action::LookAgain => self.look_again(),
            Action::AskSecondOpinion(of) => {
                let opinion = self.ask_second_opinion(of);
                self.observed.set_second_opinion(opinion);
            }
            Action::WaitForClaim { rival } => self.wait_for_claim(rival),
            Action::Inhale(target) => self.inhale(target),
            Action::Stop(nodes) => self.stop(nodes),
            Action::Acquire { target, why, running, possible, overrules } => {
                if *overrules {
                    self.observed.record_mut().contention.overruled = Some(BootInstant::now());
                }
                let dead = self.observed.nodes().keys().filter(|node| self.observed.is_dead(node)).cloned().collect();
                self.acquire(&Acquisition { target, why, running, possible, dead })?;
            }
            Action::Start(target) => self.start(target)?,
        }
        Ok(())
    }

    fn ask_second_opinion(&self, of: &Name) -> SecondOpinion {
        observe::ask_second_opinion(of, &self.living_others(), Deadline::after(self.goal.service().timeout))
    }

    /// That the claim was granted is remembered: the next check finds nothing else that tells.
    fn wait_for_claim(&mut self, rival: &Name) {
        let Some(takeover) = &mut self.takeover else { return };
        let changed = takeover.wait_for_claim();
        self.observed.set_lease(Some(takeover.facts()));
        let Some(now) = changed else { return };
        let granted = self.observed.lease_record().filter(|record| record.by == rival.as_str());
        let granted = granted.filter(|record| record.granted_to().is_some()).map(|record| record.epoch);
        let contention = &mut self.observed.record_mut().contention;
        contention.granted_by_dead = granted.or(contention.granted_by_dead);
        let reason = format!("{rival}, dead as seen from here, had claimed the lease; now: {now}.");
        self.observed.set_changed_claim(reason);
    }

    /// Whatever comes of it: the start inhales anew.
    fn inhale(&mut self, target: &Name) {
        self.observed.set_inhaled(target);
        let Some(instance) = self.instance(target) else { return };
        let service = self.goal.service();
        let deadline = Deadline::after(service.inhale.unwrap_or_default() + instance.node.probe.patience());
        self.inhaled_ahead = instance.inhale(deadline).map(|inhaled| (target.clone(), inhaled));
        // The stop gets a time of its own.
        self.deadline = Deadline::after(service.timeout);
    }

    fn stop(&mut self, nodes: &BTreeSet<Name>) {
        let instances: Vec<Instance<'_>> = nodes.iter().filter_map(|node| self.instance(node)).collect();
        // A node that said nothing used up all the time, and so did a start: the stops get their own.
        let is_spent =
            !self.observed.steps().is_empty() || !self.observed.nodes_with(&[ServiceHealth::Unknown]).is_empty();
        let deadline = if is_spent { Deadline::after(self.goal.service().timeout) } else { self.deadline };
        for step in steps::stop_all(&instances, deadline) {
            self.add_step(step);
        }
    }

    fn acquire(&mut self, wanted: &Acquisition<'_>) -> Result<(), BrokenOff> {
        let Some(takeover) = &mut self.takeover else { return Ok(()) };
        let (steps, acquired) = takeover.acquire(wanted);
        self.observed.set_lease(Some(takeover.facts()));
        for step in steps {
            self.observed.add_step(step);
        }
        let name = self.goal.name();
        acquired.map_err(|refusal| match refusal {
            Refusal::Unknown(why) => BrokenOff(PromoteVerdict::Unknown, format!("{why} Nothing was started.")),
            Refusal::Running(node) => BrokenOff(
                PromoteVerdict::Blocked,
                format!("{name} still runs on {node}, though its lease has ended; nothing was started."),
            ),
        })?;
        // What did not confirm has stopped by itself: that is what was waited for.
        for node in wanted.running {
            if self.observed.unconfirmed_stop(node).is_some() {
                self.observed.add_instance(node, InstanceReport::new(ServiceHealth::Stopped));
            }
        }
        Ok(())
    }

    fn start(&mut self, target: &Name) -> Result<(), BrokenOff> {
        let Some(instance) = self.instance(target) else {
            return Err(BrokenOff(PromoteVerdict::Unknown, format!("{target} is not in the node list.")));
        };
        memory::starting(&self.goal, &mut self.observed, target, BootInstant::now());
        let service = self.goal.service();
        let deadline = Deadline::after(service.timeout + service.inhale.unwrap_or_default());
        let (step, inhaled) = steps::start(&instance, self.goal.health_probe(target), deadline);
        let ahead = self.inhaled_ahead.take().filter(|(node, _)| node == target).map(|(_, ahead)| ahead);
        self.inhaled = inhaled.map(|inhaled| match ahead {
            Some(ahead) => (target.clone(), inhaled.after(ahead)),
            None => (target.clone(), inhaled),
        });
        memory::started(&self.goal, self.observed.record_mut(), &step, BootInstant::now());
        self.add_step(step);
        Ok(())
    }

    fn add_step(&mut self, step: Step) {
        let words = if step.outcome == StepOutcome::Confirmed { "" } else { step.why() };
        let output_mode = self.goal.request().output_mode;
        output_mode.step(format_args!("{}: {:?}: {:?} {words}", step.node, step.step, step.outcome));
        self.observed.add_step(step);
    }

    fn living_others(&self) -> Vec<Instance<'a>> {
        let living = self.observed.nodes().keys().filter(|node| self.observed.is_alive(node));
        let others = living.filter(|node| Some(*node) != self.goal.local_node());
        others.filter_map(|node| self.instance(node)).collect()
    }

    fn instance(&self, node: &Name) -> Option<Instance<'a>> {
        self.goal.instance(self.shared.remote(), node)
    }

    /// What is reported, and what to remember.
    fn finish(mut self, plan: Plan) -> (ServiceOutcome, ServiceRecord) {
        let outage = memory::finish(&self.goal, &mut self.observed, &plan, BootInstant::now());
        let lease = self.takeover.as_ref().map(Takeover::report);
        let (outcome, record) = report::outcome(&self.goal, self.observed, plan, (lease, outage));
        (report::with_inhaled(outcome, self.inhaled), record)
    }
}
