//! What a node remembers of a service from one check to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::decide::NodeStates;

/// What is remembered of a service.
///
/// Losing it costs caution: the next check asks every living node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The node on which it was last seen to run well, and since when.
    #[serde(alias = "on")]
    pub running_on: Option<(Name, BootInstant)>,
    /// When all living nodes were last asked for it.
    #[serde(alias = "swept")]
    pub last_full_check: Option<BootInstant>,
    /// Where it could not be started, and when that was.
    pub cooldown: BTreeMap<Name, BootInstant>,
    /// The states of its chain's nodes at the last check.
    #[serde(alias = "seen")]
    pub nodes: NodeStates,
    /// When its lease was last taken from a brain that was dead from here and yet at work.
    #[serde(default)]
    pub overruled: Option<BootInstant>,
    /// The epoch that a brain that was dead from here granted all the same, while its claim was waited for.
    #[serde(default)]
    pub granted_by_dead: Option<u64>,
}
