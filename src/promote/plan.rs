//! What to do about one service: a pure function of what was seen and the time.
//!
//! The plan is a list of actions and, where there are none, the verdict. The first action is carried
//! out, what it showed is added to what was seen, and it is planned anew: so a failed start and a node
//! that falls meanwhile need no special way.

use std::collections::BTreeSet;

use super::now::Now;
use super::observed::{Observed, PauseState, ServiceHealth};
use super::outcome::{Fencing, PromoteVerdict};
use super::request::Goal;
use crate::leader::Leader;
use crate::name::{Name, list};

mod lease;
mod silent;
mod target;

pub(super) use silent::passed_over_sentences;

/// What to do, and what to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// What to do, in this order; nothing when it is all done, or nothing can be done.
    pub actions: Vec<Action>,
    /// The outcome; `planned` while there is something to do.
    pub verdict: PromoteVerdict,
    /// The same as a sentence for people.
    pub reason: String,
    /// The node where the service belongs.
    pub target: Option<Name>,
    /// The node that ran it before.
    pub previous: Option<Name>,
    /// What makes sure that the old instance is stopped, where one was started.
    pub fencing: Option<Fencing>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Look once more at the nodes, and where the service runs: some have just come back.
    LookAgain,
    /// Ask other nodes about one that ran the service and is dead as seen from here.
    AskSecondOpinion(Name),
    /// Give a brain that is dead as seen from here the time to grant what it claimed.
    WaitForClaim {
        /// The brain.
        rival: Name,
    },
    /// Have the node to which a running service goes inhale first, so that the one before its start is short.
    Inhale(Name),
    /// Stop the service on these nodes, all at once.
    Stop(BTreeSet<Name>),
    /// Get the lease for a node, and stop the service everywhere else meanwhile.
    Acquire {
        /// The node.
        target: Name,
        /// Why, for the lease's history.
        why: String,
        /// The nodes that said that it runs there.
        running: BTreeSet<Name>,
        /// The nodes where it may run without regard to the lease.
        possible: BTreeSet<Name>,
        /// Whether a brain that seems to be at work is overruled.
        overrules: bool,
    },
    /// Start it.
    Start(Name),
}

impl Action {
    /// Whether it only adds to what was seen.
    pub(super) fn only_observes(&self) -> bool {
        matches!(self, Self::LookAgain | Self::AskSecondOpinion(_))
    }

    /// Whether it leaves everything open: what is decided may still be decided otherwise.
    pub(super) fn binds_to_nothing(&self) -> bool {
        self.only_observes() || matches!(self, Self::Inhale(_))
    }
}

/// Plans for one service.
pub(super) fn plan(goal: &Goal<'_>, observed: &Observed, now: Now) -> Plan {
    Planner { goal, observed, now }.plan()
}

/// The plan of a quiet check, in which only the node that ran the service was asked: that it runs there
/// and belongs there. None where more has to be known.
pub(super) fn quiet_plan(goal: &Goal<'_>, observed: &Observed, now: Now) -> Option<Plan> {
    let planner = Planner { goal, observed, now };
    let serving = observed.running_on()?;
    let holds = !observed.is_leased() || observed.lease_error().is_none() && observed.holder() == Some(serving);
    let belongs = || matches!(planner.by_chain(), Leader::Known(target) if target == serving);
    (holds && observed.is_healthy(serving) && belongs()).then(|| planner.in_place(serving.clone()))
}

/// The node whose second opinion is wanted: it may run the service, and seems to be dead.
pub(super) fn suspect<'o>(goal: &Goal<'_>, observed: &'o Observed) -> Option<&'o Name> {
    let suspect = observed.last_holder().or(observed.running_on())?;
    // By hand a lease is taken over all the same: that is safe, and the operator's choice.
    let by_hand = observed.is_leased() && goal.options().to.is_some();
    (goal.config().second_opinion && !by_hand && observed.is_dead(suspect)).then_some(suspect)
}

