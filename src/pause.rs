//! One switch for maintenance: while a service is paused, nobody moves it.
//!
//! The switch is a text in a register of its own, beside those of the services, so that every node
//! sees it; without a lease, it is a file in the state of the node on which it was asked. It stops
//! promotions only. A pause prolongs no lease: who holds one goes on reading the register, so a pause
//! that somebody has not seen cannot make two.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Name;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::lease::Nonce;
use crate::lease::client::{self, LeaseError};
use crate::register::file::FileRegister;
use crate::register::{self, CasOutcome, NewText, Register, StoreError, VersionedText};
use crate::state::StateDir;

/// The name and version of the written form.
const SCHEMA: &str = "mirror.paused/1";
/// The name of the switch's register; no service can have it.
const NAME: &str = "_pause";
/// The switch of this node alone.
const HERE: &str = "paused.json";
/// What was last read of the switch that all nodes see.
const SEEN: &str = "paused-seen.json";
/// A switch that so many others turn at once is given up.
const MOST_TRIES: usize = 20;

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
    /// In the state of the node on which it was turned: only that node sees it.
    Node,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    /// Where it is.
    pub place: Place,
    register: Box<dyn Register + Send>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    schema: String,
    paused: Vec<Paused>,
    nonce: Nonce,
}

impl Paused {
    /// In words, as the end of a sentence: since when, by whom, and why.
    pub fn words(&self) -> String {
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("paused since {} by {}{why}", self.at, self.by)
    }
}

impl Pauses {
    /// The pause that holds for a service.
    pub fn of(&self, service: &Name) -> Option<&Paused> {
        self.0.iter().find(|paused| paused.service.as_ref().is_none_or(|paused| paused == service))
    }

    /// Whether all services are paused at once.
    pub fn all(&self) -> bool {
        self.0.iter().any(|paused| paused.service.is_none())
    }

