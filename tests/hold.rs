//! `mirror hold` runs a command while the lease allows it and no longer, whichever process is killed or
//! frozen, and whatever is cut off.

#![allow(clippy::unwrap_used)]

#[path = "hold/deaths.rs"]
mod deaths;
#[path = "hold/failsafe.rs"]
mod failsafe;
#[path = "hold/lease.rs"]
mod lease;
#[path = "hold/manager.rs"]
mod manager;
#[path = "hold/statuses.rs"]
mod statuses;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use three_mirror::clock::Deadline;
use three_mirror::lease::LeaseState;
use three_mirror::lease::codec::LeaseRegister;
use three_mirror::name::Name;
use three_mirror::register::file::FileRegister;

use crate::support::mirror::{Network, Said};
use crate::support::processes::{descendants, kill, lives, pid_in, wait_until_gone};
use crate::support::{LONG, wait_for};

/// Two nodes and a service under a lease in a file; the processes that a test started end with it.
struct Field {
    network: Network,
    epoch: std::cell::Cell<u64>,
}

/// A command that ignores SIGTERM, with a child in its group and one in a session of its own that do
/// the same. Each writes its number into a file of its own.
const STUBBORN: &str = r#"
    trap '' TERM
    setsid sh -c 'echo $$ >away; while :; do sleep 0.05; done' &
    sh -c 'echo $$ >near; while :; do sleep 0.05; done' &
    echo $$ >main
    while :; do sleep 0.05; done
"#;

/// A command that exits with 9 on SIGTERM, and records the signal.
const OBEDIENT: &str = r#"
    trap 'echo term >term; exit 9' TERM
    echo $$ >main
    while :; do sleep 0.02; done
"#;

impl Field {
    /// With these two parameters, granted to `a` in epoch 1.
    fn new(valid: &str, grace: &str) -> Self {
        let network = Network::new(&format!(
            r#"
            self = "a"
            nodes = {{ a = "192.0.2.1", b = "192.0.2.2" }}
            chains = {{ brain = ["a", "b"], bot = ["a", "b"] }}
            lease = {{ store = "file", path = "lease", failsafe = false, valid = "{valid}", grace = "{grace}" }}
            [services.bot]
            status = "false"
            start = "false"
            stop = "true"
            "#
        ));
        std::fs::create_dir(network.path().join("lease")).unwrap();
        let field = Self { network, epoch: 0.into() };
        field.grant("a");
        field
    }

    fn path(&self, name: &str) -> PathBuf {
        self.network.path().join(name)
    }

    /// Grants the lease to a node in a new epoch.
    fn grant(&self, holder: &str) {
        self.epoch.set(self.epoch.get() + 1);
        write(&self.path("lease/bot"), holder, self.epoch.get(), LeaseState::Granted);
    }

    /// Takes the register away, as when the arbiter is down.
    fn cut_off(&self) {
        std::fs::rename(self.path("lease"), self.path("lease-away")).unwrap();
    }

    fn bring_back(&self) {
        std::fs::rename(self.path("lease-away"), self.path("lease")).unwrap();
    }

    /// `mirror hold bot -- sh -c SCRIPT`, not yet run.
    fn holding(&self, script: &str) -> Command {
        self.network.mirror(["hold", "bot", "--", "sh", "-c", script])
    }

    fn hold(&self, script: &str) -> Said {
        crate::support::mirror::run(self.holding(script))
    }

    /// Starts it, and waits until the command runs.
    fn start(&self, script: &str) -> Running<'_> {
        self.begin(self.holding(script))
    }

    /// The same, with `--check`.
    fn start_with(&self, check: &str, script: &str) -> Running<'_> {
        self.begin(self.network.mirror(["hold", "bot", "--check", check, "--", "sh", "-c", script]))
    }

    /// Its stderr goes to a file: a process that fails to end would keep a pipe open.
    fn begin(&self, mut command: Command) -> Running<'_> {
        let said = std::fs::File::create(self.path("stderr")).unwrap();
        let hold = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let pid = i32::try_from(hold.id()).unwrap();
        let main = self.pid("main");
        let supervisor = wait_for("there is a supervisor", || {
            descendants(pid).into_iter().find(|pid| descendants(*pid).contains(&main))
        });
        Running { field: self, hold, begun: Instant::now(), supervisor, main }
    }

    fn pid(&self, file: &str) -> i32 {
        pid_in(&self.path(file))
    }

    /// What `hold-bot.json` says.
    fn shown(&self) -> serde_json::Value {
        let file = self.path("state/hold-bot.json");
        serde_json::from_slice(&wait_for("the hold tells of itself", || std::fs::read(&file).ok())).unwrap()
    }
}

/// A command that is held.
struct Running<'a> {
    field: &'a Field,
    hold: Child,
    begun: Instant,
    supervisor: i32,
    main: i32,
}

/// How it ended.
#[derive(Debug)]
struct Held {
    /// The exit status; 128 and the signal when one ended it.
    status: i32,
    /// Its stderr.
    stderr: String,
    /// How long it ran.
    took: Duration,
}

impl Running<'_> {
    fn hold(&self) -> i32 {
        i32::try_from(self.hold.id()).unwrap()
    }

    fn end(mut self) -> Held {
        let status = wait_for("hold ends", || self.hold.try_wait().unwrap());
        let status = status.code().or_else(|| Some(128 + status.signal()?)).unwrap();
        let stderr = std::fs::read_to_string(self.field.path("stderr")).unwrap();
        Held { status, stderr, took: self.begun.elapsed() }
    }

    /// The command and its children, of [`STUBBORN`].
    fn all(&self) -> [i32; 3] {
        [self.main, self.field.pid("near"), self.field.pid("away")]
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.hold.kill();
        let _ = self.hold.wait();
    }
}

impl Drop for Field {
    /// Kills what a failed test left running in its directory.
    fn drop(&mut self) {
        let here = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(self.network.path()))
        };
        for _ in 0..3 {
            let entries = std::fs::read_dir("/proc").unwrap();
            let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
            numbers.filter(here).for_each(kill);
        }
    }
}

fn gone(all: [i32; 3]) {
    all.into_iter().for_each(wait_until_gone);
}

fn write(path: &Path, holder: &str, epoch: u64, state: LeaseState) {
    let (service, deadline): (Name, _) = ("bot".parse().unwrap(), Deadline::after(LONG));
    let register = FileRegister::new(path);
    let before = LeaseRegister { register: &register, service: &service }.read(deadline).unwrap().found;
    let previous = before.as_ref().map(|before| before.value.holder.as_str());
    crate::support::lease::write(path, "test", holder, epoch, state, previous);
}

/// A little while, in which something that must not happen could.
fn a_while() {
    std::thread::sleep(Duration::from_millis(300));
}
