//! What a node knows of its link to another one, and the deadline of a probe that follows from it. Pure.
//!
//! ```text
//! usual    = smoothed round trip + 4 x deviation                            (RFC 6298)
//! slower   = 3 x smoothed round trip + 4 x deviation
//! slowest  = the slowest answer of the last minutes
//! lateness = slowest - smoothed round trip, at least 80 ms
//! deadline = the longest of usual + slower, usual + slowest, slower + lateness; between the floor and the maximum
//!
//! first try ──── usual ──── second try … last try ──── usual ──── deadline
//!                               └────────── slower … ────────────────┘
//! ```
//!
//! A node that has fallen and a link that has become three times slower look alike until three round
//! trips have passed. So no rule that answers sooner is safe against such a step, and each try up to the
//! second gets this time: one lost frame during the step costs no false death. Nor does a late one, which
//! keeps back what was sent after it.
//!
//! The deviation alone (RFC 6298), the mean and a margin (Chen, Toueg, Aguilera 2002) and a quantile of a
//! normal distribution (Hayashibara et al., φ accrual, 2004) are quicker by one to two round trips, and
//! each takes a node for dead at the step; doubling the deadline after it has passed is too late then,
//! and asking once more with the maximum costs the maximum at each death. `simulation` measures them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::BootInstant;

#[cfg(test)]
mod simulation;

/// The weights of RFC 6298, section 2: a new sample counts 1/8 in the round trip and 1/4 in its
/// deviation, and an answer is usual up to 4 deviations.
const ROUND_TRIP_SHARE: u32 = 8;
const DEVIATION_SHARE: u32 = 4;
const USUAL_DEVIATIONS: u32 = 4;
/// How many times slower a link may become at once.
const STEP: u32 = 3;
/// How late a frame may be on any link, as long as none later was seen.
const MIN_LATENESS: Duration = Duration::from_millis(80);
/// A second try is not sooner, for the sake of peers whose processor is busy.
const MIN_USUAL: Duration = Duration::from_millis(10);
/// The slowest answer is remembered for one to two of these.
const SLOWEST_PERIOD: Duration = Duration::from_secs(120);
/// What is older says nothing of the link.
const MAX_AGE: Duration = Duration::from_secs(600);
/// The first samples count at once; later ones at most once in this time, so that a check rarely writes.
const FIRST_SAMPLES: u8 = 16;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
/// A silent link is asked with the maximum now and then: it may have become much slower. That holds up the next check,
/// so the longer the silence lasts, the rarer it is: half of it, at least and at most this.
const MIN_LONG_INTERVAL: Duration = Duration::from_secs(4);
const MAX_LONG_INTERVAL: Duration = Duration::from_secs(60);

/// Between which the deadline stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Never less: a living host may be busy for so long.
    pub floor: Duration,
    /// Never more.
    pub max: Duration,
}

/// The times of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Within this time an answer usually comes. Not before it is there a second try of use.
    pub usual: Duration,
    /// After this time without an answer the node is dead.
    pub deadline: Duration,
}

impl Times {
    /// From the start of a probe of so many tries to its try with this index, counted from 0: the last one
    /// that would be too late for an answer is not made later.
    pub fn start_of_try(&self, index: u32, tries: u32) -> Duration {
        let second = self.usual.min(self.deadline / 3);
        let last = self.deadline.saturating_sub(self.usual).max(second);
        match index.checked_sub(1) {
            None => Duration::ZERO,
            Some(further) => second + (last - second) * further / tries.saturating_sub(2).max(1),
        }
    }
}

/// What was seen of a link. Times of answers are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The smoothed round trip.
    round_trip_us: u32,
    /// Its mean deviation.
    deviation_us: u32,
    /// How many samples are in it; not counted beyond the first ones.
    samples: u8,
    /// When the last one was taken.
    sampled: BootInstant,
    /// The slowest answers of this window and of the one before.
    slowest_us: [u32; 2],
    /// When this window began.
    window: BootInstant,
    /// While no answer comes: when the link was last asked with the maximum, or fell silent.
    silent: Option<BootInstant>,
    /// When it fell silent.
    #[serde(default)]
    silent_since: Option<BootInstant>,
}

impl Link {
    /// The smoothed round trip.
    pub fn round_trip(&self) -> Duration {
        micros(self.round_trip_us)
    }

    /// The times of the next probe; none for a link of which too little is known.
    pub fn times(&self, bounds: Bounds, now: BootInstant) -> Option<Times> {
        if self.samples == 0 || self.sampled.until(now) > MAX_AGE {
            return None;
        }
        let max = bounds.max;
        let spread = micros(self.deviation_us) * USUAL_DEVIATIONS;
        let usual = (self.round_trip() + spread).max(MIN_USUAL);
        let slower = self.round_trip() * STEP + spread;
        let slowest = self.slowest(now);
        let lateness = slowest.saturating_sub(self.round_trip()).max(MIN_LATENESS);
        let deadline = (usual + slower.max(slowest)).max(slower + lateness).max(bounds.floor).min(max);
        Some(Times { usual: usual.min(max), deadline })
    }

