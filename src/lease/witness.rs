//! This node's witness: the file in which all its processes keep what they know of a lease, and from
//! which it answers the holder's questions under the [failsafe](super::failsafe).

use super::LeaseView;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::state::{StateDir, history};

/// Keeps the view in the file, and records news in the history. A claim's wait begins only once the file
/// shows the claim:
///
/// ```text
///  this process           rename file ── read it back ── stamp ──────── wait
///  mirror lease witness   yes │ no ───────────────────────────────────────
/// ```
///
/// If the file lost the claim meanwhile, the wait begins anew. Returns whether the file shows the view's
/// record or a later one.
pub fn publish(state_dir: &StateDir, local_node: Option<&Name>, service: &Name, lease_view: &mut LeaseView) -> bool {
    if !state_dir.lease_view(service).has_waited_as_long_as(lease_view) {
        lease_view.restart_wait();
    }
    history::keep_lease_view(state_dir, local_node, service, lease_view);
    let stored = state_dir.lease_view(service);
    lease_view.adopt_wait(&stored);
    if stored.value() != lease_view.value() {
        return stored.is_later_than(lease_view);
    }
    if lease_view.is_unpublished_claim() {
        lease_view.published(BootInstant::now());
        history::keep_lease_view(state_dir, local_node, service, lease_view);
    }
    true
}
