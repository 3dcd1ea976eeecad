//! `[lease]`: where the leases are, and their times.

use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;

use super::Resolver;
use crate::config::address::Address;
use crate::config::model::{Guard, Lease, Node, Store};
use crate::config::raw::{self, Spanned, StoreKind, Table};
use crate::config::text::quoted;
use crate::config::values::{DurationText, FilePath, is_git_name};
use crate::name::Name;

const VALID: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(1);
const FAILSAFE: bool = true;
/// Shorter times lose a lease to what is usual on a busy machine: a read over a shared connection takes
/// some 20 ms, and may take a third of `valid`.
const MIN_VALID: Duration = Duration::from_millis(300);
const MIN_GRACE: Duration = Duration::from_millis(100);
const GIT_PREFIX: &str = "refs/mirror/";
const ETCD_PREFIX: &str = "/mirror/";
const GIT_ON_NODE: &str = "when it falls, the lease cannot be read, so the holder stops and nobody takes over; put \
                           the remote on a host that runs no service";
const ETCD_ON_NODE: &str = "a member falls with its node, and without a majority of its members etcd answers nobody: \
                            the holder stops and nobody takes over; put the members on hosts that are not nodes, or \
                            count on fewer failures";

/// The times of a service that its lease must fit.
#[derive(Clone, Copy)]
pub(super) struct ServiceTimes {
    pub(super) check: Duration,
    pub(super) timeout: Duration,
}

impl Resolver {
    /// Where the leases are; none when the file does not say.
    pub(super) fn store(&mut self, lease: &Spanned<Table<raw::Lease>>, nodes: &IndexMap<Name, Node>) -> Option<Store> {
        let table = lease.get();
        self.refuse_foreign_keys(table);
        // Wrong even where no service relies on them.
        self.duration(table.valid.as_ref(), "lease.valid", VALID);
        self.duration(table.grace.as_ref(), "lease.grace", GRACE);
        match table.store {
            StoreKind::Git => self.git(lease, nodes),
            StoreKind::Etcd => self.etcd(lease, nodes),
            StoreKind::File => {
                let path = self.required(table.path.as_ref(), lease, "path", "\"/srv/lease\"")?;
                self.warn_of_one_machine(nodes, path.span(), "lease.path");
                Some(Store::File { path: self.path(&path.get().0) })
            }
        }
    }

    fn git(&mut self, lease: &Spanned<Table<raw::Lease>>, nodes: &IndexMap<Name, Node>) -> Option<Store> {
        let table = lease.get();
        let example = "\"ssh://git@192.0.2.9/srv/lease.git\"";
        let remote = self.required(table.remote.as_ref(), lease, "remote", example)?;
        if let Some(prefix) = table.prefix.as_ref().filter(|prefix| !is_ref_prefix(&prefix.get().0)) {
            let message = format!(
                "{} is not a place for refs; write it as \"refs/mirror/\", from refs/ to a slash",
                quoted(&prefix.get().0)
            );
            self.findings.error(prefix.span(), "ref-prefix", "lease.prefix", message);
        }
        let url = &remote.get().0;
        if has_password(url) {
            let message = "it holds a password, which every user of this machine can read in the list of processes; \
                           leave it to a credential helper of git, or use ssh";
            self.findings.error(remote.span(), "secret-in-url", "lease.remote", message.to_owned());
        }
        match host_of(url) {
            Some(host) => {
                let by_address = by_address(nodes);
                self.warn_of_node(by_address.get(&host), &host, remote.span(), "lease.remote", GIT_ON_NODE);
            }
            None => self.warn_of_one_machine(nodes, remote.span(), "lease.remote"),
        }
        Some(Store::Git { remote: url.clone(), prefix: prefix(table, GIT_PREFIX) })
    }

