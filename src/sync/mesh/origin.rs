//! The origin as one more peer.

use super::MAX_ROUNDS;
use super::heads;
use super::peers::{Contact, PeerReport, PeerState};
use super::round::{Session, Standing};
use crate::sync::outcome::SyncError;
use crate::sync::remote::{PushResult, RemoteBranch};
use crate::sync::request::Manner;

impl Session<'_> {
    /// The origin is one more peer, which takes the branch alone and as a fast-forward only. It comes last,
    /// so that it delays no node.
    pub(super) fn with_origin(
        &mut self,
        mut standing: Standing,
        contacts: &mut [Contact<'_>],
    ) -> Result<(Standing, PeerReport), SyncError> {
        let breath = &self.mesh.breath;
        let node = breath.remote.to_owned();
        let mut report = PeerReport { node, state: PeerState::Unreachable, sent: 0, received: 0, cause: None };
        if self.worktree.git.setting(&format!("remote.{}.url", breath.remote)).is_none() {
            report.cause = Some(format!("no remote `{}` is configured", breath.remote));
            return Ok((standing, report));
        }
        let origin = RemoteBranch { worktree: self.worktree, breath, deadline: self.deadline };
        for _ in 0..MAX_ROUNDS {
            let value = match origin.fetch() {
                Ok(value) => value,
                Err(error) => {
                    report.cause = Some(words(error));
                    return Ok((standing, report));
                }
            };
            report.state = PeerState::Partial;
            report.cause = None;
            if let Some(value) = &value
                && standing.refs.get(heads::ORIGIN) != Some(value)
            {
                report.received = 1;
                let (local, _) = self.read_refs()?;
                self.keep(&local, &[(heads::ORIGIN.to_owned(), vec![value.clone()])].into())?;
                standing = self.exchange(contacts)?;
            }
            let Some(main) = standing.main.clone() else { break };
            if value.as_ref() == Some(&main) {
                report.state = PeerState::InStep;
                break;
            }
            if breath.manner == Manner::InhaleOnly {
                break;
            }
            if let Some(value) = &value
                && !self.engine.is_ancestor(value, &main)?
            {
                report.cause = Some("its branch contradicts this one".to_owned());
                break;
            }
            match origin.push(&main) {
                Ok(PushResult::Done) => {
                    (report.sent, report.state) = (1, PeerState::InStep);
                    break;
                }
                Ok(PushResult::Raced(why) | PushResult::Locked(why)) => report.cause = Some(why),
                Err(error) => {
                    report.cause = Some(words(error));
                    break;
                }
            }
        }
        Ok((standing, report))
    }
}

fn words(error: SyncError) -> String {
    match error {
        SyncError::Verdict(_, reason, _) => reason,
        SyncError::Failed(error) => format!("{error:#}"),
    }
}
