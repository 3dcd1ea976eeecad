//! The other nodes: which refs they have, what is fetched from them and pushed to them. All of them are
//! asked at once, and one that hangs delays no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;
use xshell::cmd;

use crate::clock::Deadline;
use crate::exec::{Ended, Running};
use crate::git::{self, Git, is_object_id};
use crate::remote::question::Question;

/// While one peer has answered, the others have this many times as long.
const LAGGARD: u32 = 3;
/// The cause where a peer used up the time.
pub(super) const TIMED_OUT: &str = "no answer in time";
/// How often a transfer is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Refs below `refs/breath/`, without that, and their commits.
pub(super) type Refs = BTreeMap<String, String>;

/// Asks a peer for its refs: what its `git for-each-ref` printed, or why it did not.
pub type Ask = Arc<dyn Fn(Deadline) -> Result<String, String> + Send + Sync>;

/// Another node.
#[derive(Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its clone, as git reaches it.
    pub url: String,
    /// Asks for its refs.
    pub ask: Ask,
    /// Why it is not asked at all; none if it is.
    pub passed_over: Option<String>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// The shell command that prints the refs of a clone.
pub fn ask_command(repo: &str) -> String {
    Question::BreathRefs(repo.to_owned()).to_string()
}

/// What a breath came to with another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeerReport {
    /// The node; for the origin, the name of the remote.
    pub node: String,
    /// What it has now.
    pub state: PeerState,
    /// How many refs it got.
    pub sent: u64,
    /// How many refs it gave.
    pub received: u64,
    /// Why it is not in step; null if it is.
    pub cause: Option<String>,
}

/// What another node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// All that this node has, and this node has all of it.
    InStep,
    /// It was reached, and something was not transferred.
    Partial,
    /// It did not answer, or not in time.
    Unreachable,
    /// It was not asked: the last check saw it dead.
    Dead,
}

/// A peer in the course of a breath.
pub(super) struct Contact<'a> {
    pub(super) peer: &'a Peer,
    /// Its refs; none if it was not reached.
    pub(super) refs: Option<Refs>,
    pub(super) report: PeerReport,
}

impl<'a> Contact<'a> {
    fn new(peer: &'a Peer) -> Self {
        let state = if peer.passed_over.is_some() { PeerState::Dead } else { PeerState::Unreachable };
        let cause = peer.passed_over.clone().or_else(|| Some(TIMED_OUT.to_owned()));
        let report = PeerReport { node: peer.name.clone(), state, sent: 0, received: 0, cause };
        Self { peer, refs: None, report }
    }

    pub(super) fn fail(&mut self, cause: String) {
        self.report.state = PeerState::Partial;
        self.report.cause = Some(cause);
    }
}

/// Asks all of them at once. Once one has answered, the others are waited for as long as `patience`, or three
/// times as long as the slowest answer took.
pub(super) fn ask_all(peers: &[Peer], patience: Duration, deadline: Deadline) -> Vec<Contact<'_>> {
    let mut contacts: Vec<Contact<'_>> = peers.iter().map(Contact::new).collect();
    let (sender, answers) = mpsc::channel();
    let (begun, mut open) = (Instant::now(), 0);
    for (index, peer) in peers.iter().enumerate().filter(|(_, peer)| peer.passed_over.is_none()) {
        let (sender, ask) = (sender.clone(), Arc::clone(&peer.ask));
        // Not waited for at the end: one that hangs ends at the deadline, or with this process.
        let asking = std::thread::Builder::new().spawn(move || sender.send((index, ask(deadline))));
        match asking {
            Ok(_) => open += 1,
            Err(error) => contacts[index].report.cause = Some(error.to_string()),
        }
    }
    drop(sender);
    let mut wait = deadline;
    while open > 0
        && let Ok((index, answer)) = answers.recv_timeout(wait.left())
    {
        open -= 1;
        match answer {
            Ok(text) => {
                contacts[index].refs = Some(parse(&text));
                contacts[index].report.cause = None;
                contacts[index].report.state = PeerState::InStep;
                let slowest = begun.elapsed();
                let laggards = patience.max(slowest * LAGGARD).saturating_sub(slowest);
                wait = deadline.sooner(Deadline::after(laggards));
            }
            Err(cause) => contacts[index].report.cause = Some(cause),
        }
    }
    contacts
}

