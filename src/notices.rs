//! Small facts that a person sets and that every node must know: a node is drained, a service is paused.
//!
//! There is one way to spread them. The command that sets one tells every node it can reach (`mirror beat --learn`),
//! each node keeps all of them in its state, and every answer about a beat tells them. A check merges what it hears,
//! so a node that was down learns of them from the brain, and a brain from the others in its rounds.
//!
//! For each subject the notice with the later stamp counts, whichever way it came. An end is a notice too and is kept,
//! so an older beginning that a returning node still has brings nothing back. A stamp is the calendar clock of the
//! machine that sets the notice, in ms, but always more than every stamp that this machine has seen (a hybrid logical
//! clock: Kulkarni et al., 2014):
//!
//! ```text
//!  a, an hour ahead   drain c, stamp 13:00
//!  b, in time         hears it ── undrain c at 12:05: stamp 13:00 and 1 ms, which counts
//! ```
//!
//! So the order is that of cause and effect wherever one setter knew of the other; where neither did, it is that of
//! the clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::name::Name;

mod store;

pub use store::{heed, learn, read, told};

/// A stamp beyond the year 9999 could not be followed by another one.
const MAX_STAMP: u64 = 253_402_300_800_000;
/// A longer reason, or name of who gave it, is not taken.
pub const MAX_TEXT: usize = 2000;

/// Stands for the person behind a pause that is damaged; no node or host has such a name.
pub const UNKNOWN_PERSON: &str = "an unknown person";

/// Why what cannot be read counts as a pause.
pub fn unreadable(what: &str) -> String {
    format!("{what}, so it may have been a pause; `mirror resume` or `mirror pause` writes it anew")
}

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A node is drained: nothing is moved there, and what runs there leaves.
    Drain,
    /// A service, or every service, is paused.
    Pause,
}

impl Kind {
    /// Every kind.
    const ALL: [Self; 2] = [Self::Drain, Self::Pause];
}

/// What a notice is about, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The kind.
    pub kind: Kind,
    /// The node that is drained, or the service that is paused; null for every service.
    pub of: Option<Name>,
}

/// One fact, as it was last set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Whether it holds; false for an end.
    pub holds: bool,
    /// Of a pause: whether only the automatic stops, and `promote --to` does not.
    #[serde(default)]
    pub auto_only: bool,
    /// Of a drain: whether the node itself knows of it, and no check is under way there that does not. From then on
    /// it does not lead.
    #[serde(default)]
    pub heeded: bool,
    /// Who set it: a node's name, or where the command was given on no node, the host's.
    pub by: String,
    /// Why, in words; null when nobody said.
    pub why: Option<String>,
    /// When: RFC 3339, UTC, by the calendar clock of who set it.
    pub at: String,
    /// What orders it among the others of its subject.
    pub stamp: u64,
}

/// A node that is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drained {
    /// The node.
    pub node: Name,
    /// Who drained it: a node's name, or where the command was given on no node, the host's.
    pub by: String,
    /// Why, in words; null when nobody said.
    pub why: Option<String>,
    /// Since when: RFC 3339, UTC, by the calendar clock of who drained it.
    pub at: String,
}

/// The notices that are known, one for each subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices(BTreeMap<Subject, Notice>);

impl Subject {
    /// A node's drain.
    pub const fn drain(node: Name) -> Self {
        Self { kind: Kind::Drain, of: Some(node) }
    }

    /// The pause of a service, or of all.
    pub const fn pause(service: Option<Name>) -> Self {
        Self { kind: Kind::Pause, of: service }
    }

    /// Whether it is about something that the node list has.
    fn is_known(&self, config: &Config) -> bool {
        match (self.kind, &self.of) {
            (Kind::Drain, node) => node.as_ref().is_some_and(|node| config.nodes.contains_key(node)),
            (Kind::Pause, service) => service.as_ref().is_none_or(|service| config.services.contains_key(service)),
        }
    }
}

impl Drained {
    /// In words, as the end of a sentence.
    pub fn words(&self) -> String {
        words(&self.at, &self.by, self.why.as_deref())
    }
}

fn words(at: &str, by: &str, why: Option<&str>) -> String {
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    format!("drained since {at} by {by}{why}")
}

impl Notice {
    /// Of a drain: in words, as the end of a sentence: since when, by which user, and why.
    pub fn words(&self) -> String {
        words(&self.at, &self.by, self.why.as_deref())
    }

    /// Whether it counts and the other one does not. Two that were set at the same time by the same user differ in
    /// nothing else; the one that holds is the careful choice.
    fn is_later(&self, other: &Self) -> bool {
        let order = |notice: &Self| (notice.stamp, notice.by.clone(), notice.holds);
        order(self) > order(other)
    }

