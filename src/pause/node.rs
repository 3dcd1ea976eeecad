//! The switch of one node: a file in its state.

use std::io;
use std::time::SystemTime;

use super::{Paused, Pauses};
use crate::clock::Deadline;
use crate::fsutil::Durability;
use crate::output::warnings;
use crate::register::StoreError;
use crate::state::StateDir;

const FILE: &str = "paused.json";
const LOCK: &str = "paused.json.lock";
/// A longer text is not written: the reasons of a hundred services are shorter.
const MAX_TEXT: usize = 64 * 1024;

/// What is paused on this node. A damaged file is a pause of everything, and one warning; a state
/// directory that cannot be used holds no pause of ours.
pub(super) fn read(state_dir: &StateDir) -> Pauses {
    match state_dir.parsed(FILE, Pauses::parse_bytes) {
        None => Pauses::default(),
        Some(Ok(pauses)) => pauses,
        Some(Err(what)) => {
            let message = format!("{what}; everything counts as paused until `mirror resume` or `mirror pause`");
            warnings::warn("state-damaged", message);
            let written = state_dir.modified(FILE).unwrap_or(SystemTime::UNIX_EPOCH);
            Pauses(vec![Paused::unreadable(&what, written)])
        }
    }
}

/// Turns it: what was paused before, and what is now.
pub(super) fn turn(
    state_dir: &StateDir,
    deadline: Deadline,
    change: impl Fn(&mut Pauses),
) -> Result<(Pauses, Pauses), StoreError> {
    let failed = |error: io::Error| StoreError::Failed(error.to_string());
    let _lock = state_dir.lock_file_by(LOCK, deadline).map_err(failed)?;
    let before = read(state_dir);
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        let text = after.written().map_err(failed)? + "\n";
        if text.len() > MAX_TEXT {
            return Err(StoreError::Failed(format!("nothing was written: it is longer than {MAX_TEXT} bytes")));
        }
        state_dir.replace(FILE, text.as_bytes(), Durability::Durable).map_err(failed)?;
    }
    Ok((before, after))
}
