//! What happened here: every change that this node made or saw, one line of JSON each.
//!
//! Two files of bounded size, so the oldest changes are forgotten. A line is one write to the end of
//! the file, so lines of several processes do not mix; damaged lines are skipped and counted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::fsutil::{Access, PrivateDirectory};
use crate::hex::hex;
use crate::leader::State;
use crate::name::Name;
use crate::state::StateDir;

/// A longer file is put aside and a new one begun.
const MAX_FILE: u64 = 256 * 1024;
const CURRENT: &str = "history.jsonl";
const ASIDE: &str = "history.old.jsonl";
const LOCK: &str = "history.lock";
/// How many bytes of a hash tell entries apart, two digits each.
const ID_BYTES: usize = 8;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When it was written: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// The node that wrote it; null on a machine that is no node.
    #[serde(rename = "self")]
    pub local_node: Option<Name>,
    /// What happened.
    pub event: Event,
    /// The service that it happened to; null when it concerns none in particular.
    pub service: Option<Name>,
    /// The node that it concerns: the target of a promotion, the brain, the holder; null when none.
    pub node: Option<Name>,
    /// How it came out, as a slug, such as the verdict of a promotion; null where there is no more to
    /// say.
    pub verdict: Option<String>,
    /// The epoch of the lease; null without one.
    pub epoch: Option<u64>,
    /// The change in a sentence for people.
    pub reason: String,
    /// What was given by `--why`, or why a lease moved; null when nothing was said.
    pub why: Option<String>,
    /// For how long a service was not seen to run well before this start of it, in ms; null where nothing was
    /// started, and where nobody had seen it run before.
    #[serde(default)]
    pub outage_ms: Option<f64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A promotion did something, or tried to.
    Promote,
    /// Another node than before is the brain, as seen from here.
    Brain,
    /// A node died or returned, as seen from here.
    Node,
    /// A lease was claimed or granted, by whomever.
    Lease,
    /// `mirror pause`.
    Pause,
    /// `mirror resume`.
    Resume,
    /// `mirror hold` started the command.
    HoldStart,
    /// The command of `mirror hold` ended, or was ended.
    HoldEnd,
    /// `mirror hold` goes on without the arbiter, because all voters vouch for it.
    FailsafeBegin,
    /// `mirror hold` reads the lease again, or stops.
    FailsafeEnd,
    /// Trouble begins that a check warns of: node lists that differ, a clock that is off, a beat that cannot be left.
    Trouble,
    /// The history of a node could not be had; `verdict` is the cause. It stands in no file.
    Unasked,
    /// `mirror drain`.
    Drain,
    /// `mirror undrain`.
    Undrain,
    /// Breaths conflict, are refused or have not been in step for long, or are in step again.
    Breath,
}

impl Entry {
    /// A change of now, with nothing said about it but this.
    pub fn new(local_node: Option<&Name>, event: Event, reason: impl Into<String>) -> Self {
        Self {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            local_node: local_node.cloned(),
            event,
            service: None,
            node: None,
            verdict: None,
            epoch: None,
            reason: reason.into(),
            why: None,
            outage_ms: None,
        }
    }

    /// The same for the same entry, wherever it is read.
    pub fn id(&self) -> String {
        // Without numbers that a reader may round, and without what later versions add.
        let Self { at, local_node, event, service, node, verdict, epoch, reason, .. } = self;
        let written = (at, local_node, event, service, node, verdict, epoch, reason);
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        hex(&Sha256::digest(&bytes)[..ID_BYTES])
    }
}

/// Writes down a change. A full disk costs the entry and a warning, not the change itself.
pub fn record(state_dir: &StateDir, entry: &Entry) {
    if let Err(error) = append(state_dir, entry) {
        state_dir.warn_unusable(&io::Error::new(error.kind(), format!("{CURRENT}: {error}")));
    }
}

/// Writes down which node is the brain, if another one was when that was last asked. `why` says why the
/// living nodes before it in the chain are passed over.
pub fn saw_brain(state_dir: &StateDir, local_node: Option<&Name>, brain: &Name, why: Option<String>) {
    let before = state_dir.brain();
    if before.as_ref() == Some(brain) {
        return;
    }
    state_dir.keep_brain(brain);
    let reason = match before {
        Some(before) => format!("{brain} is the brain, and no longer {before}."),
        None => format!("{brain} is the brain."),
    };
    record(state_dir, &Entry { node: Some(brain.clone()), why, ..Entry::new(local_node, Event::Brain, reason) });
}

