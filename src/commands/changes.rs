//! `--changes-only`: what a loop has printed last.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::state::StateDir;

/// Whether a command says something else than when it was last called from the same loop; remembers it.
/// `facts` is what counts, without times. A loop that was started anew is told everything once.
pub(super) fn are_new(state_dir: &StateDir, command: &str, facts: &impl Debug) -> bool {
    let mut hasher = DefaultHasher::new();
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    (parent, format!("{facts:?}")).hash(&mut hasher);
    let (name, said) = (format!("said-{command}.json"), format!("{:016x}", hasher.finish()));
    if state_dir.shown::<String>(&name).as_ref() == Some(&said) {
        return false;
    }
    state_dir.show(&name, &format!("{said:?}"));
    true
}
