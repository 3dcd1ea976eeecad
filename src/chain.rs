//! Chains, and what a set of chains survives.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::name::Name;

/// The chain whose leader is the brain.
pub const BRAIN: &str = "brain";

/// An ordered list of nodes; the first one alive leads it.
pub type Chain = Vec<Name>;

/// The number of failures that every chain survives, whichever nodes fall.
///
/// A chain falls when all of its nodes do, so the shortest chain decides.
pub fn survives_any<'a>(chains: impl Iterator<Item = &'a Chain>) -> usize {
    chains.map(Vec::len).min().unwrap_or(0).saturating_sub(1)
}

/// The smallest sets of nodes whose fall leaves a chain without a leader: no node of a set could be
/// left out. Each is in its chain's order.
pub fn fatal_sets<'a>(chains: impl Iterator<Item = &'a Chain>) -> Vec<Chain> {
    let chains: Vec<&Chain> = chains.collect();
    if let Some(empty) = chains.iter().find(|chain| chain.is_empty()) {
        return vec![(*empty).clone()];
    }
    let mut by_length: Vec<usize> = (0..chains.len()).collect();
    by_length.sort_by_key(|index| chains[*index].len());
    // Only a shorter chain, or an earlier one of the same nodes, can lie within another. Each set is filed
    // under one of its nodes, so that a chain is compared only with sets that share a node with it.
    let mut filed: HashMap<&Name, Vec<usize>> = HashMap::new();
    let mut minimal = Vec::new();
    for index in by_length {
        let chain = chains[index];
        let nodes: HashSet<&Name> = chain.iter().collect();
        let within = |other: &usize| chains[*other].iter().all(|node| nodes.contains(node));
        let contains_one = chain.iter().any(|node| filed.get(node).is_some_and(|sets| sets.iter().any(within)));
        if !contains_one {
            minimal.push(index);
            if let Some(first) = chain.first() {
                filed.entry(first).or_default().push(index);
            }
        }
    }
    minimal.sort_unstable();
    minimal.into_iter().map(|index| chains[index].clone()).collect()
}

/// The order in which nodes lead while some are drained: those come last, as they lead only where no other lives.
pub fn drained_last<'a>(chain: &'a [Name], is_drained: impl Fn(&Name) -> bool) -> Cow<'a, [Name]> {
    if !chain.iter().any(&is_drained) {
        return Cow::Borrowed(chain);
    }
    let (drained, others): (Chain, Chain) = chain.iter().cloned().partition(is_drained);
    Cow::Owned([others, drained].concat())
}

/// A node's part in the chains, for people.
///
/// `PRIMARY` heads a service's chain, `BRAIN` the brain chain; the others are `MIRROR 1`, `MIRROR 2`
/// and so on, in the order of the node list. A node that heads both is `PRIMARY, BRAIN`.
pub fn roles<'a>(
    nodes: impl Iterator<Item = &'a Name>,
    brain: Option<&Chain>,
    services: &[&Chain],
) -> Vec<(&'a Name, String)> {
    let mut mirrors = 0;
    let primaries: HashSet<&Name> = services.iter().filter_map(|chain| chain.first()).collect();
    let brain = brain.and_then(|chain| chain.first());
    nodes
        .map(|node| {
            let role = match (primaries.contains(node), brain == Some(node)) {
                (true, true) => "PRIMARY, BRAIN".to_owned(),
                (true, false) => "PRIMARY".to_owned(),
                (false, true) => "BRAIN".to_owned(),
                (false, false) => {
                    mirrors += 1;
                    format!("MIRROR {mirrors}")
                }
            };
            (node, role)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn chain(names: &[&str]) -> Chain {
        names.iter().map(|n| n.parse().expect("a name")).collect()
    }

    #[test]
    fn two_chains_of_four_that_miss_different_nodes_survive_three() {
        let chains = [chain(&["m", "a", "s", "n"]), chain(&["p", "a", "s", "n"])];
        assert_eq!(survives_any(chains.iter()), 3);
        assert_eq!(fatal_sets(chains.iter()), chains);
    }

    #[test]
    fn two_chains_of_all_five_survive_four() {
        let chains = [chain(&["m", "a", "s", "n", "p"]), chain(&["p", "a", "s", "n", "m"])];
        assert_eq!(survives_any(chains.iter()), 4);
        assert_eq!(fatal_sets(chains.iter()).len(), 1);
    }

    #[test]
    fn a_shorter_chain_within_a_longer_one_is_the_one_that_kills() {
        let chains = [chain(&["a", "b", "c"]), chain(&["c", "a"])];
        assert_eq!(fatal_sets(chains.iter()), [chain(&["c", "a"])]);
        assert_eq!(survives_any(chains.iter()), 1);
    }

    /// By trying every set of nodes: a set is fatal when it takes a whole chain, and the smallest
    /// fatal ones are those of which every part is not.
    fn by_force(chains: &[Chain], nodes: &[Name]) -> (usize, BTreeSet<BTreeSet<Name>>) {
        let sets = 0..1_u32 << nodes.len();
        let down = |set: u32| -> BTreeSet<Name> {
            nodes.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, node)| node.clone()).collect()
        };
        let fatal = |set: u32| chains.iter().any(|chain| chain.iter().all(|node| down(set).contains(node)));
        let survives = (0..=nodes.len())
            .take_while(|size| sets.clone().filter(|s| s.count_ones() as usize == *size).all(|set| !fatal(set)))
            .count();
        let smallest =
            |set: &u32| fatal(*set) && (0..nodes.len()).all(|i| set >> i & 1 == 0 || !fatal(set & !(1 << i)));
        (survives.saturating_sub(1), sets.clone().filter(smallest).map(down).collect())
    }

    proptest::proptest! {
        // A failure is told, not kept: the tests write nothing beside the sources.
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_chains_survive_agrees_with_trying_every_set_of_nodes(
            picks in proptest::collection::vec(
                proptest::sample::subsequence((0..6_usize).collect::<Vec<_>>(), 1..=6),
                1..5,
            ),
            turn in 0..6_usize,
        ) {
            let nodes = chain(&["a", "b", "c", "d", "e", "f"]);
            let in_order = |pick: &Vec<usize>| -> Chain {
                let mut names: Chain = pick.iter().map(|i| nodes[*i].clone()).collect();
                names.rotate_left(turn % pick.len());
                names
            };
            let chains: Vec<Chain> = picks.iter().map(in_order).collect();
            let (survives, sets) = by_force(&chains, &nodes);
            proptest::prop_assert_eq!(survives_any(chains.iter()), survives);
            let found = fatal_sets(chains.iter());
            for set in &found {
                proptest::prop_assert!(chains.contains(set), "not in a chain's order");
            }
            let as_sets: BTreeSet<BTreeSet<Name>> = found.iter().map(|set| set.iter().cloned().collect()).collect();
            proptest::prop_assert_eq!(as_sets.len(), found.len());
            proptest::prop_assert_eq!(as_sets, sets);
        }
    }

    #[test]
    fn nothing_survives_an_empty_chain() {
        assert_eq!(survives_any([chain(&[])].iter()), 0);
    }

    #[test]
    fn the_roles_of_the_seed() {
        let nodes = chain(&["p", "m", "a", "s", "n"]);
        let roles = roles(nodes.iter(), Some(&chain(&["m", "a"])), &[&chain(&["p", "a"])]);
        let of: Vec<&str> = roles.iter().map(|(_, role)| role.as_str()).collect();
        assert_eq!(of, ["PRIMARY", "BRAIN", "MIRROR 1", "MIRROR 2", "MIRROR 3"]);
    }
}
