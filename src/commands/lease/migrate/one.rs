//! One lease on its way to another store.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::super::super::Context;
use super::{LOCK_TIMEOUT, LeaseMigrateVerdict, MigratedLease};
use crate::clock::{BootInstant, Deadline};
use crate::lease::client::{LeaseClient, LeaseError, place};
use crate::lease::migration::{self, Content, MigrationStep, Opening, Wait};
use crate::lease::moved::{Mark, Whereabouts};
use crate::lease::{
    LeaseRecord, LeaseState, LeaseView, Nonce, Observation, Params, Stopped, VersionedRecord, codec, stored, witness,
};
use crate::name::Name;
use crate::output::millis;
use crate::register::shared::SharedRegister;
use crate::register::{CasOutcome, NewText, Register, StoreError, Version, VersionedText};
use crate::remote::Remote;
use crate::service::{Condition, Instance};
use crate::state::{Lock, StateDir};

/// More steps than this follow only where other processes write all the time.
const MAX_STEPS: usize = 12;
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// One lease, and what its way needs.
pub(super) struct Migration<'a> {
    pub(super) context: &'a Context,
    pub(super) state_dir: &'a StateDir,
    pub(super) remote: &'a Remote,
    /// The lease in the old store.
    pub(super) client: LeaseClient<'a>,
    /// Its register in the new one.
    pub(super) new: SharedRegister,
    /// The longer limits of both lists.
    pub(super) params: Params,
    /// The new store, in words.
    pub(super) to: &'a str,
    pub(super) why: &'a str,
}

/// Both registers, as they were read.
struct Found {
    began: BootInstant,
    old: Option<VersionedText>,
    new: Option<VersionedText>,
    contents: (Content, Content),
}

/// What ends a migration early.
struct Broken(LeaseMigrateVerdict, String);

impl From<LeaseError> for Broken {
    fn from(error: LeaseError) -> Self {
        Self(LeaseMigrateVerdict::Unknown, error.to_string())
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        LeaseError::from(error).into()
    }
}

