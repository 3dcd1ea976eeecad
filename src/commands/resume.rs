//! `mirror resume`: ends a pause.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::drain::untold_rows;
use super::pause::{Turned, rows, turn};
use super::spread::{self, Order, Untold, Wanted};
use crate::cli;
use crate::lease::client;
use crate::name::{self, Name};
use crate::notices::{Kind, Subject};
use crate::output::{self, ExitStatus, Report, Style};
use crate::pause::{Paused, Pauses, Place};
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResumeVerdict {
    /// What was named is not paused, now or since before.
    Resumed,
    /// All services are paused at once, and that is not ended for one of them.
    Refused,
    /// It could not be written where it is kept, or not be confirmed, or it is not known whether
    /// anything heeds it: it may be paused or not.
    Unknown,
}

impl output::HasStatus for ResumeVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Resumed => ExitStatus::Yes,
            Self::Refused => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror resume` prints.
#[derive(Serialize, JsonSchema)]
pub struct ResumeFacts {
    /// Where the pause was kept, and thus who saw it.
    #[serde(rename = "where")]
    pub place: Place,
    /// Whether anything was written: false when nothing that was named was paused.
    pub changed: bool,
    /// All that is paused still; empty when that is unknown.
    pub paused: Vec<Paused>,
    /// The nodes that know of it; null with a lease, and where it was refused.
    pub seen_by: Option<Vec<Name>>,
    /// The nodes that could not be told. They learn of it from the brain.
    pub untold: Vec<Untold>,
}

impl output::ReportFacts for ResumeFacts {
    type Verdict = ResumeVerdict;
    const SCHEMA: &'static str = "mirror.resume/1";

    fn text(&self, style: Style) -> String {
        rows(&self.paused) + &untold_rows(&self.untold, style)
    }
}

pub(super) fn run(arguments: &cli::Resume, context: &Context) -> Result<ExitStatus> {
    let mut services: Vec<&Name> = Vec::new();
    for service in &arguments.services {
        services.push(context.config.service(service)?.0);
    }
    let names = match services.as_slice() {
        [] => "every service".to_owned(),
        named => name::list(named.iter().copied()),
    };
    let by = client::signed_by(context.local_node.as_ref());
    let resume = |pauses: &mut Pauses| {
        if services.is_empty() || !pauses.all() {
            pauses.resume(&services);
        }
    };
    let turned = match all_paused(context, &services) {
        Some(turned) => turned,
        None => turn(context, &format!("resumed {names} by {by}"), resume, &wanted(arguments, &services))?,
    };
    let Turned { place, done, unseen, scope, seen_by, untold } = turned;
    let (verdict, reason, changed, paused) = match (done, unseen) {
        (Ok((_, after)), _) if after.all() => {
            let reason = "Every service is paused; `mirror resume` without a name ends that.".to_owned();
            (ResumeVerdict::Refused, reason, false, after.0)
        }
        (Ok((before, after)), Some(why)) => {
            let reason = format!("Whether {names} is still paused is unknown: {why}.");
            (ResumeVerdict::Unknown, reason, before != after, after.0)
        }
        (Ok((before, after)), None) if before == after => {
            (ResumeVerdict::Resumed, format!("{names}: was not paused."), false, after.0)
        }
        (Ok((_, after)), None) => {
            (ResumeVerdict::Resumed, format!("{names}: no longer paused; {scope}."), true, after.0)
        }
        (Err(doubt), _) => {
            (ResumeVerdict::Unknown, format!("Whether {names} is still paused is unknown: {doubt}."), false, Vec::new())
        }
    };
    if changed && place == Place::Register {
        let entry =
            Entry { why: arguments.why.clone(), ..Entry::new(context.local_node.as_ref(), Event::Resume, &reason) };
        history::record(&StateDir::open(&context.config), &entry);
    }
    Ok(context.tell(&Report { verdict, reason, facts: ResumeFacts { place, changed, paused, seen_by, untold } }))
}

/// Without a lease: that everything is paused at once, which is not ended for one service.
fn all_paused(context: &Context, services: &[&Name]) -> Option<Turned> {
    if services.is_empty() || context.config.lease.is_some() {
        return None;
    }
    let pauses = Pauses::of_notices(&spread::known(context, Kind::Pause));
    pauses.all().then(|| Turned {
        place: Place::Node,
        done: Ok((pauses.clone(), pauses)),
        unseen: None,
        scope: String::new(),
        seen_by: None,
        untold: Vec::new(),
    })
}

/// What is set on the nodes. The end of the pause of every service ends those of single ones.
fn wanted<'a>(arguments: &'a cli::Resume, services: &[&Name]) -> Wanted<'a> {
    let named = services.iter().map(|service| Subject::pause(Some((*service).clone())));
    let subjects = if services.is_empty() { vec![Subject::pause(None)] } else { named.collect() };
    Wanted { subjects, holds: false, auto_only: false, why: arguments.why.as_deref(), order: Order::Together }
}
