//! What is asked of a breath.

use std::path::Path;
use std::time::Duration;

/// How much of a breath is done, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Inhale and exhale. A transfer that still advances when the time is over gets more in the next breath.
    Patient,
    /// Inhale and exhale, within the time limit.
    Prompt,
    /// Inhale alone, within the time limit.
    InhaleOnly,
}

/// What a breath keeps in step.
#[derive(Clone, Copy, Debug)]
pub struct Breath<'a> {
    /// The work tree, or a directory in it.
    pub repo: &'a Path,
    /// The name of a configured remote.
    pub remote: &'a str,
    /// The branch, without `refs/heads/`. It has the same name on both sides.
    pub branch: &'a str,
    /// The time limit for everything that uses the network, added up. Local steps are not cut short
    /// by it.
    pub timeout: Duration,
    /// Whether to commit uncommitted work first.
    pub commit: bool,
    /// The node that breathes, for `refs/conflicts/NODE/…` and for messages.
    pub node: Option<&'a str>,
    /// How much is done, and how patiently.
    pub manner: Manner,
    /// The ssh command, unless the environment or the repository names one.
    pub ssh_command: Option<&'a str>,
}
