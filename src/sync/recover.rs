//! Finishes or undoes what a killed breath left.
//!
//! The journal entry of [`super::checkout`] says from which commit to which one the work tree was
//! moving. The index and the branch themselves tell how far it came:
//!
//! | index | branch | action |
//! |---|---|---|
//! | new | old | only the branch is missing: move it |
//! | old | old | files may be new, missing or half written: restore the old ones |
//! | any | other | it was done, or a person has gone on since: touch nothing |

use anyhow::Result;

use super::diff::{tree_changes, tree_of};
use super::index::{self, IndexLock};
use super::journal::JournalEntry;
use super::outcome::SyncError;
use super::worktree::Worktree;
use super::{refs, restore};

/// Repairs what an earlier breath left. Only breaths write the refs in `own_refs`.
pub(super) fn recover(worktree: &Worktree, own_refs: &[&str]) -> Result<(), SyncError> {
    refs::remove_stale_locks(worktree, own_refs)?;
    index::remove_private_files(worktree)?;
    let Some(entry) = JournalEntry::read(worktree)? else {
        index::release_stale(worktree);
        return Ok(());
    };
    let mut lock = IndexLock::take(worktree)?;
    lock.keep();
    let checked_out = worktree.git.current_branch()?.as_ref() == Some(&entry.branch);
    if checked_out && worktree.git.resolve(&entry.branch)? == entry.old {
        if index_is_new(worktree, &entry)? {
            refs::update(worktree, &entry.branch, &entry.new, entry.old.as_deref())?;
        } else {
            restore::restore(worktree, &entry)?;
        }
    }
    JournalEntry::remove(worktree)?;
    lock.release();
    Ok(())
}

/// Whether the index has every incoming change.
fn index_is_new(worktree: &Worktree, entry: &JournalEntry) -> Result<bool> {
    let from = tree_of(&worktree.git, entry.old.as_deref())?;
    let changes = tree_changes(&worktree.git, &from, &entry.new)?;
    let indexed = restore::index_entries(worktree)?;
    Ok(changes.iter().all(|change| indexed.get(&change.path).map(|indexed| &indexed.entry) == change.new.as_ref()))
}
