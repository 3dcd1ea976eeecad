//! `mirror pause`: keeps services where they are until `mirror resume`.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::drain::untold_rows;
use super::spread::{self, Order, Untold, Wanted};
use crate::cli;
use crate::clock::Deadline;
use crate::lease::client;
use crate::name::Name;
use crate::notices::Subject;
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::pause::{Paused, Pauses, Place, Switch};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// How long turning the switch may take.
const TURN_TIMEOUT: Duration = Duration::from_secs(15);
/// Checks of this user that ran within so many intervals of `cycle.check`, or within this time, are
/// taken to go on.
const MISSED_CHECKS: u32 = 3;
const MIN_LATELY: Duration = Duration::from_secs(5 * 60);

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PauseVerdict {
    /// What was named is paused, now or since before.
    Paused,
    /// It could not be written where it is kept, or not be confirmed, or it is not known whether
    /// anything heeds it: it may be paused or not.
    Unknown,
}

impl output::HasStatus for PauseVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Paused => ExitStatus::Yes,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror pause` prints.
#[derive(Serialize, JsonSchema)]
pub struct PauseFacts {
    /// Where the pause is kept, and thus who sees it.
    #[serde(rename = "where")]
    pub place: Place,
    /// Whether anything was written: false when all that was named was paused before.
    pub changed: bool,
    /// All that is paused now; empty when that is unknown.
    pub paused: Vec<Paused>,
    /// The nodes that know of it; null with a lease: every node sees the register.
    pub seen_by: Option<Vec<Name>>,
    /// The nodes that could not be told. They learn of it from the brain.
    pub untold: Vec<Untold>,
}

impl output::ReportFacts for PauseFacts {
    type Verdict = PauseVerdict;
    const SCHEMA: &'static str = "mirror.pause/1";

    fn text(&self, style: Style) -> String {
        rows(&self.paused) + &untold_rows(&self.untold, style)
    }
}

/// What is paused, for people.
pub(super) fn rows(paused: &[Paused]) -> String {
    let row = |paused: &Paused| vec![what(paused), paused.words()];
    output::columns(&paused.iter().map(row).collect::<Vec<_>>())
}

/// What a pause is for, for people.
pub(super) fn what(paused: &Paused) -> String {
    paused.service.as_ref().map_or_else(|| "every service".to_owned(), Name::to_string)
}

/// What the switch was before and what it is now, or why that is unknown.
pub(super) struct Turned {
    pub(super) place: Place,
    pub(super) done: Result<(Pauses, Pauses), String>,
    /// Why it is doubtful that the checks of this machine see it; empty when they do.
    pub(super) unseen: Option<String>,
    /// Who sees it, for people.
    pub(super) scope: String,
    pub(super) seen_by: Option<Vec<Name>>,
    pub(super) untold: Vec<Untold>,
}

/// Turns it: in the register where there is a lease, else on every node that can be told.
pub(super) fn turn(
    context: &Context,
    summary: &str,
    change: impl Fn(&mut Pauses),
    wanted: &Wanted<'_>,
) -> Result<Turned> {
    let _spinner = Spinner::start(context.output_mode, "turning the switch");
    if context.config.lease.is_some() { Ok(in_register(context, summary, change)) } else { on_nodes(context, wanted) }
}

fn in_register(context: &Context, summary: &str, change: impl Fn(&mut Pauses)) -> Turned {
    let state_dir = StateDir::open(&context.config);
    let deadline = Deadline::after(TURN_TIMEOUT);
    let done = Switch::open(&context.config, &state_dir, context.local_node.as_ref())
        .and_then(|switch| Ok(switch.turn(&state_dir, summary, deadline, change)?));
    Turned {
        place: Place::Register,
        done: done.map_err(|doubt| doubt.to_string()),
        unseen: None,
        scope: "every node heeds it from its next check on".to_owned(),
        seen_by: None,
        untold: Vec::new(),
    }
}

fn on_nodes(context: &Context, wanted: &Wanted<'_>) -> Result<Turned> {
    let spread = spread::set(context, wanted)?;
    let scope = format!("{} know it.{}", spread.count(), spread.words());
    let nobody = format!("no node could be told.{}", spread.words());
    let done = (Pauses::of_notices(&spread.before), Pauses::of_notices(&spread.after));
    let state_dir = StateDir::open(&context.config);
    Ok(Turned {
        place: Place::Node,
        done: if spread.seen_by.is_empty() { Err(nobody.trim_end_matches('.').to_owned()) } else { Ok(done) },
        unseen: context.local_node.as_ref().and_then(|_| unseen(context, &state_dir)),
        scope: scope.trim_end_matches('.').to_owned(),
        seen_by: Some(spread.seen_by),
        untold: spread.untold,
    })
}

/// Without a lease the switch is in the state of one user. Another user's checks have another state
/// unless both name the same directory.
fn unseen(context: &Context, state_dir: &StateDir) -> Option<String> {
    let lately = (context.config.cycle.check * MISSED_CHECKS).max(MIN_LATELY);
    if !state_dir.is_of_user() || state_dir.last_check().is_some_and(|age| age <= lately) {
        return None;
    }
    Some(format!(
        "no check of this user (number {}) has run here in the last {}, and those of another user do not see {}; run \
         this as the user who runs the checks, or let both name one directory by state = DIR",
        rustix::process::geteuid().as_raw(),
        humantime::format_duration(lately),
        state_dir.directory().display()
    ))
}

pub(super) fn run(arguments: &cli::Pause, context: &Context) -> Result<ExitStatus> {
    let mut services = Vec::new();
    for service in &arguments.services {
        services.push(context.config.service(service)?.0);
    }
    let by = client::signed_by(context.local_node.as_ref());
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let pause = |service: Option<&Name>| Paused {
        service: service.cloned(),
        by: by.clone(),
        why: arguments.why.clone(),
        at: at.clone(),
        auto_only: arguments.auto_only,
    };
    let wanted: Vec<Paused> =
        if services.is_empty() { vec![pause(None)] } else { services.into_iter().map(Some).map(pause).collect() };
    let names = wanted.iter().map(what).collect::<Vec<_>>().join(", ");
    let to_set = Wanted {
        subjects: wanted.iter().map(|paused| Subject::pause(paused.service.clone())).collect(),
        holds: true,
        auto_only: arguments.auto_only,
        why: arguments.why.as_deref(),
        order: Order::Together,
    };
    let turned = turn(context, &format!("paused {names} by {by}"), |pauses| pauses.pause(&wanted), &to_set)?;
    let Turned { place, done, unseen, scope, seen_by, untold } = turned;
    let (verdict, reason, changed, paused) = match (done, unseen) {
        (Ok((before, after)), Some(why)) => {
            let reason = format!("Whether {names} is paused is unknown: {why}.");
            (PauseVerdict::Unknown, reason, before != after, after.0)
        }
        (Ok((before, after)), None) if before == after => {
            (PauseVerdict::Paused, format!("{names}: paused since before; {scope}."), false, after.0)
        }
        (Ok((_, after)), None) => (PauseVerdict::Paused, format!("{names}: paused; {scope}."), true, after.0),
        (Err(doubt), _) => {
            (PauseVerdict::Unknown, format!("Whether {names} is paused is unknown: {doubt}."), false, Vec::new())
        }
    };
    if changed && place == Place::Register {
        let entry =
            Entry { why: arguments.why.clone(), ..Entry::new(context.local_node.as_ref(), Event::Pause, &reason) };
        history::record(&StateDir::open(&context.config), &entry);
    }
    Ok(context.tell(&Report { verdict, reason, facts: PauseFacts { place, changed, paused, seen_by, untold } }))
}
