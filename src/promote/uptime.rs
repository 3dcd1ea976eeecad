//! Since when nodes have been alive, or dead: every look of one check adds to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::memory;
use super::request::Request;
use crate::clock::BootInstant;
use crate::leader::NodeStates;
use crate::state::history;
use crate::state::{StateDir, Uptimes};

/// Since when nodes have been alive, or dead, as seen from here.
pub(super) struct UptimeTracker<'a> {
    request: &'a Request<'a>,
    state_dir: &'a StateDir,
    uptimes: Mutex<Uptimes>,
}

impl<'a> UptimeTracker<'a> {
    /// As it was at the last check.
    pub(super) fn new(request: &'a Request<'a>, state_dir: &'a StateDir) -> Self {
        Self { request, state_dir, uptimes: Mutex::new(state_dir.uptimes()) }
    }

    /// Adds what a look that began at `began` has seen, and records in the history which nodes died or
    /// returned.
    pub(super) fn add(&self, seen: &NodeStates, began: BootInstant) -> Uptimes {
        let config = self.request.config;
        let gap = memory::longest_gap(config);
        let mut uptimes = self.lock();
        let changes = uptimes.update(seen, began, gap);
        if !self.request.options.dry_run {
            self.state_dir.keep_uptimes(&uptimes);
            history::saw_nodes(self.state_dir, self.request.local_node, &changes);
        }
        uptimes.clone()
    }

    /// Forgets which nodes were dead: a node that is not the brain looks at few nodes, and would not see
    /// a dead one return.
    pub(super) fn forget_deaths(&self) {
        let mut uptimes = self.lock();
        if uptimes.forget_deaths() && !self.request.options.dry_run {
            self.state_dir.keep_uptimes(&uptimes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Uptimes> {
        self.uptimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
