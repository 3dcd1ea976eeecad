//! What the state file of a running hold tells others.

use serde::Deserialize;

use crate::name::Name;
use crate::state::StateDir;

/// That a hold goes on by failsafe.
#[derive(Deserialize)]
pub(in crate::commands) struct HeldByFailsafe {
    pub(in crate::commands) failsafe_since: String,
    pub(in crate::commands) voters: usize,
}

/// None unless the hold that runs here does so by failsafe.
pub(in crate::commands) fn held_by_failsafe(state_dir: &StateDir, service: &Name) -> Option<HeldByFailsafe> {
    // The lock is only tried where there is something to tell.
    state_dir.shown(&format!("hold-{service}.json")).filter(|_| is_held(state_dir, service))
}

/// Whether a hold runs here. Nobody updates the files of one that was killed.
pub(in crate::commands) fn is_held(state_dir: &StateDir, service: &Name) -> bool {
    state_dir.lock_hold(service).is_ok_and(|lock| lock.is_none())
}
