//! What is wrong, by what the nodes said.

use std::time::Duration;

use super::facts::{CooldownStatus, NodeStatus, ServiceState, ServiceStatus};
use super::here::Here;
use super::text::to_the_second;
use crate::clock::{MAX_CLOCK_OFFSET, seconds};
use crate::config::Config;
use crate::leader::at_work::AtWork;
use crate::name::list;
use crate::state::Warning;
use crate::view::ReportedState;

/// How much a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It is said, and all is well.
    Remark,
    /// Something could not be asked.
    Doubt,
    /// Something is wrong.
    Wrong,
}

/// What was found, in the order of its weight for a person.
#[derive(Default)]
pub(super) struct Findings(Vec<(Weight, Warning)>);

impl Findings {
    pub(super) fn add(&mut self, weight: Weight, code: &'static str, message: String) {
        self.0.push((weight, Warning { code, message }));
    }

    /// The weightiest there is.
    pub(super) fn weight(&self) -> Weight {
        self.0.iter().map(|(weight, _)| *weight).max().unwrap_or(Weight::Remark)
    }

    /// How many there are of a weight.
    pub(super) fn count(&self, weight: Weight) -> usize {
        self.0.iter().filter(|(of, _)| *of == weight).count()
    }

    pub(super) fn into_warnings(mut self) -> Vec<Warning> {
        self.0.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        self.0.into_iter().map(|(_, warning)| warning).collect()
    }

    pub(super) fn service(&mut self, service: &ServiceStatus) {
        let name = &service.service;
        match service.state {
            ServiceState::Running => {}
            ServiceState::Stopped => self.add(Weight::Wrong, "service-stopped", format!("{name} runs nowhere")),
            ServiceState::Several => {
                let nodes = list(&service.running_on);
                self.add(Weight::Wrong, "service-several", format!("{name} runs on more than one node: {nodes}"));
            }
            ServiceState::Unknown => {
                let nodes = list(&service.unknown_on);
                let message = format!("it is unknown whether {name} runs on {nodes}");
                self.add(Weight::Doubt, "service-unknown", message);
            }
        }
        if let Some(check) = &service.last_check
            && let Some(trouble @ ("blocked" | "unknown")) = check.verdict.as_deref()
        {
            let message =
                format!("the last check of {name}, by {}, ended {trouble}; ask: mirror promote --dry-run", check.node);
            self.add(Weight::Wrong, "service-blocked", message);
        }
        if service.lease.as_ref().is_some_and(|lease| lease.in_doubt) {
            let message = format!("the holder of the lease of {name} has not read it for longer than `valid`");
            self.add(Weight::Wrong, "lease-in-doubt", message);
        }
        if let Some(lease) = &service.lease
            && let (Some(since), Some(voters)) = (&lease.lease.failsafe_since, lease.lease.voters)
        {
            let since = to_the_second(since);
            let message = format!(
                "the lease of {name} is held by failsafe on {} since {since}, {voters} of {voters} voters: the arbiter \
                 cannot be read",
                lease.seen_by
            );
            self.add(Weight::Wrong, "lease-failsafe", message);
        }
    }

    /// Where all nodes have the same list and this machine, which is none of them, has another, it is said once.
    /// Whether that is so.
    pub(super) fn list_here(&mut self, nodes: &[NodeStatus], is_node: bool, config: &Config) -> bool {
        let mut digests: Vec<&str> = nodes.iter().filter_map(|node| node.digest.as_deref()).collect();
        let count = digests.len();
        digests.dedup();
        let [theirs] = digests.as_slice() else { return false };
        let is_outdated = !is_node && count > 1 && *theirs != config.digest;
        if is_outdated {
            let message = format!(
                "the nodes have another node list than this machine (digest {theirs}, here {}); copy theirs to {}",
                config.digest,
                config.file.display()
            );
            self.add(Weight::Wrong, "lists-differ", message);
        }
        is_outdated
    }

    /// What a node said, or why it did not; `list_is_said` where its list need not be compared.
    pub(super) fn node(&mut self, node: &NodeStatus, here: Option<&Here>, config: &Config, list_is_said: bool) {
        let name = &node.node;
        let why = || why(node);
        match (node.state, node.answered) {
            (_, true) => {}
            (ReportedState::Dead, _) => {
                self.add(Weight::Wrong, "node-dead", format!("{name} is dead as seen from here ({})", why()));
            }
            (ReportedState::Alive, _) if node.cause.as_deref() == Some("unusable") => {
                let message = format!("{name} cannot use its node list, or has another version of mirror ({})", why());
                self.add(Weight::Wrong, "node-unusable", message);
            }
            (ReportedState::Alive, _) => {
                self.add(Weight::Doubt, "node-silent", format!("{name} lives and does not say how it is ({})", why()));
            }
            _ => self.add(Weight::Doubt, "node-unknown", format!("{name} could not be asked from here ({})", why())),
        }
        let Some(here) = here else { return };
        if node.at_work == AtWork::No {
            let age = node.beat.as_ref().map_or_else(
                || "no check has ended there since it booted".to_owned(),
                |beat| format!("its last check ended {} ago", words(beat.age_ms)),
            );
            self.add(Weight::Wrong, "not-at-work", format!("{name} is not at work: {age}"));
        }
        if node.digest_equal == Some(false) && !list_is_said {
            let message = format!("{name} has another node list (digest {}, here {})", here.digest, config.digest);
            self.add(Weight::Wrong, "lists-differ", message);
        }
        if here.version != env!("CARGO_PKG_VERSION") {
            let message = format!("{name} has mirror {}, and this machine {}", here.version, env!("CARGO_PKG_VERSION"));
            self.add(Weight::Remark, "version-differs", message);
        }
        let offset = node.clock_offset_ms.unwrap_or_default();
        if offset.abs() > MAX_CLOCK_OFFSET.as_secs_f64() * 1000.0 {
            let side = if offset > 0.0 { "ahead of" } else { "behind" };
            // The offset is what it is at least.
            let span = words((offset.abs() / 1000.0).ceil() * 1000.0);
            let message = format!("the clock of {name} is {span} {side} the one here");
            self.add(Weight::Wrong, "clock-off", message);
        }
        if let Some(breath) = &node.breath {
            match (&breath.conflict, &breath.detail) {
                (Some(conflict), _) => {
                    self.add(Weight::Wrong, "breath-conflict", format!("the breath of {name}: {conflict}"));
                }
                (None, Some(detail)) => {
                    self.add(Weight::Wrong, "breath-unreadable", format!("the repository of {name}: {detail}"));
                }
                (None, None) => {}
            }
        }
        if let Some(trouble) = &here.state_trouble {
            self.add(Weight::Wrong, "state-unusable", format!("{name} can keep no state: {trouble}"));
        }
    }

    pub(super) fn cooldown(&mut self, down: &CooldownStatus) {
        let CooldownStatus { service, node, until, why, .. } = down;
        let until = to_the_second(until);
        let message = format!("{node} is passed over for {service} until {until}: {why}");
        self.add(Weight::Wrong, "cool-down", message);
    }
}

/// Why a node is not alive, or did not say how it is. The slug goes where the words begin with one of their own.
fn why(node: &NodeStatus) -> String {
    match (node.cause.as_deref(), node.detail.as_deref().filter(|detail| !detail.is_empty())) {
        (Some(_), Some(detail)) if detail.starts_with("not-admitted: ") || detail.starts_with("host-key: ") => {
            detail.to_owned()
        }
        (cause, detail) => [cause, detail].into_iter().flatten().collect::<Vec<_>>().join(": "),
    }
}

fn words(ms: f64) -> String {
    seconds(Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default())
}
