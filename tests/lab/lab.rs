//! Five nodes and an origin, as hosts that really die.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::furnish;
use crate::host::{First, Host};
use crate::inside;
use crate::remains::{self, MARK};
use crate::switch::{Links, Switch};
use crate::system::System;
use crate::trips::Frame;
use crate::truth::{self, Run, Truth};
use crate::wire::Wire;

/// The nodes, each the host whose number is its place, from 1.
pub(crate) const NODES: [&str; 5] = ["amsterdam", "moscow", "almaty", "spb", "novosibirsk"];
/// The host of the git repository: the next.
pub(crate) const ORIGIN: &str = "origin";
/// The number of the origin.
pub(crate) const ORIGIN_NUMBER: u8 = 6;
/// Hosts of an etcd that is none of the nodes', where a system has one: the last.
pub(crate) const MEMBERS: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A lab. When it is dropped, and also when its process dies in whatever way, everything in it goes.
pub(crate) struct Lab {
    /// What is installed on the nodes.
    pub(crate) system: System,
    directory: PathBuf,
    group: PathBuf,
    wire: Wire,
    switch: Option<Switch>,
    hosts: Vec<Host>,
    truth: Mutex<Truth>,
    reaper: Child,
}

impl Lab {
    /// Boots five nodes with `system` on each of them, and the origin; waits until the service runs.
    pub(crate) fn start(system: System) -> Result<Self> {
        let lab = Self::raise(system)?;
        lab.wait_for_service(Duration::from_secs(60))?;
        Ok(lab)
    }

    /// The same without waiting for the service.
    pub(crate) fn raise(system: System) -> Result<Self> {
        Self::raise_over(system, Links::chosen())
    }

    /// Like [`start`](Self::start), over links of these distances.
    pub(crate) fn start_over(system: System, links: Links) -> Result<Self> {
        let lab = Self::raise_over(system, links)?;
        lab.wait_for_service(Duration::from_secs(60))?;
        Ok(lab)
    }

