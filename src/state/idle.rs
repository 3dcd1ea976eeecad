//! Waits for the promotions that are under way on this node.

use super::StateDir;
use crate::clock::Deadline;
use crate::fsutil::{self, Access};
use crate::name::Name;

impl StateDir {
    /// Whether a promotion of the service that is under way here ends by the deadline, or there is none.
    pub fn is_idle(&self, service: &Name, deadline: Deadline) -> bool {
        // A lock that nobody has made is held by nobody.
        let Ok(Some(directory)) = self.existing() else { return true };
        let Ok(lock) = directory.file(&format!("service-{service}.lock"), Access::Read) else { return true };
        fsutil::wait_for_lock(deadline, || lock.try_lock_shared()).is_ok()
    }
}
