//! What comes back from a node: marked lines, between anything else.

/// How much of one line is looked at, in bytes.
const MAX_LINE_LEN: usize = 16 << 20;

/// A line of a node's output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// One with the mark, without it.
    Marked(&'a str),
    /// Any other.
    Other(&'a [u8]),
}

/// Cuts a stream into lines, and knows those with the mark.
#[derive(Debug)]
pub(super) struct Scanner {
    mark: String,
    line: Vec<u8>,
    /// Whether the line is longer than what is looked at.
    overlong: bool,
}

impl Scanner {
    /// Every marked line begins with `mark` and a blank.
    pub(super) fn new(mark: &str) -> Self {
        Self { mark: format!("{mark} "), line: Vec::new(), overlong: false }
    }

    /// Takes what has come, and passes on each line that it completes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(Line<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if !self.overlong {
                match self.line.strip_prefix(self.mark.as_bytes()) {
                    Some(rest) => on_line(Line::Marked(String::from_utf8_lossy(rest).trim_end())),
                    None => on_line(Line::Other(&self.line)),
                }
            }
            self.line.clear();
            self.overlong = false;
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.overlong |= self.line.len() + bytes.len() > MAX_LINE_LEN;
        if self.overlong {
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
}

/// What a marked line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The program runs.
    Hello,
    /// `status` of the request exited.
    Status(usize, i32),
    /// Its `start` or `stop` begins: what `status` said before counts no more.
    Acts(usize),
    /// Its `start` or `stop` exited; none when it was ended.
    Act(usize, Option<i32>),
    /// The command before `start` exited, and the first line that it printed.
    Before(usize, i32, &'a str),
    /// The first line of what `start` or `stop` said on its standard error.
    Said(usize, &'a str),
    /// It was still under way at its deadline, and was ended.
    TimedOut(usize),
    /// It is done.
    End(usize),
}

/// Reads a marked line; none when it is not well-formed.
pub(super) fn read(line: &str) -> Option<Frame<'_>> {
    if line == "hello" {
        return Some(Frame::Hello);
    }
    let (index, rest) = line.split_once(' ')?;
    let index = index.parse().ok()?;
    let (what, value) = rest.split_once(' ').unwrap_or((rest, ""));
    match (what, value) {
        ("status", code) => Some(Frame::Status(index, code.parse().ok()?)),
        ("acts", "") => Some(Frame::Acts(index)),
        ("act", "") => Some(Frame::Act(index, None)),
        ("act", code) => Some(Frame::Act(index, Some(code.parse().ok()?))),
        ("before", value) => {
            let (code, line) = value.split_once(' ').unwrap_or((value, ""));
            Some(Frame::Before(index, code.parse().ok()?, line))
        }
        ("said", words) => Some(Frame::Said(index, words)),
        ("timeout", "") => Some(Frame::TimedOut(index)),
        ("end", "") => Some(Frame::End(index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<String> {
        let mut scanner = Scanner::new("abcd");
        let mut lines = Vec::new();
        for piece in pieces {
            scanner.feed(piece, |line| lines.push(format!("{line:?}")));
        }
        lines
    }

    #[test]
    fn only_a_whole_line_that_begins_with_the_mark_counts() {
        let marked = |rest: &str| format!("{:?}", Line::Marked(rest));
        assert_eq!(scan(&[b"abcd 0 end\n"]), [marked("0 end")]);
        assert_eq!(scan(&[b"ab", b"cd 0 e", b"nd\nabcd 1 status 0"]), [marked("0 end")]);
        for noise in ["abcd\n", "xabcd 0 end\n", " abcd 0 end\n", "abcde 0 end\n", "abcd0 end\n"] {
            assert!(scan(&[noise.as_bytes()])[0].starts_with("Other"), "{noise}");
        }
        let mut flood = vec![b'x'; 3 * MAX_LINE_LEN];
        flood.extend_from_slice(b"\nabcd 0 end\n");
        assert_eq!(scan(&[&flood]), [marked("0 end")]);
    }

    #[test]
    fn a_frame_that_is_cut_short_says_nothing() {
        assert_eq!(read("3 status 0"), Some(Frame::Status(3, 0)));
        assert_eq!(read("3 act"), Some(Frame::Act(3, None)));
        assert_eq!(read("2 before 0 {\"a\": 1}"), Some(Frame::Before(2, 0, "{\"a\": 1}")));
        assert_eq!(read("2 before 127 "), Some(Frame::Before(2, 127, "")));
        assert_eq!(read("0 said no room: 5"), Some(Frame::Said(0, "no room: 5")));
        for bad in ["", "3", "3 ", "3 status", "3 status x", "status 0", "3 en", "3 end now", "-1 end", "3 act x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
