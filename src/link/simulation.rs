//! Rules for the deadline, over links as between the five cities: which of them takes a living node for
//! dead, and how long each takes to find a dead one. mirror-internals(7) has the table.

use std::collections::VecDeque;

use super::*;

const BOUNDS: Bounds = Bounds { floor: Duration::from_millis(100), max: Duration::from_millis(750) };
const CHECK_MS: f64 = 200.0;
/// As in the shipped fast list.
const TRIES: u32 = 10;
/// The round trips between the five cities, in ms.
const ROUND_TRIPS: [f64; 10] = [45.0, 105.0, 65.0, 38.0, 10.0, 75.0, 88.0, 45.0, 60.0, 55.0];

/// What happens to each frame.
#[derive(Clone, Copy)]
struct Frames {
    jitter_ms: f64,
    late: f64,
    late_ms: f64,
    lost: f64,
}

const WAN: Frames = Frames { jitter_ms: 2.0, late: 0.002, late_ms: 80.0, lost: 0.001 };
const WAN_BAD: Frames = Frames { jitter_ms: 20.0, late: 0.02, late_ms: 150.0, lost: 0.01 };

/// A xorshift generator: the same links at every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Between two nodes. No frame overtakes another one, so what follows a late frame is late too.
struct Path {
    frames: Frames,
    chance: Chance,
    /// When the last frame of each direction arrives.
    arrives: [f64; 2],
}

impl Path {
    fn new(frames: Frames, seed: u64) -> Self {
        Self { frames, chance: Chance(seed), arrives: [0.0; 2] }
    }

    /// When the answer to a try that starts now is there; none when a frame is lost.
    fn answer(&mut self, round_trip_ms: f64, now: f64) -> Option<f64> {
        let Frames { jitter_ms, late, late_ms, lost } = self.frames;
        let mut at = now;
        for arrives in &mut self.arrives {
            if self.chance.next() < lost {
                return None;
            }
            let lateness = if self.chance.next() < late { late_ms } else { 0.0 };
            at = arrives.max(at + round_trip_ms / 2.0 + self.chance.next() * jitter_ms + lateness);
            *arrives = at;
        }
        Some(at)
    }
}

/// A rule for the deadline, in ms.
trait Rule {
    fn times(&self, now: f64) -> Times;
    fn answered(&mut self, latency: f64, waited: f64, now: f64);
    fn unanswered(&mut self, _deadline: f64, _now: f64) {}
    /// How many deadlines in a row make a death, and how long the second may be.
    fn asks_again(&self) -> bool {
        false
    }
}

/// One deadline for all links.
struct Fixed(f64);

impl Rule for Fixed {
    fn times(&self, _: f64) -> Times {
        even(self.0)
    }

    fn answered(&mut self, _: f64, _: f64, _: f64) {}
}

/// The retransmission timer of TCP, doubled after each deadline that has passed.
#[derive(Default)]
struct Rfc6298 {
    round_trip: Option<(f64, f64)>,
    backoff: i32,
    again: bool,
}

impl Rule for Rfc6298 {
    fn times(&self, _: f64) -> Times {
        let (mean, deviation) = self.round_trip.unwrap_or((250.0, 125.0));
        even(((mean + 4.0 * deviation).max(100.0) * 2_f64.powi(self.backoff)).min(750.0))
    }

    fn answered(&mut self, latency: f64, _: f64, _: f64) {
        self.backoff = 0;
        self.round_trip = Some(self.round_trip.map_or((latency, latency / 2.0), |(mean, deviation)| {
            (mean * 0.875 + latency * 0.125, deviation * 0.75 + (mean - latency).abs() * 0.25)
        }));
    }

    fn unanswered(&mut self, _: f64, _: f64) {
        self.backoff += 1;
    }

    fn asks_again(&self) -> bool {
        self.again
    }
}

/// The mean of the last 100 answers, and a margin (Chen) or a quantile (φ accrual).
struct Mean {
    last: VecDeque<f64>,
    margin_ms: f64,
    deviations: f64,
}

impl Rule for Mean {
    fn times(&self, _: f64) -> Times {
        if self.last.is_empty() {
            return even(750.0);
        }
        let count = self.last.len() as f64;
        let mean = self.last.iter().sum::<f64>() / count;
        let variance = self.last.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count;
        even((mean + self.margin_ms + self.deviations * variance.sqrt()).clamp(100.0, 750.0))
    }

    fn answered(&mut self, latency: f64, _: f64, _: f64) {
        self.last.push_back(latency);
        if self.last.len() > 100 {
            self.last.pop_front();
        }
    }
}

impl Rule for Link {
    fn times(&self, now: f64) -> Times {
        Self::times(self, BOUNDS, at(now)).unwrap_or(even(750.0))
    }

    fn answered(&mut self, latency: f64, waited: f64, now: f64) {
        Self::answered(self, from_ms(latency), from_ms(waited), at(now));
    }

    fn unanswered(&mut self, deadline: f64, now: f64) {
        Self::unanswered(self, from_ms(deadline), BOUNDS.max, at(now));
    }
}

/// Five tries at even intervals.
fn even(deadline_ms: f64) -> Times {
    Times { usual: from_ms(deadline_ms / f64::from(TRIES)), deadline: from_ms(deadline_ms) }
}

fn at(ms: f64) -> BootInstant {
    BootInstant::since_boot(from_ms(ms + 10_000.0))
}

