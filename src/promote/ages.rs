//! Since when nodes have been alive, or dead: what all looks of one check add to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Order;
use crate::chain::Name;
use crate::decide::Seen;
use crate::history;
use crate::moment::Moment;
use crate::state::{Spans, Store};

/// A node that was not looked at for so many intervals of `cycle.check` counts as new.
const MISSED_CHECKS: u32 = 3;

/// Since when nodes have been alive, or dead, as seen from here.
pub(super) struct Ages<'a> {
    order: &'a Order<'a>,
    store: &'a Store,
    spans: Mutex<Spans>,
}

impl<'a> Ages<'a> {
    /// As they were at the last check.
    pub(super) fn new(order: &'a Order<'a>, store: &'a Store) -> Self {
        Self { order, store, spans: Mutex::new(store.spans()) }
    }

    /// Adds what a look that began at `began` has seen, and writes down who died or returned.
    pub(super) fn add(&self, seen: &Seen, began: Moment) {
        let cycle = self.order.config.cycle;
        let gap = cycle.check * MISSED_CHECKS + self.order.config.probe_timeout;
        let mut spans = self.spans();
        let changes = spans.update(seen, began, gap);
        if !self.order.dry_run {
            self.store.keep_spans(&spans);
            history::saw_nodes(self.store, self.order.own, &changes);
        }
    }

    /// Forgets who was dead: who looks at few nodes would not see a dead one return.
    pub(super) fn forget_deaths(&self) {
        let mut spans = self.spans();
        if spans.forget_deaths() && !self.order.dry_run {
            self.store.keep_spans(&spans);
        }
    }

    /// For how long each node has been seen alive without a gap.
    pub(super) fn alive_for(&self, now: Moment) -> BTreeMap<Name, Duration> {
        self.spans().alive_for(now)
    }

    /// When the first look began that found a node dead, of those since it was last seen alive.
    pub(super) fn dead_since(&self, node: &Name) -> Option<Moment> {
        self.spans().dead_since(node)
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
