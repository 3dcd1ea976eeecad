//! Text for a terminal: colours and columns.

use std::io::IsTerminal as _;

use super::{ExitStatus, sanitize};

/// Colours for a terminal, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    on: bool,
}

impl Style {
    /// No colours.
    pub const PLAIN: Self = Self { on: false };

    /// Colours where stdout is a terminal, unless the environment is against them: `NO_COLOR`
    /// (<https://no-color.org>), or a dumb terminal.
    pub fn of_environment() -> Self {
        let wanted = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { on: wanted }
    }

    /// Whether it has colours.
    pub fn has_colour(self) -> bool {
        self.on
    }

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { sanitize::coloured(code, text) } else { text.to_owned() }
    }

    /// Text of a good thing.
    pub fn good(self, text: &str) -> String {
        self.in_colour("32", text)
    }

    /// Text of a bad thing.
    pub fn bad(self, text: &str) -> String {
        self.in_colour("31", text)
    }

    /// Text of a thing that is unknown, or may become bad.
    pub fn doubtful(self, text: &str) -> String {
        self.in_colour("33", text)
    }

    /// Text of minor interest.
    pub fn faint(self, text: &str) -> String {
        self.in_colour("2", text)
    }

    pub(super) fn status(self, status: ExitStatus, text: &str) -> String {
        match status {
            ExitStatus::Yes => self.good(text),
            ExitStatus::No => self.bad(text),
            ExitStatus::UsageError | ExitStatus::Unknown => self.doubtful(text),
        }
    }
}

/// Lines up columns by their width as it is read: colours take no room.
pub fn columns(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| sanitize::one_line(cell)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| sanitize::width(c)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - sanitize::width(cell))))
            .collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// How wide a paragraph is; on a narrower terminal, as wide as that.
const WIDTH: usize = 80;
/// Narrower, no sentence can be read.
const MIN_WIDTH: usize = 20;

/// A sentence behind a mark, broken into lines of 80 columns, or of a terminal that is narrower.
pub fn paragraph(mark: &str, text: &str) -> String {
    let lines = wrapped(&format!("  {}", sanitize::one_line(mark)), text, width_here());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A sentence behind a lead, as lines; those after the first begin below its own words.
fn wrapped(lead: &str, text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![lead.to_owned()];
    let indent = sanitize::width(lead) + 1;
    for word in sanitize::one_line(text).split_whitespace() {
        let line = lines.last().map_or("", String::as_str);
        if sanitize::width(line) + 1 + sanitize::width(word) > width && sanitize::width(line) >= indent {
            lines.push(" ".repeat(indent - 1));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

/// A sentence in the colour of a status, broken like [`paragraph`], each line behind a space.
pub(super) fn headline(style: Style, status: ExitStatus, text: &str) -> String {
    let lines = wrapped("", text, width_here());
    lines.iter().map(|line| format!(" {}\n", style.status(status, line.trim_start()))).collect()
}

fn width_here() -> usize {
    let columns = console::Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns));
    columns.clamp(MIN_WIDTH, WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_cursor_and_begins_no_line() {
        let foreign = "\x1b[2J\x1b]0;owned\x07\nbot\r\x1b[31";
        let shown = sanitize::for_terminal(&columns(&[vec![Style { on: true }.good("ok"), foreign.to_owned()]]));
        assert_eq!(shown, "  \x1b[32mok\x1b[0m   [2J ]0;owned  bot  [31\n");
    }

    #[test]
    fn a_long_sentence_is_broken_at_80_columns() {
        let lines = wrapped("  !", &"word ".repeat(40), WIDTH);
        assert_eq!(lines[0], format!("  ! {}", ["word"; 15].join(" ")));
        assert!(lines[1].starts_with("    word") && lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert_eq!(wrapped("  !", &"x".repeat(100), WIDTH).len(), 1, "a word is never broken");
    }

    #[test]
    fn colours_take_no_room_in_a_column() {
        let style = Style { on: true };
        let rows = vec![vec![style.good("a"), "1".to_owned()], vec!["bcd".to_owned(), "2".to_owned()]];
        assert_eq!(sanitize::for_terminal(&columns(&rows)), "  \x1b[32ma\x1b[0m    1\n  bcd  2\n");
        assert_eq!(columns(&[vec![Style::PLAIN.bad("x")]]), "  x\n");
    }
}
