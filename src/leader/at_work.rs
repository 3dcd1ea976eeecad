//! Who is at work: the rule by which a living node is passed over, and by which it gets the lead back.
//!
//! A check leaves a beat. A standby reads the beat of the node that it takes for the brain, once in
//! `interval`. The times, with the brain L and the standby S, at `check` = 5 s, `timeout` = 750 ms:
//!
//! ```text
//!  L  beat ✗ (its watchdog ends)
//!  S  reads: 0 s old ── 5 s ── 10 s ── 15 s > stale = 10.75 s: L is passed over, S leads in this check
//!     at most stale + interval + answer = 10.75 + 5 + 3 s after the last beat
//!
//!  L  (its logins hang or are refused, its `mirror` is gone, its node list has a typo)
//!  S  reads: 0 s old ── none ── none ── none, and the last one is 15 s old > silent = 10.75 s:
//!     the other living nodes are asked with it what they have read of L. A younger one: L stays. None:
//!     L is passed over. At most silent + interval + answer + timeout
//!
//!  L  ── beat ── yields (S leads, it says) ──────── reads S: L is the brain ── leads
//!  S  leads ────── reads L's beat: gives way ── beat (brain: L)
//! ```
//!
//! `stale` is two checks and a probe: a brain that works at every other check is never passed over.
//! A healthy neighbour reads once in `interval`, and what it reads is at most a check old; `silent` is the sum, the
//! greatest age of the last beat that it has read. So one question that fails passes nobody over.
//!
//! A node that was passed over once more within [`RELAPSE`] gets the lead back only after [`STEADY`] of
//! fresh beats. So a brain that works now and then changes the brain twice at first, and from then on
//! less than once in a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::beat::{Answer, Heard, Sighting};
use crate::clock::{BootInstant, seconds};
use crate::config::Limits;
use crate::name::Name;

/// The interval at which a node is asked that is passed over and cannot be read doubles so often at most.
const MAX_DOUBLINGS: u32 = 3;
/// A node that is passed over again within this time of its return has relapsed.
pub const RELAPSE: Duration = Duration::from_secs(600);
/// For how long a node that has relapsed must be fresh before it gets the lead back.
pub const STEADY: Duration = Duration::from_secs(120);

/// Whether a node is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtWork {
    /// Its last check ended a short while ago.
    Yes,
    /// Its last check is too long ago, or it has made none since it booted.
    No,
    /// It was not asked, or nothing can be said by what came.
    Unasked,
}

/// What the last question brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Last {
    Beat,
    NoBeat,
    Unreadable(String),
}

/// Why, and since when, a living node is passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Since when.
    pub since: BootInstant,
    /// Why, as half a sentence.
    pub why: String,
    /// Whether it had got the lead back a short while before.
    relapse: bool,
}

/// What is known of another node's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// It is not asked again before.
    due: BootInstant,
    last: Option<Last>,
    /// The latest beat that was read here.
    beat: Option<Heard>,
    /// The latest beat that another node had, by its word.
    told: Option<Sighting>,
    passed_over: Option<PassedOver>,
    /// When it last got the lead back.
    returned: Option<BootInstant>,
    /// Since when every question has found a fresh beat.
    fresh_since: Option<BootInstant>,
    /// How many questions in a row brought nothing readable.
    failed: u32,
}

impl Known {
    /// The latest beat that was read here.
    pub fn beat(&self) -> Option<&Heard> {
        self.beat.as_ref()
    }

    /// Why it is passed over.
    pub fn passed_over(&self) -> Option<&PassedOver> {
        self.passed_over.as_ref()
    }

    /// Whether the last question brought an answer.
    pub fn is_readable(&self) -> bool {
        matches!(self.last, Some(Last::Beat | Last::NoBeat))
    }

    fn is_due(&self, now: BootInstant, limits: &Limits) -> bool {
        self.due <= now.plus(limits.interval() / 10)
    }

