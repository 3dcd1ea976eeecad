//! Beats: what the check of a node leaves behind, and what others read of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;
use crate::name::Name;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The node that it took for the brain.
    pub brain: Option<Name>,
    /// The living nodes that it passed over.
    pub passed_over: Vec<Name>,
    /// Where each service runs, as far as it knew, for the next brain.
    #[serde(default)]
    pub running: BTreeMap<Name, Name>,
}

/// What a check leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// The node whose check it was.
    pub node: Name,
    /// When the check ended.
    pub left: BootInstant,
    /// When the first check ended of those that followed each other without a gap.
    pub since: BootInstant,
    /// The digest of the node list that it used.
    pub digest: String,
    /// The version of `mirror`.
    pub version: String,
    /// The verdict of the check.
    pub verdict: String,
    /// What it found.
    #[serde(flatten)]
    pub assessment: Assessment,
    /// What the check took.
    #[serde(default)]
    pub took: Duration,
}

/// When a beat was read, and how old it was then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    read: BootInstant,
    age: Duration,
}

impl Sighting {
    /// A beat that was so old when it was read.
    pub const fn new(read: BootInstant, age: Duration) -> Self {
        Self { read, age }
    }

    /// For how long it has been known.
    pub fn known_for(&self, now: BootInstant) -> Duration {
        self.read.until(now)
    }

    /// How old the beat was when it was read.
    pub const fn age_when_read(&self) -> Duration {
        self.age
    }

    /// How old the beat is now.
    pub fn age(&self, now: BootInstant) -> Duration {
        self.age.saturating_add(self.read.until(now))
    }
}

/// A beat of another node as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// When, and how old it was.
    pub sighting: Sighting,
    /// The digest of that node's list.
    pub digest: String,
    /// What its check found.
    #[serde(flatten)]
    pub assessment: Assessment,
    /// How far that node's clock is ahead of this one's, in ms.
    pub clock_ahead_ms: i64,
}

/// What a question for a beat brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A beat, however old.
    Beat(Heard),
    /// The node's `mirror` answers that no check has ended since the node booted.
    NoBeat,
    /// No answer that could be read, and why.
    Unreadable(String),
}
