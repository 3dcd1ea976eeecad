//! What a brain writes into a register.

use std::path::Path;

use three_mirror::deadline::Deadline;
use three_mirror::lease::{LeaseRecord, LeaseState, Nonce};
use three_mirror::register::file::FileRegister;
use three_mirror::register::{self, CasOutcome, Register};

use super::LONG;

/// [`write_to`] a register that is a file.
pub fn write(path: &Path, by: &str, holder: &str, epoch: u64, state: LeaseState, previous_holder: Option<&str>) {
    write_to(&FileRegister::new(path), by, holder, epoch, state, previous_holder);
}

/// Puts a value of the service `bot` in place of whatever is there.
///
/// # Panics
/// When somebody else previous_holder quicker, or it cannot be written.
pub fn write_to(
    register: &dyn Register,
    by: &str,
    holder: &str,
    epoch: u64,
    state: LeaseState,
    previous_holder: Option<&str>,
) {
    let soon = || Deadline::after(LONG);
    let value = LeaseRecord {
        holder: holder.parse().unwrap(),
        epoch,
        state,
        previous_holder: previous_holder.map(|previous_holder| previous_holder.parse().unwrap()),
        nonce: Nonce::fresh().unwrap(),
        by: by.to_owned(),
        why: None,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
    };
    let before = register.read(soon()).unwrap().map(|held| held.version);
    let swapped = register::swap(register, &"bot".parse().unwrap(), before.as_ref(), &value, soon(), soon());
    assert!(matches!(swapped, CasOutcome::Won(_)), "{swapped:?}");
}