    /// Whether nobody has had a beat for long enough, after so many questions in a row that brought none.
    fn is_silent(&self, now: BootInstant, failed: u32, limits: &Limits) -> bool {
        self.youngest(now).map_or(failed >= limits.first_questions(), |age| age > limits.silent())
    }

    /// How old the youngest beat is that anybody has had.
    fn youngest(&self, now: BootInstant) -> Option<Duration> {
        let read = self.beat.as_ref().map(|beat| beat.sighting.age(now));
        let told = self.told.map(|told| told.age(now));
        read.into_iter().chain(told).min()
    }

    fn pass_over(&mut self, why: String, now: BootInstant) {
        self.fresh_since = None;
        let relapse = self.returned.is_some_and(|returned| returned.until(now) < RELAPSE);
        let since = self.passed_over.as_ref().map_or(now, |over| over.since);
        let relapse = self.passed_over.as_ref().map_or(relapse, |over| over.relapse);
        self.passed_over = Some(PassedOver { since, why, relapse });
    }

    /// A fresh beat gives the lead back: at once, or after a steady while.
    fn is_fresh(&mut self, now: BootInstant) {
        let since = *self.fresh_since.get_or_insert(now);
        let Some(over) = &mut self.passed_over else { return };
        if !over.relapse || since.until(now) >= STEADY {
            self.passed_over = None;
            self.returned = Some(now);
        } else {
            over.why =
                format!("it stopped working twice in {}, and has to work for {}", seconds(RELAPSE), seconds(STEADY));
        }
    }
}

/// The node that judges the others.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    /// Its name; none on a machine that is no node.
    pub node: Option<&'a Name>,
    /// The digest of its node list.
    pub digest: &'a str,
    /// Whether a watchdog has been at work for so long that others would have left a beat too. Without
    /// it, where somebody tries the commands by hand, being alive is enough.
    pub steady: bool,
}

/// What the other living nodes said when one could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// How many live, beside the one in doubt and this one.
    pub living: usize,
    /// How many of them could be read.
    pub read: usize,
}

/// Which node this one has to yield to although it comes first, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yield {
    /// It leads, having found this node not at work; it has not read a fresh beat of this one yet.
    Returning(Name),
    /// It leads by another node list, whose digest is the smaller one.
    OtherList(Name, String),
}

/// All that a node knows of the others' work. It outlives a check in the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    nodes: BTreeMap<Name, Known>,
    /// When the brain looks around next.
    round_due: Option<BootInstant>,
    /// What was said on stderr, and when.
    pub said: BTreeMap<String, BootInstant>,
}

impl Watch {
    /// What is known of a node.
    pub fn node(&self, node: &Name) -> Option<&Known> {
        self.nodes.get(node)
    }

    /// Of each node.
    pub fn nodes(&self) -> impl Iterator<Item = (&Name, &Known)> {
        self.nodes.iter()
    }

    /// The nodes that are passed over while they live.
    pub fn passed_over(&self) -> BTreeSet<Name> {
        let over = self.nodes.iter().filter(|(_, known)| known.passed_over.is_some());
        over.map(|(node, _)| node.clone()).collect()
    }

    /// The nodes that had stopped working when they were last asked, or that were passed over since.
    pub fn not_at_work(&self, judge: &Judge<'_>, limits: &Limits) -> BTreeSet<Name> {
        let has_stopped = |known: &Known| match (&known.last, &known.beat) {
            _ if known.passed_over.is_some() => true,
            (Some(Last::Beat), Some(beat)) => beat.sighting.age_when_read() > limits.silent(),
            (Some(Last::NoBeat), _) => judge.steady,
            _ => false,
        };
        self.nodes.iter().filter(|(_, known)| has_stopped(known)).map(|(node, _)| node.clone()).collect()
    }

    /// After a gap in the checks here, what was decided before it is void; the beats are still true.
    pub fn wake(&mut self) {
        self.round_due = None;
        for known in self.nodes.values_mut() {
            let (beat, told) = (known.beat.take(), known.told);
            *known = Known { due: known.due, beat, told, ..Known::default() };
        }
    }