    fn etcd(&mut self, lease: &Spanned<Table<raw::Lease>>, nodes: &IndexMap<Name, Node>) -> Option<Store> {
        let table = lease.get();
        let endpoints = table.endpoints.as_ref().filter(|list| !list.get().is_empty());
        let endpoints = self.required(endpoints, lease, "endpoints", "[\"https://192.0.2.9:2379\", …]")?;
        let identity = self.pair(lease, ("cert", table.cert.as_ref()), ("key", table.key.as_ref()), "\"FILE\"");
        let user = self.pair(
            lease,
            ("user", table.user.as_ref()),
            ("password_file", table.password_file.as_ref()),
            if table.user.is_some() { "\"FILE\"" } else { "\"NAME\"" },
        );
        let by_address = by_address(nodes);
        for (index, endpoint) in endpoints.get().iter().enumerate() {
            let (url, span, at) = (&endpoint.get().0, endpoint.span(), format!("lease.endpoints[{index}]"));
            let Some(host) = host_of(url) else { continue };
            self.warn_of_node(by_address.get(&host), &host, span.clone(), &at, ETCD_ON_NODE);
            if user.is_some() && url.starts_with("http:") && !host.is_loopback() {
                let message = "everybody on the way can read the password; write https";
                self.findings.warning(span, "password-in-clear", at, message.to_owned());
            }
        }
        let path = |path: &Spanned<FilePath>| self.path(&path.get().0);
        Some(Store::Etcd {
            endpoints: endpoints.get().iter().map(|endpoint| endpoint.get().0.clone()).collect(),
            prefix: prefix(table, ETCD_PREFIX),
            ca: table.ca.as_ref().map(path),
            identity: identity.map(|(cert, key)| (path(cert), path(key))),
            user: user.map(|(user, file)| (user.get().0.clone(), path(file))),
        })
    }

    fn required<'a, T>(
        &mut self,
        given: Option<&'a Spanned<T>>,
        lease: &Spanned<Table<raw::Lease>>,
        key: &str,
        example: &str,
    ) -> Option<&'a Spanned<T>> {
        if given.is_none() {
            let message = format!("the store {} needs {key}; add {key} = {example}", lease.get().store.name());
            self.findings.error(lease.span(), "missing-key", format!("lease.{key}"), message);
        }
        given
    }

    /// Two keys that belong together: both or neither.
    fn pair<'a, A, B>(
        &mut self,
        lease: &Spanned<Table<raw::Lease>>,
        (first_key, first): (&str, Option<&'a Spanned<A>>),
        (second_key, second): (&str, Option<&'a Spanned<B>>),
        example: &str,
    ) -> Option<(&'a Spanned<A>, &'a Spanned<B>)> {
        if first.is_some() || second.is_some() {
            let first = self.required(first, lease, first_key, example);
            let second = self.required(second, lease, second_key, example);
            return first.zip(second);
        }
        None
    }

    fn refuse_foreign_keys(&mut self, table: &raw::Lease) {
        use StoreKind::{Etcd, File, Git};
        let path = |path: &Option<Spanned<FilePath>>| path.as_ref().map(Spanned::span);
        let keys = [
            ("remote", table.remote.as_ref().map(Spanned::span), &[Git][..]),
            ("prefix", table.prefix.as_ref().map(Spanned::span), &[Git, Etcd]),
            ("endpoints", table.endpoints.as_ref().map(Spanned::span), &[Etcd]),
            ("ca", path(&table.ca), &[Etcd]),
            ("cert", path(&table.cert), &[Etcd]),
            ("key", path(&table.key), &[Etcd]),
            ("user", table.user.as_ref().map(Spanned::span), &[Etcd]),
            ("password_file", path(&table.password_file), &[Etcd]),
            ("path", path(&table.path), &[File]),
        ];
        for (key, span, stores) in keys {
            if let Some(span) = span.filter(|_| !stores.contains(&table.store)) {
                let names: Vec<&str> = stores.iter().map(|store| store.name()).collect();
                let message = format!(
                    "{key} belongs to the store {}, and this one is {}; take it out",
                    names.join(" or "),
                    table.store.name()
                );
                self.findings.error(span, "foreign-key", format!("lease.{key}"), message);
            }
        }
    }

    /// The times of a service's lease; none without `[lease]`.
    pub(super) fn lease(
        &mut self,
        network: Option<&Spanned<Table<raw::Lease>>>,
        own: Option<&Spanned<Table<raw::ServiceLease>>>,
        service: &Name,
        times: ServiceTimes,
    ) -> Option<Lease> {
        let at = format!("services.{service}.lease");
        let Some(network) = network else {
            if let Some(own) = own {
                let message = "there is no [lease] that this could be an exception to; add it, or take this out";
                self.findings.error(own.span(), "no-lease", at, message.to_owned());
            }
            return None;
        };
        let table = network.get();
        let own = own.map(|own| (**own.get()).clone()).unwrap_or_default();
        let valid = self.duration(table.valid.as_ref(), "lease.valid", VALID);
        let valid = self.duration(own.valid.as_ref(), &format!("{at}.valid"), valid);
        let grace = self.duration(table.grace.as_ref(), "lease.grace", GRACE);
        let grace = self.duration(own.grace.as_ref(), &format!("{at}.grace"), grace);
        let guard = own.guard.as_ref().or(table.guard.as_ref());
        let failsafe = table.failsafe.unwrap_or(FAILSAFE);
        let lease = Lease { valid, grace, guard: guard.map_or(Guard::Hold, |guard| *guard.get()), failsafe };
        let span = |own: &Option<Spanned<DurationText>>, table: &Option<Spanned<DurationText>>| {
            own.as_ref().or(table.as_ref()).map(Spanned::span)
        };
        let valid_span = span(&own.valid, &table.valid);
        let grace_span = span(&own.grace, &table.grace).unwrap_or(network.span());
        self.warn_of_short(valid_span.clone().unwrap_or(network.span()), &at, ("valid", valid), MIN_VALID);
        self.warn_of_short(grace_span, &at, ("grace", grace), MIN_GRACE);
        let span = valid_span.or(guard.map(Spanned::span)).unwrap_or(network.span());
        self.check_tick(lease, times, service, span);
        Some(lease)
    }

    fn warn_of_short(&mut self, span: Range<usize>, at: &str, (key, value): (&str, Duration), least: Duration) {
        if value < least {
            let shown = humantime::format_duration;
            let message = format!(
                "{key} is {}: below {}, a busy machine loses its service without need; lengthen it",
                shown(value),
                shown(least)
            );
            self.findings.warning(span, "short-lease", format!("{at}.{key}"), message);
        }
    }

    fn check_tick(&mut self, lease: Lease, times: ServiceTimes, service: &Name, span: Range<usize>) {
        let needed = times.check + times.timeout;
        if lease.guard == Guard::Tick && lease.valid <= needed {
            let shown = humantime::format_duration;
            let message = format!(
                "with guard = \"tick\" a tick comes every {} (cycle.check) and its stop may take {} (the timeout of \
                 {service}), so valid must be longer than {}, and is {}; lengthen valid, or use guard = \"hold\"",
                shown(times.check),
                shown(times.timeout),
                shown(needed),
                shown(lease.valid)
            );
            self.findings.error(span, "short-valid", format!("services.{service}.lease.valid"), message);
        }
    }

    fn warn_of_node(&mut self, node: Option<&&Name>, host: &Address, span: Range<usize>, at: &str, why: &str) {
        if let Some(node) = node {
            let message = format!("{host} is the address of {node}: {why}");
            self.findings.warning(span, "arbiter-on-node", at, message);
        }
    }

    /// A path is another file on each machine, and so the lease is another one.
    fn warn_of_one_machine(&mut self, nodes: &IndexMap<Name, Node>, span: Range<usize>, at: &str) {
        let mut addresses = nodes.values().map(|node| &node.address);
        let first = addresses.next();
        if addresses.any(|address| Some(address) != first) {
            let message = "this is a path, and the nodes are several machines: unless they share it, each has a lease \
                           of its own, and two may run; name a remote that all of them reach";
            self.findings.warning(span, "arbiter-local", at, message.to_owned());
        }
    }
}

