//! One line for a monitoring system, with the statuses of the Monitoring Plugins Development Guidelines.

use super::facts::{ServiceState, StatusFacts, StatusVerdict};
use crate::output::Report;
use crate::view::ReportedState;

/// The statuses of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PluginStatus {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// A service that does not run once is critical; anything else that is wrong is a warning.
pub(super) fn status(report: &Report<StatusFacts>) -> PluginStatus {
    let is_bad = |state| matches!(state, ServiceState::Stopped | ServiceState::Several);
    match report.verdict {
        _ if report.facts.services.iter().any(|service| is_bad(service.state)) => PluginStatus::Critical,
        StatusVerdict::Well => PluginStatus::Ok,
        StatusVerdict::Unwell => PluginStatus::Warning,
        StatusVerdict::Unknown => PluginStatus::Unknown,
    }
}

/// The line, with performance data.
pub(super) fn line(report: &Report<StatusFacts>) -> String {
    let word = match status(report) {
        PluginStatus::Ok => "OK",
        PluginStatus::Warning => "WARNING",
        PluginStatus::Critical => "CRITICAL",
        PluginStatus::Unknown => "UNKNOWN",
    };
    let facts = &report.facts;
    let running = facts.services.iter().filter(|service| service.state == ServiceState::Running).count();
    let alive = facts.nodes.iter().filter(|node| node.state == ReportedState::Alive).count();
    let first = facts.warnings.first().map_or_else(String::new, |warning| format!(" {}", warning.message));
    // A bar would begin the performance data.
    let said = format!("{}{first}", report.reason).replace(['|', '\n'], " ");
    format!(
        "MIRROR {word} - {said} | services_running={running};;;0;{} nodes_alive={alive};;;0;{} cooldowns={};;;0 warnings={};;;0\n",
        facts.services.len(),
        facts.nodes.len(),
        facts.cooldowns.len(),
        facts.warnings.len()
    )
}
