//! Asks the voters while the register cannot be read, by the rule of [`lease::failsafe`](crate::lease::failsafe).

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::{BootInstant, Deadline};
use crate::lease::Params;
use crate::lease::failsafe::{Grant, Round};
use crate::name::Name;

/// Asks one voter to vouch for a grant; whether it said yes.
pub type AskVoter = dyn Fn(&Name, &Grant, Deadline) -> bool + Send + Sync;

/// Sees to it that a question to a voter needs no login; whether it needs none now. None where it is not done by
/// connections that are kept.
pub type ConnectVoter = dyn Fn(&Name) -> Option<bool> + Send + Sync;

/// How often it is seen to. The first login waits as long, so as not to compete with the start of the command.
const CONNECTION_INTERVAL: Duration = Duration::from_millis(500);
/// The same while the voter is not reached.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(5);
/// Rounds that may be in progress at the same time: a voter that hangs must not delay the next round.
const MAX_ROUNDS: usize = 4;

/// The nodes that may ever grant, and how to ask them.
pub struct Voters {
    /// Every node of the brain chain.
    pub names: Vec<Name>,
    /// Asks one of them.
    pub ask: Arc<AskVoter>,
    /// Keeps a connection to one of them open.
    pub connect: Arc<ConnectVoter>,
}

/// A round in which all voters said yes.
#[derive(Clone, Debug)]
pub(super) struct Vouched {
    /// What they vouched for.
    pub(super) grant: Grant,
    /// Before the earliest question.
    pub(super) began: BootInstant,
}

/// When to ask, and the rounds in progress.
pub(super) struct Failsafe {
    voters: Arc<Voters>,
    params: Params,
    results: Receiver<Option<Vouched>>,
    sender: Sender<Option<Vouched>>,
    waker: UnixStream,
    in_progress: usize,
    last_round: Option<BootInstant>,
    /// When the last unanimous round ended.
    last_vouched: Option<BootInstant>,
}

impl Failsafe {
    /// From now on connections to the voters are kept open. `wake` becomes readable when a round has ended.
    pub(super) fn new(voters: Arc<Voters>, params: Params) -> Result<(Self, UnixStream)> {
        keep_connected(&voters)?;
        let (sender, results) = channel();
        let (wake, waker) = UnixStream::pair().context("cannot create a socket pair")?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let this =
            Self { voters, params, results, sender, waker, in_progress: 0, last_round: None, last_vouched: None };
        Ok((this, wake))
    }

    /// How many voters there are.
    pub(super) fn voters(&self) -> usize {
        self.voters.names.len()
    }

    /// When the next round is due. A permit that began at `renewed` is half used up before a late register
    /// is a reason to ask; after a failed read, a third.
    ///
    /// ```text
    ///  renewed ──── 1/3: after a failed read ── 1/2: late ─────────── valid: stop
    ///               round ─ 1/3 ─ round: unanimous ─ 1/6 ─ round ─ 1/6 ─ round …
    /// ```
    ///
    /// Where connections have been lost the first round logs in to every voter. Until it has succeeded, a second
    /// one so soon would wait for the same logins, and delay them.
    pub(super) fn due(&self, renewed: BootInstant, read_failed: bool) -> BootInstant {
        let valid = self.params.valid;
        let first = renewed.plus(valid / if read_failed { 3 } else { 2 });
        let Some(last) = self.last_round else { return first };
        let is_connected = self.last_vouched.is_some_and(|vouched| last < vouched.plus(valid));
        first.max(last.plus(valid / if is_connected { 6 } else { 3 }))
    }

    /// Begins a round, unless too many are in progress.
    pub(super) fn begin(&mut self, grant: Grant, now: BootInstant) {
        self.last_round = Some(now);
        if self.in_progress >= MAX_ROUNDS {
            return;
        }
        // A round that a failed read has begun has two thirds of `valid` left, in which new logins have to fit.
        let (voters, timeout) = (Arc::clone(&self.voters), self.params.valid * 2 / 3);
        let (sender, waker) = (self.sender.clone(), self.waker.try_clone());
        let round = move || {
            let began = ask_all(&voters, &grant, timeout);
            let _ = sender.send(began.map(|began| Vouched { grant, began }));
            let _ = waker.map(|mut waker| waker.write(&[0]));
        };
        if std::thread::Builder::new().name("failsafe".to_owned()).spawn(round).is_ok() {
            self.in_progress += 1;
        }
    }

    /// The next unanimous round that has ended.
    pub(super) fn next_vouched(&mut self) -> Option<Vouched> {
        while let Ok(ended) = self.results.try_recv() {
            self.in_progress = self.in_progress.saturating_sub(1);
            if ended.is_some() {
                self.last_vouched = Some(BootInstant::now());
                return ended;
            }
        }
        None
    }
}

/// A login takes longer than a short `valid`, so the first round must find the connections open. While they
/// are, this asks nobody anything.
fn keep_connected(voters: &Arc<Voters>) -> io::Result<()> {
    for voter in &voters.names {
        let (connect, voter) = (Arc::clone(&voters.connect), voter.clone());
        let keep = move || {
            let mut interval = CONNECTION_INTERVAL;
            loop {
                std::thread::sleep(interval);
                let Some(is_connected) = connect(&voter) else { return };
                interval = if is_connected { CONNECTION_INTERVAL } else { RECONNECT_INTERVAL };
            }
        };
        std::thread::Builder::new().name("connection".to_owned()).spawn(keep)?;
    }
    Ok(())
}

/// Asks all voters at once; when the round began, if all said yes.
fn ask_all(voters: &Voters, grant: &Grant, timeout: Duration) -> Option<BootInstant> {
    let mut round = Round::begin(&voters.names, BootInstant::now());
    let deadline = Deadline::after(timeout);
    let (sender, answers) = channel();
    for voter in &voters.names {
        let (sender, ask, voter, grant) = (sender.clone(), Arc::clone(&voters.ask), voter.clone(), grant.clone());
        let question = move || {
            let yes = ask(&voter, &grant, deadline);
            let _ = sender.send((voter, yes));
        };
        std::thread::Builder::new().name("voter".to_owned()).spawn(question).ok()?;
    }
    drop(sender);
    while let Ok((voter, yes)) = answers.recv_timeout(deadline.left()) {
        if !yes {
            return None;
        }
        round.add_yes(&voter);
        if let Some(began) = round.unanimous_since() {
            return Some(began);
        }
    }
    None
}
