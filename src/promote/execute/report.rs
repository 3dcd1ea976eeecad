//! What is reported of one service.

use std::time::Duration;

use crate::name::Name;
use crate::output::millis;
use crate::promote::cooldown;
use crate::promote::now::Now;
use crate::promote::observed::{Observed, ServiceHealth};
use crate::promote::outcome::{CooldownReport, LeaseReport, Movement, ServiceOutcome, Step, StepKind, StepOutcome};
use crate::promote::plan::{Action, Plan, passed_over_sentences};
use crate::promote::request::Goal;
use crate::service::Inhaled;
use crate::state::ServiceRecord;

/// What is reported, and what to remember.
pub(super) fn outcome(
    goal: &Goal<'_>,
    observed: Observed,
    plan: Plan,
    (lease, outage): (Option<LeaseReport>, Option<Duration>),
) -> (ServiceOutcome, ServiceRecord) {
    let paused = observed.paused().cloned();
    let silent = silent_steps(&observed);
    let mut reason = plan.reason + &passed_over_sentences(goal, &observed);
    for node in goal.chain() {
        reason.extend(observed.drains().drain_of(node).map(|drain| format!(" {node} is {}.", drain.words())));
    }
    let (record, mut steps) = observed.into_parts();
    let cooldowns = cooldowns(&record, Now::take());
    for CooldownReport { node, until, why, .. } in &cooldowns {
        reason += &format!(" {node} is passed over until {until}, as a start there failed or did not last: {why}.");
    }
    steps.extend(silent);
    steps.extend(plan.actions.iter().flat_map(planned_steps));
    let outcome = ServiceOutcome {
        service: goal.name().clone(),
        verdict: plan.verdict,
        reason,
        movement: Movement {
            target: plan.target,
            previous: plan.previous,
            fencing: plan.fencing,
            inhaled: None,
            outage_ms: outage.map(millis),
        },
        steps,
        lease,
        cooldowns,
    };
    let outcome = match paused {
        Some(paused) => outcome.while_paused(&paused, goal.options().dry_run),
        None => outcome,
    };
    (outcome, record)
}

/// Adds what the target inhaled before the start.
pub(super) fn with_inhaled(mut outcome: ServiceOutcome, inhaled: Option<(Name, Inhaled)>) -> ServiceOutcome {
    if let Some((node, inhaled)) = inhaled {
        outcome.reason.extend(inhaled.sentence(&node));
        outcome.movement.inhaled = Some(inhaled);
    }
    outcome
}

pub(in crate::promote) fn cooldowns(record: &ServiceRecord, now: Now) -> Vec<CooldownReport> {
    let report = |(node, cooldown): (&Name, &crate::state::Cooldown)| CooldownReport {
        node: node.clone(),
        since: now.rfc3339(cooldown.since),
        until: now.rfc3339(cooldown.until),
        failures: cooldown.failures,
        why: cooldown.why.clone(),
    };
    cooldown::cooling(&record.failures, now.boot).map(report).collect()
}

/// A step for each node that did not say whether the service runs there, and of which no other step
/// tells why.
fn silent_steps(observed: &Observed) -> Vec<Step> {
    let step = |node: &Name| {
        let report = observed.report(node)?;
        let cause = report.cause;
        let untaken = Step::untaken(node, StepKind::Status, StepOutcome::Unconfirmed);
        Some(Step { cause, detail: report.detail.clone(), ..untaken })
    };
    let silent = observed.nodes_with(&[ServiceHealth::Unknown]);
    let untold = silent.iter().filter(|node| !observed.steps().iter().any(|step| step.node == **node));
    untold.filter_map(step).collect()
}

/// The steps that an action would take.
fn planned_steps(action: &Action) -> Vec<Step> {
    let planned = |node: &Name, kind| Step::untaken(node, kind, StepOutcome::Planned);
    match action {
        Action::LookAgain | Action::AskSecondOpinion(_) | Action::WaitForClaim { .. } | Action::Inhale(_) => Vec::new(),
        Action::Stop(nodes) => nodes.iter().map(|node| planned(node, StepKind::Stop)).collect(),
        Action::Acquire { running, possible, .. } => {
            running.union(possible).map(|node| planned(node, StepKind::Stop)).collect()
        }
        Action::Start(target) => vec![planned(target, StepKind::Start)],
    }
}
