//! One switch for maintenance: a paused service is not moved.
//!
//! The switch is a text in a register of its own, beside those of the services, so that every node
//! sees it; without a lease it is a [notice](crate::notices) in the state of every node that could be told. It
//! stops promotions only. A pause extends no lease: the holder keeps reading the register, so a pause
//! that one node has not seen cannot lead to two instances.
//!
//! A switch that a power cut emptied counts as a pause of everything, as it may have been one.

use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::config::Config;
use crate::lease::Nonce;
use crate::lease::client::{self, LeaseError};
use crate::name::Name;
use crate::notices::{self, Kind, Notice, Notices, UNKNOWN_PERSON};
use crate::register::shared::SharedStore;
use crate::register::{self, CasOutcome, NewText, Register, StoreError, VersionedText};
use crate::state::StateDir;

/// The name and version of the written form.
const SCHEMA: &str = "mirror.paused/1";
/// The name of the switch's register; no service can have it.
const NAME: &str = "_pause";
/// What was last read of the switch that all nodes see.
const SEEN: &str = "paused-seen.json";
/// How often the switch is tried again when others turn it at the same time.
const MAX_TRIES: usize = 20;

/// What is paused: one service, or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// The service; null for all of them.
    pub service: Option<Name>,
    /// Who paused it: a node's name, or where the command was given on no node, the host's.
    pub by: String,
    /// Why, in words; null when nobody said.
    pub why: Option<String>,
    /// Since when: RFC 3339, UTC, by the calendar clock of who paused it.
    pub at: String,
    /// Whether only the automatic stops: `promote --to` moves it all the same.
    #[serde(default)]
    pub auto_only: bool,
}

/// All that is paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(pub Vec<Paused>);

/// Where the switch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a register beside those of the leases: every node sees it.
    Register,
    /// In the state of the nodes that could be told.
    Node,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    /// None where it is in the state of the nodes.
    register: Option<Box<dyn Register + Send>>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    schema: String,
    paused: Vec<Paused>,
    nonce: Nonce,
}

impl Paused {
    /// A pause of everything, for a switch that cannot be read any more.
    fn unreadable(what: &str, at: SystemTime) -> Self {
        Self {
            service: None,
            by: UNKNOWN_PERSON.to_owned(),
            why: Some(notices::unreadable(what)),
            at: humantime::format_rfc3339_millis(at).to_string(),
            auto_only: false,
        }
    }

    fn is_unreadable(&self) -> bool {
        self.by == UNKNOWN_PERSON
    }

    /// In words, as the end of a sentence: since when, by which user, and why.
    pub fn words(&self) -> String {
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let scope = if self.auto_only { ", for the automatic only" } else { "" };
        format!("paused since {} by {}{scope}{why}", self.at, self.by)
    }
}

impl Pauses {
    /// The pause that holds for a service; one that stops everything before one that stops the automatic.
    pub fn of(&self, service: &Name) -> Option<&Paused> {
        let of = self.0.iter().filter(|paused| paused.service.as_ref().is_none_or(|paused| paused == service));
        of.min_by_key(|paused| paused.auto_only)
    }

    /// The pause that stops a promotion of a service: by hand, with `--to`, or any other.
    pub fn that_stops(&self, service: &Name, by_hand: bool) -> Option<&Paused> {
        self.of(service).filter(|paused| !(by_hand && paused.auto_only))
    }

    /// Whether all services are paused at once.
    pub fn all(&self) -> bool {
        self.0.iter().any(|paused| paused.service.is_none())
    }

    /// Adds what is not paused yet; an existing pause of the same kind keeps its time and its reason.
    pub fn pause(&mut self, wanted: &[Paused]) {
        for new in wanted {
            let is_other = |old: &Paused| old.is_unreadable() || old.auto_only != new.auto_only;
            self.0.retain(|old| !(old.service == new.service && is_other(old)));
            if !self.0.iter().any(|old| old.service == new.service) {
                self.0.push(new.clone());
            }
        }
    }

    /// Ends the pauses of these services; all there are when none is named.
    pub fn resume(&mut self, services: &[&Name]) {
        let named = |paused: &Paused| paused.service.as_ref().is_some_and(|service| services.contains(&service));
        self.0.retain(|paused| !services.is_empty() && !named(paused));
    }

    /// What a text says.
    ///
    /// # Errors
    /// When it is not ours; why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| format!("it does not parse: {error}"))?;
        if line.schema != SCHEMA {
            return Err(format!("it does not say that it is {SCHEMA:?}"));
        }
        Ok(Self(line.paused))
    }

    /// What these notices say.
    pub fn of_notices(notices: &Notices) -> Self {
        let pause = |notice: &Notice| Paused {
            service: notice.subject.of.clone(),
            by: notice.by.clone(),
            why: notice.why.clone(),
            at: notice.at.clone(),
            auto_only: notice.auto_only,
        };
        let mut all: Vec<Paused> = notices.holding_of(Kind::Pause).map(pause).collect();
        all.sort_by_key(|paused| paused.service.is_none());
        Self(all)
    }

    fn parse_bytes(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(std::str::from_utf8(bytes).map_err(|error| error.to_string())?.trim_end())
    }

    /// As one line that no other write has.
    ///
    /// # Errors
    /// When the system has no random bits to give.
    pub fn written(&self) -> std::io::Result<String> {
        let line = Line { schema: SCHEMA.to_owned(), paused: self.0.clone(), nonce: Nonce::fresh()? };
        serde_json::to_string(&line).map_err(std::io::Error::other)
    }
}

