//! What the services of one promotion share.

use std::sync::{Arc, OnceLock};

use super::request::Request;
use super::uptime::UptimeTracker;
use crate::clock::Deadline;
use crate::lease::client::LeaseError;
use crate::pause::{self, Pauses, Switch};
use crate::register::shared::SharedStore;
use crate::remote::Remote;
use crate::state::StateDir;

/// What all rounds of one promotion share.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// The way to the nodes.
    pub remote: &'a Remote,
    /// Where is remembered what is to be remembered.
    pub state_dir: &'a StateDir,
    /// Since when nodes have been alive.
    pub uptime: &'a UptimeTracker<'a>,
    /// The registers of all leases; none without a `[lease]`.
    pub registers: Option<&'a Arc<SharedStore>>,
}

/// What the services of one promotion share.
pub(super) struct Shared<'a> {
    request: &'a Request<'a>,
    means: Means<'a>,
    pauses: OnceLock<Result<Pauses, LeaseError>>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(request: &'a Request<'a>, means: &Means<'a>) -> Self {
        Self { request, means: *means, pauses: OnceLock::new() }
    }

    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    pub(super) fn state_dir(&self) -> &'a StateDir {
        self.means.state_dir
    }

    pub(super) fn remote(&self) -> &'a Remote {
        self.means.remote
    }

    pub(super) fn uptime(&self) -> &UptimeTracker<'a> {
        self.means.uptime
    }

    pub(super) fn means(&self) -> &Means<'a> {
        &self.means
    }

    /// The registers of all leases; none without a `[lease]`.
    pub(super) fn registers(&self) -> Option<&'a Arc<SharedStore>> {
        self.means.registers
    }

    /// What is paused: asked once, and only where there may be something to do.
    pub(super) fn pauses(&self) -> Result<&Pauses, &LeaseError> {
        let Request { config, services, .. } = self.request;
        // As long as a lease is read: what was just paused has to be fetched too.
        let timeout = services.iter().map(|(_, service)| service.timeout).max();
        let deadline = Deadline::after(timeout.unwrap_or_default().max(config.probe_timeout));
        let read = || pause::in_force(&Switch::of(self.registers()), self.state_dir(), deadline);
        self.pauses.get_or_init(read).as_ref()
    }
}
