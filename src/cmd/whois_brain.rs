//! `mirror whois-brain`: walks the brain chain to its first living node.

use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::brain::{self, Brain};
use crate::chain::{BRAIN, Chain, Name};
use crate::cli;
use crate::history;
use crate::report::{self, Finding, Paint, Status};
use crate::state::Store;
use crate::view::{self, Reading, Sight, View};

/// The outcome of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
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

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Known | Self::Own => Status::Yes,
            Self::Other | Self::Nobody => Status::No,
            Self::Unknown | Self::Isolated => Status::Unknown,
        }
    }
}

/// What `mirror whois-brain` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The brain; null when there is none or none is known.
    pub brain: Option<Name>,
    /// Whether this node is the brain.
    pub i_am_brain: bool,
    /// The brain chain, in its order.
    pub chain: Chain,
    /// The chain's nodes as they were seen; `unasked` where the answer was not needed.
    pub nodes: Vec<Sight>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.whois-brain/1";

    fn text(&self, paint: Paint) -> String {
        let rows = self.nodes.iter().map(|sight| {
            let mark = if Some(&sight.node) == self.brain.as_ref() { "*" } else { " " };
            [vec![mark.to_owned()], sight.row(paint)].concat()
        });
        report::columns(&rows.collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::WhoisBrain, setting: &Setting) -> Result<Status> {
    let config = &setting.config;
    let chain = config.chain(BRAIN)?;
    let own = setting.own.as_ref();
    let remote = setting.remote();
    let (view, brain) = match &arguments.view {
        Some(path) => match view::read(path, config, SystemTime::now())? {
            Reading::Trusted(mut view) => {
                let brain = brain::by_view(config, own, &remote, &mut view)?;
                (view, brain)
            }
            Reading::Distrusted(why) => (View::default(), Brain::Unknown(why)),
        },
        None => {
            let nodes = brain::nodes_to_ask(config, own)?;
            let mut view = view::take(
                &nodes,
                &config.witnesses,
                &remote,
                |name| chain.first() == Some(name),
                |view, answer| {
                    if let Some((name, answer)) = answer {
                        view::say(setting.voice, name, answer);
                    }
                    brain::decided(config, own, view).is_some_and(|brain| brain != Brain::Open)
                },
            )?;
            let brain = brain::by_view(config, own, &remote, &mut view)?;
            (view, brain)
        }
    };
    if let Brain::Known(name) = &brain {
        history::saw_brain(&Store::open(config), own, name);
    }
    let i_am_brain = matches!(&brain, Brain::Known(name) if Some(name) == own);
    let verdict = match &brain {
        Brain::Known(_) if arguments.check && i_am_brain => Verdict::Own,
        Brain::Known(_) if arguments.check => Verdict::Other,
        Brain::Known(_) => Verdict::Known,
        Brain::Nobody => Verdict::Nobody,
        Brain::Isolated => Verdict::Isolated,
        Brain::Unknown(_) | Brain::Open => Verdict::Unknown,
    };
    let reason = if arguments.check { brain.sentence_to(own) } else { brain.sentence() };
    let facts = Facts {
        brain: if let Brain::Known(name) = brain { Some(name) } else { None },
        i_am_brain,
        chain: chain.clone(),
        nodes: chain
            .iter()
            .filter_map(|name| Some((name, config.nodes.get(name)?)))
            .map(|(name, node)| Sight::new(name, node, view.answers.get(name).and_then(Option::as_ref)))
            .collect(),
    };
    Ok(setting.tell(&Finding { verdict, reason, facts }))
}
