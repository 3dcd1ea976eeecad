//! `mirror lease show`: which nodes hold the leases.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::hold::read_log;
use super::super::hold::state_file::{self, HeldByFailsafe};
use super::{no_lease, unknown};
use crate::cli;
use crate::clock::{BootInstant, Deadline};
use crate::config::{Lease, Service};
use crate::hold::read_times::ReadSummary;
use crate::lease::client::{self, LeaseClient, LeaseError};
use crate::lease::{LeaseState, LeaseView, stored};
use crate::name::Name;
use crate::output::{self, ExitStatus, HasStatus as _, Report, Spinner, Style};
use crate::state::StateDir;
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
    /// How long this command's own read took, in ms; null if it was not answered.
    pub read_ms: Option<f64>,
    /// The reads of `mirror hold` on this node within the last minute; null where it does not run. Compare
    /// the longest with `valid_ms`.
    pub reads: Option<ReadFacts>,
    /// How long a read may be relied on, in ms.
    pub valid_ms: u64,
    /// The time to stop, plus what two clocks may drift apart, in ms.
    pub grace_ms: u64,
}

/// The reads of the register within the minute before `at`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadFacts {
    /// When this was counted: RFC 3339, UTC.
    pub at: String,
    /// How many were answered.
    pub answered: usize,
    /// How many were not answered in time.
    pub failed: usize,
    /// What the shortest took, in ms; null if none was answered.
    pub min_ms: Option<f64>,
    /// What the median took, in ms.
    pub median_ms: Option<f64>,
    /// What the longest took, in ms.
    pub max_ms: Option<f64>,
}

impl From<ReadSummary> for ReadFacts {
    fn from(summary: ReadSummary) -> Self {
        let [min_ms, median_ms, max_ms] = match summary.times {
            Some(times) => times.map(|time| Some(output::millis(time))),
            None => [None; 3],
        };
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Self { at, answered: summary.answered, failed: summary.failed, min_ms, median_ms, max_ms }
    }
}

impl ReadFacts {
    /// As a sentence for people.
    fn sentence(&self, valid_ms: u64) -> String {
        let Self { answered, failed, .. } = self;
        let [Some(min), Some(median), Some(max)] = [self.min_ms, self.median_ms, self.max_ms] else {
            return format!("None of {failed} reads of the last minute was answered.");
        };
        format!(
            "Reads of the last minute: {answered} in {min} to {max} ms, median {median} ms, with valid {valid_ms} ms; \
             {failed} failed."
        )
    }
}

impl output::ReportFacts for LeaseShowFacts {
    type Verdict = LeaseShowVerdict;
    const SCHEMA: &'static str = "mirror.lease-show/1";

    fn text(&self, style: Style) -> String {
        let rows = self.leases.iter().flat_map(|lease| {
            let mark = match lease.verdict.status() {
                ExitStatus::Yes => style.good("ok"),
                ExitStatus::No => style.bad("no"),
                ExitStatus::UsageError | ExitStatus::Unknown => style.doubtful("??"),
            };
            let by = lease.by.iter().map(|by| format!("by {by}")).chain(lease.at.iter().map(|at| format!("at {at}")));
            let seen = lease.seen_since.iter().map(|since| format!("seen since {since}"));
            let why = lease.why.iter().map(|why| format!("({why})"));
            let more = by.chain(why).chain(seen).collect::<Vec<_>>().join(" ");
            let row = vec![mark, lease.reason.clone(), style.faint(&more)];
            let reads = lease.reads.iter().map(|reads| reads.sentence(lease.valid_ms));
            std::iter::once(row).chain(reads.map(|reads| vec![String::new(), style.faint(&reads), String::new()]))
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
    let registers =
        client::open_shared(config, &state_dir, context.local_node.as_ref()).ok_or_else(|| no_lease(context))?;
    // All of them before the first one is read: they are read in one trip.
    let client = |name, lease| LeaseClient::in_store(&registers, config, context.local_node.as_ref(), (name, lease));
    let under_lease = services.into_iter().filter_map(|(name, service)| Some((name, service.lease?, service.timeout)));
    let clients: Vec<_> = under_lease.map(|(name, lease, timeout)| (client(name, lease), timeout)).collect();
    let leases: Vec<ShownLease> = std::thread::scope(|scope| {
        let show = |(client, timeout)| show(context, &state_dir, &client, timeout);
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || show(client))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
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

fn show(context: &Context, state_dir: &StateDir, client: &LeaseClient<'_>, timeout: Duration) -> ShownLease {
    let (name, lease) = (client.service, client.lease);
    let mut lease_view = stored::load(state_dir, name);
    let begun = Instant::now();
    let read = client.refresh(&mut lease_view, Deadline::after(timeout));
    if read.is_ok() {
        stored::keep(state_dir, context.local_node.as_ref(), name, &lease_view);
    }
    let read_ms = read.is_ok().then(|| output::millis(begun.elapsed()));
    let mut shown = shown(name, lease, &lease_view, read);
    shown.read_ms = read_ms;
    shown.reads = read_log::read(state_dir, name).filter(|_| state_file::is_held(state_dir, name));
    if let Some(HeldByFailsafe { failsafe_since: since, voters }) = state_file::held_by_failsafe(state_dir, name) {
        shown.reason += &format!(" It is held here by failsafe since {since}, {voters} of {voters} voters.");
        shown.failsafe_since = Some(since);
    }
    shown
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
        read_ms: None,
        reads: None,
        valid_ms: ms(lease.valid),
        grace_ms: ms(lease.grace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_how_far_the_reads_are_from_valid() {
        let ms = Duration::from_millis;
        let facts = |answered, failed, times| ReadFacts::from(ReadSummary { answered, failed, times });
        assert_eq!(
            facts(88, 1, Some([ms(11), ms(13), ms(250)])).sentence(2000),
            "Reads of the last minute: 88 in 11 to 250 ms, median 13 ms, with valid 2000 ms; 1 failed."
        );
        assert_eq!(facts(0, 30, None).sentence(2000), "None of 30 reads of the last minute was answered.");
    }
}
