//! What a brain writes into a register.

use std::path::Path;

use three_mirror::deadline::Deadline;
use three_mirror::lease::{Nonce, State, Value};
use three_mirror::register::file::FileRegister;
use three_mirror::register::{self, Register, Swapped};

use super::LONG;

/// [`write_to`] a register that is a file.
pub fn write(path: &Path, by: &str, holder: &str, epoch: u64, state: State, was: Option<&str>) {
    write_to(&FileRegister::new(path), by, holder, epoch, state, was);
}

/// Puts a value of the service `bot` in place of whatever is there.
///
/// # Panics
/// When somebody else was quicker, or it cannot be written.
pub fn write_to(register: &dyn Register, by: &str, holder: &str, epoch: u64, state: State, was: Option<&str>) {
    let soon = || Deadline::after(LONG);
    let value = Value {
        holder: holder.parse().unwrap(),
        epoch,
        state,
        was: was.map(|was| was.parse().unwrap()),
        nonce: Nonce::fresh().unwrap(),
        by: by.to_owned(),
        why: None,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
    };
    let before = register.read(soon()).unwrap().map(|held| held.version);
    let swapped = register::swap(register, &"bot".parse().unwrap(), before.as_ref(), &value, soon(), soon());
    assert!(matches!(swapped, Swapped::Won(_)), "{swapped:?}");
}
