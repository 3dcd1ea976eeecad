//! Makes a service run on its target and nowhere else.
//!
//! One look at the nodes serves all services. Then each service goes its own way, all at once, and
//! waits for no other: what was seen is one value ([`observed`]), the plan is a pure function of it
//! ([`plan`]), and what the first action of the plan shows is added to what was seen before it is
//! planned anew ([`execute`]). A check that finds everything in place asks no more than it must.
//!
//! Where a service is under a lease, its target gets the lease before it is started there
//! ([`takeover`]), and a node that does not answer is waited out.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::boot_instant::BootInstant;
use crate::brain::Brain;
use crate::chain::Name;
use crate::remote::Remote;
use crate::state::{Lock, ServiceRecord, StateDir};

mod contention;
mod execute;
mod observe;
mod observed;
mod outcome;
mod plan;
mod request;
mod shared;
mod steps;
mod takeover;
mod uptime;

use execute::Execution;
use observe::Look;
use observed::Observed;
use request::Goal;
use shared::Shared;
use takeover::Takeover;

pub use outcome::{Fencing, LeaseReport, PromoteVerdict, ServiceOutcome, Step, StepKind, StepOutcome};
pub use request::{Options, Request};

/// What became of a request.
pub struct Promoted {
    /// Who the brain is, when that was asked.
    pub brain: Option<Brain>,
    /// One for each service, in the order asked.
    pub services: Vec<ServiceOutcome>,
}

/// The services that this process may promote, with their records, and what to report of the others.
struct Locked<'a> {
    records: BTreeMap<&'a Name, ServiceRecord>,
    refused: BTreeMap<&'a Name, ServiceOutcome>,
    /// Held until the end.
    _locks: Vec<Lock>,
}

/// Carries out a request, by what the state directory remembers.
///
/// # Errors
/// When this process cannot ask anybody, or `if_brain` is asked and there is no brain chain.
pub fn promote(request: &Request<'_>, store: &StateDir) -> Result<Promoted> {
    let remote = Remote::new(request.config, request.local_node);
    let locked = lock(request, store);
    let mut takeovers = BTreeMap::new();
    for (name, service) in request.services.iter().filter(|(name, _)| locked.records.contains_key(name)) {
        let takeover = Takeover::new(Goal::new(request, name, service), &remote, store);
        takeovers.extend(takeover.map(|takeover| (*name, takeover)));
    }
    let shared = Shared::new(request, &remote, store);
    let began = BootInstant::now();
    let look = Look::new(request, &remote, &locked.records);
    let (view, brain) = takeover::read_beside(request, &locked.records, &mut takeovers, || look.take())?;
    if let Some(brain) = brain.as_ref().filter(|brain| !is_me(brain, request.local_node)) {
        shared.uptime().forget_deaths();
        return Ok(Promoted { brain: Some(brain.clone()), services: not_brain(request, brain) });
    }
    let seen = view.seen();
    let uptimes = shared.uptime().add(&seen, began);
    let execution = |(name, service)| {
        let record = locked.records.get(name)?.clone();
        let takeover = takeovers.remove(name);
        let lease = takeover.as_ref().map(Takeover::facts);
        let observed = Observed::new(seen.clone(), record, uptimes.clone(), lease);
        Some(Execution::new(Goal::new(request, name, service), &shared, takeover, observed))
    };
    let executions: Vec<_> = request.services.iter().copied().map(execution).collect();
    let outcomes = run_all(executions, request, store);
    let broken_off = |name: &Name| {
        ServiceOutcome::without_steps(name, PromoteVerdict::Unknown, format!("The promotion of {name} broke off."))
    };
    let mut refused = locked.refused;
    let services = outcomes
        .into_iter()
        .zip(&request.services)
        .map(|(outcome, (name, _))| outcome.or_else(|| refused.remove(name)).unwrap_or_else(|| broken_off(name)));
    let services = services.collect();
    Ok(Promoted { brain, services })
}

/// Asks each node once for all services, and runs each service on its own thread.
fn run_all<'a>(
    executions: Vec<Option<Execution<'a>>>,
    request: &Request<'_>,
    store: &StateDir,
) -> Vec<Option<ServiceOutcome>> {
    std::thread::scope(|scope| {
        let mut questions = Vec::new();
        let run = |execution: Option<Execution<'a>>| {
            let execution = execution?;
            let (first, answers) = execution.first_questions();
            questions.extend(first);
            Some(scope.spawn(move || {
                let (outcome, record) = execution.run(answers);
                if !request.options.dry_run {
                    store.keep_record(&outcome.service, &record);
                }
                outcome
            }))
        };
        let threads: Vec<_> = executions.into_iter().map(run).collect();
        observe::ask_services(scope, questions, request.output_mode);
        threads.into_iter().map(|thread| thread?.join().ok()).collect()
    })
}

fn lock<'a>(request: &Request<'a>, store: &StateDir) -> Locked<'a> {
    let (mut records, mut refused, mut locks) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for &(name, _) in &request.services {
        match if request.options.dry_run { Ok(None) } else { store.lock(name).map(Some) } {
            Ok(Some(None)) => {
                let reason = format!("Another promotion of {name} is under way on this node.");
                refused.insert(name, ServiceOutcome::without_steps(name, PromoteVerdict::Busy, reason));
            }
            Ok(lock) => {
                locks.extend(lock.flatten());
                records.insert(name, store.record(name));
            }
            Err(error) => {
                let reason = format!("No lock can be had for {name}: {error}.");
                refused.insert(name, ServiceOutcome::without_steps(name, PromoteVerdict::Unknown, reason));
            }
        }
    }
    Locked { records, refused, _locks: locks }
}

fn is_me(brain: &Brain, local_node: Option<&Name>) -> bool {
    matches!(brain, Brain::Known(name) if Some(name) == local_node)
}

fn not_brain(request: &Request<'_>, brain: &Brain) -> Vec<ServiceOutcome> {
    let verdict = match brain {
        Brain::Known(_) | Brain::Nobody => PromoteVerdict::NotBrain,
        Brain::Isolated | Brain::Unknown(_) | Brain::Open => PromoteVerdict::Unknown,
    };
    let reason = brain.sentence_to(request.local_node);
    let outcome = |(name, _): &(&Name, _)| ServiceOutcome::without_steps(name, verdict, reason.clone());
    request.services.iter().map(outcome).collect()
}
