//! The notices in a node's state: one file for each kind, which is missing as long as nothing was ever set.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Kind, Notice, Notices, Subject, UNKNOWN_PERSON, unreadable};
use crate::clock::Deadline;
use crate::config::Config;
use crate::fsutil::Durability;
use crate::name::Name;
use crate::output::warnings;
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

/// The pauses of one node, as earlier versions wrote them.
#[derive(Deserialize)]
struct Earlier {
    paused: Vec<EarlierPause>,
}

/// A pause of this node alone: an earlier version made it, or its file is damaged.
#[derive(Deserialize)]
struct EarlierPause {
    service: Option<Name>,
    by: String,
    why: Option<String>,
    at: String,
}

impl Kind {
    const fn file(self) -> &'static str {
        match self {
            Self::Drain => "drained.json",
            Self::Pause => "paused.json",
        }
    }
}

/// What is known of one kind. A damaged file of drains counts as none, with a warning: the next answer of another node
/// fills it again. A damaged file of pauses counts as a pause of everything on this node, as it may have been one.
pub fn read(state_dir: &StateDir, kind: Kind) -> Notices {
    match (state_dir.parsed(kind.file(), parse), kind) {
        (None, _) => Notices::default(),
        (Some(Ok(notices)), _) => notices,
        (Some(Err(what)), Kind::Drain) => {
            state_dir.warn_damaged(&what);
            Notices::default()
        }
        (Some(Err(what)), Kind::Pause) => {
            let message = format!("{what}; everything counts as paused until `mirror resume` or `mirror pause`");
            warnings::warn("state-damaged", message);
            let written = state_dir.modified(kind.file()).unwrap_or(SystemTime::UNIX_EPOCH);
            let pause = EarlierPause {
                service: None,
                by: UNKNOWN_PERSON.to_owned(),
                why: Some(unreadable(&what)),
                at: humantime::format_rfc3339_millis(written).to_string(),
            };
            std::iter::once(pause.into()).collect()
        }
    }
}

/// What other nodes are told, of every kind.
pub fn told(state_dir: &StateDir) -> Vec<Notice> {
    let of = |kind| read(state_dir, kind).told().cloned().collect::<Vec<_>>();
    Kind::ALL.into_iter().flat_map(of).collect()
}

impl From<EarlierPause> for Notice {
    /// With no stamp: it is not spread.
    fn from(EarlierPause { service, by, why, at }: EarlierPause) -> Self {
        let subject = Subject::pause(service);
        Self { subject, holds: true, auto_only: false, heeded: false, by, why, at, stamp: 0 }
    }
}

fn parse(bytes: &[u8]) -> Result<Notices, String> {
    let written = match serde_json::from_slice::<Written>(bytes) {
        Ok(written) => written,
        // As earlier versions wrote it.
        Err(error) => {
            let earlier: Earlier = serde_json::from_slice(bytes).map_err(|_| error.to_string())?;
            return Ok(earlier.paused.into_iter().map(Notice::from).collect());
        }
    };
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
    let mut is_new = false;
    for kind in Kind::ALL {
        let told = told.iter().filter(|notice| notice.subject.kind == kind && notice.subject.is_known(config));
        let told: Vec<Notice> = told.cloned().collect();
        if told.is_empty() {
            continue;
        }
        let known = read(state_dir, kind);
        if told.iter().all(|notice| !known.clone().add(notice.clone())) {
            continue;
        }
        let _lock = lock(state_dir, kind, deadline)?;
        let mut notices = read(state_dir, kind);
        let news = notices.merge(told);
        notices.keep_known(config);
        write(state_dir, kind, &notices)?;
        news.iter().for_each(|notice| record(state_dir, local_node, notice));
        is_new = true;
    }
    Ok(is_new)
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
    let (kind, of, by) = (notice.subject.kind, notice.subject.of.as_ref(), &notice.by);
    let what = of.map_or_else(|| "every service".to_owned(), Name::to_string);
    let scope = if notice.auto_only { ", for the automatic only" } else { "" };
    let (event, reason) = match (kind, notice.holds) {
        (Kind::Drain, true) => (Event::Drain, format!("{what} is drained by {by}.")),
        (Kind::Drain, false) => (Event::Undrain, format!("{what} is no longer drained, by {by}.")),
        (Kind::Pause, true) => (Event::Pause, format!("{by} paused {what}{scope}.")),
        (Kind::Pause, false) => (Event::Resume, format!("{by} ended the pause of {what}.")),
    };
    let (node, service) = if kind == Kind::Drain { (of.cloned(), None) } else { (None, of.cloned()) };
    let entry = Entry { node, service, why: notice.why.clone(), ..Entry::new(local_node, event, reason) };
    history::record(state_dir, &entry);
}

fn lock(state_dir: &StateDir, kind: Kind, deadline: Deadline) -> io::Result<File> {
    state_dir.lock_file_by(&format!("{}.lock", kind.file()), deadline)
}