/// The first node of each address.
fn by_address(nodes: &IndexMap<Name, Node>) -> std::collections::HashMap<&Address, &Name> {
    nodes.iter().rev().map(|(name, node)| (&node.address, name)).collect()
}

fn prefix(table: &raw::Lease, default: &str) -> String {
    table.prefix.as_ref().map_or(default, |prefix| &prefix.get().0).to_owned()
}

fn is_ref_prefix(text: &str) -> bool {
    text.starts_with("refs/") && text.strip_suffix('/').is_some_and(is_git_name)
}

/// Whether there is a password before the host of a URL.
fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

/// The host of a URL or of git's `HOST:PATH`; none for a path on this machine.
fn host_of(url: &str) -> Option<Address> {
    let authority = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split('/').next()?,
        None if url.starts_with('/') => return None,
        None => url,
    };
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let host = match place.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => place.split(':').next()?,
    };
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_remote() {
        for (url, host) in [
            ("ssh://git@192.0.2.9:2222/srv/lease.git", Some("192.0.2.9")),
            ("https://Git.example.org/lease", Some("git.example.org")),
            ("git@192.0.2.9:lease.git", Some("192.0.2.9")),
            ("ssh://[2001:db8::1]:22/lease", Some("2001:db8::1")),
            ("[2001:db8::1]:lease", Some("2001:db8::1")),
            ("http://127.0.0.1:2379", Some("127.0.0.1")),
            ("/srv/lease.git", None),
            ("file:///srv/lease.git", None),
        ] {
            assert_eq!(host_of(url).map(|host| host.to_string()).as_deref(), host, "{url}");
        }
    }
}
