//! Names, chains, and what a set of chains survives.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The chain whose leader is the brain.
pub const BRAIN: &str = "brain";
/// Longer names would not fit into a host name's label.
const LONGEST_NAME: usize = 63;

/// The name of a node, a chain or a service: `[a-z0-9][a-z0-9-]*`, at most 63 characters.
///
/// It was checked once, at the door, so it may stand in a path, a ref or an argument as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"))]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.starts_with('-') || !text.chars().all(inner) || text.len() > LONGEST_NAME {
            let shown: String = text.chars().take(LONGEST_NAME).collect();
            bail!(
                "{shown:?} is not a name; use at most {LONGEST_NAME} lower-case letters, digits and hyphens, \
                 the first no hyphen"
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An ordered list of nodes; the first one alive leads it.
pub type Chain = Vec<Name>;

/// The number of failures that every chain survives, whichever nodes fall.
///
/// A chain falls when all of its nodes do, so the shortest chain decides.
pub fn survives_any<'a>(chains: impl Iterator<Item = &'a Chain>) -> usize {
    fatal_sets(chains).iter().map(Vec::len).min().unwrap_or(0).saturating_sub(1)
}

/// The sets of nodes whose fall leaves a chain without a leader: the smallest ones, in which no
/// node could be spared. Each in its chain's order.
pub fn fatal_sets<'a>(chains: impl Iterator<Item = &'a Chain>) -> Vec<Chain> {
    let mut sets: Vec<(BTreeSet<&Name>, &Chain)> = Vec::new();
    for chain in chains {
        let set: BTreeSet<&Name> = chain.iter().collect();
        if sets.iter().any(|(other, _)| other.is_subset(&set)) {
            continue;
        }
        sets.retain(|(other, _)| !set.is_subset(other));
        sets.push((set, chain));
    }
    sets.into_iter().map(|(_, chain)| chain.clone()).collect()
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
    let heads = |chain: &Chain, node: &Name| chain.first() == Some(node);
    nodes
        .map(|node| {
            let primary = services.iter().any(|chain| heads(chain, node));
            let role = match (primary, brain.is_some_and(|chain| heads(chain, node))) {
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
    use super::*;

    fn chain(names: &[&str]) -> Chain {
        names.iter().map(|n| n.parse().expect("a name")).collect()
    }

    #[test]
    fn a_name_is_checked_at_the_door() {
        for good in ["a", "0", "spb-2", "a-"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", "A", "a b", "a\"", "a\n", "..", "a/b", "ä", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
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
