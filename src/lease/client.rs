//! Opens the register that the configuration names, and reads and writes a service's lease in it.
//!
//! Every failure is a [`LeaseError`]. Nothing follows from one: it names no holder, and it does not mean
//! that anything stopped.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::chain::BRAIN;
use crate::clock::Deadline;
use crate::config::{self, Config, Lease};
use crate::lease::codec::{LeaseRegister, SwapDeadlines, SwapOutcome};
use crate::lease::{ClaimRequest, LeaseRecord, LeaseView, Nonce, Observation, Params, Regression, VersionedRecord};
use crate::lease::{secret, witness};
use crate::name::Name;
use crate::register::etcd::{Cluster, EtcdStore};
use crate::register::file::FileStore;
use crate::register::git::{GitStore, Memory};
use crate::register::shared::{Joined, SharedStore};
use crate::register::{Register, RegisterOf, RegisterStore, StoreError, Version};
use crate::remote;
use crate::state::StateDir;

/// In place of a service's name, in the name of the local repository that keeps the objects of all registers.
const ALL: &str = "_all";

/// The same for a store that is not the one in force.
const OTHER: &str = "_other";

/// One service's lease in the configured store.
#[derive(Debug)]
pub struct LeaseClient<'a> {
    /// The service.
    pub service: &'a Name,
    /// Its time limits.
    pub lease: Lease,
    register: Box<dyn Register + Send>,
    by: String,
    may_grant_by_waiting: bool,
}

/// Why a lease is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// The register cannot be used, did not answer, or holds foreign content.
    Unreadable(String),
    /// It answered, but lost content that it once held, so it is not obeyed.
    Distrusted(Regression),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(message) => f.write_str(message),
            Self::Distrusted(why) => why.fmt(f),
        }
    }
}

impl LeaseError {
    /// What to do about it, as half a sentence; none if there is nothing to do but wait.
    pub fn remedy(&self, service: &Name) -> Option<String> {
        let went_back = matches!(self, Self::Distrusted(_));
        went_back.then(|| format!("if it was restored from a backup, on this node: mirror lease repair {service}"))
    }
}

impl From<StoreError> for LeaseError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<Regression> for LeaseError {
    fn from(regression: Regression) -> Self {
        Self::Distrusted(regression)
    }
}

impl<'a> LeaseClient<'a> {
    /// Opens the register of a service's lease, without connecting to it; none if the configuration puts
    /// the service under no lease.
    ///
    /// # Errors
    /// When this machine cannot use it, as when a certificate is missing or a directory not writable.
    pub fn open(
        config: &Config,
        state_dir: &StateDir,
        local_node: Option<&Name>,
        service: &'a Name,
    ) -> Result<Option<Self>, LeaseError> {
        let Some(lease) = config.services.get(service).and_then(|service| service.lease) else { return Ok(None) };
        let register = open_register(config, state_dir, local_node, service.as_str())?;
        Ok(register.map(|register| Self::of(config, local_node, (service, lease), register)))
    }

