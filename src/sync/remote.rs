//! The two connections of a breath, fetch and push, and what their results mean.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use anyhow::anyhow;
use xshell::cmd;

use super::diagnosis;
use super::outcome::{BreatheVerdict, SyncError};
use super::request::{Breath, Manner};
use super::transfer::{self, Transferred};
use super::worktree::Worktree;
use crate::clock::Deadline;
use crate::exec::{Ended, Finished};
use crate::git::{self, Git};

/// The branch on the remote.
pub(super) struct RemoteBranch<'a> {
    pub(super) worktree: &'a Worktree,
    pub(super) breath: &'a Breath<'a>,
    pub(super) deadline: Deadline,
}

/// The result of a push.
pub(super) enum PushResult {
    Done,
    /// Somebody else pushed first; git's message.
    Raced(String),
    /// A lock file on the remote is in the way; its path.
    Locked(String),
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

/// The ref that a breath fetches into. `FETCH_HEAD` is no use: any other fetch overwrites it.
pub fn fetched_ref(remote: &str, branch: &str) -> String {
    format!("refs/breath/{remote}/{}", branch.trim_start_matches("refs/heads/"))
}

impl RemoteBranch<'_> {
    /// Fetches the branch and returns its commit; none if the remote has no such branch.
    pub(super) fn fetch(&self) -> Result<Option<String>, SyncError> {
        let (git, name, branch) = (&self.worktree.git, self.breath.remote, &self.worktree.branch);
        let reference = fetched_ref(name, branch);
        let fetch = cmd!(
            git.shell(),
            "git fetch --quiet --no-tags --no-prune --no-auto-maintenance --no-recurse-submodules
             --no-write-fetch-head --no-write-commit-graph --refmap= {name} +{branch}:{reference}"
        );
        transfer::before_fetch(self.worktree)?;
        let fetched = transfer::run(git, fetch, self.deadline)?;
        if fetched.finished.success() {
            transfer::after_fetch(self.worktree);
            return Ok(git.resolve(&reference)?);
        }
        transfer::remove_partial_packs(self.worktree);
        if fetched.finished.stderr.contains("couldn't find remote ref") {
            return Ok(None);
        }
        Err(self.failure(&fetched))
    }

    /// Pushes a commit to the branch, as a fast-forward only.
    pub(super) fn push(&self, commit: &str) -> Result<PushResult, SyncError> {
        let pushed = self.send(&[format!("{commit}:{}", self.worktree.branch)])?;
        let (text, ended) = (&pushed.finished.stderr, pushed.finished.ended);
        if pushed.finished.success() {
            return Ok(PushResult::Done);
        }
        let report = String::from_utf8_lossy(&pushed.finished.stdout);
        let answer = report.lines().find(|line| line.starts_with("!\t")).and_then(|line| line.rsplit('\t').next());
        match answer {
            // A hook on this side refused before anything was sent.
            None if ended == Ended::Exited(1) => Err(self.refused_here(&pushed.finished)),
            None if text.contains("does not appear to be a git repository") && self.has_push_url() => {
                let key = format!("remote.{}.pushurl", self.breath.remote);
                Err(SyncError::Failed(anyhow!(
                    "{}; the setting {key} forbids the push or is wrong: `git config --unset {key}`",
                    git::error_line(&pushed.finished)
                )))
            }
            None => Err(self.failure(&pushed)),
            // The connection broke during the answer; the next fetch tells whether the push arrived.
            Some(answer) if answer.contains("remote failure") => Err(self.failure(&pushed)),
            Some(answer) if is_race(answer) => match diagnosis::remote_lock(text) {
                Some(lock) => Ok(PushResult::Locked(lock.to_owned())),
                None if text.contains("': Permission denied") => Err(self.refused(answer, &pushed.finished)),
                None => Ok(PushResult::Raced(answer.to_owned())),
            },
            Some(answer) => match diagnosis::failed_here(text) {
                Some((line, _)) => Err(SyncError::Failed(anyhow!(line.to_owned()))),
                None => Err(self.refused(answer, &pushed.finished)),
            },
        }
    }

    /// Pushes to several refs, each on its own. The error is git's message.
    pub(super) fn push_refs(&self, refspecs: &[String]) -> Result<(), String> {
        match self.send(refspecs) {
            Ok(sent) if sent.finished.success() => Ok(()),
            Ok(sent) if sent.finished.ended == Ended::TimedOut => Err("no answer in time".to_owned()),
            Ok(sent) => Err(git::error_line(&sent.finished)),
            Err(SyncError::Failed(error)) => Err(format!("{error:#}")),
            Err(SyncError::Verdict(_, reason, _)) => Err(reason),
        }
    }

