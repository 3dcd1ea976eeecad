//! Trouble on this machine that does not stop a command: said once on stderr, and kept for the object.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

use super::say;

/// Trouble that a person should end, although the command went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Warning {
    /// The kind of trouble, as a stable slug, such as `state-unusable`.
    pub code: &'static str,
    /// What is wrong, where, and what to do, for people.
    pub message: String,
}

/// Whether nothing is said on stderr, which would end up on a screen that is drawn in place.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on; what there is to say is still [`collected`].
pub fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

/// A process runs one command, whose parts do not know each other.
static WARNINGS: Mutex<Vec<Warning>> = Mutex::new(Vec::new());

fn warnings() -> MutexGuard<'static, Vec<Warning>> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says a warning on stderr and keeps it; one that was said before is not repeated.
pub fn warn(code: &'static str, message: impl Into<String>) {
    let warning = Warning { code, message: message.into() };
    let mut warnings = warnings();
    if !warnings.contains(&warning) {
        if !HUSHED.load(Ordering::Relaxed) {
            say(format_args!("warning: {}", warning.message));
        }
        warnings.push(warning);
    }
}

/// Says a warning unless one of the same code was said before.
pub fn warn_once(code: &'static str, message: impl Into<String>) {
    if !warnings().iter().any(|warning| warning.code == code) {
        warn(code, message);
    }
}

/// All that this process warned of, in order.
pub fn collected() -> Vec<Warning> {
    warnings().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_warning_is_kept_once() {
        warn("test-twice", "one");
        warn("test-twice", "one");
        warn("test-twice", "two");
        warn_once("test-twice", "three");
        let kept = collected().into_iter().filter(|warning| warning.code == "test-twice");
        assert_eq!(kept.map(|warning| warning.message).collect::<Vec<_>>(), ["one", "two"]);
    }
}
