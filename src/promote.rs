//! Makes a service run on its target and nowhere else.
//!
//! One look at the nodes serves all services. Then each service goes its own way, all at once, and
//! waits for no other: what was seen is one value ([`observed`]), the plan is a pure function of it
//! ([`plan`]), and what the first action of the plan shows is added to what was seen before it is
//! planned anew ([`execute`]). A check that finds everything in place asks no more than it must.
//!
//! Where a service is under a lease, its target gets the lease before it is started there
//! ([`takeover`]), and a node that does not answer is waited out.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::leader::Brain;
use crate::lease::client;
use crate::name::Name;
use crate::remote::Remote;
use crate::state::{ServiceRecord, StateDir};

mod contention;
mod cooldown;
mod events;
mod execute;
mod former_places;
mod memory;
mod now;
mod observe;
mod observed;
mod outcome;
mod plan;
mod records;
mod request;
mod round;
mod shared;
#[cfg(test)]
mod simulation;
mod steps;
mod takeover;
mod uptime;

use execute::cooldowns;
use shared::Means;
use uptime::UptimeTracker;

pub use outcome::{
    CooldownReport, Fencing, LeaseReport, Movement, PromoteVerdict, ServiceOutcome, Step, StepKind, StepOutcome,
};
pub use request::{Options, Request};

/// The nodes that are passed over for a service now, by what is remembered of it.
pub fn cooling_down(record: &ServiceRecord) -> Vec<CooldownReport> {
    cooldowns(record, now::Now::take())
}

/// What became of a request.
pub struct Promoted {
    /// Who the brain is, when that was asked.
    pub brain: Option<Brain>,
    /// One for each service, in the order asked.
    pub services: Vec<ServiceOutcome>,
}

impl Promoted {
    /// Where each service runs by now, as far as this is known: for the beat, so that the next brain
    /// knows it too.
    pub fn running(&self) -> BTreeMap<Name, Name> {
        let runs = self.services.iter().filter(|service| service.verdict.runs());
        runs.filter_map(|service| Some((service.service.clone(), service.movement.target.clone()?))).collect()
    }
}

/// Carries out a request, by what the state directory remembers.
///
/// # Errors
/// When this process cannot ask anybody, the brain is asked for and there is no brain chain, or the node
/// to forget is unknown.
pub fn promote(request: &Request<'_>, state_dir: &StateDir) -> Result<Promoted> {
    let remote = Remote::new(request.config, request.local_node);
    let remote = if request.services.len() > 1 { remote.gathering() } else { remote };
    let uptime = UptimeTracker::new(request, state_dir);
    let registers = client::open_shared(request.config, state_dir, request.local_node);
    round::promote_all(request, &Means { remote: &remote, state_dir, uptime: &uptime, registers: registers.as_ref() })
}
