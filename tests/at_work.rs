//! Who is passed over, and who gets the lead back: what must hold for every history of beats.

use std::time::Duration;

use proptest::prelude::*;
use three_mirror::clock::BootInstant;
use three_mirror::config::Limits;
use three_mirror::leader::at_work::{AtWork, Judge, Others, RELAPSE, STEADY, Watch, Yield};
use three_mirror::leader::beat::{Answer, Assessment, Heard, Sighting};
use three_mirror::name::Name;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

/// The lists of the protocol, of the fast example, and others.
fn limits() -> impl Strategy<Value = Limits> {
    let fixed = |check, timeout, sync| {
        Just(Limits { check: MS(check), timeout: MS(timeout), link: MS(timeout), sync: MS(sync) })
    };
    prop_oneof![
        fixed(5_000, 750, 12_000),
        fixed(200, 120, 12_000),
        fixed(1_000, 750, 12_000),
        (50..20_000_u64, 10..5_000_u64, 1_000..60_000_u64).prop_map(|(check, timeout, sync)| Limits {
            check: MS(check),
            timeout: MS(timeout),
            link: MS(timeout),
            sync: MS(sync)
        }),
    ]
}

fn heard(now: BootInstant, age: Duration, brain: &str) -> Heard {
    Heard {
        sighting: Sighting::new(now, age),
        digest: "d".to_owned(),
        assessment: Assessment { brain: Some(name(brain)), ..Assessment::default() },
        clock_ahead_ms: 0,
    }
}

/// A standby `s` that checks regularly, and what it knows of the brain `l` and of others.
struct Standby {
    watch: Watch,
    limits: Limits,
    steady: bool,
    asked: Vec<Duration>,
}

impl Standby {
    fn new(limits: Limits, steady: bool) -> Self {
        Self { watch: Watch::default(), limits, steady, asked: Vec::new() }
    }

    /// A check at this time; the brain's answer is asked for when that is due. Tells whether the brain is passed over.
    fn check(&mut self, at: Duration, answer: impl FnOnce(BootInstant) -> Answer) -> bool {
        let (l, s) = (name("l"), name("s"));
        let now = BootInstant::since_boot(at);
        if self.watch.is_due(&l, now, &self.limits) {
            self.asked.push(at);
            let judge = Judge { node: Some(&s), digest: "d", steady: self.steady };
            self.watch.learn(&l, answer(now), now, (&judge, true), &self.limits);
        }
        self.passes_over()
    }

    fn passes_over(&self) -> bool {
        self.watch.passed_over().contains(&name("l"))
    }

    /// Others have read no beat of the brain, and so many of them that live could be read.
    fn settle(&mut self, at: Duration, others: Others) -> bool {
        let s = name("s");
        let judge = Judge { node: Some(&s), digest: "d", steady: self.steady };
        self.watch.settle_doubt(&name("l"), BootInstant::since_boot(at), others, &judge, &self.limits);
        self.passes_over()
    }
}

/// How old the last of these beats is.
fn age(beats: &[Duration], at: Duration) -> Option<Duration> {
    let past = beats.partition_point(|beat| *beat <= at);
    Some(at.saturating_sub(*beats.get(past.checked_sub(1)?)?))
}

fn by_beats(beats: &[Duration], at: Duration) -> impl FnOnce(BootInstant) -> Answer {
    let age = age(beats, at);
    move |now| age.map_or(Answer::NoBeat, |age| Answer::Beat(heard(now, age, "l")))
}

