//! The times by which a node is at work or not, derived from the node list.

use std::time::Duration;

use super::model::Config;

/// Nobody is asked more often, and no beat is stale sooner.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// What an answer may take at least: a login over a long link takes more than a second.
const MIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// And at most.
const MAX_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The times of the rule.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From one check to the next.
    pub check: Duration,
    /// The deadline of a probe, on any link.
    pub timeout: Duration,
    /// The same on the slowest link, as far as the links are known.
    pub link: Duration,
    /// From one breath to the next.
    pub sync: Duration,
}

impl Limits {
    /// By the node list, and what is known of the links.
    pub fn of(config: &Config) -> Self {
        let longest = config.nodes.values().map(|node| node.probe.deadline()).max();
        let link = longest.unwrap_or(config.probe_timeout).min(config.probe_timeout);
        Self { link, ..Self::worst(config) }
    }

    /// By the node list alone.
    pub fn worst(config: &Config) -> Self {
        let timeout = config.probe_timeout;
        Self { check: config.cycle.check, timeout, link: timeout, sync: config.cycle.sync }
    }

    /// A node whose last beat is older is not at work.
    pub fn stale(&self) -> Duration {
        (self.check * 2 + self.timeout).max(MIN_INTERVAL)
    }

    /// From one question to the same node to the next.
    pub fn interval(&self) -> Duration {
        self.check.max(MIN_INTERVAL)
    }

    /// A node whose beat cannot be had now is passed over only when the last beat that anybody has had of it is older
    /// than this.
    pub fn silent(&self) -> Duration {
        (self.interval() + self.check + self.timeout).max(self.stale())
    }

    /// What an answer may take.
    pub fn answer(&self) -> Duration {
        (self.link * 4).clamp(MIN_ANSWER_TIMEOUT, self.longest_answer())
    }

    /// The same of a node that has not answered yet: on a busy machine a login takes seconds, and under a
    /// timer it ends with the check. Where checks are rare, half of the time between two of them; where they
    /// are frequent it goes on by itself, and no check waits for it.
    pub fn first_answer(&self) -> Duration {
        if self.is_frequent() { self.answer() } else { self.longest_answer() }
    }

    /// How many questions a node that has never answered may leave unanswered until there is doubt.
    pub fn first_questions(&self) -> u32 {
        if self.is_frequent() { 3 } else { 1 }
    }

    fn longest_answer(&self) -> Duration {
        MAX_ANSWER_TIMEOUT.max(self.check / 2)
    }

    fn is_frequent(&self) -> bool {
        self.check < MIN_INTERVAL
    }

    /// The longest time from the last beat of a brain that stops working until a standby leads: the beat is
    /// just not stale when it is read, it is read again one interval later, and the answer takes its time.
    pub fn takeover(&self) -> Duration {
        self.stale() + self.interval() + self.answer()
    }

    /// From one look around of the brain to the next.
    pub fn round(&self) -> Duration {
        self.sync.max(self.interval())
    }
}
