//! The question whether this node is the brain: the only place in the promotion that asks it.

use anyhow::Result;

use super::nodes::Look;
use crate::brain::{self, Brain};
use crate::chain::{BRAIN, Name};
use crate::config::Node;
use crate::view::View;

impl<'a> Look<'a> {
    /// The nodes whose answers decide who the brain is; none where that is not asked.
    pub(super) fn nodes_for_brain(&self) -> Result<Vec<(&'a Name, &'a Node)>> {
        let request = self.request();
        if request.options.if_brain { brain::nodes_to_ask(request.config, request.local_node) } else { Ok(Vec::new()) }
    }

    /// Whether the head of the brain chain is to be asked first, and whether others are worth it: they
    /// are where the head is this node.
    pub(super) fn matters_for_brain(&self, node: &Name) -> Option<bool> {
        let request = self.request();
        if !request.options.if_brain {
            return None;
        }
        let head = request.config.chains.get(BRAIN).and_then(|chain| chain.first());
        let asked_first = head == Some(node) || request.local_node == Some(node);
        (asked_first || head != request.local_node).then_some(asked_first)
    }

    /// The brain by what has come so far; none while that is open.
    pub(super) fn brain_so_far(&self, view: &View) -> Option<Brain> {
        let request = self.request();
        brain::decided(request.config, request.local_node, view).filter(|brain| *brain != Brain::Open)
    }

    /// The brain by the whole view; none where that is not asked.
    pub(super) fn brain(&self, view: &mut View) -> Result<Option<Brain>> {
        let request = self.request();
        let ask = || brain::by_view(request.config, request.local_node, self.remote(), view);
        request.options.if_brain.then(ask).transpose()
    }
}
