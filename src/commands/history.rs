//! `mirror history`: what this node did and saw, and with --all what all nodes did and saw.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::everywhere::{self, Question, Refusal};
use super::status::to_the_second;
use crate::cli;
use crate::clock::{Deadline, seconds};
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, ReportFacts as _, Spinner, Style, warnings};
use crate::remote::question;
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event, Past};

mod timeline;

pub(super) use timeline::SCHEMA as EVENT_SCHEMA;
pub use timeline::TimedEvent;
use timeline::{Told, merge};

/// What two nodes saw within so many checks of each other is one event, and within this time at least.
const SAME_CHECKS: u32 = 3;
const MIN_SAME: Duration = Duration::from_secs(30);
/// More than a history of the longest size has.
const EVERYTHING: u64 = 100_000;

/// There is one outcome: listed.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryVerdict {
    /// What is known was listed, be it nothing.
    Listed,
}

impl output::HasStatus for HistoryVerdict {
    fn status(self) -> ExitStatus {
        ExitStatus::Yes
    }
}

/// What `mirror history` prints.
#[derive(Serialize, JsonSchema)]
pub struct HistoryFacts {
    /// The latest changes, the oldest of them first.
    pub entries: Vec<Entry>,
}

impl output::ReportFacts for HistoryFacts {
    type Verdict = HistoryVerdict;
    const SCHEMA: &'static str = "mirror.history/1";

    fn text(&self, style: Style) -> String {
        output::columns(&self.entries.iter().map(|entry| row(entry, style)).collect::<Vec<_>>())
    }
}

/// When, what, to which service, and how it came out.
fn row(entry: &Entry, style: Style) -> Vec<String> {
    let service = entry.service.as_ref().map(Name::to_string).unwrap_or_default();
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let outage = entry.outage_ms.map_or_else(String::new, |ms| format!(" Outage {}.", length(ms)));
    let event = history::slug(entry.event).unwrap_or_default();
    let event = match entry.verdict.as_deref() {
        Some("alive" | "started" | "moved" | "granted" | "ended" | "in-step") => style.good(&event),
        Some("dead" | "failed" | "lost" | "refused" | "conflict" | "late") => style.bad(&event),
        Some("unknown" | "blocked") => style.doubtful(&event),
        _ => event,
    };
    vec![style.faint(&to_the_second(&entry.at)), event, service, entry.reason.clone() + &why + &outage]
}

/// How long something took, for people.
fn length(ms: f64) -> String {
    seconds(Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default())
}

/// What of a history is wanted.
struct Filter {
    since: Option<SystemTime>,
    service: Option<Name>,
}

impl Filter {
    fn new(arguments: &cli::History, context: &Context) -> Result<Self> {
        let service = arguments.service.as_ref().map(|service| context.config.service(service)).transpose()?;
        Ok(Self { since: arguments.since, service: service.map(|(name, _)| name.clone()) })
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is_since = |since: SystemTime| humantime::parse_rfc3339(&entry.at).is_ok_and(|at| at >= since);
        let concerns = |service: &Name| entry.service.as_ref().is_none_or(|of| of == service);
        self.since.is_none_or(is_since) && self.service.as_ref().is_none_or(concerns)
    }
}

pub(super) fn run(arguments: &cli::History, context: &Context) -> Result<ExitStatus> {
    let filter = Filter::new(arguments, context)?;
    if arguments.all {
        return Ok(everywhere(arguments, context, &filter));
    }
    let state_dir = StateDir::open(&context.config);
    let Past { mut entries, damaged } = history::read_past(&state_dir);
    if damaged > 0 {
        let directory = state_dir.directory().display();
        let lines = if damaged == 1 { "one line is".to_owned() } else { format!("{damaged} lines are") };
        let message = format!("{directory}/history.jsonl: {lines} damaged and skipped; they go as the file is renewed");
        warnings::warn("history-damaged", message);
    }
    entries.retain(|entry| filter.wants(entry));
    let all = entries.len();
    entries.drain(..all.saturating_sub(arguments.last));
    let reason = match (entries.len(), all) {
        (_, 0) => "Nothing has happened here, or nothing is known of it.".to_owned(),
        (_, 1) => "The only change that is known here.".to_owned(),
        (shown, all) if shown == all => format!("All {all} changes that are known here."),
        (shown, all) => format!("The latest {shown} of {all} changes that are known here."),
    };
    Ok(context.tell(&Report { verdict: HistoryVerdict::Listed, reason, facts: HistoryFacts { entries } }))
}

