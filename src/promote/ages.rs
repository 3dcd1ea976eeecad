//! Since when nodes have been alive, or dead: what all looks of one check add to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Request;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::decide::NodeStates;
use crate::state::history;
use crate::state::{StateDir, Uptimes};

/// A node that was not looked at for so many intervals of `cycle.check` counts as new.
const MISSED_CHECKS: u32 = 3;

/// Since when nodes have been alive, or dead, as seen from here.
pub(super) struct Uptime<'a> {
    request: &'a Request<'a>,
    store: &'a StateDir,
    uptimes: Mutex<Uptimes>,
}

impl<'a> Uptime<'a> {
    /// As they were at the last check.
    pub(super) fn new(request: &'a Request<'a>, store: &'a StateDir) -> Self {
        Self { request, store, uptimes: Mutex::new(store.uptimes()) }
    }

    /// Adds what a look that began at `began` has seen, and writes down who died or returned.
    pub(super) fn add(&self, seen: &NodeStates, began: BootInstant) {
        let cycle = self.request.config.cycle;
        let gap = cycle.check * MISSED_CHECKS + self.request.config.probe_timeout;
        let mut uptimes = self.uptimes();
        let changes = uptimes.update(seen, began, gap);
        if !self.request.dry_run {
            self.store.keep_uptimes(&uptimes);
            history::saw_nodes(self.store, self.request.local_node, &changes);
        }
    }

    /// Forgets who was dead: who looks at few nodes would not see a dead one return.
    pub(super) fn forget_deaths(&self) {
        let mut uptimes = self.uptimes();
        if uptimes.forget_deaths() && !self.request.dry_run {
            self.store.keep_uptimes(&uptimes);
        }
    }

    /// For how long each node has been seen alive without a gap.
    pub(super) fn alive_for(&self, now: BootInstant) -> BTreeMap<Name, Duration> {
        self.uptimes().alive_for(now)
    }

    /// When the first look began that found a node dead, of those since it was last seen alive.
    pub(super) fn dead_since(&self, node: &Name) -> Option<BootInstant> {
        self.uptimes().dead_since(node)
    }

    fn uptimes(&self) -> MutexGuard<'_, Uptimes> {
        self.uptimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
