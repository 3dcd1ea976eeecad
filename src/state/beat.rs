//! The beat that a check leaves, and what it has learned of the beats of others.

use std::io::{self, Write};

use serde::Serialize;

use super::StateDir;
use super::directory::Envelope;
use crate::fsutil::{Access, Durability};
use crate::leader::at_work::Watch;
use crate::leader::beat::Beat;

const BEAT: &str = "beat.json";
const WATCH: &str = "watch.json";
/// A file of this size is written in place without room on the disk.
const BLOCK: usize = 4096;

/// How well something could be kept.
#[derive(Debug)]
pub enum Kept {
    /// As it should be.
    Whole,
    /// Over the old content: there is no room for a new file.
    InPlace,
    /// Not at all, and why.
    Lost(io::Error),
}

impl StateDir {
    /// The beat of the last check on this machine since it booted.
    pub fn beat(&self) -> Option<Beat> {
        // Where a beat is written in place, it may be caught half written.
        self.read(BEAT).or_else(|| self.read(BEAT))
    }

    /// Leaves a beat.
    pub fn leave_beat(&self, beat: &Beat) -> Kept {
        self.keep_or_overwrite(BEAT, beat)
    }

    /// What the checks on this machine have learned of the others.
    pub fn watch(&self) -> Watch {
        self.read(WATCH).or_else(|| self.read(WATCH)).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_watch(&self, watch: &Watch) -> Kept {
        self.keep_or_overwrite(WATCH, watch)
    }

    /// Why nothing new can be kept, as far as that can be told without an attempt.
    pub fn trouble(&self) -> Option<io::Error> {
        let directory = self.directory();
        if !directory.exists() {
            return None;
        }
        if let Err(error) = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
            return Some(error.into());
        }
        let room = rustix::fs::statvfs(directory).ok()?;
        let full = room.f_bavail == 0 || room.f_files > 0 && room.f_ffree == 0;
        full.then(|| io::Error::from(io::ErrorKind::StorageFull))
    }

    /// Replaces the file, or overwrites its blocks where the disk has no room for a new one. Without the
    /// second, a brain whose disk is full would be passed over although it does its work.
    fn keep_or_overwrite<T: Serialize>(&self, name: &str, value: &T) -> Kept {
        let envelope = Envelope { boot: self.boot.clone(), value };
        let mut bytes = match serde_json::to_vec(&envelope) {
            Ok(bytes) => bytes,
            Err(error) => return Kept::Lost(io::Error::other(error)),
        };
        // JSON ignores the blanks. A file that always fills its blocks can be overwritten.
        bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
        let Err(error) = self.replace(name, &bytes, Durability::Cached) else { return Kept::Whole };
        self.warn_unusable(&error);
        if self.overwrite(name, bytes).is_ok() { Kept::InPlace } else { Kept::Lost(error) }
    }

    fn overwrite(&self, name: &str, mut bytes: Vec<u8>) -> io::Result<()> {
        let directory = self.existing()?.ok_or(io::ErrorKind::NotFound)?;
        let mut file = directory.file(name, Access::Overwrite)?;
        let room = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if room < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.resize(room, b' ');
        file.write_all(&bytes)
    }
}
