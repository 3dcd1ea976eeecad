//! `mirror lease show`: which nodes hold the leases.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::{no_lease, open_client, unknown};
use crate::cli;
use crate::clock::{BootInstant, Deadline};
use crate::config::{Lease, Service};
use crate::lease::client::LeaseError;
use crate::lease::{LeaseState, LeaseView};
use crate::name::Name;
use crate::output::{self, ExitStatus, HasStatus as _, Report, Spinner, Style};
use crate::state::StateDir;
use crate::state::history;
use crate::usage_error::UsageError;

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseShowVerdict {
    /// It is granted to a node, which may run the service.
    Granted,
    /// A takeover is under way, or was left unfinished: no node may run the service.
    Claimed,
    /// It was never claimed: no node may run the service.
    Vacant,
    /// The register cannot be read, or must not be obeyed.
    Unknown,
}

impl output::HasStatus for LeaseShowVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Granted => ExitStatus::Yes,
            Self::Claimed | Self::Vacant => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease show` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseShowFacts {
    /// Where the leases are: `git`, `etcd` or `file`.
    pub store: &'static str,
    /// One for each service, in the node list's order.
    pub leases: Vec<ShownLease>,
}

/// One service's lease. With the verdict `unknown`, null means not known.
#[derive(Serialize, JsonSchema)]
pub struct ShownLease {
    /// The service.
    pub service: Name,
    /// The state of the lease.
    pub verdict: LeaseShowVerdict,
    /// The same as a sentence for people.
    pub reason: String,
    /// The node that may run the service once the lease is granted to it.
    pub holder: Option<Name>,
    /// A number that grows with every claim.
    pub epoch: Option<u64>,
    /// How far the takeover has come.
    pub state: Option<LeaseState>,
    /// The node to which it was granted before; null when it never was.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// The writer: a node, or the host on which the command ran.
    pub by: Option<String>,
    /// Why, in words; null when no reason was given.
    pub why: Option<String>,
    /// When it was written, by the writer's clock: RFC 3339, UTC.
    pub at: Option<String>,
    /// Since when this machine has known it, by its own clock: RFC 3339, UTC. Null when that was
    /// before it booted.
    pub seen_since: Option<String>,
    /// Since when this node has held the lease by failsafe, while the register cannot be read: RFC 3339,
    /// UTC. Null otherwise, and on other nodes.
    pub failsafe_since: Option<String>,
    /// How long a read may be relied on, in ms.
    pub valid_ms: u64,
    /// The time to stop, plus what two clocks may drift apart, in ms.
    pub grace_ms: u64,
}

impl output::ReportFacts for LeaseShowFacts {
    type Verdict = LeaseShowVerdict;
    const SCHEMA: &'static str = "mirror.lease-show/1";

    fn text(&self, style: Style) -> String {
        let rows = self.leases.iter().map(|lease| {
            let mark = match lease.verdict.status() {
                ExitStatus::Yes => style.good("ok"),
                ExitStatus::No => style.bad("no"),
                ExitStatus::UsageError | ExitStatus::Unknown => style.doubtful("??"),
            };
            let by = lease.by.iter().map(|by| format!("by {by}")).chain(lease.at.iter().map(|at| format!("at {at}")));
            let seen = lease.seen_since.iter().map(|since| format!("seen since {since}"));
            let why = lease.why.iter().map(|why| format!("({why})"));
            let more = by.chain(why).chain(seen).collect::<Vec<_>>().join(" ");
            vec![mark, lease.reason.clone(), style.faint(&more)]
        });
        output::columns(&rows.collect::<Vec<_>>())
    }
}

pub(in crate::commands) fn run(arguments: &cli::LeaseShow, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let services: Vec<(&Name, &Service)> = match &arguments.service {
        Some(name) => vec![config.service(name)?],
        None => config.services.iter().collect(),
    };
    let store = config.lease.as_ref().ok_or_else(|| no_lease(context))?;
    if services.is_empty() {
        return Err(UsageError::new(format!("{}: it has no service; add [services.NAME]", config.file.display())));
    }
    let state_dir = StateDir::open(config);
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    let leases: Vec<ShownLease> = std::thread::scope(|scope| {
        let show = |name, service: &Service| show(context, &state_dir, name, service);
        let threads: Vec<_> =
            services.iter().map(|(name, service)| (*name, scope.spawn(move || show(name, service)))).collect();
        threads.into_iter().filter_map(|(_, thread)| thread.join().ok().flatten()).collect()
    });
    drop(spinner);
    let worst = leases.iter().rev().max_by_key(|lease| (lease.verdict.status(), lease.verdict as u8));
    let verdict = worst.map_or(LeaseShowVerdict::Unknown, |worst| worst.verdict);
    let reason = match leases.as_slice() {
        [only] => only.reason.clone(),
        all => {
            let good = all.iter().filter(|lease| lease.verdict == LeaseShowVerdict::Granted).count();
            format!("{good} of {} leases are granted.", all.len())
        }
    };
    Ok(context.tell(&Report { verdict, reason, facts: LeaseShowFacts { store: store.name(), leases } }))
}

fn show(context: &Context, state_dir: &StateDir, name: &Name, service: &Service) -> Option<ShownLease> {
    let lease = service.lease?;
    let mut lease_view = state_dir.lease_view(name);
    let read = open_client(context, state_dir, name).ok()?.and_then(|client| {
        client.refresh(&mut lease_view, Deadline::after(service.timeout))?;
        history::keep_lease_view(state_dir, context.local_node.as_ref(), name, &lease_view);
        Ok(())
    });
    let mut shown = shown(name, lease, &lease_view, read);
    if let Some(held) = held_by_failsafe(state_dir, name) {
        let HeldByFailsafe { failsafe_since: since, voters } = held;
        shown.reason += &format!(" It is held here by failsafe since {since}, {voters} of {voters} voters.");
        shown.failsafe_since = Some(since);
    }
    Some(shown)
}

/// What the state file of `mirror hold` says of the failsafe.
#[derive(Deserialize)]
struct HeldByFailsafe {
    failsafe_since: String,
    voters: usize,
}

/// None unless `mirror hold` runs here, by failsafe.
fn held_by_failsafe(state_dir: &StateDir, service: &Name) -> Option<HeldByFailsafe> {
    let bytes = std::fs::read(state_dir.directory().join(format!("hold-{service}.json"))).ok()?;
    let held = serde_json::from_slice(&bytes).ok()?;
    // Nobody updates the file of a hold that was killed.
    state_dir.lock_hold(service).is_ok_and(|lock| lock.is_none()).then_some(held)
}

fn shown(service: &Name, lease: Lease, lease_view: &LeaseView, read: Result<(), LeaseError>) -> ShownLease {
    let (verdict, reason) = match (&read, lease_view.value()) {
        (Err(error), known) => (LeaseShowVerdict::Unknown, unknown(service, error, known)),
        (Ok(()), None) => (LeaseShowVerdict::Vacant, format!("The lease of {service} was never claimed.")),
        (Ok(()), Some(record)) => match record.state {
            LeaseState::Granted => (
                LeaseShowVerdict::Granted,
                format!("{} holds the lease of {service}, epoch {}.", record.holder, record.epoch),
            ),
            LeaseState::Claimed => (
                LeaseShowVerdict::Claimed,
                format!(
                    "The lease of {service} is claimed for {}, epoch {}: no node may run it.",
                    record.holder, record.epoch
                ),
            ),
        },
    };
    let record = lease_view.value().filter(|_| read.is_ok());
    let first_seen = lease_view.seen.as_ref().map(|latest| latest.first_seen);
    let first_seen = first_seen.filter(|first_seen| read.is_ok() && *first_seen > BootInstant::default());
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    ShownLease {
        service: service.clone(),
        verdict,
        reason,
        holder: record.map(|record| record.holder.clone()),
        epoch: record.map(|record| record.epoch),
        state: record.map(|record| record.state),
        previous_holder: record.and_then(|record| record.previous_holder.clone()),
        by: record.map(|record| record.by.clone()),
        why: record.and_then(|record| record.why.clone()),
        at: record.map(|record| record.at.clone()),
        seen_since: first_seen.map(|first_seen| {
            let since = SystemTime::now() - first_seen.until(BootInstant::now());
            humantime::format_rfc3339_millis(since).to_string()
        }),
        failsafe_since: None,
        valid_ms: ms(lease.valid),
        grace_ms: ms(lease.grace),
    }
}
