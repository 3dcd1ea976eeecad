//! The rounds of one breath: recover, check, fetch, move the work tree, push.

use anyhow::anyhow;

use super::autocommit::{self, LeftOut};
use super::mesh::MeshFacts;
use super::outcome::{BreatheVerdict, Parked, SyncError, Transfer};
use super::remote::{PushResult, RemoteBranch};
use super::replay::{self, Replayed};
use super::request::{Breath, Manner};
use super::worktree::Worktree;
use super::{changed, checkout, fast_replay, park, preflight, recover, refs, remote, transfer};
use crate::clock::Deadline;

/// How often a breath tries a push while a lock file on the remote is in the way.
const MAX_LOCKED_ROUNDS: u32 = 4;
/// How often a breath tries again after others pushed first.
const MAX_ROUNDS: u32 = 8;

/// What a breath has done so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) inhale: Option<Transfer>,
    pub(super) exhale: Option<Transfer>,
    pub(super) parked: Option<Parked>,
    /// Uncommitted work that could not be committed.
    pub(super) left_out: Vec<LeftOut>,
    /// What the mesh reports beside.
    pub(super) mesh: MeshFacts,
}

/// One breath in a locked work tree.
pub(super) struct Session<'a> {
    breath: &'a Breath<'a>,
    worktree: &'a Worktree,
    remote: RemoteBranch<'a>,
    progress: &'a mut Progress,
}

/// The branch after an inhale.
struct Inhaled {
    /// None if the branch has no commit.
    tip: Option<String>,
    /// How many commits the remote lacks.
    ahead: u64,
}

/// What became of one round.
enum Round {
    /// The sentence that says so.
    InStep(String),
    /// Something moved at the same time; why.
    Raced(String),
    /// A lock file on the remote is in the way.
    Locked(String),
    /// The time is up.
    OutOfTime,
}

impl<'a> Session<'a> {
    pub(super) fn new(breath: &'a Breath<'a>, worktree: &'a Worktree, progress: &'a mut Progress) -> Self {
        let limit = match breath.manner {
            Manner::Patient => transfer::time_limit(worktree, breath.timeout),
            Manner::Prompt | Manner::InhaleOnly => breath.timeout,
        };
        let remote = RemoteBranch { worktree, breath, deadline: Deadline::after(limit) };
        Self { breath, worktree, remote, progress }
    }

    /// Returns the sentence for people once the branch is in step.
    pub(super) fn run(&mut self) -> Result<String, SyncError> {
        let fetched = remote::fetched_ref(self.breath.remote, &self.worktree.branch);
        recover::recover(self.worktree, &[&fetched, fast_replay::REF])?;
        transfer::remove_partial_packs(self.worktree);
        preflight::check(self.worktree)?;
        if self.breath.commit {
            self.progress.left_out = autocommit::commit(self.worktree, self.breath.node)?;
        }
        let (mut last, mut locked) = (String::new(), 0);
        for round in 0..MAX_ROUNDS {
            remote::back_off(round, self.remote.deadline);
            if round > 0 && self.remote.deadline.has_passed() {
                break;
            }
            match self.round(round)? {
                Round::InStep(reason) => return Ok(reason),
                Round::Raced(why) => (last, locked) = (why, 0),
                Round::Locked(lock) if locked + 1 == MAX_LOCKED_ROUNDS => return Err(self.locked_on_remote(&lock)),
                Round::Locked(lock) => (last, locked) = (lock, locked + 1),
                Round::OutOfTime => break,
            }
        }
        let reason = format!(
            "{} moved at every try, here or on {} ({last}); the local commits are kept and go with the next breath",
            self.breath.branch, self.breath.remote
        );
        Err(SyncError::Verdict(BreatheVerdict::Raced, reason, Vec::new()))
    }

    fn round(&mut self, round: u32) -> Result<Round, SyncError> {
        let deadline = self.remote.deadline;
        // Out of time after a lost race: report the race, not an unreachable remote.
        let late = |error: &SyncError| round > 0 && deadline.has_passed() && error.is_unreachable();
        let upstream = match self.remote.fetch() {
            Err(error) if late(&error) => return Ok(Round::OutOfTime),
            fetched => fetched?,
        };
        let local = self.worktree.branch_tip()?;
        let Some(inhaled) = self.inhale(local, upstream.clone())? else {
            return Ok(Round::Raced("the branch moved at the same time".to_owned()));
        };
        let Some(tip) = inhaled.tip else {
            return Ok(Round::InStep(self.in_step(None)));
        };
        if Some(&tip) == upstream.as_ref() {
            refs::track(self.worktree, self.breath.remote, &tip);
            return Ok(Round::InStep(self.in_step(Some(&tip))));
        }
        if self.breath.manner == Manner::InhaleOnly {
            return Ok(Round::InStep(self.inhaled_alone(&tip, inhaled.ahead)));
        }
        let remote = &self.remote;
        let pushed = match refs::with_tracking_locks(self.worktree, self.breath.remote, &tip, || remote.push(&tip)) {
            Err(error) if late(&error) => return Ok(Round::OutOfTime),
            pushed => pushed?,
        };
        match pushed {
            PushResult::Done => {
                let exhale = Transfer { from: upstream, to: Some(tip.clone()), commits: inhaled.ahead };
                self.progress.exhale = Some(exhale);
                Ok(Round::InStep(self.in_step(Some(&tip))))
            }
            PushResult::Raced(why) => Ok(Round::Raced(why)),
            PushResult::Locked(lock) => Ok(Round::Locked(lock)),
        }
    }

