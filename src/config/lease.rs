//! `[lease]`: where the leases are, and how long is relied on what was read of them.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::raw::{self, StoreKind};
use super::resolve::Resolver;
use super::validate::{Problem, Severity};
use super::values::{Span, is_git_name};
use super::{Address, Node, place, shown};
use crate::chain::Name;

pub(super) const VALID: Duration = Duration::from_secs(2);
pub(super) const GRACE: Duration = Duration::from_secs(1);
pub(super) const FAILSAFE: bool = true;
/// Below these a lease is lost to what is usual on a busy machine: a read over a shared connection takes
/// some 20 ms, and may take a third of `valid`.
const LEAST_VALID: Duration = Duration::from_millis(300);
const LEAST_GRACE: Duration = Duration::from_millis(100);
const GIT_PREFIX: &str = "refs/mirror/";
const ETCD_PREFIX: &str = "/mirror/";
/// A read may take this part of `valid`, and the next one begins as long after: with both, a good
/// read is never older than two thirds of `valid` while the arbiter answers in time.
const PARTS: u32 = 3;

/// Where the leases are, one register for each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In refs of a git remote.
    Git {
        /// A URL, `HOST:PATH`, or an absolute path.
        remote: String,
        /// What stands before a service's name in the ref.
        prefix: String,
    },
    /// In keys of an etcd cluster.
    Etcd {
        /// The members, as `http://HOST:PORT` or `https://HOST:PORT`.
        endpoints: Vec<String>,
        /// What stands before a service's name in the key.
        prefix: String,
        /// The file with the certificates of who may vouch for a member.
        ca: Option<PathBuf>,
        /// The files with our own certificates and their key.
        identity: Option<(PathBuf, PathBuf)>,
        /// Who we are, and the file with the password.
        user: Option<(String, PathBuf)>,
    },
    /// In files of one machine.
    File {
        /// The directory, which is there already: a file that is named after each service.
        path: PathBuf,
    },
}

impl Store {
    /// Its name in the configuration and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Git { .. } => "git",
            Self::Etcd { .. } => "etcd",
            Self::File { .. } => "file",
        }
    }
}

/// How long is relied on what was read of a service's lease, and who sees to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long a read may be relied on, from when it began.
    pub valid: Duration,
    /// The time to stop, plus what two clocks may drift apart in `valid + grace`.
    pub grace: Duration,
    /// Who stops the service on a node that the lease no longer names.
    pub guard: Guard,
    /// Whether the holder may go on while the arbiter is away and all voters vouch for it.
    pub failsafe: bool,
}

impl Lease {
    /// From the beginning of one read to that of the next, for whoever runs the service.
    pub fn interval(&self) -> Duration {
        self.valid / PARTS
    }

    /// What one read may take, for whoever runs the service.
    pub fn read_timeout(&self) -> Duration {
        self.valid / PARTS
    }

    /// What the read of `lease check` may take. Before a `hold` it may use all the time that its answer
    /// is good for; at a tick, the stop has to follow within `grace` of when it was due.
    pub fn check_timeout(&self) -> Duration {
        match self.guard {
            Guard::Hold => self.valid,
            Guard::Tick => self.read_timeout().min(self.grace),
        }
    }
}

/// Who enforces the run rule on the node that runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Guard {
    /// `mirror hold`, which the service runs under.
    Hold,
    /// The node's own watchdog: `mirror lease check` or stop, at every tick.
    Tick,
}

impl TryFrom<String> for Guard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "hold" => Ok(Self::Hold),
            "tick" => Ok(Self::Tick),
            _ => Err(format!("{} is no guard; write \"hold\" or \"tick\"", shown(&text))),
        }
    }
}

/// What stands before a service's name where the file does not say.
pub(super) fn default_prefix(store: StoreKind) -> Option<&'static str> {
    match store {
        StoreKind::Git => Some(GIT_PREFIX),
        StoreKind::Etcd => Some(ETCD_PREFIX),
        StoreKind::File => None,
    }
}

