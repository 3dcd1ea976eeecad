//! One breath: an inhale (fetch, then fast-forward or rebase) and an exhale (push).
//!
//! The rule above all others: a breath loses nothing and leaves a tree that the next breath can
//! use, whenever it is killed. So everything that can be worked out is worked out on objects alone,
//! where nothing is ever overwritten ([`replay`]); the work tree moves once, from one commit to
//! another, under a note that says so ([`turn`]); and a breath begins by finishing or undoing what
//! such a note tells of ([`recover`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use anyhow::{Context, Result, bail};

use crate::deadline::Deadline;
use crate::git::{self, Git};

mod carry;
mod index;
mod names;
mod note;
mod recover;
mod refs;
mod remote;
mod replay;
mod state;
mod turn;
mod uncommitted;

use remote::{Pushed, Remote};
use replay::Replayed;

/// How often a breath tries again when others pushed first.
const ROUNDS: u32 = 8;

/// What a breath is to keep in step.
#[derive(Clone, Copy, Debug)]
pub struct Breath<'a> {
    /// The work tree, or a directory in it.
    pub repo: &'a Path,
    /// The name of a configured remote.
    pub remote: &'a str,
    /// The branch, by the same name here and there; without `refs/heads/`.
    pub branch: &'a str,
    /// What all that goes over the network may take together. Steps on this machine are not cut
    /// short by it.
    pub timeout: Duration,
    /// Whether to commit uncommitted work first.
    pub commit: bool,
    /// The node that breathes, for `refs/conflicts/NODE/…` and for messages.
    pub node: Option<&'a str>,
    /// The ssh to use, unless the environment or the repository says otherwise.
    pub ssh_command: Option<&'a str>,
}

/// How a breath ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The branch is the same here and on the remote.
    InStep,
    /// Local and incoming commits contradict each other. The branch stands as before.
    Conflict,
    /// Going on would have cost somebody's work, or somebody said no. Nothing here changed but what
    /// `inhale` tells.
    Refused,
    /// The remote did not answer in time, or let nobody in.
    Unreachable,
    /// Another breath, or another program using git, is at work here.
    Busy,
    /// The branch moved at every try, mostly since others pushed first.
    Raced,
    /// Something on this machine failed: a full disk, a damaged repository. Nothing is lost.
    Failed,
}

/// What moved in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sync {
    /// Where the branch stood before, in full; none where it did not exist.
    pub from: Option<String>,
    /// Where it stands now, in full.
    pub to: Option<String>,
    /// How many commits came, or went, that were not there before.
    pub commits: u64,
}

/// Where the local commits of a conflict were put on the remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Parked {
    /// The ref, in full.
    pub reference: String,
    /// The commit, in full.
    pub commit: String,
}

/// What came of a breath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// One sentence for people; where something is left to do, it says what.
    pub reason: String,
    /// What came in; `from` and `to` are the local branch. None where nothing did.
    pub inhale: Option<Sync>,
    /// What went out; `from` and `to` are the remote's branch. None where nothing did.
    pub exhale: Option<Sync>,
    /// Where the local commits are in safety after a conflict.
    pub parked: Option<Parked>,
    /// The files that a conflict or a refusal is about, in UTF-8 as far as they are.
    pub files: Vec<String>,
}

/// Why a breath ends before it is in step.
enum Stop {
    At(Verdict, String, Vec<String>),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    fn refused(reason: impl Into<String>) -> Self {
        Self::At(Verdict::Refused, reason.into(), Vec::new())
    }

    fn busy(reason: impl Into<String>) -> Self {
        Self::At(Verdict::Busy, reason.into(), Vec::new())
    }
}

/// The repository that is breathed in, and where the breath keeps its own files.
struct Place {
    git: Git,
    /// In full.
    branch: String,
    /// `mirror` in the directory of this work tree's own files.
    dir: PathBuf,
    work_tree: PathBuf,
}

#[derive(Default)]
struct Facts {
    inhale: Option<Sync>,
    exhale: Option<Sync>,
    parked: Option<Parked>,
}

