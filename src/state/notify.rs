//! What receivers of events have already been told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::StateDir;
use super::directory::Envelope;
use super::history::Entry;
use crate::fsutil::Durability;

const FILE: &str = "notify.json";
const LOCK: &str = "notify.lock";

/// What receivers of events have already been told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotifyRecord {
    /// The last event that each receiver, `command` or `url`, has been told.
    pub told: BTreeMap<String, LastTold>,
    /// What all nodes saw a short while ago, and the brain was to tell: this node tells it if it becomes the brain.
    pub withheld: Vec<Entry>,
}

/// The last event that a receiver has been told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastTold {
    /// Its id.
    pub id: String,
    /// Its time.
    pub at: String,
}

impl StateDir {
    /// What receivers have already been told. It outlives a reboot.
    pub fn notify_record(&self) -> NotifyRecord {
        self.read_envelope(FILE).map(|Envelope { value, .. }| value).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_notify_record(&self, record: &NotifyRecord) {
        self.put(FILE, record, Durability::Cached);
    }

    /// The lock of the process that tells; none when another one tells.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn lock_notify(&self) -> io::Result<Option<File>> {
        let file = self.lock_file(LOCK)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}
