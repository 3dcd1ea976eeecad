//! Who this clone is: the node's name and a number that is made with the clone.
//!
//! A wiped node that comes back is another one, or it could never publish what contradicts its former life.
//! So is the second of two copies of one disk.

use anyhow::Result;

use super::heads::{LIFE_DIGITS, owner};
use crate::hex::hex;
use crate::sync::journal;
use crate::sync::names;
use crate::sync::worktree::Worktree;

/// Beside the refs and not among them: a fetch brings refs, and a copy of the refs is no identity.
const FILE: &str = "identity";

/// The name of this clone's ref; made if this clone has none, or one of another node.
pub(super) fn of(worktree: &Worktree, node: Option<&str>) -> Result<String> {
    let stored = journal::read(&worktree.dir, FILE)?;
    let stored = stored.as_deref().map(str::trim).filter(|name| owner(name) == Some(names::ref_component(node)));
    stored.map_or_else(|| renew(worktree, node), |name| Ok(name.to_owned()))
}

/// Takes a new name. The old one is somebody else's from now on.
pub(super) fn renew(worktree: &Worktree, node: Option<&str>) -> Result<String> {
    let mut bytes = [0_u8; LIFE_DIGITS / 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let name = format!("{}.{}", names::ref_component(node), hex(&bytes));
    journal::write(&worktree.dir, FILE, &format!("{name}\n"))?;
    Ok(name)
}
