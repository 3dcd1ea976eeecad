//! What a breath reports, and why it can end early.

use schemars::JsonSchema;
use serde::Serialize;

use super::changed::Changed;
use super::mesh::MeshFacts;

/// How a breath ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreatheVerdict {
    /// The branch is the same here and on the remote.
    InStep,
    /// Local and incoming commits contradict each other. The branch is unchanged.
    Conflict,
    /// Going on would have lost somebody's work, or somebody said no. Nothing here changed except what
    /// `inhale` reports.
    Refused,
    /// The remote did not answer in time, refused the login, or a transfer needs more time.
    Unreachable,
    /// No other node was reached. The commits are kept here.
    Alone,
    /// Another breath or another git is running here, or a lock is in the way on the remote.
    Busy,
    /// The branch moved at every try, usually because others pushed first.
    Raced,
    /// Something on this machine failed: a full disk, a damaged repository. Nothing is lost.
    Failed,
}

/// What moved in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Transfer {
    /// The commit of the branch before, in full; null if the branch did not exist.
    pub from: Option<String>,
    /// The commit of the branch now, in full.
    pub to: Option<String>,
    /// How many commits were transferred.
    pub commits: u64,
}

/// Where local commits that cannot go to the branch were stored on the remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Parked {
    /// The ref, in full.
    pub reference: String,
    /// The commit, in full.
    pub commit: String,
}

/// The result of a breath.
#[derive(Clone, Debug, PartialEq)]
pub struct BreathOutcome {
    /// How it ended.
    pub verdict: BreatheVerdict,
    /// One sentence for people. If something is left to do, it says what.
    pub reason: String,
    /// What came in; `from` and `to` are the local branch. None if nothing did.
    pub inhale: Option<Transfer>,
    /// What went out; `from` and `to` are the remote's branch. None if nothing did.
    pub exhale: Option<Transfer>,
    /// Where the local commits are safe that cannot go to the branch.
    pub parked: Option<Parked>,
    /// What became of the command `changed`; none if it did not run.
    pub changed: Option<Changed>,
    /// The files of a conflict or a refusal, and those that could not be committed; in UTF-8.
    pub files: Vec<String>,
    /// What the mesh reports beside.
    pub mesh: MeshFacts,
}

/// Why a breath ends before the branch is in step.
#[derive(Debug)]
pub(super) enum SyncError {
    /// A verdict, its reason and the files it is about.
    Verdict(BreatheVerdict, String, Vec<String>),
    /// Something on this machine failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for SyncError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl SyncError {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Verdict(BreatheVerdict::Refused, reason.into(), Vec::new())
    }

    pub(super) fn busy(reason: impl Into<String>) -> Self {
        Self::Verdict(BreatheVerdict::Busy, reason.into(), Vec::new())
    }

    /// Another git process holds this lock file.
    pub(super) fn locked(path: &std::path::Path) -> Self {
        Self::busy(format!("another git holds {0}; if none is running here, remove {0}", path.display()))
    }

    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Verdict(BreatheVerdict::Unreachable, ..))
    }
}
