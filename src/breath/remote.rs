//! The two conversations of a breath, and what is made of the answers.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use anyhow::anyhow;
use xshell::cmd;

use super::{Stop, Verdict};
use crate::deadline::Deadline;
use crate::exec::{Ended, Finished};
use crate::git::{self, Git};

/// The remote's branch.
pub(super) struct Remote<'a> {
    pub(super) git: &'a Git,
    pub(super) name: &'a str,
    /// In full.
    pub(super) branch: &'a str,
    pub(super) deadline: Deadline,
}

/// What came of a push.
pub(super) enum Pushed {
    Done,
    /// Somebody else was first; what git said.
    Raced(String),
}

/// What a remote says when somebody else was first, in the versions of git there are.
const RACED: [&str; 8] = [
    "fetch first",
    "non-fast-forward",
    "stale info",
    "failed to update ref",
    "cannot lock ref",
    "failed to lock",
    "incorrect old value provided",
    "reference already exists",
];

/// What is said when it is this machine that cannot go on.
const HERE: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Too many open files"];

/// The ref that a breath fetches into. `FETCH_HEAD` belongs to whoever fetched last.
pub(super) fn own_ref(remote: &str, branch: &str) -> String {
    format!("refs/breath/{remote}/{}", branch.trim_start_matches("refs/heads/"))
}

impl Remote<'_> {
    /// Fetches the branch and says where it stands; none where the remote has no such branch.
    pub(super) fn fetch(&self) -> Result<Option<String>, Stop> {
        let Self { git, name, branch, .. } = self;
        let local_node = own_ref(name, branch);
        let fetch = cmd!(
            git.shell(),
            "git fetch --quiet --no-tags --no-prune --no-auto-maintenance --no-recurse-submodules
             --no-write-fetch-head --no-write-commit-graph --refmap= {name} +{branch}:{local_node}"
        );
        let fetched = git.talk(fetch, self.deadline)?;
        if fetched.success() {
            return Ok(git.tip(&local_node)?);
        }
        if fetched.stderr.contains("couldn't find remote ref") {
            return Ok(None);
        }
        Err(self.unreached(&fetched))
    }

    /// Pushes a commit to the branch, which must lead there without losing anything.
    pub(super) fn push(&self, commit: &str) -> Result<Pushed, Stop> {
        let pushed = self.send(commit, self.branch)?;
        if pushed.success() {
            return Ok(Pushed::Done);
        }
        let report = String::from_utf8_lossy(&pushed.stdout);
        let answer = report.lines().find(|line| line.starts_with("!\t"));
        match answer.and_then(|line| line.rsplit('\t').next()) {
            Some(answer) if RACED.iter().any(|words| answer.contains(words)) => Ok(Pushed::Raced(answer.to_owned())),
            // The line was lost while it was being given; whether the push arrived, a fetch tells.
            Some(answer) if answer.contains("remote failure") => Err(self.unreached(&pushed)),
            Some(answer) => Err(self.refused(answer, &pushed)),
            // Said by a hook of this side, before anything was sent.
            None if pushed.ended == Ended::Exited(1) => Err(self.refused("", &pushed)),
            None => Err(self.unreached(&pushed)),
        }
    }

    /// Puts a commit into safety under another name; the error is what was said against it.
    pub(super) fn park(&self, commit: &str, reference: &str) -> Result<(), String> {
        match self.send(commit, reference) {
            Ok(sent) if sent.success() => Ok(()),
            Ok(sent) if sent.ended == Ended::TimedOut => Err("no answer in time".to_owned()),
            Ok(sent) => Err(git::words(&sent)),
            Err(Stop::Failed(error)) => Err(format!("{error:#}")),
            Err(Stop::At(_, reason, _)) => Err(reason),
        }
    }

    fn send(&self, commit: &str, reference: &str) -> Result<Finished, Stop> {
        let (git, name) = (self.git, self.name);
        let push = cmd!(
            git.shell(),
            "git push --porcelain --no-follow-tags --recurse-submodules=no {name} {commit}:{reference}"
        );
        Ok(git.talk(push, self.deadline)?)
    }

    fn unreached(&self, said: &Finished) -> Stop {
        if said.ended == Ended::TimedOut {
            let reason = format!("{} did not answer in time; the next breath tries again", self.name);
            return Stop::At(Verdict::Unreachable, reason, Vec::new());
        }
        let words = git::words(said);
        if HERE.iter().any(|here| said.stderr.lines().any(|line| !line.starts_with("remote:") && line.contains(here))) {
            return Stop::Failed(anyhow!(words));
        }
        Stop::At(Verdict::Unreachable, format!("{} was not reached: {words}", self.name), Vec::new())
    }

    fn refused(&self, answer: &str, said: &Finished) -> Stop {
        let hook = said.stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim);
        let hook = hook.filter(|line| !line.is_empty() && !line.starts_with("error: hook declined")).take(3);
        let hook = hook.collect::<Vec<_>>().join(" ");
        let words = match (answer.is_empty(), hook.is_empty()) {
            (true, _) => git::words(said),
            (false, true) => answer.to_owned(),
            (false, false) => format!("{answer} {hook}"),
        };
        Stop::refused(format!("{} refused the push: {words}; the local commits stand", self.name))
    }
}

/// Waits a little before another round, longer each time and never twice the same, so that those
/// who raced once do not race for ever.
pub(super) fn pause(round: u32, deadline: Deadline) {
    if round > 0 {
        let most = 20_u64 << round.min(6);
        let wait = Duration::from_millis(RandomState::new().hash_one(round) % most);
        std::thread::sleep(wait.min(deadline.left()));
    }
}

/// Lets git tidy up if it finds that necessary, behind our back, as `git pull` does.
pub(super) fn tidy(git: &Git) {
    let wanted = git.context("maintenance.auto").is_none() || git.is_set("maintenance.auto");
    if wanted {
        // `git maintenance` would leave a lock that is never forgiven when it is killed; this does not.
        let _ = git.talk(cmd!(git.shell(), "git gc --auto --quiet"), Deadline::after(Duration::from_secs(10)));
    }
}
