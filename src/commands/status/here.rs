//! What one node knows: its work, its services, its breath, its pauses.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xshell::cmd;

use crate::clock::{BootInstant, Deadline};
use crate::commands::Context;
use crate::commands::hold::state_file;
use crate::config::{Breath, Limits, Service};
use crate::git::Git;
use crate::lease::{LeaseState, stored};
use crate::name::Name;
use crate::notices::{self, Drained, Kind};
use crate::output::millis;
use crate::pause::{self, Paused};
use crate::promote::{self, CooldownReport};
use crate::service::{Condition, Instance};
use crate::state::StateDir;
use crate::state::history::{self, Event};
use crate::sync;

/// What one node knows, without asking another.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Here {
    /// The node; null for a machine that is none of the list.
    pub node: Option<Name>,
    /// The version of `mirror`.
    pub version: String,
    /// The digest of its node list.
    pub digest: String,
    /// What the last check left behind; null when none has ended since the machine booted.
    pub beat: Option<HereBeat>,
    /// Each service of its list.
    pub services: Vec<HereService>,
    /// The breath's repository; null where the list names none.
    pub breath: Option<HereBreath>,
    /// What is paused, as far as it knows.
    pub pauses: Vec<Paused>,
    /// The nodes that are drained, as far as it knows.
    #[serde(default)]
    pub drains: Vec<Drained>,
    /// Why its state cannot be kept; null when it can.
    pub state_trouble: Option<String>,
}

/// What the last check left behind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HereBeat {
    /// How long ago it ended, in ms.
    pub age_ms: f64,
    /// Whether that is a short while ago: the node is at work.
    pub fresh: bool,
    /// The verdict of the check.
    pub verdict: String,
    /// The node that it took for the brain; null when none was known.
    pub brain: Option<Name>,
    /// The living nodes that it passed over.
    pub passed_over: Vec<Name>,
}

/// What a node knows of a service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HereService {
    /// The service.
    pub service: Name,
    /// Whether it runs on this node, by its `status`; `unasked` where this node is not of its chain.
    pub condition: HereCondition,
    /// Why that is unknown; null when it is known.
    pub detail: Option<String>,
    /// Where it was last seen to run, and since when; null when it was seen nowhere.
    pub seen: Option<SeenRunning>,
    /// The last check of it by this node as the brain; null when there was none.
    pub last_check: Option<HereCheck>,
    /// The last start or move of it that this node made; null when none is known.
    pub last_move: Option<LastMove>,
    /// The outages that this node ended, as far as its history goes back, together, in ms.
    pub outage_ms: f64,
    /// The nodes that are passed over for it.
    pub cooldowns: Vec<CooldownReport>,
    /// What this node last saw of its lease; null without one.
    pub lease: Option<HereLease>,
}

/// Whether a service runs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HereCondition {
    /// Its `status` says so.
    Running,
    /// Its `status` says that it does not.
    Stopped,
    /// Its `status` did not say.
    Unknown,
    /// This node is not of its chain.
    Unasked,
}

/// Where a service was seen to run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeenRunning {
    /// The node.
    pub node: Name,
    /// Since when: RFC 3339, UTC.
    pub since: String,
}

/// A check of a service by the brain.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HereCheck {
    /// When it began: RFC 3339, UTC.
    pub at: String,
    /// How long ago that is, in ms.
    pub age_ms: f64,
    /// `blocked` or `unknown` while the service is in such trouble; else null.
    pub trouble: Option<String>,
}

/// A start or a move that went well.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastMove {
    /// When: RFC 3339, UTC.
    pub at: String,
    /// Where to.
    pub node: Name,
    /// What happened, in a sentence.
    pub reason: String,
}

