//! What must outlive a command: locks, since when nodes are alive, where services were seen, what
//! happened.
//!
//! Losing it costs caution, never correctness: what cannot be read counts as missing, and what cannot
//! be written is left out. Times are the boot clock's, which no change of the date moves; a record of
//! an earlier boot is void. Only this user can read it, since it decides what is run.

pub use crate::output::warnings::Warning;

mod beat;
mod breath;
mod directory;
pub mod history;
mod idle;
mod links;
mod notify;
mod records;
mod service_record;

pub use beat::Kept;
pub use breath::{BreathRecord, LastBreath, Prospect, breathed};
pub use directory::{Lock, StateDir};
pub use notify::{LastTold, NotifyRecord};
pub use records::{MAX_PROMOTION, Uptimes};
pub use service_record::{Checks, Contention, Cooldown, FailureHistory, Location, Placement, Retry, ServiceRecord};
