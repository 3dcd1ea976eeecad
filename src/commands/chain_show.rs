//! `mirror chain show`: who stands where, in which role.

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::at_work::Mode;
use crate::chain::{self, BRAIN, Chain};
use crate::cli;
use crate::clock::Deadline;
use crate::config::{Config, Node};
use crate::leader::{self, Brain, Leader, NodeStates, State};
use crate::lease::client;
use crate::name::Name;
use crate::notices::Drained;
use crate::output::{self, ExitStatus, Report, Style};
use crate::pause::{self, Paused, Pauses, Switch};
use crate::state::StateDir;
use crate::target::{self, TargetInputs};
use crate::view::{self, ReportedState};

/// There is one outcome: shown.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChainShowVerdict {
    /// The node list was shown.
    Shown,
}

impl output::HasStatus for ChainShowVerdict {
    fn status(self) -> ExitStatus {
        ExitStatus::Yes
    }
}

/// What `mirror chain show` prints.
#[derive(Serialize, JsonSchema)]
pub struct ChainShowFacts {
    /// The nodes, in the node list's order.
    pub nodes: Vec<Member>,
    /// The chains, in the node list's order.
    pub chains: Vec<Shown>,
    /// The services, in the node list's order.
    pub services: Vec<Belonging>,
    /// The brain; null without `--probe` or `--down`, and when there is none or none is known.
    pub brain: Option<Name>,
    /// What is paused, as far as this node knows: with `--probe` by asking where that is kept, else by
    /// what was last read of it. Where it cannot be asked, the reason says so.
    pub paused: Vec<Paused>,
    /// The nodes that are drained, as far as this node knows.
    pub drained: Vec<Drained>,
    /// The intervals.
    pub cycle: Cycle,
    /// The digest of the node list.
    pub digest: String,
}

/// A node of the list.
#[derive(Serialize, JsonSchema)]
pub struct Member {
    /// The node.
    pub node: Name,
    /// Its address.
    pub address: String,
    /// Its ssh port.
    pub port: u16,
    /// Its part: `PRIMARY` heads a service's chain, `BRAIN` the brain chain; the others are
    /// `MIRROR 1` and so on, in the list's order.
    pub role: String,
    /// What it was found, or with `--down` said, to be.
    pub state: ReportedState,
}

/// A chain of the list.
#[derive(Serialize, JsonSchema)]
pub struct Shown {
    /// The chain.
    pub chain: Name,
    /// Its nodes, in order.
    pub nodes: Chain,
}

/// A service of the list.
#[derive(Serialize, JsonSchema)]
pub struct Belonging {
    /// The service.
    pub service: Name,
    /// Its chain.
    pub chain: Name,
    /// The node that ought to run it; null without `--probe` or `--down`, and when there is none or
    /// none is known.
    pub target: Option<Name>,
}

/// The intervals of the node list.
#[derive(Serialize, JsonSchema)]
pub struct Cycle {
    /// From one check to the next, in ms.
    pub check_ms: u64,
    /// From one breath to the next, in ms.
    pub sync_ms: u64,
    /// What a recovery may take, in ms.
    pub recovery_ms: u64,
}

impl output::ReportFacts for ChainShowFacts {
    type Verdict = ChainShowVerdict;
    const SCHEMA: &'static str = "mirror.chain-show/1";

    fn text(&self, style: Style) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let state = match node.state {
                ReportedState::Alive => style.good("alive"),
                ReportedState::Dead => style.bad("dead"),
                ReportedState::Unknown => style.doubtful("unknown"),
                ReportedState::Unasked => String::new(),
            };
            vec![node.node.to_string(), node.address.clone(), node.role.clone(), state]
        });
        let loud = |paused: &Paused| vec![style.bad("PAUSED"), super::pause::what(paused), paused.words()];
        let mut text = output::columns(&self.paused.iter().map(loud).collect::<Vec<_>>());
        let loud = |drained: &Drained| vec![style.bad("DRAINED"), drained.node.to_string(), drained.words()];
        text += &output::columns(&self.drained.iter().map(loud).collect::<Vec<_>>());
        text += &output::columns(&nodes.collect::<Vec<_>>());
        let chains = self.chains.iter().map(|shown| {
            let order: Vec<&str> = shown.nodes.iter().map(Name::as_str).collect();
            vec!["chain".to_owned(), shown.chain.to_string(), order.join(" → ")]
        });
        let services = self.services.iter().map(|service| {
            let target =
                service.target.as_ref().map_or_else(|| "–".to_owned(), |target| format!("belongs on {target}"));
            vec!["service".to_owned(), service.service.to_string(), target]
        });
        let brain = self.brain.iter().map(|brain| vec!["brain".to_owned(), String::new(), brain.to_string()]);
        text += &output::columns(&chains.chain(services).chain(brain).collect::<Vec<_>>());
        text
    }
}

