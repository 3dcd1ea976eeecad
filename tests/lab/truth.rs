//! Outages and double activity, from the service's own beats and from nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// A service that has not beaten for so long is not active: it is frozen, or gone.
const SILENT: u64 = 100_000_000;
/// The time between two beats, for which each of them stands.
const BEAT: u64 = 10_000_000;
const BEAT_MS: f64 = 10.0;

/// Now, in nanoseconds of the monotonic clock, which all hosts of a lab share.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One run of the service: a process on a node. Its start tells it from an earlier one that bore the
/// same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) node: String,
    pub(crate) pid: u32,
    pub(crate) begun: u64,
}

/// One sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Beat {
    pub(crate) at: u64,
    /// The place of its run in [`Truth::runs`].
    run: usize,
}

/// How a beat is written.
pub(crate) fn line(at: u64, node: &str, pid: u32, begun: u64) -> String {
    format!("{at} {node} {pid} {begun}\n")
}

/// The file of beats, as far as it has been read.
pub(crate) struct Truth {
    file: File,
    rest: String,
    beats: Vec<Beat>,
    runs: Vec<Run>,
}

impl Truth {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self { file, rest: String::new(), beats: Vec::new(), runs: Vec::new() })
    }

    /// Reads what has come since.
    pub(crate) fn read(&mut self) -> Result<&mut Self> {
        self.file.read_to_string(&mut self.rest)?;
        // A writer that was preempted between its clock and its write is a little out of order.
        let settled = self.beats.len().saturating_sub(5000);
        let end = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let lines: String = self.rest.drain(..end).collect();
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [at, node, pid, begun] = words.as_slice() else { anyhow::bail!("no beat: {line}") };
            let run = Run { node: (*node).to_owned(), pid: pid.parse()?, begun: begun.parse()? };
            let known = self.runs.iter().rposition(|known| *known == run);
            let run = known.unwrap_or_else(|| {
                self.runs.push(run);
                self.runs.len() - 1
            });
            self.beats.push(Beat { at: at.parse()?, run });
        }
        self.beats[settled..].sort_by_key(|beat| beat.at);
        Ok(self)
    }

    fn since(&self, from: u64) -> &[Beat] {
        &self.beats[self.beats.partition_point(|beat| beat.at < from)..]
    }

    /// The run that beat last, if that was no longer ago than a running service lets pass.
    pub(crate) fn serving(&self) -> Option<&Run> {
        self.beats.last().filter(|beat| now().saturating_sub(beat.at) < SILENT).map(|beat| &self.runs[beat.run])
    }

    /// The runs that beat just now; several when several are active, or one has followed another.
    pub(crate) fn active(&self) -> Vec<Run> {
        self.runs_since(now().saturating_sub(SILENT))
    }

    /// The first beat at or after `from` of a run that is none of `old`: who, and when.
    pub(crate) fn first_other(&self, from: u64, old: &[Run]) -> Option<(&Run, u64)> {
        let beat = self.since(from).iter().find(|beat| !old.contains(&self.runs[beat.run]))?;
        Some((&self.runs[beat.run], beat.at))
    }

    /// The last beat of a run.
    pub(crate) fn last_of(&self, run: &Run) -> Option<u64> {
        self.beats.iter().rev().find(|beat| self.runs[beat.run] == *run).map(|beat| beat.at)
    }

    /// The runs that beat at or after `from`, in the order of their first beat there.
    pub(crate) fn runs_since(&self, from: u64) -> Vec<Run> {
        let mut runs: Vec<usize> = Vec::new();
        for beat in self.since(from) {
            if !runs.contains(&beat.run) {
                runs.push(beat.run);
            }
        }
        runs.into_iter().map(|run| self.runs[run].clone()).collect()
    }

    /// The longest time between two beats of any run since `from`; until now when none came.
    pub(crate) fn longest_gap(&self, from: u64) -> Duration {
        let beats = self.since(from);
        let last = beats.last().map_or(from, |beat| beat.at);
        let first = beats.first().map_or(0, |beat| beat.at - from);
        let inner = beats.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(0);
        Duration::from_nanos(inner.max(first).max(now().saturating_sub(last)))
    }

    /// For how many milliseconds since `from` the service was active on two nodes or more at once:
    /// 10 for each hundredth of a second in which a beat falls between two beats of a run on another
    /// node, unless that run was silent just then.
    pub(crate) fn double_ms(&self, from: u64) -> f64 {
        let beats = self.since(from);
        let mut uptimes: Vec<(usize, u64, u64)> = Vec::new();
        for beat in beats {
            match uptimes.iter_mut().rev().find(|span| span.0 == beat.run) {
                Some(span) if beat.at - span.2 < SILENT => span.2 = beat.at,
                _ => uptimes.push((beat.run, beat.at, beat.at)),
            }
        }
        let mut double: BTreeSet<u64> = BTreeSet::new();
        for (run, first, last) in uptimes {
            let inside =
                beats[beats.partition_point(|beat| beat.at <= first)..].iter().take_while(|beat| beat.at < last);
            let others = inside.filter(|beat| self.runs[beat.run].node != self.runs[run].node);
            double.extend(others.map(|beat| beat.at / BEAT));
        }
        double.iter().fold(0.0, |sum, _| sum + BEAT_MS)
    }
}