    /// Whether the last question brought no answer.
    pub fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// Whether the link is silent, and is to be asked with the maximum again. Never where anything waits for the
    /// answer: a check that finds another node dead would wait as long for this one.
    pub fn is_due_for_long(&self, now: BootInstant) -> bool {
        let silence = self.silent_since.map_or(Duration::ZERO, |since| since.until(now));
        let interval = (silence / 2).clamp(MIN_LONG_INTERVAL, MAX_LONG_INTERVAL);
        self.silent.is_some_and(|asked| asked.until(now) >= interval)
    }

    /// Whether to ask for the sake of the link alone, where that is done once in `interval`.
    pub fn is_due(&self, interval: Duration, now: BootInstant) -> bool {
        match self.silent {
            Some(_) => self.is_due_for_long(now),
            None => self.samples == 0 || self.sampled.until(now) >= interval,
        }
    }

    /// Learns from an answer: one try took `latency`, and the probe `waited` since its first try. Tells
    /// whether there is something to keep.
    pub fn answered(&mut self, latency: Duration, waited: Duration, now: BootInstant) -> bool {
        let was_silent = self.silent.take().is_some();
        self.silent_since = None;
        let is_sample = self.samples < FIRST_SAMPLES || self.sampled.until(now) >= SAMPLE_INTERVAL;
        // A host that boots answers a later try: the tries before it say nothing of the link.
        let is_slowest = self.note_slowest(if was_silent { latency } else { waited.max(latency) }, now);
        if is_sample {
            self.sample(to_micros(latency));
            self.sampled = now;
        }
        was_silent || is_sample || is_slowest
    }

    /// Learns from a probe without an answer that was given `deadline`. Tells whether there is something
    /// to keep.
    pub fn unanswered(&mut self, deadline: Duration, max: Duration, now: BootInstant) -> bool {
        if self.silent.is_some() && deadline < max {
            return false;
        }
        self.silent = Some(now);
        self.silent_since.get_or_insert(now);
        true
    }

    fn sample(&mut self, latency: u32) {
        if self.samples == 0 {
            (self.round_trip_us, self.deviation_us) = (latency, latency / 2);
        } else {
            let error = self.round_trip_us.abs_diff(latency);
            self.deviation_us = weighted(self.deviation_us, error, DEVIATION_SHARE);
            self.round_trip_us = weighted(self.round_trip_us, latency, ROUND_TRIP_SHARE);
        }
        self.samples = self.samples.saturating_add(1).min(FIRST_SAMPLES);
    }

    /// Tells whether it is notably slower than all that is remembered.
    fn note_slowest(&mut self, waited: Duration, now: BootInstant) -> bool {
        let age = self.window.until(now);
        if age > SLOWEST_PERIOD {
            self.slowest_us = [0, if age > SLOWEST_PERIOD * 2 { 0 } else { self.slowest_us[0] }];
            self.window = now;
        }
        let (waited, before) = (to_micros(waited), self.slowest_us[0].max(self.slowest_us[1]));
        self.slowest_us[0] = self.slowest_us[0].max(waited);
        waited > before + before / 8
    }

    fn slowest(&self, now: BootInstant) -> Duration {
        let age = self.window.until(now);
        let [this, before] = self.slowest_us;
        micros(if age <= SLOWEST_PERIOD {
            this.max(before)
        } else if age <= SLOWEST_PERIOD * 2 {
            this
        } else {
            0
        })
    }
}

/// The old value, moved towards the new one by one part in `share`.
fn weighted(old: u32, new: u32, share: u32) -> u32 {
    let sum = u64::from(old) * u64::from(share - 1) + u64::from(new);
    u32::try_from(sum / u64::from(share)).unwrap_or(u32::MAX)
}

fn micros(number: u32) -> Duration {
    Duration::from_micros(number.into())
}

