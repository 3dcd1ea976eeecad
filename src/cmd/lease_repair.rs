//! `mirror lease repair`: takes a register back into service that lost what it held.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use super::lease_show::{arbiter, unknown};
use crate::arbiter::{Arbiter, Doubt};
use crate::chain::Name;
use crate::cli;
use crate::deadline::Deadline;
use crate::history;
use crate::lease::{Sight, State, Value};
use crate::register::Swapped;
use crate::report::{self, Finding, Paint, Spinner, Status};
use crate::state::Store;

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The register holds what it ought to, as far as this machine knows; nothing was written.
    Sound,
    /// A new claim was written; the next promotion waits it out and grants it.
    Repaired,
    /// A promotion of the service is under way on this node; nothing was written.
    Busy,
    /// The register cannot be read, or it is not known whether the claim was written.
    Unknown,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Sound | Self::Repaired => Status::Yes,
            Self::Busy | Self::Unknown => Status::Unknown,
        }
    }
}

/// What `mirror lease repair` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The service.
    pub service: Name,
    /// The epoch that the register held; null when it held nothing or cannot be read.
    pub epoch_before: Option<u64>,
    /// The latest epoch that this machine had seen it hold; null when it had seen none.
    pub epoch_seen: Option<u64>,
    /// The epoch of the new claim; null when none was written.
    pub epoch: Option<u64>,
    /// The node for which it was claimed; null when none was written.
    pub holder: Option<Name>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.lease-repair/1";

    fn text(&self, _: Paint) -> String {
        String::new()
    }
}

pub(super) fn run(arguments: &cli::LeaseRepair, setting: &Setting) -> Result<Status> {
    let (name, service) = setting.config.service(&arguments.service)?;
    let store = Store::open(&setting.config);
    let arbiter = arbiter(setting, &store, name)?;
    let mut facts = Facts { service: name.clone(), epoch_before: None, epoch_seen: None, epoch: None, holder: None };
    let _lock = match store.lock(name) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let reason = format!("A promotion of {name} is under way on this node.");
            return Ok(setting.tell(&Finding { verdict: Verdict::Busy, reason, facts }));
        }
        Err(error) => {
            let reason = format!("No lock can be had for {name}: {error}.");
            return Ok(setting.tell(&Finding { verdict: Verdict::Unknown, reason, facts }));
        }
    };
    let spinner = Spinner::start(setting.voice, "asking the arbiter");
    let (own, why) = (setting.own.as_ref(), arguments.why.as_deref());
    let repaired = arbiter.and_then(|arbiter| repair(&arbiter, &store, own, service.timeout, why, &mut facts));
    drop(spinner);
    let (verdict, reason) = match repaired {
        Ok(None) => {
            let seen = facts.epoch_before.map(|epoch| format!(", which has seen epoch {epoch} at the latest"));
            let reason = format!(
                "The register of {name} is sound as far as this machine knows{}; nothing was written.",
                seen.unwrap_or_default()
            );
            (Verdict::Sound, reason)
        }
        Ok(Some(claim)) => {
            facts.epoch = Some(claim.epoch);
            facts.holder = Some(claim.holder.clone());
            let reason = format!(
                "The lease of {name} is claimed anew for {}, epoch {}; the next promotion waits until whoever runs it \
                 has stopped, and grants it.",
                claim.holder, claim.epoch
            );
            (Verdict::Repaired, reason)
        }
        Err(doubt) => (Verdict::Unknown, unknown(name, &doubt, None)),
    };
    Ok(setting.tell(&Finding { verdict, reason, facts }))
}

/// Claims a lease whose register is not obeyed, in an epoch later than any that is known, and as if
/// nobody knew who ran the service: so the next promotion relies on no confirmation, and waits until
/// every node has stopped by itself, whatever it had read.
fn repair(
    arbiter: &Arbiter<'_>,
    store: &Store,
    own: Option<&Name>,
    timeout: std::time::Duration,
    why: Option<&str>,
    facts: &mut Facts,
) -> Result<Option<Value>, Doubt> {
    let mut sight = store.sight(arbiter.service);
    let reading = arbiter.read(Deadline::after(timeout))?;
    let found = reading.found.clone();
    facts.epoch_before = found.as_ref().map(|found| found.value.epoch);
    facts.epoch_seen = sight.value().map(|value| value.epoch);
    match sight.note(reading) {
        Ok(()) => {
            history::keep_sight(store, own, arbiter.service, &sight);
            return Ok(None);
        }
        Err(distrust) if sight.value().is_none() => return Err(distrust.into()),
        Err(_) => {}
    }
    let known = sight.value().into_iter().chain(found.as_ref().map(|found| &found.value));
    let Some(newest) = known.max_by_key(|value| value.epoch) else { return Ok(None) };
    let signature = arbiter.signature()?;
    let claim = Value {
        holder: newest.holder.clone(),
        epoch: newest.epoch + 1,
        state: State::Claimed,
        was: None,
        nonce: signature.nonce,
        by: signature.by.to_owned(),
        why: Some(why.unwrap_or("repaired by hand").to_owned()),
        at: signature.at.clone(),
    };
    // What was seen before says nothing of this register any more.
    let mut anew = Sight::default();
    match arbiter.swap_for(found.as_ref().map(|found| &found.version), &claim, timeout) {
        Swapped::Won(reading) => anew.note_own(reading)?,
        Swapped::Lost(_) => return Err(Doubt::Unreadable("somebody else wrote to it meanwhile".to_owned())),
        Swapped::Unknown(fault) => return Err(fault.into()),
    }
    history::keep_sight(store, own, arbiter.service, &anew);
    Ok(Some(claim))
}
