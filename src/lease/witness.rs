//! This node's witness: the file in which all its processes keep what they know of a lease, and from
//! which it answers the holder's questions under the [failsafe](super::failsafe).

use super::failsafe::{self, Grant};
use super::{LeaseRecord, LeaseView, stored};
use crate::clock::BootInstant;
use crate::config::Config;
use crate::name::Name;
use crate::state::StateDir;

/// Keeps the view in the file, and records news in the history. A claim's wait begins only once the file
/// shows the claim:
///
/// ```text
///  this process           rename file ── read it back ── stamp ──────── wait
///  mirror lease witness   yes │ no ───────────────────────────────────────
/// ```
///
/// If the file lost the claim meanwhile, the wait begins anew. Returns whether the file shows the view's
/// record or a later one.
pub fn publish(state_dir: &StateDir, local_node: Option<&Name>, service: &Name, lease_view: &mut LeaseView) -> bool {
    if !stored::load(state_dir, service).has_waited_as_long_as(lease_view) {
        lease_view.restart_wait();
    }
    stored::keep(state_dir, local_node, service, lease_view);
    let stored = stored::load(state_dir, service);
    lease_view.adopt_wait(&stored);
    if stored.value() != lease_view.value() {
        return stored.is_later_than(lease_view);
    }
    if lease_view.is_unpublished_claim() {
        lease_view.published(BootInstant::now());
        stored::keep(state_dir, local_node, service, lease_view);
    }
    true
}

/// Whether this process keeps its state where the node's other processes keep theirs: in the directory that
/// the node list or the service manager names, or in root's. Another user's own directory shows no claim
/// of root's, and root's shows none of that user.
pub fn is_shared(config: &Config) -> bool {
    config.state.is_some() || std::env::var_os("STATE_DIRECTORY").is_some() || rustix::process::geteuid().is_root()
}

/// The answer to a holder's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// Nothing newer than the grant is known.
    Vouched,
    /// A newer record is known.
    NewerKnown,
    /// The file cannot be read; why. That is not a yes: it may show a claim.
    Unreadable(String),
}

/// Whether this node vouches for the grant, and the record that it knows.
pub fn testify(config: &Config, service: &Name, grant: &Grant) -> (Testimony, Option<LeaseRecord>) {
    if !is_shared(config) {
        let why = "the state of this user is not the node's; name a directory as `state` in the node list";
        return (Testimony::Unreadable(why.to_owned()), None);
    }
    let state_dir = StateDir::open(config);
    if let Err(why) = is_readable(&state_dir, service) {
        return (Testimony::Unreadable(why), None);
    }
    let known = stored::load(&state_dir, service).value().cloned();
    let testimony = if failsafe::vouches(known.as_ref(), grant) { Testimony::Vouched } else { Testimony::NewerKnown };
    (testimony, known)
}

/// Distinguishes a missing file from one that cannot be read or parsed.
fn is_readable(state_dir: &StateDir, service: &Name) -> Result<(), String> {
    let path = state_dir.directory().join(format!("lease-{service}.json"));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
            .map(drop)
            .map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