/// A verdict or a state as it stands in an entry.
pub fn slug(what: impl Serialize) -> Option<String> {
    serde_json::to_value(what).ok()?.as_str().map(str::to_owned)
}

/// Writes down who died and who returned.
pub fn saw_nodes(state_dir: &StateDir, local_node: Option<&Name>, changes: &[(Name, State)]) {
    for (node, state) in changes {
        let reason = match state {
            State::Alive => format!("{node} is alive again."),
            State::Dead => format!("{node} is dead as seen from here."),
            State::Unknown => continue,
        };
        let entry = Entry::new(local_node, Event::Node, reason);
        record(state_dir, &Entry { node: Some(node.clone()), verdict: slug(state), ..entry });
    }
}

/// What is still known of the past.
#[derive(Debug, Default)]
pub struct Past {
    /// The changes, the oldest first.
    pub entries: Vec<Entry>,
    /// How many lines were damaged, and skipped.
    pub damaged: usize,
}

/// All changes that are still known, the oldest first.
pub fn read(state_dir: &StateDir) -> Vec<Entry> {
    read_past(state_dir).entries
}

/// The same, with the number of damaged lines.
pub fn read_past(state_dir: &StateDir) -> Past {
    let mut past = Past::default();
    let directory = match state_dir.existing() {
        Ok(Some(directory)) => directory,
        Ok(None) => return past,
        Err(error) => {
            state_dir.warn_unusable(&error);
            return past;
        }
    };
    for name in [ASIDE, CURRENT] {
        match tail(&directory, name) {
            Ok(bytes) => past.add(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => state_dir.warn_damaged(&error.to_string()),
        }
    }
    past
}

impl Past {
    fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => self.entries.push(entry),
                Err(_) => self.damaged += 1,
            }
        }
    }
}

/// The newest lines of a file. It can be a little longer than the bound, as a line can be written
/// while another process puts the file aside.
fn tail(directory: &PrivateDirectory, name: &str) -> io::Result<Vec<u8>> {
    let mut file = directory.file(name, Access::Read)?;
    let begin = file.metadata()?.len().saturating_sub(2 * MAX_FILE);
    // One byte earlier, so that a line that begins exactly there is whole.
    file.seek(SeekFrom::Start(begin.saturating_sub(1)))?;
    let mut bytes = Vec::new();
    file.take(2 * MAX_FILE + 1).read_to_end(&mut bytes)?;
    let cut = if begin == 0 { 0 } else { bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()) };
    Ok(bytes.split_off(cut))
}

fn append(state_dir: &StateDir, entry: &Entry) -> io::Result<()> {
    let directory = state_dir.made()?;
    put_aside(&directory)?;
    let mut file = match directory.file(CURRENT, Access::Append) {
        // Something else in its place, such as a pipe, is not worth losing the history for.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            directory.rename(CURRENT, "history.damaged")?;
            state_dir.warn_damaged(&error.to_string());
            directory.file(CURRENT, Access::Append)?
        }
        opened => opened?,
    };
    let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
    line.push(b'\n');
    if !ends_in_newline(&mut file)? {
        line.insert(0, b'\n');
    }
    // A single write keeps lines whole; where the disk is full, a second one would not end the line either.
    if file.write(&line)? < line.len() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// A full disk can leave half a line.
fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Puts a long file aside. One process at a time: a second one would put the new file in the place
/// of the old.
fn put_aside(directory: &PrivateDirectory) -> io::Result<()> {
    let long = || {
        let file = directory.file(CURRENT, Access::Read).and_then(|file| file.metadata());
        file.is_ok_and(|file| file.len() >= MAX_FILE)
    };
    if !long() {
        return Ok(());
    }
    let lock = directory.file(LOCK, Access::Lock)?;
    if lock.try_lock().is_ok() && long() {
        directory.rename(CURRENT, ASIDE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
