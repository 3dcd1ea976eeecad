//! Who leads, and where a service belongs: pure functions of chain, view and history.
//!
//! Nothing here looks at a clock, a socket or a file. `--down`, `--dry-run`, `--view` and the
//! tests use the same functions as the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Name;
use crate::config::Failback;

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
    LeaseError(&'a Name),
    /// This node has not answered yet, and no node before it is alive.
    Open(&'a Name),
}

/// Walks a chain in its order.
pub fn leader<'a>(chain: impl IntoIterator<Item = &'a Name>, seen: &NodeStates) -> Leader<'a> {
    for node in chain {
        match seen.get(node) {
            Some(State::Alive) => return Leader::Known(node),
            Some(State::Dead) => {}
            Some(State::Unknown) => return Leader::LeaseError(node),
            None => return Leader::Open(node),
        }
    }
    Leader::Nobody
}

/// Who leads when nothing more will be seen: what is open is in doubt.
pub fn final_leader<'a>(chain: impl IntoIterator<Item = &'a Name>, seen: &NodeStates) -> Leader<'a> {
    match leader(chain, seen) {
        Leader::Open(node) => Leader::LeaseError(node),
        settled => settled,
    }
}

/// Whether `own` is cut off: it has witnesses, none of them answered, and no other node is alive.
///
/// `None` while that is still open. Without a witness, or on a machine that is no node, never.
/// `others` is the number of nodes beside `own`; a witness is `None` until it was asked.
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

/// What is known of a service when its target is chosen.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// The node on which it was last seen to run well.
    pub on: Option<Name>,
    /// For how long it has been seen there.
    pub on_for: Duration,
    /// For how long each node has been seen alive without a gap.
    pub alive_for: BTreeMap<Name, Duration>,
    /// Nodes on which it could not be started lately.
    pub cooldown: BTreeSet<Name>,
}

/// The node that ought to run a service.
///
/// That is the first living node of its chain that has not been passed over. A service that runs
/// well on a lower node stays there until a better node has been alive, and the service has been
/// where it is, for `failback`. When every living node has been passed over, that is forgotten:
/// to try again is better than to run nowhere.
pub fn target<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, placement: &Placement) -> Leader<'a> {
    if let Some(place) = placement.on.as_ref().and_then(|on| chain.iter().position(|node| node == on))
        && seen.get(&chain[place]) == Some(&State::Alive)
    {
        return stay_or_return(&chain[..=place], seen, failback, placement);
    }
    let in_favour = || chain.iter().filter(|node| !placement.cooldown.contains(*node));
    match leader(in_favour(), seen) {
        Leader::Nobody => leader(chain, seen),
        settled => settled,
    }
}

/// For a service that runs well on the last of `chain`: there, or the first node before it whose
/// time has come. A node that is in doubt or has not answered takes nothing away from it.
fn stay_or_return<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, placement: &Placement) -> Leader<'a> {
    let Some((current, better)) = chain.split_last() else { return Leader::Nobody };
    let due = |node: &Name| match failback {
        Failback::Always => true,
        Failback::Never => false,
        Failback::After(wait) => {
            placement.on_for >= wait && placement.alive_for.get(node).is_some_and(|alive| *alive >= wait)
        }
    };
    for node in better.iter().filter(|node| !placement.cooldown.contains(*node)) {
        match seen.get(node) {
            Some(State::Alive) if due(node) => return Leader::Known(node),
            Some(State::Alive | State::Dead) => {}
            Some(State::Unknown) => break,
            None => return Leader::Open(node),
        }
    }
    Leader::Known(current)
}
