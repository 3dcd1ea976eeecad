//! What is asked of a promotion.

use crate::chain::Name;
use crate::config::{Config, Probe, Service};
use crate::output::{OutputMode, PendingWaits};
use crate::remote::Remote;
use crate::service::Instance;
use crate::view::View;

/// What is asked of a promotion.
pub struct Request<'a> {
    /// The node list.
    pub config: &'a Config,
    /// The node this is.
    pub local_node: Option<&'a Name>,
    /// The services.
    pub services: Vec<(&'a Name, &'a Service)>,
    /// How it is to be done.
    pub options: Options<'a>,
    /// What was seen, when that is not to be found out.
    pub view: Option<View>,
    /// Where steps are said while they happen.
    pub output_mode: OutputMode,
    /// Where waits are shown while they last.
    pub waits: PendingWaits,
}

/// How a promotion is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The node to run the services on, when not the first living one.
    pub to: Option<&'a Name>,
    /// Whether to do nothing unless this node is the brain.
    pub if_brain: bool,
    /// Whether to touch nothing.
    pub dry_run: bool,
    /// The reason, for the lease's history.
    pub why: Option<&'a str>,
}

/// One service, and what is wanted of it.
#[derive(Clone, Copy)]
pub(super) struct Goal<'a> {
    request: &'a Request<'a>,
    name: &'a Name,
    service: &'a Service,
    chain: &'a [Name],
}

impl<'a> Goal<'a> {
    pub(super) fn new(request: &'a Request<'a>, name: &'a Name, service: &'a Service) -> Self {
        let chain = request.config.chains.get(&service.chain).map_or(&[][..], Vec::as_slice);
        Self { request, name, service, chain }
    }

    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    pub(super) fn config(&self) -> &'a Config {
        self.request.config
    }

    pub(super) fn options(&self) -> &'a Options<'a> {
        &self.request.options
    }

    pub(super) fn local_node(&self) -> Option<&'a Name> {
        self.request.local_node
    }

    pub(super) fn name(&self) -> &'a Name {
        self.name
    }

    pub(super) fn service(&self) -> &'a Service {
        self.service
    }

    pub(super) fn chain(&self) -> &'a [Name] {
        self.chain
    }

    /// The service on a node of the list.
    pub(super) fn instance(&self, remote: &'a Remote, node: &Name) -> Option<Instance<'a>> {
        let (name, node) = self.request.config.nodes.get_key_value(node)?;
        Some(Instance { remote, title: self.name, service: self.service, name, node })
    }

    /// The service's `health` probe on a node, where there is one.
    pub(super) fn health_probe(&self, node: &Name) -> Option<&'a Probe> {
        self.service.health.as_ref()?.get(node)
    }
}
