//! The rules of the lease. [`view`], [`takeover`], [`failsafe`], [`migration`] and [`moved`] are pure: no clock, no
//! register, no file. [`client`], [`codec`] and [`witness`] connect them to these.
//!
//! A register holds one [`LeaseRecord`], which changes only by compare-and-swap. What one machine
//! knows of it is a [`LeaseView`]; every read and every acknowledged swap goes into the view.
//!
//! - The run rule, [`LeaseView::permit`]: a node runs the service only while a read that *began* less
//!   than `valid` ago said that the lease is granted to it.
//! - The take rule, [`takeover::next_step`]: a brain claims, and grants once the last holder has
//!   confirmed a stop that was ordered after the claim, or `valid + grace` after the claim.
//!
//! ```text
//!  old holder   read(granted to it) ─ run ─ reads fail ─ stop at read + valid ─ dead by + grace
//!                    │
//!  brain             └── claim ───────────── wait valid + grace ───────────── grant
//!  new holder                                                                   └ read ─ start
//! ```
//!
//! Every read that begins after the claim no longer names the old holder, so its last good read began
//! before the claim. It has stopped by claim + `valid` + the time to stop, and the new holder starts
//! later than that. By induction over the epochs, only the node to which the lease was last granted
//! can be running when a claim is made; `previous_holder` carries it along. No clock is compared with
//! another machine's: only their rates matter, and `grace` covers the difference.
//!
//! `tests/lease_model.rs` checks these rules in every order of events, `tests/lease_simulation.rs`
//! with five nodes and random faults.
//!
//! While the register cannot be read, the [`failsafe`] lets the holder go on.
//!
//! By the same rules a lease moves from one store to another ([`migration`]).

pub mod client;
pub mod codec;
pub mod failsafe;
pub mod migration;
pub mod moved;
mod nonce;
pub mod record;
mod secret;
pub mod stored;
pub mod takeover;
mod view;
pub mod witness;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use nonce::Nonce;
pub use record::{LeaseRecord, LeaseState, VersionedRecord};
pub use takeover::{ClaimRequest, Stopped, TakeoverStep};
pub use view::{Latest, LeaseView, Observation, Permit, Regression};

/// The time limits of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// How long a read may be relied on, from when it began.
    pub valid: Duration,
    /// The time to stop, plus what two clocks may drift apart in `valid + grace`.
    pub grace: Duration,
}

impl Params {
    /// How long after a claim the old holder has certainly stopped.
    pub const fn wait(&self) -> Duration {
        self.valid.saturating_add(self.grace)
    }
}

impl From<crate::config::Lease> for Params {
    fn from(lease: crate::config::Lease) -> Self {
        Self { valid: lease.valid, grace: lease.grace }
    }
}
