//! Nodes that live and do not say whether the service runs there.
//!
//! Without a lease, such a node blocks a start only where the service may run there: where it was last
//! seen running, or where it is not known from the last full check that it did not run there. Any other
//! is passed over.

use super::{Plan, Planner};
use crate::name::Name;
use crate::promote::observed::{InstanceReport, Observed, ServiceHealth};
use crate::promote::outcome::PromoteVerdict;
use crate::promote::request::Goal;
use crate::service::Cause;

impl<'p> Planner<'p> {
    /// Whether a silent node is passed over: it said before that the service does not run there.
    pub(super) fn is_passed_over(&self, node: &Name) -> bool {
        is_passed_over(self.observed, node)
    }

    /// The silent nodes that block nothing; the service goes to a node that answers.
    pub(super) fn skippable(&self) -> impl Iterator<Item = &'p Name> {
        let observed = self.observed;
        let silent = observed.instances().filter(|(_, health)| *health == ServiceHealth::Unknown);
        silent.map(|(node, _)| node).filter(move |node| observed.is_leased() || is_passed_over(observed, node))
    }

    pub(super) fn silent_target(&self, target: Name) -> Plan {
        let (name, why) = (self.goal.name(), self.why_silent(&target));
        let reason =
            format!("{target} is alive but did not say whether {name} runs there ({why}); nothing was started.");
        self.end(PromoteVerdict::Blocked, reason, Some(target))
    }

    /// Why nothing is started: the service last ran at a place that is not in the node list any more, and
    /// that does not say that it is stopped.
    pub(super) fn former_place_unconfirmed(&self) -> Option<String> {
        let location = &self.observed.record().running_on.as_ref()?.location;
        let is_unknown = matches!(
            self.observed.health(&location.node),
            None | Some(ServiceHealth::Unknown | ServiceHealth::NodeDied)
        );
        let (name, node) = (self.goal.name(), &location.node);
        (self.goal.is_former(node) && is_unknown).then(|| {
            format!(
                "{name} last ran on {node} ({} port {}), which is not in the node list any more and does not say that \
                 it is stopped ({}); nothing was started. If it does not run there: mirror promote {name} --forget {node}.",
                location.address,
                location.port,
                self.why_silent(node)
            )
        })
    }

    fn why_silent(&self, node: &Name) -> String {
        self.observed.report(node).map_or_else(|| "no answer".to_owned(), why)
    }
}

/// What is said of the silent nodes that were passed over, beside the reason; nothing where all answered.
pub(in crate::promote) fn passed_over_sentences(goal: &Goal<'_>, observed: &Observed) -> String {
    let is_passed = |node: &Name| observed.is_leased() || is_passed_over(observed, node) || goal.is_former(node);
    let silent = observed.instances().filter(|(node, health)| *health == ServiceHealth::Unknown && is_passed(node));
    let sentence = |(node, _): (&Name, _)| {
        let why = observed.report(node).map_or_else(String::new, why);
        format!(" {node} did not say whether it runs there ({why}), and was passed over.")
    };
    silent.map(sentence).collect()
}

fn is_passed_over(observed: &Observed, node: &Name) -> bool {
    observed.is_silent(node) && observed.is_passed_over_if_silent(node)
}

/// The cause of a silence, and what was said.
fn why(report: &InstanceReport) -> String {
    let cause = report.cause.map_or("no-answer", Cause::slug);
    match &report.detail {
        Some(detail) => format!("{cause}: {detail}"),
        None if report.health == ServiceHealth::NodeDied => Cause::NodeDied.slug().to_owned(),
        None => cause.to_owned(),
    }
}
