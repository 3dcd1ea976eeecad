//! `mirror lease migrate`: moves leases to another store, without a moment of two.

use std::time::Duration;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Context;
use super::no_lease;
use crate::cli;
use crate::clock::Deadline;
use crate::config::{self, Config, Severity};
use crate::lease::Params;
use crate::lease::client::{self, LeaseClient};
use crate::lease::codec::LeaseRegister;
use crate::name::Name;
use crate::output::{self, ExitStatus, HasStatus as _, Report, Spinner, Style};
use crate::pause::Switch;
use crate::register::StoreError;
use crate::register::shared::SharedRegister;
use crate::state::StateDir;
use crate::usage_error::UsageError;

mod one;

use one::Migration;

/// How far a lease came, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseMigrateVerdict {
    /// It was in the new store before.
    AlreadyThere,
    /// It is in the new store now.
    Migrated,
    /// `--dry-run`: it would be moved; nothing was touched.
    Planned,
    /// It cannot be moved there.
    Refused,
    /// A promotion of the service is under way on this node; nothing was written.
    Busy,
    /// A register cannot be read, or it is not known whether it was written.
    Unknown,
    /// The old register is closed, and the holder did not confirm that it stopped; the new register is not
    /// open yet.
    Unconfirmed,
}

impl output::HasStatus for LeaseMigrateVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::AlreadyThere | Self::Migrated | Self::Planned => ExitStatus::Yes,
            Self::Refused => ExitStatus::No,
            Self::Busy | Self::Unknown | Self::Unconfirmed => ExitStatus::Unknown,
        }
    }
}

/// What `mirror lease migrate` prints.
#[derive(Serialize, JsonSchema)]
pub struct LeaseMigrateFacts {
    /// The old store, in words.
    pub from: String,
    /// The new store, in words.
    pub to: String,
    /// The digest of the list that names the new store: it must be in force before a service runs again.
    pub digest_new: String,
    /// How many pauses were carried along.
    pub pauses: usize,
    /// The leases, in the order of the node list.
    pub leases: Vec<MigratedLease>,
}

/// One lease.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MigratedLease {
    /// The service.
    pub service: Name,
    /// How far it came.
    pub verdict: LeaseMigrateVerdict,
    /// The same as a sentence for people.
    pub reason: String,
    /// The node for which it is claimed in the new store; null if it is not there.
    pub holder: Option<Name>,
    /// The epoch there.
    pub epoch: Option<u64>,
    /// The node that held it by the old store.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// How long it was waited for that node to have stopped, in ms.
    pub waited_ms: f64,
    /// That node, if it confirmed its stop.
    pub confirmed_by: Option<Name>,
}

impl output::ReportFacts for LeaseMigrateFacts {
    type Verdict = LeaseMigrateVerdict;
    const SCHEMA: &'static str = "mirror.lease-migrate/1";

    fn text(&self, style: Style) -> String {
        let row = |lease: &MigratedLease| {
            let mark = match lease.verdict.status() {
                ExitStatus::Yes => style.good("ok"),
                ExitStatus::No => style.bad("no"),
                ExitStatus::UsageError | ExitStatus::Unknown => style.doubtful("??"),
            };
            vec![mark, lease.reason.clone()]
        };
        output::columns(&self.leases.iter().map(row).collect::<Vec<_>>())
    }
}

