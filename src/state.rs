//! What must outlive a command: locks, since when nodes are alive, where services were seen, what
//! happened.
//!
//! Losing it costs caution, never correctness: what cannot be read is as if it had never been
//! there, and what cannot be written is left. Times are the boot clock's, which no change of the
//! date moves; a record of an earlier boot is void.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::config::Config;
use crate::decide::{NodeStates, State};
use crate::lease::LeaseView;

mod here;
pub mod history;

/// How long the lock of a sight is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// No promotion takes longer, as a rule; nobody is looked at meanwhile.
const TAKEOVER: Duration = Duration::from_secs(60);

/// The directory that holds the state.
#[derive(Debug)]
pub struct StateDir {
    directory: PathBuf,
    boot: String,
    /// What is locked when the directory cannot be written: the configuration file.
    fallback: PathBuf,
    /// Its lock, once it was had: a second try for it would meet the first one, and find it busy.
    fallback_lock: OnceLock<Arc<File>>,
}

/// Since when nodes have been seen alive, or dead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Uptimes(BTreeMap<Name, Span>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Span {
    state: State,
    since: BootInstant,
    last: BootInstant,
}

impl Uptimes {
    /// Adds what was seen by a look that began at `now`, and tells who died and who returned. A node
    /// that was not looked at for longer than `gap` starts anew; a dead one not before a takeover may
    /// have taken all the time since.
    pub fn update(&mut self, seen: &NodeStates, now: BootInstant, gap: Duration) -> Vec<(Name, State)> {
        let mut changes = Vec::new();
        for (node, state) in seen {
            let before = self.0.remove(node);
            let gap = if *state == State::Dead { gap.max(TAKEOVER) } else { gap };
            let goes_on = |span: &Span| span.state == *state && span.last.until(now) <= gap;
            let since = before.filter(goes_on).map_or(now, |span| span.since);
            if *state != State::Unknown {
                self.0.insert(node.clone(), Span { state: *state, since, last: now });
            }
            match (before.map(|span| span.state), state) {
                (None | Some(State::Alive), State::Dead) | (Some(State::Dead), State::Alive) => {
                    changes.push((node.clone(), *state));
                }
                _ => {}
            }
        }
        changes
    }

    /// Forgets which nodes were dead, and tells whether any were.
    pub fn forget_deaths(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|_, span| span.state != State::Dead);
        self.0.len() < before
    }

    /// For how long each node has been seen alive without a gap.
    pub fn alive_for(&self, now: BootInstant) -> BTreeMap<Name, Duration> {
        let alive = self.0.iter().filter(|(_, span)| span.state == State::Alive);
        alive.map(|(node, span)| (node.clone(), span.since.until(now))).collect()
    }

    /// When the first look began that found a node dead, of those since it was last seen alive.
    pub fn dead_since(&self, node: &Name) -> Option<BootInstant> {
        self.0.get(node).filter(|span| span.state == State::Dead).map(|span| span.since)
    }
}

/// What is remembered of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The node on which it was last seen to run well, and since when.
    pub on: Option<(Name, BootInstant)>,
    /// When all living nodes were last asked for it.
    pub swept: Option<BootInstant>,
    /// Where it could not be started, and when that was.
    pub cooldown: BTreeMap<Name, BootInstant>,
    /// What its chain's nodes were at the last check.
    pub seen: NodeStates,
    /// When its lease was last taken from a brain that was dead from here and yet at work.
    #[serde(default)]
    pub overruled: Option<BootInstant>,
    /// The epoch that a brain that was dead from here granted all the same, while its claim was waited for.
    #[serde(default)]
    pub granted_by_dead: Option<u64>,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(Arc<File>);

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    boot: String,
    value: T,
}

impl StateDir {
    /// The directory by the configuration: `state`, else `$STATE_DIRECTORY`, else `/var/lib/mirror`
    /// for root and `$XDG_STATE_HOME/mirror` for others.
    pub fn open(config: &Config) -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // Of several directories systemd makes one text, with colons between (systemd.exec(5)).
        let from_systemd = || std::env::split_paths(&absolute("STATE_DIRECTORY")?).next();
        let directory = config.state.clone().or_else(from_systemd).unwrap_or_else(|| {
            if rustix::process::geteuid().is_root() {
                return PathBuf::from("/var/lib/mirror");
            }
            let home = || absolute("HOME").map(|home| home.join(".local/state"));
            absolute("XDG_STATE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir).join("mirror")
        });
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { directory, boot: boot.trim().to_owned(), fallback: config.file.clone(), fallback_lock: OnceLock::new() }
    }

