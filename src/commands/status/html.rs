//! The status as one page that needs nothing from elsewhere: no script, no font, no picture.

use std::fmt::Write as _;

use super::facts::{NodeStatus, ServiceState, ServiceStatus, StatusFacts, StatusVerdict};
use super::text::{short, to_the_second};
use crate::commands::history::TimedEvent;
use crate::leader::at_work::AtWork;
use crate::name::Name;
use crate::output::Report;
use crate::state::history;
use crate::view::ReportedState;

const HEAD: &str = include_str!("status.html");

/// The page: what stands where, and what happened within the last day.
pub(super) fn page(report: &Report<StatusFacts>, at: &str, events: &[TimedEvent]) -> String {
    let facts = &report.facts;
    let verdict = match report.verdict {
        StatusVerdict::Well => "good",
        StatusVerdict::Unwell => "bad",
        StatusVerdict::Unknown => "doubt",
    };
    let mut page = HEAD.to_owned();
    let _ = write!(
        page,
        "<h1 class=\"{verdict}\">{}</h1>\n<p class=\"faint\">{} &middot; list {}</p>\n",
        escaped(&report.reason),
        escaped(&to_the_second(at)),
        escaped(&facts.digest)
    );
    list(&mut page, facts.warnings.iter().map(|warning| warning.message.clone()));
    list(
        &mut page,
        facts
            .pauses
            .iter()
            .map(|pause| format!("{}: {}", crate::commands::pause::what(&pause.paused), pause.paused.words())),
    );
    table(
        &mut page,
        "Services",
        &["service", "runs on", "since", "last check", "epoch"],
        facts.services.iter().map(service),
    );
    table(
        &mut page,
        "Nodes",
        &["node", "state", "beat", "list", "breath", "clock"],
        facts.nodes.iter().map(|of| node(of, facts.brain.as_ref())),
    );
    table(&mut page, "The last day", &["when", "event", "seen by", ""], events.iter().rev().map(event));
    page + "</main>\n</html>\n"
}

/// A cell: its class and its text.
type Cell = (&'static str, String);

fn table(page: &mut String, title: &str, head: &[&str], rows: impl Iterator<Item = Vec<Cell>>) {
    let _ = write!(page, "<h2>{title}</h2>\n<div class=\"wide\"><table>\n<tr>");
    for cell in head {
        let _ = write!(page, "<th>{cell}</th>");
    }
    page.push_str("</tr>\n");
    for row in rows {
        page.push_str("<tr>");
        for (class, text) in row {
            let _ = write!(page, "<td class=\"{class}\">{}</td>", escaped(&text));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn list(page: &mut String, lines: impl Iterator<Item = String>) {
    let lines: String = lines.map(|line| format!("<li>{}</li>\n", escaped(&line))).collect();
    if !lines.is_empty() {
        let _ = write!(page, "<ul>\n{lines}</ul>\n");
    }
}

fn service(service: &ServiceStatus) -> Vec<Cell> {
    let nodes = service.running_on.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let place = match service.state {
        ServiceState::Running => ("good", nodes),
        ServiceState::Several => ("bad", nodes),
        ServiceState::Stopped => ("bad", "nowhere".to_owned()),
        ServiceState::Unknown => {
            ("doubt", service.node.as_ref().map_or("unknown".to_owned(), |node| format!("{node}?")))
        }
    };
    let since = service.since.as_deref().map(to_the_second).unwrap_or_default();
    let check = service.last_check.as_ref().map(|check| format!("{} ago by {}", short(check.age_ms), check.node));
    let epoch = service.lease.as_ref().and_then(|lease| lease.lease.epoch).map(|epoch| epoch.to_string());
    vec![
        ("", service.service.to_string()),
        place,
        ("", since),
        ("", check.unwrap_or_default()),
        ("", epoch.unwrap_or_default()),
    ]
}

fn node(node: &NodeStatus, brain: Option<&Name>) -> Vec<Cell> {
    let mark = if brain == Some(&node.node) { " (brain)" } else { "" };
    let state = match node.state {
        ReportedState::Alive => ("good", "alive".to_owned()),
        ReportedState::Dead => ("bad", "dead".to_owned()),
        ReportedState::Unknown | ReportedState::Unasked => ("doubt", "unknown".to_owned()),
    };
    let unknown = || ("doubt", node.cause.clone().unwrap_or_else(|| "unknown".to_owned()));
    let beat = match (&node.beat, node.at_work) {
        (Some(beat), AtWork::Yes) => ("", format!("{} ago", short(beat.age_ms))),
        (Some(beat), _) => ("bad", format!("{} ago", short(beat.age_ms))),
        (None, _) if node.answered => ("bad", "none".to_owned()),
        (None, _) => unknown(),
    };
    let list = match node.digest_equal {
        Some(true) => ("", "same".to_owned()),
        Some(false) => ("bad", "other".to_owned()),
        None => unknown(),
    };
    let breath = node.breath.as_ref().map_or(("", String::new()), |breath| match &breath.conflict {
        Some(_) => ("bad", "conflict".to_owned()),
        None => {
            ("", breath.last_in_step.as_deref().map(|at| format!("in step {}", to_the_second(at))).unwrap_or_default())
        }
    });
    let clock = node.clock_offset_ms.map_or_else(unknown, |ms| {
        if ms.abs() < 1000.0 { ("", "ok".to_owned()) } else { ("bad", format!("{:+.1} s", ms / 1000.0)) }
    });
    vec![("", format!("{}{mark}", node.node)), state, beat, list, breath, clock]
}

fn event(event: &TimedEvent) -> Vec<Cell> {
    let entry = &event.entry;
    let class = match entry.verdict.as_deref() {
        Some("alive" | "started" | "moved" | "granted" | "in-step") => "good",
        Some("dead" | "failed" | "lost" | "conflict" | "late") => "bad",
        Some("unknown" | "blocked") => "doubt",
        _ => "",
    };
    let outage = entry.outage_ms.map_or_else(String::new, |ms| format!(" Outage {}.", short(ms)));
    let seen = event.seen_by.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let kind = history::slug(entry.event).unwrap_or_default();
    vec![("faint", to_the_second(&entry.at)), (class, kind), ("faint", seen), ("", entry.reason.clone() + &outage)]
}

/// Text of other machines is text, and no mark-up.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if crate::output::sanitize::is_unsafe(c) => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
