//! How far it is from this node to each other one, and to the arbiter.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::commands::Context;
use crate::config::{Method, Node, Probe};
use crate::leader::State;
use crate::lease::client::LeaseClient;
use crate::name::Name;
use crate::output::millis;
use crate::probe::{self, Target};
use crate::state::StateDir;

/// How often each node is asked, and how often where each time costs a login or a process.
const ROUNDS: u32 = 10;
const COSTLY_ROUNDS: u32 = 3;
/// From one round to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the register is read.
const READS: u32 = 3;

/// A link as it was just measured, by the probe of the node list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MeasuredLink {
    /// The node that was asked.
    pub to: Name,
    /// How often it was asked, one try each time.
    pub asked: u32,
    /// How often it answered.
    pub answered: u32,
    /// What an answer took in the middle, in ms; null when none came.
    pub median_ms: Option<f64>,
    /// What the slowest answer took, in ms; null when none came.
    pub slowest_ms: Option<f64>,
    /// The deadline of a probe of this node now, in ms: by the node list, or as it was learned.
    pub deadline_ms: f64,
}

/// Asks all other nodes, a few times one after another.
pub(super) fn measure(context: &Context, deadline: Deadline) -> Vec<MeasuredLink> {
    let (config, own) = (&context.config, context.local_node.as_ref());
    let others: Vec<(&Name, &Node)> = config.nodes.iter().filter(|(name, _)| Some(*name) != own).collect();
    let mut answers: Vec<(u32, Vec<f64>)> = vec![(0, Vec::new()); others.len()];
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let asked: Vec<(usize, Probe)> = others
            .iter()
            .enumerate()
            .filter(|(_, (_, node))| round < rounds_of(&node.probe.method))
            .map(|(index, (_, node))| (index, Probe::fixed(node.probe.method.clone(), node.probe.timeout, 1)))
            .collect();
        if asked.is_empty() || deadline.left() < config.probe_timeout * 2 {
            break;
        }
        let remote = context.remote();
        let login = |(name, node): (&Name, &Node)| (node.probe.method == Method::Ssh).then(|| remote.login(name, node));
        let targets: Vec<Target<'_>> = asked
            .iter()
            .map(|(index, probe)| (others[*index], probe))
            .map(|(to, probe)| Target { address: &to.1.address, probe, login: login(to), delay: Duration::ZERO })
            .collect();
        // What cannot be asked is told by the logins.
        let _ = probe::ask(&targets, |index, answer| {
            let (count, latencies) = &mut answers[asked[index].0];
            *count += u32::from(answer.state != State::Unknown);
            latencies.extend(answer.latency.map(|_| millis(answer.timing.round_trip)));
            ControlFlow::Continue(())
        });
        std::thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
    others.into_iter().zip(answers).map(|((name, node), answers)| link(name, node, answers)).collect()
}

fn rounds_of(method: &Method) -> u32 {
    if matches!(method, Method::Ssh | Method::Exec { .. }) { COSTLY_ROUNDS } else { ROUNDS }
}

fn link(name: &Name, node: &Node, (asked, mut latencies): (u32, Vec<f64>)) -> MeasuredLink {
    latencies.sort_by(f64::total_cmp);
    MeasuredLink {
        to: name.clone(),
        asked,
        answered: u32::try_from(latencies.len()).unwrap_or(asked),
        median_ms: latencies.get(latencies.len() / 2).copied(),
        slowest_ms: latencies.last().copied(),
        deadline_ms: millis(node.probe.deadline()),
    }
}

/// What the slowest of a few reads of the register took, in ms; none without a lease, or when one failed.
pub(super) fn read_register(context: &Context, deadline: Deadline) -> Option<f64> {
    let (config, own) = (&context.config, context.local_node.as_ref());
    let service = config.services.iter().find(|(_, service)| service.lease.is_some())?.0;
    let client = LeaseClient::open(config, &StateDir::open(config), own, service).ok()??;
    let mut slowest = Duration::ZERO;
    // The first one opens the connection.
    for read in 0..=READS {
        let begun = Instant::now();
        client.read(deadline).ok()?;
        slowest = slowest.max(if read == 0 { Duration::ZERO } else { begun.elapsed() });
    }
    Some(millis(slowest))
}
