//! The drained nodes, as a check uses them.

use std::borrow::Cow;
use std::sync::PoisonError;
use std::time::Duration;

use super::{Check, Mode};
use crate::chain;
use crate::clock::Deadline;
use crate::leader::Brain;
use crate::name::Name;
use crate::notices::{self, Kind, Notice, Notices};

/// How long a check waits to write down what it has heard. It hears it again at the next answer.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);

impl<'a> Check<'a> {
    /// The notices of drained nodes, as this check knows them.
    pub fn drains(&self) -> Notices {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        drains.get_or_insert_with(|| notices::read(self.state_dir, Kind::Drain)).clone()
    }

    /// Has the next use read them anew: another round begins.
    pub fn read_drains_anew(&self) {
        *self.drains.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The order in which the nodes of a chain lead: drained ones come last. Another node keeps its place until it
    /// heeds its drain, because it may still lead until then.
    pub(super) fn order(&self, chain: &'a [Name]) -> Cow<'a, [Name]> {
        let drains = self.drains();
        chain::drained_last(chain, |node| self.gives_way(&drains, node))
    }

    /// Whether a node is drained and does not lead any more.
    pub(super) fn has_given_way(&self, node: &Name) -> bool {
        self.gives_way(&self.drains(), node)
    }

    fn gives_way(&self, drains: &Notices, node: &Name) -> bool {
        drains.drain_of(node).is_some_and(|drain| drain.heeded || Some(node) == self.local_node)
    }

    /// Takes what another node told.
    pub(super) fn hear_notices(&self, told: &[Notice]) {
        if told.is_empty() {
            return;
        }
        let drains = told.iter().filter(|notice| notice.subject.kind == Kind::Drain).cloned();
        let mut known = self.drains();
        known.merge(drains);
        *self.drains.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        if self.mode == Mode::Check && self.local_node.is_some() {
            let learned =
                notices::learn(self.state_dir, (self.config, self.local_node), told, Deadline::after(LOCK_TIMEOUT));
            if let Err(error) = learned {
                self.state_dir.warn_unusable(&error);
            }
        }
    }

    /// This node is drained, and has taken another one for the brain: the others may rely on that.
    pub(super) fn heed_drain(&self, brain: Option<&Brain>) {
        let (Some(Brain::Known(brain)), Some(local_node)) = (brain, self.local_node) else { return };
        if brain == local_node || self.drains().drain_of(local_node).is_none_or(|drain| drain.heeded) {
            return;
        }
        if let Err(error) = notices::heed(self.state_dir, local_node, Deadline::after(LOCK_TIMEOUT)) {
            self.state_dir.warn_unusable(&error);
        }
    }
}
