//! A register: one text that every node can read, and that changes only by compare-and-swap.
//!
//! A [`Register`] knows nothing of what the text means. [`lease::codec`](crate::lease::codec) keeps
//! the lease of a service in one, [`pause`](crate::pause) the maintenance switch.
//!
//! All registers of one store are a [`RegisterStore`], which reads and writes many of them in one trip.
//! The services of one process put theirs together in a [`SharedStore`](shared::SharedStore).

pub mod etcd;
pub mod file;
pub mod git;
pub mod shared;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Deadline;

/// No store accepts a longer text.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Which write a register holds: a commit, a revision or a digest. Opaque outside its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

/// A value, and the version to compare with when it is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// A register's text.
pub type VersionedText = Versioned<String>;

/// One text that every node can read, and that changes only by compare-and-swap.
///
/// Each answer was true at some moment between the question and the answer.
pub trait Register: fmt::Debug {
    /// What it holds; none when it holds nothing.
    ///
    /// # Errors
    /// When the content is foreign, or there is no answer by the deadline.
    fn read(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError>;

    /// Replaces the text of version `expected` with `new`; without `expected`, creates it.
    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome;

    /// The latest writes that the store still has, newest first, at most `max`.
    ///
    /// # Errors
    /// As for a read.
    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError>;
}

/// All registers of one store: many are read or written in one trip.
///
/// Each answer stands alone: a register that is foreign, or was written by another process first,
/// changes no answer about another register.
pub trait RegisterStore: fmt::Debug {
    /// What these registers hold. `tell` gets the index and the outcome of each as soon as it is known,
    /// each index once.
    fn read_each(&self, names: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome));

    /// Carries out these swaps of different registers. `tell` gets the index and the outcome of each as soon
    /// as it is known, each index once.
    fn swap_each(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome));

    /// The latest writes to one register that the store still has, newest first, at most `max`.
    ///
    /// # Errors
    /// As for a read.
    fn history_of(&self, name: &str, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError>;
}

/// What a register holds; none when it holds nothing.
pub type ReadOutcome = Result<Option<VersionedText>, StoreError>;

/// A compare-and-swap of one register.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The register.
    pub name: &'a str,
    /// The version that it must have; none if it must be empty.
    pub expected: Option<&'a Version>,
    /// What it shall hold.
    pub new: NewText<'a>,
}

/// One register of a store.
#[derive(Debug)]
pub struct RegisterOf<S> {
    /// The store.
    pub store: S,
    /// The register's name.
    pub name: String,
}

impl<S: RegisterStore> Register for RegisterOf<S> {
    fn read(&self, deadline: Deadline) -> ReadOutcome {
        read_one(&self.store, &self.name, deadline)
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        swap_one(&self.store, Swap { name: &self.name, expected, new: *new }, deadline)
    }

    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        self.store.history_of(&self.name, max, deadline)
    }
}

fn read_one(store: &(impl RegisterStore + ?Sized), name: &str, deadline: Deadline) -> ReadOutcome {
    let mut read = Err(no_answer());
    store.read_each(&[name], deadline, &mut |_, outcome| read = outcome);
    read
}

fn swap_one(store: &(impl RegisterStore + ?Sized), swap: Swap<'_>, deadline: Deadline) -> CasOutcome {
    let mut swapped = CasOutcome::Unknown(no_answer());
    store.swap_each(&[swap], deadline, &mut |_, outcome| swapped = outcome);
    swapped
}

impl<S: RegisterStore + ?Sized> RegisterStore for Box<S> {
    fn read_each(&self, names: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome)) {
        (**self).read_each(names, deadline, tell);
    }

    fn swap_each(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome)) {
        (**self).swap_each(swaps, deadline, tell);
    }

    fn history_of(&self, name: &str, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        (**self).history_of(name, max, deadline)
    }
}

fn no_answer() -> StoreError {
    StoreError::Failed("no answer in time".to_owned())
}

/// A text to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewText<'a> {
    /// One line, without its end. No other write has the same text.
    pub text: &'a str,
    /// The same for people, on one line, for stores that keep a log.
    pub summary: &'a str,
}

/// The outcome of a compare-and-swap.
#[derive(Debug)]
pub enum CasOutcome {
    /// Done; this is the new version.
    Won(Version),
    /// Not done, and never will be: the register held this.
    Lost(Option<VersionedText>),
    /// It may have been done, or may be done later, or could not be tried.
    Unknown(StoreError),
}

/// Why a register could not be used. It says nothing about the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It answered with content that `mirror` did not write; the message says what and where.
    Foreign(String),
    /// It did not answer in time, or answered with an error; the message says which.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for StoreError {}

/// Checks that a text is short enough to be read again.
///
/// # Errors
/// Why it is not, as half a sentence.
pub fn check_length(text: &str) -> Result<(), String> {
    // One byte is for the end of the line.
    if text.len() < MAX_TEXT_BYTES {
        Ok(())
    } else {
        Err(format!("it has {} bytes, and at most 64 KiB fit; shorten --why", text.len()))
    }
}
