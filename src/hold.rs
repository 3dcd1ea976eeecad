//! Runs a command while the run rule of the [lease](crate::lease) allows it, and not longer.
//!
//! Three parts, of which none waits for another:
//! - [`watch`] reads the register, in threads, and may hang;
//! - this process judges what was read ([`guard`]), and passes on until when the command may run;
//! - the [`keeper`], a process between this one and the command, starts the command and ends it and
//!   all that it had started when the time is up. It has its own alarm, so it does that also when
//!   this process is frozen; and this one ends the keeper when that does not do it in time. With
//!   both frozen, the kernel ends the keeper ([`fuse`]), and with it the command.
//!
//! Whichever of the two is killed, the other ends the command at once.

pub mod ipc;
pub mod kill_timer;
pub mod notify;
pub mod policy;
pub mod poller;
pub mod reaper;
pub mod supervisor;
pub mod timer;

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::exec;
use crate::lease::{LeaseView, Params, Permit};
use ipc::{Ended, Message, SupervisorOrder, SupervisorReport};
use policy::{Heard, RunPolicy, RunWindow};
use poller::{Open, PollResult, Poller};
use supervisor::Supervisor;
use timer::Timer;

/// What is to be held.
pub struct Plan<'a> {
    /// The service.
    pub service: &'a Name,
    /// The node that this is.
    pub node: &'a Name,
    /// How long is relied on what was read.
    pub params: Params,
    /// From one read to the next.
    pub check: Duration,
    /// What is known of the register from before.
    pub known: LeaseView,
    /// Opens the register.
    pub open: Arc<Open>,
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The command runs.
    Runs {
        /// Under this epoch.
        epoch: u64,
        /// As this process.
        pid: i32,
    },
    /// A read said that it may go on.
    Good,
    /// The register does not say so any more; why. It is told to stop unless that changes.
    Doubtful {
        /// Why, in words.
        why: String,
        /// For how long the latest good read still holds.
        left: Duration,
    },
    /// It says so again.
    Sure,
    /// The command is told to stop; why, as half a sentence.
    Stops(String),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was started: the lease is not this node's; why.
    NotOurs(String),
    /// Nothing was started: it could not be found out; why.
    Unknown(String),
    /// The command could not be started.
    NotStarted {
        /// Why, in words.
        why: String,
        /// Whether there is no such program.
        missing: bool,
    },
    /// A signal came before the command was started.
    Interrupted,
    /// The command has ended.
    Ended {
        /// Its status, as a shell has it.
        status: i32,
        /// Why it was stopped.
        stopped: Stopped,
        /// Whether it had to be killed.
        killed: bool,
    },
}

/// Why a command was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself.
    Not,
    /// A signal told this process to end.
    Asked,
    /// It might not run any longer; why.
    Lost(String),
}

/// The process that holds, from its begin on.
pub struct HoldRun<'a> {
    plan: &'a Plan<'a>,
    supervisor: Supervisor,
    /// Whether the keeper said itself that nothing runs.
    settled: bool,
    policy: RunPolicy,
    signals: UnixStream,
    alarm: Timer,
    /// Until when the command may run, once it does.
    term: Option<RunWindow>,
    /// Why it is stopped, once it is.
    stopped: Stopped,
    /// What the latest read that brought nothing said, until a good one.
    doubt: Option<String>,
}

/// Holds, from the first read to the end of the command. `tell` is told each change as it comes, and
/// what is known of the register; how long it takes delays no stop.
///
/// # Errors
/// When this process lacks what it needs. Nothing runs then.
pub fn hold(
    plan: &Plan<'_>,
    supervisor: Supervisor,
    tell: &mut dyn FnMut(&Change, &LeaseView),
) -> Result<(Outcome, LeaseView)> {
    let mut hold = HoldRun {
        plan,
        settled: false,
        policy: RunPolicy::new(plan.node.clone(), plan.params, BootInstant::now(), plan.known.clone()),
        signals: signals().context("no signals to be had")?,
        alarm: Timer::new().context("no timer to be had")?,
        supervisor,
        term: None,
        stopped: Stopped::Not,
        doubt: None,
    };
    let watch = Poller::begin(plan.service, Arc::clone(&plan.open), plan.check, plan.params.valid)?;
    let outcome = hold.run(&watch, tell);
    if hold.settled || hold.term.is_none() {
        hold.supervisor.dismiss();
        // The reads that are under way, in peace: nothing else runs any more.
        exec::end_all();
    } else {
        hold.supervisor.kill_tree();
    }
    Ok((outcome?, hold.policy.lease_view().clone()))
}

/// Readable when a signal has told this process to end.
fn signals() -> std::io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in exec::take_signals() {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn drain(mut stream: &UnixStream) -> bool {
    let mut bytes = [0; 256];
    let mut any = false;
    while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
        any = true;
    }
    any
}

