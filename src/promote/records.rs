//! The locks and the records of the services of one round.

use std::collections::BTreeMap;

use anyhow::Result;

use super::former_places;
use super::outcome::{PromoteVerdict, ServiceOutcome};
use super::request::Request;
use crate::config::Node;
use crate::name::Name;
use crate::state::{Lock, ServiceRecord, StateDir};
use crate::usage_error::UsageError;

/// The services that this process may promote, and what to report of the others.
#[derive(Default)]
pub(super) struct Records<'a> {
    locks: BTreeMap<&'a Name, Option<Lock>>,
    records: BTreeMap<&'a Name, ServiceRecord>,
    /// Where they ran that is not in the node list any more.
    former: BTreeMap<&'a Name, Vec<(Name, Node)>>,
    refused: Vec<ServiceOutcome>,
}

impl<'a> Records<'a> {
    /// Locks the services and reads what is remembered of them.
    ///
    /// # Errors
    /// When the node to forget is unknown.
    pub(super) fn open(request: &Request<'a>, state_dir: &StateDir) -> Result<Self> {
        let mut all = Self::default();
        for &(name, _) in &request.services {
            let lock = if request.options.dry_run { Ok(None) } else { state_dir.lock(name).map(Some) };
            let (verdict, reason) = match lock {
                Ok(Some(None)) => {
                    (PromoteVerdict::Busy, format!("Another promotion of {name} is under way on this node."))
                }
                Ok(lock) => {
                    all.locks.insert(name, lock.flatten());
                    all.records.insert(name, state_dir.record(name));
                    continue;
                }
                Err(error) => (PromoteVerdict::Unknown, format!("No lock can be had for {name}: {error}.")),
            };
            all.refused.push(ServiceOutcome::without_steps(name, verdict, reason));
        }
        all.forget(request)?;
        for (name, record) in &mut all.records {
            all.former.insert(name, former_places::former_nodes(record, request.config));
        }
        Ok(all)
    }

    /// Takes a person's word that the services do not run on a node.
    fn forget(&mut self, request: &Request<'_>) -> Result<()> {
        let Some(node) = request.options.forget else { return Ok(()) };
        let mut is_known = request.config.nodes.contains_key(node);
        for record in self.records.values_mut() {
            is_known |= former_places::forget(record, node);
        }
        if is_known || self.records.is_empty() {
            return Ok(());
        }
        Err(UsageError::new(format!(
            "--forget {node}: it is no node of the list, and no service is remembered there; \
             name the node as `mirror promote` does"
        )))
    }

    pub(super) fn all(&self) -> &BTreeMap<&'a Name, ServiceRecord> {
        &self.records
    }

    pub(super) fn former(&self, service: &Name) -> &[(Name, Node)] {
        self.former.get(service).map_or(&[], Vec::as_slice)
    }

    /// The lock of a service; it is held for as long as it is kept.
    pub(super) fn take_lock(&mut self, service: &Name) -> Option<Lock> {
        self.locks.remove(service).flatten()
    }

    pub(super) fn take_refused(&mut self) -> Vec<ServiceOutcome> {
        std::mem::take(&mut self.refused)
    }

    /// Another node is the brain, and may start the services anywhere.
    pub(super) fn forget_checks(&self, request: &Request<'_>, state_dir: &StateDir) {
        for (name, record) in self.records.iter().filter(|(_, record)| record.checks.last.is_some()) {
            let mut record = record.clone();
            record.checks.last = None;
            if !request.options.dry_run {
                state_dir.keep_record(name, &record);
            }
        }
    }
}
