//! What the services of one promotion share.

use std::sync::OnceLock;

use super::request::Request;
use super::uptime::UptimeTracker;
use crate::clock::Deadline;
use crate::lease::client::LeaseError;
use crate::pause::{self, Pauses};
use crate::remote::Remote;
use crate::state::StateDir;

/// What the services of one promotion share.
pub(super) struct Shared<'a> {
    request: &'a Request<'a>,
    remote: &'a Remote,
    state_dir: &'a StateDir,
    uptime: &'a UptimeTracker<'a>,
    pauses: OnceLock<Result<Pauses, LeaseError>>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        remote: &'a Remote,
        state_dir: &'a StateDir,
        uptime: &'a UptimeTracker<'a>,
    ) -> Self {
        Self { request, remote, state_dir, uptime, pauses: OnceLock::new() }
    }

    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    pub(super) fn state_dir(&self) -> &'a StateDir {
        self.state_dir
    }

    pub(super) fn remote(&self) -> &'a Remote {
        self.remote
    }

    pub(super) fn uptime(&self) -> &UptimeTracker<'a> {
        self.uptime
    }

    /// What is paused: asked once, and only where there may be something to do.
    pub(super) fn pauses(&self) -> Result<&Pauses, &LeaseError> {
        let Request { config, local_node, services, .. } = self.request;
        // As long as a lease is read: what was just paused has to be fetched too.
        let timeout = services.iter().map(|(_, service)| service.timeout).max();
        let deadline = Deadline::after(timeout.unwrap_or_default().max(config.probe_timeout));
        self.pauses.get_or_init(|| pause::in_force(config, self.state_dir, *local_node, deadline)).as_ref()
    }
}
