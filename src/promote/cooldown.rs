//! Which nodes are passed over because a start failed there or did not last, and until when.
//!
//! ```text
//! failed ── base ── tried ─ failed ── 2 × base ── tried ─ failed ── 4 × base … ── MAX_COOLDOWN
//!                     └ healthy for `window`: forgotten
//! ```
//!
//! A service that is found dead on a node more than `restarts` times in `window` counts as one that did
//! not start there. Where every living node cools down, the service is tried again all the same, at
//! growing intervals.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::config::{Config, Failback, Service};
use crate::name::Name;
use crate::state::{Cooldown, FailureHistory, Retry};

/// The first cool-down where `failback` is no time.
const DEFAULT_COOLDOWN: Duration = Duration::from_secs(60);
/// The longest cool-down, where `failback` is not longer.
const MAX_COOLDOWN: Duration = Duration::from_secs(3600);
/// The longest pause between two tries of a service that can run nowhere.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);

/// The times by which failures are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// The first cool-down.
    pub base: Duration,
    /// How often it may be found stopped in `window` until that counts as a failed start.
    pub restarts: u32,
    /// The time in which deaths count, and after which a start has lasted.
    pub window: Duration,
    /// The first pause between two tries.
    pub retry: Duration,
}

impl Rules {
    pub(super) fn new(config: &Config, service: &Service) -> Self {
        let base = match service.failback {
            Failback::Always | Failback::Never => DEFAULT_COOLDOWN,
            Failback::After(wait) => wait,
        };
        Self { base, restarts: service.restarts, window: service.window, retry: config.cycle.check }
    }

    /// A start failed on a node.
    pub(super) fn start_failed(&self, history: &mut FailureHistory, node: &Name, why: &str, now: BootInstant) {
        let failures = history.cooldowns.get(node).map_or(0, |cooldown| cooldown.failures).saturating_add(1);
        let length = doubled(self.base, failures - 1, MAX_COOLDOWN.max(self.base));
        let cooldown = Cooldown { since: now, until: now.plus(length), failures, why: why.to_owned() };
        history.cooldowns.insert(node.clone(), cooldown);
    }

    /// The service was found dead on a node where it had been started. Tells whether that counts as a
    /// failed start.
    pub(super) fn found_stopped(&self, history: &mut FailureHistory, node: &Name, now: BootInstant) -> bool {
        let deaths = history.deaths.entry(node.clone()).or_default();
        deaths.retain(|death| death.until(now) < self.window);
        deaths.push(now);
        let most = usize::try_from(self.restarts).unwrap_or(usize::MAX);
        let too_often = deaths.len() > most;
        // One more than `restarts` is all that is ever asked for.
        let surplus = deaths.len().saturating_sub(most.saturating_add(1));
        deaths.drain(..surplus);
        if too_often {
            let window = humantime::format_duration(self.window);
            let times = if self.restarts == 0 { "dead".to_owned() } else { format!("dead {} times", most + 1) };
            self.start_failed(history, node, &format!("it was found {times} within {window}"), now);
        }
        too_often
    }

    /// The service runs well on a node since then: once that has lasted, all is forgotten.
    pub(super) fn runs_well(&self, history: &mut FailureHistory, node: &Name, since: BootInstant, now: BootInstant) {
        if since.until(now) >= self.window {
            history.cooldowns.remove(node);
            history.deaths.remove(node);
            history.retry = None;
        }
    }

    /// Every node cools down, and one is tried all the same.
    pub(super) fn retried(&self, history: &mut FailureHistory, now: BootInstant) {
        let tries = history.retry.map_or(0, |retry| retry.tries).saturating_add(1);
        let next = now.plus(doubled(self.retry, tries - 1, MAX_RETRY_PAUSE));
        history.retry = Some(Retry { tries, next });
    }
}

/// A person wants the node, or a start there has just gone well: it is passed over no longer. The next
/// failure there still counts as one more.
pub(super) fn end_early(history: &mut FailureHistory, node: &Name, now: BootInstant) {
    if let Some(cooldown) = history.cooldowns.get_mut(node) {
        cooldown.until = cooldown.until.min(now);
    }
}

/// Whether a node is passed over.
pub(super) fn cools_down(history: &FailureHistory, node: &Name, now: BootInstant) -> bool {
    history.cooldowns.get(node).is_some_and(|cooldown| cooldown.until > now)
}

/// The nodes that are passed over.
pub(super) fn cooling(history: &FailureHistory, now: BootInstant) -> impl Iterator<Item = (&Name, &Cooldown)> {
    history.cooldowns.iter().filter(move |(_, cooldown)| cooldown.until > now)
}

/// When a service that can run nowhere is tried again; none where it may be at once.
pub(super) fn next_try(history: &FailureHistory, now: BootInstant) -> Option<BootInstant> {
    history.retry.map(|retry| retry.next).filter(|next| *next > now)
}

/// The length doubled so many times, but no longer than the longest.
fn doubled(length: Duration, times: u32, longest: Duration) -> Duration {
    length.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        base: Duration::from_secs(60),
        restarts: 3,
        window: Duration::from_secs(300),
        retry: Duration::from_secs(5),
    };

    fn at(seconds: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs(seconds))
    }

    fn node() -> Name {
        "a".parse().expect("a name")
    }

    #[test]
    fn each_failure_doubles_the_cooldown_up_to_an_hour() {
        let mut history = FailureHistory::default();
        let mut now = 0;
        for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            RULES.start_failed(&mut history, &node(), "no room", at(now));
            assert!(cools_down(&history, &node(), at(now + wait - 1)), "{wait}");
            now += wait;
            assert!(!cools_down(&history, &node(), at(now)), "{wait}");
        }
        assert_eq!(history.cooldowns[&node()].failures, 8);
    }

    #[test]
    fn a_start_that_lasts_clears_it_and_a_person_ends_it() {
        let mut history = FailureHistory::default();
        RULES.start_failed(&mut history, &node(), "no room", at(0));
        end_early(&mut history, &node(), at(10));
        assert!(!cools_down(&history, &node(), at(10)));
        RULES.runs_well(&mut history, &node(), at(10), at(309));
        assert_eq!(history.cooldowns[&node()].failures, 1);
        RULES.runs_well(&mut history, &node(), at(10), at(310));
        assert_eq!(history, FailureHistory::default());
    }

    #[test]
    fn the_death_after_the_last_restart_is_a_failed_start() {
        let mut history = FailureHistory::default();
        let died: Vec<bool> = [0, 10, 20, 30].map(|now| RULES.found_stopped(&mut history, &node(), at(now))).into();
        assert_eq!(died, [false, false, false, true]);
        assert!(cools_down(&history, &node(), at(89)));
        assert!(RULES.found_stopped(&mut history, &node(), at(100)), "the earlier ones still count");
        assert_eq!(history.cooldowns[&node()].failures, 2);
        let mut slow = FailureHistory::default();
        for now in 0..10 {
            assert!(!RULES.found_stopped(&mut slow, &node(), at(now * 100)), "only so many in a window count");
        }
    }

    #[test]
    fn tries_become_rarer_but_never_rarer_than_once_a_minute() {
        let mut history = FailureHistory::default();
        let mut now = 1000;
        assert_eq!(next_try(&history, at(now)), None, "the first is at once");
        for pause in [5, 10, 20, 40, 60, 60] {
            RULES.retried(&mut history, at(now));
            assert_eq!(next_try(&history, at(now)), Some(at(now + pause)));
            now += pause;
            assert_eq!(next_try(&history, at(now)), None);
        }
    }
}
