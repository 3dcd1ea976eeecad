//! The histories of all nodes on one time line. Pure: nothing is asked here.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use crate::name::Name;
use crate::state::history::{Entry, Event};

/// The name and version of an event's object.
pub(in crate::commands) const SCHEMA: &str = "mirror.event/1";
/// Clocks that are further off than this are corrected, and said to be.
const MAX_CLOCK_OFFSET_MS: f64 = 1000.0;

/// What happened, as told to others: a line of `mirror history --all`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TimedEvent {
    /// The name and version of this object.
    pub schema: &'static str,
    /// The same wherever and however often it is told: by it a receiver drops doubles.
    pub id: String,
    /// What happened, as it stands in the history of the first node that saw it; `at` is by the clock of this machine.
    #[serde(flatten)]
    pub entry: Entry,
    /// By how much that node's clock is ahead of this machine's, in ms, where `at` was corrected by it; null where the
    /// two differ by less than a second.
    pub clock_corrected_ms: Option<f64>,
    /// The nodes that saw it.
    pub seen_by: Vec<Name>,
}

/// The history of one node.
pub(in crate::commands) struct Told {
    pub(in crate::commands) node: Name,
    pub(in crate::commands) clock_offset_ms: f64,
    pub(in crate::commands) entries: Vec<Entry>,
}

impl TimedEvent {
    /// An event of one history, by the clock that it was written by.
    pub(in crate::commands) fn of(entry: Entry) -> Self {
        let seen_by = entry.local_node.iter().cloned().collect();
        Self { schema: SCHEMA, id: entry.id(), entry, clock_corrected_ms: None, seen_by }
    }
}

/// One time line, the oldest first. Events that mean the same and were seen within `window` of each other are one.
pub(in crate::commands) fn merge(histories: Vec<Told>, window: Duration) -> Vec<TimedEvent> {
    let mut all: Vec<(SystemTime, TimedEvent)> = histories.into_iter().flat_map(timed).collect();
    all.sort_by_key(|one| one.0);
    let mut line: Vec<(SystemTime, TimedEvent)> = Vec::with_capacity(all.len());
    for (at, event) in all {
        let lasts = is_lasting(&event.entry);
        let is_near = |before: SystemTime| lasts || at.duration_since(before).unwrap_or_default() <= window;
        let mut recent = line.iter_mut().rev().take_while(|(before, _)| is_near(*before));
        let same = |(_, known): &&mut (SystemTime, TimedEvent)| {
            is_same(&known.entry, &event.entry) && !known.seen_by.iter().any(|node| event.seen_by.contains(node))
        };
        match recent.find(same) {
            Some((_, known)) => known.seen_by.extend(event.seen_by),
            None => line.push((at, event)),
        }
    }
    line.into_iter().map(|(_, event)| event).collect()
}

fn timed(told: Told) -> impl Iterator<Item = (SystemTime, TimedEvent)> {
    let Told { node, clock_offset_ms: offset, entries } = told;
    entries.into_iter().filter_map(move |mut entry| {
        let id = entry.id();
        let mut at = humantime::parse_rfc3339(&entry.at).ok()?;
        let is_off = offset.abs() > MAX_CLOCK_OFFSET_MS;
        if is_off {
            let span = Duration::try_from_secs_f64(offset.abs() / 1000.0).ok()?;
            at = if offset > 0.0 { at.checked_sub(span)? } else { at.checked_add(span)? };
            entry.at = humantime::format_rfc3339_millis(at).to_string();
        }
        let clock_corrected_ms = is_off.then_some(offset);
        Some((at, TimedEvent { schema: SCHEMA, id, entry, clock_corrected_ms, seen_by: vec![node.clone()] }))
    })
}

/// Whether an event has one identity however much later another node sees it.
fn is_lasting(entry: &Entry) -> bool {
    entry.event == Event::Lease
}