pub(in crate::commands) fn run(arguments: &cli::LeaseMigrate, context: &Context) -> Result<ExitStatus> {
    let (old, local_node) = (&context.config, context.local_node.as_ref());
    let new = new_list(arguments, old)?;
    let (Some(from), Some(to)) = (&old.lease, &new.lease) else { return Err(no_lease(context)) };
    let (from, to) = (client::place(from), client::place(to));
    let file = arguments.file.display();
    if from == to {
        return Err(UsageError::new(format!("{file}: it names the store that is in force; name another in [lease]")));
    }
    let services = services(arguments, old, &new)?;
    let state_dir = StateDir::open(old);
    let stores = client::open_shared(old, &state_dir, local_node).zip(client::open_other(&new, &state_dir, local_node));
    let (old_store, new_store) = stores.ok_or_else(|| no_lease(context))?;
    let spinner = Spinner::start(context.output_mode, "moving the leases");
    let remote = context.remote();
    let why = arguments.why.as_deref().unwrap_or("moved to another store");
    // All of them before the first one is asked: their questions travel together.
    let migrations: Vec<Migration<'_>> = services
        .into_iter()
        .filter_map(|name| {
            let (service, later) = (old.services.get(name)?, new.services.get(name)?.lease?);
            let client = LeaseClient::in_store(&old_store, old, local_node, (name, service.lease?));
            let params = longer(client.params(), later.into());
            let new = new_store.register(name.as_str());
            Some(Migration { context, state_dir: &state_dir, remote: &remote, client, new, params, to: &to, why })
        })
        .collect();
    let switches = (Switch::of(Some(&old_store)), Switch::of(Some(&new_store)));
    let deadline = || Deadline::after(old.cycle.recovery);
    let carried = carry_pauses(&switches, &state_dir, arguments.dry_run, deadline());
    let (leases, carried) = match carried {
        Ok(_) => {
            let dry_run = arguments.dry_run;
            let leases: Vec<MigratedLease> = std::thread::scope(|scope| {
                let run = move |migration: Migration<'_>| if dry_run { migration.plan() } else { migration.run() };
                let threads: Vec<_> = migrations.into_iter().map(|one| scope.spawn(move || run(one))).collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
            });
            // What was paused meanwhile.
            (leases, carry_pauses(&switches, &state_dir, dry_run, deadline()))
        }
        Err(error) => (migrations.into_iter().map(|one| one.unknown(&error)).collect(), Err(error)),
    };
    drop((switches, spinner));
    let worst = leases.iter().map(|lease| lease.verdict).max_by_key(|verdict| (verdict.status(), *verdict));
    let verdict = match &carried {
        Ok(_) => worst.unwrap_or(LeaseMigrateVerdict::Unknown),
        Err(_) => LeaseMigrateVerdict::Unknown,
    };
    let reason = reason(verdict, &leases, carried.as_ref().err(), &arguments.file.display().to_string());
    let pauses = carried.unwrap_or(0);
    let facts = LeaseMigrateFacts { from, to, digest_new: new.digest.clone(), pauses, leases };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// The leases that a new list has in another store, to which they were not moved, each in half a sentence.
pub(in crate::commands) fn not_migrated(context: &Context, new: &Config, deadline: Deadline) -> Vec<String> {
    let (old, local_node) = (&context.config, context.local_node.as_ref());
    let (Some(from), Some(to)) = (&old.lease, &new.lease) else { return Vec::new() };
    let state_dir = StateDir::open(old);
    let Some(store) = client::open_other(new, &state_dir, local_node) else { return Vec::new() };
    if client::place(from) == client::place(to) {
        return Vec::new();
    }
    let registers: Vec<(&Name, SharedRegister)> =
        leased_in_both(old, new).map(|name| (name, store.register(name.as_str()))).collect();
    let missing = |(name, register): &(&Name, SharedRegister)| {
        let lease = LeaseRegister { register, service: name };
        match lease.read(deadline) {
            Ok(found) if found.found.is_some() => None,
            Ok(_) => Some(format!("the lease of {name} was not moved there; first: mirror lease migrate FILE")),
            Err(error) => Some(format!("{error}; first: mirror lease migrate FILE")),
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = registers.iter().map(|one| scope.spawn(move || missing(one))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// The list that names the new store.
fn new_list(arguments: &cli::LeaseMigrate, old: &Config) -> Result<Config> {
    let file = arguments.file.display();
    let read = std::fs::read_to_string(&arguments.file);
    let text = read.map_err(|error| UsageError::new(format!("{file}: {error}")))?;
    // Relative paths count from where the list will be.
    let loaded = config::parse(&old.file, &text)?;
    if let Some(problem) = loaded.problems.iter().find(|problem| problem.severity == Severity::Error) {
        return Err(UsageError::new(format!("{file}:{}: {}", problem.line, problem.message)));
    }
    if loaded.config.lease.is_none() {
        return Err(UsageError::new(format!("{file}: it has no [lease]; name the new store there")));
    }
    Ok(loaded.config)
}

/// The services that are under a lease in both lists.
fn leased_in_both<'a>(old: &'a Config, new: &Config) -> impl Iterator<Item = &'a Name> {
    let is_leased = |config: &Config, name: &Name| config.services.get(name).is_some_and(|it| it.lease.is_some());
    old.services.keys().filter(move |name| is_leased(old, name) && is_leased(new, name))
}

/// Those that are to be moved.
fn services<'a>(arguments: &cli::LeaseMigrate, old: &'a Config, new: &Config) -> Result<Vec<&'a Name>> {
    let file = arguments.file.display();
    match &arguments.service {
        Some(name) => {
            let (name, _) = old.service(name)?;
            match leased_in_both(old, new).any(|leased| leased == name) {
                true => Ok(vec![name]),
                false => Err(UsageError::new(format!("{file}: {name} is not under a lease in both lists"))),
            }
        }
        None => {
            let all: Vec<&Name> = leased_in_both(old, new).collect();
            match all.is_empty() {
                false => Ok(all),
                true => Err(UsageError::new(format!("{file}: no service is under a lease in both lists"))),
            }
        }
    }
}

/// A node may hold a lease by either list.
fn longer(one: Params, other: Params) -> Params {
    Params { valid: one.valid.max(other.valid), grace: one.grace.max(other.grace) }
}

/// Pauses in the new store what is paused in the old one; how many pauses that are.
fn carry_pauses(
    (old, new): &(Switch, Switch),
    state_dir: &StateDir,
    dry_run: bool,
    deadline: Deadline,
) -> Result<usize, StoreError> {
    let pauses = old.read(state_dir, deadline)?;
    if !dry_run && !pauses.0.is_empty() {
        new.turn(state_dir, "paused in the store before", deadline, |there| there.pause(&pauses.0))?;
    }
    Ok(pauses.0.len())
}

fn reason(verdict: LeaseMigrateVerdict, leases: &[MigratedLease], paused: Option<&StoreError>, file: &str) -> String {
    let count = |verdicts: &[LeaseMigrateVerdict]| leases.iter().filter(|one| verdicts.contains(&one.verdict)).count();
    let there = count(&[LeaseMigrateVerdict::Migrated, LeaseMigrateVerdict::AlreadyThere]);
    match (verdict, paused, leases) {
        (_, Some(error), _) => format!("It is not known what is paused: {error}."),
        (LeaseMigrateVerdict::Migrated | LeaseMigrateVerdict::AlreadyThere, ..) => {
            let leases = if leases.len() == 1 { "The lease is".to_owned() } else { format!("All {there} leases are") };
            format!("{leases} in the new store; put {file} in force now: mirror rollout {file}.")
        }
        (LeaseMigrateVerdict::Planned, ..) => {
            format!("{} leases would be moved; nothing was touched.", count(&[LeaseMigrateVerdict::Planned]))
        }
        (_, _, [only]) => only.reason.clone(),
        _ => {
            let first = leases.iter().find(|lease| lease.verdict == verdict).map(|lease| lease.reason.as_str());
            format!("{there} of {} leases are in the new store. {}", leases.len(), first.unwrap_or_default())
        }
    }
}

/// The lock of a service is waited for no longer than this.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
