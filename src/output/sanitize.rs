//! What may reach a terminal: text, line ends and our own colours. The words of other machines and
//! files are text and nothing else, so that none of them can hide, reorder or forge what is shown.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Stands for an escape of our own until the text is written. It is new in each process, so that
/// nobody else's words can hold it.
static ESCAPE: LazyLock<String> = LazyLock::new(|| format!("\x1b{:016x}", RandomState::new().hash_one(0)));

/// Characters that change how others are shown: Unicode's format characters (Cf), its separators of
/// lines and paragraphs (Zl, Zp), and the fillers that look like nothing.
const HIDDEN: [(char, char); 22] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1345f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
];

/// Whether a character commands the terminal or changes how others are shown.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// `text` in a colour, until [`for_terminal`] writes the escapes.
pub(super) fn coloured(code: &str, text: &str) -> String {
    format!("{e}[{code}m{}{e}[0m", one_line(text), e = *ESCAPE)
}

/// The same on one line, without what a terminal obeys except our own colours.
pub(super) fn one_line(text: &str) -> String {
    cleaned(text, &ESCAPE, |_| false)
}

/// The whole text for a terminal: our lines and our colours, and nothing else that it obeys.
pub(super) fn for_terminal(text: &str) -> String {
    cleaned(text, "\x1b", |c| c == '\n')
}

/// JSON with escapes for what a terminal obeys, which stands in strings only.
pub(super) fn json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// How many columns it takes; colours take none.
pub(super) fn width(text: &str) -> usize {
    let mut parts = text.split(ESCAPE.as_str());
    let first = parts.next().map_or(0, |part| part.chars().count());
    let after_code = |part: &str| part.split_once('m').map_or(0, |(_, shown)| shown.chars().count());
    first + parts.map(after_code).sum::<usize>()
}

fn cleaned(text: &str, escape: &str, keeps: impl Fn(char) -> bool) -> String {
    let clean = |part: &str| part.chars().map(|c| if is_unsafe(c) && !keeps(c) { ' ' } else { c }).collect::<String>();
    text.split(ESCAPE.as_str()).map(clean).collect::<Vec<_>>().join(escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        let foreign = "a\x1b[8mb\x1b[31mc\u{202e}d\u{9b}1me\u{7}\r\nf\u{200b}\u{e0041}\u{2028}g";
        let shown = for_terminal(&one_line(foreign));
        assert!(!shown.contains(is_unsafe), "{shown:?}");
        assert_eq!(shown, "a [8mb [31mc d 1me   f   g");
        assert_eq!(for_terminal(&coloured("31", foreign)), format!("\x1b[31m{shown}\x1b[0m"));
        assert_eq!(one_line("ä → ☂ 中"), "ä → ☂ 中");
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let said = "a\u{202e}b\u{7f}\u{e0041}ä";
        let json = json(&serde_json::to_string(said).expect("a string"));
        assert_eq!(json, r#""a\u202eb\u007f\udb40\udc41ä""#);
        assert_eq!(serde_json::from_str::<String>(&json).expect("parses"), said);
    }
}
