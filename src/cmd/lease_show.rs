//! `mirror lease show`: who holds the leases.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::arbiter::{Arbiter, Doubt};
use crate::chain::Name;
use crate::cli;
use crate::config::{Lease, Service};
use crate::deadline::Deadline;
use crate::history;
use crate::lease::{Sight, State, Value};
use crate::misuse::Misuse;
use crate::moment::Moment;
use crate::report::{self, Finding, Paint, Spinner, Status, Verdict as _};
use crate::state::Store;

/// What a lease was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is granted to a node, which may run the service.
    Granted,
    /// A takeover is under way, or was left unfinished: no node may run the service.
    Claimed,
    /// It was never claimed: no node may run the service.
    Vacant,
    /// The register cannot be read, or is not to be obeyed.
    Unknown,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Granted => Status::Yes,
            Self::Claimed | Self::Vacant => Status::No,
            Self::Unknown => Status::Unknown,
        }
    }
}

/// What `mirror lease show` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
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
    pub verdict: Verdict,
    /// The same as a sentence for people.
    pub reason: String,
    /// The node that may run the service once the lease is granted to it.
    pub holder: Option<Name>,
    /// A number that grows with every claim.
    pub epoch: Option<u64>,
    /// How far the takeover has come.
    pub state: Option<State>,
    /// The node to which it was granted before; null when it never was.
    pub was: Option<Name>,
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

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.lease-show/1";

    fn text(&self, paint: Paint) -> String {
        let rows = self.leases.iter().map(|lease| {
            let mark = match lease.verdict.status() {
                Status::Yes => paint.good("ok"),
                Status::No => paint.bad("no"),
                Status::Misuse | Status::Unknown => paint.doubtful("??"),
            };
            let by = lease.by.iter().map(|by| format!("by {by}")).chain(lease.at.iter().map(|at| format!("at {at}")));
            let seen = lease.seen_since.iter().map(|since| format!("seen since {since}"));
            let why = lease.why.iter().map(|why| format!("({why})"));
            let more = by.chain(why).chain(seen).collect::<Vec<_>>().join(" ");
            vec![mark, lease.reason.clone(), paint.faint(&more)]
        });
        report::columns(&rows.collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::LeaseShow, setting: &Setting) -> Result<Status> {
    let config = &setting.config;
    let services: Vec<(&Name, &Service)> = match &arguments.service {
        Some(name) => vec![config.service(name)?],
        None => config.services.iter().collect(),
    };
    let place = config.lease.as_ref().ok_or_else(|| none(setting))?;
    if services.is_empty() {
        return Err(Misuse::new(format!("{}: it has no service; add [services.NAME]", config.file.display())));
    }
    let store = Store::open(config);
    let spinner = Spinner::start(setting.voice, "asking the arbiter");
    let leases: Vec<Shown> = std::thread::scope(|scope| {
        let show = |name, service: &Service| show(setting, &store, name, service);
        let threads: Vec<_> =
            services.iter().map(|(name, service)| (*name, scope.spawn(move || show(name, service)))).collect();
        threads.into_iter().filter_map(|(_, thread)| thread.join().ok().flatten()).collect()
    });
    drop(spinner);
    let worst = leases.iter().rev().max_by_key(|lease| (lease.verdict.status(), lease.verdict as u8));
    let verdict = worst.map_or(Verdict::Unknown, |worst| worst.verdict);
    let reason = match leases.as_slice() {
        [only] => only.reason.clone(),
        all => {
            let good = all.iter().filter(|lease| lease.verdict == Verdict::Granted).count();
            format!("{good} of {} leases are granted.", all.len())
        }
    };
    Ok(setting.tell(&Finding { verdict, reason, facts: Facts { store: place.name(), leases } }))
}

/// The misuse of asking for a lease where there is none.
pub(super) fn none(setting: &Setting) -> anyhow::Error {
    let file = setting.config.file.display();
    Misuse::new(format!("{file}: no service is under a lease; add [lease] with store = \"git\", \"etcd\" or \"file\""))
}

/// The register of a service that is under a lease; where it cannot be used, the doubt.
pub(super) fn arbiter<'a>(setting: &Setting, store: &Store, service: &'a Name) -> Result<Result<Arbiter<'a>, Doubt>> {
    match Arbiter::open(&setting.config, store, setting.own.as_ref(), service) {
        Ok(Some(arbiter)) => Ok(Ok(arbiter)),
        Ok(None) => Err(none(setting)),
        Err(doubt) => Ok(Err(doubt)),
    }
}

fn show(setting: &Setting, store: &Store, name: &Name, service: &Service) -> Option<Shown> {
    let lease = service.lease?;
    let mut sight = store.sight(name);
    let seen = arbiter(setting, store, name).ok()?.and_then(|arbiter| {
        arbiter.look(&mut sight, Deadline::after(service.timeout))?;
        history::keep_sight(store, setting.own.as_ref(), name, &sight);
        Ok(())
    });
    Some(shown(name, lease, &sight, seen))
}

fn shown(service: &Name, lease: Lease, sight: &Sight, seen: Result<(), Doubt>) -> Shown {
    let (verdict, reason) = match (&seen, sight.value()) {
        (Err(doubt), known) => (Verdict::Unknown, unknown(service, doubt, known)),
        (Ok(()), None) => (Verdict::Vacant, format!("The lease of {service} was never claimed.")),
        (Ok(()), Some(value)) => match value.state {
            State::Granted => {
                (Verdict::Granted, format!("{} holds the lease of {service}, epoch {}.", value.holder, value.epoch))
            }
            State::Claimed => (
                Verdict::Claimed,
                format!(
                    "The lease of {service} is claimed for {}, epoch {}: nobody may run it.",
                    value.holder, value.epoch
                ),
            ),
        },
    };
    let value = sight.value().filter(|_| seen.is_ok());
    let known = sight.seen.as_ref().map(|seen| seen.known).filter(|known| seen.is_ok() && *known > Moment::default());
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Shown {
        service: service.clone(),
        verdict,
        reason,
        holder: value.map(|value| value.holder.clone()),
        epoch: value.map(|value| value.epoch),
        state: value.map(|value| value.state),
        was: value.and_then(|value| value.was.clone()),
        by: value.map(|value| value.by.clone()),
        why: value.and_then(|value| value.why.clone()),
        at: value.map(|value| value.at.clone()),
        seen_since: known.map(|known| {
            let since = SystemTime::now() - known.until(Moment::now());
            humantime::format_rfc3339_millis(since).to_string()
        }),
        valid_ms: ms(lease.valid),
        grace_ms: ms(lease.grace),
    }
}

/// Why a lease is unknown, what was known of it before, and what to do about a register that lost
/// what it held.
pub(super) fn unknown(service: &Name, doubt: &Doubt, known: Option<&Value>) -> String {
    let seen = || known.map(|value| format!("last seen: {}", value.summary(service)));
    let more = doubt.remedy(service).or_else(seen).map(|more| format!("; {more}")).unwrap_or_default();
    format!("The lease of {service} is unknown: {doubt}{more}.")
}