    /// The lease of a service in a store that other services use too.
    pub fn in_store(
        store: &Arc<SharedStore>,
        config: &Config,
        local_node: Option<&Name>,
        service: (&'a Name, Lease),
    ) -> Self {
        Self::of(config, local_node, service, Box::new(store.register(service.0.as_str())))
    }

    fn of(
        config: &Config,
        local_node: Option<&Name>,
        (service, lease): (&'a Name, Lease),
        register: Box<dyn Register + Send>,
    ) -> Self {
        let may_grant_by_waiting = !lease.failsafe || is_voter(config, local_node) && witness::is_shared(config);
        Self { service, lease, register, by: signed_by(local_node), may_grant_by_waiting }
    }

    /// Whether holders ask this machine's witness, or use no failsafe: only then may it grant by waiting.
    pub fn may_grant_by_waiting(&self) -> bool {
        self.may_grant_by_waiting
    }

    /// The register, for what is no lease.
    pub fn register(&self) -> &dyn Register {
        self.register.as_ref()
    }

    /// Its time limits, as the rules take them.
    pub fn params(&self) -> Params {
        self.lease.into()
    }

    fn lease_register(&self) -> LeaseRegister<'_> {
        LeaseRegister { register: self.register.as_ref(), service: self.service }
    }

    /// Reads the lease, regardless of what was known before.
    ///
    /// # Errors
    /// When it cannot be read by the deadline.
    pub fn read(&self, deadline: Deadline) -> Result<Observation, LeaseError> {
        Ok(self.lease_register().read(deadline)?)
    }

    /// Reads the lease into a view.
    ///
    /// # Errors
    /// When it cannot be read by the deadline, or must not be obeyed.
    pub fn refresh(&self, lease_view: &mut LeaseView, deadline: Deadline) -> Result<(), LeaseError> {
        Ok(lease_view.observe(self.read(deadline)?)?)
    }

    /// Replaces the view's record with `new`, and returns whether that was done. The view then has the
    /// register's content.
    ///
    /// # Errors
    /// When it is not known whether it was done, or the register must not be obeyed.
    pub fn swap(&self, lease_view: &mut LeaseView, new: &LeaseRecord, timeout: Duration) -> Result<bool, LeaseError> {
        match self.swap_version(lease_view.version(), new, timeout) {
            SwapOutcome::Won(written) => {
                lease_view.observe_own_write(written)?;
                Ok(true)
            }
            SwapOutcome::Lost(found) => {
                lease_view.observe(found)?;
                Ok(false)
            }
            SwapOutcome::Unknown(error) => Err(error.into()),
        }
    }

    /// Replaces the record of version `expected` with `new`, regardless of what was known before.
    pub fn swap_version(&self, expected: Option<&Version>, new: &LeaseRecord, timeout: Duration) -> SwapOutcome {
        let deadlines = SwapDeadlines { swap: Deadline::after(timeout), verify: Deadline::after(timeout * 2) };
        self.lease_register().swap(expected, new, deadlines)
    }

    /// The latest records, newest first, as far as the store keeps them.
    ///
    /// # Errors
    /// When it cannot be read by the deadline.
    pub fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedRecord>, LeaseError> {
        Ok(self.lease_register().history(max, deadline)?)
    }

    /// The signature of the next write.
    ///
    /// # Errors
    /// When the system has no random bits.
    pub fn signature(&self) -> Result<Signature<'_>, LeaseError> {
        let nonce = Nonce::fresh().map_err(|error| LeaseError::Unreadable(format!("no random bits: {error}")))?;
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Ok(Signature { by: &self.by, at, nonce, may_grant_by_waiting: self.may_grant_by_waiting })
    }
}

/// What identifies one write.
#[derive(Debug)]
pub struct Signature<'a> {
    /// The writer.
    pub by: &'a str,
    /// The time, for people.
    pub at: String,
    /// Used for no other write.
    pub nonce: Nonce,
    may_grant_by_waiting: bool,
}

impl Signature<'_> {
    /// The request to have the lease granted to `target`.
    pub fn request<'b>(&'b self, target: &'b Name, why: Option<&'b str>) -> ClaimRequest<'b> {
        let Self { by, at, nonce, may_grant_by_waiting } = self;
        ClaimRequest { target, by, why, at, nonce: *nonce, may_grant_by_waiting: *may_grant_by_waiting }
    }
}

fn is_voter(config: &Config, node: Option<&Name>) -> bool {
    node.is_some_and(|node| config.chains.get(BRAIN).is_some_and(|chain| chain.contains(node)))
}

/// The registers of a store, and what this process needs to open them.
#[derive(Clone, Debug)]
struct Opener {
    store: config::Store,
    /// The local repository, where the store needs one.
    cache: PathBuf,
    by: String,
    timeout: Duration,
}

impl Opener {
    fn new(config: &Config, state_dir: &StateDir, local_node: Option<&Name>, cache: &str) -> Option<Self> {
        let (store, by) = (config.lease.clone()?, signed_by(local_node));
        Some(Self { store, cache: state_dir.cache(cache), by, timeout: config.probe_timeout })
    }

