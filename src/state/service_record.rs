//! What a node remembers of a service from one check to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;
use crate::config::Node;
use crate::leader::NodeStates;
use crate::name::Name;

/// What is remembered of a service.
///
/// Losing it costs caution: the next check asks every living node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRecord {
    /// Where it was last seen to run well.
    pub running_on: Option<Placement>,
    /// Where else it ran, and no stop was confirmed since.
    pub left_behind: Vec<Location>,
    /// The nodes that said that it does not run there, and were alive at every check since.
    pub seen_stopped: BTreeMap<Name, BootInstant>,
    /// The checks so far.
    pub checks: Checks,
    /// The states of its chain's nodes at the last check.
    pub nodes: NodeStates,
    /// Starts that failed or did not last.
    pub failures: FailureHistory,
    /// What is known of a brain that seems dead and contends for the lease.
    pub contention: Contention,
    /// The verdict, blocked or unknown, that the history has the beginning of and not yet the end.
    pub trouble: Option<String>,
}

/// A node as it can be reached, whatever the node list calls it by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The node's name at that time.
    pub node: Name,
    /// Its address.
    pub address: String,
    /// Its ssh port.
    pub port: u16,
    /// The user that logs in there.
    pub user: String,
}

/// Where a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub location: Location,
    /// Since when it has been seen there.
    pub since: BootInstant,
    /// Whether it was found stopped or unhealthy there, and not started since.
    #[serde(rename = "found_dead")]
    pub found_stopped: bool,
}

/// The checks of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// The digest of the node list by which they were made.
    pub digest: String,
    /// When the last check began in which this node was the brain.
    pub last: Option<BootInstant>,
    /// When all living nodes were last asked for it, and nothing was left to do.
    pub last_full: Option<BootInstant>,
    /// When it was last seen to run well, by this brain or the one before it.
    pub last_well: Option<BootInstant>,
}

/// Starts that failed or did not last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureHistory {
    /// The nodes on which a start failed, until a start lasts there.
    pub cooldowns: BTreeMap<Name, Cooldown>,
    /// When it was found dead on a node where it was started; the latest.
    pub deaths: BTreeMap<Name, Vec<BootInstant>>,
    /// The tries since it could run nowhere.
    pub retry: Option<Retry>,
}

/// How long a node is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// When the last start there failed.
    pub since: BootInstant,
    /// Until when the node is passed over.
    pub until: BootInstant,
    /// How many starts have failed there in a row.
    pub failures: u32,
    /// Why the last one failed, in words.
    pub why: String,
}

/// The tries of a service that can run nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many there were.
    pub tries: u32,
    /// When the next one is due.
    pub next: BootInstant,
}

/// What is known of a brain that seems dead and contends for the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contention {
    /// When the lease was last taken from a brain that was dead from here and yet at work.
    pub overruled: Option<BootInstant>,
    /// The epoch that a brain that was dead from here granted all the same, while its claim was waited for.
    pub granted_by_dead: Option<u64>,
}

impl Location {
    /// Where a node of the list is.
    pub fn of(name: &Name, node: &Node) -> Self {
        Self { node: name.clone(), address: node.address.to_string(), port: node.port, user: node.user.clone() }
    }

    /// Whether both are one and the same place, whatever it is called.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.address, self.port, &self.user) == (&other.address, other.port, &other.user)
    }
}