/// Whether two nodes saw one and the same thing. What a node did itself is nobody else's.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let key =
        |entry: &Entry| (entry.event, entry.service.clone(), entry.node.clone(), entry.verdict.clone(), entry.epoch);
    let is_seen = match one.event {
        Event::Node | Event::Brain | Event::Lease | Event::Pause | Event::Resume | Event::Drain | Event::Undrain => {
            true
        }
        // Else it is the trouble of the node that tells of it.
        Event::Trouble => one.node.is_some(),
        _ => false,
    };
    is_seen && key(one) == key(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        name.parse().expect("a name")
    }

    fn entry(at: &str, event: Event, node: &str, verdict: &str) -> Entry {
        let entry = Entry::new(None, event, "It happened.");
        Entry {
            at: format!("2026-01-01T{at}.000Z"),
            node: Some(name(node)),
            verdict: Some(verdict.to_owned()),
            ..entry
        }
    }

    fn told(node: &str, clock_offset_ms: f64, entries: &[Entry]) -> Told {
        Told { node: name(node), clock_offset_ms, entries: entries.to_vec() }
    }

    fn line(events: &[TimedEvent]) -> Vec<String> {
        let row = |event: &TimedEvent| {
            let seen: Vec<&str> = event.seen_by.iter().map(Name::as_str).collect();
            format!("{} {} {}", &event.entry.at[11..19], event.entry.verdict.as_deref().unwrap_or("-"), seen.join("+"))
        };
        events.iter().map(row).collect()
    }

    const MAX_TIMES_APART: Duration = Duration::from_secs(30);

    #[test]
    fn what_several_nodes_saw_is_told_once_by_the_clock_here() {
        let dead = |at| entry(at, Event::Node, "x", "dead");
        let events = merge(
            vec![
                told("a", 0.0, &[dead("03:12:00"), entry("03:12:05", Event::Promote, "b", "moved")]),
                told("b", 3_600_000.0, &[dead("04:12:02"), entry("04:20:00", Event::Node, "x", "alive")]),
                told("c", 500.0, &[dead("03:12:01"), dead("03:30:00")]),
            ],
            MAX_TIMES_APART,
        );
        assert_eq!(line(&events), ["03:12:00 dead a+c+b", "03:12:05 moved a", "03:20:00 alive b", "03:30:00 dead c"]);
        let corrected: Vec<_> = events.iter().map(|event| event.clock_corrected_ms).collect();
        assert_eq!(corrected, [None, None, Some(3_600_000.0), None]);
    }

    #[test]
    fn trouble_with_another_node_is_told_once_and_trouble_of_ones_own_by_each() {
        let about = |at| entry(at, Event::Trouble, "x", "clock-off");
        let own = |at| Entry { node: None, ..entry(at, Event::Trouble, "x", "beat-not-left") };
        let events = merge(
            vec![
                told("a", 0.0, &[about("03:00:00"), own("03:00:01")]),
                told("b", 0.0, &[own("03:00:02"), about("03:00:03")]),
            ],
            MAX_TIMES_APART,
        );
        let expected = ["03:00:00 clock-off a+b", "03:00:01 beat-not-left a", "03:00:02 beat-not-left b"];
        assert_eq!(line(&events), expected);
    }

    #[test]
    fn a_lease_is_granted_once_and_a_promotion_is_nobody_elses() {
        let granted = |at| Entry { epoch: Some(7), ..entry(at, Event::Lease, "b", "granted") };
        let failed = |at| entry(at, Event::Promote, "b", "failed");
        let events = merge(
            vec![
                told("a", 0.0, &[granted("03:00:00"), failed("03:00:01")]),
                told("b", 0.0, &[failed("03:00:02"), granted("03:59:00")]),
            ],
            MAX_TIMES_APART,
        );
        assert_eq!(line(&events), ["03:00:00 granted a+b", "03:00:01 failed a", "03:00:02 failed b"]);
    }
}
