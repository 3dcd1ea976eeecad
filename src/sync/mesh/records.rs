//! What a clone remembers between two breaths of the mesh.

use sha2::{Digest, Sha256};

use super::heads::Quiet;
use super::peers::Refs;
use crate::fsutil::{self, Durability};
use crate::hex::hex;
use crate::sync::journal;
use crate::sync::worktree::Worktree;

/// The digest of refs and branch with which the last breath had nothing left to do.
const SETTLED: &str = "settled";
/// The heads that a quiet merge waits for, and for how many rounds.
const QUIET: &str = "quiet";

fn digest(refs: &Refs, main: &str, id: &str) -> String {
    let text: String = refs.iter().map(|(name, commit)| format!("{name} {commit}\n")).collect();
    hex(&Sha256::digest(format!("{id} {main}\n{text}")))
}

/// Whether nothing has moved since a breath had nothing left to do.
pub(super) fn is_settled(worktree: &Worktree, refs: &Refs, main: &str, id: &str) -> bool {
    journal::read(&worktree.dir, SETTLED).ok().flatten().is_some_and(|stored| stored == digest(refs, main, id))
}

/// Remembers that nothing is left to do. Losing it costs a few processes.
pub(super) fn settle(worktree: &Worktree, refs: &Refs, main: &str, id: &str) {
    let _ = fsutil::replace(&worktree.dir.join(SETTLED), digest(refs, main, id).as_bytes(), Durability::Cached);
}

/// What waits.
pub(super) fn quiet(worktree: &Worktree) -> Quiet {
    let text = journal::read(&worktree.dir, QUIET).ok().flatten().unwrap_or_default();
    let Some((rounds, heads)) = text.trim_end().split_once(' ') else { return Quiet::default() };
    Quiet { heads: heads.to_owned(), rounds: rounds.parse().unwrap_or(0) }
}

/// Remembers it. Losing it prolongs a wait.
pub(super) fn keep_quiet(worktree: &Worktree, quiet: &Quiet) {
    let text = format!("{} {}\n", quiet.rounds, quiet.heads);
    let _ = fsutil::replace(&worktree.dir.join(QUIET), text.as_bytes(), Durability::Cached);
}
