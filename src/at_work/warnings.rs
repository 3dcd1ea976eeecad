//! Trouble that a check finds beside its task: said once on stderr, and in every object.

use std::time::Duration;

use super::{Check, Mode};
use crate::clock::{BootInstant, MAX_CLOCK_OFFSET, seconds};
use crate::output::{self, Priority, warnings::Warning};
use crate::state::Kept;
use crate::state::history::{self, Entry, Event};

/// What still holds after this is said again.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// The kinds of trouble.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    BeatNotLeft,
    ListsDiffer,
    ClockOff,
    PassedOver,
}

impl Kind {
    const ALL: [Self; 4] = [Self::BeatNotLeft, Self::ListsDiffer, Self::ClockOff, Self::PassedOver];

    /// Its code in objects and in the history.
    fn code(self) -> &'static str {
        match self {
            Self::BeatNotLeft => "beat-not-left",
            Self::ListsDiffer => "lists-differ",
            Self::ClockOff => "clock-off",
            Self::PassedOver => "passed-over",
        }
    }

    fn by_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// How the history tells its end. Why others do not lead stands there beside the change of the brain.
    fn end(self, about: &str) -> Option<String> {
        match self {
            Self::BeatNotLeft => Some("Beats can be left again.".to_owned()),
            Self::ListsDiffer => Some(format!("{about} has the same node list as this node, or is gone.")),
            Self::ClockOff => Some(format!("The clock of {about} agrees with the one here, or it is gone.")),
            Self::PassedOver => None,
        }
    }
}

/// A warning, and what it is about, by which it is known again.
pub(super) struct Trouble {
    kind: Kind,
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
    Some(Trouble { kind: Kind::BeatNotLeft, about: String::new(), message })
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
                troubles.push(Trouble { kind: Kind::ListsDiffer, about: node.to_string(), message });
            }
            let off = beat.clock_ahead_ms.unsigned_abs();
            if Duration::from_millis(off) > MAX_CLOCK_OFFSET && is_known {
                let way = if beat.clock_ahead_ms > 0 { "ahead of" } else { "behind" };
                let message = format!(
                    "the clock of {node} is {} {way} the one here; set them by NTP",
                    seconds(Duration::from_millis(off))
                );
                troubles.push(Trouble { kind: Kind::ClockOff, about: node.to_string(), message });
            }
        }
        // A drain is a person's wish, and no trouble.
        let drains = self.drains();
        let not_leading: Vec<_> =
            self.not_leading(&inner).into_iter().filter(|(node, _)| drains.drain_of(node).is_none()).collect();
        if let Some((first, _)) = not_leading.first() {
            let message = not_leading.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ");
            troubles.push(Trouble { kind: Kind::PassedOver, about: first.to_string(), message });
        }
        if self.mode == Mode::Check {
            let key = |trouble: &Trouble| format!("{}:{}", trouble.kind.code(), trouble.about);
            let said = &mut inner.watch.said;
            let lasting: Vec<String> = said.keys().cloned().collect();
            let lasts = |said: &str| troubles.iter().any(|trouble| key(trouble) == said);
            for (code, about) in lasting.iter().filter(|said| !lasts(said)).filter_map(|said| said.split_once(':')) {
                if let Some(message) = Kind::by_code(code).and_then(|kind| kind.end(about)) {
                    self.record_trouble(about, format!("{code}-ended"), &message);
                }
            }
            said.retain(|said, at| lasts(said) && at.until(now) < SAY_AGAIN);
            for trouble in &troubles {
                said.entry(key(trouble)).or_insert_with(|| {
                    output::say_as(Priority::Doubtful, format_args!("{}: {}", trouble.kind.code(), trouble.message));
                    if trouble.kind != Kind::PassedOver && !lasting.contains(&key(trouble)) {
                        self.record_trouble(&trouble.about, trouble.kind.code().to_owned(), &trouble.message);
                    }
                    now
                });
            }
            self.keep_watch(&mut inner);
        }
        troubles.into_iter().map(|Trouble { kind, message, .. }| Warning { code: kind.code(), message }).collect()
    }

    fn record_trouble(&self, about: &str, verdict: String, message: &str) {
        let entry = Entry::new(self.local_node, Event::Trouble, message);
        history::record(self.state_dir, &Entry { node: about.parse().ok(), verdict: Some(verdict), ..entry });
    }
}