struct Planner<'p> {
    goal: &'p Goal<'p>,
    observed: &'p Observed,
    now: Now,
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        let (observed, name) = (self.observed, self.goal.name());
        if let Some(reason) = observed.changed_claim() {
            return self.end(PromoteVerdict::Unknown, reason.to_owned(), observed.committed_target().cloned());
        }
        if let Some(reason) = self.lease_unknown() {
            return self.end(PromoteVerdict::Unknown, reason, None);
        }
        if let PauseState::Unknown(why) = observed.pause() {
            let reason = format!("Whether {name} is paused is unknown: {why}; nothing was touched.");
            return self.end(PromoteVerdict::Unknown, reason, None);
        }
        // Once the service was started elsewhere, there is nothing left to ask.
        if let Some(suspect) = suspect(self.goal, observed).filter(|_| observed.started_on().is_none()) {
            match observed.second_opinion().filter(|opinion| opinion.of == *suspect) {
                None => {
                    let target = observed.committed_target().cloned();
                    return self.act(vec![Action::AskSecondOpinion(suspect.clone())], String::new(), target);
                }
                Some(opinion) if opinion.alive_for.is_none() => {}
                Some(opinion) => {
                    let reason = format!(
                        "{name} ran on {suspect}, which is dead as seen from here but alive as seen from {}.",
                        list(&opinion.alive_for)
                    );
                    return self.end(PromoteVerdict::Unknown, reason, observed.committed_target().cloned());
                }
            }
        }
        let plan = match self.target() {
            Err((verdict, reason)) => self.without_target(verdict, reason),
            Ok(target) if observed.is_leased() => self.under_lease(target),
            Ok(target) => self.without_lease(target),
        };
        // After a cut has healed, others may have acted on their side of it.
        let has_come_back = observed.has_come_back() && self.goal.request().view.is_none();
        if has_come_back && !plan.actions.is_empty() && observed.committed_target().is_none() {
            return Plan { actions: vec![Action::LookAgain], ..plan };
        }
        plan
    }

    fn without_lease(&self, target: Name) -> Plan {
        let target = match self.that_answers(target) {
            Ok(target) => target,
            Err(silent) => return self.silent_target(silent),
        };
        let strays: BTreeSet<Name> = self.strays(&target);
        let in_place = self.observed.is_healthy(&target);
        if let Some(reason) = self.former_place_unconfirmed().filter(|_| !in_place) {
            return self.end(PromoteVerdict::Blocked, reason, Some(target));
        }
        if let Some(reason) = self.unconfirmed(&strays, in_place.then_some(&target)) {
            return self.end(PromoteVerdict::Blocked, reason, Some(target));
        }
        self.stop_and_start(target, strays, in_place)
    }

    /// Where it runs or, as far as a living node will say, might run, but does not belong. The target
    /// is among them when the service has to be restarted there.
    fn strays(&self, target: &Name) -> BTreeSet<Name> {
        let is_stray = |(node, health): &(&Name, ServiceHealth)| match health {
            ServiceHealth::Healthy => *node != target,
            ServiceHealth::Unknown => *node != target && !self.is_passed_over(node) && !self.goal.is_former(node),
            ServiceHealth::Unhealthy => true,
            ServiceHealth::Stopped | ServiceHealth::NodeDied => false,
        };
        self.observed.instances().filter(is_stray).map(|(node, _)| node.clone()).collect()
    }

    /// The target, if it said whether the service runs there; else the node on which it runs well. A
    /// node that says nothing cannot be trusted to start anything either, nor to have stopped it:
    /// that node is the error.
    fn that_answers(&self, target: Name) -> Result<Name, Name> {
        if !self.observed.is_silent(&target) {
            return Ok(target);
        }
        self.goal.chain().iter().find(|node| self.observed.is_healthy(node)).cloned().ok_or(target)
    }

    fn stop_and_start(&self, target: Name, strays: BTreeSet<Name>, in_place: bool) -> Plan {
        if in_place && strays.is_empty() {
            return self.settled(target);
        }
        let reason = self.planned(&target, &strays, in_place);
        let inhale = self.inhale_ahead(&target);
        let stop = (!strays.is_empty()).then_some(Action::Stop(strays));
        let start = (!in_place).then(|| Action::Start(target.clone()));
        self.act(inhale.into_iter().chain(stop).chain(start).collect(), reason, Some(target))
    }

    /// While the service still runs well elsewhere, time costs nothing.
    fn inhale_ahead(&self, target: &Name) -> Option<Action> {
        let is_served = !self.observed.nodes_with(&[ServiceHealth::Healthy]).is_empty();
        let is_wanted = is_served
            && self.goal.service().inhale.is_some()
            && !self.observed.is_healthy(target)
            && !self.observed.has_inhaled(target);
        is_wanted.then(|| Action::Inhale(target.clone()))
    }

    fn planned(&self, target: &Name, strays: &BTreeSet<Name>, in_place: bool) -> String {
        let name = self.goal.name();
        match (in_place, strays.is_empty()) {
            (true, true) => format!("{name} runs on {target} and on no other living node; there is nothing to do."),
            (true, false) => format!("{name} would be stopped on {}.", list(strays)),
            (false, true) => format!("{name} would be started on {target}."),
            (false, false) => format!("{name} would be stopped on {} and started on {target}.", list(strays)),
        }
    }

    /// Nothing can be started. What a failed start may have left running is stopped first.
    fn without_target(&self, verdict: PromoteVerdict, reason: String) -> Plan {
        let target = self.observed.committed_target().cloned();
        let half_started = |node: &&Name| self.observed.health(node) == Some(ServiceHealth::Unhealthy);
        let leftovers: BTreeSet<Name> =
            self.observed.failed_starts().into_iter().filter(half_started).cloned().collect();
        if let Some(reason) = self.unconfirmed(&leftovers, None) {
            return self.end(PromoteVerdict::Blocked, reason, target);
        }
        if leftovers.is_empty() {
            return self.end(verdict, reason, target);
        }
        self.act(vec![Action::Stop(leftovers)], reason, target)
    }

    /// Why nothing goes on: these nodes were told to stop it, and some did not confirm.
    fn unconfirmed(&self, nodes: &BTreeSet<Name>, in_place: Option<&Name>) -> Option<String> {
        let unconfirmed = nodes.iter().filter_map(|node| self.observed.unconfirmed_stop(node));
        let named: Vec<String> = unconfirmed.map(|step| format!("{} ({})", step.node, step.why())).collect();
        let rest = in_place.map_or_else(|| "nothing was started".to_owned(), |target| format!("it runs on {target}"));
        let (who, name) = (named.join(", "), self.goal.name());
        (!named.is_empty()).then(|| format!("{who} is alive but did not confirm that {name} is stopped there; {rest}."))
    }

    /// It runs where it belongs, and nowhere else.
    fn settled(&self, target: Name) -> Plan {
        let (name, observed) = (self.goal.name(), self.observed);
        if observed.started_on() == Some(&target) {
            return self.started(target);
        }
        if observed.has_stopped_elsewhere(&target) {
            let reason = format!("{name} runs on {target}, and was stopped elsewhere.");
            return self.end(PromoteVerdict::StoppedElsewhere, reason, Some(target));
        }
        if self.only_looks() {
            let reason = self.planned(&target, &BTreeSet::new(), true);
            return self.end(PromoteVerdict::Planned, reason, Some(target));
        }
        self.in_place(target)
    }

    fn in_place(&self, target: Name) -> Plan {
        let reason = format!("{} runs on {target}.", self.goal.name());
        let previous = Some(target.clone());
        Plan { previous, ..self.end(PromoteVerdict::InPlace, reason, Some(target)) }
    }

    fn started(&self, target: Name) -> Plan {
        let (name, previous) = (self.goal.name(), self.previous());
        let (verdict, reason) = match (self.goal.options().to, previous) {
            (Some(to), _) if *to != target => {
                (PromoteVerdict::Failed, format!("{name} could not be started on {to}, and now runs on {target}."))
            }
            (_, Some(previous)) if *previous != target => {
                (PromoteVerdict::Moved, format!("{name} now runs on {target}; before, on {previous}."))
            }
            _ => (PromoteVerdict::Started, format!("{name} now runs on {target}.")),
        };
        let fencing = Some(self.fencing(&target, previous));
        Plan { fencing, ..self.end(verdict, reason, Some(target)) }
    }

    /// Confirmed when the node it ran on said that it is stopped; when that is not known, when all
    /// nodes of the chain said so.
    fn fencing(&self, target: &Name, previous: Option<&Name>) -> Fencing {
        let observed = self.observed;
        if observed.is_leased() {
            return Fencing::Lease;
        }
        let said_stopped = |node: &Name| observed.health(node) == Some(ServiceHealth::Stopped) || node == target;
        let mut living = self.goal.chain().iter().filter(|node| observed.is_alive(node));
        let confirmed = match previous {
            Some(previous) => said_stopped(previous) && living.all(said_stopped),
            None => self.goal.chain().iter().all(said_stopped),
        };
        if confirmed { Fencing::Confirmed } else { Fencing::None }
    }

    /// The node that ran it: where it runs now, else where it was last seen; as it was before anything
    /// was done.
    fn previous(&self) -> Option<&Name> {
        let observed = self.observed;
        if observed.committed_target().is_some() {
            return observed.committed_previous();
        }
        let runs =
            |node: &&Name| matches!(observed.health(node), Some(ServiceHealth::Healthy | ServiceHealth::Unhealthy));
        let remembered = observed.last_holder().or(observed.running_on());
        remembered.filter(runs).or_else(|| self.goal.chain().iter().find(runs)).or(remembered)
    }

    fn only_looks(&self) -> bool {
        self.goal.options().dry_run || self.observed.paused().is_some()
    }

    fn end(&self, verdict: PromoteVerdict, reason: String, target: Option<Name>) -> Plan {
        Plan { actions: Vec::new(), verdict, reason, target, previous: self.previous().cloned(), fencing: None }
    }

    fn act(&self, actions: Vec<Action>, reason: String, target: Option<Name>) -> Plan {
        Plan { actions, ..self.end(PromoteVerdict::Planned, reason, target) }
    }
}
