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
    pub runs_well_on: Option<Name>,
    /// For how long it has been seen there.
    pub runs_there_for: Duration,
    /// For how long each node has been seen alive without a gap.
    pub alive_for: BTreeMap<Name, Duration>,
    /// Nodes that are passed over as long as another one can be had: a start failed there lately, or they say nothing.
    pub passed_over: BTreeSet<Name>,
    /// Nodes whose watchdogs do not work, to which nothing returns.
    pub not_at_work: BTreeSet<Name>,
    /// Nodes to which nothing is moved.
    pub drained: BTreeSet<Name>,
    /// The node on which it was last seen to run, well or not.
    pub last_ran_on: Option<Name>,
}

/// The node that ought to run a service.
///
/// That is the first living node of its chain that has not been passed over. A service that runs
/// well on a lower node stays there until a better node has been alive, and the service has been
/// where it is, for `failback`, and that node's watchdog is at work. When every living node is to be passed over, none is: to try again is
/// better than to run nowhere.
///
/// Nothing is moved to a drained node. What runs on one leaves for the first living node that is neither drained nor
/// passed over; where there is none it stays, and is started again where it ran last and nowhere else.
pub fn choose<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, inputs: &TargetInputs) -> Leader<'a> {
    if let Some(place) = inputs.runs_well_on.as_ref().and_then(|on| chain.iter().position(|node| node == on))
        && seen.get(&chain[place]) == Some(&State::Alive)
    {
        if inputs.drained.contains(&chain[place]) {
            return leave_or_stay(chain, &chain[place], seen, inputs);
        }
        return stay_or_return(&chain[..=place], seen, failback, inputs);
    }
    let open = || chain.iter().filter(|node| !inputs.drained.contains(*node));
    let in_favour = || open().filter(|node| !inputs.passed_over.contains(*node));
    let last = || chain.iter().filter(|node| inputs.last_ran_on.as_ref() == Some(*node));
    let rest = || match leader(open(), seen) {
        Leader::Nobody if !inputs.drained.is_empty() => leader(last(), seen),
        settled => settled,
    };
    match leader(in_favour(), seen) {
        Leader::Nobody => rest(),
        settled => settled,
    }
}

/// For a service that runs well on a drained node: the first other node that is alive. A node of which nothing is
/// known is skipped: it does not get the service, and the nodes after it may.
fn leave_or_stay<'a>(chain: &'a [Name], current: &'a Name, seen: &NodeStates, inputs: &TargetInputs) -> Leader<'a> {
    for node in chain.iter().filter(|node| !inputs.drained.contains(*node) && !inputs.passed_over.contains(*node)) {
        match seen.get(node) {
            Some(State::Alive) => return Leader::Known(node),
            Some(State::Dead | State::Unknown) => {}
            None => return Leader::Open(node),
        }
    }
    Leader::Known(current)
}

/// For a service that runs well on the last of `chain`: there, or the first node before it whose
/// time has come. A node that is in doubt or has not answered takes nothing away from it.
fn stay_or_return<'a>(chain: &'a [Name], seen: &NodeStates, failback: Failback, inputs: &TargetInputs) -> Leader<'a> {
    let Some((current, better)) = chain.split_last() else { return Leader::Nobody };
    let due = |node: &Name| match failback {
        Failback::Always => true,
        Failback::Never => false,
        Failback::After(wait) => {
            inputs.runs_there_for >= wait && inputs.alive_for.get(node).is_some_and(|alive| *alive >= wait)
        }
    };
    for node in better.iter().filter(|node| !inputs.passed_over.contains(*node) && !inputs.drained.contains(*node)) {
        match seen.get(node) {
            Some(State::Alive) if due(node) && !inputs.not_at_work.contains(node) => return Leader::Known(node),
            Some(State::Alive | State::Dead) => {}
            Some(State::Unknown) => break,
            None => return Leader::Open(node),
        }
    }
    Leader::Known(current)
}