impl Resolver<'_> {
    /// Where the leases are; none when that cannot be told.
    pub(super) fn store(
        &mut self,
        lease: &Spanned<raw::Table<raw::Lease>>,
        nodes: &IndexMap<Name, Node>,
    ) -> Option<Store> {
        let (table, span) = (lease.get_ref(), lease.span());
        self.refuse_foreign_keys(table);
        // Wrong even where no service relies on them.
        self.span(table.valid.as_ref(), "lease.valid", VALID);
        self.span(table.grace.as_ref(), "lease.grace", GRACE);
        let mut missing = |key: &str, example: &str| {
            let name = kind_name(table.store);
            let message = format!("the store {name} needs {key}; add {key} = {example}");
            self.error(span.clone(), "missing-key", format!("lease.{key}"), message);
        };
        let prefix = table.prefix.as_ref().map(|prefix| prefix.get_ref().0.as_str());
        let prefix = prefix.or(default_prefix(table.store)).unwrap_or_default().to_owned();
        match table.store {
            StoreKind::Git => {
                let Some(remote) = &table.remote else {
                    missing("remote", "\"ssh://git@192.0.2.9/srv/lease.git\"");
                    return None;
                };
                if let Some(spanned) = table.prefix.as_ref().filter(|prefix| !is_ref_prefix(&prefix.get_ref().0)) {
                    let message = format!(
                        "{} is no place for refs; write it as \"refs/mirror/\", from refs/ to a slash",
                        shown(&spanned.get_ref().0)
                    );
                    self.error(spanned.span(), "ref-prefix", "lease.prefix".to_owned(), message);
                }
                let url = &remote.get_ref().0;
                if has_password(url) {
                    let message = "it holds a password, which everybody on this machine could read in the list of \
                                   processes; leave it to a credential helper of git's, or use ssh";
                    self.error(remote.span(), "secret-in-url", "lease.remote".to_owned(), message.to_owned());
                }
                match host_of(url) {
                    Some(host) => self.warn_of_node(&host, nodes, remote.span(), "lease.remote", GIT_ON_NODE),
                    None => self.warn_of_one_machine(nodes, remote.span(), "lease.remote"),
                }
                Some(Store::Git { remote: url.clone(), prefix })
            }
            StoreKind::Etcd => {
                let Some(endpoints) = table.endpoints.as_ref().filter(|list| !list.get_ref().is_empty()) else {
                    missing("endpoints", "[\"https://192.0.2.9:2379\", …]");
                    return None;
                };
                let identity = match (&table.cert, &table.key) {
                    (Some(cert), Some(key)) => Some((cert.get_ref().0.clone(), key.get_ref().0.clone())),
                    (None, None) => None,
                    (cert, _) => {
                        missing(if cert.is_some() { "key" } else { "cert" }, "\"FILE\"");
                        None
                    }
                };
                let user = match (&table.user, &table.password_file) {
                    (Some(user), Some(file)) => Some((user.get_ref().0.clone(), file.get_ref().0.clone())),
                    (None, None) => None,
                    (user, _) => {
                        let (key, example) = if user.is_some() { ("password_file", "FILE") } else { ("user", "NAME") };
                        missing(key, &format!("\"{example}\""));
                        None
                    }
                };
                for (index, endpoint) in endpoints.get_ref().iter().enumerate() {
                    let (url, at) = (&endpoint.get_ref().0, format!("lease.endpoints[{index}]"));
                    let Some(host) = host_of(url) else { continue };
                    self.warn_of_node(&host, nodes, endpoint.span(), &at, ETCD_ON_NODE);
                    if user.is_some() && url.starts_with("http:") && !host.is_loopback() {
                        let message = "the password goes there for everybody on the way to read; write https";
                        self.warning(endpoint.span(), "password-in-clear", &at, message.to_owned());
                    }
                }
                Some(Store::Etcd {
                    endpoints: endpoints.get_ref().iter().map(|endpoint| endpoint.get_ref().0.clone()).collect(),
                    prefix,
                    ca: table.ca.as_ref().map(|ca| self.relative(ca.get_ref().0.clone())),
                    identity: identity.map(|(cert, key)| (self.relative(cert), self.relative(key))),
                    user: user.map(|(user, file)| (user, self.relative(file))),
                })
            }
            StoreKind::File => {
                let Some(path) = &table.path else {
                    missing("path", "\"/srv/lease\"");
                    return None;
                };
                self.warn_of_one_machine(nodes, path.span(), "lease.path");
                Some(Store::File { path: self.relative(path.get_ref().0.clone()) })
            }
        }
    }

    fn refuse_foreign_keys(&mut self, table: &raw::Lease) {
        use StoreKind::{Etcd, File, Git};
        let keys = [
            ("remote", table.remote.as_ref().map(Spanned::span), &[Git][..]),
            ("prefix", table.prefix.as_ref().map(Spanned::span), &[Git, Etcd]),
            ("endpoints", table.endpoints.as_ref().map(Spanned::span), &[Etcd]),
            ("ca", table.ca.as_ref().map(Spanned::span), &[Etcd]),
            ("cert", table.cert.as_ref().map(Spanned::span), &[Etcd]),
            ("key", table.key.as_ref().map(Spanned::span), &[Etcd]),
            ("user", table.user.as_ref().map(Spanned::span), &[Etcd]),
            ("password_file", table.password_file.as_ref().map(Spanned::span), &[Etcd]),
            ("path", table.path.as_ref().map(Spanned::span), &[File]),
        ];
        for (key, span, of) in keys {
            if let Some(span) = span.filter(|_| !of.contains(&table.store)) {
                let names: Vec<&str> = of.iter().map(|kind| kind_name(*kind)).collect();
                let message = format!(
                    "{key} belongs to the store {}, and this one is {}; take it out",
                    names.join(" or "),
                    kind_name(table.store)
                );
                self.error(span, "foreign-key", format!("lease.{key}"), message);
            }
        }
    }

    /// How long is relied on a service's lease; none without `[lease]`.
    pub(super) fn lease(
        &mut self,
        network: Option<&Spanned<raw::Table<raw::Lease>>>,
        (service, local_node): (&Name, Option<&Spanned<raw::Table<raw::ServiceLease>>>),
        check: Duration,
        timeout: Duration,
    ) -> Option<Lease> {
        let at = format!("services.{service}.lease");
        let Some(network) = network else {
            if let Some(local_node) = local_node {
                let message = "there is no [lease] that this could be an exception to; add it, or take this out";
                self.error(local_node.span(), "no-lease", at, message.to_owned());
            }
            return None;
        };
        let (table, span) = (network.get_ref(), network.span());
        let local_node = local_node.map(|local_node| local_node.get_ref().0.clone()).unwrap_or_default();
        let valid = self.span(table.valid.as_ref(), "lease.valid", VALID);
        let grace = self.span(table.grace.as_ref(), "lease.grace", GRACE);
        let valid = self.span(local_node.valid.as_ref(), &format!("{at}.valid"), valid);
        let grace = self.span(local_node.grace.as_ref(), &format!("{at}.grace"), grace);
        let guard = local_node.guard.as_ref().or(table.guard.as_ref());
        let said_of =
            |local_node: Option<&Spanned<Span>>, all: Option<&Spanned<Span>>| local_node.or(all).map(Spanned::span);
        let said = said_of(local_node.valid.as_ref(), table.valid.as_ref());
        let least = [
            ("valid", valid, LEAST_VALID, said.clone()),
            ("grace", grace, LEAST_GRACE, said_of(local_node.grace.as_ref(), table.grace.as_ref())),
        ];
        let shown = humantime::format_duration;
        for (key, value, least, said) in least.into_iter().filter(|(_, value, least, _)| value < least) {
            let message = format!(
                "{key} is {}: below {}, a busy machine loses its service for nothing",
                shown(value),
                shown(least)
            );
            self.warning(said.unwrap_or(span.clone()), "short-lease", &format!("{at}.{key}"), message);
        }
        let needed = check + timeout;
        let guarded = guard.map_or(Guard::Hold, |guard| *guard.get_ref());
        if guarded == Guard::Tick && valid <= needed {
            let message = format!(
                "with guard = \"tick\" a tick comes every {} (cycle.check) and its stop may take {} (the timeout of \
                 {service}), so valid has to be longer than {}, and is {}; lengthen valid, or use guard = \"hold\"",
                shown(check),
                shown(timeout),
                shown(needed),
                shown(valid)
            );
            let span = said.or(guard.map(Spanned::span)).unwrap_or(span);
            self.error(span, "short-valid", format!("{at}.valid"), message);
        }
        Some(Lease { valid, grace, guard: guarded, failsafe: table.failsafe.unwrap_or(FAILSAFE) })
    }

    fn warn_of_node(
        &mut self,
        host: &Address,
        nodes: &IndexMap<Name, Node>,
        span: std::ops::Range<usize>,
        at: &str,
        why: &str,
    ) {
        if let Some((node, _)) = nodes.iter().find(|(_, node)| node.address == *host) {
            let message = format!("{host} is the address of {node}: {why}");
            self.warning(span, "arbiter-on-node", at, message);
        }
    }

    /// A file or a path is another one on each machine, and so would the lease be.
    fn warn_of_one_machine(&mut self, nodes: &IndexMap<Name, Node>, span: std::ops::Range<usize>, at: &str) {
        let mut addresses = nodes.values().map(|node| &node.address);
        let first = addresses.next();
        if addresses.any(|address| Some(address) != first) {
            let message = "this is a path, and the nodes are several machines: unless they share it, each has a lease \
                           of its own, and two may run; name a remote that all of them reach";
            self.warning(span, "arbiter-local", at, message.to_owned());
        }
    }

    fn warning(&mut self, span: std::ops::Range<usize>, code: &'static str, at: &str, message: String) {
        let (line, column) = place(self.text, span.start);
        self.problems.push(Problem { severity: Severity::Warning, code, at: at.to_owned(), line, column, message });
    }
}

const GIT_ON_NODE: &str = "when it falls, the lease cannot be read, so the holder stops and nobody takes over; put \
                           the remote on a host that runs no service";
const ETCD_ON_NODE: &str = "a member falls with its node, and without a majority of its members etcd answers nobody: \
                            the holder stops and nobody takes over; put the members on hosts that are no nodes, or \
                            count on fewer falls";

fn kind_name(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Git => "git",
        StoreKind::Etcd => "etcd",
        StoreKind::File => "file",
    }
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
