//! The brain, from a view: who leads the brain chain, and whether this node is cut off.

use anyhow::Result;

use crate::chain::{BRAIN, Name};
use crate::config::{Config, Node};
use crate::decide::{self, Leader};
use crate::remote::Remote;
use crate::view::{self, View};

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
}

/// The nodes whose answers can matter: the brain chain's; all of them where isolation counts.
///
/// # Errors
/// When there is no brain chain.
pub fn nodes_to_ask<'a>(config: &'a Config, local_node: Option<&Name>) -> Result<Vec<(&'a Name, &'a Node)>> {
    let mut nodes: Vec<(&Name, &Node)> = Vec::new();
    for name in config.chain(BRAIN)? {
        nodes.push(config.node(name.as_str())?);
    }
    if local_node.is_some() && !config.witnesses.is_empty() {
        let missing = config.nodes.iter().filter(|(name, _)| !nodes.iter().any(|(known, _)| known == name));
        let missing: Vec<_> = missing.collect();
        nodes.extend(missing);
    }
    Ok(nodes)
}

/// Who the brain is by what has come so far; `Open` when more is needed, none without a chain.
pub fn decided(config: &Config, local_node: Option<&Name>, view: &View) -> Option<Brain> {
    let chain = config.chains.get(BRAIN)?;
    let seen = view.seen();
    let leader = decide::leader(chain, &seen);
    // A living node other than this one proves that this one is not cut off.
    if let Leader::Known(name) = leader
        && Some(name) != local_node
    {
        return Some(Brain::Known(name.clone()));
    }
    if matches!(leader, Leader::Open(_)) {
        return Some(Brain::Open);
    }
    let others = config.nodes.keys().filter(|name| Some(*name) != local_node).count();
    Some(match (decide::isolated(local_node, &seen, others, &view.witnesses), leader) {
        (None, _) => Brain::Open,
        (Some(true), _) => Brain::Isolated,
        (Some(false), Leader::Known(name)) => Brain::Known(name.clone()),
        (Some(false), Leader::Nobody) => Brain::Nobody,
        (Some(false), Leader::LeaseError(name) | Leader::Open(name)) => {
            Brain::Unknown(format!("{name} could not be asked"))
        }
    })
}

/// Who the brain is when no other node will be asked. Witnesses, which no view holds, still are
/// where it depends on them.
///
/// # Errors
/// When there is no brain chain, or nobody can be asked.
pub fn by_view(config: &Config, local_node: Option<&Name>, remote: &Remote, view: &mut View) -> Result<Brain> {
    let chain = config.chain(BRAIN)?;
    let seen = view.seen();
    let settled = !matches!(decide::leader(chain, &seen), Leader::Open(_));
    if settled && decided(config, local_node, view) == Some(Brain::Open) && view.witnesses.contains(&None) {
        let reached = |look: &View| look.witnesses.contains(&Some(true));
        view.witnesses =
            view::take(&[], &config.witnesses, remote, view::all_first, |look, _| reached(look))?.witnesses;
    }
    Ok(match decided(config, local_node, view) {
        Some(Brain::Open) | None => match decide::final_leader(chain, &seen) {
            Leader::LeaseError(name) => Brain::Unknown(format!("{name} was not asked")),
            _ => Brain::Unknown("not every node was asked".to_owned()),
        },
        Some(brain) => brain,
    })
}
