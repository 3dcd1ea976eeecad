//! `mirror beat`: what the last check of this node left behind.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::at_work;
use crate::cli;
use crate::clock::{BootInstant, Deadline, seconds};
use crate::config::Limits;
use crate::leader::at_work::Watch;
use crate::leader::beat::{Assessment, Beat};
use crate::name::Name;
use crate::notices::{self, Notice, Subject};
use crate::output::{self, ExitStatus, Report, Style, millis};
use crate::state::StateDir;
use crate::usage_error::UsageError;

/// Beats of others that were read longer ago say nothing.
const MAX_HEARD_AGE: Duration = Duration::from_secs(120);

/// Whether this node is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BeatVerdict {
    /// The last check here ended a short while ago.
    Fresh,
    /// It ended too long ago: more than two checks and the timeout of a probe, and more than 2 s.
    Stale,
    /// No check has ended here since this machine booted.
    None,
}

impl output::HasStatus for BeatVerdict {
    fn status(self) -> ExitStatus {
        if self == Self::Fresh { ExitStatus::Yes } else { ExitStatus::No }
    }
}

/// What `mirror beat` prints.
#[derive(Serialize, JsonSchema)]
pub struct BeatFacts {
    /// What the last check left; null when none has ended since this machine booted.
    pub beat: Option<LastBeat>,
    /// What this node knows of drained nodes and, without a lease, of pauses, ends included.
    pub notices: Vec<Notice>,
}

/// What a check left behind.
#[derive(Serialize, JsonSchema)]
pub struct LastBeat {
    /// How long ago the check ended, in ms, by a clock that no change of the date moves.
    pub age_ms: f64,
    /// The digest of the node list that it used.
    pub digest: String,
    /// The version of `mirror`.
    pub version: String,
    /// The verdict of the check; `under-way` while one takes long.
    pub verdict: String,
    /// The node that it took for the brain; null when none was known.
    pub brain: Option<Name>,
    /// The node whose check it was.
    pub node: Name,
    /// The nodes that it passed over, as they are not at work or drained.
    pub passed_over: Vec<Name>,
    /// Where each service runs, as far as the check knew: services, each with its node.
    pub running: BTreeMap<Name, Name>,
    /// The latest beats of others that checks here have read.
    pub heard: Vec<HeardBeat>,
}

/// A beat of another node.
#[derive(Serialize, JsonSchema)]
pub struct HeardBeat {
    /// The node.
    pub node: Name,
    /// How old its beat is now, in ms.
    pub age_ms: f64,
}

impl LastBeat {
    fn new(beat: Beat, watch: &Watch, now: BootInstant) -> Self {
        let heard = watch.heard(now).filter(|(_, age)| *age <= MAX_HEARD_AGE);
        let Assessment { brain, passed_over, running } = beat.assessment;
        Self {
            age_ms: millis(beat.left.until(now)),
            digest: beat.digest,
            version: beat.version,
            verdict: beat.verdict,
            brain,
            node: beat.node,
            passed_over,
            running,
            heard: heard.map(|(node, age)| HeardBeat { node: node.clone(), age_ms: millis(age) }).collect(),
        }
    }
}

impl output::ReportFacts for BeatFacts {
    type Verdict = BeatVerdict;
    const SCHEMA: &'static str = at_work::SCHEMA;

    fn text(&self, style: Style) -> String {
        let Some(beat) = &self.beat else { return String::new() };
        let brain = beat.brain.as_ref().map_or("–", Name::as_str);
        let mut rows = vec![
            vec!["verdict".to_owned(), beat.verdict.clone()],
            vec!["brain".to_owned(), brain.to_owned()],
            vec!["digest".to_owned(), beat.digest.clone()],
            vec!["version".to_owned(), beat.version.clone()],
        ];
        rows.extend(beat.passed_over.iter().map(|node| vec!["passed over".to_owned(), style.bad(node.as_str())]));
        output::columns(&rows)
    }
}

/// How long learning may take, checks that are under way included.
const LEARN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &cli::Beat, context: &Context) -> Result<ExitStatus> {
    if let Some(text) = &arguments.learn {
        learn(context, &notices_of(text)?, Deadline::after(LEARN_TIMEOUT))?;
    }
    let (store, limits, now) = (StateDir::open(&context.config), Limits::of(&context.config), BootInstant::now());
    let beat = store.beat().filter(|beat| beat.left <= now);
    let age = beat.as_ref().map(|beat| beat.left.until(now));
    let (verdict, reason) = match age {
        Some(age) if age <= limits.stale() => {
            (BeatVerdict::Fresh, format!("The last check here ended {} ago.", seconds(age)))
        }
        Some(age) => (
            BeatVerdict::Stale,
            format!("The last check here ended {} ago, so this node is not at work.", seconds(age)),
        ),
        None => (BeatVerdict::None, "No check has ended here since this machine booted.".to_owned()),
    };
    let facts =
        BeatFacts { beat: beat.map(|beat| LastBeat::new(beat, &store.watch(), now)), notices: notices::told(&store) };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

fn notices_of(text: &str) -> Result<Vec<Notice>> {
    let json = STANDARD.decode(text).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    json.map(|json| notices::from_json(&json)).ok_or_else(|| UsageError::new("--learn: it is no JSON in base64"))
}

/// Has this machine learn notices, and waits for the checks that began before it knew of a drain, or its end: a check
/// reads the notices once it has its locks. Then a drain of this node is heeded.
pub(super) fn learn(context: &Context, told: &[Notice], deadline: Deadline) -> Result<()> {
    let (config, state_dir) = (&context.config, StateDir::open(&context.config));
    let is_new = notices::learn(&state_dir, (config, context.local_node.as_ref()), told, deadline)?;
    let Some(node) = context.local_node.as_ref() else { return Ok(()) };
    let unheeded = told.iter().any(|notice| notice.subject == Subject::drain(node.clone()) && notice.holds);
    if is_new || unheeded {
        let is_idle = config.services.keys().all(|service| state_dir.is_idle(service, deadline));
        if is_idle && unheeded {
            notices::heed(&state_dir, node, deadline)?;
        }
    }
    Ok(())
}
