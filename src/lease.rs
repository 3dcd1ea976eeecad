//! The two rules of the lease. They are pure: no clock, no register, no file.
//!
//! A register holds one [`Value`], which changes by compare-and-swap alone. What one machine knows
//! of it is a [`Sight`]; every read and every acknowledged swap goes into it.
//!
//! - The run rule, [`Sight::permit`]: a node runs the service only while a read that *began* less
//!   than `valid` ago said that the lease is granted to it.
//! - The take rule, [`next`]: a brain claims; and it grants once the last holder has itself
//!   confirmed a stop that was issued after the claim, or `valid + grace` after the claim.
//!
//! Why that is enough: every read that begins after the claim no longer names the old holder, so its
//! last good one began before; the old holder has stopped by the claim plus `valid` plus the time to
//! stop, and the new one starts later than that. By induction over the epochs, whoever may be
//! running when a claim is made is the one node to whom the lease was last granted, and that is what
//! `was` carries along. No clock is compared with another machine's; only their rates matter, and
//! `grace` covers those. `tests/lease_model.rs` checks all of it.

mod sight;
mod take;

pub use crate::register::value::{Nonce, State, Value};
pub use sight::{Distrust, Permit, Seen, Sight};
pub use take::{Next, Stopped, Want, next};

use std::time::Duration;

/// How long is relied on what was read.
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