    /// The refs of the remote that match a pattern, with their commits.
    pub(super) fn list_refs(&self, pattern: &str) -> Result<Vec<(String, String)>, SyncError> {
        let (git, name) = (&self.worktree.git, self.breath.remote);
        let listed = git.run_remote(cmd!(git.shell(), "git ls-remote --quiet {name} {pattern}"), self.deadline)?;
        if !listed.success() {
            return Err(self.failure(&Transferred { finished: listed, is_advancing: false }));
        }
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.map(|(commit, name)| (name.to_owned(), commit.to_owned())).collect())
    }

    fn send(&self, refspecs: &[String]) -> Result<Transferred, SyncError> {
        let (git, name) = (&self.worktree.git, self.breath.remote);
        let push =
            cmd!(git.shell(), "git push --porcelain --no-follow-tags --recurse-submodules=no {name} {refspecs...}");
        Ok(transfer::run(git, push, self.deadline)?)
    }

    fn has_push_url(&self) -> bool {
        self.worktree.git.setting(&format!("remote.{}.pushurl", self.breath.remote)).is_some()
    }

    /// Tells a remote that was not reached from a failure on this machine and from a refusal.
    fn failure(&self, transferred: &Transferred) -> SyncError {
        let (finished, name) = (&transferred.finished, self.breath.remote);
        let text = &finished.stderr;
        let unreachable = |reason| SyncError::Verdict(BreatheVerdict::Unreachable, reason, Vec::new());
        if finished.ended == Ended::TimedOut {
            return match self.more_time(transferred) {
                Some(limit) => unreachable(format!(
                    "the transfer with {name} was still advancing when its time was over; the next breath has {}",
                    humantime::format_duration(limit)
                )),
                None => unreachable(format!("{name} did not answer in time; the next breath tries again")),
            };
        }
        if let Some(lock) = diagnosis::own_lock(text) {
            return SyncError::locked(lock.as_ref());
        }
        // Without a connection, the other lines are ssh's, or come from the remote's shell and git.
        let never_connected = text.contains("Could not read from remote repository");
        if never_connected && text.contains("detected dubious ownership") {
            return self.refusal(&diagnosis::line_with(text, "detected dubious ownership"), "dubious ownership");
        }
        if never_connected && let Some(line) = diagnosis::missing_git(text) {
            return self.refusal(line, "git is not installed");
        }
        // Then the other lines come from the remote's git.
        if text.contains("remote error:") {
            return self.refusal(&diagnosis::line_with(text, "remote error:"), text);
        }
        if let Some((line, _)) = diagnosis::failed_here(text)
            && (!never_connected || line.contains("cannot run"))
        {
            return SyncError::Failed(anyhow!(line.to_owned()));
        }
        let message = git::error_line(finished);
        if diagnosis::was_not_reached(text) {
            return unreachable(format!("{name} was not reached: {message}"));
        }
        SyncError::Failed(anyhow!("git: {message}"))
    }

    fn more_time(&self, transferred: &Transferred) -> Option<Duration> {
        let grows = self.breath.manner == Manner::Patient && transferred.is_advancing;
        grows.then(|| transfer::grow_time_limit(self.worktree, self.breath.timeout).ok()).flatten()
    }

    fn refusal(&self, line: &str, about: &str) -> SyncError {
        let remedy = diagnosis::remote_remedy(about).map(|remedy| format!("; {remedy}")).unwrap_or_default();
        SyncError::refused(format!("{} was reached but refused: {line}{remedy}", self.breath.remote))
    }

    /// A hook of this repository refused the push. Its output may be on either stream.
    fn refused_here(&self, finished: &Finished) -> SyncError {
        let text = format!("{}\n{}", finished.stderr, String::from_utf8_lossy(&finished.stdout));
        let summary =
            |line: &&str| line.is_empty() || line.starts_with("error: failed to push") || line.starts_with("To ");
        let first = text.lines().map(str::trim).find(|line| !summary(line)).unwrap_or("it gave no reason");
        let (line, remedy) = match diagnosis::failed_here(&text) {
            Some((line, remedy)) => (line, format!("; {remedy}")),
            None => (first, String::new()),
        };
        let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
        SyncError::refused(format!(
            "the pre-push hook of this repository refused the push: {line}; the local commits are kept{remedy}"
        ))
    }

    fn refused(&self, answer: &str, finished: &Finished) -> SyncError {
        let hook = finished.stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim);
        let hook = hook.filter(|line| !line.is_empty() && !line.starts_with("error: hook declined")).take(3);
        let hook: Vec<_> = hook.collect();
        let remedy = diagnosis::remote_remedy(&format!("{answer}\n{}", finished.stderr));
        let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
        let message = [&[answer][..], &hook].concat().join(" ");
        let name = self.breath.remote;
        SyncError::refused(format!("{name} refused the push: {message}; the local commits are kept{remedy}"))
    }
}

pub(super) fn is_race(answer: &str) -> bool {
    RACE_MESSAGES.iter().any(|message| answer.contains(message))
}

/// Waits before another round, for a random time that grows with each round, so that two breaths
/// that raced once do not race for ever.
pub(super) fn back_off(round: u32, deadline: Deadline) {
    if round > 0 {
        let max_millis = 20_u64 << round.min(6);
        let wait = Duration::from_millis(RandomState::new().hash_one(round) % max_millis);
        std::thread::sleep(wait.min(deadline.left()));
    }
}

/// Runs git's automatic garbage collection in the background, as `git pull` does.
pub(super) fn collect_garbage(git: &Git) {
    let enabled = git.setting("maintenance.auto").is_none() || git.is_set("maintenance.auto");
    if enabled {
        // Not `git maintenance`: when killed, it leaves a lock that blocks all later runs.
        let _ = git.run_remote(cmd!(git.shell(), "git gc --auto --quiet"), Deadline::after(Duration::from_secs(10)));
    }
}
