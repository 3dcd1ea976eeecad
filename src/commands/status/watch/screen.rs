//! What is drawn: only the lines that differ from those on the screen, each cut at its edge. Pure: nothing is written
//! here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use crate::name::Name;

/// For how long a line is marked that says something else than before. A person may look away for a while.
const MARK_DURATION: Duration = Duration::from_secs(10);
/// Units of time, as words behind a number.
const UNITS: [&str; 8] = ["ms", "s", "min", "m", "h", "d", "hours", "days"];

pub(super) struct Screen {
    every: Duration,
    has_colour: bool,
    columns: usize,
    rows: usize,
    /// What stands on each row.
    drawn: Vec<String>,
    /// What the lines say, and since when.
    known: HashMap<String, SystemTime>,
}

impl Screen {
    pub(super) fn new(has_colour: bool, every: Duration, (columns, rows): (usize, usize)) -> Self {
        Self { every, has_colour, columns, rows, drawn: Vec::new(), known: HashMap::new() }
    }

    /// Everything is drawn anew: what stands there is not known.
    pub(super) fn resize(&mut self, (columns, rows): (usize, usize)) {
        (self.columns, self.rows) = (columns, rows);
        self.drawn.clear();
    }

    /// What brings the screen from its last state to this text, which was found at this time; none before anything is
    /// known.
    pub(super) fn frame(
        &mut self,
        text: Option<&(String, SystemTime)>,
        late: &[(Name, Duration)],
        now: SystemTime,
    ) -> String {
        let mut lines = match text {
            Some((text, _)) => self.marked(text, now),
            None => vec![" Asking the nodes …".to_owned()],
        };
        let room = self.rows.saturating_sub(1).max(1);
        if lines.len() > room {
            let left_out = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(self.faint(&format!(" … and {left_out} more lines; the window is too low")));
        }
        lines.resize(room, String::new());
        if self.rows > 1 {
            lines.push(self.footer(text.map(|(_, at)| *at), late));
        }
        self.difference(lines)
    }

    /// The lines; those that say something else than before begin with a mark.
    fn marked(&mut self, text: &str, now: SystemTime) -> Vec<String> {
        let is_first = self.known.is_empty();
        let mut known = HashMap::new();
        let mut lines = Vec::new();
        for line in text.lines() {
            let key = meaning(line);
            let new = if is_first { SystemTime::UNIX_EPOCH } else { now };
            let since = self.known.get(&key).copied().unwrap_or(new);
            let is_new = now.duration_since(since).is_ok_and(|age| age < MARK_DURATION) && !key.trim().is_empty();
            lines.push(match line.strip_prefix(' ') {
                Some(rest) if is_new => format!("{}{rest}", self.bold(">")),
                _ => line.to_owned(),
            });
            known.insert(key, since);
        }
        self.known = known;
        lines
    }

    /// The time is the text's: an old one shows that nothing new has come.
    fn footer(&self, at: Option<SystemTime>, late: &[(Name, Duration)]) -> String {
        let at = at.map(|at| format!(" {} ", humantime::format_rfc3339_seconds(at).to_string().replace('T', " ")));
        let mut footer = at.unwrap_or_default();
        if let Some((name, wait)) = late.first() {
            let others = if late.len() > 1 { format!(" and {} more", late.len() - 1) } else { String::new() };
            let _ = write!(footer, " waiting for {name}{others}: {} s ", wait.as_secs());
        }
        let _ = write!(footer, " every {}  q: quit", humantime::format_duration(self.every));
        self.faint(&footer)
    }

    fn difference(&mut self, lines: Vec<String>) -> String {
        let mut frame = if self.drawn.is_empty() { "\x1b[2J".to_owned() } else { String::new() };
        for (row, line) in lines.iter().enumerate() {
            let line = console::truncate_str(line, self.columns, "…");
            if self.drawn.get(row).map(String::as_str) == Some(&*line) {
                continue;
            }
            let _ = write!(frame, "\x1b[{};1H{line}", row + 1);
            // At the edge, this would take away the last letter.
            if console::measure_text_width(&line) < self.columns {
                frame.push_str("\x1b[K");
            }
            match self.drawn.get_mut(row) {
                Some(drawn) => *drawn = line.into_owned(),
                None => self.drawn.push(line.into_owned()),
            }
        }
        frame
    }