    /// Brings the local branch onto `upstream`. None if the branch moved at the same time.
    fn inhale(&mut self, local: Option<String>, upstream: Option<String>) -> Result<Option<Inhaled>, SyncError> {
        let git = &self.worktree.git;
        let Some(upstream) = upstream else {
            let ahead = match &local {
                Some(tip) => replay::count(git, tip)?,
                None => 0,
            };
            return Ok(Some(Inhaled { tip: local, ahead }));
        };
        if local.as_ref() == Some(&upstream) {
            return Ok(Some(Inhaled { tip: local, ahead: 0 }));
        }
        let (ahead, behind) = match &local {
            Some(local) => replay::divergence(git, local, &upstream)?,
            None => (0, replay::count(git, &upstream)?),
        };
        if behind == 0 {
            return Ok(Some(Inhaled { tip: local, ahead }));
        }
        let tip = match &local {
            Some(local) if ahead > 0 => match replay::replay(git, local, &upstream, self.breath.node)? {
                Replayed::Clean(tip) => tip,
                Replayed::Unrelated => return Err(self.unrelated()),
                Replayed::Conflict(files) => return Err(self.park(local, files)),
            },
            _ => upstream,
        };
        match (
            changed::moving(self.worktree, local.as_deref(), || {
                checkout::checkout(self.worktree, local.as_deref(), &tip)
            }),
            &local,
        ) {
            (Ok(true), _) => {}
            (Ok(false), _) => return Ok(None),
            (Err(error), Some(local)) if ahead > 0 => return Err(self.park_blocked(local, ahead, error)),
            (Err(error), _) => return Err(error),
        }
        let before = self.progress.inhale.take();
        self.progress.inhale = Some(Transfer {
            commits: behind + before.as_ref().map_or(0, |inhale| inhale.commits),
            from: before.map_or(local, |inhale| inhale.from),
            to: Some(tip.clone()),
        });
        Ok(Some(Inhaled { tip: Some(tip), ahead }))
    }

    fn locked_on_remote(&self, lock: &str) -> SyncError {
        SyncError::busy(format!(
            "a lock on {0} is in the way: {lock}; if no git is running there, remove that file on {0}",
            self.breath.remote
        ))
    }

    fn in_step(&self, tip: Option<&str>) -> String {
        transfer::reset_time_limit(self.worktree);
        if self.progress.inhale.is_some() || self.progress.exhale.is_some() {
            remote::collect_garbage(&self.worktree.git);
        }
        let Breath { branch, remote, .. } = self.breath;
        match tip {
            Some(tip) => format!("{branch} is in step with {remote} at {}", &tip[..12]),
            None => format!("{branch} has no commit yet, neither here nor on {remote}"),
        }
    }

    fn inhaled_alone(&self, tip: &str, ahead: u64) -> String {
        let Breath { branch, remote, .. } = self.breath;
        let commits = if ahead == 1 { "1 commit goes".to_owned() } else { format!("{ahead} commits go") };
        format!("{branch} has all of {remote} at {}; {commits} out with the next breath", &tip[..12])
    }

    fn unrelated(&self) -> SyncError {
        let Breath { branch, remote, .. } = self.breath;
        let shallow = self.worktree.git.common().join("shallow").metadata().is_ok_and(|meta| meta.len() > 0);
        if shallow {
            return SyncError::refused(format!(
                "this clone is shallow and does not reach the commit that {branch} here and {branch} on {remote} have \
                 in common; complete it with `git fetch --unshallow {remote}`"
            ));
        }
        SyncError::refused(format!(
            "{branch} here and {branch} on {remote} have no commit in common; join them by hand with `git merge \
             --allow-unrelated-histories`, or choose another remote"
        ))
    }

    /// Local and incoming commits contradict each other.
    fn park(&mut self, local: &str, files: Vec<String>) -> SyncError {
        let Breath { branch, remote, .. } = self.breath;
        let parked = self.try_to_park(local);
        let reason = format!(
            "local and incoming commits change the same lines; {parked}; resolve it with `git pull --rebase {remote} \
             {branch}`"
        );
        SyncError::Verdict(BreatheVerdict::Conflict, reason, files)
    }

    /// The work tree cannot take the incoming changes; the local commits must not wait for it.
    fn park_blocked(&mut self, local: &str, ahead: u64, error: SyncError) -> SyncError {
        if matches!(error, SyncError::Verdict(BreatheVerdict::Busy, ..)) {
            return error;
        }
        let commits = if ahead == 1 { "1 commit has".to_owned() } else { format!("{ahead} commits have") };
        let parked = self.try_to_park(local);
        let note = format!("until then {commits} not been pushed to {}; {parked}", self.breath.branch);
        match error {
            SyncError::Verdict(verdict, reason, files) => {
                SyncError::Verdict(verdict, format!("{reason}; {note}"), files)
            }
            SyncError::Failed(error) => SyncError::Failed(anyhow!("{error:#}; {note}")),
        }
    }

    fn try_to_park(&mut self, local: &str) -> String {
        let remote = self.breath.remote;
        if self.breath.manner == Manner::InhaleOnly {
            return "the next breath parks the local commits".to_owned();
        }
        match park::park(&self.remote, local) {
            Ok(parked) => {
                let stored = format!("the local commits are on {remote} as {}", parked.reference);
                self.progress.parked = Some(parked);
                stored
            }
            Err(why) => format!("the local commits are only here, because {remote} did not accept them ({why})"),
        }
    }
}