impl Breath<'_> {
    /// Breathes once.
    ///
    /// # Errors
    /// When it was asked for something that cannot be: no such repository or remote, a name that
    /// cannot be a branch's. Everything else is a [`Verdict`].
    pub fn breathe(&self) -> Result<Outcome> {
        let mut facts = Facts::default();
        let (verdict, reason, files) = match self.within(&mut facts)? {
            Ok(reason) => (Verdict::InStep, reason, Vec::new()),
            Err(Stop::At(verdict, reason, files)) => (verdict, reason, files),
            Err(Stop::Failed(error)) => (Verdict::Failed, format!("{error:#}; nothing is lost"), Vec::new()),
        };
        let Facts { inhale, exhale, parked } = facts;
        Ok(Outcome { verdict, reason, inhale, exhale, parked, files })
    }

    /// The outer error is the caller's mistake, the inner one what became of the breath.
    fn within(&self, facts: &mut Facts) -> Result<Result<String, Stop>> {
        names::check_branch(self.branch)?;
        names::check_remote(self.remote)?;
        let mut git = match Git::open(self.repo) {
            // No git, or no process or descriptor to be had: nothing is wrong with what was asked for.
            Err(error) if error.root_cause().is::<std::io::Error>() => return Ok(Err(Stop::Failed(error))),
            opened => opened?,
        };
        if git.context(&format!("remote.{}.url", self.remote)).is_none() {
            bail!(
                "{}: no remote `{}` is configured; add it with `git remote add {} URL`",
                self.repo.display(),
                self.remote,
                self.remote
            );
        }
        git.ssh_through(self.ssh_command);
        let Some(work_tree) = git.work_tree().map(Path::to_owned) else {
            return Ok(Err(Stop::refused("the repository is bare; a breath needs a work tree")));
        };
        let dir = git.dir().join("mirror");
        let branch = format!("refs/heads/{}", self.branch);
        let mut place = Place { git, branch, dir, work_tree };
        Ok(match place.lock() {
            Ok(()) => self.run(&place, facts),
            Err(stop) => Err(stop),
        })
    }

    fn run(&self, place: &Place, facts: &mut Facts) -> Result<String, Stop> {
        let deadline = Deadline::after(self.timeout);
        recover::recover(place, &[&remote::own_ref(self.remote, &place.branch), carry::REF])?;
        state::check(place)?;
        if self.commit {
            uncommitted::commit(place, self.node)?;
        }
        let remote = Remote { git: &place.git, name: self.remote, branch: &place.branch, deadline };
        let mut last = String::new();
        for round in 0..ROUNDS {
            remote::pause(round, deadline);
            if round > 0 && deadline.has_passed() {
                break;
            }
            // Out of time after a lost race, it is the race that was lost and not the remote.
            let upstream = match remote.fetch() {
                Err(Stop::At(Verdict::Unreachable, ..)) if round > 0 && deadline.has_passed() => break,
                fetched => fetched?,
            };
            let local = place.git.tip(&place.branch)?;
            let Some(step) = self.inhale(place, &remote, local, upstream.clone(), facts)? else {
                last = "the branch moved meanwhile".to_owned();
                continue;
            };
            if Some(&step.tip) == upstream.as_ref() {
                refs::track(place, self.remote, &step.tip);
                return Ok(self.in_step(Some(&step.tip), facts, place));
            }
            let Some(tip) = Some(step.tip).filter(|tip| !tip.is_empty()) else {
                return Ok(self.in_step(None, facts, place));
            };
            let pushed = match refs::locking(place, self.remote, &tip, || remote.push(&tip)) {
                Err(Stop::At(Verdict::Unreachable, ..)) if round > 0 && deadline.has_passed() => break,
                pushed => pushed?,
            };
            match pushed {
                Pushed::Done => {
                    facts.exhale = Some(Sync { from: upstream, to: Some(tip.clone()), commits: step.ahead });
                    return Ok(self.in_step(Some(&tip), facts, place));
                }
                Pushed::Raced(words) => last = words,
            }
        }
        let reason = format!(
            "{} moved at every try, here or on {} ({last}); the local commits stand and go with the next breath",
            self.branch, self.remote
        );
        Err(Stop::At(Verdict::Raced, reason, Vec::new()))
    }

    /// Brings the local branch onto `upstream`. None where it moved under our hands.
    fn inhale(
        &self,
        place: &Place,
        remote: &Remote<'_>,
        local: Option<String>,
        upstream: Option<String>,
        facts: &mut Facts,
    ) -> Result<Option<Step>, Stop> {
        let (local, upstream) = match (local, upstream) {
            (local, None) => {
                let ahead = match &local {
                    Some(tip) => replay::count(&place.git, tip)?,
                    None => 0,
                };
                return Ok(Some(Step { tip: local.unwrap_or_default(), ahead }));
            }
            (Some(local), Some(upstream)) if local == upstream => return Ok(Some(Step { tip: local, ahead: 0 })),
            (local, Some(upstream)) => (local, upstream),
        };
        let (ahead, behind) = match &local {
            Some(local) => replay::apart(&place.git, local, &upstream)?,
            None => (0, replay::count(&place.git, &upstream)?),
        };
        let tip = match &local {
            Some(local) if behind == 0 => return Ok(Some(Step { tip: local.clone(), ahead })),
            Some(local) if ahead > 0 => match replay::replay(&place.git, local, &upstream, self.node)? {
                Replayed::Clean(tip) => tip,
                Replayed::Unrelated => return Err(self.unrelated()),
                Replayed::Conflict(files) => return Err(self.park(remote, local, files, facts)),
            },
            _ => upstream,
        };
        if !turn::turn(place, local.as_deref(), &tip)? {
            return Ok(None);
        }
        let before = facts.inhale.take();
        facts.inhale = Some(Sync {
            commits: behind + before.as_ref().map_or(0, |sync| sync.commits),
            from: before.map_or(local, |sync| sync.from),
            to: Some(tip.clone()),
        });
        Ok(Some(Step { tip, ahead }))
    }

    fn in_step(&self, tip: Option<&str>, facts: &Facts, place: &Place) -> String {
        if facts.inhale.is_some() || facts.exhale.is_some() {
            remote::tidy(&place.git);
        }
        match tip {
            Some(tip) => format!("{} is in step with {} at {}", self.branch, self.remote, &tip[..12]),
            None => format!("{} has no commit yet, neither here nor on {}", self.branch, self.remote),
        }
    }

    fn unrelated(&self) -> Stop {
        Stop::refused(format!(
            "{0} here and {0} on {1} have no commit in common; join them by hand with `git merge \
             --allow-unrelated-histories`, or choose another remote",
            self.branch, self.remote
        ))
    }

    fn park(&self, remote: &Remote<'_>, local: &str, files: Vec<String>, facts: &mut Facts) -> Stop {
        let reference = format!("refs/conflicts/{}/{local}", names::plain_node(self.node));
        let safe = match remote.park(local, &reference) {
            Ok(()) => {
                let said = format!("the local commits are on {} as {reference}", self.remote);
                facts.parked = Some(Parked { reference, commit: local.to_owned() });
                said
            }
            Err(words) => format!("the local commits are only here, since {} did not take them ({words})", self.remote),
        };
        let reason = format!(
            "local and incoming commits change the same lines; {safe}; resolve it with `git pull --rebase {} {}`",
            self.remote, self.branch
        );
        Stop::At(Verdict::Conflict, reason, files)
    }
}

/// Where an inhale left the branch; empty where there is none.
struct Step {
    tip: String,
    /// How many commits the remote lacks.
    ahead: u64,
}

impl Place {
    /// One breath at a time in a repository.
    fn lock(&mut self) -> Result<(), Stop> {
        let shared = self.git.common().join("mirror");
        for dir in [&shared, &self.dir] {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let path = shared.join("breath.lock");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {
                self.git.hold(file);
                Ok(())
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(Stop::busy("another breath is under way in this repository")),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(anyhow::Error::new(error).context(path.display().to_string()).into())
            }
        }
    }

    /// Whether the branch is checked out and stands at this commit.
    fn stands_at(&self, commit: Option<&str>) -> Result<bool> {
        Ok(self.git.head()?.as_deref() == Some(&self.branch[..]) && self.git.tip(&self.branch)?.as_deref() == commit)
    }
}

/// Paths as people read them, each once.
fn shown(paths: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let mut names: Vec<String> =
        paths.into_iter().map(|path| git::path(&path).to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    names
}