/// Times from `first` on, this far apart, each up to a tenth late.
fn ticks(first: Duration, pause: Duration, count: usize, jitter: &[u32]) -> Vec<Duration> {
    (0..count)
        .map(|index| first + pause * u32::try_from(index).expect("few") + pause * jitter[index % jitter.len()] / 1000)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_brain_that_works_at_every_other_check_is_never_passed_over(
        limits in limits(), first in 0..20_000_u64, which in 0..2_usize,
    ) {
        // Exactly every other one: a check that takes its time has the timeout of a probe for it.
        let count = 400 + usize::try_from(u128::from(first) / limits.check.as_millis()).expect("few");
        let beats: Vec<Duration> = ticks(MS(1), limits.check, count, &[0]).into_iter().skip(which).step_by(2).collect();
        let mut standby = Standby::new(limits, true);
        let begin = beats[0] + MS(first);
        for at in ticks(begin, limits.check, 300, &[0]) {
            prop_assert!(!standby.check(at, by_beats(&beats, at)), "at {at:?}");
        }
    }

    #[test]
    fn a_brain_that_stops_is_passed_over_in_time_and_leads_again_at_its_first_fresh_beat(
        limits in limits(), phase in 0..1000_u64, jitter in proptest::collection::vec(0..90_u32, 7),
    ) {
        let pause = limits.check;
        let mut beats = ticks(MS(0), pause, 50, &[0]);
        let last = beats[49];
        let mut standby = Standby::new(limits, true);
        // The last tick may be late by a tenth, and the question be left out that would come early.
        let by = last + limits.stale() + limits.interval() + limits.interval() / 5 + pause;
        let checks = ticks(pause * u32::try_from(phase).expect("small") / 1000, pause, 1500, &jitter);
        for at in checks.iter().copied().take_while(|at| *at <= by) {
            let over = standby.check(at, by_beats(&beats, at));
            prop_assert!(!over || at > last + limits.stale(), "too soon: {:?} after the last beat", at - last);
        }
        prop_assert!(standby.passes_over());

        let back = by + limits.check * 3;
        beats.extend(ticks(back, pause, 1500, &[0]));
        let until = back + limits.interval() + limits.interval() / 5 + pause * 2;
        for at in checks.iter().copied().filter(|at| *at > by).take_while(|at| *at <= until) {
            let over = standby.check(at, by_beats(&beats, at));
            prop_assert!(over || at >= back, "not before it works");
        }
        prop_assert!(standby.check(until, by_beats(&beats, until)) == standby.passes_over());
        prop_assert!(!standby.passes_over());
    }

    #[test]
    fn nobody_plays_ping_pong(limits in limits(), gaps in proptest::collection::vec(1..40_u32, 50)) {
        let mut beats = Vec::new();
        let mut at = Duration::ZERO;
        for gap in gaps.iter().cycle() {
            if at > Duration::from_secs(3600) || beats.len() > 20_000 {
                break;
            }
            beats.push(at);
            at += limits.check * *gap;
        }
        let mut standby = Standby::new(limits, true);
        let mut changes: Vec<Duration> = Vec::new();
        let (mut now, mut over) = (Duration::ZERO, false);
        while now < at.min(Duration::from_secs(3600)) {
            let after = standby.check(now, by_beats(&beats, now));
            if after != over {
                changes.push(now);
            }
            (over, now) = (after, now + limits.check.max(Duration::from_millis(500)));
        }
        // Passed over and back at once the first time; from then on each return takes a steady while, or
        // it comes long after the last one.
        for return_ in changes.iter().skip(1).step_by(2).collect::<Vec<_>>().windows(2) {
            prop_assert!(*return_[1] - *return_[0] >= STEADY.min(RELAPSE), "{changes:?}");
        }
        let most = 3 + 2 * at.as_secs() / STEADY.as_secs();
        prop_assert!(changes.len() as u64 <= most, "{} changes in {at:?}", changes.len());
    }

    #[test]
    fn there_is_one_question_in_an_interval(limits in limits(), pauses in proptest::collection::vec(1..3000_u64, 200)) {
        let mut standby = Standby::new(limits, true);
        let mut at = Duration::ZERO;
        for pause in pauses {
            standby.check(at, |now| Answer::Beat(heard(now, Duration::ZERO, "l")));
            at += MS(pause);
        }
        let interval = limits.interval();
        prop_assert!(interval >= Duration::from_secs(2) && interval >= limits.check);
        for (index, first) in standby.asked.iter().enumerate() {
            for (number, later) in standby.asked.iter().skip(index).enumerate() {
                let number = u32::try_from(number).expect("few");
                prop_assert!(*later - *first + interval / 10 >= interval * number, "{:?}", standby.asked);
            }
        }
    }

    #[test]
    fn doubt_passes_over_only_whom_nobody_has_heard_lately(
        limits in limits(), own in proptest::option::of(0..60_000_u64), told in proptest::option::of(0..60_000_u64),
        living in 0..4_usize, read in 0..4_usize, steady: bool,
    ) {
        let read = read.min(living);
        let mut standby = Standby::new(limits, steady);
        let (l, begin) = (name("l"), Duration::from_secs(1000));
        let (now, later) = (BootInstant::since_boot(begin), begin + limits.interval() * 4);
        for earlier in (1..limits.first_questions()).rev() {
            let at = later - limits.interval() * earlier;
            prop_assert!(!standby.check(at, |_| Answer::Unreadable("slow".to_owned())));
            prop_assert!(!standby.settle(at, Others { living: 3, read: 3 }), "there is time to log in");
        }
        if let Some(own) = own.map(MS) {
            // It was fresh when it was read.
            let read_at = BootInstant::since_boot(later.saturating_sub(own));
            let s = name("s");
            let judge = Judge { node: Some(&s), digest: "d", steady };
            standby.watch.learn(&l, Answer::Beat(heard(read_at, Duration::ZERO, "l")), read_at, (&judge, true), &limits);
        }
        if let Some(told) = told.map(MS) {
            standby.watch.hear(&l, Sighting::new(BootInstant::since_boot(later), told), BootInstant::since_boot(later), &limits);
        }
        prop_assert!(!standby.check(later, |_| Answer::Unreadable("refused".to_owned())), "{now:?}");
        let over = standby.settle(later, Others { living, read });
        let heard_lately = own.into_iter().chain(told).any(|age| MS(age) <= limits.silent());
        let can_read = if living == 0 { own.is_some() } else { read > 0 };
        prop_assert_eq!(over, steady && !heard_lately && can_read);
        prop_assert_eq!(standby.watch.at_work(&l, BootInstant::since_boot(later), &limits) == AtWork::No, over);
    }

    #[test]
    fn where_no_watchdog_ran_alive_is_enough(limits in limits()) {
        let mut standby = Standby::new(limits, false);
        for at in ticks(MS(0), limits.check, 50, &[0]) {
            prop_assert!(!standby.check(at, |_| Answer::NoBeat));
        }
        let mut standby = Standby::new(limits, true);
        prop_assert!(standby.check(MS(0), |_| Answer::NoBeat));
    }

    #[test]
    fn one_failed_question_passes_nobody_over(limits in limits(), lost in 0..100_usize, others in 0..4_usize) {
        let mut standby = Standby::new(limits, true);
        let checks = ticks(MS(0), limits.check.max(Duration::from_secs(2)), 100, &[0]);
        let count = usize::try_from(checks[99].as_millis() / limits.check.as_millis()).expect("not too many") + 1;
        let beats = ticks(MS(0), limits.check, count, &[0]);
        for (index, at) in checks.into_iter().enumerate() {
            let answer = |now| if index == lost { Answer::Unreadable("lost".to_owned()) } else { by_beats(&beats, at)(now) };
            prop_assert!(!standby.check(at, answer));
            if index > 0 {
                let over = standby.settle(at, Others { living: others, read: others });
                prop_assert!(!over);
            }
        }
    }
}

