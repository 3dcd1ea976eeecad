//! The status for people: within 80 columns where names are of usual length.

use super::facts::{NodeStatus, ServiceState, ServiceStatus, StatusFacts};
use super::findings::Weight;
use crate::leader::at_work::AtWork;
use crate::name::{self, Name};
use crate::output::{self, Style};
use crate::view::ReportedState;

pub(super) const NONE: &str = "–";

pub(super) fn text(facts: &StatusFacts, style: Style) -> String {
    let mut text = String::new();
    if !facts.services.is_empty() {
        let has_lease = facts.services.iter().any(|service| service.lease.is_some());
        let head = ["service", "runs on", "since", "last check", if has_lease { "lease" } else { "" }];
        let head = head.map(|word| style.faint(word)).to_vec();
        let rows = facts.services.iter().map(|service| service_row(service, style));
        text += &output::columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
        text.push('\n');
    }
    let head = ["", "node", "state", "beat", "list", "breath", "clock"].map(|word| style.faint(word)).to_vec();
    let rows = facts.nodes.iter().map(|node| node_row(node, facts.brain.as_ref(), style));
    text += &output::columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    for pause in &facts.pauses {
        text += &output::paragraph(&style.doubtful("PAUSED"), &pause.sentence());
    }
    for drain in &facts.drains {
        text += &output::paragraph(&style.doubtful("DRAINED"), &drain.sentence());
    }
    for warning in &facts.warnings {
        text += &output::paragraph(&style.doubtful("!"), &warning.message);
    }
    text
}

fn service_row(service: &ServiceStatus, style: Style) -> Vec<String> {
    let nodes = || name::list(&service.running_on);
    let place = match (service.state, &service.node) {
        (ServiceState::Running, Some(node)) => style.good(node.as_str()),
        (ServiceState::Running | ServiceState::Stopped, _) => style.bad("nowhere"),
        (ServiceState::Several, _) => style.bad(&nodes()),
        (ServiceState::Unknown, Some(node)) => style.doubtful(&format!("{node}?")),
        (ServiceState::Unknown, None) => style.doubtful("unknown"),
    };
    let since = service.since.as_deref().map_or_else(|| NONE.to_owned(), to_the_second);
    let check = service.last_check.as_ref().map_or_else(
        || style.doubtful(NONE),
        |check| {
            let words = format!("{} {}", short(check.age_ms), check.node);
            match check.verdict.as_deref() {
                Some("blocked" | "unknown" | "failed") => {
                    style.bad(&format!("{words} {}", check.verdict.as_deref().unwrap_or_default()))
                }
                _ => words,
            }
        },
    );
    let lease = service
        .lease
        .as_ref()
        .map_or_else(String::new, |lease| if lease.is_well() { lease.words() } else { style.bad(&lease.words()) });
    vec![service.service.to_string(), place, since, check, lease]
}

fn node_row(node: &NodeStatus, brain: Option<&Name>, style: Style) -> Vec<String> {
    let mark = if brain == Some(&node.node) { "*" } else { " " };
    let state = match node.state {
        ReportedState::Alive => style.good("alive"),
        ReportedState::Dead => style.bad("dead"),
        ReportedState::Unknown | ReportedState::Unasked => style.doubtful("unknown"),
    };
    if !node.answered {
        let unknown = if node.state == ReportedState::Dead { style.faint(NONE) } else { style.doubtful("unknown") };
        let why = style.faint(node.cause.as_deref().unwrap_or_default());
        return vec![mark.to_owned(), node.node.to_string(), state, unknown, why];
    }
    let beat = match (&node.beat, node.at_work) {
        (Some(beat), AtWork::Yes) => short(beat.age_ms),
        (Some(beat), _) => style.bad(&short(beat.age_ms)),
        (None, _) => style.bad("none"),
    };
    let list = match node.digest_equal {
        Some(true) => "same".to_owned(),
        Some(false) => style.bad("other"),
        None => style.doubtful("unknown"),
    };
    let offset = node.clock_offset_ms.unwrap_or_default();
    let clock = match node.clock_offset_ms {
        Some(_) if offset.abs() < 1000.0 => "ok".to_owned(),
        Some(_) => style.bad(&format!("{}{}", if offset > 0.0 { "+" } else { "-" }, short(offset.abs()))),
        None => style.doubtful("unknown"),
    };
    let breath = match breath(node) {
        (words, Weight::Remark) => words,
        (words, Weight::Doubt) => style.doubtful(&words),
        (words, Weight::Wrong) => style.bad(&words),
    };
    vec![mark.to_owned(), node.node.to_string(), state, beat, list, breath, clock]
}

