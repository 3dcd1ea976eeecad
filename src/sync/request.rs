//! What is asked of a breath.

use std::path::Path;
use std::time::Duration;

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
    /// Whether a transfer that still advances when `timeout` is over gets more time in the next breath.
    pub patient: bool,
    /// The ssh command, unless the environment or the repository names one.
    pub ssh_command: Option<&'a str>,
}
