//! The inhale before a start: what the target was missing comes along.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cause, NOT_ITS_OWN};

/// The most that is told of a cause, in characters.
const MAX_CAUSE_LEN: usize = 300;

/// What the inhale before a start brought to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inhaled {
    /// The commit of the branch before; null if there was none, or it is not known.
    pub from: Option<String>,
    /// The commit of the branch now; null if nothing came.
    pub to: Option<String>,
    /// How many commits came.
    pub commits: u64,
    /// Why the target may lack commits all the same; null if it has all that could be had.
    pub cause: Option<String>,
}

/// What is read of the object of `mirror breathe`.
#[derive(Deserialize)]
struct Breathed {
    verdict: String,
    reason: String,
    inhale: Option<Moved>,
}

#[derive(Deserialize)]
struct Moved {
    from: Option<String>,
    to: Option<String>,
    commits: u64,
}

/// What runs on the target.
pub(super) fn command(limit: Duration) -> String {
    format!("mirror breathe --inhale --timeout {}ms", limit.as_millis())
}

impl Inhaled {
    /// Reads what it exited with and printed.
    pub(super) fn read(code: i32, line: &str) -> Self {
        let Ok(Breathed { verdict, reason, inhale }) = serde_json::from_str(line) else {
            let cause = match code {
                126 | 127 => format!("{}: mirror", Cause::ProgramMissing),
                NOT_ITS_OWN.. => Cause::Timeout.to_string(),
                code => format!("exit status {code} of `mirror breathe`"),
            };
            return Self { from: None, to: None, commits: 0, cause: Some(cause) };
        };
        let Moved { from, to, commits } = inhale.unwrap_or(Moved { from: None, to: None, commits: 0 });
        let cause =
            (verdict != "in-step").then(|| format!("{verdict}: {reason}").chars().take(MAX_CAUSE_LEN).collect());
        Self { from, to, commits, cause }
    }

    /// This one, with what an earlier one of the same node brought.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        if earlier.commits == 0 {
            return self;
        }
        let Self { to, commits, cause, .. } = self;
        Self { from: earlier.from, to: to.or(earlier.to), commits: earlier.commits + commits, cause }
    }

    /// The same as a sentence.
    pub fn sentence(&self, node: &crate::name::Name) -> Option<String> {
        let came = match self.commits {
            0 => None,
            1 => Some(format!("{node} inhaled 1 commit before the start")),
            commits => Some(format!("{node} inhaled {commits} commits before the start")),
        };
        match (&self.cause, came) {
            (None, came) => came.map(|came| format!(" {came}.")),
            (Some(cause), came) => {
                let came = came.unwrap_or_else(|| format!("{node} did not inhale before the start"));
                Some(format!(" {came} ({}).", cause.trim_end_matches('.')))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_a_breath_tells_what_came_or_why_not() {
        let line = r#"{"schema":"mirror.breathe/1","verdict":"in-step","reason":"x.","inhale":{"from":null,"to":"b","commits":3}}"#;
        let inhaled = Inhaled::read(0, line);
        assert_eq!((inhaled.to.as_deref(), inhaled.commits, inhaled.cause), (Some("b"), 3, None));
        let line = r#"{"verdict":"conflict","reason":"both.","inhale":null}"#;
        assert_eq!(Inhaled::read(1, line).cause.as_deref(), Some("conflict: both."));
        assert!(Inhaled::read(127, "").cause.is_some_and(|cause| cause.contains("mirror")));
        assert!(Inhaled::read(2, "").cause.is_some());
    }
}
