//! A page of the manual as plain text, where man(1) is not there to show it. It knows the requests that the
//! pages in `man/` use, and no others.

const WIDTH: usize = 78;
/// How far text is indented below a section, and below a tag.
const INDENT: usize = 7;
const SUBSECTION: usize = 3;

/// The page as plain text.
pub(super) fn plain(roff: &str) -> String {
    let mut page = Page::default();
    for line in roff.lines() {
        match line.strip_prefix('.') {
            Some(request) => page.request(request),
            None => page.text(&unescape(line)),
        }
    }
    page.flush();
    page.out
}

/// The text so far, and the paragraph that is being collected.
#[derive(Default)]
struct Page {
    out: String,
    paragraph: String,
    tag: Option<String>,
    /// Where a tag begins.
    left: usize,
    /// How much further right the text below a tag begins.
    hang: usize,
    /// The next line of text is a tag.
    expects_tag: bool,
    /// Lines are kept as they are.
    verbatim: bool,
}

impl Page {
    fn request(&mut self, request: &str) {
        let (name, rest) = request.split_once(' ').unwrap_or((request, ""));
        let arguments = arguments(rest);
        match name {
            "SH" => self.heading(0, &arguments.join(" ")),
            "SS" => self.heading(SUBSECTION, &arguments.join(" ")),
            "PP" => self.new_paragraph(0),
            "TP" => {
                self.new_paragraph(INDENT);
                self.expects_tag = true;
            }
            "TQ" => {
                self.flush();
                self.hang = INDENT;
                self.expects_tag = true;
            }
            "IP" => {
                let hang = arguments.get(1).and_then(|width| width.parse().ok()).unwrap_or(INDENT);
                self.new_paragraph(hang);
                self.tag = arguments.into_iter().next();
            }
            "RS" => {
                self.flush();
                self.left += INDENT;
                self.hang = 0;
            }
            "RE" => {
                self.flush();
                self.left -= INDENT;
            }
            "EX" | "nf" => {
                self.flush();
                self.verbatim = true;
            }
            "EE" | "fi" => self.verbatim = false,
            "br" => self.flush(),
            "B" | "I" => self.text(&arguments.join(" ")),
            "BR" | "RB" | "IR" | "RI" | "BI" | "IB" => self.text(&arguments.concat()),
            // The title, which people know, and settings of the typesetter.
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.expects_tag {
            self.tag = Some(text.to_owned());
            self.expects_tag = false;
        } else if self.verbatim {
            let indent = if text.is_empty() { 0 } else { self.left + self.hang };
            self.line(indent, text);
        } else {
            self.paragraph.push(' ');
            self.paragraph += text;
        }
    }

    fn heading(&mut self, indent: usize, text: &str) {
        self.new_paragraph(0);
        self.line(indent, text);
        self.left = INDENT;
    }

    /// Ends the paragraph, and begins another one below an empty line, unless that is the first below a
    /// heading.
    fn new_paragraph(&mut self, hang: usize) {
        self.flush();
        let last = self.out.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
        let heading = !last.is_empty() && !last.starts_with(&" ".repeat(INDENT));
        if !self.out.is_empty() && !self.out.ends_with("\n\n") && !heading {
            self.out.push('\n');
        }
        self.hang = hang;
    }

    /// Writes the paragraph with its tag.
    fn flush(&mut self) {
        let indent = self.left + self.hang;
        let mut line = String::new();
        if let Some(tag) = self.tag.take() {
            line = format!("{}{tag}", " ".repeat(self.left));
            let width = line.chars().count();
            if width < indent {
                line += &" ".repeat(indent - width);
            } else {
                self.line(0, &line);
                line.clear();
            }
        }
        for word in std::mem::take(&mut self.paragraph).split_whitespace() {
            if line.is_empty() {
                line = " ".repeat(indent);
            } else if line.chars().count() > indent {
                if line.chars().count() + 1 + word.chars().count() > WIDTH {
                    self.line(0, &line);
                    line = " ".repeat(indent);
                } else {
                    line.push(' ');
                }
            }
            line += word;
        }
        if !line.trim().is_empty() {
            self.line(0, &line);
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.out += " ".repeat(indent).as_str();
        self.out += text.trim_end();
        self.out.push('\n');
    }
}

/// The arguments of a request: words, or text between double quotes.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (argument, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => split_at_blank(rest),
        };
        arguments.push(unescape(argument));
        rest = after.trim_start();
    }
    arguments
}

/// The first word, and what follows it; a blank behind a backslash is part of the word.
fn split_at_blank(text: &str) -> (&str, &str) {
    let end = text.match_indices(' ').map(|(at, _)| at).find(|at| !text[..*at].ends_with('\\'));
    text.split_at(end.unwrap_or(text.len()))
}

/// Text without roff's escapes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain += &rest[..at];
        let escape = &rest[at + 1..];
        let (length, shown) = match escape.as_bytes() {
            [b'f', ..] => (2, ""),
            [b'(', b'b', b'u', ..] => (3, "\u{2022}"),
            [b'(', b'd', b'q', ..] => (3, "\""),
            [b'(', b'a', b'q', ..] => (3, "'"),
            [b'(', b'-', b'>', ..] => (3, "->"),
            [b'*', b'(', ..] => (4, "'"),
            [b'e', ..] => (1, "\\"),
            [b'-', ..] => (1, "-"),
            [b' ', ..] => (1, " "),
            // `\&`, which is nothing.
            [_, ..] => (1, ""),
            [] => (0, ""),
        };
        plain += shown;
        rest = escape.get(length..).unwrap_or_default();
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_filled_and_tags_hang() {
        let roff = ".TH X 7\n.nh\n.SH NAME\nx \\- a page\n.SH TAGS\n.TP\n.BR ok \" (0)\"\nShort.\n.br\n\\(-> Go on.\n\
                    .TP\n\\fBa long tag\\fR\nBelow it.\n.IP \\(bu 3\nA bullet.\n.PP\nAfter\n.B bold\ntext.\n.PP\n\
                    .EX\n  kept\\en   as\n\nit is\n.EE\n";
        let expected = "NAME\n       x - a page\n\nTAGS\n       ok (0) Short.\n              -> Go on.\n\n\
                        \x20      a long tag\n              Below it.\n\n       \u{2022}  A bullet.\n\n       After bold \
                        text.\n\n         kept\\n   as\n\n       it is\n";
        assert_eq!(plain(roff), expected);
    }

    #[test]
    fn a_line_is_no_longer_than_a_terminal() {
        let roff = format!(".SH X\n{}\n", "word ".repeat(100));
        assert!(plain(&roff).lines().all(|line| line.chars().count() <= WIDTH));
    }
}
