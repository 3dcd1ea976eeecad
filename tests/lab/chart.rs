//! All outages as a picture.

use std::fmt::Write as _;
use std::time::Duration;

use crate::tally::Row;

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

/// A strip of all outages that nobody planned for each system, on a logarithmic scale: a dot an
/// outage, a bar at the median, a cross at the right for each that never ended.
pub(crate) fn picture(rows: &[Row]) -> String {
    let mut systems: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.n() > 0 && !row.planned && !row.aside) {
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
        for row in rows.iter().filter(|row| row.system == *system && row.n() > 0 && !row.planned && !row.aside) {
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
