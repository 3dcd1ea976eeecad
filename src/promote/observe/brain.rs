//! The question whether this node is the brain: the only place in the promotion that asks it.

use anyhow::Result;

use super::nodes::Look;
use crate::config::Node;
use crate::leader::Brain;
use crate::name::Name;
use crate::view::View;

impl<'a> Look<'a> {
    /// The nodes whose answers decide who the brain is; none where that is not asked.
    pub(super) fn nodes_for_brain(&self) -> Result<Vec<(&'a Name, &'a Node)>> {
        self.request().check.map_or_else(|| Ok(Vec::new()), |check| check.nodes_to_probe())
    }

    /// Whether a node's answer matters for the brain. Others than the likely brain and this node matter
    /// only where the likely brain is this node: then this returns none, and the services decide.
    pub(super) fn matters_for_brain(&self, node: &Name) -> Option<bool> {
        let request = self.request();
        let likely = request.check?.likely_brain();
        let asked_first = likely == Some(node) || request.local_node == Some(node);
        (asked_first || likely != request.local_node).then_some(asked_first)
    }

    /// The brain by the answers so far; none while that is open.
    pub(super) fn brain_so_far(&self, view: &View) -> Option<Brain> {
        self.request().check?.so_far(view).filter(|brain| *brain != Brain::Open)
    }

    /// The brain by the whole view, and by the beats; none where that is not asked.
    pub(super) fn brain(&self, view: &mut View) -> Result<Option<Brain>> {
        let may_probe = self.request().view.is_none();
        self.request().check.map(|check| check.decide(view, may_probe)).transpose()
    }
}
