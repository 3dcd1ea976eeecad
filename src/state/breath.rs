//! What the last breaths of the node list's repository came to.

use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StateDir;
use super::directory::Envelope;
use super::history::{self, Entry, Event};
use crate::fsutil::Durability;
use crate::name::Name;

const FILE: &str = "breath.json";
/// Breaths that have not ended in step for so many intervals are worth an entry in the history.
const LATE_BREATHS: u32 = 10;
/// But not sooner than this.
const MIN_LATE: Duration = Duration::from_secs(120);

/// What the last breath came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreathRecord {
    /// When it ended: RFC 3339, UTC.
    pub at: String,
    /// Its verdict.
    pub verdict: String,
    /// The same in a sentence.
    pub reason: String,
    /// When a breath last ended in step: RFC 3339, UTC; null when none has yet.
    pub in_step_at: Option<String>,
    /// Since when breaths have not ended in step: RFC 3339, UTC; null when the last one did.
    pub trouble_since: Option<String>,
    /// The verdict of the trouble that the history tells of: `conflict`, `refused` or `late`; null when it tells
    /// of none.
    pub told: Option<String>,
}

impl StateDir {
    /// The last breath of this node. It outlives a reboot, as its times are the calendar's.
    pub fn breath(&self) -> Option<BreathRecord> {
        self.read_envelope::<BreathRecord>(FILE).map(|Envelope { value, .. }| value)
    }
}

/// What a breath came to.
#[derive(Clone, Copy, Debug)]
pub struct LastBreath<'a> {
    /// Its verdict.
    pub verdict: &'a str,
    /// The same in a sentence.
    pub reason: &'a str,
    /// What it means for the next ones.
    pub prospect: Prospect,
}

/// What a breath means for the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// All is in step.
    InStep,
    /// The next one may be in step.
    MayPass,
    /// None will be in step before a person mends something.
    NeedsPerson,
}

/// In place of a verdict, for breaths that have not been in step for long.
const LATE: &str = "late";

/// Keeps what a breath came to, and writes down the beginning and the end of trouble: a conflict or a refusal at
/// once, anything else when it lasts.
pub fn breathed(state_dir: &StateDir, local_node: Option<&Name>, last: LastBreath<'_>, sync: Duration) {
    let now = SystemTime::now();
    let before = state_dir.breath();
    let (record, event) = next(before, last, now, (sync * LATE_BREATHS).max(MIN_LATE));
    state_dir.put(FILE, &record, Durability::Cached);
    if let Some((verdict, reason)) = event {
        let entry = Entry::new(local_node, Event::Breath, reason);
        history::record(state_dir, &Entry { node: local_node.cloned(), verdict: Some(verdict), ..entry });
    }
}

/// The record after a breath, and what the history is to tell: a verdict and a sentence.
fn next(
    before: Option<BreathRecord>,
    LastBreath { verdict, reason, prospect }: LastBreath<'_>,
    now: SystemTime,
    late: Duration,
) -> (BreathRecord, Option<(String, String)>) {
    let at = humantime::format_rfc3339_millis(now).to_string();
    let (in_step_at, since, told) = before.map_or((None, None, None), |before| {
        let BreathRecord { in_step_at, trouble_since, told, .. } = before;
        (in_step_at, trouble_since, told)
    });
    let record = |in_step_at, trouble_since, told| BreathRecord {
        at: at.clone(),
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        in_step_at,
        trouble_since,
        told,
    };
    if prospect == Prospect::InStep {
        let event = told.map(|told| (verdict.to_owned(), format!("The breath is in step again, after {told}.")));
        return (record(Some(at.clone()), None, None), event);
    }
    let since = since.unwrap_or_else(|| at.clone());
    let lasts = humantime::parse_rfc3339(&since).ok().and_then(|since| now.duration_since(since).ok());
    let is_late = lasts.is_some_and(|lasts| lasts >= late);
    let trouble = if prospect == Prospect::NeedsPerson { Some(verdict) } else { is_late.then_some(LATE) };
    let news = trouble.filter(|trouble| told.as_deref() != Some(trouble));
    let event = news.map(|trouble| {
        let words = if trouble == LATE {
            format!("No breath has been in step since {since}: {reason}")
        } else {
            reason.to_owned()
        };
        (trouble.to_owned(), words)
    });
    let told = trouble.map(str::to_owned).or(told);
    (record(in_step_at, Some(since), told), event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_tells_the_beginning_and_the_end_of_trouble_once() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut record = None;
        let mut breathe = |verdict: &str, seconds| {
            let prospect = match verdict {
                "in-step" => Prospect::InStep,
                "conflict" => Prospect::NeedsPerson,
                _ => Prospect::MayPass,
            };
            let last = LastBreath { verdict, reason: "Why.", prospect };
            let (next, event) = next(record.take(), last, at(seconds), Duration::from_secs(120));
            record = Some(next);
            event.map(|(verdict, _)| verdict)
        };
        assert_eq!(breathe("in-step", 0), None);
        assert_eq!(breathe("unreachable", 12), None);
        assert_eq!(breathe("raced", 131), None);
        assert_eq!(breathe("unreachable", 132).as_deref(), Some("late"));
        assert_eq!(breathe("unreachable", 144), None);
        assert_eq!(breathe("conflict", 156).as_deref(), Some("conflict"));
        assert_eq!(breathe("conflict", 168), None);
        assert_eq!(breathe("busy", 170).as_deref(), Some("late"));
        assert_eq!(breathe("in-step", 180).as_deref(), Some("in-step"));
        assert_eq!(breathe("in-step", 192), None);
        assert_eq!(record.expect("a record").in_step_at.as_deref(), Some("1970-01-01T00:03:12.000Z"));
    }
}