/// A node whose history could not be had.
pub(super) type Unasked<'a> = (&'a Name, Refusal);

/// The events of all nodes since a time, and the nodes that could not be asked.
pub(super) fn of_all<'a>(
    context: &'a Context,
    since: Option<SystemTime>,
    deadline: Deadline,
) -> (Vec<TimedEvent>, Vec<Unasked<'a>>) {
    // As an age, which is the same by every clock; a little more than is wanted.
    let age = since.map(|since| SystemTime::now().duration_since(since).unwrap_or_default() + MIN_SAME);
    let command = question::Question::History(EVERYTHING, age.map(everywhere::milliseconds)).to_string();
    let question = Question { command, schema: HistoryFacts::SCHEMA, deadline, dead: None };
    let own = || (0.0, history::read(&StateDir::open(&context.config)));
    let answers = everywhere::ask_all(context, &question, own, |object| {
        let entries: Vec<Entry> = entries(object.value.get("entries")?)?;
        Some((object.clock_offset_ms.unwrap_or_default(), entries))
    });
    let (mut histories, mut unasked) = (Vec::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok((clock_offset_ms, entries)) => histories.push(Told { node: name.clone(), clock_offset_ms, entries }),
            Err(refusal) => unasked.push((name, refusal)),
        }
    }
    (merge(histories, (context.config.cycle.check * SAME_CHECKS).max(MIN_SAME)), unasked)
}

/// The entries of an answer; one of a kind that a later version added is left out.
fn entries(value: &serde_json::Value) -> Option<Vec<Entry>> {
    Some(value.as_array()?.iter().filter_map(|entry| Entry::deserialize(entry).ok()).collect())
}

fn everywhere(arguments: &cli::History, context: &Context, filter: &Filter) -> ExitStatus {
    let deadline = Deadline::after(everywhere::timeout(context, arguments.within));
    let spinner = Spinner::start(context.output_mode, "asking the nodes");
    let (mut events, unasked) = of_all(context, filter.since, deadline);
    drop(spinner);
    events.retain(|event| filter.wants(&event.entry));
    events.drain(..events.len().saturating_sub(arguments.last));
    let status = if unasked.is_empty() { ExitStatus::Yes } else { ExitStatus::Unknown };
    let printed = if context.output_mode.is_text() {
        output::print_text(context.output_mode, |style| text(&events, &unasked, style))
    } else {
        events.extend(unasked.iter().map(|(name, refusal)| TimedEvent::of(not_asked(name, refusal, context))));
        output::print_lines(context.output_mode, &events)
    };
    if printed { status } else { ExitStatus::Unknown }
}

/// What stands for the history of a node that could not be asked.
fn not_asked(name: &Name, refusal: &Refusal, context: &Context) -> Entry {
    let entry = Entry::new(context.local_node.as_ref(), Event::Unasked, refusal.why());
    Entry { node: Some(name.clone()), verdict: Some(refusal.cause().to_owned()), ..entry }
}

fn text(events: &[TimedEvent], unasked: &[Unasked<'_>], style: Style) -> String {
    let rows = events.iter().map(|event| {
        let mut cells = row(&event.entry, style);
        let seen: Vec<&str> = event.seen_by.iter().map(Name::as_str).collect();
        let clock = event.clock_corrected_ms.map_or_else(String::new, |ms| {
            let side = if ms > 0.0 { "ahead" } else { "behind" };
            style.doubtful(&format!(" [clock {} {side}]", length(ms.abs())))
        });
        cells.insert(1, style.faint(&seen.join(",")));
        if let Some(last) = cells.last_mut() {
            *last += &clock;
        }
        cells
    });
    let mut text = output::columns(&rows.collect::<Vec<_>>());
    if events.is_empty() {
        text += "Nothing has happened, or nothing is known of it.\n";
    }
    for (name, refusal) in unasked {
        let line = format!("{name} was not asked ({}: {})", refusal.cause(), refusal.why());
        text += &output::paragraph(&style.doubtful("unknown"), &line);
    }
    text
}