/// How the breath of a node stands, in a word, and how much that says.
pub(super) fn breath(node: &NodeStatus) -> (String, Weight) {
    let Some(breath) = &node.breath else { return (NONE.to_owned(), Weight::Remark) };
    if breath.conflict.is_some() {
        return ("conflict".to_owned(), Weight::Wrong);
    }
    let words = match (breath.ahead, breath.behind, &breath.head) {
        (Some(0), Some(0), _) => "in step".to_owned(),
        (Some(ahead), Some(behind), _) => format!("+{ahead} -{behind}"),
        (_, _, Some(head)) => head.chars().take(8).collect(),
        (_, _, None) if breath.detail.is_none() => "empty".to_owned(),
        _ => return ("unknown".to_owned(), Weight::Doubt),
    };
    (words, Weight::Remark)
}

/// A time in one short word, such as `2.1s`, `45s`, `12m` or `3h`.
pub(super) fn short(ms: f64) -> String {
    let s = ms / 1000.0;
    match s {
        _ if s < 10.0 => format!("{s:.1}s"),
        _ if s < 120.0 => format!("{s:.0}s"),
        _ if s < 7200.0 => format!("{:.0}m", s / 60.0),
        _ if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        _ => format!("{:.0}d", s / 86_400.0),
    }
}

/// `2026-01-01 00:00:00Z`: a person looks for the minute, and the object has the milliseconds.
pub(in crate::commands) fn to_the_second(at: &str) -> String {
    match at.split_once('T').zip(at.split_once('.')) {
        Some(((date, _), (seconds, _))) if seconds.len() > date.len() => {
            format!("{date} {}Z", &seconds[date.len() + 1..])
        }
        _ => at.to_owned(),
    }
}

/// Where something stands, in one sentence.
pub(super) fn sentence(facts: &StatusFacts, wrong: usize, unknown: usize) -> String {
    let place = |service: &ServiceStatus| match (service.state, &service.node) {
        (ServiceState::Running, Some(node)) => format!("{} runs on {node}", service.service),
        (ServiceState::Several, _) => format!("{} runs on {} nodes", service.service, service.running_on.len()),
        (ServiceState::Unknown, Some(node)) => format!("{} was last seen on {node}", service.service),
        (ServiceState::Unknown, None) => format!("it is unknown where {} runs", service.service),
        _ => format!("{} runs nowhere", service.service),
    };
    let mut parts: Vec<String> = match facts.services.as_slice() {
        few if few.len() <= 3 => few.iter().map(place).collect(),
        many => {
            let running = many.iter().filter(|service| service.state == ServiceState::Running).count();
            vec![format!("{running} of {} services run", many.len())]
        }
    };
    parts.push(facts.brain.as_ref().map_or("no brain is known".to_owned(), |brain| format!("{brain} is the brain")));
    let problems = if wrong == 1 { "1 problem".to_owned() } else { format!("{wrong} problems") };
    let lead = match (wrong, unknown) {
        (0, 0) => "All is well: ".to_owned(),
        (0, _) => format!("{unknown} not known; "),
        (_, 0) => format!("{problems}; "),
        _ => format!("{problems}, {unknown} not known; "),
    };
    format!("{lead}{}.", parts.join("; "))
}
