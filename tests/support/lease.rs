//! Writes leases as a brain does.

use std::path::Path;

use three_mirror::clock::Deadline;
use three_mirror::lease::codec::{LeaseRegister, SwapDeadlines, SwapOutcome};
use three_mirror::lease::{LeaseRecord, LeaseState, Nonce};
use three_mirror::register::Register;
use three_mirror::register::file::FileRegister;

use super::LONG;

/// [`write_to`] a register that is a file.
pub fn write(path: &Path, by: &str, holder: &str, epoch: u64, state: LeaseState, previous_holder: Option<&str>) {
    write_to(&FileRegister::new(path), by, holder, epoch, state, previous_holder);
}

/// Replaces the lease of the service `bot`, whatever the register holds.
///
/// # Panics
/// When another process writes at the same time, or it cannot be written.
pub fn write_to(
    register: &dyn Register,
    by: &str,
    holder: &str,
    epoch: u64,
    state: LeaseState,
    previous_holder: Option<&str>,
) {
    let soon = || Deadline::after(LONG);
    let record = LeaseRecord {
        holder: holder.parse().unwrap(),
        epoch,
        state,
        previous_holder: previous_holder.map(|previous| previous.parse().unwrap()),
        nonce: Nonce::fresh().unwrap(),
        by: by.to_owned(),
        why: None,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
    };
    let before = register.read(soon()).unwrap().map(|found| found.version);
    let lease = LeaseRegister { register, service: &"bot".parse().unwrap() };
    let swapped = lease.swap(before.as_ref(), &record, SwapDeadlines { swap: soon(), verify: soon() });
    assert!(matches!(swapped, SwapOutcome::Won(_)), "{swapped:?}");
}
