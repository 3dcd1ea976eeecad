//! How a breath of the mesh ended.

use anyhow::Result;

use super::heads::{self, LeftOut};
use super::peers::{Contact, PeerReport, PeerState, Refs};
use super::round::{Session, Standing};
use super::{Conflict, MeshFacts};
use crate::sync::outcome::{BreatheVerdict, SyncError};
use crate::sync::request::Manner;
use crate::sync::transfer;

impl Session<'_> {
    /// The verdict.
    pub(super) fn conclude(
        &mut self,
        standing: Standing,
        contacts: &[Contact<'_>],
        reports: Vec<PeerReport>,
    ) -> Result<String, SyncError> {
        let Standing { main, refs, left_out, blocked, is_waiting } = standing;
        let branch = self.mesh.breath.branch;
        let holds = |contact: &&Contact<'_>| {
            main.is_some() && contact.refs.as_ref().and_then(|refs| refs.get(&self.id)) == main.as_ref()
        };
        let copies = contacts.iter().filter(holds).count();
        let in_step: Vec<&str> =
            reports.iter().filter(|report| report.state == PeerState::InStep).map(|report| &report.node[..]).collect();
        let (is_in_step, places) = (!in_step.is_empty(), named(&in_step));
        let is_reached = reports.iter().any(|report| matches!(report.state, PeerState::InStep | PeerState::Partial));
        let conflicts: Vec<Conflict> = left_out.iter().filter_map(|out| conflict(out, &refs)).collect();
        let causes = causes(&reports);
        if self.mesh.breath.manner == Manner::InhaleOnly || (copies == 0 && !is_in_step) {
            self.progress.exhale = None;
        }
        self.progress.mesh = MeshFacts { peers: reports, copies: Some(copies as u64), conflicts: conflicts.clone() };
        if let Some(error) = blocked {
            return Err(error);
        }
        if let Some(first) = conflicts.first() {
            let files: Vec<String> = conflicts.iter().flat_map(|conflict| conflict.files.clone()).collect();
            let what = match &first.files[..] {
                [] => "they have no commit in common".to_owned(),
                files => format!("in {}", files.join(", ")),
            };
            let more = if conflicts.len() > 1 { format!(" and {} more", conflicts.len() - 1) } else { String::new() };
            let reason = format!(
                "{branch} here and {} of {}{more} contradict each other ({what}); both are kept; join them with `git \
                 merge {}`",
                &first.commit[..12],
                first.owner,
                first.reference
            );
            return Err(SyncError::Verdict(BreatheVerdict::Conflict, reason, files));
        }
        if is_in_step {
            transfer::reset_time_limit(self.worktree);
            let at = main.map_or_else(|| "without a commit yet".to_owned(), |main| format!("at {}", &main[..12]));
            let waits = if is_waiting { "; a merge that brings nothing new waits for another node's" } else { "" };
            return Ok(format!("{branch} is in step with {places} {at}{waits}"));
        }
        if is_reached {
            let reason = format!("nothing could be exchanged: {}; nothing is lost", causes);
            return Err(SyncError::Verdict(BreatheVerdict::Unreachable, reason, Vec::new()));
        }
        let reason = format!("no other node was reached ({}); the commits are kept here", causes);
        Err(SyncError::Verdict(BreatheVerdict::Alone, reason, Vec::new()))
    }
}

fn conflict(left_out: &LeftOut, refs: &Refs) -> Option<Conflict> {
    let (name, _) = refs.iter().find(|(_, commit)| **commit == left_out.commit)?;
    Some(Conflict {
        owner: heads::owner(name)?.to_owned(),
        reference: format!("refs/breath/{name}"),
        commit: left_out.commit.clone(),
        files: left_out.files.clone(),
    })
}

/// Why others were not reached, each cause once.
fn causes(reports: &[PeerReport]) -> String {
    let mut nodes_of: Vec<(&str, Vec<&str>)> = Vec::new();
    for (node, cause) in reports.iter().filter_map(|report| Some((&report.node[..], report.cause.as_deref()?))) {
        match nodes_of.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, nodes)) => nodes.push(node),
            None => nodes_of.push((cause, vec![node])),
        }
    }
    let texts = nodes_of.iter().map(|(cause, nodes)| format!("{}: {cause}", named(nodes)));
    texts.collect::<Vec<_>>().join("; ")
}

fn named(nodes: &[&str]) -> String {
    match nodes {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
