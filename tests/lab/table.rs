//! The rows for people: a line for the terminal, and a table in Markdown for the README.

use std::fmt::Write as _;

use crate::tally::{Row, Stretch};

const PARTS: [f64; 3] = [0.5, 0.95, 1.0];

/// A row as a line.
pub(crate) fn line(row: &Row) -> String {
    let mut line = format!("{:<42} {:<16}", row.scenario, row.system);
    if row.n() > 0 {
        let _ = write!(line, " n {:>3}", row.n());
        for (name, part) in ["median", "p95", "max"].iter().zip(PARTS) {
            let _ = write!(line, "  {name} {:>7}", outage(row, part));
        }
    }
    if let Some(stretch) = worst(row) {
        let Stretch { gap_ms, .. } = stretch;
        let _ = write!(line, " {:.0} s, longest gap {gap_ms:.0} ms, {}", seconds(row), cpu(row));
    }
    if let Some(many) = row.false_alarms {
        let _ = write!(line, ", {many} false alarms");
    }
    if let Some(many) = row.missing {
        let _ = write!(line, ", {many} commits missing");
    }
    if row.two_at_once > 0 {
        let _ = write!(line, ", two at once in {}, up to {:.0} ms", row.two_at_once, row.longest_two_at_once_ms);
    }
    if row.failed > 0 {
        let _ = write!(line, ", {} not carried out", row.failed);
    }
    line
}

/// All rows as two tables.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text =
        "| scenario | system | n | median | p95 | max | two at once |\n|---|---|--:|--:|--:|--:|--:|\n".to_owned();
    for row in rows.iter().filter(|row| row.n() > 0) {
        let _ = write!(text, "| {} | {} | {} |", row.scenario, row.system, row.n());
        for part in PARTS {
            let _ = write!(text, " {} |", outage(row, part));
        }
        text += &format!(" {} |\n", doubles(row));
    }
    text += "\n| nothing fails | system | time | false alarms | two at once | longest gap | CPU, nodes | CPU, all |\n";
    text += "|---|---|--:|--:|--:|--:|--:|--:|\n";
    for row in rows {
        let Some(Stretch { gap_ms, .. }) = worst(row) else { continue };
        let of_nodes = mean(row, |stretch| stretch.cpu_of_nodes);
        let of_all = mean(row, |stretch| stretch.cpu);
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} s | {} | {} | {gap_ms:.0} ms | {:.1} % | {:.1} % |",
            row.scenario,
            row.system,
            seconds(row),
            row.false_alarms.unwrap_or(0),
            doubles(row),
            of_nodes * 100.0,
            of_all * 100.0,
        );
    }
    text
}

fn doubles(row: &Row) -> String {
    match row.two_at_once {
        0 => "0".to_owned(),
        many => format!("{many}, ≤ {:.0} ms", row.longest_two_at_once_ms),
    }
}

fn outage(row: &Row, part: f64) -> String {
    match row.quantile(part) {
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1000.0),
        None => format!("> {} s", row.patience_s),
    }
}

fn worst(row: &Row) -> Option<&Stretch> {
    row.stretches.iter().max_by(|a, b| a.gap_ms.total_cmp(&b.gap_ms))
}

fn seconds(row: &Row) -> f64 {
    row.stretches.iter().map(|stretch| stretch.seconds).sum()
}

fn cpu(row: &Row) -> String {
    let [nodes, all] = [mean(row, |stretch| stretch.cpu_of_nodes), mean(row, |stretch| stretch.cpu)];
    format!("{:.1} % of a core on the nodes, {:.1} % in all", nodes * 100.0, all * 100.0)
}

/// The mean over all stretches, each counted by its length.
fn mean(row: &Row, value: impl Fn(&Stretch) -> f64) -> f64 {
    row.stretches.iter().map(|stretch| value(stretch) * stretch.seconds).sum::<f64>() / seconds(row)
}
