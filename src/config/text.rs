//! Where something stands in a text, and how a message quotes it.

/// A message quotes no more of a value than this.
const MAX_QUOTED: usize = 80;
/// A message of the parser keeps this much of its beginning and of its end.
const MAX_MESSAGE_HALF: usize = 180;

/// A value as a message shows it: in quotes, on one line, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A message of the parser on one line, its middle left out where a long value stands in it.
pub(super) fn one_line(message: &str) -> String {
    let escaped: String = message.trim().replace('\n', ", ").chars().map(visible).collect();
    let length = escaped.chars().count();
    if length <= 2 * MAX_MESSAGE_HALF {
        return escaped;
    }
    let start: String = escaped.chars().take(MAX_MESSAGE_HALF).collect();
    let end: String = escaped.chars().skip(length - MAX_MESSAGE_HALF).collect();
    format!("{start}…{end}")
}

fn visible(c: char) -> String {
    if c.is_control() || is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() }
}

/// Whether a character is seen as nothing, or changes the order in which others are seen.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text as it is parsed: without a byte order mark, and with line feeds alone at the ends of lines,
/// so that no carriage return of an editor becomes a part of a command.
pub(super) fn normalized(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n")
}

/// The line and column of a byte, both from 1, the column in characters.
pub(super) fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let mut cursor = Cursor::new(text);
    cursor.advance(byte)
}

/// Tells line and column of bytes in ascending order in one pass over the text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    /// The line and column of `byte`, which is not before the one asked for last.
    pub(super) fn advance(&mut self, byte: usize) -> (usize, usize) {
        let end = byte.min(self.text.len());
        for c in self.text.get(self.at..end).unwrap_or_default().chars() {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at = self.at.max(end);
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_in_one_pass() {
        let text = "ä=1\n\nbö";
        let mut cursor = Cursor::new(text);
        let places: Vec<_> = [0, 2, 4, 5, 6, 7, 99].map(|byte| cursor.advance(byte)).into();
        assert_eq!(places, [(1, 1), (1, 2), (1, 4), (2, 1), (3, 1), (3, 2), (3, 3)]);
        assert_eq!(line_column(text, 7), (3, 2));
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        let shown = one_line(&format!("unknown field `{}`,\nexpected `a`", "x\u{202e}".repeat(5000)));
        assert!(shown.starts_with("unknown field `x\\u{202e}") && shown.ends_with(", expected `a`"), "{shown}");
        assert!(shown.chars().count() <= 361, "{shown}");
    }
}
