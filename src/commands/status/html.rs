//! The status as one page that needs nothing from elsewhere: no script, no font, no picture.

use std::fmt::Write as _;

use super::facts::{NodeStatus, ServiceState, ServiceStatus, StatusFacts, StatusVerdict};
use super::findings::Weight;
use super::text::{NONE, short, to_the_second};
use crate::commands::history::{TimedEvent, Unasked};
use crate::leader::at_work::AtWork;
use crate::name::{self, Name};
use crate::output::Report;
use crate::state::history;
use crate::view::ReportedState;

const HEAD: &str = include_str!("status.html");

/// The page: what stands where, and what happened within the last day, as far as the nodes could be asked for it.
pub(super) fn page(
    report: &Report<StatusFacts>,
    at: &str,
    (events, unasked): (&[TimedEvent], &[Unasked<'_>]),
) -> String {
    let facts = &report.facts;
    let verdict = match report.verdict {
        StatusVerdict::Well => "good",
        StatusVerdict::Unwell => "bad",
        StatusVerdict::Unknown => "doubt",
    };
    let mut page = HEAD.replace("{title}", &escaped(&report.reason));
    let _ = write!(
        page,
        "<h1 class=\"{verdict}\">{}</h1>\n<p class=\"faint\">As of {}; node list {}</p>\n",
        escaped(&report.reason),
        escaped(&to_the_second(at)),
        escaped(&facts.digest)
    );
    list(&mut page, facts.pauses.iter().map(|pause| format!("PAUSED: {}", pause.sentence())));
    list(&mut page, facts.drains.iter().map(|drain| format!("DRAINED: {}", drain.sentence())));
    list(&mut page, facts.warnings.iter().map(|warning| warning.message.clone()));
    let has_lease = facts.services.iter().any(|service| service.lease.is_some());
    let services =
        Table { title: "Services", class: "wide", head: &["service", "runs on", "since", "last check", "lease"] };
    let without = |mut cells: Vec<Cell>| {
        cells.truncate(if has_lease { 5 } else { 4 });
        cells
    };
    let services = Table { head: &services.head[..if has_lease { 5 } else { 4 }], ..services };
    services.write(&mut page, facts.services.iter().map(|of| without(service(of, at))));
    let nodes = Table { title: "Nodes", class: "wide", head: &["node", "state", "beat", "list", "breath", "clock"] };
    nodes.write(&mut page, facts.nodes.iter().map(|of| node(of, facts.brain.as_ref())));
    let line = Table { title: "The last day", class: "line", head: &["when", "event", "seen by", "what happened"] };
    line.write(&mut page, events.iter().rev().map(event));
    if events.is_empty() {
        page.push_str("<p>Nothing has happened, or nothing is known of it.</p>\n");
    }
    list(&mut page, unasked.iter().map(|(name, why)| format!("The history of {name} is not in it: {}", why.why())));
    page + "</main>\n</html>\n"
}

/// A cell: its class and its text.
type Cell = (&'static str, String);

struct Table<'a> {
    title: &'a str,
    class: &'a str,
    head: &'a [&'a str],
}

impl Table<'_> {
    fn write(&self, page: &mut String, rows: impl Iterator<Item = Vec<Cell>>) {
        let _ = write!(page, "<h2>{}</h2>\n<div class=\"{}\"><table>\n<tr>", self.title, self.class);
        for cell in self.head {
            let _ = write!(page, "<th scope=\"col\">{cell}</th>");
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
}

fn list(page: &mut String, lines: impl Iterator<Item = String>) {
    let lines: String = lines.map(|line| format!("<li>{}</li>\n", escaped(&line))).collect();
    if !lines.is_empty() {
        let _ = write!(page, "<ul>\n{lines}</ul>\n");
    }
}

fn service(service: &ServiceStatus, at: &str) -> Vec<Cell> {
    let nodes = name::list(&service.running_on);
    let place = match service.state {
        ServiceState::Running => ("fixed good", nodes),
        ServiceState::Several => ("bad", nodes),
        ServiceState::Stopped => ("fixed bad", "nowhere".to_owned()),
        ServiceState::Unknown => {
            ("doubt", service.node.as_ref().map_or("unknown".to_owned(), |node| format!("{node}?")))
        }
    };
    let since = service.since.as_deref().map(|since| {
        let age = age_ms(since, at).map_or_else(String::new, |ms| format!(", for {}", short(ms)));
        to_the_second(since) + &age
    });
    let check = service.last_check.as_ref().map(|check| match check.verdict.as_deref() {
        Some(trouble @ ("blocked" | "unknown" | "failed")) => {
            ("bad", format!("{} ago by {}: {trouble}", short(check.age_ms), check.node))
        }
        _ => ("", format!("{} ago by {}", short(check.age_ms), check.node)),
    });
    let lease = service.lease.as_ref().map(|lease| (if lease.is_well() { "" } else { "bad" }, lease.words()));
    let none = || ("doubt", "unknown".to_owned());
    vec![
        ("fixed", service.service.to_string()),
        place,
        ("", since.unwrap_or_else(|| NONE.to_owned())),
        check.unwrap_or_else(none),
        lease.unwrap_or_else(none),
    ]
}

/// From a time to another, in ms.
fn age_ms(since: &str, at: &str) -> Option<f64> {
    let time = |text| humantime::parse_rfc3339(text).ok();
    Some(time(at)?.duration_since(time(since)?).ok()?.as_secs_f64() * 1000.0)
}

fn node(node: &NodeStatus, brain: Option<&Name>) -> Vec<Cell> {
    let name = format!("{}{}", node.node, if brain == Some(&node.node) { " (brain)" } else { "" });
    let why = || node.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    let state = match node.state {
        ReportedState::Alive if node.answered => ("fixed good", "alive".to_owned()),
        ReportedState::Alive => ("doubt", format!("alive{}", why())),
        ReportedState::Dead => ("bad", format!("dead{}", why())),
        ReportedState::Unknown | ReportedState::Unasked => ("doubt", format!("unknown{}", why())),
    };
    let mut cells = vec![("fixed", name), state];
    if !node.answered {
        let nothing = if node.state == ReportedState::Dead { ("faint", NONE) } else { ("doubt", "unknown") };
        cells.extend(std::iter::repeat_n((nothing.0, nothing.1.to_owned()), 4));
        return cells;
    }
    cells.push(match (&node.beat, node.at_work) {
        (Some(beat), AtWork::Yes) => ("fixed", format!("{} ago", short(beat.age_ms))),
        (Some(beat), _) => ("fixed bad", format!("{} ago", short(beat.age_ms))),
        (None, _) => ("bad", "none".to_owned()),
    });
    cells.push(match node.digest_equal {
        Some(true) => ("", "same".to_owned()),
        Some(false) => ("bad", "other".to_owned()),
        None => ("doubt", "unknown".to_owned()),
    });
    cells.push(breath(node));
    let offset = node.clock_offset_ms.unwrap_or_default();
    cells.push(if offset.abs() < 1000.0 {
        ("", "ok".to_owned())
    } else {
        ("fixed bad", format!("{} {}", short(offset.abs()), if offset > 0.0 { "ahead" } else { "behind" }))
    });
    cells
}

fn breath(node: &NodeStatus) -> Cell {
    let (words, weight) = super::text::breath(node);
    let class = match weight {
        Weight::Remark => "",
        Weight::Doubt => "doubt",
        Weight::Wrong => "bad",
    };
    let last = node.breath.as_ref().filter(|_| words != "in step").and_then(|breath| breath.last_in_step.as_deref());
    (class, words + &last.map_or_else(String::new, |at| format!(", in step {}", to_the_second(at))))
}

fn event(event: &TimedEvent) -> Vec<Cell> {
    let entry = &event.entry;
    let class = match entry.verdict.as_deref() {
        Some("alive" | "started" | "moved" | "granted" | "in-step") => "fixed good",
        Some("dead" | "failed" | "lost" | "conflict" | "late") => "fixed bad",
        Some("unknown" | "blocked") => "fixed doubt",
        _ => "fixed",
    };
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let outage = entry.outage_ms.map_or_else(String::new, |ms| format!(" Outage {}.", short(ms)));
    let kind = history::slug(entry.event).unwrap_or_default();
    vec![
        ("fixed faint", to_the_second(&entry.at)),
        (class, kind),
        ("faint", name::list(&event.seen_by)),
        ("", entry.reason.clone() + &why + &outage),
    ]
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