fn from_ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

fn to_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Between two living nodes, a check after the other.
struct World<'a> {
    rule: &'a mut dyn Rule,
    path: Path,
    now: f64,
}

impl World<'_> {
    /// The first answer of one probe that comes in time: its latency, and the time since the first try.
    fn probe(&mut self, round_trip: f64, times: Times) -> Option<(f64, f64)> {
        let deadline = to_ms(times.deadline);
        let mut first: Option<(f64, f64)> = None;
        for index in 0..TRIES {
            let start = to_ms(times.start_of_try(index, TRIES));
            if start >= deadline || first.is_some_and(|(_, waited)| waited <= start) {
                break;
            }
            let Some(at) = self.path.answer(round_trip, self.now + start) else { continue };
            let waited = at - self.now;
            if waited <= deadline && first.is_none_or(|(_, before)| waited < before) {
                first = Some((waited - start, waited));
            }
        }
        first
    }

    /// How many living nodes it takes for dead in `checks` checks.
    fn run(&mut self, round_trip: f64, checks: u32) -> u32 {
        let mut deaths = 0;
        for _ in 0..checks {
            let times = self.rule.times(self.now);
            let mut answer = self.probe(round_trip, times);
            if answer.is_none() && self.rule.asks_again() {
                answer = self.probe(round_trip, even(750.0));
            }
            let took = match answer {
                Some((latency, waited)) => {
                    self.rule.answered(latency, waited, self.now);
                    waited
                }
                None => {
                    deaths += 1;
                    self.rule.unanswered(to_ms(times.deadline), self.now);
                    to_ms(times.deadline)
                }
            };
            // A check follows the one before when that has ended.
            self.now += CHECK_MS.max(took);
        }
        deaths
    }
}

/// What a rule does on all links.
#[derive(Debug, Default)]
struct Score {
    /// Living nodes taken for dead, while nothing changes.
    quiet: u32,
    /// The same while all round trips are three times as long, begun `steps` times.
    step: u32,
    /// Until a dead node is found, on average and at most, after the check began.
    mean_ms: f64,
    longest_ms: f64,
}

/// 30 quiet minutes of each link, and then so many times half a minute at three times the round trip and
/// five minutes as before.
fn score(make: &dyn Fn() -> Box<dyn Rule>, frames: Frames, round_trips: &[f64], steps: u32) -> Score {
    let mut score = Score::default();
    for (index, &round_trip) in round_trips.iter().enumerate() {
        let mut rule = make();
        let path = Path::new(frames, 0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1));
        let mut world = World { rule: rule.as_mut(), path, now: 0.0 };
        world.run(round_trip, 600);
        score.quiet += world.run(round_trip, 30 * 60 * 5);
        let deadline = to_ms(world.rule.times(world.now).deadline) + if world.rule.asks_again() { 750.0 } else { 0.0 };
        score.mean_ms += deadline / round_trips.len() as f64;
        score.longest_ms = score.longest_ms.max(deadline);
        for _ in 0..steps {
            score.step += world.run(round_trip * 3.0, 30 * 5);
            score.quiet += world.run(round_trip, 5 * 60 * 5);
        }
    }
    score
}

type Named = (&'static str, Box<dyn Fn() -> Box<dyn Rule>>);

fn rules() -> Vec<Named> {
    let mean = |margin_ms, deviations| {
        move || -> Box<dyn Rule> { Box::new(Mean { last: VecDeque::new(), margin_ms, deviations }) }
    };
    vec![
        ("fixed, 120 ms", Box::new(|| Box::new(Fixed(120.0)))),
        ("fixed, 400 ms", Box::new(|| Box::new(Fixed(400.0)))),
        ("RFC 6298", Box::new(|| Box::new(Rfc6298::default()))),
        ("RFC 6298, then the maximum", Box::new(|| Box::new(Rfc6298 { again: true, ..Rfc6298::default() }))),
        ("Chen, margin 85 ms", Box::new(mean(85.0, 0.0))),
        ("phi accrual, 8", Box::new(mean(0.0, 5.6))),
        ("link", Box::new(|| Box::new(Link::default()))),
    ]
}

#[test]
fn no_living_node_dies_of_distance_and_a_dead_one_is_found_soon() {
    let rule = || -> Box<dyn Rule> { Box::new(Link::default()) };
    let wan = score(&rule, WAN, &ROUND_TRIPS, 60);
    assert_eq!(wan.step, 0, "{wan:?}");
    assert!(wan.quiet <= 1, "{wan:?}");
    assert!(wan.mean_ms < 300.0, "{wan:?}");
    // Two frames of a probe, late or lost on the way there and back, are too late for any deadline.
    let bad = score(&rule, WAN_BAD, &ROUND_TRIPS, 60);
    assert!(bad.quiet <= 10 && bad.step <= 3, "{bad:?}");
}

#[test]
#[ignore = "prints the table of mirror-internals(7)"]
fn table() {
    for (set, frames) in [("wan", WAN), ("wan-bad", WAN_BAD)] {
        for (name, make) in rules() {
            let Score { quiet, step, mean_ms, longest_ms } = score(&make, frames, &ROUND_TRIPS, 200);
            println!(
                "{set:8} {name:28} quiet {quiet:6} step {step:6} found after {mean_ms:4.0} ms, at most {longest_ms:4.0} ms"
            );
        }
    }
}