impl HoldRun<'_> {
    fn run(&mut self, watch: &Poller, tell: &mut dyn FnMut(&Change, &LeaseView)) -> Result<Outcome> {
        let given_up = BootInstant::now().plus(self.plan.params.valid);
        loop {
            if let Some(outcome) = self.hear_keeper(tell) {
                return Ok(outcome);
            }
            if drain(&self.signals) {
                if self.term.is_none() {
                    return Ok(Outcome::Interrupted);
                }
                self.stop(Stopped::Asked, "a signal told it to", tell);
            }
            drain(&watch.wake);
            exec::reap_orphans(self.supervisor.pid());
            while let Ok(news) = watch.news.try_recv() {
                if let Some(outcome) = self.hear_news(news, tell) {
                    return Ok(outcome);
                }
            }
            let now = BootInstant::now();
            let next = match &self.term {
                None if now >= given_up => return Ok(Outcome::Unknown(self.why_not())),
                None => given_up,
                Some(term) if self.stopped == Stopped::Not && now < term.stops() => term.stops(),
                Some(_) if self.stopped == Stopped::Not => {
                    let why = self.why_not();
                    self.stop(Stopped::Lost(why.clone()), &why, tell);
                    continue;
                }
                // The keeper was to have ended it by now.
                Some(term) if now >= term.overdue() => {
                    let lost = self.stopped.clone().or_lost("its keeper was frozen, and was killed with it");
                    return Ok(Outcome::Ended { status: 128 + libc::SIGKILL, stopped: lost, killed: true });
                }
                Some(term) => term.overdue(),
            };
            self.alarm.set(Some(next))?;
            let fds = [self.supervisor.link.as_fd(), self.signals.as_fd(), watch.wake.as_fd(), self.alarm.as_fd()];
            match rustix::event::poll(&mut fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn hear_keeper(&mut self, tell: &mut dyn FnMut(&Change, &LeaseView)) -> Option<Outcome> {
        loop {
            match self.supervisor.link.hear() {
                Message::Nothing => return None,
                Message::Said(SupervisorReport::Started { pid }) => {
                    let epoch = self.policy.epoch().unwrap_or_default();
                    tell(&Change::Runs { epoch, pid }, self.policy.lease_view());
                }
                Message::Said(SupervisorReport::NotStarted { why, missing }) => {
                    self.settled = true;
                    return Some(Outcome::NotStarted { why, missing });
                }
                Message::Said(SupervisorReport::Ended(Ended { status, expired, killed })) => {
                    self.settled = true;
                    let stopped = self.stopped.clone();
                    let stopped = if expired { stopped.or_lost(&self.why_not()) } else { stopped };
                    return Some(Outcome::Ended { status, stopped, killed });
                }
                Message::Gone => {
                    if self.term.is_none() {
                        return Some(Outcome::Unknown("its keeper was killed".to_owned()));
                    }
                    let lost = self.stopped.clone().or_lost("its keeper was killed");
                    return Some(Outcome::Ended { status: 128 + libc::SIGKILL, stopped: lost, killed: true });
                }
            }
        }
    }

    fn hear_news(&mut self, news: PollResult, tell: &mut dyn FnMut(&Change, &LeaseView)) -> Option<Outcome> {
        let now = BootInstant::now();
        let heard = match news {
            PollResult::Read(reading) => self.policy.hear(reading, now),
            PollResult::StoreError(why) => Heard::Nothing(why),
        };
        match (heard, &mut self.term) {
            (Heard::Permit(Permit { epoch, until }), None) => {
                self.policy.started(epoch);
                self.term = Some(RunWindow::new(until, self.plan.params.grace));
                self.supervisor.link.say(&SupervisorOrder::Start { epoch, until });
            }
            (Heard::Permit(Permit { until, .. }), Some(term)) => {
                // Where the permit has run out in between, the frozen one that just woke stops: a read
                // of now says nothing of the time that it slept through.
                if self.stopped == Stopped::Not && now < term.stops() {
                    term.extend(until);
                    self.supervisor.link.say(&SupervisorOrder::Extend { until });
                    if self.doubt.take().is_some() {
                        tell(&Change::Sure, self.policy.lease_view());
                    }
                    tell(&Change::Good, self.policy.lease_view());
                }
            }
            (Heard::Not(why), None) => return Some(Outcome::NotOurs(why)),
            (Heard::Not(why), Some(_)) => self.stop(Stopped::Lost(why.clone()), &why, tell),
            (Heard::Nothing(why), None) => self.doubt = Some(why),
            (Heard::Nothing(why), Some(term)) => {
                let left = now.until(term.stops());
                if self.doubt.replace(why.clone()).is_none() && self.stopped == Stopped::Not {
                    tell(&Change::Doubtful { why, left }, self.policy.lease_view());
                }
            }
        }
        None
    }

    fn stop(&mut self, why: Stopped, words: &str, tell: &mut dyn FnMut(&Change, &LeaseView)) {
        if let Some(term) = self.term.as_mut().filter(|_| self.stopped == Stopped::Not) {
            term.stop(BootInstant::now());
            self.supervisor.link.say(&SupervisorOrder::Stop);
            self.stopped = why;
            tell(&Change::Stops(words.to_owned()), self.policy.lease_view());
        }
    }

    /// Why there is no good read.
    fn why_not(&self) -> String {
        self.doubt.clone().unwrap_or_else(|| "the register said nothing in time".to_owned())
    }
}

impl Stopped {
    fn or_lost(self, why: &str) -> Self {
        if self == Self::Not { Self::Lost(why.to_owned()) } else { self }
    }
}
