//! A register: one value that everyone reads and that changes by compare-and-swap.
//!
//! A [`Register`] is a store of one line of text; [`look`] and [`swap`] read and write a lease's
//! [`LeaseRecord`] in it, and say at which moments that was.

pub mod etcd;
pub mod file;
pub mod git;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::deadline::Deadline;
use crate::lease::record::LeaseRecord;

/// Longer texts are not ours in any store, so none is written.
pub const LONGEST: usize = 64 * 1024;

/// Which write a register holds: a commit, a revision or a digest; opaque outside its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// One text that everyone reads and that changes by compare-and-swap.
///
/// Each answer was true at some moment between the question and the answer.
pub trait Register: fmt::Debug {
    /// What it holds; none when it holds nothing.
    ///
    /// # Errors
    /// When it holds what is not ours, or nothing was heard by the deadline.
    fn read(&self, deadline: Deadline) -> Result<Option<Held>, StoreError>;

    /// Puts `new` in place of what has the version `expected`, or of nothing.
    fn compare_and_swap(&self, expected: Option<&Version>, new: &Entry<'_>, deadline: Deadline) -> Swap;

    /// The latest writes that the store still knows of, the newest first, at most `most`.
    ///
    /// # Errors
    /// As for a read.
    fn history(&self, most: usize, deadline: Deadline) -> Result<Vec<Held>, StoreError>;
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// To be compared with when it is to be replaced.
    pub version: Version,
    /// The text.
    pub text: String,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The text: one line, without its end. No other write has the same.
    pub text: &'a str,
    /// The same for people, where the store keeps a log for them: one line.
    pub summary: &'a str,
}

/// What became of a compare-and-swap.
#[derive(Debug)]
pub enum Swap {
    /// It was done, and has this version.
    Won(Version),
    /// It was not done and never will be: the register held this.
    Lost(Option<Held>),
    /// It may have been done, or be done yet; or it could not be.
    Unknown(StoreError),
}

/// Why a register did not serve. Nothing follows from it for who holds the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It answered, and holds what is not ours; what and where, in words.
    Foreign(String),
    /// It did not answer in time, or answered with an error; which, in words.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(words) | Self::Failed(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for StoreError {}

/// A lease's value as its register held it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionedRecord {
    /// The version to compare with when it is to be replaced.
    pub version: Version,
    /// The value.
    pub value: LeaseRecord,
}

/// What asking a register brought: a read, or a swap that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observation {
    /// When the question was sent; what it returned was true later than this.
    pub began: BootInstant,
    /// When the answer was there; what it returned was true earlier than this.
    pub ended: BootInstant,
    /// What the register held; none when it held nothing.
    pub found: Option<VersionedRecord>,
}

/// What became of a swap of a lease's value.
#[derive(Debug)]
pub enum CasOutcome {
    /// It was done by us. To be noted by [`observe_own_write`](crate::lease::Sight::observe_own_write).
    Won(Observation),
    /// Another value is in force. To be noted by [`note`](crate::lease::Sight::note).
    Lost(Observation),
    /// It may have been done, or be done yet.
    Unknown(StoreError),
}

/// Reads a service's lease.
///
/// # Errors
/// When the register holds what is no lease of this service, or did not serve.
pub fn look(register: &dyn Register, service: &Name, deadline: Deadline) -> Result<Observation, StoreError> {
    let began = BootInstant::now();
    let found = found(service, register.read(deadline)?)?;
    Ok(Observation { began, ended: BootInstant::now(), found })
}

/// Puts `new` in place of what has the version `expected`, or of nothing. When no acknowledgement
/// comes, one further read, for which `room` is left, finds out whether it was done all the same.
pub fn swap(
    register: &dyn Register,
    service: &Name,
    expected: Option<&Version>,
    new: &LeaseRecord,
    deadline: Deadline,
    room: Deadline,
) -> CasOutcome {
    let (text, summary) = (new.written(service), new.summary(service));
    // Nobody could read it again, nor replace it: the register would be lost for everybody.
    if let Err(why) = fits(&text).and_then(|()| LeaseRecord::parse(service, &text).map(drop)) {
        return CasOutcome::Unknown(StoreError::Failed(format!(
            "nothing was written, as it could not be read again: {why}"
        )));
    }
    let began = BootInstant::now();
    let outcome = register.compare_and_swap(expected, &Entry { text: &text, summary: &summary }, deadline);
    let (held, fault) = match outcome {
        Swap::Won(version) => {
            let found = Some(VersionedRecord { version, value: new.clone() });
            return CasOutcome::Won(Observation { began, ended: BootInstant::now(), found });
        }
        Swap::Lost(held) => (Ok(held), None),
        Swap::Unknown(fault) => (register.read(room), Some(fault)),
    };
    let found = match held.and_then(|held| found(service, held)) {
        Ok(found) => found,
        Err(again) => return CasOutcome::Unknown(fault.unwrap_or(again)),
    };
    let ended = BootInstant::now();
    if let Some(VersionedRecord { version, .. }) = found.as_ref().filter(|found| found.value.is_same_write(new)) {
        let found = Some(VersionedRecord { version: version.clone(), value: new.clone() });
        return CasOutcome::Won(Observation { began, ended, found });
    }
    match fault {
        // What it was to replace is still there, so it may yet be done.
        Some(fault) if found.as_ref().map(|found| &found.version) == expected => CasOutcome::Unknown(fault),
        _ => CasOutcome::Lost(Observation { began, ended, found }),
    }
}

/// Whether a text is short enough to be read again.
///
/// # Errors
/// Why it is not, as half a sentence.
pub fn fits(text: &str) -> Result<(), String> {
    // One byte is for the end of the line.
    if text.len() < LONGEST {
        Ok(())
    } else {
        Err(format!("it has {} bytes, and may have 64 KiB; shorten --why", text.len()))
    }
}

/// The latest values of a service's lease, the newest first, at most `most`. What is not ours ends
/// the list.
///
/// # Errors
/// When the register did not serve.
pub fn history(
    register: &dyn Register,
    service: &Name,
    most: usize,
    deadline: Deadline,
) -> Result<Vec<VersionedRecord>, StoreError> {
    let held = register.history(most, deadline)?;
    let values = held.into_iter().map_while(|held| found(service, Some(held)).ok().flatten());
    Ok(values.collect())
}

fn found(service: &Name, held: Option<Held>) -> Result<Option<VersionedRecord>, StoreError> {
    let Some(Held { version, text }) = held else { return Ok(None) };
    let value = LeaseRecord::parse(service, &text).map_err(|why| {
        StoreError::Foreign(format!(
            "the register of {service} holds what is not its lease ({}): {why}; point [lease] elsewhere, or delete it",
            version.0
        ))
    })?;
    Ok(Some(VersionedRecord { version, value }))
}
