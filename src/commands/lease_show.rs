//! `mirror lease show`: who holds the leases.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::cli;
use crate::config::{Lease, Service};
use crate::deadline::Deadline;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::{LeaseRecord, LeaseState, LeaseView};
use crate::output::{self, ExitStatus, HasStatus as _, Report, Spinner, Style};
use crate::state::StateDir;
use crate::state::history;
use crate::usage_error::UsageError;

/// What a lease was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseShowVerdict {
    /// It is granted to a node, which may run the service.
    Granted,
    /// A takeover is under way, or was left unfinished: no node may run the service.
    Claimed,
    /// It was never claimed: no node may run the service.
    Vacant,
    /// The register cannot be read, or is not to be obeyed.
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
    pub leases: Vec<Shown>,
}

/// One service's lease. Where the verdict is `unknown`, what is null is not known.
#[derive(Serialize, JsonSchema)]
pub struct Shown {
    /// The service.
    pub service: Name,
    /// What the lease was found to be.
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
    /// Who wrote this: a node, or the host on which the command was given.
    pub by: Option<String>,
    /// Why, in words; null when nobody said.
    pub why: Option<String>,
    /// When it was written, by the writer's clock: RFC 3339, UTC.
    pub at: Option<String>,
    /// Since when this machine has known it, by its own clock: RFC 3339, UTC. Null when that was
    /// before it booted.
    pub seen_since: Option<String>,
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

pub(super) fn run(arguments: &cli::LeaseShow, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let services: Vec<(&Name, &Service)> = match &arguments.service {
        Some(name) => vec![config.service(name)?],
        None => config.services.iter().collect(),
    };
    let place = config.lease.as_ref().ok_or_else(|| none(context))?;
    if services.is_empty() {
        return Err(UsageError::new(format!("{}: it has no service; add [services.NAME]", config.file.display())));
    }
    let store = StateDir::open(config);
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    let leases: Vec<Shown> = std::thread::scope(|scope| {
        let show = |name, service: &Service| show(context, &store, name, service);
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
    Ok(context.tell(&Report { verdict, reason, facts: LeaseShowFacts { store: place.name(), leases } }))
}

/// The misuse of asking for a lease where there is none.
pub(super) fn none(context: &Context) -> anyhow::Error {
    let file = context.config.file.display();
    UsageError::new(format!(
        "{file}: no service is under a lease; add [lease] with store = \"git\", \"etcd\" or \"file\""
    ))
}

/// The register of a service that is under a lease; where it cannot be used, the doubt.
pub(super) fn lease_client<'a>(
    context: &Context,
    store: &StateDir,
    service: &'a Name,
) -> Result<Result<LeaseClient<'a>, LeaseError>> {
    match LeaseClient::open(&context.config, store, context.local_node.as_ref(), service) {
        Ok(Some(lease_client)) => Ok(Ok(lease_client)),
        Ok(None) => Err(none(context)),
        Err(doubt) => Ok(Err(doubt)),
    }
}

fn show(context: &Context, store: &StateDir, name: &Name, service: &Service) -> Option<Shown> {
    let lease = service.lease?;
    let mut lease_view = store.lease_view(name);
    let seen = lease_client(context, store, name).ok()?.and_then(|lease_client| {
        lease_client.look(&mut lease_view, Deadline::after(service.timeout))?;
        history::keep_lease_view(store, context.local_node.as_ref(), name, &lease_view);
        Ok(())
    });
    Some(shown(name, lease, &lease_view, seen))
}

fn shown(service: &Name, lease: Lease, lease_view: &LeaseView, seen: Result<(), LeaseError>) -> Shown {
    let (verdict, reason) = match (&seen, lease_view.value()) {
        (Err(doubt), known) => (LeaseShowVerdict::Unknown, unknown(service, doubt, known)),
        (Ok(()), None) => (LeaseShowVerdict::Vacant, format!("The lease of {service} was never claimed.")),
        (Ok(()), Some(value)) => match value.state {
            LeaseState::Granted => (
                LeaseShowVerdict::Granted,
                format!("{} holds the lease of {service}, epoch {}.", value.holder, value.epoch),
            ),
            LeaseState::Claimed => (
                LeaseShowVerdict::Claimed,
                format!(
                    "The lease of {service} is claimed for {}, epoch {}: nobody may run it.",
                    value.holder, value.epoch
                ),
            ),
        },
    };
    let value = lease_view.value().filter(|_| seen.is_ok());
    let known = lease_view
        .seen
        .as_ref()
        .map(|seen| seen.first_seen)
        .filter(|known| seen.is_ok() && *known > BootInstant::default());
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Shown {
        service: service.clone(),
        verdict,
        reason,
        holder: value.map(|value| value.holder.clone()),
        epoch: value.map(|value| value.epoch),
        state: value.map(|value| value.state),
        previous_holder: value.and_then(|value| value.previous_holder.clone()),
        by: value.map(|value| value.by.clone()),
        why: value.and_then(|value| value.why.clone()),
        at: value.map(|value| value.at.clone()),
        seen_since: known.map(|known| {
            let since = SystemTime::now() - known.until(BootInstant::now());
            humantime::format_rfc3339_millis(since).to_string()
        }),
        valid_ms: ms(lease.valid),
        grace_ms: ms(lease.grace),
    }
}

/// Why a lease is unknown, what was known of it before, and what to do about a register that lost
/// what it held.
pub(super) fn unknown(service: &Name, doubt: &LeaseError, known: Option<&LeaseRecord>) -> String {
    let seen = || known.map(|value| format!("last seen: {}", value.summary(service)));
    let more = doubt.remedy(service).or_else(seen).map(|more| format!("; {more}")).unwrap_or_default();
    format!("The lease of {service} is unknown: {doubt}{more}.")
}
