//! Who leads a chain, from what was seen: alive, at work, cut off.
//!
//! Nothing here looks at a clock, a socket or a file. [`at_work`] is the part of the rule that a probe
//! does not see; [`crate::at_work`] asks the questions whose answers it judges.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;

pub mod at_work;
pub mod beat;

/// What one probe found a node to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// An answer came.
    Alive,
    /// A definite no, or no answer in time.
    Dead,
    /// We could not ask.
    Unknown,
}

/// The states seen so far. A node that is not in it has not answered yet, or was not asked.
pub type NodeStates = BTreeMap<Name, State>;

/// Who leads a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader<'a> {
    /// The first node that is alive; every one before it is dead.
    Known(&'a Name),
    /// Every node is dead.
    Nobody,
    /// This node is unknown, and no node before it is alive: nobody leads on doubt.
    InDoubt(&'a Name),
    /// This node has not answered yet, and no node before it is alive.
    Open(&'a Name),
}

/// Walks a chain in its order.
pub fn leader<'a>(chain: impl IntoIterator<Item = &'a Name>, seen: &NodeStates) -> Leader<'a> {
    for node in chain {
        match seen.get(node) {
            Some(State::Alive) => return Leader::Known(node),
            Some(State::Dead) => {}
            Some(State::Unknown) => return Leader::InDoubt(node),
            None => return Leader::Open(node),
        }
    }
    Leader::Nobody
}

/// Who leads when nothing more will be seen: what is open is in doubt.
pub fn final_leader<'a>(chain: impl IntoIterator<Item = &'a Name>, seen: &NodeStates) -> Leader<'a> {
    match leader(chain, seen) {
        Leader::Open(node) => Leader::InDoubt(node),
        settled => settled,
    }
}

/// Walks a chain past the living nodes that are not at work. Where no other node lives, being alive
/// is enough: the first living node leads although it was passed over.
pub fn leader_at_work<'a>(chain: &'a [Name], seen: &NodeStates, passed_over: &BTreeSet<Name>) -> Leader<'a> {
    let idle = |node: &Name| passed_over.contains(node) && seen.get(node) == Some(&State::Alive);
    match leader(chain.iter().filter(|node| !idle(node)), seen) {
        Leader::Nobody => leader(chain, seen),
        settled => settled,
    }
}

/// Whether `local_node` is cut off: it has witnesses, none of them answered, and no other node is alive.
///
/// `None` while that is still open. Without a witness, or on a machine that is no node, never.
/// `others` is the number of nodes beside `local_node`; a witness is `None` until it was asked.
pub fn isolated(
    local_node: Option<&Name>,
    seen: &NodeStates,
    others: usize,
    witnesses: &[Option<bool>],
) -> Option<bool> {
    let Some(local_node) = local_node.filter(|_| !witnesses.is_empty()) else { return Some(false) };
    let other_states = || seen.iter().filter(|(node, _)| *node != local_node).map(|(_, state)| *state);
    if other_states().any(|state| state == State::Alive) || witnesses.contains(&Some(true)) {
        return Some(false);
    }
    let all_seen = other_states().count() == others && witnesses.iter().all(Option::is_some);
    all_seen.then_some(true)
}

/// Who the brain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brain {
    /// This node or another one.
    Known(Name),
    /// Every node of the chain is dead.
    Nobody,
    /// Why it cannot be said, as half a sentence.
    Unknown(String),
    /// This node is cut off from all others and all witnesses.
    Isolated,
    /// More answers are needed.
    Open,
}

impl Brain {
    /// Who it is, as a sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Known(name) => format!("{name} is the brain."),
            Self::Nobody => "Every node of the brain chain is dead, as seen from here.".to_owned(),
            Self::Isolated => {
                "This node sees no other node and no witness: it is cut off, and leads nobody.".to_owned()
            }
            Self::Unknown(why) => format!("Who the brain is, is unknown: {why}."),
            Self::Open => "Who the brain is, is unknown.".to_owned(),
        }
    }

    /// The same, said on a node that asks whether it is itself.
    pub fn sentence_to(&self, local_node: Option<&Name>) -> String {
        match self {
            Self::Known(name) if Some(name) == local_node => "This node is the brain.".to_owned(),
            Self::Known(name) if local_node.is_none() => {
                format!("{name} is the brain; this machine is no node of the list, unless --self names it.")
            }
            Self::Known(name) => format!("{name} is the brain, not this node."),
            _ => self.sentence(),
        }
    }

    /// Whether it is this node.
    pub fn is(&self, node: Option<&Name>) -> bool {
        matches!(self, Self::Known(name) if Some(name) == node)
    }
}

/// What decides who the brain is.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The brain chain.
    pub chain: &'a [Name],
    /// The node this is.
    pub local_node: Option<&'a Name>,
    /// How many other nodes the list has.
    pub others: usize,
    /// The living nodes that are not at work.
    pub passed_over: &'a BTreeSet<Name>,
}

impl Facts<'_> {
    /// Who the brain is by what has come so far; `Open` when more is needed.
    pub fn brain(&self, seen: &NodeStates, witnesses: &[Option<bool>]) -> Brain {
        let leader = leader_at_work(self.chain, seen, self.passed_over);
        // A living node other than this one proves that this one is not cut off.
        if let Leader::Known(name) = leader
            && Some(name) != self.local_node
        {
            return Brain::Known(name.clone());
        }
        if matches!(leader, Leader::Open(_)) {
            return Brain::Open;
        }
        match (isolated(self.local_node, seen, self.others, witnesses), leader) {
            (None, _) => Brain::Open,
            (Some(true), _) => Brain::Isolated,
            (Some(false), Leader::Known(name)) => Brain::Known(name.clone()),
            (Some(false), Leader::Nobody) => Brain::Nobody,
            (Some(false), Leader::InDoubt(name) | Leader::Open(name)) => {
                Brain::Unknown(format!("{name} could not be asked"))
            }
        }
    }

    /// Who the brain is when no other node will be asked.
    pub fn final_brain(&self, seen: &NodeStates, witnesses: &[Option<bool>]) -> Brain {
        match self.brain(seen, witnesses) {
            Brain::Open => match leader_at_work(self.chain, seen, self.passed_over) {
                Leader::Open(name) | Leader::InDoubt(name) => Brain::Unknown(format!("{name} was not asked")),
                _ => Brain::Unknown("not every node was asked".to_owned()),
            },
            brain => brain,
        }
    }
}
