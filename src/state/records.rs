//! What is kept of nodes and services.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ServiceRecord, StateDir};
use crate::clock::BootInstant;
use crate::leader::{NodeStates, State};
use crate::name::Name;

/// A promotion rarely takes longer, and no node is probed meanwhile.
pub const MAX_PROMOTION: Duration = Duration::from_secs(60);

/// Since when nodes have been seen alive, or dead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Uptimes(BTreeMap<Name, Span>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Span {
    state: State,
    since: BootInstant,
    last: BootInstant,
}

impl Uptimes {
    /// Adds what a probe that began at `now` found, and returns which nodes died or came back. A node
    /// that was not probed for longer than `gap` starts anew; a dead one only after a promotion could
    /// have taken all of that time.
    pub fn update(&mut self, seen: &NodeStates, now: BootInstant, gap: Duration) -> Vec<(Name, State)> {
        let mut changes = Vec::new();
        for (node, state) in seen {
            let before = self.0.remove(node);
            let gap = if *state == State::Dead { gap.max(MAX_PROMOTION) } else { gap };
            let goes_on = |span: &Span| span.state == *state && span.last.until(now) <= gap;
            let since = before.filter(goes_on).map_or(now, |span| span.since);
            if *state != State::Unknown {
                self.0.insert(node.clone(), Span { state: *state, since, last: now });
            }
            match (before.map(|span| span.state), state) {
                (None | Some(State::Alive), State::Dead) | (Some(State::Dead), State::Alive) => {
                    changes.push((node.clone(), *state));
                }
                _ => {}
            }
        }
        changes
    }

    /// Forgets which nodes were dead, and tells whether any were.
    pub fn forget_deaths(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|_, span| span.state != State::Dead);
        self.0.len() < before
    }

    /// For how long each node has been seen alive without a gap.
    pub fn alive_for(&self, now: BootInstant) -> BTreeMap<Name, Duration> {
        let alive = self.0.iter().filter(|(_, span)| span.state == State::Alive);
        alive.map(|(node, span)| (node.clone(), span.since.until(now))).collect()
    }

    /// Whether a probe of the last `gap` found a node dead.
    pub fn is_dead(&self, node: &Name, now: BootInstant, gap: Duration) -> bool {
        self.0.get(node).is_some_and(|span| span.state == State::Dead && span.last.until(now) <= gap)
    }

    /// When the first probe that found a node dead began, of those since it was last seen alive.
    pub fn dead_since(&self, node: &Name) -> Option<BootInstant> {
        self.0.get(node).filter(|span| span.state == State::Dead).map(|span| span.since)
    }
}

impl StateDir {
    /// Since when nodes have been seen alive, or dead.
    pub fn uptimes(&self) -> Uptimes {
        self.read("spans.json").unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_uptimes(&self, uptimes: &Uptimes) {
        self.write("spans.json", uptimes);
    }

    /// What is remembered of a service.
    pub fn record(&self, service: &Name) -> ServiceRecord {
        self.read(&format!("service-{service}.json")).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_record(&self, service: &Name, record: &ServiceRecord) {
        self.write(&format!("service-{service}.json"), record);
    }

    /// The brain that was last seen.
    pub fn brain(&self) -> Option<Name> {
        self.read("brain.json")
    }

    /// Keeps it.
    pub fn keep_brain(&self, brain: &Name) {
        self.write("brain.json", brain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_not_looked_at_starts_anew() {
        let node: Name = "a".parse().expect("a name");
        let seen = |state| NodeStates::from([(node.clone(), state)]);
        let gap = Duration::from_secs(10);
        let at = |ms| BootInstant::since_boot(Duration::from_millis(ms));
        let mut uptimes = Uptimes::default();
        let age = |uptimes: &Uptimes, now| uptimes.alive_for(at(now)).get(&node).copied();

        assert_eq!(uptimes.update(&seen(State::Alive), at(0), gap), []);
        uptimes.update(&seen(State::Alive), at(9_000), gap);
        assert_eq!(age(&uptimes, 9_000), Some(Duration::from_secs(9)));
        uptimes.update(&seen(State::Alive), at(30_000), gap);
        assert_eq!((age(&uptimes, 30_000), uptimes.dead_since(&node)), (Some(Duration::ZERO), None));
        assert_eq!(uptimes.update(&seen(State::Dead), at(31_000), gap), [(node.clone(), State::Dead)]);
        assert_eq!((age(&uptimes, 31_000), uptimes.dead_since(&node)), (None, Some(at(31_000))));
        assert_eq!(uptimes.update(&seen(State::Dead), at(91_000), gap), []);
        assert_eq!(uptimes.dead_since(&node), Some(at(31_000)), "a promotion may take so long");
        uptimes.update(&seen(State::Dead), at(152_000), gap);
        assert_eq!(uptimes.dead_since(&node), Some(at(152_000)));
        assert!(uptimes.forget_deaths() && !uptimes.forget_deaths());
        assert_eq!(uptimes.dead_since(&node), None);
    }
}