pub(super) fn run(arguments: &cli::ChainShow, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let only = arguments.chain.as_deref().map(|name| config.chain(name)).transpose()?;
    let state_dir = StateDir::open(config);
    let check = context.check(&state_dir, Mode::Memory);
    let (drains, mut brain) = (check.drains(), None);
    let drained = drains.drained();
    let seen = match &arguments.down {
        Some(down) => {
            let seen = as_if(down, config)?;
            brain = config.chains.get(BRAIN).and_then(|chain| {
                let order = chain::drained_last(chain, |node| drained.contains(node));
                known(leader::leader(order.iter(), &seen))
            });
            Some(seen)
        }
        None if arguments.probe => {
            let nodes: Vec<(&Name, &Node)> = config.nodes.iter().collect();
            let mut view = view::take(&nodes, &[], &context.remote(), view::all_first, |_, answer| {
                if let Some((name, answer)) = answer {
                    view::say(context.output_mode, name, answer);
                }
                false
            })?;
            if config.chains.contains_key(BRAIN)
                && let Brain::Known(name) = check.decide(&mut view, false)?
            {
                brain = Some(name);
            }
            Some(view.seen())
        }
        None => None,
    };
    let pauses = if arguments.probe {
        let registers = client::open_shared(config, &state_dir, context.local_node.as_ref());
        pause::in_force(&Switch::of(registers.as_ref()), &state_dir, Deadline::after(config.probe_timeout))
    } else {
        Ok(pause::known(config, &state_dir))
    };
    let (pauses, doubt) = match pauses {
        Ok(pauses) => (pauses, String::new()),
        Err(doubt) => (Pauses::default(), format!("UNKNOWN whether anything is paused: {doubt}. ")),
    };
    let facts = ChainShowFacts {
        paused: pauses.0,
        drained: drains.all_drained(),
        nodes: members(config, only, seen.as_ref()),
        chains: config
            .chains
            .iter()
            .filter(|(name, _)| arguments.chain.as_deref().is_none_or(|only| only == name.as_str()))
            .map(|(name, chain)| Shown { chain: name.clone(), nodes: chain.clone() })
            .collect(),
        services: config
            .services
            .iter()
            .filter(|(_, service)| arguments.chain.as_deref().is_none_or(|only| only == service.chain.as_str()))
            .map(|(name, service)| {
                let chain = service.chain.clone();
                let members = config.chains.get(&chain);
                let inputs = TargetInputs { drained: drained.clone(), ..TargetInputs::default() };
                let target = seen
                    .as_ref()
                    .zip(members)
                    .and_then(|(seen, members)| known(target::choose(members, seen, service.failback, &inputs)));
                Belonging { service: name.clone(), chain, target }
            })
            .collect(),
        brain,
        cycle: cycle(config),
        digest: config.digest.clone(),
    };
    let reason = match (&seen, &facts.brain) {
        (None, _) => format!("{} nodes in {} chains.", config.nodes.len(), config.chains.len()),
        (Some(_), Some(brain)) => format!("{brain} is the brain."),
        (Some(_), None) => "There is no brain, or none is known.".to_owned(),
    };
    let loud =
        facts.paused.iter().map(|paused| format!("PAUSED: {}, {}. ", super::pause::what(paused), paused.words()));
    let why = check.why().map(|why| format!(" {why}.")).unwrap_or_default();
    let down = facts.drained.iter().map(|drained| format!("DRAINED: {}, {}. ", drained.node, drained.words()));
    let reason = loud.chain(down).collect::<String>() + &doubt + &reason + &why;
    if let Some(error) = state_dir.trouble() {
        state_dir.warn_unusable(&error);
    }
    Ok(context.tell_with(&Report { verdict: ChainShowVerdict::Shown, reason, facts }, &check.warnings()))
}

fn known(leader: Leader<'_>) -> Option<Name> {
    if let Leader::Known(name) = leader { Some(name.clone()) } else { None }
}

/// All alive but the named ones.
fn as_if(down: &[String], config: &Config) -> Result<NodeStates> {
    let mut seen: NodeStates = config.nodes.keys().map(|name| (name.clone(), State::Alive)).collect();
    for name in down.iter().filter(|name| !name.is_empty()) {
        seen.insert(config.node(name)?.0.clone(), State::Dead);
    }
    Ok(seen)
}

fn members(config: &Config, only: Option<&Chain>, seen: Option<&NodeStates>) -> Vec<Member> {
    let services: Vec<&Chain> = config.services.values().filter_map(|s| config.chains.get(&s.chain)).collect();
    // Without a service every other chain's head is a primary, so that a bare node list has roles.
    let bare: Vec<&Chain> = config.chains.iter().filter(|(name, _)| name.as_str() != BRAIN).map(|(_, c)| c).collect();
    let heads = if services.is_empty() { &bare } else { &services };
    let roles: BTreeMap<&Name, String> =
        chain::roles(config.nodes.keys(), config.chains.get(BRAIN), heads).into_iter().collect();
    let member = |(name, node): (&Name, &Node)| Member {
        node: name.clone(),
        address: node.address.to_string(),
        port: node.port,
        role: roles.get(name).cloned().unwrap_or_default(),
        state: seen.and_then(|seen| seen.get(name).copied()).into(),
    };
    config.nodes.iter().filter(|(name, _)| only.is_none_or(|only| only.contains(*name))).map(member).collect()
}

fn cycle(config: &Config) -> Cycle {
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let cycle = config.cycle;
    Cycle { check_ms: ms(cycle.check), sync_ms: ms(cycle.sync), recovery_ms: ms(cycle.recovery) }
}
