//! `mirror resume`: ends a pause.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use super::pause::{Turned, rows, turn};
use crate::arbiter;
use crate::chain::Name;
use crate::cli;
use crate::history::{self, Entry, Event};
use crate::pause::{Paused, Place};
use crate::report::{self, Finding, Paint, Status};
use crate::state::Store;

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was named is not paused, now or since before.
    Resumed,
    /// All services are paused at once, and that is not ended for one of them.
    Refused,
    /// It could not be written where it is kept, or not be confirmed: it may be paused or not.
    Unknown,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Resumed => Status::Yes,
            Self::Refused => Status::No,
            Self::Unknown => Status::Unknown,
        }
    }
}

/// What `mirror resume` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// Where the pause was kept, and thus who saw it.
    #[serde(rename = "where")]
    pub place: Place,
    /// Whether anything was written: false when nothing that was named was paused.
    pub changed: bool,
    /// All that is paused still; empty when that is unknown.
    pub paused: Vec<Paused>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.resume/1";

    fn text(&self, _: Paint) -> String {
        rows(&self.paused)
    }
}

pub(super) fn run(arguments: &cli::Resume, setting: &Setting) -> Result<Status> {
    let mut services: Vec<&Name> = Vec::new();
    for service in &arguments.services {
        services.push(setting.config.service(service)?.0);
    }
    let names = match services.as_slice() {
        [] => "every service".to_owned(),
        named => named.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
    };
    let by = arbiter::signed_by(setting.own.as_ref());
    let Turned { place, done } = turn(setting, &format!("resumed {names} by {by}"), |pauses| {
        if services.is_empty() || !pauses.all() {
            pauses.resume(&services);
        }
    });
    let (verdict, reason, changed, paused) = match done {
        Ok((_, after)) if after.all() => {
            let reason = "Every service is paused; `mirror resume` without a name ends that.".to_owned();
            (Verdict::Refused, reason, false, after.0)
        }
        Ok((before, after)) if before == after => {
            (Verdict::Resumed, format!("{names}: was not paused."), false, after.0)
        }
        Ok((_, after)) => (Verdict::Resumed, format!("{names}: no longer paused."), true, after.0),
        Err(doubt) => {
            (Verdict::Unknown, format!("Whether {names} is still paused is unknown: {doubt}."), false, Vec::new())
        }
    };
    if changed {
        let entry = Entry { why: arguments.why.clone(), ..Entry::new(setting.own.as_ref(), Event::Resume, &reason) };
        history::record(&Store::open(&setting.config), &entry);
    }
    Ok(setting.tell(&Finding { verdict, reason, facts: Facts { place, changed, paused } }))
}