    /// Forgets the nodes that the list no longer has.
    pub fn keep(&mut self, known: impl Fn(&Name) -> bool) {
        self.nodes.retain(|node, _| known(node));
    }

    /// Whether a node may be asked now, which counts as asked then. A check that comes a tenth of an
    /// interval early counts as in time, or every other one would be left out; on average there is one
    /// question in each interval and not more.
    pub fn is_due(&mut self, node: &Name, now: BootInstant, limits: &Limits) -> bool {
        let known = self.nodes.entry(node.clone()).or_default();
        // A node that leads nothing and cannot be read is asked less and less often.
        let rarely = if known.passed_over.is_some() { known.failed.min(MAX_DOUBLINGS) } else { 0 };
        let interval = limits.interval() * 2_u32.pow(rarely);
        if !known.is_due(now, limits) {
            return false;
        }
        known.due = known.due.max(now).plus(interval);
        true
    }

    /// Whether the brain is to look around now. The first time is one round after it has begun to lead.
    pub fn round_is_due(&mut self, now: BootInstant, limits: &Limits) -> bool {
        let due = *self.round_due.get_or_insert(now.plus(limits.round()));
        if due > now {
            return false;
        }
        self.round_due = Some(now.plus(limits.round()));
        true
    }

    /// This node does not lead: it looks around one round after it begins to.
    pub fn no_round(&mut self) {
        self.round_due = None;
    }

