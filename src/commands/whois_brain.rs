//! `mirror whois-brain`: walks the brain chain to its first living node.

use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::brain::{self, Brain};
use crate::chain::{BRAIN, Chain, Name};
use crate::cli;
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
    /// The chain's nodes as they were seen; `unasked` where the answer was not needed.
    pub nodes: Vec<NodeReport>,
}

impl output::ReportFacts for WhoisBrainFacts {
    type Verdict = WhoisBrainVerdict;
    const SCHEMA: &'static str = "mirror.whois-brain/1";

    fn text(&self, style: Style) -> String {
        let rows = self.nodes.iter().map(|report| {
            let mark = if Some(&report.node) == self.brain.as_ref() { "*" } else { " " };
            [vec![mark.to_owned()], report.row(style)].concat()
        });
        output::columns(&rows.collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::WhoisBrain, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let chain = config.chain(BRAIN)?;
    let local_node = context.local_node.as_ref();
    let remote = context.remote();
    let (view, brain) = match &arguments.view {
        Some(path) => match view::read(path, config, SystemTime::now())? {
            LoadedView::Trusted(mut view) => {
                let brain = brain::by_view(config, local_node, &remote, &mut view)?;
                (view, brain)
            }
            LoadedView::Distrusted(why) => (View::default(), Brain::Unknown(why)),
        },
        None => {
            let nodes = brain::nodes_to_ask(config, local_node)?;
            let mut view = view::take(
                &nodes,
                &config.witnesses,
                &remote,
                |name| chain.first() == Some(name),
                |view, answer| {
                    if let Some((name, answer)) = answer {
                        view::say(context.output_mode, name, answer);
                    }
                    brain::decided(config, local_node, view).is_some_and(|brain| brain != Brain::Open)
                },
            )?;
            let brain = brain::by_view(config, local_node, &remote, &mut view)?;
            (view, brain)
        }
    };
    if let Brain::Known(name) = &brain {
        history::saw_brain(&StateDir::open(config), local_node, name);
    }
    let i_am_brain = matches!(&brain, Brain::Known(name) if Some(name) == local_node);
    let verdict = match &brain {
        Brain::Known(_) if arguments.check && i_am_brain => WhoisBrainVerdict::Own,
        Brain::Known(_) if arguments.check => WhoisBrainVerdict::Other,
        Brain::Known(_) => WhoisBrainVerdict::Known,
        Brain::Nobody => WhoisBrainVerdict::Nobody,
        Brain::Isolated => WhoisBrainVerdict::Isolated,
        Brain::Unknown(_) | Brain::Open => WhoisBrainVerdict::Unknown,
    };
    let reason = if arguments.check { brain.sentence_to(local_node) } else { brain.sentence() };
    let facts = WhoisBrainFacts {
        brain: if let Brain::Known(name) = brain { Some(name) } else { None },
        i_am_brain,
        chain: chain.clone(),
        nodes: chain
            .iter()
            .filter_map(|name| Some((name, config.nodes.get(name)?)))
            .map(|(name, node)| NodeReport::new(name, node, view.answers.get(name).and_then(Option::as_ref)))
            .collect(),
    };
    Ok(context.tell(&Report { verdict, reason, facts }))
}
