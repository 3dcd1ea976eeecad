//! What must outlive a command: locks, since when nodes are alive, where services were seen, what
//! happened.
//!
//! Losing it costs caution, never correctness: what cannot be read counts as missing, and what cannot
//! be written is left out. Times are the boot clock's, which no change of the date moves; a record of
//! an earlier boot is void. Only this user can read it, since it decides what is run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::Name;
use crate::clock::BootInstant;
use crate::decide::NodeStates;
pub use crate::output::warnings::Warning;

mod directory;
pub mod history;
mod records;

pub use directory::{Lock, StateDir};
pub use records::Uptimes;

/// What is remembered of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The node on which it was last seen to run well, and since when.
    pub on: Option<(Name, BootInstant)>,
    /// When all living nodes were last asked for it.
    pub swept: Option<BootInstant>,
    /// Where it could not be started, and when that was.
    pub cooldown: BTreeMap<Name, BootInstant>,
    /// What its chain's nodes were at the last check.
    pub seen: NodeStates,
    /// When its lease was last taken from a brain that was dead from here and yet at work.
    #[serde(default)]
    pub overruled: Option<BootInstant>,
    /// The epoch that a brain that was dead from here granted all the same, while its claim was waited for.
    #[serde(default)]
    pub granted_by_dead: Option<u64>,
}