pub(super) fn parse(text: &str) -> Refs {
    let pair = |line: &str| {
        let (commit, name) = line.trim().split_once(' ')?;
        let name = name.strip_prefix("refs/breath/")?;
        (is_object_id(commit) && super::heads::owner(name).is_some()).then(|| (name.to_owned(), commit.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// A transfer with a peer that is under way.
struct Transfer {
    contact: usize,
    running: Running,
}

/// The end of a transfer.
pub(super) struct Transferred {
    pub(super) contact: usize,
    pub(super) output: String,
    /// Why it did not succeed.
    pub(super) cause: Option<String>,
}

/// Fetches commits by the refs of the peers, at once and into no ref.
pub(super) fn fetch(
    git: &Git,
    contacts: &[Contact<'_>],
    wanted: &[Vec<String>],
    deadline: Deadline,
) -> Vec<Transferred> {
    let command = |contact: usize| {
        let (url, refs) = (&contacts[contact].peer.url, &wanted[contact]);
        let refs = refs.iter().map(|name| format!("refs/breath/{name}"));
        let fetch = cmd!(
            git.shell(),
            "git -c protocol.ext.allow=always fetch --quiet --no-tags --no-prune --no-auto-maintenance
             --no-recurse-submodules --no-write-fetch-head --no-write-commit-graph --refmap= {url} {refs...}"
        );
        git.start_remote(fetch)
    };
    run_all(wanted, command, deadline)
}

/// Pushes refs to the peers at once, each ref as a fast-forward only.
pub(super) fn push(
    git: &Git,
    contacts: &[Contact<'_>],
    lacking: &[Vec<(String, String)>],
    deadline: Deadline,
) -> Vec<Transferred> {
    let command = |contact: usize| {
        let (url, refs) = (&contacts[contact].peer.url, &lacking[contact]);
        let refs = refs.iter().map(|(name, commit)| format!("{commit}:refs/breath/{name}"));
        let push = cmd!(
            git.shell(),
            "git -c protocol.ext.allow=always push --porcelain --no-verify --no-follow-tags --no-signed
             --recurse-submodules=no {url} {refs...}"
        );
        git.start_remote(push)
    };
    run_all(lacking, command, deadline)
}

fn run_all<T>(work: &[Vec<T>], command: impl Fn(usize) -> Result<Running>, deadline: Deadline) -> Vec<Transferred> {
    let (mut ended, mut running) = (Vec::new(), Vec::new());
    for contact in (0..work.len()).filter(|at| !work[*at].is_empty()) {
        match command(contact) {
            Ok(process) => running.push(Transfer { contact, running: process }),
            Err(error) => ended.push(Transferred { contact, output: String::new(), cause: Some(format!("{error:#}")) }),
        }
    }
    while let Some(mut transfer) = running.pop() {
        let is_last_turn = deadline.has_passed();
        let finished = match transfer.running.wait_a_while(Deadline::after(POLL_INTERVAL).sooner(deadline)) {
            Ok(None) if !is_last_turn => {
                running.insert(0, transfer);
                continue;
            }
            Ok(None) => transfer.running.end(),
            Ok(Some(finished)) => Ok(finished),
            Err(error) => Err(error),
        };
        ended.push(match finished {
            Ok(finished) => {
                let cause = match finished.ended {
                    Ended::Exited(0) => None,
                    Ended::TimedOut => Some(TIMED_OUT.to_owned()),
                    _ => Some(git::error_line(&finished)),
                };
                let output = String::from_utf8_lossy(&finished.stdout).into_owned();
                Transferred { contact: transfer.contact, output, cause }
            }
            Err(error) => {
                Transferred { contact: transfer.contact, output: String::new(), cause: Some(error.to_string()) }
            }
        });
    }
    ended
}