    fn open(&self, memory: Memory) -> anyhow::Result<Box<dyn RegisterStore + Send>> {
        Ok(match &self.store {
            config::Store::Git { remote, prefix } => {
                let ssh = remote::git_ssh_command(self.timeout);
                let store = GitStore::open(&self.cache, remote, prefix, &self.by, Some(&ssh))?;
                Box::new(store.with_memory(memory))
            }
            config::Store::Etcd { .. } => Box::new(self.open_etcd()?),
            config::Store::File { path } => Box::new(FileStore::open(path)?),
        })
    }

    fn open_etcd(&self) -> anyhow::Result<EtcdStore> {
        let config::Store::Etcd { endpoints, prefix, ca, identity, user } = &self.store else {
            anyhow::bail!("not an etcd cluster");
        };
        let identity =
            identity.as_ref().map(|(cert, key)| anyhow::Ok((secret::read(cert)?, secret::read(key)?))).transpose()?;
        let cluster = Cluster {
            endpoints: endpoints.clone(),
            ca: ca.as_deref().map(secret::read).transpose()?,
            identity,
            user: user.as_ref().map(|(user, file)| anyhow::Ok((user.clone(), secret::password(file)?))).transpose()?,
        };
        EtcdStore::new(cluster, prefix)
    }

    fn shared(self) -> Arc<SharedStore> {
        let memory = Memory::default();
        match &self.store {
            config::Store::Git { .. } => SharedStore::new(Joined::All, Box::new(move || self.open(memory.clone()))),
            config::Store::File { .. } => {
                SharedStore::new(Joined::Nothing, Box::new(move || self.open(memory.clone())))
            }
            config::Store::Etcd { .. } => {
                // All of them use the connections, and the token, of one.
                let opened: Mutex<Option<EtcdStore>> = Mutex::default();
                let open = move || {
                    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                    let store = match &*opened {
                        Some(store) => store.clone(),
                        None => opened.insert(self.open_etcd()?).clone(),
                    };
                    Ok(Box::new(store) as Box<dyn RegisterStore + Send>)
                };
                SharedStore::new(Joined::Reads, Box::new(open))
            }
        }
    }
}

/// Opens the register called `name` in the configured store, without connecting to it; none without a
/// `[lease]`. A lease has its service's name; other registers have names that no service can have.
///
/// # Errors
/// When this machine cannot use it.
pub fn open_register(
    config: &Config,
    state_dir: &StateDir,
    local_node: Option<&Name>,
    name: &str,
) -> Result<Option<Box<dyn Register + Send>>, LeaseError> {
    let Some(opener) = Opener::new(config, state_dir, local_node, name) else { return Ok(None) };
    let store = opener.open(Memory::default()).map_err(|error| LeaseError::Unreadable(format!("{error:#}")))?;
    Ok(Some(Box::new(RegisterOf { store, name: name.to_owned() })))
}

/// The configured store for all services of this process, to be opened when it is first asked; none without
/// a `[lease]`.
pub fn open_shared(config: &Config, state_dir: &StateDir, local_node: Option<&Name>) -> Option<Arc<SharedStore>> {
    Some(Opener::new(config, state_dir, local_node, ALL)?.shared())
}

/// The same for the store of a node list that is not in force.
pub fn open_other(config: &Config, state_dir: &StateDir, local_node: Option<&Name>) -> Option<Arc<SharedStore>> {
    Some(Opener::new(config, state_dir, local_node, OTHER)?.shared())
}

/// A store in words, without passwords.
pub fn place(store: &config::Store) -> String {
    match store {
        config::Store::Git { remote, prefix } => format!("git {} {prefix}", without_password(remote)),
        config::Store::Etcd { endpoints, prefix, .. } => format!("etcd {} {prefix}", endpoints.join(" ")),
        config::Store::File { path } => format!("file {}", path.display()),
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The name of this writer: the node's, or on a machine that is no node, the host's.
pub fn signed_by(local_node: Option<&Name>) -> String {
    local_node.map_or_else(host_name, Name::to_string)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
