//! The state directory: where it is, its files, its locks.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::config::Config;
use crate::fsutil::{self, Access, Durability, Missing, PrivateDirectory};
use crate::name::Name;
use crate::output::warnings;

/// How long a lock around one small read and write is waited for. Its holder can be frozen, and a
/// service may have to be stopped meanwhile.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);
/// A longer file is not ours: ten thousand nodes need less than 2 MiB.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// The beginnings of the names of our files.
const OWN_NAMES: [&str; 13] = [
    "spans.", "links.", "service-", "lease-", "hold-", "paused", "history", "brain.", "beat.", "watch.", "notify",
    "breath.", "drained",
];

/// The directory that holds the state.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Whether the path was named, by the node list or the service manager, and not derived from the user.
    named: bool,
    pub(super) boot: String,
    /// What is locked when the directory cannot be written: the configuration file.
    fallback: PathBuf,
    /// Its lock, once this process has it: a second attempt would find the first one's lock busy.
    fallback_lock: OnceLock<Arc<File>>,
    /// It, once it was found: the way there is not walked for each file.
    found: Mutex<Option<Found>>,
}

/// A directory that was opened, and what was then at its path.
#[derive(Clone, Debug)]
struct Found {
    directory: Arc<PrivateDirectory>,
    at: Identity,
}

/// Which directory it is, whose, and who may enter it.
type Identity = (u64, u64, u32, u32);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(Arc<File>);

/// A record of an earlier boot is void, as its times are.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) boot: String,
    pub(super) value: T,
}

