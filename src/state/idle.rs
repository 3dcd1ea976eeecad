//! Waits for the promotions that are under way on this node.

use std::fs::TryLockError;
use std::time::Duration;

use super::StateDir;
use crate::clock::Deadline;
use crate::fsutil::Access;
use crate::name::Name;

const LOCK_INTERVAL: Duration = Duration::from_millis(2);

impl StateDir {
    /// Whether a promotion of the service that is under way here ends by the deadline, or there is none.
    pub fn is_idle(&self, service: &Name, deadline: Deadline) -> bool {
        // A lock that nobody has made is held by nobody.
        let Ok(Some(directory)) = self.existing() else { return true };
        let Ok(lock) = directory.file(&format!("service-{service}.lock"), Access::Read) else { return true };
        loop {
            match lock.try_lock_shared() {
                Ok(()) => return true,
                Err(TryLockError::WouldBlock) if !deadline.has_passed() => std::thread::sleep(LOCK_INTERVAL),
                Err(_) => return false,
            }
        }
    }
}
