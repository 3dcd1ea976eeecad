//! Why a command on a node is not known to have done what was asked.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// Why a command on a node did not do what was asked, or why that is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The command exited with a status other than 0.
    Exit,
    /// A signal ended the command.
    Killed,
    /// The command, or a program that it needs, is not there or cannot be run.
    ProgramMissing,
    /// It did not end in time.
    Timeout,
    /// `stop` succeeded, and `status` still says that the service runs.
    StillRunning,
    /// `status` says that the service runs, its `health` probe that it does not work.
    Unhealthy,
    /// The node fell while it was waited for.
    #[serde(rename = "died")]
    NodeDied,
    /// ssh could not connect.
    NotReached,
    /// The node does not accept the key or the user.
    NotAdmitted,
    /// The node's host key is unknown or has changed.
    HostKey,
    /// The login was answered by something else: a refusal, a banner, a broken shell. Nothing shows
    /// that the command ran.
    Unframed,
    /// The process that asks could not be started on this machine.
    NotStarted,
}

impl Cause {
    /// Its name in JSON.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Killed => "killed",
            Self::ProgramMissing => "program-missing",
            Self::Timeout => "timeout",
            Self::StillRunning => "still-running",
            Self::Unhealthy => "unhealthy",
            Self::NodeDied => "died",
            Self::NotReached => "not-reached",
            Self::NotAdmitted => "not-admitted",
            Self::HostKey => "host-key",
            Self::Unframed => "unframed",
            Self::NotStarted => "not-started",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::Cause;

    #[test]
    fn the_slug_is_the_name_in_json() {
        let schema = serde_json::to_string(&schemars::schema_for!(Cause)).expect("serialises");
        let all = [
            Cause::Exit,
            Cause::Killed,
            Cause::ProgramMissing,
            Cause::Timeout,
            Cause::StillRunning,
            Cause::Unhealthy,
            Cause::NodeDied,
            Cause::NotReached,
            Cause::NotAdmitted,
            Cause::HostKey,
            Cause::Unframed,
            Cause::NotStarted,
        ];
        for cause in all {
            let slug = format!("\"{cause}\"");
            assert_eq!(serde_json::to_string(&cause).expect("serialises"), slug);
            assert!(schema.contains(&slug), "{slug} is not in {schema}");
        }
    }
}
