//! What goes to the peers: every ref that they lack or have older.

use super::peers::{self, Contact, Refs};
use super::round::Session;
use super::tidy;
use crate::sync::outcome::SyncError;

impl Session<'_> {
    /// Pushes to each peer every ref that it lacks or has older.
    pub(super) fn publish(&mut self, contacts: &mut [Contact<'_>], refs: &Refs) -> Result<(), SyncError> {
        let mut lacking: Vec<Vec<(String, String)>> = Vec::new();
        let spent = self.spent(refs)?;
        for contact in contacts.iter() {
            let Some(theirs) = &contact.refs else {
                lacking.push(Vec::new());
                continue;
            };
            let is_older =
                |old: &String, new: &String| old != new && self.engine.is_ancestor(old, new).unwrap_or(false);
            let lacks = |(name, commit): &(&String, &String)| theirs.get(*name).is_none_or(|old| is_older(old, commit));
            let wanted = refs.iter().filter(lacks).filter(|(name, _)| !spent.contains(*name));
            let wanted = wanted.map(|(name, commit)| (name.clone(), commit.clone()));
            lacking.push(wanted.collect());
        }
        let mut timed_out = false;
        for pushed in peers::push(&self.worktree.git, contacts, &lacking, self.deadline) {
            let contact = &mut contacts[pushed.contact];
            let rejected = |name: &str| {
                let suffix = format!(":refs/breath/{name}");
                let is_line = |line: &&str| {
                    line.starts_with("!\t") && line.split('\t').nth(1).is_some_and(|r| r.ends_with(&suffix))
                };
                pushed.output.lines().any(|line| is_line(&line))
            };
            let has_answer = pushed.cause.is_none() || pushed.output.lines().any(|line| line.contains(":refs/breath/"));
            for (name, commit) in &lacking[pushed.contact] {
                if has_answer && !rejected(name) {
                    contact.report.sent += 1;
                    contact.refs.get_or_insert_default().insert(name.clone(), commit.clone());
                }
            }
            if let Some(cause) = pushed.cause {
                timed_out |= cause == peers::TIMED_OUT;
                let words = pushed
                    .output
                    .lines()
                    .find(|line| line.starts_with("!\t"))
                    .and_then(|line| line.rsplit('\t').next());
                contact.fail(words.map_or(cause, str::to_owned));
            }
        }
        if timed_out {
            self.allow_more_time(peers::TIMED_OUT);
        }
        tidy::tidy(self.worktree);
        Ok(())
    }
}
