//! What the bot itself wrote: the only source of the measurements.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// The time, in ns, by a clock that all processes share and that cannot be set.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One beat.
pub(crate) fn line(node: &str, pid: u32) -> String {
    format!("{} {node} {pid}\n", now())
}

/// One instance of the bot, from its first beat to its last.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) node: String,
    pid: u32,
    first: u64,
    last: u64,
}

/// All beats so far.
pub(crate) struct Beats {
    file: File,
    unread: String,
    /// The instances, in the order of their first beats.
    pub(crate) runs: Vec<Run>,
}

impl Beats {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Ok(Self { file: File::open(path)?, unread: String::new(), runs: Vec::new() })
    }

    /// Reads what has been written since.
    pub(crate) fn read(&mut self) -> Result<()> {
        self.file.read_to_string(&mut self.unread)?;
        while let Some((line, rest)) = self.unread.split_once('\n') {
            let words: Vec<&str> = line.split(' ').collect();
            let [at, node, pid] = words[..] else { anyhow::bail!("{line:?} is no beat") };
            let (at, pid) = (at.parse().context("a beat's time")?, pid.parse().context("a beat's process")?);
            // The latest first, because most beats are from it.
            match self.runs.iter_mut().rev().find(|run| run.pid == pid && run.node == node) {
                Some(run) => run.last = run.last.max(at),
                None => self.runs.push(Run { node: node.to_owned(), pid, first: at, last: at }),
            }
            self.unread = rest.to_owned();
        }
        Ok(())
    }

    /// The instance that began last.
    pub(crate) fn latest(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// Two instances that ran at once.
    pub(crate) fn at_once(&self) -> Option<(&Run, &Run)> {
        let mut runs: Vec<&Run> = self.runs.iter().collect();
        runs.sort_by_key(|run| run.first);
        // Compare with every earlier one, which may have outlived the ones between.
        runs.iter().enumerate().find_map(|(index, later)| {
            runs[..index].iter().find(|earlier| earlier.last >= later.first).map(|earlier| (*earlier, *later))
        })
    }
}

/// From the last beat of one instance to the first of the next.
pub(crate) fn gap(before: &Run, after: &Run) -> Duration {
    Duration::from_nanos(after.first.saturating_sub(before.last))
}
