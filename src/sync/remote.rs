//! The two connections of a breath, fetch and push, and how their results are read.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use anyhow::anyhow;
use xshell::cmd;

use super::outcome::{BreatheVerdict, SyncError};
use crate::deadline::Deadline;
use crate::exec::{Ended, Finished};
use crate::git::{self, Git};

/// The branch on the remote.
pub(super) struct RemoteBranch<'a> {
    pub(super) git: &'a Git,
    pub(super) name: &'a str,
    /// The full name of the branch.
    pub(super) branch: &'a str,
    pub(super) deadline: Deadline,
}

/// The result of a push.
pub(super) enum PushResult {
    Done,
    /// Somebody else pushed first; git's message.
    Raced(String),
}

/// What the versions of git say when somebody else pushed first.
const RACE_MESSAGES: [&str; 8] = [
    "fetch first",
    "non-fast-forward",
    "stale info",
    "failed to update ref",
    "cannot lock ref",
    "failed to lock",
    "incorrect old value provided",
    "reference already exists",
];

/// What is said if this machine is the cause.
const LOCAL_FAILURES: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Too many open files"];

/// The ref that a breath fetches into. `FETCH_HEAD` is no use: any other fetch overwrites it.
pub(super) fn fetched_ref(remote: &str, branch: &str) -> String {
    format!("refs/breath/{remote}/{}", branch.trim_start_matches("refs/heads/"))
}

impl RemoteBranch<'_> {
    /// Fetches the branch and returns its commit; none if the remote has no such branch.
    pub(super) fn fetch(&self) -> Result<Option<String>, SyncError> {
        let Self { git, name, branch, .. } = self;
        let local_node = fetched_ref(name, branch);
        let fetch = cmd!(
            git.shell(),
            "git fetch --quiet --no-tags --no-prune --no-auto-maintenance --no-recurse-submodules
             --no-write-fetch-head --no-write-commit-graph --refmap= {name} +{branch}:{local_node}"
        );
        let fetched = git.run_remote(fetch, self.deadline)?;
        if fetched.success() {
            return Ok(git.resolve(&local_node)?);
        }
        if fetched.stderr.contains("couldn't find remote ref") {
            return Ok(None);
        }
        Err(self.unreachable(&fetched))
    }

    /// Pushes a commit to the branch, as a fast-forward only.
    pub(super) fn push(&self, commit: &str) -> Result<PushResult, SyncError> {
        let pushed = self.send(commit, self.branch)?;
        if pushed.success() {
            return Ok(PushResult::Done);
        }
        let report = String::from_utf8_lossy(&pushed.stdout);
        let answer = report.lines().find(|line| line.starts_with("!\t"));
        match answer.and_then(|line| line.rsplit('\t').next()) {
            Some(answer) if RACE_MESSAGES.iter().any(|message| answer.contains(message)) => {
                Ok(PushResult::Raced(answer.to_owned()))
            }
            // The connection broke during the answer; the next fetch tells whether the push arrived.
            Some(answer) if answer.contains("remote failure") => Err(self.unreachable(&pushed)),
            Some(answer) => Err(self.refused(answer, &pushed)),
            // A hook on this side refused before anything was sent.
            None if pushed.ended == Ended::Exited(1) => Err(self.refused("", &pushed)),
            None => Err(self.unreachable(&pushed)),
        }
    }

    /// Stores a commit on the remote under another ref; the error is the reason why not.
    pub(super) fn park(&self, commit: &str, reference: &str) -> Result<(), String> {
        match self.send(commit, reference) {
            Ok(sent) if sent.success() => Ok(()),
            Ok(sent) if sent.ended == Ended::TimedOut => Err("no answer in time".to_owned()),
            Ok(sent) => Err(git::error_line(&sent)),
            Err(SyncError::Failed(error)) => Err(format!("{error:#}")),
            Err(SyncError::Verdict(_, reason, _)) => Err(reason),
        }
    }

    fn send(&self, commit: &str, reference: &str) -> Result<Finished, SyncError> {
        let (git, name) = (self.git, self.name);
        let push = cmd!(
            git.shell(),
            "git push --porcelain --no-follow-tags --recurse-submodules=no {name} {commit}:{reference}"
        );
        Ok(git.run_remote(push, self.deadline)?)
    }

    fn unreachable(&self, finished: &Finished) -> SyncError {
        if finished.ended == Ended::TimedOut {
            let reason = format!("{} did not answer in time; the next breath tries again", self.name);
            return SyncError::Verdict(BreatheVerdict::Unreachable, reason, Vec::new());
        }
        let message = git::error_line(finished);
        let mut own_lines = finished.stderr.lines().filter(|line| !line.starts_with("remote:"));
        if own_lines.any(|line| LOCAL_FAILURES.iter().any(|failure| line.contains(failure))) {
            return SyncError::Failed(anyhow!(message));
        }
        SyncError::Verdict(BreatheVerdict::Unreachable, format!("{} was not reached: {message}", self.name), Vec::new())
    }

    fn refused(&self, answer: &str, finished: &Finished) -> SyncError {
        let hook = finished.stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim);
        let hook = hook.filter(|line| !line.is_empty() && !line.starts_with("error: hook declined")).take(3);
        let hook = hook.collect::<Vec<_>>().join(" ");
        let message = match (answer.is_empty(), hook.is_empty()) {
            (true, _) => git::error_line(finished),
            (false, true) => answer.to_owned(),
            (false, false) => format!("{answer} {hook}"),
        };
        SyncError::refused(format!("{} refused the push: {message}; the local commits are kept", self.name))
    }
}

/// Waits before another round, for a random time that grows with each round, so that two breaths
/// that raced once do not race for ever.
pub(super) fn back_off(round: u32, deadline: Deadline) {
    if round > 0 {
        let most = 20_u64 << round.min(6);
        let wait = Duration::from_millis(RandomState::new().hash_one(round) % most);
        std::thread::sleep(wait.min(deadline.left()));
    }
}

/// Runs git's automatic garbage collection in the background, as `git pull` does.
pub(super) fn collect_garbage(git: &Git) {
    let enabled = git.context("maintenance.auto").is_none() || git.is_set("maintenance.auto");
    if enabled {
        // Not `git maintenance`: when killed, it leaves a lock that blocks all later runs.
        let _ = git.run_remote(cmd!(git.shell(), "git gc --auto --quiet"), Deadline::after(Duration::from_secs(10)));
    }
}