    fn fits(&self) -> bool {
        let short = |text: &str| text.len() <= MAX_TEXT;
        (1..=MAX_STAMP).contains(&self.stamp)
            && short(&self.by)
            && short(&self.at)
            && self.why.as_deref().is_none_or(short)
    }
}

impl Notices {
    /// Takes a notice, if it is later than what is known; whether anything is different now.
    pub fn add(&mut self, notice: Notice) -> bool {
        match self.0.get_mut(&notice.subject) {
            Some(known) if notice.is_later(known) => *known = notice,
            Some(known) if !known.is_later(&notice) && notice.heeded && !known.heeded => known.heeded = true,
            Some(_) => return false,
            None => {
                self.0.insert(notice.subject.clone(), notice);
            }
        }
        true
    }

    /// Takes many; those that are news: they change what holds.
    pub fn merge(&mut self, others: impl IntoIterator<Item = Notice>) -> Vec<Notice> {
        let mut news = Vec::new();
        for notice in others {
            let before = self.terms();
            if self.add(notice.clone()) && self.terms() != before {
                news.push(notice);
            }
        }
        news
    }

    /// What holds, and whether for the automatic only.
    fn terms(&self) -> Vec<(Subject, bool)> {
        self.all_holding().map(|notice| (notice.subject.clone(), notice.auto_only)).collect()
    }

    /// The notice of a subject, if it holds.
    pub fn holding(&self, subject: &Subject) -> Option<&Notice> {
        self.get(subject).filter(|notice| self.is_in_force(notice))
    }

    /// The end of the pause of every service ends the older ones of single services too.
    fn is_in_force(&self, notice: &Notice) -> bool {
        let is_over = |end: &Notice| !end.holds && end.stamp > notice.stamp;
        let is_pause = notice.subject.kind == Kind::Pause;
        notice.holds && !(is_pause && self.get(&Subject::pause(None)).is_some_and(is_over))
    }

    /// The last notice of a subject, also an end.
    pub fn get(&self, subject: &Subject) -> Option<&Notice> {
        self.0.get(subject)
    }

    /// Each notice that holds.
    pub fn all_holding(&self) -> impl Iterator<Item = &Notice> {
        self.0.values().filter(|notice| self.is_in_force(notice))
    }

    /// Each of a kind that holds.
    pub fn holding_of(&self, kind: Kind) -> impl Iterator<Item = &Notice> {
        self.all_holding().filter(move |notice| notice.subject.kind == kind)
    }

    /// All, ends included.
    pub fn all(&self) -> impl Iterator<Item = &Notice> {
        self.0.values()
    }

    /// What other nodes are told: what is of this node alone stays here.
    pub fn told(&self) -> impl Iterator<Item = &Notice> {
        self.all().filter(|notice| notice.stamp > 0)
    }

    /// The notice by which a node is drained.
    pub fn drain_of(&self, node: &Name) -> Option<&Notice> {
        // Mostly nothing is drained.
        if self.0.is_empty() { None } else { self.holding(&Subject::drain(node.clone())) }
    }

    /// The nodes that are drained.
    pub fn drained(&self) -> BTreeSet<Name> {
        self.holding_of(Kind::Drain).filter_map(|notice| notice.subject.of.clone()).collect()
    }

    /// Each of them, and who drained it.
    pub fn all_drained(&self) -> Vec<Drained> {
        let drained = |notice: &Notice| {
            let Notice { by, why, at, .. } = notice.clone();
            Some(Drained { node: notice.subject.of.clone()?, by, why, at })
        };
        self.holding_of(Kind::Drain).filter_map(drained).collect()
    }

    /// The stamp of a notice that is set now.
    pub fn next_stamp(&self, now: SystemTime) -> u64 {
        let clock = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let seen = self.0.values().map(|notice| notice.stamp).max().map_or(0, |stamp| stamp.saturating_add(1));
        u64::try_from(clock).unwrap_or(MAX_STAMP).max(seen).min(MAX_STAMP)
    }

    /// Forgets what the node list no longer has.
    fn keep_known(&mut self, config: &Config) {
        self.0.retain(|subject, _| subject.is_known(config));
    }
}

impl FromIterator<Notice> for Notices {
    fn from_iter<T: IntoIterator<Item = Notice>>(notices: T) -> Self {
        let mut all = Self::default();
        for notice in notices {
            all.add(notice);
        }
        all
    }
}

/// What another node told: what this version does not know is passed over.
pub fn from_json(told: &serde_json::Value) -> Vec<Notice> {
    let list = told.as_array().map_or(&[][..], Vec::as_slice);
    let notice = |value: &serde_json::Value| serde_json::from_value(value.clone()).ok().filter(Notice::fits);
    list.iter().filter_map(notice).collect()
}

#[cfg(test)]
mod tests;
