//! Makes a service run on its target and nowhere else.
//!
//! One look serves all services; then each goes its own way, all at once: decide, stop it wherever
//! else it runs or might run, start it on its target. A tick that finds everything in place asks
//! no more than it must.
//!
//! Where a service is under a lease, its target gets that before it is started there, and a node that
//! says nothing is waited out instead of waited for.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use crate::boot_instant::BootInstant;
use crate::brain::Brain;
use crate::chain::Name;
use crate::config::{Config, Service};
use crate::deadline::Deadline;
use crate::lease::client::LeaseError;
use crate::output::{self, ExitStatus, OutputMode, PendingWaits};
use crate::pause::{self, Paused, Pauses};
use crate::remote::Remote;
use crate::service::Cause;
use crate::state::{ServiceRecord, StateDir};
use crate::view::View;

mod act;
mod ages;
mod choice;
mod course;
mod leased;
mod look;
mod opinion;
mod rival;
mod starting;
mod survey;
mod tenure;

use ages::Uptime;
use course::ServiceRun;
use look::Look;
use tenure::Takeover;

pub use tenure::LeaseReport;

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PromoteVerdict {
    /// It runs on its target and nowhere else; nothing was touched.
    InPlace,
    /// It ran nowhere, and was started on its target.
    Started,
    /// It was stopped on another node, or that node is dead, and it was started on its target.
    Moved,
    /// It ran on its target, and was stopped elsewhere.
    StoppedElsewhere,
    /// `--dry-run`: what would be done; nothing was touched.
    Planned,
    /// There is no node to run it on: every node of the chain is dead, or the one that `--to` names.
    Refused,
    /// `--if-brain`: this node is not the brain, so nothing was looked at.
    NotBrain,
    /// It could be started on no living node.
    Failed,
    /// `mirror pause`: it is not as it ought to be, and nothing was touched until `mirror resume`.
    Paused,
    /// A living node did not confirm that it stopped there, or its target did not say whether it runs
    /// there; nothing was started.
    Blocked,
    /// Another promotion of it is under way on this node.
    Busy,
    /// It could not be found out where it belongs, or whether it runs.
    Unknown,
}

impl output::HasStatus for PromoteVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::InPlace | Self::Started | Self::Moved | Self::StoppedElsewhere | Self::Planned => ExitStatus::Yes,
            Self::Refused | Self::NotBrain | Self::Failed | Self::Paused => ExitStatus::No,
            Self::Blocked | Self::Busy | Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What makes sure that the old instance is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fencing {
    /// Nothing: an old node is dead or cut off, and said nothing.
    None,
    /// Every old node itself said that it is stopped.
    Confirmed,
    /// The lease: every old node said that it is stopped, or had to stop by itself before this one
    /// was granted it.
    Lease,
}

/// One act on one node.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// The node.
    pub node: Name,
    /// What was done.
    pub step: Act,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it did not come to pass, as a slug; null when it did.
    pub cause: Option<Cause>,
    /// The same in words, where there is more to say.
    pub detail: Option<String>,
    /// How long it took, its confirmation included, in ms.
    pub elapsed_ms: f64,
}

/// What is done on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// The service's `stop`, then its `status` until it is stopped.
    Stop,
    /// The service's `start`, then its `status` until it runs.
    Start,
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// `status` confirms it.
    Confirmed,
    /// `status` denies it.
    Failed,
    /// Nothing was heard in time.
    Unconfirmed,
    /// `--dry-run`: it would be done.
    Planned,
}

/// What became of one service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceOutcome {
    /// The service.
    pub service: Name,
    /// The outcome as a stable slug.
    pub verdict: PromoteVerdict,
    /// The outcome as a sentence for people.
    pub reason: String,
    /// The node that ought to run it; null when that is not known.
    pub target: Option<Name>,
    /// The node that ran it before; null when none did, or none is known.
    pub previous: Option<Name>,
    /// What makes sure that the old instance is stopped; null when nothing was started.
    pub fencing: Option<Fencing>,
    /// What was done, in the order of its end.
    pub steps: Vec<Step>,
    /// What became of its lease; null where it is under none, and where nobody was asked.
    pub lease: Option<LeaseReport>,
}

/// What is wanted.
pub struct Request<'a> {
    /// The node list.
    pub config: &'a Config,
    /// The node this is.
    pub local_node: Option<&'a Name>,
    /// The services.
    pub services: Vec<(&'a Name, &'a Service)>,
    /// The node to run them on, when not the first living one.
    pub to: Option<&'a Name>,
    /// Whether to do nothing unless this node is the brain.
    pub if_brain: bool,
    /// Whether to touch nothing.
    pub dry_run: bool,
    /// What was seen, when that is not to be found out.
    pub view: Option<View>,
    /// The reason, for whoever reads the lease's history.
    pub why: Option<&'a str>,
    /// Where each step is said.
    pub output_mode: OutputMode,
    /// Where it is told for what is being waited.
    pub waits: PendingWaits,
}

/// What became of an order.
pub struct Promoted {
    /// Who the brain is, when that was asked.
    pub brain: Option<Brain>,
    /// One for each service, in the order asked.
    pub services: Vec<ServiceOutcome>,
}