    /// Takes an answer that came at `now`. Only a node `before` this one in the chain can be passed over.
    pub fn learn(
        &mut self,
        node: &Name,
        answer: Answer,
        now: BootInstant,
        (judge, before): (&Judge<'_>, bool),
        limits: &Limits,
    ) {
        let known = self.nodes.entry(node.clone()).or_default();
        known.failed = if matches!(answer, Answer::Unreadable(_)) { known.failed.saturating_add(1) } else { 0 };
        match answer {
            Answer::Beat(heard) => {
                let age = heard.sighting.age(now);
                known.beat = Some(heard);
                known.last = Some(Last::Beat);
                if age <= limits.stale() {
                    known.is_fresh(now);
                } else if before {
                    known.pass_over(format!("its last check ended {} ago", seconds(age)), now);
                }
            }
            Answer::NoBeat => {
                known.last = Some(Last::NoBeat);
                known.fresh_since = None;
                if before && judge.steady {
                    known.pass_over("it has finished no check since it booted".to_owned(), now);
                }
            }
            Answer::Unreadable(why) => {
                known.last = Some(Last::Unreadable(why));
                known.fresh_since = None;
            }
        }
    }

    /// Takes another node's word that it has had a beat of `node`.
    pub fn hear(&mut self, node: &Name, told: Sighting, now: BootInstant, limits: &Limits) {
        let known = self.nodes.entry(node.clone()).or_default();
        if known.told.is_none_or(|before| told.age(now) < before.age(now)) {
            known.told = Some(told);
        }
        // What was read here is better than what another says of an earlier beat.
        let young = known.youngest(now).is_some_and(|age| age <= limits.stale());
        if young && known.passed_over.is_some() && matches!(known.last, Some(Last::Unreadable(_))) {
            known.is_fresh(now);
        }
    }

    /// Whether a question that begins now would give cause to ask the others if it brought nothing readable:
    /// then they are asked at the same time, and no answer waits for another.
    pub fn is_suspect(&self, node: &Name, now: BootInstant, judge: &Judge<'_>, limits: &Limits) -> bool {
        let Some(known) = self.nodes.get(node) else { return false };
        let silent = known.is_silent(now, known.failed.saturating_add(1), limits);
        judge.steady && known.is_due(now, limits) && known.passed_over.is_none() && silent
    }

    /// Whether a question that began at `began` and brought nothing readable gives cause to ask the
    /// other living nodes: nobody known has had a beat of the node for long enough.
    pub fn is_in_doubt(&self, node: &Name, began: BootInstant, judge: &Judge<'_>, limits: &Limits) -> bool {
        let Some(known) = self.nodes.get(node) else { return false };
        let unreadable = matches!(known.last, Some(Last::Unreadable(_)));
        let silent = known.is_silent(began, known.failed, limits);
        judge.steady && unreadable && known.passed_over.is_none() && silent
    }

    /// Decides a doubt after the others were asked. A node that can read none of the living others has
    /// trouble of its own, and passes nobody over. Where no other lives, the node must have been
    /// readable before.
    pub fn settle_doubt(
        &mut self,
        node: &Name,
        began: BootInstant,
        others: Others,
        judge: &Judge<'_>,
        limits: &Limits,
    ) {
        if !self.is_in_doubt(node, began, judge, limits) {
            return;
        }
        let Some(known) = self.nodes.get_mut(node) else { return };
        let can_read = if others.living == 0 { known.beat.is_some() } else { others.read > 0 };
        if let (true, Some(Last::Unreadable(why))) = (can_read, &known.last) {
            let why = format!("whether it is at work cannot be read ({why}), by no other living node either");
            known.pass_over(why, began);
        }
    }

    /// Whether a node is at work, by what is known now.
    pub fn at_work(&self, node: &Name, now: BootInstant, limits: &Limits) -> AtWork {
        let Some(known) = self.nodes.get(node) else { return AtWork::Unasked };
        match (&known.passed_over, known.youngest(now), &known.last) {
            (Some(_), ..) => AtWork::No,
            (None, Some(age), _) if age <= limits.silent() => AtWork::Yes,
            (None, _, Some(Last::Beat | Last::NoBeat)) => AtWork::No,
            (None, _, Some(Last::Unreadable(_)) | None) => AtWork::Unasked,
        }
    }

    /// Which living node this one, which comes first, has to yield to.
    pub fn yields(
        &self,
        judge: &Judge<'_>,
        living: impl Fn(&Name) -> bool,
        now: BootInstant,
        limits: &Limits,
    ) -> Option<Yield> {
        let local_node = judge.node?;
        let leads = |(node, known): (&Name, &Known)| {
            let beat = known.beat.as_ref()?;
            let fresh = beat.sighting.age(now) <= limits.silent();
            if node == local_node || !fresh || beat.assessment.brain.as_ref() != Some(node) || !living(node) {
                return None;
            }
            if beat.digest != judge.digest {
                let smaller = beat.digest.as_str() < judge.digest;
                return smaller.then(|| Yield::OtherList(node.clone(), beat.digest.clone()));
            }
            beat.assessment.passed_over.contains(local_node).then(|| Yield::Returning(node.clone()))
        };
        self.nodes.iter().find_map(leads)
    }

    /// What is said of beats that this node has read, for the others: how old each is now.
    pub fn heard(&self, now: BootInstant) -> impl Iterator<Item = (&Name, Duration)> {
        self.nodes.iter().filter_map(move |(node, known)| Some((node, known.beat.as_ref()?.sighting.age(now))))
    }

    /// Judges at one time what all nodes have answered, for a person who asks. As soon as one beat is
    /// fresh, watchdogs run on this network, and a node without a beat is not at work.
    pub fn judge_at_once(&mut self, now: BootInstant, limits: &Limits) {
        let fresh = |known: &Known| known.youngest(now).is_some_and(|age| age <= limits.stale());
        let watched = self.nodes.values().any(fresh);
        let readable = |known: &Known| matches!(known.last, Some(Last::Beat | Last::NoBeat));
        let read = self.nodes.values().filter(|known| readable(known)).count();
        for known in self.nodes.values_mut().filter(|known| watched && known.passed_over.is_none() && !fresh(known)) {
            match &known.last {
                Some(Last::NoBeat) => known.pass_over("it has finished no check since it booted".to_owned(), now),
                Some(Last::Unreadable(why)) if read > 0 => {
                    known.pass_over(format!("whether it is at work cannot be read ({why})"), now);
                }
                _ => {}
            }
        }
    }
}
