//! `mirror probe`: asks nodes whether they live, all of them at once.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::chain::Name;
use crate::cli;
use crate::config::Node;
use crate::decide::State;
use crate::report::{self, Finding, Paint, Status};
use crate::view::{self, Sight};

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every node that was asked is alive.
    Alive,
    /// A node is dead.
    Dead,
    /// A node is unknown, and none is dead.
    Unknown,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Alive => Status::Yes,
            Self::Dead => Status::No,
            Self::Unknown => Status::Unknown,
        }
    }
}

/// What `mirror probe` prints. It is also a view, for `--view`.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The digest of the node list.
    pub digest: String,
    /// The nodes that were asked, in the order asked.
    pub nodes: Vec<Sight>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = view::SCHEMA;

    fn text(&self, paint: Paint) -> String {
        report::columns(&self.nodes.iter().map(|sight| sight.row(paint)).collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::Probe, setting: &Setting) -> Result<Status> {
    let nodes = chosen(arguments, setting)?;
    let view = view::take(&nodes, &[], &setting.remote(), view::everybody, |_, answer| {
        if let Some((name, answer)) = answer {
            view::say(setting.voice, name, answer);
        }
        false
    })?;
    let sights: Vec<Sight> =
        nodes.iter().zip(view.answers.values()).map(|((name, node), a)| Sight::new(name, node, a.as_ref())).collect();
    let states = || view.answers.values().flatten().map(|answer| answer.state);
    let count = |wanted: State| states().filter(|state| *state == wanted).count();
    let (dead, unknown) = (count(State::Dead), count(State::Unknown));
    let verdict = match (dead, unknown) {
        (0, 0) => Verdict::Alive,
        (0, _) => Verdict::Unknown,
        _ => Verdict::Dead,
    };
    let reason = match (sights.len(), dead, unknown) {
        (1, ..) => format!("{} is {}.", nodes[0].0, ["alive", "dead", "unknown"][verdict as usize]),
        (all, 0, 0) => format!("All {all} nodes are alive."),
        (all, dead, unknown) => {
            format!("Of {all} nodes: {} alive, {dead} dead, {unknown} unknown.", count(State::Alive))
        }
    };
    let facts = Facts { digest: setting.config.digest.clone(), nodes: sights };
    Ok(setting.tell(&Finding { verdict, reason, facts }))
}

/// The named nodes and the named chain's, each once; all nodes when none is named.
fn chosen<'a>(arguments: &cli::Probe, setting: &'a Setting) -> Result<Vec<(&'a Name, &'a Node)>> {
    let config = &setting.config;
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