    /// Since when nodes have been seen alive, or dead.
    pub fn uptimes(&self) -> Uptimes {
        self.read("spans.json").unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_uptimes(&self, uptimes: &Uptimes) {
        self.write("spans.json", uptimes);
    }

    /// What is remembered of a service.
    pub fn record(&self, service: &Name) -> ServiceRecord {
        self.read(&format!("service-{service}.json")).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_record(&self, service: &Name, record: &ServiceRecord) {
        self.write(&format!("service-{service}.json"), record);
    }

    /// What this machine knows of a service's lease. It outlives a reboot, though its times do not:
    /// without it, a register that was restored from a backup is not told from an honest one.
    pub fn lease_view(&self, service: &Name) -> LeaseView {
        self.stored_lease_view(service).unwrap_or_default()
    }

    fn stored_lease_view(&self, service: &Name) -> Option<LeaseView> {
        let bytes = std::fs::read(self.directory.join(lease_view_file(service))).ok()?;
        let Envelope { boot, value: mut lease_view } = serde_json::from_slice::<Envelope<LeaseView>>(&bytes).ok()?;
        if boot != self.boot || lease_view.is_ahead_of(BootInstant::now()) {
            lease_view.forget_times();
        }
        Some(lease_view)
    }

    /// Keeps it, unless another process has seen a later value meanwhile; tells whether its value is news.
    pub fn keep_lease_view(&self, service: &Name, lease_view: &LeaseView) -> bool {
        let _ = std::fs::create_dir_all(&self.directory);
        let path = self.directory.join(format!("{}.lock", lease_view_file(service)));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        if lock.as_ref().is_ok_and(|lock| !lock_soon(lock)) {
            return false;
        }
        let stored = self.stored_lease_view(service);
        if stored.as_ref().is_some_and(|stored| stored.is_later_than(lease_view)) {
            return false;
        }
        let news = stored.as_ref().and_then(LeaseView::value) != lease_view.value();
        let mut lease_view = lease_view.clone();
        // Another process of this node may be waiting for the same claim.
        lease_view.adopt_wait(&stored.unwrap_or_default());
        self.put(&lease_view_file(service), &lease_view, news);
        news
    }

    /// The directory in which a register, by its name, may keep what it has fetched.
    pub fn cache(&self, register: &str) -> PathBuf {
        self.directory.join(format!("lease-{register}.git"))
    }

    /// The lock of a service's promotion; none when another process holds it.
    ///
    /// Where the directory cannot be written, the configuration file is locked instead, for all
    /// services together: that needs no room on any disk.
    ///
    /// # Errors
    /// When neither can be locked.
    pub fn lock(&self, service: &Name) -> std::io::Result<Option<Lock>> {
        let _ = std::fs::create_dir_all(&self.directory);
        let path = self.directory.join(format!("service-{service}.lock"));
        match OpenOptions::new().create(true).truncate(false).write(true).open(path) {
            Ok(file) => try_lock(file),
            Err(_) => self.lock_fallback(),
        }
    }

    fn lock_fallback(&self) -> std::io::Result<Option<Lock>> {
        if let Some(held) = self.fallback_lock.get() {
            return Ok(Some(Lock(held.clone())));
        }
        let lock = try_lock(File::open(&self.fallback)?)?;
        if let Some(Lock(file)) = &lock {
            let _ = self.fallback_lock.set(file.clone());
        }
        Ok(lock)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = std::fs::read(self.directory.join(name)).ok()?;
        let envelope: Envelope<T> = serde_json::from_slice(&bytes).ok()?;
        (envelope.boot == self.boot).then_some(envelope.value)
    }

    /// Whole or not at all; not synced to disk, since a lost record costs only caution.
    fn write<T: Serialize>(&self, name: &str, value: &T) {
        self.put(name, value, false);
    }

    /// Whole or not at all, and where it is `durable`, for good.
    fn put<T: Serialize>(&self, name: &str, value: &T, durable: bool) {
        if let Ok(bytes) = serde_json::to_vec(&Envelope { boot: self.boot.clone(), value }) {
            self.replace(name, &bytes, durable);
        }
    }

    fn replace(&self, name: &str, bytes: &[u8], durable: bool) {
        let temporary = self.directory.join(format!(".{name}.{}", std::process::id()));
        let replaced = std::fs::create_dir_all(&self.directory).and_then(|()| {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            if durable {
                file.sync_all()?;
            }
            std::fs::rename(&temporary, self.directory.join(name))
        });
        if replaced.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }
}

/// Whoever holds it reads one small file and writes one; unless he is frozen, when nobody is to wait
/// for him who has a service to stop.
fn lock_soon(file: &File) -> bool {
    let given_up = Instant::now() + PATIENCE;
    while matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        if Instant::now() >= given_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

fn lease_view_file(service: &Name) -> String {
    format!("lease-{service}.json")
}

fn try_lock(file: File) -> std::io::Result<Option<Lock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(Arc::new(file)))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_directory_one_process_has_the_locks_of_all_services() {
        let fallback = tempfile::NamedTempFile::new().expect("a file");
        let text = "state = \"/dev/null/nowhere\"\nnodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }";
        let config = crate::config::parse(fallback.path(), text).expect("parses").config;
        let (store, other) = (StateDir::open(&config), StateDir::open(&config));
        let service = |name: &str| name.parse::<Name>().expect("a name");
        let first = store.lock(&service("a")).expect("can be locked");
        let second = store.lock(&service("b")).expect("can be locked");
        assert!(first.is_some() && second.is_some());
        assert!(other.lock(&service("a")).expect("can be tried").is_none(), "two processes have one lock");
        drop((store, first, second));
        assert!(other.lock(&service("a")).expect("can be locked").is_some());
    }

    #[test]
    fn whoever_is_frozen_with_the_lock_of_a_sight_holds_up_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!(
            "state = \"{}\"\nnodes = {{ a = \"192.0.2.1\" }}\nchains = {{ brain = [\"a\"] }}",
            directory.path().display()
        );
        let store =
            StateDir::open(&crate::config::parse(&directory.path().join("list"), &text).expect("parses").config);
        let lock = File::create(directory.path().join("lease-a.json.lock")).expect("a file");
        lock.lock().expect("a lock");
        let (done, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            store.keep_lease_view(&"a".parse().expect("a name"), &LeaseView::default());
            done.send(())
        });
        end.recv_timeout(Duration::from_secs(60)).expect("it goes on");
    }

    #[test]
    fn a_node_that_was_not_looked_at_starts_anew() {
        let node: Name = "a".parse().expect("a name");
        let seen = |state| NodeStates::from([(node.clone(), state)]);
        let gap = Duration::from_secs(10);
        let at = |ms| BootInstant::since_boot(Duration::from_millis(ms));
        let mut uptimes = Uptimes::default();
        let age = |uptimes: &Uptimes, now| uptimes.alive_for(at(now)).get(&node).copied();

        assert_eq!(uptimes.update(&seen(State::Alive), at(0), gap), []);
        uptimes.update(&seen(State::Alive), at(9_000), gap);
        assert_eq!(age(&uptimes, 9_000), Some(Duration::from_secs(9)));
        uptimes.update(&seen(State::Alive), at(30_000), gap);
        assert_eq!((age(&uptimes, 30_000), uptimes.dead_since(&node)), (Some(Duration::ZERO), None));
        assert_eq!(uptimes.update(&seen(State::Dead), at(31_000), gap), [(node.clone(), State::Dead)]);
        assert_eq!((age(&uptimes, 31_000), uptimes.dead_since(&node)), (None, Some(at(31_000))));
        assert_eq!(uptimes.update(&seen(State::Dead), at(91_000), gap), []);
        assert_eq!(uptimes.dead_since(&node), Some(at(31_000)), "a promotion may take so long");
        uptimes.update(&seen(State::Dead), at(152_000), gap);
        assert_eq!(uptimes.dead_since(&node), Some(at(152_000)));
        assert!(uptimes.forget_deaths() && !uptimes.forget_deaths());
        assert_eq!(uptimes.dead_since(&node), None);
    }
}
