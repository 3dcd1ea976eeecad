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
use crate::view::{self, NodeReport, View};

mod matrix;

pub use matrix::{MatrixCell, MatrixRow, OneWay};

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
    /// With --from, who sees whom; else null.
    pub matrix: Option<Vec<MatrixRow>>,
    /// With --from, the pairs of which only one sees the other; else null.
    pub one_way: Option<Vec<OneWay>>,
}

impl output::ReportFacts for ProbeFacts {
    type Verdict = ProbeVerdict;
    const SCHEMA: &'static str = view::SCHEMA;

    fn text(&self, style: Style) -> String {
        match (&self.matrix, &self.one_way) {
            (Some(rows), Some(cuts)) => matrix::text(&self.nodes, rows, cuts, style),
            _ => output::columns(&self.nodes.iter().map(|report| report.row(style)).collect::<Vec<_>>()),
        }
    }
}

pub(super) fn run(arguments: &cli::Probe, context: &Context) -> Result<ExitStatus> {
    let nodes = chosen(arguments, context)?;
    let from = matrix::chosen(arguments, context)?;
    let (view, matrix) = std::thread::scope(|scope| {
        let asked = from.as_ref().map(|from| scope.spawn(|| matrix::ask(arguments, context, &nodes, from)));
        let view = look(&nodes, context);
        (view, asked.map(|asked| asked.join().unwrap_or_default()))
    });
    let view = view?;
    links::learn(&context.config, &StateDir::open(&context.config), &view);
    let sights: Vec<NodeReport> = nodes
        .iter()
        .zip(view.answers.values())
        .map(|((name, node), a)| NodeReport::new(name, node, a.as_ref()))
        .collect();
    let matrix = matrix.map(|mut rows| {
        rows.iter_mut().for_each(|row| row.take_own(context.local_node.as_ref(), &sights));
        rows
    });
    let of_others = || matrix.iter().flatten().flat_map(MatrixRow::states);
    let states = || view.answers.values().flatten().map(|answer| answer.state).chain(of_others());
    let count = |wanted: State| states().filter(|state| *state == wanted).count();
    let (dead, unknown) = (count(State::Dead), count(State::Unknown));
    let verdict = match (dead, unknown) {
        (0, 0) => ProbeVerdict::Alive,
        (0, _) => ProbeVerdict::Unknown,
        _ => ProbeVerdict::Dead,
    };
    let one_way = matrix.as_deref().map(matrix::one_way);
    let reason = match (sights.len(), dead, unknown) {
        _ if matrix.is_some() => {
            matrix::reason(matrix.as_deref().unwrap_or_default(), one_way.as_deref().unwrap_or_default())
        }
        (1, ..) => format!("{} is {}.", nodes[0].0, ["alive", "dead", "unknown"][verdict as usize]),
        (all, 0, 0) => format!("All {all} nodes are alive."),
        (all, dead, unknown) => {
            format!("Of {all} nodes: {} alive, {dead} dead, {unknown} unknown.", count(State::Alive))
        }
    };
    let facts = ProbeFacts { digest: context.config.digest.clone(), nodes: sights, matrix, one_way };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// How the nodes look from here.
fn look(nodes: &[(&Name, &Node)], context: &Context) -> Result<View> {
    view::take(nodes, &[], &context.remote(), view::all_first, |_, answer| {
        if let Some((name, answer)) = answer {
            view::say(context.output_mode, name, answer);
        }
        false
    })
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
