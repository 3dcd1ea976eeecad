//! How long the reads of the last minute took. Pure: no clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::BootInstant;

/// What counts as lately.
const MAX_READ_AGE: Duration = Duration::from_secs(60);
/// More reads are not kept, however short the interval is.
const MAX_READS: usize = 10_000;

/// The reads of the last minute.
#[derive(Clone, Debug, Default)]
pub struct ReadTimes {
    /// When each ended, and what it took; none for a read without an answer.
    reads: VecDeque<(BootInstant, Option<Duration>)>,
}

/// The reads of the last minute, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSummary {
    /// How many were answered.
    pub answered: usize,
    /// How many were not.
    pub failed: usize,
    /// The shortest, the median and the longest of those that were answered; none if none was.
    pub times: Option<[Duration; 3]>,
}

impl ReadTimes {
    /// Adds a read that ended at `ended`; `took` is none if it was not answered.
    pub fn add(&mut self, ended: BootInstant, took: Option<Duration>) {
        self.forget_before(ended);
        if self.reads.len() >= MAX_READS {
            self.reads.pop_front();
        }
        self.reads.push_back((ended, took));
    }

    /// The reads that ended within the minute before `now`.
    pub fn summary(&mut self, now: BootInstant) -> ReadSummary {
        self.forget_before(now);
        let mut took: Vec<Duration> = self.reads.iter().filter_map(|(_, took)| *took).collect();
        took.sort_unstable();
        let times = match took.as_slice() {
            [] => None,
            [shortest, ..] => Some([*shortest, took[(took.len() - 1) / 2], took[took.len() - 1]]),
        };
        ReadSummary { answered: took.len(), failed: self.reads.len() - took.len(), times }
    }

    fn forget_before(&mut self, now: BootInstant) {
        while self.reads.front().is_some_and(|(ended, _)| ended.until(now) > MAX_READ_AGE) {
            self.reads.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs(seconds))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn only_the_last_minute_counts() {
        let mut reads = ReadTimes::default();
        assert_eq!(reads.summary(at(1)), ReadSummary { answered: 0, failed: 0, times: None });
        reads.add(at(10), Some(ms(900)));
        reads.add(at(20), Some(ms(30)));
        reads.add(at(30), None);
        reads.add(at(40), Some(ms(10)));
        reads.add(at(50), Some(ms(20)));
        let summary = |times| ReadSummary { answered: 4, failed: 1, times: Some(times) };
        assert_eq!(reads.summary(at(60)), summary([ms(10), ms(20), ms(900)]));
        let later = ReadSummary { answered: 3, failed: 1, times: Some([ms(10), ms(20), ms(30)]) };
        assert_eq!(reads.summary(at(75)), later);
        assert_eq!(reads.summary(at(200)), ReadSummary { answered: 0, failed: 0, times: None });
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut reads = ReadTimes::default();
        for _ in 0..MAX_READS + 5 {
            reads.add(at(1), Some(ms(1)));
        }
        assert_eq!(reads.summary(at(1)).answered, MAX_READS);
    }
}
