//! Where a service's lease lives: the register that the configuration names, and what is read from
//! it and written to it in the service's terms.
//!
//! Whatever goes wrong here is a [`LeaseError`], and nothing follows from a doubt: nobody is named by it,
//! and nobody has stopped.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::chain::Name;
use crate::config::{self, Config, Lease};
use crate::deadline::Deadline;
use crate::lease::{ClaimRequest, LeaseRecord, LeaseView, Nonce, Params, Regression};
use crate::register::etcd::{Cluster, EtcdRegister};
use crate::register::file::FileRegister;
use crate::register::git::GitRegister;
use crate::register::{self, CasOutcome, Observation, Register, StoreError, Version, VersionedRecord};
use crate::remote;
use crate::state::StateDir;

/// A longer file holds no password.
const LONGEST_PASSWORD: usize = 4096;

/// The register of one service's lease, and the service's own parameters.
#[derive(Debug)]
pub struct LeaseClient<'a> {
    /// The service.
    pub service: &'a Name,
    /// How long is relied on what is read.
    pub lease: Lease,
    register: Box<dyn Register + Send>,
    by: String,
}

/// Why nothing is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// The register cannot be used, did not answer, or holds what is no lease.
    Unreadable(String),
    /// It answered, and lost what it once held: it is not obeyed.
    Distrusted(Regression),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(words) => f.write_str(words),
            Self::Distrusted(why) => why.fmt(f),
        }
    }
}

impl LeaseError {
    /// What to do about it, as a sentence's beginning; none where waiting is all there is.
    pub fn remedy(&self, service: &Name) -> Option<String> {
        let lost = matches!(self, Self::Distrusted(_));
        lost.then(|| format!("if it was restored from a backup, on this node: mirror lease repair {service}"))
    }
}

impl From<StoreError> for LeaseError {
    fn from(fault: StoreError) -> Self {
        Self::Unreadable(fault.to_string())
    }
}

impl From<Regression> for LeaseError {
    fn from(why: Regression) -> Self {
        Self::Distrusted(why)
    }
}

impl<'a> LeaseClient<'a> {
    /// The register of a service's lease; none where the configuration puts it under none. Nobody is
    /// asked yet.
    ///
    /// # Errors
    /// When this machine cannot use it: a certificate that is missing, a directory that cannot be
    /// written.
    pub fn open(
        config: &Config,
        store: &StateDir,
        local_node: Option<&Name>,
        service: &'a Name,
    ) -> Result<Option<Self>, LeaseError> {
        let lease = config.services.get(service).and_then(|service| service.lease);
        let (Some(place), Some(lease)) = (&config.lease, lease) else { return Ok(None) };
        let by = signed_by(local_node);
        let register = open(place, config, store, service.as_str(), &by);
        let register = register.map_err(|error| LeaseError::Unreadable(format!("{error:#}")))?;
        Ok(Some(Self { service, lease, register, by }))
    }

    /// As the rules take it.
    pub fn params(&self) -> Params {
        Params { valid: self.lease.valid, grace: self.lease.grace }
    }

    /// Reads it, without regard to what was known before.
    ///
    /// # Errors
    /// When it cannot be read by the deadline.
    pub fn read(&self, deadline: Deadline) -> Result<Observation, LeaseError> {
        Ok(register::look(self.register.as_ref(), self.service, deadline)?)
    }

    /// Reads it into a sight.
    ///
    /// # Errors
    /// When it cannot be read by the deadline, or is not to be obeyed.
    pub fn look(&self, lease_view: &mut LeaseView, deadline: Deadline) -> Result<(), LeaseError> {
        let reading = self.read(deadline)?;
        Ok(lease_view.observe(reading)?)
    }

    /// Puts `new` in place of the newest value that the sight knows, and tells whether that was done.
    /// What the register then holds is in the sight.
    ///
    /// # Errors
    /// When it is not known whether it was done, or the register is not to be obeyed.
    pub fn swap(&self, lease_view: &mut LeaseView, new: &LeaseRecord, timeout: Duration) -> Result<bool, LeaseError> {
        match self.swap_for(lease_view.version(), new, timeout) {
            CasOutcome::Won(reading) => {
                lease_view.observe_own_write(reading)?;
                Ok(true)
            }
            CasOutcome::Lost(reading) => {
                lease_view.observe(reading)?;
                Ok(false)
            }
            CasOutcome::Unknown(fault) => Err(fault.into()),
        }
    }

