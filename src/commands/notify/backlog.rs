//! What is to be told, and by which node. Pure: nothing is asked here.

use std::time::{Duration, SystemTime};

use crate::name::Name;
use crate::state::history::{Entry, Event};
use crate::state::{LastTold, NotifyRecord};

/// Of a backlog that is longer than this, the oldest events are dropped.
const MAX_BACKLOG: usize = 1000;
/// A receiver that was never told anything is told what happened within this time.
const FIRST_BACKLOG: Duration = Duration::from_secs(3600);
/// For how long a node keeps what the brain was to tell, for the case that it becomes the brain.
const MAX_WITHHELD_AGE: Duration = Duration::from_secs(120);

/// The part of a node in telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// The node that acted.
    Own,
    /// What all nodes see: the brain alone.
    Brain,
    /// Nobody: it is no transition that concerns others.
    Nobody,
}

fn teller(entry: &Entry, part: Part<'_>) -> Teller {
    match (entry.event, entry.verdict.as_deref()) {
        // Such as a full disk: no other node has it in its history.
        (Event::Trouble, _) if entry.node.is_none() => Teller::Own,
        (Event::Node | Event::Brain | Event::Trouble | Event::Drain | Event::Undrain, _) => Teller::Brain,
        // The node where it was given writes it down alone where it is kept in a register.
        (Event::Pause | Event::Resume, _) if !part.has_lease => Teller::Brain,
        (Event::HoldEnd, Some("lost" | "failed")) => Teller::Own,
        (Event::HoldStart | Event::HoldEnd | Event::Lease | Event::Unasked, _) => Teller::Nobody,
        _ => Teller::Own,
    }
}

/// What this node knows of itself.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) local_node: Option<&'a Name>,
    pub(super) is_brain: bool,
    pub(super) has_lease: bool,
}

/// What one receiver is to be told, the oldest first, and how much was dropped because it was too much.
pub(super) fn pending(
    past: &[Entry],
    last: Option<&LastTold>,
    record: &NotifyRecord,
    part: Part<'_>,
    now: SystemTime,
) -> (Vec<Entry>, usize) {
    let since = last.map_or_else(
        || humantime::format_rfc3339_millis(now.checked_sub(FIRST_BACKLOG).unwrap_or(now)).to_string(),
        |last| last.at.clone(),
    );
    let after = last.and_then(|last| past.iter().rposition(|entry| entry.id() == last.id));
    let new = past.iter().enumerate().filter(|(index, entry)| match after {
        Some(after) => *index > after,
        None => entry.at > since,
    });
    let wanted = |entry: &&Entry| match teller(entry, part) {
        Teller::Own => true,
        // With no node to be the brain, there is nobody else to tell.
        Teller::Brain => part.is_brain || part.local_node.is_none(),
        Teller::Nobody => false,
    };
    let withheld = record.withheld.iter().filter(|_| part.is_brain && last.is_some());
    let mut all: Vec<Entry> = withheld.chain(new.map(|(_, entry)| entry).filter(wanted)).cloned().collect();
    all.dedup_by_key(|entry| entry.id());
    let dropped = all.len().saturating_sub(MAX_BACKLOG);
    all.drain(..dropped);
    (all, dropped)
}

/// What a node that is not the brain keeps for the case that it becomes it.
pub(super) fn withheld(past: &[Entry], part: Part<'_>, now: SystemTime) -> Vec<Entry> {
    if part.is_brain {
        return Vec::new();
    }
    let since = humantime::format_rfc3339_millis(now.checked_sub(MAX_WITHHELD_AGE).unwrap_or(now)).to_string();
    past.iter().filter(|entry| entry.at > since && teller(entry, part) == Teller::Brain).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 + seconds)
    }

    fn entry(seconds: u64, event: Event, reason: &str) -> Entry {
        let at = humantime::format_rfc3339_millis(at(seconds)).to_string();
        Entry { at, ..Entry::new(None, event, reason) }
    }

    fn told(entry: &Entry) -> LastTold {
        LastTold { id: entry.id(), at: entry.at.clone() }
    }

    fn reasons(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.reason.as_str()).collect()
    }

    #[test]
    fn what_all_see_is_told_by_the_brain_and_what_a_node_did_by_itself() {
        let name: Name = "a".parse().expect("a name");
        let past = [
            entry(0, Event::Promote, "told"),
            entry(1, Event::Node, "x died"),
            entry(2, Event::Promote, "moved"),
            entry(3, Event::HoldStart, "started"),
            entry(3, Event::Drain, "drained"),
            entry(3, Event::Pause, "paused"),
            Entry { node: Some(name.clone()), ..entry(3, Event::Trouble, "clock") },
            entry(3, Event::Trouble, "disk"),
        ];
        let (record, last) = (NotifyRecord::default(), told(&past[0]));
        let part = |is_brain| Part { local_node: Some(&name), is_brain, has_lease: false };
        let of = |is_brain, record: &NotifyRecord| {
            let (all, dropped) = pending(&past, Some(&last), record, part(is_brain), at(4));
            assert_eq!(dropped, 0);
            all
        };
        assert_eq!(reasons(&of(true, &record)), ["x died", "moved", "drained", "paused", "clock", "disk"]);
        assert_eq!(reasons(&of(false, &record)), ["moved", "disk"]);
        let at_register = Part { has_lease: true, ..part(false) };
        let (all, _) = pending(&past, Some(&last), &record, at_register, at(4));
        assert_eq!(reasons(&all), ["moved", "paused", "disk"]);
        // The death of the brain is seen before another node leads, and told once it does.
        let kept = NotifyRecord { withheld: withheld(&past, part(false), at(60)), ..record };
        let (all, _) = pending(&past, Some(&told(&past[7])), &kept, part(true), at(61));
        assert_eq!(reasons(&all), ["x died", "drained", "paused", "clock"]);
        assert!(withheld(&past, part(false), at(200)).is_empty());
    }

    #[test]
    fn a_new_receiver_hears_of_the_last_hour_and_a_backlog_is_bounded() {
        let part = Part { local_node: None, is_brain: false, has_lease: false };
        let past: Vec<Entry> = (0..1500).map(|index| entry(index * 4, Event::Promote, &index.to_string())).collect();
        let (all, dropped) = pending(&past, None, &NotifyRecord::default(), part, at(6000));
        assert_eq!((all.len(), dropped, all[0].reason.as_str()), (899, 0, "601"));
        let last = told(&past[0]);
        let (all, dropped) = pending(&past, Some(&last), &NotifyRecord::default(), part, at(6000));
        assert_eq!((all.len(), dropped), (1000, 499));
        // The file was renewed, and the last one told is in it no more.
        let (all, _) = pending(&past[1400..], Some(&last), &NotifyRecord::default(), part, at(6000));
        assert_eq!(all.len(), 100);
    }
}
