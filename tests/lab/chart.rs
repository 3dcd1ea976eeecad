//! All outages as a picture.

use std::fmt::Write as _;
use std::time::Duration;

use crate::tally::Row;

const LEFT: f64 = 20.0;
const WIDTH: f64 = 490.0;
const TOP: f64 = 16.0;
const ROW: f64 = 50.0;
/// From the top of a row, which begins with its name, to the middle of its dots.
const DOTS: f64 = 34.0;
/// The axis, in ms; its last part is for what never ended.
const FROM: f64 = 20.0;
const UNTIL: f64 = 60_000.0;

fn x(ms: f64) -> f64 {
    LEFT + WIDTH * (ms.clamp(FROM, UNTIL) / FROM).ln() / (UNTIL / FROM).ln()
}

/// Colours for a light and for a dark page, and a card behind all of it that is right for both.
const STYLE: &str = "<style>
.card{fill:#fff;stroke:#d1d9e0}.ink{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d1d9e0}.red{stroke:#cf222e}
.dot{fill:#0969da;fill-opacity:.45}.median{stroke:#1f2328;stroke-width:2}
.halo{paint-order:stroke;stroke:#fff;stroke-width:5px;stroke-linejoin:round}
@media (prefers-color-scheme:dark){.card{fill:#0d1117;stroke:#3d444d}.ink{fill:#f0f6fc}.dim{fill:#9198a1}
.grid{stroke:#3d444d}.red{stroke:#ff7b72}.dot{fill:#58a6ff}.median{stroke:#f0f6fc}.halo{stroke:#0d1117}}
</style>
";

/// A strip of all unplanned outages of each system, on a logarithmic scale: a dot for each outage, a bar
/// at the median, a cross at the right for each that did not end. It is narrow, so that it can be read on
/// a phone.
pub(crate) fn picture(rows: &[Row]) -> String {
    let mut systems: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.n() > 0 && !row.planned && !row.aside) {
        if !systems.contains(&row.system.as_str()) {
            systems.push(&row.system);
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let bottom = TOP + ROW * systems.len() as f64;
    let (width, height) = (LEFT + WIDTH + 50.0, bottom + 52.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"14\" role=\"img\">\n\
         <title>Time without service after hosts died, by system</title>\n{STYLE}\
         <rect class=\"card\" x=\".5\" y=\".5\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\"/>\n",
        width - 1.0,
        height - 1.0
    );
    for (ms, label) in [(20.0, "20 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s"), (60_000.0, "1 min")] {
        let (x, class) = (x(ms), if ms == 10_000.0 { "red" } else { "grid" });
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
        let anchor = if ms == FROM { "start" } else { "middle" };
        let _ = writeln!(
            svg,
            "<text class=\"dim\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
            bottom + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"dim\" x=\"{LEFT}\" y=\"{:.1}\">red line: the promise; bar: median; ×: not recovered</text>",
        bottom + 40.0
    );
    for (place, system) in systems.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let top = TOP + ROW * place as f64;
        let middle = top + DOTS;
        let _ = writeln!(svg, "<text class=\"ink halo\" x=\"{LEFT}\" y=\"{:.1}\">{system}</text>", top + 16.0);
        let mut all = Row::new(system, "", Duration::ZERO);
        for row in rows.iter().filter(|row| row.system == *system && row.n() > 0 && !row.planned && !row.aside) {
            all.outages_ms.extend(&row.outages_ms);
            all.never += row.never;
        }
        for (number, ms) in all.outages_ms.iter().enumerate() {
            let y = middle + jitter(number);
            let _ = writeln!(svg, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>", x(*ms));
        }
        for number in 0..all.never {
            let (x, y) = (LEFT + WIDTH + 14.0 + jitter(number), middle + jitter(number + 5));
            let _ = writeln!(svg, "<path class=\"red\" d=\"M{:.1} {:.1}l6 6m0 -6l-6 6\"/>", x - 3.0, y - 3.0);
        }
        if let Some(median) = all.quantile(0.5) {
            let (x, y) = (x(median), middle - 13.0);
            let _ = writeln!(svg, "<path class=\"median\" d=\"M{x:.1} {y:.1}v26\"/>");
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
