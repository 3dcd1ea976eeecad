//! `mirror resume`: ends a pause.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::pause::{Turned, rows, turn};
use crate::cli;
use crate::lease::client;
use crate::name::{self, Name};
use crate::output::{self, ExitStatus, Report, Style};
use crate::pause::{Paused, Place};
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
}

impl output::ReportFacts for ResumeFacts {
    type Verdict = ResumeVerdict;
    const SCHEMA: &'static str = "mirror.resume/1";

    fn text(&self, _: Style) -> String {
        rows(&self.paused)
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
    let Turned { place, done, unseen } = turn(context, &format!("resumed {names} by {by}"), |pauses| {
        if services.is_empty() || !pauses.all() {
            pauses.resume(&services);
        }
    });
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
        (Ok((_, after)), None) => (ResumeVerdict::Resumed, format!("{names}: no longer paused."), true, after.0),
        (Err(doubt), _) => {
            (ResumeVerdict::Unknown, format!("Whether {names} is still paused is unknown: {doubt}."), false, Vec::new())
        }
    };
    if changed {
        let entry =
            Entry { why: arguments.why.clone(), ..Entry::new(context.local_node.as_ref(), Event::Resume, &reason) };
        history::record(&StateDir::open(&context.config), &entry);
    }
    Ok(context.tell(&Report { verdict, reason, facts: ResumeFacts { place, changed, paused } }))
}
