//! What is asked of a promotion.

use std::time::Duration;

use crate::at_work::Check;
use crate::config::{Config, Node, Probe, Service};
use crate::name::Name;
use crate::output::{OutputMode, PendingWaits};
use crate::remote::Remote;
use crate::service::Instance;
use crate::state::Location;
use crate::view::View;

/// Checks are repeated no sooner than this.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// What is asked of a promotion.
#[derive(Clone)]
pub struct Request<'a> {
    /// The node list.
    pub config: &'a Config,
    /// The node this is.
    pub local_node: Option<&'a Name>,
    /// The services.
    pub services: Vec<(&'a Name, &'a Service)>,
    /// How it is to be done.
    pub options: Options<'a>,
    /// Decides whether this node is the brain, without which nothing is done; none where that is not asked.
    pub check: Option<&'a Check<'a>>,
    /// What was seen, when that is not to be found out.
    pub view: Option<View>,
    /// Where steps are said while they happen.
    pub output_mode: OutputMode,
    /// Where waits are shown while they last.
    pub waits: PendingWaits,
}

impl<'a> Request<'a> {
    /// The same for some of the services.
    pub(super) fn for_services(&self, services: Vec<(&'a Name, &'a Service)>) -> Self {
        Self { services, ..self.clone() }
    }

    /// From one check to the next, where this is a check that may be repeated: no other wish of a person
    /// is carried out twice.
    pub(super) fn repeats_after(&self) -> Option<Duration> {
        let Options { to, dry_run, forget, pace, .. } = self.options;
        let is_check = to.is_none() && forget.is_none() && !dry_run && self.view.is_none();
        let check = self.config.cycle.check;
        is_check.then(|| pace.map_or(check, |pace| pace.min(check)).max(MIN_PAUSE))
    }
}

/// How a promotion is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The node to run the services on, when not the first living one.
    pub to: Option<&'a Name>,
    /// Whether to touch nothing.
    pub dry_run: bool,
    /// The reason, for the lease's history.
    pub why: Option<&'a str>,
    /// A node on which the services do not run, by a person's word.
    pub forget: Option<&'a str>,
    /// From one call to the next, where a loop makes them.
    pub pace: Option<Duration>,
}

/// One service, and what is wanted of it.
#[derive(Clone, Copy)]
pub(super) struct Goal<'a> {
    request: &'a Request<'a>,
    name: &'a Name,
    service: &'a Service,
    chain: &'a [Name],
    former: &'a [(Name, Node)],
}

impl<'a> Goal<'a> {
    pub(super) fn new(request: &'a Request<'a>, name: &'a Name, service: &'a Service) -> Self {
        let chain = request.config.chains.get(&service.chain).map_or(&[][..], Vec::as_slice);
        Self { request, name, service, chain, former: &[] }
    }

    /// With places that are not in the node list any more, and where the service ran.
    pub(super) fn with_former(self, former: &'a [(Name, Node)]) -> Self {
        Self { former, ..self }
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

    /// The places that are not in the node list any more.
    pub(super) fn former(&self) -> impl Iterator<Item = &'a Name> {
        self.former.iter().map(|(name, _)| name)
    }

    pub(super) fn is_former(&self, node: &Name) -> bool {
        self.former.iter().any(|(name, _)| name == node)
    }

    /// Where a node is, as it is remembered.
    pub(super) fn location(&self, node: &Name) -> Option<Location> {
        self.node(node).map(|(name, node)| Location::of(name, node))
    }

    /// The service on a node.
    pub(super) fn instance(&self, remote: &'a Remote, node: &Name) -> Option<Instance<'a>> {
        let (name, node) = self.node(node)?;
        Some(Instance { remote, service_name: self.name, service: self.service, node_name: name, node })
    }

    fn node(&self, wanted: &Name) -> Option<(&'a Name, &'a Node)> {
        let former = || self.former.iter().find(|(name, _)| name == wanted).map(|(name, node)| (name, node));
        self.request.config.nodes.get_key_value(wanted).or_else(former)
    }

    /// The service's `health` probe on a node, where there is one.
    pub(super) fn health_probe(&self, node: &Name) -> Option<&'a Probe> {
        self.service.health.as_ref()?.get(node)
    }
}
