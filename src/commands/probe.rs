//! `mirror probe`: asks nodes whether they live, all of them at once.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::cli;
use crate::config::Node;
use crate::leader::State;
use crate::links;
use crate::name::Name;
use crate::output::{self, ExitStatus, Report, Style};
use crate::state::StateDir;
use crate::view::{self, NodeReport};

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeVerdict {
    /// Every node that was asked is alive.
    Alive,
    /// A node is dead.
    Dead,
    /// A node is unknown, and none is dead.
    Unknown,
}

impl output::HasStatus for ProbeVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Alive => ExitStatus::Yes,
            Self::Dead => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror probe` prints. It is also a view, for `--view`.
#[derive(Serialize, JsonSchema)]
pub struct ProbeFacts {
    /// The digest of the node list.
    pub digest: String,
    /// The nodes that were asked, in the order asked.
    pub nodes: Vec<NodeReport>,
}

impl output::ReportFacts for ProbeFacts {
    type Verdict = ProbeVerdict;
    const SCHEMA: &'static str = view::SCHEMA;

    fn text(&self, style: Style) -> String {
        output::columns(&self.nodes.iter().map(|report| report.row(style)).collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::Probe, context: &Context) -> Result<ExitStatus> {
    let nodes = chosen(arguments, context)?;
    let view = view::take(&nodes, &[], &context.remote(), view::all_first, |_, answer| {
        if let Some((name, answer)) = answer {
            view::say(context.output_mode, name, answer);
        }
        false
    })?;
    links::learn(&context.config, &StateDir::open(&context.config), &view);
    let sights: Vec<NodeReport> = nodes
        .iter()
        .zip(view.answers.values())
        .map(|((name, node), a)| NodeReport::new(name, node, a.as_ref()))
        .collect();
    let states = || view.answers.values().flatten().map(|answer| answer.state);
    let count = |wanted: State| states().filter(|state| *state == wanted).count();
    let (dead, unknown) = (count(State::Dead), count(State::Unknown));
    let verdict = match (dead, unknown) {
        (0, 0) => ProbeVerdict::Alive,
        (0, _) => ProbeVerdict::Unknown,
        _ => ProbeVerdict::Dead,
    };
    let reason = match (sights.len(), dead, unknown) {
        (1, ..) => format!("{} is {}.", nodes[0].0, ["alive", "dead", "unknown"][verdict as usize]),
        (all, 0, 0) => format!("All {all} nodes are alive."),
        (all, dead, unknown) => {
            format!("Of {all} nodes: {} alive, {dead} dead, {unknown} unknown.", count(State::Alive))
        }
    };
    let facts = ProbeFacts { digest: context.config.digest.clone(), nodes: sights };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// The named nodes and the named chain's, each once; all nodes when none is named.
fn chosen<'a>(arguments: &cli::Probe, context: &'a Context) -> Result<Vec<(&'a Name, &'a Node)>> {
    let config = &context.config;
    let mut chosen: Vec<(&Name, &Node)> = Vec::new();
    if let Some(chain) = &arguments.chain {
        for name in config.chain(chain)? {
            chosen.push(config.node(name.as_str())?);
        }
    }
    for name in &arguments.nodes {
        let node = config.node(name)?;
        if !chosen.iter().any(|(known, _)| *known == node.0) {
            chosen.push(node);
        }
    }
    if arguments.chain.is_none() && arguments.nodes.is_empty() {
        chosen.extend(&config.nodes);
    }
    Ok(chosen)
}
