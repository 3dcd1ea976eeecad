//! The picture of `mirror status --watch` in README.md: what a real terminal shows while a real node falls.
//! `MIRROR_REGENERATE=picture cargo test --profile dev --test suite picture` makes it again.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::nodes::{Nodes, git};
use crate::support::service::Bot;
use crate::support::terminal::Terminal;
use crate::support::wait_for;

const FILE: &str = "tests/lab/measured/status.svg";
const NAMES: [&str; 5] = ["moscow", "amsterdam", "almaty", "spb", "novosibirsk"];
const COLUMNS: u16 = 80;
const ROWS: u16 = 14;
/// Of a letter.
const WIDTH: f64 = 8.0;
const HEIGHT: f64 = 18.0;
const STYLE: &str = "\
.card{fill:#fff;stroke:#d1d9e0}text{fill:#1f2328;white-space:pre}.prompt,.faint{fill:#59636e}.good{fill:#1a7f37}\
.bad{fill:#cf222e}.doubt{fill:#9a6700}.mark{fill:#0969da;font-weight:bold}
@media(prefers-color-scheme:dark){.card{fill:#0d1117;stroke:#3d444d}text{fill:#f0f6fc}.prompt,.faint{fill:#9198a1}\
.good{fill:#3fb950}.bad{fill:#ff7b72}.doubt{fill:#d29922}.mark{fill:#58a6ff}}";

#[test]
fn the_picture_is_small_and_made_of_text() {
    if std::env::var_os("MIRROR_REGENERATE").is_some_and(|value| value == "picture") {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), taken()).unwrap();
    }
    let svg = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap();
    assert!(svg.len() < 40_000, "{} bytes", svg.len());
    for words in ["moscow is the brain.", ">dead<", ">alive<", "prefers-color-scheme:dark"] {
        assert!(svg.contains(words), "{words:?} is missing");
    }
    assert!(!svg.contains("<script") && !svg.contains("<image") && svg.matches("http").count() == 1, "{svg}");
}

/// Five nodes at work; the serving one falls while somebody looks on.
fn taken() -> String {
    let bot = Bot::new();
    let mut nodes = Nodes::named(&NAMES, &format!("[services.bot]\n{}timeout = \"60s\"\n", bot.commands()));
    for name in NAMES.into_iter().chain(["."]) {
        nodes.edit(name, "check = \"60s\"", "check = \"20s\"");
    }
    for name in NAMES {
        let repo = nodes.path(name).join("repo");
        git(&repo, &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one", "--allow-empty"]);
        // The second one fetches what the first one has pushed.
        nodes.on(name, "breathe").expect(0, "in-step");
        nodes.on(name, "breathe").expect(0, "in-step");
    }
    let (fallen, over) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let mut server = nodes.servers.remove(1);
    std::thread::scope(|scope| {
        for name in NAMES {
            let nodes = &nodes;
            scope.spawn(move || {
                let has_fallen = || name == "amsterdam" && fallen.load(Ordering::Relaxed);
                while !over.load(Ordering::Relaxed) && !has_fallen() {
                    nodes.on(name, "promote --if-brain");
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
        }
        let _end = End(over);
        let terminal = Terminal::new(COLUMNS, ROWS);
        let mut command = nodes.network.mirror(["status", "--watch"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let watch = terminal.start(command);
        terminal.wait_until("All is well: bot runs on amsterdam; moscow is the brain.");
        fallen.store(true, Ordering::Relaxed);
        server.kill();
        bot.crash("amsterdam");
        let svg = wait_for("the service runs elsewhere", || {
            let lines = terminal.lines();
            let has = |words: &str| lines.iter().any(|line| line.contains(words));
            let moved = has("bot runs on ") && !has("runs on amsterdam") && has("amsterdam    dead");
            (moved && has("> ! amsterdam is dead")).then(|| terminal.look(drawn))
        });
        terminal.press("q");
        watch.end();
        svg
    })
}

/// The nodes' work ends with it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn drawn(screen: &vt100::Screen) -> String {
    let (width, height) = (f64::from(COLUMNS) * WIDTH + 24.0, f64::from(ROWS + 2) * HEIGHT + 16.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" role=\"img\">\n\
         <title>mirror status --watch, seconds after the serving node fell</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"card\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        width - 1.0,
        height - 1.0
    );
    let mut text = |row: u16, column: u16, class: &str, words: &str| {
        let (x, y) = (12.0 + f64::from(column) * WIDTH, 22.0 + f64::from(row) * HEIGHT);
        let length = f64::from(u16::try_from(words.chars().count()).unwrap()) * WIDTH;
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = writeln!(svg, "<text{class} x=\"{x}\" y=\"{y}\" textLength=\"{length}\">{words}</text>");
    };
    text(0, 0, "prompt", "$ mirror status --watch");
    for row in 0..ROWS {
        let mut column = 0;
        while column < COLUMNS {
            let begun = column;
            let class = class(screen.cell(row, column).unwrap());
            let mut words = String::new();
            // A word and the single spaces in it; two spaces end a column of the table.
            while column < COLUMNS && self::class(screen.cell(row, column).unwrap()) == class && !words.ends_with("  ")
            {
                let cell = screen.cell(row, column).unwrap();
                words += if cell.has_contents() { cell.contents() } else { " " };
                column += 1;
            }
            let lead = words.chars().take_while(|c| *c == ' ').count();
            if !words.trim().is_empty() {
                text(row + 2, begun + u16::try_from(lead).unwrap(), class, words.trim());
            }
        }
    }
    svg + "</svg>\n"
}

fn class(cell: &vt100::Cell) -> &'static str {
    match cell.fgcolor() {
        vt100::Color::Idx(1 | 9) => "bad",
        vt100::Color::Idx(2 | 10) => "good",
        vt100::Color::Idx(3 | 11) => "doubt",
        vt100::Color::Idx(6 | 14) => "mark",
        _ if cell.dim() => "faint",
        _ => "",
    }
}
