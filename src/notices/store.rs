//! The notices in a node's state: one file for each kind, which is missing as long as nothing was ever set.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Kind, Notice, Notices};
use crate::clock::Deadline;
use crate::config::Config;
use crate::fsutil::Durability;
use crate::name::Name;
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// The name and version of the written form.
const SCHEMA: &str = "mirror.notices/1";
/// A longer file would not be read again.
const MAX_FILE: usize = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Written {
    schema: String,
    notices: Vec<Notice>,
}

impl Kind {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Drain => "drained.json",
        }
    }
}

/// What is known of one kind. A damaged file counts as none, with a warning: the next answer of another node fills it
/// again.
pub fn read(state_dir: &StateDir, kind: Kind) -> Notices {
    match state_dir.parsed(kind.file(), parse) {
        None => Notices::default(),
        Some(Ok(notices)) => notices,
        Some(Err(what)) => {
            state_dir.warn_damaged(&what);
            Notices::default()
        }
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Notices, String> {
    let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if written.schema != SCHEMA {
        return Err(format!("it does not say that it is {SCHEMA:?}"));
    }
    Ok(written.notices.into_iter().collect())
}

/// Merges what was told into what is known, and writes down in the history what is new; whether anything was. Notices
/// of things that the node list does not have are left out.
///
/// # Errors
/// When it cannot be kept.
pub fn learn(
    state_dir: &StateDir,
    (config, local_node): (&Config, Option<&Name>),
    told: &[Notice],
    deadline: Deadline,
) -> io::Result<bool> {
    let kind = Kind::Drain;
    let told: Vec<Notice> = told.iter().filter(|notice| notice.subject.is_known(config)).cloned().collect();
    let known = read(state_dir, kind);
    if told.iter().all(|notice| !known.clone().add(notice.clone())) {
        return Ok(false);
    }
    let _lock = lock(state_dir, kind, deadline)?;
    let mut notices = read(state_dir, kind);
    let news = notices.merge(told);
    notices.keep_known(config);
    write(state_dir, kind, &notices)?;
    news.iter().for_each(|notice| record(state_dir, local_node, notice));
    Ok(true)
}

/// Notes that the node, which is this one, heeds its drain: no check here leads any more.
///
/// # Errors
/// When it cannot be kept.
pub fn heed(state_dir: &StateDir, node: &Name, deadline: Deadline) -> io::Result<()> {
    if read(state_dir, Kind::Drain).drain_of(node).is_none_or(|notice| notice.heeded) {
        return Ok(());
    }
    let _lock = lock(state_dir, Kind::Drain, deadline)?;
    let mut notices = read(state_dir, Kind::Drain);
    let Some(notice) = notices.drain_of(node).cloned() else { return Ok(()) };
    notices.add(Notice { heeded: true, ..notice });
    write(state_dir, Kind::Drain, &notices)
}

fn write(state_dir: &StateDir, kind: Kind, notices: &Notices) -> io::Result<()> {
    let written = Written { schema: SCHEMA.to_owned(), notices: notices.all().cloned().collect() };
    let text = serde_json::to_string(&written).map_err(io::Error::other)? + "\n";
    if text.len() > MAX_FILE {
        return Err(io::Error::other(format!("nothing was written: it is longer than {MAX_FILE} bytes")));
    }
    state_dir.replace(kind.file(), text.as_bytes(), Durability::Durable)
}

fn record(state_dir: &StateDir, local_node: Option<&Name>, notice: &Notice) {
    let (node, by) = (&notice.subject.of, &notice.by);
    let (event, reason) = match notice.holds {
        true => (Event::Drain, format!("{node} is drained by {by}.")),
        false => (Event::Undrain, format!("{node} is no longer drained, by {by}.")),
    };
    let (node, why) = (Some(node.clone()), notice.why.clone());
    let entry = Entry { node, why, ..Entry::new(local_node, event, reason) };
    history::record(state_dir, &entry);
}

fn lock(state_dir: &StateDir, kind: Kind, deadline: Deadline) -> io::Result<File> {
    state_dir.lock_file_by(&format!("{}.lock", kind.file()), deadline)
}
