//! What stands in a register whose lease is kept in another store.
//!
//! Such a mark is no lease, so no `mirror`, of whatever version, obeys it: as long as a register holds one,
//! the lease is granted to no node, and no node can claim it. Only `mirror lease migrate` replaces a mark.

use serde::{Deserialize, Serialize};

use super::nonce::Nonce;
use super::record::LeaseRecord;
use crate::name::Name;

/// The name and version of the written form.
const SCHEMA: &str = "mirror.lease-moved/1";

/// A mark in a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    schema: String,
    /// Whose lease it is.
    pub service: Name,
    /// Where the lease is.
    pub state: Whereabouts,
    /// Distinguishes one migration from every other; the marks in both stores have it.
    pub migration: Nonce,
    /// The writer.
    pub by: String,
    /// When it was written: RFC 3339, UTC. For people.
    pub at: String,
}

/// Where a lease is that is not in this register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whereabouts {
    /// Still in another store, from which it will come.
    Awaited {
        /// The other store, for people.
        from: String,
    },
    /// In another store, or on the way there.
    Moved {
        /// The other store, for people.
        to: String,
        /// The claim that ended the lease here and goes on there.
        claim: Box<LeaseRecord>,
    },
}

impl Mark {
    /// A new mark.
    pub fn new(service: &Name, state: Whereabouts, migration: Nonce, (by, at): (&str, &str)) -> Self {
        let (by, at) = (by.to_owned(), at.to_owned());
        Self { schema: SCHEMA.to_owned(), service: service.clone(), state, migration, by, at }
    }

    /// The mark that this text is; none if it is none, or another service's.
    pub fn parse(service: &Name, text: &str) -> Option<Self> {
        let mark: Self = serde_json::from_str(text).ok()?;
        (mark.schema == SCHEMA && mark.service == *service).then_some(mark)
    }

    /// As one line.
    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// In words, as half a sentence.
    pub fn words(&self) -> String {
        match &self.state {
            Whereabouts::Awaited { from } => format!("it is still in {from}, and awaited here"),
            Whereabouts::Moved { to, claim } => format!("it moved to {to} in epoch {}", claim.epoch),
        }
    }

    /// What to do about it, as half a sentence.
    pub fn remedy(&self) -> &'static str {
        match self.state {
            Whereabouts::Awaited { .. } => "finish that with `mirror lease migrate`",
            Whereabouts::Moved { .. } => "put the node list with that store in force, by `mirror rollout`",
        }
    }
}