impl Migration<'_> {
    /// The same, as far as it was not looked at.
    pub(super) fn unknown(&self, error: &StoreError) -> MigratedLease {
        self.blank(LeaseMigrateVerdict::Unknown, format!("{}: {error}; nothing was touched.", self.client.service))
    }

    fn blank(&self, verdict: LeaseMigrateVerdict, reason: String) -> MigratedLease {
        MigratedLease {
            service: self.client.service.clone(),
            verdict,
            reason,
            holder: None,
            epoch: None,
            previous_holder: None,
            waited_ms: 0.0,
            confirmed_by: None,
        }
    }

    /// What would be done.
    pub(super) fn plan(self) -> MigratedLease {
        let name = self.client.service;
        match self.look() {
            Err(broken) => self.broken(broken, None),
            Ok(found) => match migration::next_step(&found.contents.0, &found.contents.1, self.to) {
                MigrationStep::Refuse(why) => self.broken(Broken(LeaseMigrateVerdict::Refused, why), None),
                MigrationStep::Done(record) => self.there(&record, false),
                MigrationStep::Reserve(_) | MigrationStep::Close(_) | MigrationStep::Open(_) => {
                    self.blank(LeaseMigrateVerdict::Planned, format!("The lease of {name} would be moved."))
                }
            },
        }
    }

    /// Moves it, as far as it goes.
    pub(super) fn run(self) -> MigratedLease {
        let name = self.client.service;
        let _lock = match self.lock() {
            Ok(lock) => lock,
            Err(reason) => return self.blank(LeaseMigrateVerdict::Busy, reason),
        };
        let mut account = self.blank(LeaseMigrateVerdict::Unknown, String::new());
        match self.carry_out(&mut account) {
            Ok((record, moved)) => {
                let there = self.there(&record, moved);
                let MigratedLease { waited_ms, confirmed_by, .. } = account;
                MigratedLease { waited_ms, confirmed_by, ..there }
            }
            Err(broken) => {
                let broken = self.broken(broken, Some(&account));
                self.context.output_mode.step(format_args!("{name}: {}", broken.reason));
                broken
            }
        }
    }

    fn there(&self, record: &LeaseRecord, moved: bool) -> MigratedLease {
        let name = self.client.service;
        let (verdict, reason) = if moved {
            let reason = format!(
                "The lease of {name} moved, claimed for {} in epoch {}; it is granted once the new list is in force.",
                record.holder, record.epoch
            );
            (LeaseMigrateVerdict::Migrated, reason)
        } else {
            (LeaseMigrateVerdict::AlreadyThere, format!("The lease of {name} is in the new store: {}.", record.done()))
        };
        MigratedLease {
            holder: Some(record.holder.clone()),
            epoch: Some(record.epoch),
            previous_holder: record.previous_holder.clone(),
            ..self.blank(verdict, reason)
        }
    }

    fn broken(&self, Broken(verdict, why): Broken, account: Option<&MigratedLease>) -> MigratedLease {
        let name = self.client.service;
        let reason = match verdict {
            LeaseMigrateVerdict::Refused => format!("The lease of {name} was not moved: {why}."),
            _ => format!("The lease of {name} is not in the new store yet: {why}; run this again."),
        };
        let blank = self.blank(verdict, reason);
        match account {
            Some(account) => {
                let MigratedLease { waited_ms, confirmed_by, previous_holder, .. } = account.clone();
                MigratedLease { waited_ms, confirmed_by, previous_holder, ..blank }
            }
            None => blank,
        }
    }

    /// No promotion of this node may act meanwhile.
    fn lock(&self) -> Result<Lock, String> {
        let (name, give_up_at) = (self.client.service, Instant::now() + LOCK_TIMEOUT);
        loop {
            match self.state_dir.lock(name) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < give_up_at => std::thread::sleep(LOCK_RETRY),
                Ok(None) => return Err(format!("A promotion of {name} is in progress on this node.")),
                Err(error) => return Err(format!("{name} cannot be locked: {error}.")),
            }
        }
    }

    fn deadline(&self) -> Deadline {
        let service = self.context.config.services.get(self.client.service);
        Deadline::after(service.map(|service| service.timeout).unwrap_or_default().max(self.params.valid))
    }

    /// Takes step after step, each by what both registers hold. Returns what the new one holds in the end,
    /// and whether that was written here.
    fn carry_out(&self, account: &mut MigratedLease) -> Result<(LeaseRecord, bool), Broken> {
        let (mut moved, mut lost_mark) = (false, false);
        let mut failed: Option<(MigrationStep, StoreError)> = None;
        for _ in 0..MAX_STEPS {
            let found = self.look()?;
            let step = migration::next_step(&found.contents.0, &found.contents.1, self.to);
            let (register, before, text) = match &step {
                MigrationStep::Done(record) => return Ok((record.clone(), moved)),
                MigrationStep::Refuse(why) => return Err(Broken(LeaseMigrateVerdict::Refused, why.clone())),
                MigrationStep::Reserve(migration) => {
                    lost_mark |= migration.is_some();
                    (&self.new as &dyn Register, &found.new, self.reservation(*migration)?)
                }
                MigrationStep::Close(awaiting) => (self.client.register(), &found.old, self.closing(awaiting, &found)?),
                MigrationStep::Open(claim) => {
                    self.wait(claim, &found, lost_mark, account)?;
                    moved = true;
                    (&self.new as &dyn Register, &found.new, codec::encode(self.client.service, claim))
                }
            };
            // A write that failed, and was not done after all.
            if failed.as_ref().is_some_and(|(before, _)| *before == step) {
                let why = failed.map(|(_, error)| error.to_string()).unwrap_or_default();
                return Err(Broken(LeaseMigrateVerdict::Unknown, why));
            }
            let summary = format!("{}: on its way to another store", self.client.service);
            let new = NewText { text: &text, summary: &summary };
            self.context.output_mode.step(format_args!("{}: {step:?}", self.client.service));
            failed = match register.compare_and_swap(version(before.as_ref()), &new, self.deadline()) {
                CasOutcome::Won(_) | CasOutcome::Lost(_) => None,
                CasOutcome::Unknown(error) => Some((step, error)),
            };
        }
        Err(Broken(LeaseMigrateVerdict::Unknown, "other processes wrote to the registers all the time".to_owned()))
    }

    /// Reads both registers. The old one must not have lost what this machine has seen.
    fn look(&self) -> Result<Found, Broken> {
        let (service, began) = (self.client.service, BootInstant::now());
        let (register, deadline) = (&self.new, self.deadline());
        let (old, new) = std::thread::scope(|scope| {
            let new = scope.spawn(move || register.read(deadline));
            let old = self.client.register().read(self.deadline());
            (old, new.join().unwrap_or_else(|_| Err(StoreError::Failed("the read broke off".to_owned()))))
        });
        let (old, new) = (old?, new?);
        let contents = (content(service, "old", old.as_ref())?, content(service, "new", new.as_ref())?);
        if let Content::Empty | Content::Lease(_) = &contents.0 {
            let found = match &contents.0 {
                Content::Lease(value) => {
                    old.as_ref().map(|old| VersionedRecord { version: old.version.clone(), value: value.clone() })
                }
                _ => None,
            };
            let observation = Observation { began, ended: BootInstant::now(), found };
            let observed = stored::load(self.state_dir, service).observe(observation);
            observed.map_err(|regression| {
                let error = LeaseError::from(regression);
                let remedy = error.remedy(service).map(|remedy| format!("; {remedy}")).unwrap_or_default();
                Broken(LeaseMigrateVerdict::Unknown, format!("{error}{remedy}"))
            })?;
        }
        Ok(Found { began, old, new, contents })
    }

    fn reservation(&self, migration: Option<Nonce>) -> Result<String, Broken> {
        let signature = self.client.signature()?;
        let from = self.context.config.lease.as_ref().map(place).unwrap_or_default();
        let migration = migration.unwrap_or(signature.nonce);
        let state = Whereabouts::Awaited { from };
        Ok(Mark::new(self.client.service, state, migration, (signature.by, &signature.at)).written())
    }

    fn closing(&self, awaiting: &Mark, found: &Found) -> Result<String, Broken> {
        let (config, service) = (&self.context.config, self.client.service);
        let signature = self.client.signature()?;
        let chain = config.services.get(service).and_then(|service| config.chains.get(&service.chain));
        let nobody = || Broken(LeaseMigrateVerdict::Refused, "its chain is empty".to_owned());
        let head = chain.and_then(|chain| chain.first()).ok_or_else(nobody)?;
        let record = match &found.contents.0 {
            Content::Lease(record) => Some(record),
            Content::Empty | Content::Mark(_) => None,
        };
        let written = LeaseRecord {
            holder: head.clone(),
            epoch: 1,
            state: LeaseState::Claimed,
            previous_holder: None,
            nonce: signature.nonce,
            by: signature.by.to_owned(),
            why: Some(self.why.to_owned()),
            at: signature.at.clone(),
        };
        let claim = Box::new(migration::closing_claim(record, head, written));
        let state = Whereabouts::Moved { to: self.to.to_owned(), claim };
        let mark = Mark::new(service, state, awaiting.migration, (signature.by, &signature.at));
        let text = mark.written();
        crate::register::check_length(&text).map_err(StoreError::Failed)?;
        Ok(text)
    }

    /// Waits until nobody can run the service by the old register, which holds this claim in its mark.
    fn wait(
        &self,
        claim: &LeaseRecord,
        found: &Found,
        lost_mark: bool,
        account: &mut MigratedLease,
    ) -> Result<(), Broken> {
        let begun = BootInstant::now();
        account.previous_holder.clone_from(&claim.previous_holder);
        let since = self.publish(claim, found, lost_mark)?;
        let wait = Wait { since, params: self.params, may_grant_by_waiting: self.client.may_grant_by_waiting() };
        let stopped = self.stop_holder(claim, wait, lost_mark);
        account.waited_ms = millis(begun.until(BootInstant::now()));
        match stopped {
            Ok(confirmed) => {
                account.confirmed_by = confirmed;
                Ok(())
            }
            Err(()) => {
                let holder = claim.previous_holder.as_ref().map_or("its holder", Name::as_str);
                let why = format!(
                    "the old register is closed, and {holder} did not confirm that it stopped; only a node of the brain \
                     chain, with the node's own state, may wait for that"
                );
                Err(Broken(LeaseMigrateVerdict::Unconfirmed, why))
            }
        }
    }

    /// Shows the claim to this node's witness; since when the wait for it counts.
    fn publish(&self, claim: &LeaseRecord, found: &Found, lost_mark: bool) -> Result<BootInstant, Broken> {
        let (service, unknown) = (self.client.service, |why| Broken(LeaseMigrateVerdict::Unknown, why));
        let mut lease_view: LeaseView = stored::load(self.state_dir, service);
        let value =
            version(found.old.as_ref()).cloned().map(|version| VersionedRecord { version, value: claim.clone() });
        lease_view
            .observe(Observation { began: found.began, ended: BootInstant::now(), found: value })
            .map_err(LeaseError::from)?;
        if lease_view.value() != Some(claim) {
            let seen = lease_view.value().map(LeaseRecord::done).unwrap_or_default();
            return Err(unknown(format!("this node has seen a later lease, {seen}")));
        }
        if lost_mark {
            lease_view.restart_wait();
        }
        let local_node = self.context.local_node.as_ref();
        let is_shown = witness::publish(self.state_dir, local_node, service, &mut lease_view);
        if !is_shown && !self.client.lease.failsafe {
            lease_view.published(BootInstant::now());
        }
        let since = lease_view.seen.and_then(|latest| latest.unheld_since);
        since.ok_or_else(|| {
            let directory = self.state_dir.directory().display();
            unknown(format!("the claim cannot be shown to other nodes: {directory} cannot be written"))
        })
    }

    /// Stops the last holder, and returns once it has confirmed or the wait is over; whether it confirmed.
    fn stop_holder(&self, claim: &LeaseRecord, wait: Wait, lost_mark: bool) -> Result<Option<Name>, ()> {
        let mut stopped: Vec<Stopped> = Vec::new();
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            let left = BootInstant::now().until(wait.since.plus(wait.params.wait()));
            if let Some(instance) = self.holder(claim).filter(|_| !lost_mark) {
                let timeout = if wait.may_grant_by_waiting {
                    instance.service.timeout.min(left)
                } else {
                    instance.service.timeout
                };
                scope.spawn(move || sender.send(stop(&instance, Deadline::after(timeout))));
            } else {
                drop(sender);
            }
            loop {
                let until = match migration::opening(claim, &stopped, wait, BootInstant::now()) {
                    Opening::Now => return Ok(stopped.pop().map(|stopped| stopped.node)),
                    Opening::At(until) => until,
                    // The stop has longer than the wait.
                    Opening::LeftToBrain => match results.recv() {
                        Ok(Some(one)) => {
                            stopped.push(one);
                            continue;
                        }
                        Ok(None) | Err(_) => return Err(()),
                    },
                };
                match results.recv_timeout(BootInstant::now().until(until)) {
                    Ok(one) => stopped.extend(one),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) if !wait.may_grant_by_waiting => return Err(()),
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        std::thread::sleep(BootInstant::now().until(until));
                    }
                }
            }
        })
    }

    fn holder(&self, claim: &LeaseRecord) -> Option<Instance<'_>> {
        let (node_name, node) = self.context.config.nodes.get_key_value(claim.previous_holder.as_ref()?)?;
        let (service_name, service) = self.context.config.services.get_key_value(self.client.service)?;
        Some(Instance { remote: self.remote, service_name, service, node_name, node })
    }
}

fn stop(instance: &Instance<'_>, deadline: Deadline) -> Option<Stopped> {
    let issued = BootInstant::now();
    let result = instance.stop_confirmed(deadline);
    let is_done = result.act.is_some_and(|act| act.cause.is_none());
    let is_stopped = is_done && result.status.condition == Condition::Stopped;
    is_stopped.then(|| Stopped { node: instance.node_name.clone(), issued })
}

fn content(service: &Name, which: &str, found: Option<&VersionedText>) -> Result<Content, Broken> {
    let Some(found) = found else { return Ok(Content::Empty) };
    if let Some(mark) = Mark::parse(service, &found.value) {
        return Ok(Content::Mark(mark));
    }
    codec::decode(service, &found.value).map(Content::Lease).map_err(|why| {
        let why = format!("the {which} register holds what is not its lease ({}): {why}", found.version.0);
        Broken(LeaseMigrateVerdict::Unknown, why)
    })
}

fn version(found: Option<&VersionedText>) -> Option<&Version> {
    found.map(|found| &found.version)
}
