//! Services.

use std::time::Duration;

use indexmap::IndexMap;

use super::nodes::Subject;
use super::{MAX_DURATION, Network, Resolver, there_are};
use crate::config::model::{Probe, Service};
use crate::config::raw::{self, Spanned, Table};
use crate::config::values::{Failback, ShellCommand};
use crate::name::Name;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const FAILBACK: Duration = Duration::from_secs(60);
const RESTARTS: u32 = 3;
const DEFAULT_WINDOW: Duration = Duration::from_secs(5 * 60);
const INHALE: Duration = Duration::from_secs(2);

impl Resolver {
    pub(super) fn services(&mut self, file: &raw::File, network: &Network<'_>) -> IndexMap<Name, Service> {
        let mut services = IndexMap::new();
        for (key, service) in &file.services {
            let at = format!("services.{}", key.get());
            let chain = self.chain_of(key, service, network);
            let [status, start, stop] =
                [("status", &service.status), ("start", &service.start), ("stop", &service.stop)]
                    .map(|(name, given)| self.command(given.as_ref(), key, name));
            let timeout = self.duration(service.timeout.as_ref(), &format!("{at}.timeout"), DEFAULT_TIMEOUT);
            let lease = file.lease.as_ref();
            let times = super::lease::ServiceTimes { check: network.check, timeout };
            let health = service.health.as_ref().map(|health| self.health(health, &chain, network, &at));
            let resolved = Service {
                chain,
                status,
                start,
                stop,
                timeout,
                failback: self.failback(service.failback.as_ref(), &at),
                restarts: service.restarts.map_or(RESTARTS, |restarts| restarts.0),
                window: self.duration(service.window.as_ref(), &format!("{at}.window"), DEFAULT_WINDOW),
                inhale: self.inhale(file, service, &at),
                health,
                lease: self.lease(lease, service.lease.as_ref(), key.get(), times),
            };
            services.insert(key.get().clone(), resolved);
        }
        services
    }

    fn chain_of(&mut self, key: &Spanned<Name>, service: &raw::Service, network: &Network<'_>) -> Name {
        let chain = service.chain.as_ref().unwrap_or(key);
        if !network.chains.contains_key(chain.get()) {
            let message = format!(
                "the service {} has no chain: {:?} is not in [chains]; {}; name one with chain = \"…\", or add it",
                key.get(),
                chain.get().as_str(),
                there_are(network.chains.keys())
            );
            let at = format!("services.{}.chain", key.get());
            self.findings.error(chain.span(), "unknown-chain", at, message);
        }
        chain.get().clone()
    }

    fn command(&mut self, given: Option<&ShellCommand>, service: &Spanned<Name>, key: &str) -> String {
        given.map_or_else(
            || {
                let name = service.get();
                let message = format!("the service {name} has no {key} command; add {key} = \"…\"");
                self.findings.error(service.span(), "missing-command", format!("services.{name}.{key}"), message);
                String::new()
            },
            |command| command.0.clone(),
        )
    }

    /// Without a repository of the node list's own there is nothing to inhale into.
    fn inhale(&mut self, file: &raw::File, service: &raw::Service, at: &str) -> Option<Duration> {
        let given = service.inhale.as_ref();
        let is_never = given.is_some_and(|given| given.get().0.is_zero());
        if is_never {
            return None;
        }
        let inhale = self.duration(given, &format!("{at}.inhale"), INHALE);
        file.breath.repo.is_some().then_some(inhale)
    }

    fn failback(&mut self, given: Option<&Spanned<Failback>>, at: &str) -> Failback {
        let Some(given) = given else { return Failback::After(FAILBACK) };
        let (instead, message) = match *given.get() {
            Failback::After(wait) if wait.is_zero() => {
                (Failback::Always, "failback cannot be 0 s; write \"always\", or a longer time")
            }
            Failback::After(wait) if wait > MAX_DURATION => {
                (Failback::Never, "failback is longer than a year; write \"never\", or a shorter time")
            }
            usable => return usable,
        };
        self.findings.error(given.span(), "unusable-duration", format!("{at}.failback"), message.to_owned());
        instead
    }

    /// The probe of the service on each node of its chain.
    fn health(
        &mut self,
        health: &Spanned<Table<raw::Probe>>,
        chain: &Name,
        network: &Network<'_>,
        at: &str,
    ) -> IndexMap<Name, Probe> {
        let mut by_node = IndexMap::new();
        for name in network.chains.get(chain).into_iter().flatten() {
            let Some(node) = network.nodes.get(name) else { continue };
            let subject = Subject { name, node, port: None, at: format!("{at}.health") };
            by_node.insert(name.clone(), self.probe(Some(health), network.probe, &subject));
        }
        by_node
    }
}
