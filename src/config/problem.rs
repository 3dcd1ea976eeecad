//! What is wrong with a node list, and where it stands.

use std::collections::HashMap;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Serialize;

use super::text::Cursor;

/// Something that is wrong with a node list, and where.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// How bad it is: an `error` makes the list unsound, a `warning` does not.
    pub severity: Severity,
    /// A stable lower-case slug.
    pub code: &'static str,
    /// The key that is meant, such as `chains.bot[2]`; for a finding of `--live`, the node.
    #[serde(rename = "where")]
    pub at: String,
    /// The line in the configuration, from 1.
    pub line: usize,
    /// The column in that line, from 1, in characters.
    pub column: usize,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The list is unsound.
    Error,
    /// The list works, but not as well as it could.
    Warning,
}

/// A problem that knows the byte at which it stands and not yet its line.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) at: String,
    pub(super) offset: usize,
    pub(super) message: String,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn error(&mut self, span: Range<usize>, code: &'static str, at: impl Into<String>, message: String) {
        let at = at.into();
        self.0.push(Finding { severity: Severity::Error, code, at, offset: span.start, message });
    }

    pub(super) fn warning(&mut self, span: Range<usize>, code: &'static str, at: impl Into<String>, message: String) {
        let at = at.into();
        self.0.push(Finding { severity: Severity::Warning, code, at, offset: span.start, message });
    }

    /// The problems in the file's order. What stands once in the file and counts for many nodes is
    /// reported once.
    pub(super) fn into_problems(mut self, text: &str) -> Vec<Problem> {
        self.0.sort_by_key(|finding| finding.offset);
        let mut seen = std::collections::HashSet::new();
        self.0.retain(|finding| seen.insert((finding.offset, finding.code, finding.message.clone())));
        let mut cursor = Cursor::new(text);
        let located = self.0.into_iter().map(|finding| {
            let (line, column) = cursor.advance(finding.offset);
            let Finding { severity, code, at, message, .. } = finding;
            Problem { severity, code, at, line, column, message }
        });
        located.collect()
    }
}

/// Where the keys stand, such as `nodes.a` and `cycle.recovery`, for a problem that is found later.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, (usize, usize)>);

impl Places {
    pub(super) fn new(text: &str, mut keys: Vec<(String, Range<usize>)>) -> Self {
        keys.sort_by_key(|(_, span)| span.start);
        let mut cursor = Cursor::new(text);
        Self(keys.into_iter().map(|(key, span)| (key, cursor.advance(span.start))).collect())
    }

    /// The line and column of a key; for one that is not in the file those of the table above it, else those of the
    /// chains.
    pub fn of(&self, key: &str) -> (usize, usize) {
        let above = std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(above, _)| above));
        let of = |key: &str| self.0.get(key).copied();
        above.into_iter().find_map(of).or_else(|| of("chains")).unwrap_or((1, 1))
    }

    /// A problem with the key `key`.
    pub fn problem(&self, severity: Severity, code: &'static str, key: String, message: String) -> Problem {
        let (line, column) = self.of(&key);
        Problem { severity, code, at: key, line, column, message }
    }
}