    /// Puts `new` in place of what has the version `expected`, whatever was known before.
    pub fn swap_for(&self, expected: Option<&Version>, new: &LeaseRecord, timeout: Duration) -> CasOutcome {
        let (deadline, room) = (Deadline::after(timeout), Deadline::after(timeout * 2));
        register::swap(self.register.as_ref(), self.service, expected, new, deadline, room)
    }

    /// The latest values, the newest first, as far as the store keeps them.
    ///
    /// # Errors
    /// When it cannot be read by the deadline.
    pub fn history(&self, most: usize, deadline: Deadline) -> Result<Vec<VersionedRecord>, LeaseError> {
        Ok(register::history(self.register.as_ref(), self.service, most, deadline)?)
    }

    /// Whose signature the next write bears.
    ///
    /// # Errors
    /// When the system has no random bits to give.
    pub fn signature(&self) -> Result<Signature<'_>, LeaseError> {
        let nonce = Nonce::fresh().map_err(|error| LeaseError::Unreadable(format!("no random bits: {error}")))?;
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Ok(Signature { by: &self.by, at, nonce })
    }
}

/// What one write is signed with.
#[derive(Debug)]
pub struct Signature<'a> {
    /// Who writes.
    pub by: &'a str,
    /// The time, for people.
    pub at: String,
    /// Used for no other write.
    pub nonce: Nonce,
}

impl Signature<'_> {
    /// What this brain wants.
    pub fn want<'b>(&'b self, target: &'b Name, why: Option<&'b str>) -> ClaimRequest<'b> {
        ClaimRequest { target, by: self.by, why, at: &self.at, nonce: self.nonce }
    }
}

fn open(
    place: &config::Store,
    config: &Config,
    store: &StateDir,
    name: &str,
    by: &str,
) -> anyhow::Result<Box<dyn Register + Send>> {
    Ok(match place {
        config::Store::Git { remote, prefix } => {
            let ssh = remote::git_ssh_command(config.probe_timeout);
            let (cache, reference) = (store.cache(name), format!("{prefix}{name}"));
            Box::new(GitRegister::open(&cache, remote, &reference, by, Some(&ssh))?)
        }
        config::Store::Etcd { endpoints, prefix, ca, identity, user } => {
            let identity = identity.as_ref().map(|(cert, key)| anyhow::Ok((read(cert)?, read(key)?))).transpose()?;
            let cluster = Cluster {
                endpoints: endpoints.clone(),
                ca: ca.as_deref().map(read).transpose()?,
                identity,
                user: user.as_ref().map(|(user, file)| anyhow::Ok((user.clone(), password(file)?))).transpose()?,
            };
            Box::new(EtcdRegister::new(cluster, &format!("{prefix}{name}"))?)
        }
        config::Store::File { path } => {
            // A directory that were made here could hide one that is not mounted.
            anyhow::ensure!(path.is_dir(), "{}: no such directory; make it for the leases", path.display());
            Box::new(FileRegister::new(path.join(name)))
        }
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// The first line of a file.
fn password(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path)?;
    anyhow::ensure!(bytes.len() <= LONGEST_PASSWORD, "{}: too long for a password", path.display());
    let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A register beside those of the leases, where the configuration has any; no service can have the
/// `name`, as it is no [`Name`].
///
/// # Errors
/// When this machine cannot use it.
pub fn beside(
    config: &Config,
    store: &StateDir,
    local_node: Option<&Name>,
    name: &str,
) -> Result<Option<Box<dyn Register + Send>>, LeaseError> {
    let register = config.lease.as_ref().map(|place| open(place, config, store, name, &signed_by(local_node)));
    register.transpose().map_err(|error| LeaseError::Unreadable(format!("{error:#}")))
}

/// Who writes: the node, or where this machine is none, the host.
pub fn signed_by(local_node: Option<&Name>) -> String {
    local_node.map_or_else(host_name, Name::to_string)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
