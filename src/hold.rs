//! Runs a command while the run rule of the [lease](crate::lease) allows it, and no longer.
//!
//! Four parts work side by side, and none waits for another:
//! - the [poller] reads the register in threads, any of which may hang;
//! - this process [judges](policy) each read, and tells the supervisor until when the command may run;
//! - while the register cannot be read, the [failsafe] asks the other nodes, in threads as well;
//! - the [supervisor], a process between this one and the command, starts the command, and ends it with
//!   everything that it started when the time is up.
//!
//! The supervisor has its own timer, so it stops the command even while this process is frozen; and
//! this process kills a supervisor that does not act in time. If one of the two is killed, the other
//! ends the command at once. If both are killed or frozen, a third process, the backstop, ends the
//! command; and if all three are frozen, a kernel [timer](kill_timer) kills the supervisor, and with it a
//! command that has not changed its user.

mod backstop;
mod cgroup;
pub mod command;
pub mod failsafe;
pub mod ipc;
pub mod kill_timer;
pub mod machine_lock;
pub mod notify;
pub mod policy;
pub mod poller;
mod process_tree;
pub mod read_times;
pub mod reaper;
mod run;
pub mod run_window;
mod shared_deadline;
mod signals;
mod supervise;
pub mod supervisor;
pub mod timer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::lease::{LeaseView, Params};
use crate::name::Name;
use failsafe::Voters;
use poller::OpenRegister;
use supervisor::Supervisor;

/// The lease to hold.
pub struct HoldRequest<'a> {
    /// The service.
    pub service: &'a Name,
    /// The node that this is.
    pub node: &'a Name,
    /// The time limits of the lease.
    pub params: Params,
    /// The time from one read to the next.
    pub check: Duration,
    /// What was known of the lease before.
    pub known: LeaseView,
    /// Opens the register.
    pub open: Arc<OpenRegister>,
    /// The voters of the failsafe; none without it.
    pub voters: Option<Arc<Voters>>,
}

/// What happens while a command is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldEvent {
    /// The command runs.
    Started {
        /// Under this epoch.
        epoch: u64,
        /// Its pid.
        pid: i32,
    },
    /// A read was answered in this time, or none if it was not.
    Read(Option<Duration>),
    /// A read extended the permit.
    Extended,
    /// The first read that did not extend it.
    AtRisk {
        /// Why.
        why: String,
        /// How long until the permit expires.
        left: Duration,
    },
    /// Reads extend the permit again.
    Recovered,
    /// The register cannot be read, and all voters extended the permit for the first time.
    FailsafeBegan {
        /// How many they are.
        voters: usize,
    },
    /// The command is told to stop; why, as half a sentence.
    Stopping(String),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldOutcome {
    /// Nothing was started: the lease is not this node's; why.
    NotOurs(String),
    /// Nothing was started: the lease is unknown; why.
    Unknown(String),
    /// The command could not be started.
    NotStarted {
        /// Why.
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
        stop_reason: StopReason,
        /// Whether it had to be killed.
        killed: bool,
    },
}

/// Why a command was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was not: it ended by itself.
    NotStopped,
    /// A signal told `hold` to end.
    Signal,
    /// It may not run any longer; why.
    LeaseLost(String),
}

impl StopReason {
    fn or_lost(self, why: &str) -> Self {
        if self == Self::NotStopped { Self::LeaseLost(why.to_owned()) } else { self }
    }
}

/// Receives each event, with what is known of the lease. It may take its time: stops do not wait for it.
pub type OnEvent<'a> = dyn FnMut(&HoldEvent, &LeaseView) + 'a;

/// Holds the lease, from the first read to the end of the command; returns also what is known of the
/// lease then.
///
/// # Errors
/// When this process cannot get a thread, a timer or another resource. Nothing runs then.
pub fn hold(
    request: &HoldRequest<'_>,
    supervisor: Supervisor,
    on_event: &mut OnEvent<'_>,
) -> Result<(HoldOutcome, LeaseView)> {
    run::run(request, supervisor, on_event)
}