fn to_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { floor: Duration::from_millis(100), max: Duration::from_millis(750) };

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn at(number: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs(1000) + ms(number))
    }

    fn steady(round_trip: u64) -> Link {
        let mut link = Link::default();
        for tick in 0..200 {
            link.answered(ms(round_trip), ms(round_trip), at(tick * 200));
        }
        link
    }

    #[test]
    fn nothing_is_known_of_a_new_link_or_an_old_record() {
        assert_eq!(Link::default().times(BOUNDS, at(0)), None);
        assert!(steady(45).times(BOUNDS, at(40_000)).is_some());
        assert_eq!(steady(45).times(BOUNDS, at(40_000 + 601_000)), None);
    }

    #[test]
    fn a_link_is_asked_for_its_own_sake_when_it_is_unknown_or_its_last_sample_is_old() {
        let interval = ms(12_000);
        assert!(Link::default().is_due(interval, at(0)));
        let mut link = steady(45);
        assert!(!link.is_due(interval, at(41_000)) && link.is_due(interval, at(60_000)));
        assert!(link.unanswered(ms(100), ms(750), at(60_000)));
        assert!(!link.is_due(interval, at(63_000)) && link.is_due(interval, at(64_000)));
        assert!(link.answered(ms(45), ms(45), at(64_000)));
        assert!(!link.is_due(interval, at(65_000)));
    }

    #[test]
    fn one_slow_answer_is_remembered_for_minutes() {
        let mut link = steady(45);
        let before = link.times(BOUNDS, at(40_000)).expect("known").deadline;
        assert!(link.answered(ms(45), ms(300), at(40_100)));
        assert!(!link.answered(ms(45), ms(45), at(40_300)), "nothing to keep");
        let slow = link.times(BOUNDS, at(40_400)).expect("known").deadline;
        assert!(slow >= before + ms(100), "{before:?} {slow:?}");
        let later = link.times(BOUNDS, at(40_400 + 300_000)).expect("known").deadline;
        assert!(later <= before, "{later:?}");
    }

    #[test]
    fn a_silent_link_is_asked_with_the_maximum_now_and_then_and_where_nothing_waits() {
        let mut link = steady(45);
        let short = link.times(BOUNDS, at(40_000)).expect("known").deadline;
        assert!(link.unanswered(short, BOUNDS.max, at(40_000)));
        let deadline = |link: &Link, now| link.times(BOUNDS, at(now)).expect("known").deadline;
        assert_eq!(deadline(&link, 42_000), short);
        assert!(!link.unanswered(short, BOUNDS.max, at(40_200)));
        assert!(!link.is_due_for_long(at(43_900)) && link.is_due_for_long(at(44_000)));
        assert!(link.unanswered(BOUNDS.max, BOUNDS.max, at(44_000)));
        assert!(!link.is_due_for_long(at(47_900)) && link.is_due_for_long(at(48_000)));
        // Once it has been silent for long, it is asked so more rarely.
        let mut dead = link.clone();
        assert!(dead.unanswered(BOUNDS.max, BOUNDS.max, at(120_000)));
        assert!(!dead.is_due_for_long(at(170_000)) && dead.is_due_for_long(at(180_000)));
        assert!(link.answered(ms(600), ms(600), at(48_000)));
        assert!(deadline(&link, 48_200) > ms(600), "it is slow, and not dead");
        assert!(!link.is_due_for_long(at(60_000)));

        let mut booted = steady(45);
        booted.unanswered(short, BOUNDS.max, at(40_000));
        booted.answered(ms(45), ms(600), at(44_000));
        assert!(deadline(&booted, 44_200) <= short, "the host was down, and the link is as it was");
    }

    proptest! {
        #[test]
        fn the_deadline_keeps_its_bounds(
            answers in prop::collection::vec((0_u64..5_000, 0_u64..5_000, 0_u64..400_000, any::<bool>()), 1..60),
            (floor, max) in (1_u64..500, 1_u64..2_000),
        ) {
            let bounds = Bounds { floor: ms(floor.min(max)), max: ms(max) };
            let (mut link, mut now) = (Link::default(), 0);
            for (latency, waited, pause, is_answer) in answers {
                now += pause;
                if is_answer {
                    link.answered(ms(latency), ms(waited), at(now));
                } else {
                    link.unanswered(ms(waited), bounds.max, at(now));
                }
                if let Some(times) = link.times(bounds, at(now)) {
                    prop_assert!(times.deadline >= bounds.floor && times.deadline <= bounds.max);
                    let starts: Vec<_> = (0..6).map(|index| times.start_of_try(index, 6)).collect();
                    prop_assert!(starts.is_sorted() && starts[5] < bounds.max, "{starts:?}");
                }
            }
        }

        /// Of the answers after the step, the first may be lost or late.
        #[test]
        fn a_step_to_three_times_the_round_trip_is_no_death(round_trip in 1_u64..200, trouble in 0_u8..3) {
            let times = steady(round_trip).times(BOUNDS, at(40_000)).expect("known");
            let delay = match trouble {
                0 => Duration::ZERO,
                1 => times.start_of_try(1, 5),
                _ => MIN_LATENESS,
            };
            prop_assert!(delay + ms(round_trip * 3) <= times.deadline || times.deadline == BOUNDS.max, "{times:?}");
        }
    }
}