    fn raise_over(system: System, links: Links) -> Result<Self> {
        remains::remove_stale();
        let name = format!("{MARK}.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = remains::directory(&name);
        let group = remains::groups().context("cgroup2 is not mounted")?.join(&name);
        // First of all, so that nothing is ever left behind.
        let reaper = Command::new(std::env::current_exe()?)
            .args([inside::REAPER, &name])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the reaper")?;
        fs::create_dir(&directory)?;
        furnish::mount(&directory, "mode=755")?;
        for place in ["shared/bin", "shared/up", "hosts"] {
            fs::create_dir_all(directory.join(place))?;
        }
        fs::create_dir(&group)?;
        let beats = directory.join("shared/beats");
        fs::write(&beats, "")?;
        let names = NODES.iter().copied().chain([ORIGIN]).chain(system.members().iter().copied());
        let host = |(name, number)| {
            let first = if NODES.contains(&name) { system.first() } else { First::Daemons };
            Host::new(name, number, first, &directory, &group)
        };
        let hosts: Vec<Host> = names.zip(1..).map(host).collect();
        furnish::furnish(&directory, &hosts, &system).context("cannot furnish the hosts")?;
        let wire = Wire::new(&remains::prefix(&name), u8::try_from(hosts.len())?, links)?;
        let switch = wire.switch()?;
        let truth = Mutex::new(Truth::open(&beats)?);
        let lab = Self { system, directory, group, wire, switch, hosts, truth, reaper };
        let all: Vec<&str> = lab.hosts.iter().map(|host| host.name).collect();
        lab.boot(&all)?;
        lab.system.begin(&lab)?;
        Ok(lab)
    }

    /// The name of its directory and its control group.
    pub(crate) fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("no host is called {name}"))
    }

    /// A host's disk, as the machine sees it; see [`Host::disk`].
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.directory.join("hosts").join(name)
    }

    /// A host's address.
    pub(crate) fn address(&self, name: &str) -> Result<String> {
        Ok(Wire::address(self.host(name)?.number))
    }

    /// The id, on the machine, of a host's first process.
    pub(crate) fn first_process(&self, name: &str) -> Result<u32> {
        self.host(name)?.first_process()
    }

    /// Boots hosts, all at once: new processes, the disk as it was.
    pub(crate) fn boot(&self, names: &[&str]) -> Result<()> {
        std::thread::scope(|scope| {
            let boot = |name: &&str| self.host(name)?.boot(&self.wire);
            let booting: Vec<_> = names.iter().map(|name| scope.spawn(move || boot(name))).collect();
            booting.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a boot broke off"),
            })
        })
    }

    /// Cuts the power of hosts, all at the same moment: silence on the wire, and every process gone.
    /// Returns the moment.
    pub(crate) fn kill(&self, names: &[&str]) -> Result<u64> {
        let hosts: Vec<&Host> = names.iter().map(|name| self.host(name)).collect::<Result<_>>()?;
        let at = truth::now();
        self.wire.silence(&hosts.iter().map(|host| host.number).collect::<Vec<_>>())?;
        hosts.iter().try_for_each(|host| host.end())?;
        for host in hosts {
            host.bury()?;
            self.wire.unplug(host.number)?;
        }
        Ok(at)
    }

    /// Shuts a host down: its units stop in their order, and then its power goes. Returns that moment.
    pub(crate) fn shut_down(&self, name: &str) -> Result<u64> {
        self.must(name, "systemctl start --job-mode=replace-irreversibly lab-down.target")?;
        self.kill(&[name])
    }

    /// The nodes that are up.
    pub(crate) fn up(&self) -> Vec<&'static str> {
        self.hosts.iter().filter(|host| NODES.contains(&host.name) && host.is_up()).map(|host| host.name).collect()
    }

    /// Boots every host that is down.
    pub(crate) fn boot_the_dead(&self) -> Result<()> {
        let dead: Vec<&str> = self.hosts.iter().filter(|host| !host.is_up()).map(|host| host.name).collect();
        self.boot(&dead)
    }

    /// Runs a shell command on a host that is up.
    pub(crate) fn run(&self, name: &str, command: &str) -> Result<Output> {
        self.host(name)?.run(command)
    }

    /// The same, where it has to succeed; returns what it said.
    pub(crate) fn must(&self, name: &str, command: &str) -> Result<String> {
        let done = self.run(name, command)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{name}: {command}: {}: {said}{complaint}", done.status);
        Ok(said)
    }

    /// Stops every process of a host where it stands; its kernel goes on answering.
    pub(crate) fn freeze(&self, name: &str) -> Result<()> {
        self.host(name)?.set_frozen(true)
    }

    /// Ends that.
    pub(crate) fn thaw(&self, name: &str) -> Result<()> {
        self.host(name)?.set_frozen(false)
    }

    /// Makes a host's link as slow as this in both directions; at full speed again when there is no
    /// rate.
    pub(crate) fn slow(&self, name: &str, rate: Option<&str>) -> Result<()> {
        self.wire.slow(self.host(name)?.number, rate)
    }

    /// Cuts a host off from all others; its link stays up and its processes live on.
    pub(crate) fn isolate(&self, name: &str) -> Result<()> {
        self.wire.isolate(self.host(name)?.number, true)
    }

    /// Loses whatever `from` sends to `to`; the other direction stays open.
    pub(crate) fn cut(&self, from: &str, to: &str) -> Result<()> {
        self.wire.cut(self.host(from)?.number, self.host(to)?.number)
    }

    /// The same in both directions, between one host and each of some others.
    pub(crate) fn part(&self, one: &str, others: &[&str]) -> Result<()> {
        others.iter().try_for_each(|other| self.cut(one, other).and_then(|()| self.cut(other, one)))
    }

    /// Makes all round trips as many times as long, where the links have distances.
    pub(crate) fn stretch(&self, times: u32) -> Result<()> {
        self.switch()?.stretch(times);
        Ok(())
    }

    /// Writes down every frame while `meanwhile` goes on.
    pub(crate) fn record<T>(&self, meanwhile: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Frame>)> {
        self.switch()?.record(meanwhile)
    }

    fn switch(&self) -> Result<&Switch> {
        self.switch.as_ref().context("there is no switch between hosts of one kernel")
    }

    /// Ends every cut.
    pub(crate) fn heal(&self) -> Result<()> {
        for host in self.hosts.iter().filter(|host| host.is_up()) {
            self.wire.isolate(host.number, false)?;
            self.wire.heal(host.number)?;
        }
        Ok(())
    }

    /// Loses one packet in so many everywhere, at random; none when it is 0.
    pub(crate) fn lose_one_in(&self, many: u32) -> Result<()> {
        for host in self.hosts.iter().filter(|host| host.is_up()) {
            self.wire.lose_one_in(host.number, many)?;
        }
        Ok(())
    }

    /// Leaves no room on a host's disk.
    pub(crate) fn fill_disk(&self, name: &str) -> Result<()> {
        let filled = self.run(name, "cat /dev/zero >/root/filling 2>/dev/null; echo x >>/root/filling")?;
        ensure!(!filled.status.success(), "{name}: its disk does not fill");
        Ok(())
    }

    /// The processor time that the hosts that are up have used since they were booted.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.hosts.iter().filter(|host| host.is_up()).map(Host::cpu).sum()
    }

    /// The same of the nodes alone.
    pub(crate) fn cpu_of_nodes(&self) -> Result<Duration> {
        self.hosts.iter().filter(|host| NODES.contains(&host.name) && host.is_up()).map(Host::cpu).sum()
    }

    /// Gives every processor of the machine other things to do while `meanwhile` goes on.
    pub(crate) fn under_load<T>(&self, meanwhile: impl FnOnce() -> Result<T>) -> Result<T> {
        let group = self.group.join("load");
        if !group.exists() {
            fs::create_dir(&group)?;
        }
        // In a group of the lab's, so that it ends with the lab.
        let enter = "echo $$ >\"$0\" && exec stress-ng --quiet --cpu 0";
        let mut load = Command::new("sh");
        load.args(["-c", enter]).arg(group.join("cgroup.procs")).stdin(Stdio::null());
        let mut load = load.spawn().context("cannot start stress-ng")?;
        let done = meanwhile();
        let went_on = load.try_wait()?.is_none();
        fs::write(group.join("cgroup.kill"), "1")?;
        load.wait()?;
        ensure!(went_on, "stress-ng ended before the time was over");
        done
    }

    /// The beats, read up to now.
    pub(crate) fn truth(&self) -> Result<MutexGuard<'_, Truth>> {
        let mut truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        truth.read()?;
        Ok(truth)
    }

    /// The run of the service that beats now.
    pub(crate) fn serving(&self) -> Result<Option<Run>> {
        Ok(self.truth()?.serving().cloned())
    }

    /// Waits until the service runs somewhere; says where.
    pub(crate) fn wait_for_service(&self, patience: Duration) -> Result<Run> {
        let until = Instant::now() + patience;
        loop {
            if let Some(run) = self.serving()? {
                return Ok(run);
            }
            if Instant::now() > until {
                bail!("the service does not run\n{}", self.last_line());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The ends of the nodes' logs, for a person who wonders why.
    pub(crate) fn last_line(&self) -> String {
        let mut words = String::new();
        for name in NODES {
            let log = self.system.log_of(self, name);
            // What was left to another, or done by rote, tells nothing.
            let routine = |line: &&str| ["not-brain", "in-step"].iter().any(|word| line.contains(word));
            let lines: Vec<&str> = log.lines().filter(|line| !routine(line)).collect();
            words += &format!("{name}:\n");
            for line in &lines[lines.len().saturating_sub(12)..] {
                words += &format!("  {}\n", line.chars().take(400).collect::<String>());
            }
        }
        words
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        for host in &self.hosts {
            let _ = host.bury();
        }
    }
}
