//! One host: its processes, from boot to power loss.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::inside;
use crate::remains;
use crate::wire::Wire;

/// Where a host's commands are.
pub(crate) const PATH: &str = "/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a host may take to boot, on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(60);

/// What the first process of a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The lab's own, which starts the daemons.
    Daemons,
    /// systemd, with the machine's /usr.
    Systemd,
    /// systemd, with a root tree of the host's own, into which packages can be installed.
    SystemdInTree,
}

/// A host, up or down. Its disk outlives it.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
    /// Its disk, as the machine sees it: `root` is its /root, `var` its /var/lib, `etc` what is
    /// other in its /etc than in the machine's; `tree/new` what is other in a root tree of its own.
    pub(crate) disk: PathBuf,
    /// What its first process is.
    pub(crate) first: First,
    /// The directory of its lab.
    lab: PathBuf,
    /// Its control group, which holds all its processes.
    group: PathBuf,
    /// The process outside whose child is the host's first.
    outer: Mutex<Option<Child>>,
}

impl Host {
    pub(crate) fn new(name: &'static str, number: u8, first: First, lab: &Path, group: &Path) -> Self {
        let (disk, group) = (lab.join("hosts").join(name), group.join(name));
        Self { name, number, disk, first, lab: lab.to_owned(), group, outer: Mutex::new(None) }
    }

    fn outer(&self) -> MutexGuard<'_, Option<Child>> {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.outer().is_some()
    }

    /// New processes; the disk as it was.
    pub(crate) fn boot(&self, wire: &Wire) -> Result<()> {
        let mut outer = self.outer();
        ensure!(outer.is_none(), "{} is up", self.name);
        let up = self.lab.join("shared/up").join(self.name);
        let _ = fs::remove_file(&up);
        wire.plug(self.number)?;
        // The groups of systemd's last life are not for the next one.
        remains::remove_groups(&self.group);
        fs::create_dir(&self.group)?;
        let log = fs::File::create(self.disk.join("root/log/init"))?;
        let mut command = self.within();
        command
            .args(["ip", "netns", "exec", &wire.namespace(self.number)])
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--mount-proc"])
            .arg(self.lab.join("shared/bin/lab"))
            .arg(inside::INIT)
            .arg(&self.lab)
            .arg(self.name);
        if self.first != First::Daemons {
            command.arg(remains::below_the_root(&self.group)?);
        }
        if self.first == First::SystemdInTree {
            command.arg(inside::TREE);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
        let child = outer.insert(child);
        let until = Instant::now() + BOOT;
        while !up.exists() {
            if Instant::now() > until || child.try_wait()?.is_some() {
                let words = fs::read_to_string(self.disk.join("root/log/init")).unwrap_or_default();
                bail!("{} does not boot: {}", self.name, words.trim());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A command line to be completed, run in the host's control group with nothing of the machine's
    /// own environment.
    fn within(&self) -> Command {
        let enter = "echo $$ >\"$0\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(self.group.join("cgroup.procs"));
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
        command
    }

    /// Runs a shell command on the host, which is up.
    pub(crate) fn run(&self, command: &str) -> Result<Output> {
        let first = self.first_process()?.to_string();
        let mut process = self.within();
        process.args(["nsenter", "-t", &first, "-m", "-u", "-p", "-n", "sh", "-c", &format!("cd /root; {command}")]);
        Ok(process.stdin(Stdio::null()).output()?)
    }

    /// The id, on the machine, of the host's process 1.
    pub(crate) fn first_process(&self) -> Result<u32> {
        let mut processes = Vec::new();
        for group in [self.group.clone(), self.group.join("systemd"), self.group.join("systemd/init.scope")] {
            let group = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            processes.extend(group.lines().map(str::to_owned));
        }
        let first = processes.iter().find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
        });
        first.with_context(|| format!("{} is not up", self.name))?.parse().map_err(anyhow::Error::from)
    }

    /// Ends every process; the wire has to be silent before, or their goodbyes are heard.
    pub(crate) fn end(&self) -> Result<()> {
        Ok(fs::write(self.group.join("cgroup.kill"), "1")?)
    }

    /// Waits until nothing of a host that was ended is left.
    pub(crate) fn bury(&self) -> Result<()> {
        let mut child = self.outer().take().with_context(|| format!("{} is down", self.name))?;
        child.wait()?;
        self.wait_for_event("populated 0")
    }

    fn wait_for_event(&self, event: &str) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while !fs::read_to_string(self.group.join("cgroup.events"))?.contains(event) {
            ensure!(Instant::now() < until, "{}: its processes are not {event}", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Stops every process where it stands, or wakes them; the kernel goes on answering.
    pub(crate) fn set_frozen(&self, frozen: bool) -> Result<()> {
        fs::write(self.group.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        self.wait_for_event(&format!("frozen {}", u8::from(frozen)))
    }

    /// The processor time that its processes have used since it was booted.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        remains::cpu(&self.group)
    }
}
