//! Asks other nodes about one that ran the service and seems dead from here.

use std::sync::mpsc;

use crate::clock::Deadline;
use crate::name::Name;
use crate::promote::observed::SecondOpinion;
use crate::remote::Report;
use crate::remote::question::Question;
use crate::service::Instance;

/// Asks these nodes, all at once, to probe the node.
///
/// Each answers by its own node list. One that cannot be asked, or has no `mirror`, has no opinion; only a
/// well-formed answer that provably came from there counts.
pub(in crate::promote) fn ask_second_opinion(of: &Name, others: &[Instance<'_>], deadline: Deadline) -> SecondOpinion {
    let command = Question::Probe(vec![of.clone()]).to_string();
    let (sender, opinions) = mpsc::channel();
    std::thread::scope(|scope| {
        for other in others {
            let (sender, command) = (sender.clone(), &command);
            scope.spawn(move || {
                let report = other.remote.ask(other.node_name, other.node, command, deadline);
                let _ = sender.send(says_alive(&report, of).then(|| other.node_name.clone()));
            });
        }
        drop(sender);
        SecondOpinion { of: of.clone(), alive_for: opinions.iter().flatten().next() }
    })
}

/// Whether a `mirror probe` on another node found the node alive.
fn says_alive(report: &Report, of: &Name) -> bool {
    let object: Option<serde_json::Value> = serde_json::from_slice(&report.output).ok();
    let Some(object) = object.filter(|_| report.status == Some(0)) else { return false };
    let is_probe = object["schema"].as_str().is_some_and(|schema| schema.starts_with("mirror.probe/"));
    let row = object["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["node"] == of.as_str()));
    is_probe && row.is_some_and(|row| row["state"] == "alive")
}
