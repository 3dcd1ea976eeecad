//! What is kept of this node itself: what runs here under a lease, and whom it last took for the
//! brain.

use std::fs::OpenOptions;
use std::path::Path;

use super::{Lock, StateDir, try_lock};
use crate::chain::Name;

impl StateDir {
    /// The directory itself. It need not be there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The brain that was last seen.
    pub fn brain(&self) -> Option<Name> {
        self.read("brain.json")
    }

    /// Keeps it.
    pub fn keep_brain(&self, brain: &Name) {
        self.write("brain.json", brain);
    }

    /// The lock of whoever runs a service on this node; none when another process holds it. It is
    /// held until the last process has gone that had it open, so also by a child that was forked.
    ///
    /// # Errors
    /// When it cannot be locked. Nothing else is locked in its stead: without it two could run here.
    pub fn lock_hold(&self, service: &Name) -> std::io::Result<Option<Lock>> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("hold-{service}.lock"));
        try_lock(OpenOptions::new().create(true).truncate(false).write(true).open(path)?)
    }

    /// Shows `text` to whoever looks into the directory: the file is there in full or not at all.
    pub fn show(&self, name: &str, text: &str) {
        self.replace(name, text.as_bytes(), false);
    }
}