/// A lease as it was last seen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HereLease {
    /// The node that may run the service once the lease is granted to it; null when it was never claimed.
    pub holder: Option<Name>,
    /// The epoch; null when it was never claimed.
    pub epoch: Option<u64>,
    /// How far the takeover has come; null when it was never claimed.
    pub state: Option<LeaseState>,
    /// When it was written, by the writer's clock: RFC 3339, UTC.
    pub at: Option<String>,
    /// How long ago the last good read began, in ms; null when there was none since this machine booted.
    pub read_age_ms: Option<f64>,
    /// How long a read may be relied on, in ms.
    pub valid_ms: f64,
    /// Since when this node has held it by failsafe, while the register cannot be read: RFC 3339, UTC; null
    /// otherwise, and on other nodes.
    #[serde(default)]
    pub failsafe_since: Option<String>,
    /// How many voters vouch for that; null without the failsafe.
    #[serde(default)]
    pub voters: Option<usize>,
}

/// The breath's repository on a node.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HereBreath {
    /// The repository.
    pub repo: PathBuf,
    /// The commit of its branch; null when it has none or cannot be read.
    pub head: Option<String>,
    /// How many commits the branch has that the remote's, as last seen, has not; null when that is not known.
    pub ahead: Option<u64>,
    /// How many commits the remote's branch, as last seen, has that it lacks; null when that is not known.
    pub behind: Option<u64>,
    /// When a breath last ended in step: RFC 3339, UTC; null when none is known.
    pub last_in_step: Option<String>,
    /// The verdict of the last breath; null when none is known.
    pub verdict: Option<String>,
    /// Why the last breath did not end in step: the conflict, or what was in the way; null when it did.
    pub conflict: Option<String>,
    /// Why the repository cannot be read; null when it can.
    pub detail: Option<String>,
}

/// Gathers it, by asking this machine alone.
pub(in crate::commands) fn look(context: &Context, deadline: Deadline) -> Here {
    let (config, state_dir) = (&context.config, StateDir::open(&context.config));
    let past = history::read(&state_dir);
    std::thread::scope(|scope| {
        let breath = scope.spawn(|| config.breath.repo.as_ref().map(|repo| breath(&config.breath, repo, &state_dir)));
        let threads: Vec<_> = config
            .services
            .iter()
            .map(|(name, service)| {
                let (state_dir, past) = (&state_dir, past.as_slice());
                scope.spawn(move || {
                    let (condition, detail) = condition(context, (name, service), deadline);
                    HereService { condition, detail, ..remembered(state_dir, (name, service), past) }
                })
            })
            .collect();
        Here {
            node: context.local_node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: config.digest.clone(),
            beat: beat(context, &state_dir),
            services: threads.into_iter().filter_map(|thread| thread.join().ok()).collect(),
            breath: breath.join().ok().flatten(),
            pauses: pause::known(config, &state_dir).0,
            drains: notices::read(&state_dir, Kind::Drain).all_drained(),
            state_trouble: state_dir.trouble().map(|error| format!("{}: {error}", state_dir.directory().display())),
        }
    })
}

fn beat(context: &Context, state_dir: &StateDir) -> Option<HereBeat> {
    let now = BootInstant::now();
    let beat = state_dir.beat().filter(|beat| beat.left <= now)?;
    let age = beat.left.until(now);
    Some(HereBeat {
        age_ms: millis(age),
        fresh: age <= Limits::of(&context.config).stale(),
        verdict: beat.verdict,
        brain: beat.assessment.brain,
        passed_over: beat.assessment.passed_over,
    })
}

fn condition(
    context: &Context,
    (service_name, service): (&Name, &Service),
    deadline: Deadline,
) -> (HereCondition, Option<String>) {
    let config = &context.config;
    let in_chain = |node: &&Name| config.chains.get(&service.chain).is_some_and(|chain| chain.contains(*node));
    let own = context.local_node.as_ref().filter(in_chain).and_then(|name| config.nodes.get_key_value(name));
    let Some((node_name, node)) = own else { return (HereCondition::Unasked, None) };
    let remote = context.remote();
    let instance = Instance { remote: &remote, service_name, service, node_name, node };
    let result = instance.status(deadline.sooner(Deadline::after(service.timeout)));
    match result.condition {
        Condition::Running => (HereCondition::Running, None),
        Condition::Stopped => (HereCondition::Stopped, None),
        Condition::Unknown => {
            let cause = result.cause.map(|cause| cause.slug().to_owned());
            (HereCondition::Unknown, Some(result.detail.or(cause).unwrap_or_else(|| "no answer".to_owned())))
        }
    }
}

