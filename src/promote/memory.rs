//! What a promotion remembers of a service for the next check.

use std::time::Duration;

use super::cooldown::{self, Rules};
use super::observed::{Observed, ServiceHealth};
use super::outcome::{PromoteVerdict, Step, StepOutcome};
use super::plan::Plan;
use super::request::Goal;
use crate::clock::BootInstant;
use crate::config::Config;
use crate::name::Name;
use crate::state::{MAX_PROMOTION, Placement, ServiceRecord};

/// After so many intervals of `cycle.check` without a check, another brain may have acted, and a node that was not
/// looked at counts as new.
const MAX_MISSED_CHECKS: u32 = 3;

/// The longest time from one check to the next in which nothing is forgotten.
pub(super) fn longest_gap(config: &Config) -> Duration {
    config.cycle.check * MAX_MISSED_CHECKS + config.probe_timeout
}

/// At the beginning: what was remembered too long ago is forgotten, and a person's wish ends a
/// cool-down.
pub(super) fn begin(goal: &Goal<'_>, record: &mut ServiceRecord, now: BootInstant) {
    let gap = longest_gap(goal.config()).max(MAX_PROMOTION);
    if record.checks.last.is_none_or(|last| last.until(now) > gap) {
        record.seen_stopped.clear();
        record.checks.last_well = None;
        adopt_handover(goal, record, now);
    }
    record.checks.last = Some(now);
    if let Some(to) = goal.options().to {
        cooldown::end_early(&mut record.failures, to, now);
    }
    let is_known = |node: &_| goal.config().nodes.contains_key(node);
    record.failures.cooldowns.retain(|node, _| is_known(node));
    record.failures.deaths.retain(|node, _| is_known(node));
}

/// What the brain before this one knew: where the service ran, and thereby where it did not.
fn adopt_handover(goal: &Goal<'_>, record: &mut ServiceRecord, now: BootInstant) {
    let Some((serving, age)) = goal.request().check.and_then(|check| check.handed_over(goal.name())) else { return };
    record.checks.last_well = now.since().checked_sub(age).map(BootInstant::since_boot);
    let Some(location) = goal.location(&serving) else { return };
    if record.running_on.as_ref().is_none_or(|placement| placement.location != location) {
        record.running_on = Some(Placement { location, since: now, found_stopped: false });
    }
    let others = goal.chain().iter().filter(|node| **node != serving);
    record.seen_stopped.extend(others.map(|node| (node.clone(), now)));
}

/// All living nodes were asked. A service that is found dead where it was started counts, once.
pub(super) fn full_check(goal: &Goal<'_>, observed: &mut Observed, began: BootInstant) {
    let serving = observed.running_on().cloned();
    let health = serving.as_ref().and_then(|node| observed.health(node));
    // Where its lease has gone elsewhere, it was stopped, by a promotion or by itself.
    let belongs_there = !observed.is_leased() || observed.holder() == serving.as_ref();
    let is_stopped = belongs_there && matches!(health, Some(ServiceHealth::Stopped | ServiceHealth::Unhealthy));
    let is_paused = observed.paused().is_some();
    let runs_well = observed.instances().any(|(_, health)| health == ServiceHealth::Healthy);
    let record = observed.record_mut();
    record.checks.last_full = Some(began);
    if runs_well {
        record.checks.last_well = Some(began);
    }
    let Some(placement) = record.running_on.as_mut().filter(|placement| is_stopped && !placement.found_stopped) else {
        return;
    };
    placement.found_stopped = true;
    // Nobody restarts what is paused: a person may have stopped it.
    if let Some(node) = serving.filter(|_| !is_paused) {
        Rules::new(goal.config(), goal.service()).found_stopped(&mut record.failures, &node, began);
    }
}

/// A start begins. Where every node cools down, this is a try all the same, and the next one comes later.
pub(super) fn starting(goal: &Goal<'_>, observed: &mut Observed, target: &Name, now: BootInstant) {
    let in_vain = cooldown::cools_down(&observed.record().failures, target, now);
    if in_vain && !observed.is_retrying() && goal.options().to != Some(target) {
        observed.set_retrying();
        Rules::new(goal.config(), goal.service()).retried(&mut observed.record_mut().failures, now);
    }
}

/// A start has ended.
pub(super) fn started(goal: &Goal<'_>, record: &mut ServiceRecord, step: &Step, now: BootInstant) {
    // A new instance has lasted for no time yet.
    record.running_on.take_if(|placement| placement.location.node == step.node);
    if step.outcome == StepOutcome::Confirmed {
        cooldown::end_early(&mut record.failures, &step.node, now);
    } else {
        Rules::new(goal.config(), goal.service()).start_failed(&mut record.failures, &step.node, step.why(), now);
    }
}

/// At the end. Where the service was started, returns for how long it was not seen to run well.
pub(super) fn finish(goal: &Goal<'_>, observed: &mut Observed, plan: &Plan, now: BootInstant) -> Option<Duration> {
    let runs = plan.verdict.runs();
    let was_started = runs && observed.started_on().is_some();
    let serving = plan.target.as_ref().filter(|target| runs || observed.started_on() == Some(*target));
    if let Some(location) = serving.and_then(|target| goal.location(target)) {
        observed.remember_running(location, now);
    }
    observed.remember_stopped(now);
    forget_former_place(goal, observed);
    let nodes = observed.nodes().clone();
    let known = nodes.into_iter().filter(|(node, _)| goal.chain().contains(node));
    let record = observed.record_mut();
    record.nodes.extend(known);
    if let Some(placement) = record.running_on.as_ref().filter(|placement| runs && !placement.found_stopped) {
        let (node, since) = (placement.location.node.clone(), placement.since);
        Rules::new(goal.config(), goal.service()).runs_well(&mut record.failures, &node, since, now);
    }
    if matches!(plan.verdict, PromoteVerdict::Unknown | PromoteVerdict::Blocked) {
        // Unfinished work goes on at the next check, not only when a full one is due.
        record.checks.last_full = None;
    }
    let last_well = record.checks.last_well;
    if runs {
        record.checks.last_well = Some(now);
    }
    last_well.filter(|_| was_started).map(|last_well| last_well.until(now))
}

/// A place that is not in the node list any more is of no use once it said that it is stopped.
fn forget_former_place(goal: &Goal<'_>, observed: &mut Observed) {
    let stopped = |node: &_| goal.is_former(node) && observed.health(node) == Some(ServiceHealth::Stopped);
    let serving = observed.running_on().filter(|node| stopped(node)).cloned();
    let record = observed.record_mut();
    record.running_on.take_if(|placement| serving.as_ref() == Some(&placement.location.node));
    record.seen_stopped.retain(|node, _| !goal.is_former(node));
}
