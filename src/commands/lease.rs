//! `mirror lease`: one file a subcommand, and what they share.

use anyhow::Result;

use super::Context;
use crate::lease::LeaseRecord;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::name::Name;
use crate::state::StateDir;
use crate::usage_error::UsageError;

pub mod check;
pub mod history;
pub mod migrate;
pub mod repair;
pub mod show;
pub mod witness;

/// The usage error of a lease command without a `[lease]`.
fn no_lease(context: &Context) -> anyhow::Error {
    let file = context.config.file.display();
    UsageError::new(format!(
        "{file}: no service is under a lease; add [lease] with store = \"git\", \"etcd\" or \"file\""
    ))
}

/// The client of a service's lease, or why it cannot be opened.
///
/// # Errors
/// A usage error when the service is under no lease.
fn open_client<'a>(
    context: &Context,
    state_dir: &StateDir,
    service: &'a Name,
) -> Result<Result<LeaseClient<'a>, LeaseError>> {
    match LeaseClient::open(&context.config, state_dir, context.local_node.as_ref(), service) {
        Ok(Some(client)) => Ok(Ok(client)),
        Ok(None) => Err(no_lease(context)),
        Err(error) => Ok(Err(error)),
    }
}

/// Why a lease is unknown, and what to do about it or what was known before, as a sentence.
fn unknown(service: &Name, error: &LeaseError, known: Option<&LeaseRecord>) -> String {
    let last_seen = || known.map(|record| format!("last seen: {}", record.summary(service)));
    let more = error.remedy(service).or_else(last_seen).map(|more| format!("; {more}")).unwrap_or_default();
    format!("The lease of {service} is unknown: {error}{more}.")
}