/// What is remembered of a service.
fn remembered(state_dir: &StateDir, (name, service): (&Name, &Service), past: &[history::Entry]) -> HereService {
    let record = state_dir.record(name);
    let last_move = past.iter().rev().find(|entry| {
        entry.event == Event::Promote
            && entry.service.as_ref() == Some(name)
            && matches!(entry.verdict.as_deref(), Some("started" | "moved"))
    });
    let last_move = last_move.and_then(|entry| {
        Some(LastMove { at: entry.at.clone(), node: entry.node.clone()?, reason: entry.reason.clone() })
    });
    HereService {
        service: name.clone(),
        condition: HereCondition::Unasked,
        detail: None,
        outage_ms: past
            .iter()
            .filter(|entry| entry.service.as_ref() == Some(name))
            .filter_map(|entry| entry.outage_ms)
            .fold(0.0, |sum, ms| sum + ms),
        cooldowns: promote::cooling_down(&record),
        seen: record
            .running_on
            .as_ref()
            .filter(|placement| !placement.found_stopped)
            .map(|placement| SeenRunning { node: placement.location.node.clone(), since: placement.since.rfc3339() }),
        last_check: record.checks.last.map(|last| HereCheck {
            at: last.rfc3339(),
            age_ms: millis(last.until(BootInstant::now())),
            trouble: record.trouble.clone(),
        }),
        last_move,
        lease: service.lease.map(|lease| {
            let view = stored::load(state_dir, name);
            let read = view.seen.as_ref().and_then(|latest| latest.last_read_began);
            let record = view.value();
            let held = state_file::held_by_failsafe(state_dir, name);
            HereLease {
                voters: held.as_ref().map(|held| held.voters),
                failsafe_since: held.map(|held| held.failsafe_since),
                holder: record.map(|record| record.holder.clone()),
                epoch: record.map(|record| record.epoch),
                state: record.map(|record| record.state),
                at: record.map(|record| record.at.clone()),
                read_age_ms: read.map(|read| millis(read.until(BootInstant::now()))),
                valid_ms: millis(lease.valid),
            }
        }),
    }
}

fn breath(breath: &Breath, repo: &Path, state_dir: &StateDir) -> HereBreath {
    let last = state_dir.breath();
    let mut here = HereBreath {
        repo: repo.to_owned(),
        head: None,
        ahead: None,
        behind: None,
        last_in_step: last.as_ref().and_then(|last| last.in_step_at.clone()),
        verdict: last.as_ref().map(|last| last.verdict.clone()),
        conflict: last.filter(|last| matches!(last.verdict.as_str(), "conflict" | "refused")).map(|last| last.reason),
        detail: None,
    };
    let git = match Git::open(repo) {
        Ok(git) => git,
        Err(error) => return HereBreath { detail: Some(format!("{error:#}")), ..here },
    };
    let branch = format!("refs/heads/{}", breath.branch);
    match git.resolve(&branch) {
        Ok(head) => here.head = head,
        Err(error) => here.detail = Some(format!("{error:#}")),
    }
    let range = format!("{}...{branch}", sync::fetched_ref(&breath.remote, &branch));
    if let Ok(counts) = git.line(cmd!(git.shell(), "git rev-list --left-right --count {range} --"))
        && let Some((behind, ahead)) = counts.split_once('\t')
    {
        (here.behind, here.ahead) = (behind.parse().ok(), ahead.parse().ok());
    }
    here
}
