//! `mirror pause`: keeps services where they are until `mirror resume`.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::chain::Name;
use crate::cli;
use crate::deadline::Deadline;
use crate::lease::client::{self, LeaseError};
use crate::output::{self, ExitStatus, Report, Spinner, Style};
use crate::pause::{Paused, Pauses, Place, Switch};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// What turning the switch may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PauseVerdict {
    /// What was named is paused, now or since before.
    Paused,
    /// It could not be written where it is kept, or not be confirmed: it may be paused or not.
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
}

impl output::ReportFacts for PauseFacts {
    type Verdict = PauseVerdict;
    const SCHEMA: &'static str = "mirror.pause/1";

    fn text(&self, _: Style) -> String {
        rows(&self.paused)
    }
}

/// What is paused, for people.
pub(super) fn rows(paused: &[Paused]) -> String {
    let row = |paused: &Paused| vec![whom(paused), paused.words()];
    output::columns(&paused.iter().map(row).collect::<Vec<_>>())
}

/// What a pause is for, for people.
pub(super) fn whom(paused: &Paused) -> String {
    paused.service.as_ref().map_or_else(|| "every service".to_owned(), Name::to_string)
}

/// Who sees it, for people.
pub(super) fn sight_of(place: Place) -> &'static str {
    match place {
        Place::Register => "every node heeds it from its next check on",
        Place::Node => "only this node sees it, as there is no lease",
    }
}

/// What the switch of this node was found to be, and what it was turned to.
pub(super) struct Turned {
    pub(super) place: Place,
    pub(super) done: Result<(Pauses, Pauses), LeaseError>,
}

/// Turns the switch, and keeps in mind what it shows now.
pub(super) fn turn(context: &Context, summary: &str, change: impl Fn(&mut Pauses)) -> Turned {
    let store = StateDir::open(&context.config);
    let _ = std::fs::create_dir_all(store.directory());
    let place = if context.config.lease.is_some() { Place::Register } else { Place::Node };
    let spinner = Spinner::start(context.output_mode, "asking the arbiter");
    let deadline = Deadline::after(PATIENCE);
    let done = Switch::open(&context.config, &store, context.local_node.as_ref()).and_then(|switch| {
        let turned = switch.turn(&store, summary, deadline, change)?;
        Ok(turned)
    });
    drop(spinner);
    Turned { place, done }
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
    };
    let wanted: Vec<Paused> =
        if services.is_empty() { vec![pause(None)] } else { services.into_iter().map(Some).map(pause).collect() };
    let names = wanted.iter().map(whom).collect::<Vec<_>>().join(", ");
    let Turned { place, done } = turn(context, &format!("paused {names} by {by}"), |pauses| pauses.pause(&wanted));
    let (verdict, reason, changed, paused) = match done {
        Ok((before, after)) if before == after => {
            (PauseVerdict::Paused, format!("{names}: paused since before; {}.", sight_of(place)), false, after.0)
        }
        Ok((_, after)) => (PauseVerdict::Paused, format!("{names}: paused; {}.", sight_of(place)), true, after.0),
        Err(doubt) => {
            (PauseVerdict::Unknown, format!("Whether {names} is paused is unknown: {doubt}."), false, Vec::new())
        }
    };
    if changed {
        let entry =
            Entry { why: arguments.why.clone(), ..Entry::new(context.local_node.as_ref(), Event::Pause, &reason) };
        history::record(&StateDir::open(&context.config), &entry);
    }
    Ok(context.tell(&Report { verdict, reason, facts: PauseFacts { place, changed, paused } }))
}
