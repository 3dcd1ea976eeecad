//! Trouble that a check finds beside its task: said once on stderr, and in every object.

use std::time::Duration;

use super::{Check, Mode};
use crate::clock::{BootInstant, MAX_CLOCK_OFFSET, seconds};
use crate::output::{self, Priority, warnings::Warning};
use crate::state::Kept;
use crate::state::history::{self, Entry, Event};

/// What still holds after this is said again.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// A warning, and what it is about, by which it is known again.
pub(super) struct Trouble {
    code: &'static str,
    about: String,
    message: String,
}

/// The trouble of a beat that could not be left.
pub(super) fn not_left(kept: &Kept) -> Option<Trouble> {
    let Kept::Lost(error) = kept else { return None };
    let message = format!(
        "no beat could be left, so other nodes take this node for one that is not at work: {error}; make room, or make \
         the state directory writable"
    );
    Some(Trouble { code: "beat-not-left", about: String::new(), message })
}

/// How the end of a trouble is told in the history; why others did not lead stands beside the change of the brain.
fn end_of(code: &str, about: &str) -> Option<String> {
    match code {
        "lists-differ" => Some(format!("{about} has the same node list as this node, or is gone.")),
        "clock-off" => Some(format!("The clock of {about} agrees with the one here, or it is gone.")),
        "beat-not-left" => Some("Beats can be left again.".to_owned()),
        _ => None,
    }
}

impl Check<'_> {
    /// The warnings for the object. A check says each on stderr when it begins to hold.
    pub fn warnings(&self) -> Vec<Warning> {
        let now = BootInstant::now();
        let mut inner = self.inner();
        let mut troubles = std::mem::take(&mut inner.troubles);
        for (node, known) in inner.watch.nodes() {
            let Some(beat) = known.beat() else { continue };
            // A brain reads the beats of others once in a round, and remembers between two what it has read.
            let is_known = beat.sighting.known_for(now) <= self.limits.round() * 2;
            if beat.digest != self.config.digest && is_known && beat.sighting.age_when_read() <= self.limits.silent() {
                let message = format!(
                    "{node} has another node list (digest {}, here {}); bring them in line",
                    beat.digest, self.config.digest
                );
                troubles.push(Trouble { code: "lists-differ", about: node.to_string(), message });
            }
            let off = beat.clock_ahead_ms.unsigned_abs();
            if Duration::from_millis(off) > MAX_CLOCK_OFFSET && is_known {
                let way = if beat.clock_ahead_ms > 0 { "ahead of" } else { "behind" };
                let message = format!(
                    "the clock of {node} is {} {way} the one here; set them by NTP",
                    seconds(Duration::from_millis(off))
                );
                troubles.push(Trouble { code: "clock-off", about: node.to_string(), message });
            }
        }
        // A drain is a person's wish, and no trouble.
        let drains = self.drains();
        let not_leading: Vec<_> =
            self.not_leading(&inner).into_iter().filter(|(node, _)| drains.drain_of(node).is_none()).collect();
        if let Some((first, _)) = not_leading.first() {
            let message = not_leading.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ");
            troubles.push(Trouble { code: "passed-over", about: first.to_string(), message });
        }
        if self.mode == Mode::Check {
            let key = |trouble: &Trouble| format!("{}:{}", trouble.code, trouble.about);
            let said = &mut inner.watch.said;
            let lasting: Vec<String> = said.keys().cloned().collect();
            let lasts = |said: &str| troubles.iter().any(|trouble| key(trouble) == said);
            for (code, about) in lasting.iter().filter(|said| !lasts(said)).filter_map(|said| said.split_once(':')) {
                if let Some(message) = end_of(code, about) {
                    self.record_trouble(about, format!("{code}-ended"), &message);
                }
            }
            said.retain(|said, at| lasts(said) && at.until(now) < SAY_AGAIN);
            for trouble in &troubles {
                said.entry(key(trouble)).or_insert_with(|| {
                    output::say_as(Priority::Doubtful, format_args!("{}: {}", trouble.code, trouble.message));
                    // Why others do not lead stands beside the change of the brain.
                    if trouble.code != "passed-over" && !lasting.contains(&key(trouble)) {
                        self.record_trouble(&trouble.about, trouble.code.to_owned(), &trouble.message);
                    }
                    now
                });
            }
            self.keep_watch(&mut inner);
        }
        troubles.into_iter().map(|Trouble { code, message, .. }| Warning { code, message }).collect()
    }

    fn record_trouble(&self, about: &str, verdict: String, message: &str) {
        let entry = Entry::new(self.local_node, Event::Trouble, message);
        history::record(self.state_dir, &Entry { node: about.parse().ok(), verdict: Some(verdict), ..entry });
    }
}