impl ServiceOutcome {
    /// What was found out of a service that is paused.
    fn while_paused(mut self, paused: &Paused, dry_run: bool) -> Self {
        let name = &self.service;
        let words = paused.words();
        (self.verdict, self.reason) = match (self.verdict, self.steps.is_empty(), &self.target) {
            (PromoteVerdict::Planned, true, Some(target)) if !dry_run => {
                (PromoteVerdict::InPlace, format!("{name} runs on {target}, and is {words}."))
            }
            (PromoteVerdict::Planned, false, _) => (
                PromoteVerdict::Paused,
                format!("{name} is {words}. Nothing was touched; after `mirror resume`: {}", self.reason),
            ),
            (verdict, ..) => (verdict, format!("{} It is {words}.", self.reason)),
        };
        self
    }

    /// A promotion that came to nothing.
    pub(crate) fn without_act(service: &Name, verdict: PromoteVerdict, reason: String) -> Self {
        let (target, previous, fencing, steps, lease) = (None, None, None, Vec::new(), None);
        Self { service: service.clone(), verdict, reason, target, previous, fencing, steps, lease }
    }
}

/// What is paused: asked once, and only by those who find that there is something to do.
struct PausesOnDemand<'a> {
    request: &'a Request<'a>,
    store: &'a StateDir,
    read: OnceLock<Result<Pauses, LeaseError>>,
}

impl PausesOnDemand<'_> {
    fn get(&self) -> &Result<Pauses, LeaseError> {
        let Request { config, local_node, services, .. } = self.request;
        // As long as a lease is read: what was just paused has to be fetched too.
        let patience = services.iter().map(|(_, service)| service.timeout).max();
        let deadline = Deadline::after(patience.unwrap_or_default().max(config.probe_timeout));
        self.read.get_or_init(|| pause::in_force(config, self.store, *local_node, deadline))
    }
}

/// Carries out an order, by what the store remembers.
///
/// # Errors
/// When this process cannot ask anybody, or `if_brain` is asked and there is no brain chain.
pub fn promote(request: &Request<'_>, store: &StateDir) -> Result<Promoted> {
    let remote = Remote::new(request.config, request.local_node);
    let mut busy: BTreeMap<&Name, ServiceOutcome> = BTreeMap::new();
    let mut locks = Vec::new();
    let mut records: BTreeMap<&Name, ServiceRecord> = BTreeMap::new();
    for (name, _) in &request.services {
        match if request.dry_run { Ok(None) } else { store.lock(name).map(Some) } {
            Ok(Some(None)) => {
                let reason = format!("Another promotion of {name} is under way on this node.");
                busy.insert(name, ServiceOutcome::without_act(name, PromoteVerdict::Busy, reason));
            }
            Ok(lock) => {
                locks.extend(lock.flatten());
                records.insert(name, store.record(name));
            }
            Err(error) => {
                let reason = format!("No lock can be had for {name}: {error}.");
                busy.insert(name, ServiceOutcome::without_act(name, PromoteVerdict::Unknown, reason));
            }
        }
    }
    let look = Look { request, remote: &remote, records: &records };
    let mut takeovers: BTreeMap<&Name, Takeover<'_>> = BTreeMap::new();
    for (name, service) in request.services.iter().filter(|(name, _)| records.contains_key(name)) {
        takeovers.extend(Takeover::new(request, store, (name, service)).map(|takeover| (*name, takeover)));
    }
    let began = BootInstant::now();
    let (view, brain) = tenure::read_beside(request, &records, &mut takeovers, || look.take())?;
    let (seen, uptime) = (view.seen(), Uptime::new(request, store));
    if let Some(brain) = &brain
        && !matches!(brain, Brain::Known(name) if Some(name) == request.local_node)
    {
        let verdict = match brain {
            Brain::Known(_) | Brain::Nobody => PromoteVerdict::NotBrain,
            Brain::Isolated | Brain::Unknown(_) | Brain::Open => PromoteVerdict::Unknown,
        };
        uptime.forget_deaths();
        let reason = brain.sentence_to(request.local_node);
        let all = request.services.iter();
        let services = all.map(|(name, _)| ServiceOutcome::without_act(name, verdict, reason.clone())).collect();
        return Ok(Promoted { brain: Some(brain.clone()), services });
    }
    uptime.add(&seen, began);
    let pauses = PausesOnDemand { request, store, read: OnceLock::new() };
    let go = &|name, service, takeover| {
        let record = records.get(name).cloned()?;
        let known = (record, takeover, &pauses);
        let service_run = ServiceRun::new(request, &remote, (name, service), known, seen.clone(), &uptime);
        let (promotion, record) = service_run.run();
        if !request.dry_run {
            store.keep_record(name, &record);
        }
        Some(promotion)
    };
    let services = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for &(name, service) in &request.services {
            let takeover = takeovers.remove(name);
            threads.push(scope.spawn(move || go(name, service, takeover)));
        }
        let broken_off = |name: &Name| {
            ServiceOutcome::without_act(name, PromoteVerdict::Unknown, format!("The promotion of {name} broke off."))
        };
        let ended = threads.into_iter().zip(&request.services).map(|(thread, (name, _))| {
            let promotion = thread.join().ok().flatten();
            promotion.or_else(|| busy.remove(name)).unwrap_or_else(|| broken_off(name))
        });
        ended.collect()
    });
    Ok(Promoted { brain, services })
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    names.map(Name::as_str).collect::<Vec<_>>().join(", ")
}
