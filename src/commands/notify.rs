//! `mirror notify`: tells receivers of what is new in the history, in order, each event at least once.

use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::history::TimedEvent;
use crate::chain::BRAIN;
use crate::cli;
use crate::clock::{BootInstant, Deadline};
use crate::config::Limits;
use crate::leader::beat::Beat;
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::state::{LastTold, NotifyRecord, StateDir, history};

mod backlog;
mod deliver;

use backlog::Part;
use deliver::{Failed, Receiver};

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyVerdict {
    /// Nothing is pending.
    Delivered,
    /// A receiver said no; what is pending is told it again.
    Refused,
    /// A receiver was not reached; what is pending is told it again.
    NotReached,
    /// Another process of this node delivers now.
    Busy,
}

impl output::HasStatus for NotifyVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Delivered => ExitStatus::Yes,
            Self::Refused => ExitStatus::No,
            Self::NotReached | Self::Busy => ExitStatus::Unknown,
        }
    }
}

/// What `mirror notify` prints.
#[derive(Serialize, JsonSchema)]
pub struct NotifyFacts {
    /// How many events were delivered, by all receivers together.
    pub delivered: usize,
    /// How many are still to be delivered.
    pub pending: usize,
    /// How many of the oldest were dropped, because the backlog was too long.
    pub dropped: usize,
    /// What became of the GET of `beat_url`; null where there is none, and on any node but the brain.
    pub beat: Option<BeatSent>,
}

/// What became of the GET that says that all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BeatSent {
    /// It was sent, and answered.
    Sent,
    /// It was not sent: a service is not well.
    Withheld,
    /// It was not answered.
    Failed,
}

impl output::ReportFacts for NotifyFacts {
    type Verdict = NotifyVerdict;
    const SCHEMA: &'static str = "mirror.notify/1";

    fn text(&self, _: Style) -> String {
        String::new()
    }
}

/// What became of it so far.
#[derive(Default)]
struct Outcome {
    delivered: usize,
    pending: usize,
    dropped: usize,
    refused: Vec<String>,
    not_reached: Vec<String>,
}

impl Outcome {
    fn failed(&mut self, failed: Failed) {
        match failed {
            Failed::Refused(why) => self.refused.push(why),
            Failed::NotReached(why) => self.not_reached.push(why),
        }
    }
}

pub(super) fn run(arguments: &cli::Notify, context: &Context) -> Result<ExitStatus> {
    let state_dir = StateDir::open(&context.config);
    let Some(_lock) = state_dir.lock_notify()? else {
        let facts = NotifyFacts { delivered: 0, pending: 0, dropped: 0, beat: None };
        let reason = "Another process of this node delivers now.".to_owned();
        return Ok(context.tell(&Report { verdict: NotifyVerdict::Busy, reason, facts }));
    };
    let spinner = Spinner::start(context.output_mode, "telling what is new");
    let deadline = Deadline::after(arguments.within);
    let mut outcome = Outcome::default();
    let beat = beat(context, &state_dir, deadline, &mut outcome);
    deliver(context, &state_dir, deadline, &mut outcome);
    drop(spinner);
    let Outcome { delivered, pending, dropped, refused, not_reached } = outcome;
    let verdict = match (refused.is_empty(), not_reached.is_empty()) {
        (true, true) => NotifyVerdict::Delivered,
        (false, true) => NotifyVerdict::Refused,
        (_, false) => NotifyVerdict::NotReached,
    };
    let why: Vec<String> = refused.into_iter().chain(not_reached).collect();
    let reason = match (why.as_slice(), delivered, pending) {
        ([], 0, _) if context.config.notify.command.is_none() && context.config.notify.url.is_none() => {
            "Nobody is told: [notify] names no receiver.".to_owned()
        }
        ([], 0, _) => "There is nothing new to tell.".to_owned(),
        ([], ..) => format!("{delivered} delivered; nothing is pending."),
        _ => format!("{delivered} delivered, {pending} pending: {}.", why.join("; ")),
    };
    Ok(context.tell(&Report { verdict, reason, facts: NotifyFacts { delivered, pending, dropped, beat } }))
}

/// Whether this node leads, by its last check. A network without controllers has no other node to tell.
fn is_brain(context: &Context, state_dir: &StateDir) -> bool {
    let now = BootInstant::now();
    let beat = state_dir.beat().filter(|beat| beat.left <= now);
    let fresh = beat.filter(|beat| beat.left.until(now) <= Limits::of(&context.config).stale());
    let leads = |beat: &Beat| beat.assessment.brain.as_ref() == Some(&beat.node);
    fresh.is_some_and(|beat| Some(&beat.node) == context.local_node.as_ref() && leads(&beat))
        || !context.config.chains.contains_key(BRAIN)
}

fn beat(context: &Context, state_dir: &StateDir, deadline: Deadline, outcome: &mut Outcome) -> Option<BeatSent> {
    let url = context.config.notify.beat_url.as_ref().filter(|_| is_brain(context, state_dir))?;
    let verdict = state_dir.beat()?.verdict;
    if !matches!(verdict.as_str(), "in-place" | "started" | "moved" | "stopped-elsewhere") {
        return Some(BeatSent::Withheld);
    }
    match deliver::get(url, &context.config.notify, deadline) {
        Ok(()) => Some(BeatSent::Sent),
        Err(failed) => {
            outcome.failed(failed);
            Some(BeatSent::Failed)
        }
    }
}

fn deliver(context: &Context, state_dir: &StateDir, deadline: Deadline, outcome: &mut Outcome) {
    let notify = &context.config.notify;
    let receivers = [notify.command.as_deref().map(Receiver::Command), notify.url.as_deref().map(Receiver::Url)];
    let receivers: Vec<Receiver<'_>> = receivers.into_iter().flatten().collect();
    if receivers.is_empty() {
        return;
    }
    let part = Part {
        local_node: context.local_node.as_ref(),
        is_brain: is_brain(context, state_dir),
        has_lease: context.config.lease.is_some(),
    };
    let (past, before, now) = (history::read(state_dir), state_dir.notify_record(), SystemTime::now());
    let mut record = before.clone();
    let mut all_told = true;
    for receiver in receivers {
        let last = before.told.get(receiver.name());
        let (events, dropped) = backlog::pending(&past, last, &before, part, now);
        outcome.dropped += dropped;
        all_told &= tell(receiver, &events, (state_dir, &mut record), (context, deadline), outcome);
        if let Some(newest) = past.last().filter(|_| all_told) {
            // What nobody is to be told counts as told.
            record.told.insert(receiver.name().to_owned(), LastTold { id: newest.id(), at: newest.at.clone() });
        }
    }
    if all_told {
        record.withheld = backlog::withheld(&past, part, now);
    }
    if record != before {
        state_dir.keep_notify_record(&record);
    }
}

/// Whether the receiver has been told everything.
fn tell(
    receiver: Receiver<'_>,
    events: &[crate::state::history::Entry],
    (state_dir, record): (&StateDir, &mut NotifyRecord),
    (context, deadline): (&Context, Deadline),
    outcome: &mut Outcome,
) -> bool {
    for (index, entry) in events.iter().enumerate() {
        if let Err(failed) = receiver.tell(&TimedEvent::of(entry.clone()), &context.config.notify, deadline) {
            outcome.pending += events.len() - index;
            outcome.failed(failed);
            return false;
        }
        outcome.delivered += 1;
        record.told.insert(receiver.name().to_owned(), LastTold { id: entry.id(), at: entry.at.clone() });
        state_dir.keep_notify_record(record);
    }
    true
}