impl StateDir {
    /// The directory by the configuration: `state`, else `$STATE_DIRECTORY`, else `/var/lib/mirror`
    /// for root and `$XDG_STATE_HOME/mirror` for others.
    pub fn open(config: &Config) -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // systemd joins several directories with colons (systemd.exec(5)).
        let from_systemd = || std::env::split_paths(&absolute("STATE_DIRECTORY")?).next();
        let named = config.state.clone().or_else(from_systemd);
        let of_user = || {
            let user = rustix::process::geteuid();
            if user.is_root() {
                return PathBuf::from("/var/lib/mirror");
            }
            let home = || absolute("HOME").map(|home| home.join(".local/state"));
            let base = absolute("XDG_STATE_HOME").or_else(home);
            let temporary = || std::env::temp_dir().join(format!("mirror-{}", user.as_raw()));
            base.map_or_else(temporary, |base| base.join("mirror"))
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            named: named.is_some(),
            path: named.unwrap_or_else(of_user),
            boot: boot.trim().to_owned(),
            fallback: config.file.clone(),
            fallback_lock: OnceLock::new(),
            found: Mutex::new(None),
        }
    }

    /// Its path. It need not exist.
    pub fn directory(&self) -> &Path {
        &self.path
    }

    /// Whether the path follows from the user alone, so that another user's checks have another one.
    pub fn is_of_user(&self) -> bool {
        !self.named
    }

    /// The directory in which a register, by its name, may keep what it has fetched.
    pub fn cache(&self, register: &str) -> PathBuf {
        self.path.join(format!("lease-{register}.git"))
    }

    /// The lock of a service's promotion; none when another process holds it.
    ///
    /// Where the directory cannot be written, the configuration file is locked instead, for all
    /// services together: that needs no room on any disk.
    ///
    /// # Errors
    /// When neither can be locked.
    pub fn lock(&self, service: &Name) -> io::Result<Option<Lock>> {
        match self.lock_file(&format!("service-{service}.lock")) {
            Ok(file) => {
                // Tells `last_check` that a check ran.
                let _ = rustix::fs::futimens(&file, &NOW);
                try_lock(file)
            }
            Err(error) => {
                self.warn_unusable(&error);
                self.lock_fallback()
            }
        }
    }

    /// How long ago a promotion last ran with this directory, by the calendar clock; none when none
    /// ever did.
    pub fn last_check(&self) -> Option<Duration> {
        let directory = self.existing().ok()??;
        let locks = directory.names().ok()?.into_iter().filter_map(|name| name.into_string().ok());
        let times = locks
            .filter(|name| name.starts_with("service-") && name.ends_with(".lock"))
            .filter_map(|name| Some(self.modified(&name)?.elapsed().unwrap_or_default()));
        times.min()
    }

    /// The lock of the process that runs a service on this node; none when another process holds it.
    /// It is held until the last process has gone that has it open, a forked child included.
    ///
    /// # Errors
    /// When it cannot be locked. Nothing else is locked instead: without it two could run here.
    pub fn lock_hold(&self, service: &Name) -> io::Result<Option<Lock>> {
        try_lock(self.lock_file(&format!("hold-{service}.lock"))?)
    }

    fn lock_fallback(&self) -> io::Result<Option<Lock>> {
        if let Some(held) = self.fallback_lock.get() {
            return Ok(Some(Lock(held.clone())));
        }
        let lock = try_lock(File::open(&self.fallback)?)?;
        if let Some(Lock(file)) = &lock {
            let _ = self.fallback_lock.set(file.clone());
        }
        Ok(lock)
    }

    /// The directory, made when missing.
    pub(super) fn made(&self) -> io::Result<Arc<PrivateDirectory>> {
        self.opened(Missing::Make)
    }

    /// The directory; none when nothing was ever kept in it.
    pub(super) fn existing(&self) -> io::Result<Option<Arc<PrivateDirectory>>> {
        match self.opened(Missing::Fail) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory as it was found before, if that is still the one at its path; else it is opened anew.
    fn opened(&self, missing: Missing) -> io::Result<Arc<PrivateDirectory>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Found { directory, at }) = &*found
            && identity(&self.path).is_ok_and(|now| now == *at)
        {
            return Ok(directory.clone());
        }
        let before = identity(&self.path).ok();
        let directory = Arc::new(PrivateDirectory::open_as(&self.path, missing, is_own)?);
        let at = identity(&self.path).ok().filter(|after| before == Some(*after));
        *found = at.map(|at| Found { directory: directory.clone(), at });
        Ok(directory)
    }

    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        self.made()?.file(name, Access::Lock)
    }

    /// A lock that others hold for an instant at a time; none where one keeps it for longer, an error where there can be
    /// no lock file.
    pub(crate) fn lock_soon(&self, name: &str) -> Option<io::Result<File>> {
        match self.lock_file(name) {
            Ok(file) => lock_soon(&file).then_some(Ok(file)),
            error => Some(error),
        }
    }

    /// A lock file, locked; an error where another process still holds it at the deadline.
    pub(crate) fn lock_file_by(&self, name: &str, deadline: Deadline) -> io::Result<File> {
        let file = self.lock_file(name)?;
        fsutil::wait_for_lock(deadline, || file.try_lock()).map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => {
                io::Error::other(format!("{}/{name}: another process holds the lock", self.path.display()))
            }
        })?;
        Ok(file)
    }

    /// What a file holds; none when there is no such file. The error says what is wrong with it.
    /// Where the directory cannot be used, nothing of ours is in it.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Option<Result<T, String>> {
        let directory = self.existing().unwrap_or_else(|error| {
            self.warn_unusable(&error);
            None
        })?;
        let bytes = match directory.read(name, MAX_FILE).transpose()? {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error.to_string())),
        };
        let what = |error: String| match &bytes[..] {
            [] => "empty".to_owned(),
            bytes if bytes.iter().all(|byte| *byte == 0) => "full of NUL bytes".to_owned(),
            _ => format!("damaged ({error})"),
        };
        Some(parse(&bytes).map_err(|error| format!("{}: {}", self.path.join(name).display(), what(error))))
    }

    /// When a file was last written; none when there is no such file.
    pub(crate) fn modified(&self, name: &str) -> Option<SystemTime> {
        self.existing().ok()??.file(name, Access::Read).ok()?.metadata().ok()?.modified().ok()
    }

    /// The record in a file of this boot. One that is damaged is named in a warning and counts as
    /// missing: the next write replaces it.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let envelope: Envelope<T> = self.read_envelope(name)?;
        (envelope.boot == self.boot).then_some(envelope.value)
    }

    /// A value that outlives a reboot, and whether it is of this boot.
    pub(crate) fn read_lasting<T: DeserializeOwned>(&self, name: &str) -> Option<(T, bool)> {
        let Envelope { boot, value } = self.read_envelope(name)?;
        Some((value, boot == self.boot))
    }

    pub(super) fn read_envelope<T: DeserializeOwned>(&self, name: &str) -> Option<Envelope<T>> {
        let parsed = self.parsed(name, |bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string()));
        parsed?.map_err(|what| self.warn_damaged(&what)).ok()
    }

    /// Replaces a record as a whole; not synced to the disk, as a lost record costs only caution.
    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) {
        self.put(name, value, Durability::Cached);
    }

    pub(crate) fn put<T: Serialize>(&self, name: &str, value: &T, durability: Durability) {
        if let Ok(bytes) = serde_json::to_vec(&Envelope { boot: self.boot.clone(), value }) {
            self.keep(name, &bytes, durability);
        }
    }

    /// Replaces a file as a whole for readers outside of this program.
    pub fn show(&self, name: &str, text: &str) {
        self.keep(name, text.as_bytes(), Durability::Cached);
    }

    /// What [`show`](Self::show) wrote; none where it cannot be read as this.
    pub fn shown<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.path.join(name)).ok()?).ok()
    }

    fn keep(&self, name: &str, bytes: &[u8], durability: Durability) {
        if let Err(error) = self.replace(name, bytes, durability) {
            self.warn_unusable(&error);
        }
    }

    /// Replaces a file as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
        self.made()?.replace(name, bytes, durability)
    }

    /// One warning a run: every write fails for the same reason.
    pub(crate) fn warn_unusable(&self, error: &io::Error) {
        let directory = self.path.display();
        warnings::warn_once(
            "state-unusable",
            format!(
                "the state directory {directory} cannot be used ({error}): the next check starts without what this \
                 one learned; make room, make it writable for this user, or name another one by state = DIR"
            ),
        );
    }

    pub(crate) fn warn_damaged(&self, what: &str) {
        let message = format!("{what}; it is ignored until the next check writes it anew");
        warnings::warn("state-damaged", message);
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), found.mode(), found.uid()))
}

const NOW: rustix::fs::Timestamps = {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::Timestamps { last_access: now, last_modification: now }
};

fn is_own(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    // A file that is being replaced begins with a dot.
    let name = name.strip_prefix(b".").unwrap_or(name);
    OWN_NAMES.iter().any(|own| name.starts_with(own.as_bytes()))
}

/// Whether the lock was had in time.
pub(super) fn lock_soon(file: &File) -> bool {
    let locked = fsutil::wait_for_lock(Deadline::after(LOCK_TIMEOUT), || file.try_lock());
    !matches!(locked, Err(TryLockError::WouldBlock))
}

fn try_lock(file: File) -> io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(Arc::new(file)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
