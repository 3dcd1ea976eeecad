//! What happened here: every change that this node made or saw, one line of JSON each, in state.
//!
//! Two files of bounded size, so the oldest are forgotten. A line is one write to the end of the
//! file, so lines of several processes do not mix; what is no line of ours is passed over.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Name;
use crate::decide::State;
use crate::lease::LeaseView;
use crate::state::StateDir;

/// A file that is longer is put aside, and a new one begun.
const LONGEST: u64 = 256 * 1024;

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
        }
    }
}

/// Writes down a change. What cannot be written is left: a full disk is no reason to do nothing.
pub fn record(store: &StateDir, entry: &Entry) {
    let _ = append(store, entry);
}

/// Writes down that this node is the brain, if another one was when that was last asked.
pub fn saw_brain(store: &StateDir, local_node: Option<&Name>, brain: &Name) {
    let before = store.brain();
    if before.as_ref() == Some(brain) {
        return;
    }
    store.keep_brain(brain);
    let reason = match before {
        Some(before) => format!("{brain} is the brain, and no longer {before}."),
        None => format!("{brain} is the brain."),
    };
    record(store, &Entry { node: Some(brain.clone()), ..Entry::new(local_node, Event::Brain, reason) });
}

/// A verdict or a state as it stands in an entry.
pub fn slug(what: impl Serialize) -> Option<String> {
    serde_json::to_value(what).ok()?.as_str().map(str::to_owned)
}

/// Writes down who died and who returned.
pub fn saw_nodes(store: &StateDir, local_node: Option<&Name>, changes: &[(Name, State)]) {
    for (node, state) in changes {
        let reason = match state {
            State::Alive => format!("{node} is alive again."),
            State::Dead => format!("{node} is dead as seen from here."),
            State::Unknown => continue,
        };
        let entry = Entry::new(local_node, Event::Node, reason);
        record(store, &Entry { node: Some(node.clone()), verdict: slug(state), ..entry });
    }
}

/// Keeps what is known of a lease, and writes down what is new about it.
pub fn keep_lease_view(store: &StateDir, local_node: Option<&Name>, service: &Name, lease_view: &LeaseView) {
    if store.keep_lease_view(service, lease_view)
        && let Some(value) = lease_view.value()
    {
        let reason = format!("The lease of {service} is {}.", value.done());
        let entry = Entry {
            service: Some(service.clone()),
            node: Some(value.holder.clone()),
            verdict: slug(value.state),
            epoch: Some(value.epoch),
            why: value.why.clone(),
            ..Entry::new(local_node, Event::Lease, reason)
        };
        record(store, &entry);
    }
}

/// All that is still known, the oldest first.
pub fn read(store: &StateDir) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in [aside(store), current(store)] {
        let mut bytes = Vec::new();
        // A little more than the longest, since a line may be written while another is.
        let read = File::open(path).and_then(|file| file.take(2 * LONGEST).read_to_end(&mut bytes));
        if read.is_ok() {
            entries.extend(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
        }
    }
    entries
}

fn current(store: &StateDir) -> PathBuf {
    store.directory().join("history.jsonl")
}

fn aside(store: &StateDir) -> PathBuf {
    store.directory().join("history.old.jsonl")
}

fn append(store: &StateDir, entry: &Entry) -> io::Result<()> {
    std::fs::create_dir_all(store.directory())?;
    put_aside(store)?;
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(current(store))?;
    let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
    line.push(b'\n');
    if !ends_in_newline(&mut file)? {
        line.insert(0, b'\n');
    }
    // One write; a second one, where the disk is full, would not end the line either.
    let _ = file.write(&line)?;
    Ok(())
}

/// A disk that was full may have left half a line.
fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Puts a file aside that is long enough. One process at a time: a second one would put the new file
/// in the place of the old.
fn put_aside(store: &StateDir) -> io::Result<()> {
    let long = || std::fs::metadata(current(store)).is_ok_and(|file| file.len() >= LONGEST);
    if !long() {
        return Ok(());
    }
    let path = store.directory().join("history.lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if lock.try_lock().is_ok() && long() {
        std::fs::rename(current(store), aside(store))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(directory: &std::path::Path) -> StateDir {
        let text = format!(
            "state = \"{}\"\nnodes = {{ a = \"192.0.2.1\" }}\nchains = {{ brain = [\"a\"] }}",
            directory.display()
        );
        StateDir::open(&crate::config::parse(&directory.join("mirror.toml"), &text).expect("parses").config)
    }

    #[test]
    fn the_oldest_are_forgotten_and_no_line_is_torn() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(1000);
        let others = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (store, long, others) = (store(directory.path()), &long, &others);
                scope.spawn(move || {
                    for number in 0..300 {
                        if number == 299 {
                            others.wait();
                        }
                        record(&store, &Entry::new(None, Event::Brain, format!("{writer} {number} {long}")));
                    }
                });
            }
        });
        let store = store(directory.path());
        let entries = read(&store);
        for writer in 0..4 {
            let of = |entry: &Entry| entry.reason.strip_prefix(&format!("{writer} "))?.split(' ').next()?.parse().ok();
            let numbers: Vec<u32> = entries.iter().filter_map(of).collect();
            assert_eq!(numbers.last(), Some(&299), "the newest of {writer}");
            assert!(numbers.is_sorted(), "in order: {numbers:?}");
        }
        assert!(entries.len() < 1200 && entries.len() > 200, "{}", entries.len());
        for path in [aside(&store), current(&store)] {
            let text = std::fs::read_to_string(path).expect("a file");
            // The others go on writing while one puts the file aside.
            assert!((text.len() as u64) < 2 * LONGEST, "{}", text.len());
            // Of a line that is just being written half may be seen, and a newline be put after it.
            let mut lines = text.lines().filter(|line| !line.is_empty());
            assert!(lines.all(|line| serde_json::from_str::<Entry>(line).is_ok()));
        }
    }

    #[test]
    fn half_a_line_costs_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(directory.path());
        record(&store, &Entry::new(None, Event::Pause, "one"));
        let mut file = OpenOptions::new().append(true).open(current(&store)).expect("a file");
        file.write_all(b"{\"at\":\"2026").expect("written");
        record(&store, &Entry::new(None, Event::Resume, "two"));
        let reasons: Vec<String> = read(&store).into_iter().map(|entry| entry.reason).collect();
        assert_eq!(reasons, ["one", "two"]);
    }
}