/// The watch of a node with this name, list and mind, after it has read that `z` leads.
fn reads_that_z_leads(digest_of_z: &str, passed_over: &[&str]) -> (Watch, Limits, BootInstant) {
    let limits = Limits { check: MS(5000), timeout: MS(750), link: MS(750), sync: MS(12_000) };
    let (now, l) = (BootInstant::since_boot(Duration::from_secs(100)), name("l"));
    let mut watch = Watch::default();
    let passed_over = passed_over.iter().map(|node| name(node)).collect();
    let mut beat = Heard { digest: digest_of_z.to_owned(), ..heard(now, MS(10), "z") };
    beat.assessment.passed_over = passed_over;
    let judge = Judge { node: Some(&l), digest: "m", steady: true };
    watch.learn(&name("z"), Answer::Beat(beat), now, (&judge, false), &limits);
    (watch, limits, now)
}

#[test]
fn a_node_yields_to_one_that_leads_in_its_place_and_to_the_smaller_digest() {
    let l = name("l");
    let judge = Judge { node: Some(&l), digest: "m", steady: true };
    let yields = |digest: &str, over: &[&str]| {
        let (watch, limits, now) = reads_that_z_leads(digest, over);
        watch.yields(&judge, |_| true, now, &limits)
    };
    assert_eq!(yields("m", &["l"]), Some(Yield::Returning(name("z"))));
    assert_eq!(yields("m", &[]), None, "it sees this node dead, and may be cut off itself");
    assert_eq!(yields("a", &[]), Some(Yield::OtherList(name("z"), "a".to_owned())));
    assert_eq!(yields("z", &["l"]), None, "the smaller digest goes on");

    let (watch, limits, now) = reads_that_z_leads("m", &["l"]);
    assert_eq!(watch.yields(&judge, |_| false, now, &limits), None, "the dead lead nobody");
    let late = now.plus(limits.silent());
    assert_eq!(watch.yields(&judge, |_| true, late, &limits), None, "nor those whose word is old");
}

#[test]
fn a_brain_is_suspect_once_nobody_has_had_a_beat_of_it_for_long_enough() {
    let (watch, limits, read) = reads_that_z_leads("m", &[]);
    let (z, l) = (name("z"), name("l"));
    let is_suspect = |steady: bool, after: Duration| {
        let judge = Judge { node: Some(&l), digest: "m", steady };
        watch.is_suspect(&z, read.plus(after), &judge, &limits)
    };
    assert!(!is_suspect(true, limits.silent() - MS(11)));
    assert!(is_suspect(true, limits.silent()));
    assert!(!is_suspect(false, limits.silent()), "one that has only just begun judges nobody");
    let mut watch = watch.clone();
    watch.is_due(&z, read.plus(limits.silent()), &limits);
    let judge = Judge { node: Some(&l), digest: "m", steady: true };
    assert!(!watch.is_suspect(&z, read.plus(limits.silent()), &judge, &limits), "it was asked a moment ago");
}

#[test]
fn the_times_are_those_that_are_published() {
    let slow = Limits { check: MS(5000), timeout: MS(750), link: MS(750), sync: MS(12_000) };
    assert_eq!((slow.stale(), slow.interval(), slow.silent()), (MS(10_750), MS(5000), MS(10_750)));
    assert_eq!((slow.answer(), slow.round()), (MS(3000), MS(12_000)));
    let fast = Limits { check: MS(200), timeout: MS(120), link: MS(120), sync: MS(12_000) };
    assert_eq!((fast.stale(), fast.interval(), fast.silent()), (MS(2000), MS(2000), MS(2320)));
    assert_eq!((fast.answer(), fast.round()), (MS(1000), MS(12_000)));
}
