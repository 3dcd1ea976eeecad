//! What was measured: a row for each scenario and system.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::{Quiet, Recovery};

/// All trials of one scenario with one system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) system: String,
    /// What the outages come to, for people; written, and never read.
    #[serde(skip_deserializing)]
    summary: Summary,
    /// Whether the service was moved on purpose, and nothing had failed.
    pub(crate) planned: bool,
    /// Whether no host just died, so that its outages do not compare with those that did.
    pub(crate) aside: bool,
    /// How many trials there were; one may have several recoveries, or none.
    pub(crate) trials: usize,
    /// How long the service was away each time, in the order of the trials.
    pub(crate) outages_ms: Vec<f64>,
    /// Recoveries that did not come within `patience_s`.
    pub(crate) never: usize,
    pub(crate) patience_s: u64,
    /// Trials in which the service was active on two nodes at once, and for how long in the worst.
    pub(crate) two_at_once: usize,
    pub(crate) longest_two_at_once_ms: f64,
    /// Trials that could not be carried out.
    pub(crate) failed: usize,
    /// Where the service should not have moved at all: how often it did.
    pub(crate) false_alarms: Option<usize>,
    /// Where commits had been breathed out: how many of them were not there afterwards.
    pub(crate) missing: Option<usize>,
    /// Stretches of time in which nothing was done to the hosts.
    pub(crate) stretches: Vec<Stretch>,
}

/// The outages of a row in short; none where that is a recovery that did not come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Summary {
    n: usize,
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
    max_ms: Option<f64>,
}

/// A stretch of time in which nothing was done to the hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stretch {
    pub(crate) seconds: f64,
    /// The longest time without a beat.
    pub(crate) gap_ms: f64,
    /// Processor time of the whole laboratory as a part of one core, the service's own included.
    pub(crate) cpu: f64,
    /// The same of the five nodes alone.
    pub(crate) cpu_of_nodes: f64,
}

impl Row {
    pub(crate) fn new(system: &str, scenario: &str, patience: Duration) -> Self {
        let (system, scenario) = (system.to_owned(), scenario.to_owned());
        Self { system, scenario, patience_s: patience.as_secs(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, recovery: &Recovery) {
        match recovery.outage_ms {
            Some(ms) => self.outages_ms.push((ms * 10.0).round() / 10.0),
            None => self.never += 1,
        }
    }

    /// The service had to stop, and did so this long after.
    pub(crate) fn add_until_stopped(&mut self, after: Duration) {
        self.outages_ms.push((after.as_secs_f64() * 1e4).round() / 10.0);
    }

    pub(crate) fn add_quiet(&mut self, quiet: &Quiet) {
        self.add_false_alarms(quiet.runs.len().saturating_sub(1));
        let &Quiet { seconds, gap_ms, cpu, cpu_of_nodes, .. } = quiet;
        self.stretches.push(Stretch { seconds, gap_ms, cpu, cpu_of_nodes });
    }

    pub(crate) fn add_false_alarms(&mut self, many: usize) {
        *self.false_alarms.get_or_insert(0) += many;
    }

    pub(crate) fn add_missing(&mut self, many: usize) {
        *self.missing.get_or_insert(0) += many;
    }

    pub(crate) fn add_double(&mut self, ms: f64) {
        if ms > 0.0 {
            self.two_at_once += 1;
            self.longest_two_at_once_ms = self.longest_two_at_once_ms.max(ms);
        }
    }

    /// Takes in what another has counted of the same scenario with the same system.
    pub(crate) fn merge(&mut self, other: Self) {
        self.planned |= other.planned;
        self.aside |= other.aside;
        self.trials += other.trials;
        self.outages_ms.extend(other.outages_ms);
        self.never += other.never;
        self.patience_s = self.patience_s.max(other.patience_s);
        self.two_at_once += other.two_at_once;
        self.longest_two_at_once_ms = self.longest_two_at_once_ms.max(other.longest_two_at_once_ms);
        self.failed += other.failed;
        if let Some(many) = other.false_alarms {
            self.add_false_alarms(many);
        }
        if let Some(many) = other.missing {
            self.add_missing(many);
        }
        self.stretches.extend(other.stretches);
    }

    /// How many recoveries there were to be.
    pub(crate) fn n(&self) -> usize {
        self.outages_ms.len() + self.never
    }

    /// The outage that so many of all stay at or below, those that never ended being the longest;
    /// none when that is one of them.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.outages_ms.clone();
        sorted.sort_by(f64::total_cmp);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (part * self.n() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    /// Brings the summary up to date.
    pub(crate) fn sum_up(&mut self) {
        let [median_ms, p95_ms, max_ms] = [0.5, 0.95, 1.0].map(|part| self.quantile(part));
        self.summary = Summary { n: self.n(), median_ms, p95_ms, max_ms };
    }
}