    fn bold(&self, text: &str) -> String {
        if self.has_colour { format!("\x1b[1;36m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn faint(&self, text: &str) -> String {
        if self.has_colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line without what passes by itself: ages, seconds, the counts of a breath under way.
fn meaning(line: &str) -> String {
    let line = console::strip_ansi_codes(line);
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let is_number = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut kept = vec![if line.starts_with(' ') { " " } else { "" }];
    for index in 0..words.len() {
        let word = words[index].trim_end_matches([',', ';', ')']);
        let next = words.get(index + 1).map_or("", |next| next.trim_end_matches([',', ';', ')', '.']));
        let signed = word.trim_start_matches(['+', '-']);
        let unit = signed.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let is_age = unit.len() < signed.len() && UNITS.contains(&unit);
        let is_count = signed.len() < word.len() && is_number(signed);
        if is_age || is_count || (is_number(word) && UNITS.contains(&next)) {
            words[index] = "#";
        }
    }
    kept.extend(words.iter().map(|word| match word.rsplit_once(':') {
        // Of a time, the minute: by a clock that is off it changes by a second or so.
        Some((minute, seconds)) if minute.contains(':') && is_number(seconds.trim_end_matches(['Z', '.', ','])) => {
            minute
        }
        _ => word,
    }));
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn text(text: &str) -> (String, SystemTime) {
        (text.to_owned(), at(0))
    }

    fn screen(columns: usize, rows: usize) -> Screen {
        Screen::new(false, Duration::from_secs(2), (columns, rows))
    }

    #[test]
    fn a_line_that_says_something_else_is_marked_for_a_while() {
        let mut screen = screen(80, 24);
        assert!(
            !screen.frame(Some(&text(" one  a 2.5s\n two  b\n")), &[], at(0)).contains('>'),
            "at first nothing has changed"
        );
        let frame = screen.frame(Some(&text(" one  a 9.5s\n two  c\n")), &[], at(2));
        assert!(frame.contains("\x1b[2;1H>two  c\x1b[K") && frame.matches('>').count() == 1, "{frame:?}");
        assert!(
            !screen.frame(Some(&text(" one  a 45s\n two  c\n")), &[], at(4)).contains("\x1b[2;1H"),
            "it stands there"
        );
        assert!(screen.frame(Some(&text(" one  a 2m\n two  c\n")), &[], at(13)).contains("\x1b[2;1H two  c"));
    }

    #[test]
    fn time_that_passes_changes_nothing_and_an_epoch_does() {
        let same = [
            ("  bot  a  2026-01-01 00:00:01Z  2.1s b", "  bot  a  2026-01-01 00:00:02Z  12m b"),
            (
                "  ! b is not at work: its last check ended 12.5 s ago",
                "  ! b is not at work: its last check ended 61 s ago",
            ),
            ("  c  alive  0.3s  +1 -0  +3600.2s", "  c  alive  1.3s  +0 -2  +3600.9s"),
            ("  ! a (not-reached: no answer for 6 s)", "  ! a (not-reached: no answer for 8 s)"),
        ];
        for (one, other) in same {
            assert_eq!(meaning(one), meaning(other));
        }
        let different = [
            ("  bot  a  2026-01-01 00:00:01Z", "  bot  a  2026-01-01 00:01:01Z"),
            ("  bot  a  epoch 7", "  bot  a  epoch 8"),
            (" 1 problem; bot", " 2 problems; bot"),
            ("  c  \x1b[32malive\x1b[0m", "  c  \x1b[31mdead\x1b[0m"),
        ];
        for (one, other) in different {
            assert_ne!(meaning(one), meaning(other));
        }
    }

    #[test]
    fn nothing_is_drawn_beyond_the_edge_or_twice() {
        let mut low = screen(10, 4);
        let frame = low.frame(Some(&text(" 0123456789abc\n 2\n 3\n 4\n 5\n")), &[], at(0));
        assert!(
            frame.starts_with("\x1b[2J\x1b[1;1H 01234567…\x1b[2;1H 2\x1b[K\x1b[3;1H … and 3 …\x1b[4;1H"),
            "{frame:?}"
        );
        assert!(!frame.contains("\x1b[5;1H") && !frame.contains('\n'), "{frame:?}");
        assert_eq!(low.frame(Some(&text(" 0123456789abc\n 2\n 3\n 4\n 5\n")), &[], at(0)), "");
        low.resize((20, 10));
        assert!(
            low.frame(Some(&text(" 0123456789abc\n")), &[], at(0)).starts_with("\x1b[2J\x1b[1;1H 0123456789abc\x1b[K")
        );
    }

    #[test]
    fn a_node_that_is_waited_for_is_named() {
        let late = [("spb".parse().expect("a name"), Duration::from_secs(7))];
        let frame = screen(80, 24).frame(None, &late, at(0));
        assert!(
            frame.contains("Asking the nodes") && frame.contains("waiting for spb: 7 s  every 2s  q: quit"),
            "{frame:?}"
        );
    }
}