    /// Adds what is not paused yet; a pause that is there keeps its time and its reason.
    pub fn pause(&mut self, wanted: &[Paused]) {
        for new in wanted {
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
    /// When it is none of ours; why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| format!("it does not parse: {error}"))?;
        if line.schema != SCHEMA {
            return Err(format!("it does not say that it is {SCHEMA:?}"));
        }
        Ok(Self(line.paused))
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
    /// The one that counts on this node. Nobody is asked yet.
    ///
    /// # Errors
    /// When this machine cannot use it.
    pub fn open(config: &Config, store: &StateDir, local_node: Option<&Name>) -> Result<Self, LeaseError> {
        if let Some(register) = client::open_register(config, store, local_node, NAME)? {
            return Ok(Self { place: Place::Register, register });
        }
        let path = store.directory().join(HERE);
        Ok(Self { place: Place::Node, register: Box::new(FileRegister::new(path)) })
    }

    /// What is paused.
    ///
    /// # Errors
    /// When it did not serve, or holds what is no switch.
    pub fn read(&self, store: &StateDir, deadline: Deadline) -> Result<Pauses, StoreError> {
        let pauses = pauses(self.register.read(deadline)?.as_ref())?;
        self.remember(store, &pauses);
        Ok(pauses)
    }

    fn remember(&self, store: &StateDir, pauses: &Pauses) {
        if self.place == Place::Register && seen(store).as_ref() != Some(pauses) {
            store.show(SEEN, &pauses.written().unwrap_or_default());
        }
    }

    /// Turns it: what was paused before, and what is now. What is so already is not written.
    ///
    /// # Errors
    /// When it did not serve, or holds what is no switch. It may have been turned all the same.
    pub fn turn(
        &self,
        store: &StateDir,
        summary: &str,
        deadline: Deadline,
        change: impl Fn(&mut Pauses),
    ) -> Result<(Pauses, Pauses), StoreError> {
        let turned = turn(self.register.as_ref(), summary, deadline, change)?;
        self.remember(store, &turned.1);
        Ok(turned)
    }
}

/// What is paused as far as this node knows: by the switch, and where that does not serve, by what
/// was last read of it, if that was a pause.
///
/// # Errors
/// When the switch does not serve, and this node knows of no pause: there may be one.
pub fn in_force(
    config: &Config,
    store: &StateDir,
    local_node: Option<&Name>,
    deadline: Deadline,
) -> Result<Pauses, LeaseError> {
    if config.lease.is_none() && !store.directory().join(HERE).exists() {
        return Ok(Pauses::default());
    }
    let read = Switch::open(config, store, local_node).and_then(|switch| Ok(switch.read(store, deadline)?));
    let paused = || seen(store).filter(|pauses| !pauses.0.is_empty());
    read.or_else(|doubt| paused().ok_or(doubt))
}

/// What is paused as far as this node knows without asking anybody.
pub fn known(config: &Config, store: &StateDir) -> Pauses {
    let path = if config.lease.is_some() { SEEN } else { HERE };
    text_of(store, path).unwrap_or_default()
}

fn seen(store: &StateDir) -> Option<Pauses> {
    text_of(store, SEEN)
}

fn text_of(store: &StateDir, name: &str) -> Option<Pauses> {
    Pauses::parse(std::fs::read_to_string(store.directory().join(name)).ok()?.trim_end()).ok()
}

fn turn(
    register: &dyn Register,
    summary: &str,
    deadline: Deadline,
    change: impl Fn(&mut Pauses),
) -> Result<(Pauses, Pauses), StoreError> {
    let mut held = register.read(deadline)?;
    for _ in 0..MOST_TRIES {
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
    Err(StoreError::Failed("others kept turning the switch".to_owned()))
}

fn pauses(held: Option<&VersionedText>) -> Result<Pauses, StoreError> {
    let parsed = held.map(|held| Pauses::parse(&held.value)).transpose();
    parsed.map(Option::unwrap_or_default).map_err(|why| {
        StoreError::Foreign(format!(
            "where the pause is kept there is something else ({why}); delete it, or point elsewhere"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn paused(service: Option<&str>) -> Paused {
        let service = service.map(|name| name.parse().expect("a name"));
        Paused { service, by: "a".to_owned(), why: None, at: "2026-01-01T00:00:00.000Z".to_owned() }
    }

    #[test]
    fn a_pause_is_for_one_or_for_all_until_it_is_ended() {
        let (bot, web): (Name, Name) = ("bot".parse().expect("a name"), "web".parse().expect("a name"));
        let mut pauses = Pauses::default();
        pauses.pause(&[paused(Some("bot"))]);
        assert!(pauses.of(&bot).is_some() && pauses.of(&web).is_none());
        pauses.pause(&[paused(None), paused(Some("bot"))]);
        assert_eq!(pauses.0.len(), 2);
        assert!(pauses.of(&web).is_some() && pauses.all());
        pauses.resume(&[&bot]);
        assert!(pauses.of(&bot).is_some(), "all are still paused");
        pauses.resume(&[]);
        assert_eq!(pauses, Pauses::default());
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let register = FileRegister::new(directory.path().join("paused"));
        let soon = || Deadline::after(Duration::from_secs(60));
        let long = Paused { why: Some("w".repeat(70_000)), ..paused(Some("bot")) };
        let refused = turn(&register, "paused", soon(), |pauses| pauses.pause(std::slice::from_ref(&long)));
        assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
        turn(&register, "paused", soon(), |pauses| pauses.pause(&[paused(None)])).expect("it can still be turned");
    }

    #[test]
    fn of_many_that_turn_it_at_once_none_is_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("paused");
        let deadline = || Deadline::after(Duration::from_secs(60));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let register = FileRegister::new(&path);
                scope.spawn(move || {
                    let wanted = [paused(Some(&format!("s{number}")))];
                    turn(&register, "paused", deadline(), |pauses| pauses.pause(&wanted)).expect("turned");
                });
            }
        });
        let register = FileRegister::new(&path);
        let held = register.read(deadline()).expect("read");
        assert_eq!(pauses(held.as_ref()).expect("a switch").0.len(), 8);
        std::fs::write(&path, "something else\n").expect("written");
        assert!(matches!(turn(&register, "paused", deadline(), |_| ()), Err(StoreError::Foreign(_))));
    }
}
