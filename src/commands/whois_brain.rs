//! `mirror whois-brain`: walks the brain chain to its first living node.

use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::at_work::{Check, Mode};
use crate::chain::{BRAIN, Chain};
use crate::cli;
use crate::leader::Brain;
use crate::leader::at_work::AtWork;
use crate::links;
use crate::name::Name;
use crate::notices::Drained;
use crate::output::{self, ExitStatus, Report, Style};
use crate::state::StateDir;
use crate::state::history;
use crate::view::{self, LoadedView, NodeReport, View};

/// The outcome of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhoisBrainVerdict {
    /// A brain is known.
    Known,
    /// With `--check`: this node is the brain.
    #[serde(rename = "self")]
    Own,
    /// With `--check`: another node is the brain.
    Other,
    /// Every node of the chain is dead.
    Nobody,
    /// A node before the first living one is unknown, or the view is not to be trusted.
    Unknown,
    /// This node sees no other node alive and no witness.
    Isolated,
}

impl output::HasStatus for WhoisBrainVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Known | Self::Own => ExitStatus::Yes,
            Self::Other | Self::Nobody => ExitStatus::No,
            Self::Unknown | Self::Isolated => ExitStatus::Unknown,
        }
    }
}

/// What `mirror whois-brain` prints.
#[derive(Serialize, JsonSchema)]
pub struct WhoisBrainFacts {
    /// The brain; null when there is none or none is known.
    pub brain: Option<Name>,
    /// Whether this node is the brain.
    pub i_am_brain: bool,
    /// The brain chain, in its order.
    pub chain: Chain,
    /// Whether the brain is at work; `unasked` where that is not known, or there is no brain.
    pub at_work: AtWork,
    /// The chain's nodes as they were seen; `unasked` where the answer was not needed.
    pub nodes: Vec<BrainNode>,
}

/// A node of the brain chain.
#[derive(Serialize, JsonSchema)]
pub struct BrainNode {
    /// As it was seen.
    #[serde(flatten)]
    pub report: NodeReport,
    /// Whether its own watchdog has finished a check lately: by what the last check of this node learned,
    /// or with `--check` and `--at-work` by asking.
    pub at_work: AtWork,
    /// Who drained it, as far as this node knows; null when it is not drained. A drained node does not lead as long as
    /// another one of the chain lives and works.
    pub drained: Option<Drained>,
}

impl output::ReportFacts for WhoisBrainFacts {
    type Verdict = WhoisBrainVerdict;
    const SCHEMA: &'static str = "mirror.whois-brain/1";

    fn text(&self, style: Style) -> String {
        let rows = self.nodes.iter().map(|BrainNode { report, at_work, drained }| {
            let mark = if Some(&report.node) == self.brain.as_ref() { "*" } else { " " };
            let at_work = match at_work {
                AtWork::Yes => style.good("at work"),
                AtWork::No => style.bad("not at work"),
                AtWork::Unasked => String::new(),
            };
            let drained = drained.as_ref().map_or_else(String::new, |_| style.doubtful("drained"));
            [vec![mark.to_owned()], report.row(style), vec![at_work, drained]].concat()
        });
        output::columns(&rows.collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::WhoisBrain, context: &Context) -> Result<ExitStatus> {
    let (config, local_node) = (&context.config, context.local_node.as_ref());
    if arguments.check {
        context.must_be_a_node()?;
    }
    let chain = config.chain(BRAIN)?;
    let state_dir = StateDir::open(config);
    let mode = match (arguments.check, arguments.at_work) {
        (true, _) => Mode::Check,
        (false, true) => Mode::Ask,
        (false, false) => Mode::Memory,
    };
    let check = context.check(&state_dir, mode);
    let (view, brain) = match &arguments.view {
        Some(path) => match view::read(path, config, SystemTime::now())? {
            LoadedView::Trusted(mut view) => {
                let brain = check.decide(&mut view, false)?;
                (view, brain)
            }
            LoadedView::Distrusted(why) => (View::default(), Brain::Unknown(why)),
        },
        None => {
            let mut view = look(&check, context)?;
            let brain = check.decide(&mut view, true)?;
            (view, brain)
        }
    };
    if let Brain::Known(name) = &brain {
        history::saw_brain(&state_dir, local_node, name, check.why());
    }
    let i_am_brain = brain.is(local_node);
    let verdict = match &brain {
        Brain::Known(_) if arguments.check && i_am_brain => WhoisBrainVerdict::Own,
        Brain::Known(_) if arguments.check => WhoisBrainVerdict::Other,
        Brain::Known(_) => WhoisBrainVerdict::Known,
        Brain::Nobody => WhoisBrainVerdict::Nobody,
        Brain::Isolated => WhoisBrainVerdict::Isolated,
        Brain::Unknown(_) | Brain::Open => WhoisBrainVerdict::Unknown,
    };
    if mode == Mode::Check {
        if arguments.view.is_none() {
            links::learn(config, &state_dir, &view);
        }
        check.leave_beat(history::slug(verdict).as_deref().unwrap_or_default(), None);
    }
    let reason = if arguments.check { brain.sentence_to(local_node) } else { brain.sentence() };
    let reason = reason + &more(&check, &brain, mode);
    let report = |name: &Name, node| NodeReport::new(name, node, view.answers.get(name).and_then(Option::as_ref));
    let drained = check.drains().all_drained();
    let facts = WhoisBrainFacts {
        i_am_brain,
        chain: chain.clone(),
        at_work: if let Brain::Known(name) = &brain { check.at_work(name) } else { AtWork::Unasked },
        nodes: chain
            .iter()
            .filter_map(|name| Some((name, config.nodes.get(name)?)))
            .map(|(name, node)| BrainNode {
                report: report(name, node),
                at_work: check.at_work(name),
                drained: drained.iter().find(|drained| drained.node == *name).cloned(),
            })
            .collect(),
        brain: if let Brain::Known(name) = brain { Some(name) } else { None },
    };
    let status = context.tell_with(&Report { verdict, reason, facts }, &check.warnings());
    check.look_around();
    Ok(status)
}

/// Asks the nodes whether they live, as many as the order needs.
fn look(check: &Check<'_>, context: &Context) -> Result<View> {
    let likely = check.likely_brain();
    view::take(
        &check.nodes_to_probe()?,
        &context.config.witnesses,
        &context.remote(),
        |name| likely == Some(name),
        |view, answer| {
            if let Some((name, answer)) = answer {
                view::say(context.output_mode, name, answer);
            }
            check.so_far(view).is_some_and(|brain| brain != Brain::Open)
        },
    )
}

/// Why others do not lead; and where the brain was asked for its beat and had none, that being alive was
/// enough.
fn more(check: &Check<'_>, brain: &Brain, mode: Mode) -> String {
    let Brain::Known(name) = brain else { return String::new() };
    if let Some(why) = check.why() {
        return format!(" {why}.");
    }
    match check.at_work(name) {
        _ if mode == Mode::Memory => String::new(),
        AtWork::Yes => String::new(),
        AtWork::No => format!(" It is enough that {name} is alive, as no watchdog is known to be at work."),
        AtWork::Unasked => format!(" It is enough that {name} is alive; whether it is at work is not known."),
    }
}
