//! What of a promotion goes into the history.

use super::outcome::{PromoteVerdict, ServiceOutcome, StepKind, StepOutcome};
use super::request::Request;
use crate::output::{ExitStatus, HasStatus as _};
use crate::state::history::{self, Entry, Event};
use crate::state::{ServiceRecord, StateDir};

/// Records a promotion that did something, the beginning of one that is blocked or unknown, and its
/// end. A try that fails as the last one did is recorded once.
pub(super) fn record(
    outcome: &ServiceOutcome,
    record: &mut ServiceRecord,
    request: &Request<'_>,
    state_dir: &StateDir,
) {
    let verdict = history::slug(outcome.verdict);
    if matches!(outcome.verdict, PromoteVerdict::Blocked | PromoteVerdict::Unknown) {
        if record.trouble != verdict {
            history::record(state_dir, &entry(outcome, request, outcome.reason.clone()));
            record.trouble = verdict;
        }
        return;
    }
    let ended = record.trouble.take();
    if did_something(outcome) {
        let entry = entry(outcome, request, outcome.reason.clone());
        if outcome.verdict.status() == ExitStatus::Yes || !is_repetition(&entry, state_dir) {
            history::record(state_dir, &entry);
        }
    } else if let Some(trouble) = ended {
        let reason = format!("{} is no longer {trouble}. {}", outcome.service, outcome.reason);
        history::record(state_dir, &entry(outcome, request, reason));
    }
}

/// A stop on a node that was merely silent is no change.
fn did_something(outcome: &ServiceOutcome) -> bool {
    let is_done = |step: &super::Step| step.step != StepKind::Status && step.outcome != StepOutcome::Planned;
    outcome.verdict != PromoteVerdict::InPlace && outcome.steps.iter().any(is_done)
}

fn entry(outcome: &ServiceOutcome, request: &Request<'_>, reason: String) -> Entry {
    Entry {
        service: Some(outcome.service.clone()),
        node: outcome.movement.target.clone(),
        verdict: history::slug(outcome.verdict),
        epoch: outcome.lease.as_ref().and_then(|lease| lease.epoch),
        why: request.options.why.map(str::to_owned),
        outage_ms: outcome.movement.outage_ms,
        ..Entry::new(request.local_node, Event::Promote, reason)
    }
}

/// Whether the last entry of the service says the same, but for times and numbers.
fn is_repetition(entry: &Entry, state_dir: &StateDir) -> bool {
    let words = |entry: &Entry| entry.reason.replace(|c: char| c.is_ascii_digit(), "");
    let before = history::read(state_dir).into_iter().rev().find(|before| before.service == entry.service);
    before.is_some_and(|before| {
        (before.event, &before.verdict, &before.node, words(&before))
            == (entry.event, &entry.verdict, &entry.node, words(entry))
    })
}