impl Switch {
    /// The switch of this network, not yet asked.
    ///
    /// # Errors
    /// When this machine cannot use it.
    pub fn open(config: &Config, state_dir: &StateDir, local_node: Option<&Name>) -> Result<Self, LeaseError> {
        Ok(Self { register: client::open_register(config, state_dir, local_node, NAME)? })
    }

    /// The switch in a store that the leases are read from too; without one, a file of this node.
    pub fn of(store: Option<&Arc<SharedStore>>) -> Self {
        let register = |store: &Arc<SharedStore>| -> Box<dyn Register + Send> { Box::new(store.register(NAME)) };
        Self { register: store.map(register) }
    }

    /// What is paused.
    ///
    /// # Errors
    /// When it could not be read, or holds something else.
    pub fn read(&self, state_dir: &StateDir, deadline: Deadline) -> Result<Pauses, StoreError> {
        let Some(register) = &self.register else { return Ok(of_nodes(state_dir)) };
        let pauses = pauses(register.read(deadline)?.as_ref())?;
        remember(state_dir, &pauses);
        Ok(pauses)
    }

    /// Turns it: what was paused before, and what is now. Nothing is written when nothing changes.
    ///
    /// # Errors
    /// When it could not be read or written, or holds something else. It may be turned all the same.
    pub fn turn(
        &self,
        state_dir: &StateDir,
        summary: &str,
        deadline: Deadline,
        change: impl Fn(&mut Pauses),
    ) -> Result<(Pauses, Pauses), StoreError> {
        let Some(register) = &self.register else {
            return Err(StoreError::Failed("there is no register, so the nodes have to be told".to_owned()));
        };
        let turned = turn(register.as_ref(), summary, deadline, change)?;
        remember(state_dir, &turned.1);
        Ok(turned)
    }
}

fn remember(state_dir: &StateDir, pauses: &Pauses) {
    if seen(state_dir).as_ref() != Some(pauses)
        && let Ok(text) = pauses.written()
    {
        state_dir.show(SEEN, &text);
    }
}

/// What is paused as far as this node knows: by the switch, and where that cannot be read, by what
/// was last read of it, if that was a pause.
///
/// # Errors
/// When the switch cannot be read and this node knows of no pause: there may be one.
pub fn in_force(switch: &Switch, state_dir: &StateDir, deadline: Deadline) -> Result<Pauses, LeaseError> {
    let read = switch.read(state_dir, deadline).map_err(LeaseError::from);
    let paused = || seen(state_dir).filter(|pauses| !pauses.0.is_empty());
    read.or_else(|doubt| paused().ok_or(doubt))
}

/// What is paused as far as this node knows without asking another one.
pub fn known(config: &Config, state_dir: &StateDir) -> Pauses {
    if config.lease.is_some() { seen(state_dir).unwrap_or_default() } else { of_nodes(state_dir) }
}

fn of_nodes(state_dir: &StateDir) -> Pauses {
    Pauses::of_notices(&notices::read(state_dir, Kind::Pause))
}

fn seen(state_dir: &StateDir) -> Option<Pauses> {
    state_dir.parsed(SEEN, Pauses::parse_bytes)?.map_err(|what| state_dir.warn_damaged(&what)).ok()
}

fn turn(
    register: &dyn Register,
    summary: &str,
    deadline: Deadline,
    change: impl Fn(&mut Pauses),
) -> Result<(Pauses, Pauses), StoreError> {
    let mut held = register.read(deadline)?;
    for _ in 0..MAX_TRIES {
        let before = pauses(held.as_ref())?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok((before, after));
        }
        let text = after.written().map_err(|error| StoreError::Failed(format!("no random bits to be had: {error}")))?;
        register::check_length(&text).map_err(|why| StoreError::Failed(format!("nothing was written: {why}")))?;
        let entry = NewText { text: &text, summary };
        held = match register.compare_and_swap(held.as_ref().map(|held| &held.version), &entry, deadline) {
            CasOutcome::Won(_) => return Ok((before, after)),
            CasOutcome::Lost(held) => held,
            CasOutcome::Unknown(fault) => match register.read(deadline) {
                Ok(Some(now)) if now.value == text => return Ok((before, after)),
                _ => return Err(fault),
            },
        };
    }
    Err(StoreError::Failed("other nodes kept turning the switch at the same time".to_owned()))
}

fn pauses(held: Option<&VersionedText>) -> Result<Pauses, StoreError> {
    if held.is_some_and(|held| held.value.chars().all(|c| c == '\0' || c.is_whitespace())) {
        let emptied = Paused::unreadable("the register of the pause is empty", SystemTime::UNIX_EPOCH);
        return Ok(Pauses(vec![emptied]));
    }
    let parsed = held.map(|held| Pauses::parse(&held.value)).transpose();
    parsed.map(Option::unwrap_or_default).map_err(|why| {
        StoreError::Foreign(format!(
            "where the pause is kept there is something else ({why}); delete it, or point elsewhere"
        ))
    })
}

#[cfg(test)]
mod tests;
