//! `mirror undrain`: ends a drain.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::drain::{self, MovedService};
use super::spread::{self, Order, Untold, Wanted};
use crate::cli;
use crate::name::Name;
use crate::notices::{Kind, Subject};
use crate::output::{self, ExitStatus, Report, Spinner, Style};

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UndrainVerdict {
    /// The node is not drained, now or since before.
    Undrained,
    /// `--if-why`: it was drained for another reason, and still is.
    Kept,
    /// No node knows of it.
    Unknown,
}

impl output::HasStatus for UndrainVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Undrained => ExitStatus::Yes,
            Self::Kept => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror undrain` prints.
#[derive(Serialize, JsonSchema)]
pub struct UndrainFacts {
    /// The node.
    pub node: Name,
    /// Whether it was drained before, as far as was known here.
    pub changed: bool,
    /// Always empty: the services come back as their `failback` says.
    pub moved: Vec<MovedService>,
    /// The nodes that know of it.
    pub seen_by: Vec<Name>,
    /// The nodes that could not be told.
    pub untold: Vec<Untold>,
}

impl output::ReportFacts for UndrainFacts {
    type Verdict = UndrainVerdict;
    const SCHEMA: &'static str = "mirror.undrain/1";

    fn text(&self, style: Style) -> String {
        drain::untold_rows(&self.untold, style)
    }
}

pub(super) fn run(arguments: &cli::Undrain, context: &Context) -> Result<ExitStatus> {
    let node = drain::node(arguments.node.as_deref(), context)?;
    let facts = |changed| UndrainFacts {
        node: node.clone(),
        changed,
        moved: Vec::new(),
        seen_by: Vec::new(),
        untold: Vec::new(),
    };
    if let Some(wanted) = &arguments.if_why {
        let known = spread::known(context, Kind::Drain);
        match known.drain_of(node) {
            Some(drain) if drain.why.as_ref() != Some(wanted) => {
                let reason = format!("{node} stays {}.", drain.words());
                return Ok(context.tell(&Report { verdict: UndrainVerdict::Kept, reason, facts: facts(false) }));
            }
            Some(_) => {}
            None => {
                let reason = format!("{node} is not drained, as far as is known here.");
                return Ok(context.tell(&Report { verdict: UndrainVerdict::Undrained, reason, facts: facts(false) }));
            }
        }
    }
    let spinner = Spinner::start(context.output_mode, "telling the nodes");
    let wanted = Wanted {
        subjects: vec![Subject::drain(node.clone())],
        holds: false,
        auto_only: false,
        why: arguments.why.as_deref(),
        order: Order::Last(node),
    };
    let spread = spread::set(context, &wanted)?;
    drop(spinner);
    let changed = spread.before.drain_of(node).is_some();
    let (verdict, reason) = if spread.seen_by.is_empty() {
        (UndrainVerdict::Unknown, format!("No node could be told that {node} is no longer drained.{}", spread.words()))
    } else {
        let so = if changed { "is no longer drained" } else { "is not drained" };
        (UndrainVerdict::Undrained, format!("{node} {so}: {} know it.{}", spread.count(), spread.words()))
    };
    let facts = UndrainFacts { seen_by: spread.seen_by, untold: spread.untold, ..facts(changed) };
    Ok(context.tell(&Report { verdict, reason, facts }))
}
