//! Where a service belongs: a pure function of chain, view and history. Who leads is in [`crate::leader`].
//!
//! Nothing here looks at a clock, a socket or a file. `--down`, `--dry-run`, `--view` and the
//! tests use the same functions as the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::Failback;
use crate::leader::{Leader, NodeStates, State, leader};
use crate::name::Name;

/// What is known of a service when its target is chosen.
#[derive(Clone, Debug, Default)]
pub struct TargetInputs {
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
pub fn choose<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, inputs: &TargetInputs) -> Leader<'a> {
    if let Some(place) = inputs.on.as_ref().and_then(|on| chain.iter().position(|node| node == on))
        && seen.get(&chain[place]) == Some(&State::Alive)
    {
        return stay_or_return(&chain[..=place], seen, failback, inputs);
    }
    let in_favour = || chain.iter().filter(|node| !inputs.cooldown.contains(*node));
    match leader(in_favour(), seen) {
        Leader::Nobody => leader(chain, seen),
        settled => settled,
    }
}

/// For a service that runs well on the last of `chain`: there, or the first node before it whose
/// time has come. A node that is in doubt or has not answered takes nothing away from it.
fn stay_or_return<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, inputs: &TargetInputs) -> Leader<'a> {
    let Some((current, better)) = chain.split_last() else { return Leader::Nobody };
    let due = |node: &Name| match failback {
        Failback::Always => true,
        Failback::Never => false,
        Failback::After(wait) => {
            inputs.on_for >= wait && inputs.alive_for.get(node).is_some_and(|alive| *alive >= wait)
        }
    };
    for node in better.iter().filter(|node| !inputs.cooldown.contains(*node)) {
        match seen.get(node) {
            Some(State::Alive) if due(node) => return Leader::Known(node),
            Some(State::Alive | State::Dead) => {}
            Some(State::Unknown) => break,
            None => return Leader::Open(node),
        }
    }
    Leader::Known(current)
}
