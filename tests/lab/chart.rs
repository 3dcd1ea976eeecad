//! What was measured, as a table, as JSON and as a picture.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::scenario::{Quiet, Recovery};

/// All trials of one scenario with one system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) scenario: String,
    /// How long each recovery took, in ms, in the order of the trials.
    pub(crate) outages_ms: Vec<f64>,
    /// Recoveries that did not come within `patience_s`.
    pub(crate) never: usize,
    pub(crate) patience_s: u64,
    /// Trials in which the service was active on two nodes at once, and for how long in the worst.
    pub(crate) doubles: usize,
    pub(crate) double_ms: f64,
    /// Trials that could not be carried out.
    pub(crate) failed: usize,
    /// Where nothing was done to the hosts: how often the service moved, the longest time without a
    /// beat, and the processor time of all hosts as a part of one core.
    pub(crate) false_failovers: Option<usize>,
    pub(crate) gap_ms: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

impl Row {
    pub(crate) fn new(system: &str, scenario: &str, patience: Duration) -> Self {
        Self {
            system: system.to_owned(),
            scenario: scenario.to_owned(),
            outages_ms: Vec::new(),
            never: 0,
            patience_s: patience.as_secs(),
            doubles: 0,
            double_ms: 0.0,
            failed: 0,
            false_failovers: None,
            gap_ms: None,
            cpu: None,
        }
    }

    pub(crate) fn add(&mut self, recovery: &Recovery) {
        match recovery.outage_ms {
            Some(ms) => self.outages_ms.push(ms),
            None => self.never += 1,
        }
        self.doubled(recovery.double_ms);
    }

    pub(crate) fn add_quiet(&mut self, quiet: &Quiet) {
        self.false_failovers = Some(quiet.runs.len().saturating_sub(1));
        self.gap_ms = Some(quiet.gap_ms);
        self.cpu = Some(quiet.cpu);
        self.doubled(quiet.double_ms);
    }

    fn doubled(&mut self, ms: f64) {
        if ms > 0.0 {
            self.doubles += 1;
            self.double_ms = self.double_ms.max(ms);
        }
    }

    /// The outage that so many of all trials stay at or below, those that never ended being the
    /// longest; none when that is one of them.
    fn quantile(&self, part: f64) -> Option<f64> {
        let mut sorted = self.outages_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() + self.never;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (part * count as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    pub(crate) fn line(&self) -> String {
        let (system, scenario) = (&self.system, &self.scenario);
        let mut line = format!("{scenario:<21} {system:<16}");
        if let (Some(moves), Some(gap), Some(cpu)) = (self.false_failovers, self.gap_ms, self.cpu) {
            let _ = write!(line, " moved {moves} times, longest gap {gap:.0} ms, {:.1} % of a core", cpu * 100.0);
        } else {
            let shown = |part| match self.quantile(part) {
                Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
                Some(ms) => format!("{:.2} s", ms / 1000.0),
                None => format!("> {} s", self.patience_s),
            };
            let n = self.outages_ms.len() + self.never;
            if n > 0 {
                let _ = write!(line, " {n:>4} {:>9} {:>9} {:>9}", shown(0.5), shown(0.95), shown(1.0));
            }
        }
        if self.doubles > 0 {
            let _ = write!(line, "  two at once in {}, up to {:.0} ms", self.doubles, self.double_ms);
        }
        if self.failed > 0 {
            let _ = write!(line, "  {} not carried out", self.failed);
        }
        line
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table =
        format!("{:<21} {:<16} {:>4} {:>9} {:>9} {:>9}\n", "scenario", "system", "n", "median", "p95", "max");
    for row in rows {
        table += &row.line();
        table.push('\n');
    }
    table
}

/// Writes `recovery.json` and `recovery.svg`.
pub(crate) fn write(directory: &Path, rows: &[Row]) -> Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("recovery.json"), serde_json::to_string_pretty(rows)? + "\n")?;
    fs::write(directory.join("recovery.svg"), picture(rows))?;
    Ok(())
}

const LEFT: f64 = 150.0;
const WIDTH: f64 = 640.0;
const TOP: f64 = 30.0;
const ROW: f64 = 44.0;
/// The axis, in ms; its last part is for what never ended.
const FROM: f64 = 20.0;
const UNTIL: f64 = 60_000.0;

fn x(ms: f64) -> f64 {
    LEFT + WIDTH * (ms.clamp(FROM, UNTIL) / FROM).ln() / (UNTIL / FROM).ln()
}

/// A strip of all outages for each system, on a logarithmic scale: a dot an outage, a bar at the
/// median, a cross at the right for each that never ended.
fn picture(rows: &[Row]) -> String {
    let mut systems: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.false_failovers.is_none()) {
        if !systems.contains(&row.system.as_str()) {
            systems.push(&row.system);
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let bottom = TOP + ROW * systems.len() as f64;
    let (width, height) = (LEFT + WIDTH + 60.0, bottom + 44.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>Time without service after hosts died, by system</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (ms, label) in [(20.0, "20 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s"), (60_000.0, "1 min")] {
        let (x, colour) = (x(ms), if ms == 10_000.0 { "#c33" } else { "#ccc" });
        let _ = writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"{colour}\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#333\">{label}</text>",
            bottom + 16.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">time without service; red: what the protocol promises; \
         ×: not recovered</text>",
        bottom + 36.0
    );
    for (place, system) in systems.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let middle = TOP + ROW * (place as f64 + 0.5);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#111\">{system}</text>",
            LEFT - 10.0,
            middle + 4.0
        );
        let mut all = Row::new(system, "", Duration::ZERO);
        for row in rows.iter().filter(|row| row.system == *system && row.false_failovers.is_none()) {
            all.outages_ms.extend(&row.outages_ms);
            all.never += row.never;
        }
        for (number, ms) in all.outages_ms.iter().enumerate() {
            let y = middle + jitter(number);
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.2\" fill=\"#27c\" fill-opacity=\"0.45\"/>",
                x(*ms)
            );
        }
        for number in 0..all.never {
            let (x, y) = (LEFT + WIDTH + 14.0 + jitter(number), middle + jitter(number + 5));
            let _ = writeln!(svg, "<path d=\"M{:.1} {:.1}l6 6m0 -6l-6 6\" stroke=\"#c33\"/>", x - 3.0, y - 3.0);
        }
        if let Some(median) = all.quantile(0.5) {
            let (x, y) = (x(median), middle - 15.0);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}v30\" stroke=\"#111\" stroke-width=\"2\"/>");
        }
    }
    svg + "</svg>\n"
}

/// The same for the same number, so that the picture changes only with the figures.
fn jitter(number: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let spread = (number * 7919 % 100) as f64;
    spread / 100.0 * 22.0 - 11.0
}
