//! The content of a lease's register.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nonce::Nonce;
use crate::name::Name;
use crate::register::Versioned;

/// The largest integer that every JSON reader keeps exact.
pub const MAX_EPOCH: u64 = (1 << 53) - 1;

/// The epoch after this one. After the largest comes 1, so there is always a next one.
pub fn next_epoch(epoch: u64) -> u64 {
    if epoch >= MAX_EPOCH { 1 } else { epoch + 1 }
}

/// Orders two epochs by the shorter way around the circle of epochs (serial number arithmetic, RFC
/// 1982). So a jump by more than half of all epochs, which no honest history makes, counts as going
/// back: a forged record with a huge epoch is not obeyed, and cannot use up the epochs.
pub fn epoch_order(epoch: u64, other: u64) -> Ordering {
    let ahead = (MAX_EPOCH + epoch - other) % MAX_EPOCH;
    if ahead == 0 {
        Ordering::Equal
    } else if ahead <= MAX_EPOCH / 2 {
        Ordering::Greater
    } else {
        Ordering::Less
    }
}

/// The content of a lease's register.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRecord {
    /// The node that may run the service once the lease is granted.
    pub holder: Name,
    /// A number that grows with every claim, from 1.
    pub epoch: u64,
    /// Whether the holder may run it yet.
    pub state: LeaseState,
    /// The last node to which the lease was granted before; unfinished claims carry it along. Null when
    /// it was never granted.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// Distinguishes this write from every other, even from one with the same content.
    pub nonce: Nonce,
    /// Who wrote it: a node's name, or on a machine that is no node, the host's.
    pub by: String,
    /// Why, in words; null when no reason was given.
    pub why: Option<String>,
    /// When it was written, by the writer's calendar clock: RFC 3339, UTC. For people; no rule
    /// compares it.
    pub at: String,
}

/// A record and its version.
pub type VersionedRecord = Versioned<LeaseRecord>;

/// How far a takeover has come. A claim comes before its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// No node may run the service: the old holder stops, the new one waits.
    Claimed,
    /// The holder may run it.
    Granted,
}

impl LeaseRecord {
    /// Whether both are the same write. After a lost acknowledgement, only this tells one's own
    /// write from another brain's with the same content.
    pub fn is_same_write(&self, other: &Self) -> bool {
        self.nonce == other.nonce
    }

    /// The node that may run the service by this record.
    pub fn granted_to(&self) -> Option<&Name> {
        (self.state == LeaseState::Granted).then_some(&self.holder)
    }

    /// The only node that may run the service: the holder after a grant, the previous holder, which
    /// may still be stopping, after a claim.
    pub fn last_granted(&self) -> Option<&Name> {
        self.granted_to().or(self.previous_holder.as_ref())
    }

    /// Orders two records of one lease by when they were written: by epoch, then a claim before its
    /// grant.
    pub fn order(&self, other: &Self) -> Ordering {
        epoch_order(self.epoch, other.epoch).then(self.state.cmp(&other.state))
    }

    /// In words, on one line, without the time.
    pub fn summary(&self, service: &Name) -> String {
        let line = format!("{service}: {}", self.done());
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// What was done, and by which node, as the end of a sentence.
    pub fn done(&self) -> String {
        let Self { holder, epoch, by, .. } = self;
        let done = match self.state {
            LeaseState::Claimed => "claimed for",
            LeaseState::Granted => "granted to",
        };
        format!("{done} {holder} in epoch {epoch} by {by}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_largest_epoch_comes_the_first() {
        assert_eq!((next_epoch(7), next_epoch(MAX_EPOCH)), (8, 1));
        for (epoch, other, order) in [
            (1, 1, Ordering::Equal),
            (2, 1, Ordering::Greater),
            (1, 2, Ordering::Less),
            (1, MAX_EPOCH, Ordering::Greater),
            (MAX_EPOCH, 1, Ordering::Less),
            (MAX_EPOCH, MAX_EPOCH - 1, Ordering::Greater),
            (MAX_EPOCH / 2, 1, Ordering::Greater),
            (MAX_EPOCH / 2 + 2, 1, Ordering::Less),
        ] {
            assert_eq!(epoch_order(epoch, other), order, "{epoch} {other}");
        }
    }
}
