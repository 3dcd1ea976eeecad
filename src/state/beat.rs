//! The beat that a check leaves, and what it has learned of the beats of others.

use std::fs::OpenOptions;
use std::io::{self, Write};

use serde::Serialize;

use super::{Envelope, StateDir};
use crate::leader::at_work::{Beat, Watch};

const BEAT: &str = "beat.json";
const WATCH: &str = "watch.json";
/// A file of this size is written in place without room on the disk.
const BLOCK: usize = 4096;

/// How well something could be kept.
#[derive(Debug)]
pub enum Kept {
    /// As it should be.
    Whole,
    /// In place of what was there: there is no room for a new file, and this is why.
    InPlace(io::Error),
    /// Not at all.
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
        self.keep(BEAT, beat)
    }

    /// What the checks on this machine have learned of the others.
    pub fn watch(&self) -> Watch {
        self.read(WATCH).or_else(|| self.read(WATCH)).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_watch(&self, watch: &Watch) -> Kept {
        self.keep(WATCH, watch)
    }

    /// Why nothing new can be kept, as far as that can be told without an attempt.
    pub fn trouble(&self) -> Option<io::Error> {
        if !self.directory.exists() {
            return None;
        }
        if let Err(error) = rustix::fs::access(&self.directory, rustix::fs::Access::WRITE_OK) {
            return Some(error.into());
        }
        let room = rustix::fs::statvfs(&self.directory).ok()?;
        let full = room.f_bavail == 0 || room.f_files > 0 && room.f_ffree == 0;
        full.then(|| io::Error::from(io::ErrorKind::StorageFull))
    }

    /// A new file by rename; in the old file's blocks where the disk has no room for a new one. Without
    /// that, a brain whose disk is full would be passed over although it does its work.
    fn keep<T: Serialize>(&self, name: &str, value: &T) -> Kept {
        let envelope = Envelope { boot: self.boot.clone(), value };
        let mut bytes = match serde_json::to_vec(&envelope) {
            Ok(bytes) => bytes,
            Err(error) => return Kept::Lost(io::Error::other(error)),
        };
        // Blanks after an object are no part of it.
        bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
        let Err(error) = self.by_rename(name, &bytes) else { return Kept::Whole };
        let in_place = OpenOptions::new().write(true).open(self.directory.join(name)).and_then(|mut file| {
            let room = file.metadata()?.len();
            if room < bytes.len() as u64 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            file.write_all(&bytes)?;
            // A longer one leaves blanks behind as well.
            file.write_all(&vec![b' '; usize::try_from(room).unwrap_or(0).saturating_sub(bytes.len())])
        });
        if in_place.is_ok() { Kept::InPlace(error) } else { Kept::Lost(error) }
    }

    fn by_rename(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.directory.join(format!(".{name}.{}", std::process::id()));
        let replaced = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&temporary)
            .or_else(|_| {
                std::fs::create_dir_all(&self.directory)?;
                OpenOptions::new().create(true).truncate(true).write(true).open(&temporary)
            })
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&temporary, self.directory.join(name)));
        if replaced.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        replaced
    }
}
