//! The second opinion: whether another node reaches the one that ran the service and seems dead.

use std::sync::mpsc;

use super::course::ServiceRun;
use crate::chain::Name;
use crate::deadline::Deadline;
use crate::decide::State;
use crate::remote::Report;
use crate::service::Instance;

/// What the others say of a node that seems to be dead.
pub(super) struct Opinion {
    /// The node.
    of: Name,
    /// The first of the others that found it alive.
    alive_for: Option<Name>,
}

impl Opinion {
    /// Asks these nodes, all at once, to probe the node.
    ///
    /// Each answers by its own node list. One that cannot be asked, or has no `mirror`, has none; only a
    /// well-formed answer that provably came from there counts.
    pub(super) fn ask(of: Name, others: &[Instance<'_>], deadline: Deadline) -> Self {
        let command = format!("mirror probe --json {of}");
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            for place in others {
                let (tell, command, of) = (tell.clone(), &command, of.clone());
                scope.spawn(move || {
                    let report = place.remote.ask(place.name, place.node, command, deadline);
                    let _ = tell.send(says_alive(&report, &of).then(|| place.name.clone()));
                });
            }
            drop(tell);
            Self { of, alive_for: told.iter().flatten().next() }
        })
    }
}

/// Whether a `mirror probe` over there found the node alive.
fn says_alive(report: &Report, of: &Name) -> bool {
    let object: Option<serde_json::Value> = serde_json::from_slice(&report.output).ok();
    let Some(object) = object.filter(|_| report.status == Some(0)) else { return false };
    let is_probe = object["schema"].as_str().is_some_and(|schema| schema.starts_with("mirror.probe/"));
    let row = object["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["node"] == of.as_str()));
    is_probe && row.is_some_and(|row| row["state"] == "alive")
}

impl<'a> ServiceRun<'a> {
    /// The node that may run the service and seems to be dead, and those that can be asked about it;
    /// none where no second opinion is wanted.
    pub(super) fn suspect(&self) -> Option<(Name, Vec<Instance<'a>>)> {
        let holder = self.takeover.as_ref().and_then(|takeover| takeover.last_holder());
        let suspect = holder.or_else(|| self.record.on.as_ref().map(|(on, _)| on))?;
        // By hand a lease is taken over all the same: that is safe, and the operator's to want.
        let by_hand = self.takeover.is_some() && self.request.to.is_some();
        if !self.request.config.second_opinion || by_hand || self.seen.get(suspect) != Some(&State::Dead) {
            return None;
        }
        let others =
            self.seen.iter().filter(|(node, state)| **state == State::Alive && Some(*node) != self.request.local_node);
        Some((suspect.clone(), others.filter_map(|(node, _)| self.place(node)).collect()))
    }

    /// Why that node must not be given up: it is dead for us, and not for another.
    pub(super) fn doubt(&mut self) -> Option<String> {
        let (suspect, others) = self.suspect()?;
        let known = self.opinion.take().filter(|opinion| opinion.of == suspect);
        let opinion = known.unwrap_or_else(|| Opinion::ask(suspect, &others, Deadline::after(self.service.timeout)));
        let Opinion { of, alive_for } = self.opinion.insert(opinion);
        let (name, alive_for) = (self.name, alive_for.as_ref()?);
        Some(format!("{name} ran on {of}, which is dead as seen from here but alive as seen from {alive_for}."))
    }
}
