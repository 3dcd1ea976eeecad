//! Five nodes and an origin, as hosts that really die.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::inside;
use crate::system::System;
use crate::truth::{self, Run, Truth};
use crate::wire::{self, Wire};

/// The nodes, each the host whose number is its place, from 1.
pub(crate) const NODES: [&str; 5] = ["amsterdam", "moscow", "almaty", "spb", "novosibirsk"];
/// The host of the git repository: the last.
pub(crate) const ORIGIN: &str = "origin";
const HOSTS: u8 = 6;
/// What names of directories and control groups begin with; those of namespaces are shorter.
const MARK: &str = "mirror-lab";
/// How long a host may take to boot, on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(30);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A lab. When it is dropped, and also when its process dies in whatever way, everything in it goes.
pub(crate) struct Lab {
    /// What is installed on the nodes.
    pub(crate) system: System,
    directory: PathBuf,
    group: PathBuf,
    wire: Wire,
    hosts: Vec<Host>,
    truth: Mutex<Truth>,
    reaper: Child,
}

/// A host, up or down. Its disk outlives it.
struct Host {
    name: &'static str,
    number: u8,
    /// The process outside whose child is the host's first.
    outer: Mutex<Option<Child>>,
}

/// Why there can be no lab here, if there cannot.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    if groups().is_none() {
        return Some("it needs a mounted cgroup2".to_owned());
    }
    let absent: Vec<&str> = ["ip", "nft", "bridge", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "git", "setsid"]
        .into_iter()
        .filter(|program| {
            let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin", "/usr/local/sbin"];
            !places.iter().any(|place| Path::new(place).join(program).exists())
        })
        .collect();
    if !absent.is_empty() {
        return Some(format!("it needs {}", absent.join(", ")));
    }
    let probe = Command::new("unshare").args(["--net", "--pid", "--fork", "--mount", "--uts", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("it may make no namespaces: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("it cannot start unshare: {error}")),
    }
}

/// Where cgroup2 is mounted.
fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

fn directory(name: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/{name}"))
}

/// The prefix of the namespaces of the lab `mirror-lab.PID.COUNT`.
fn prefix(name: &str) -> String {
    name.replace(MARK, "mlab").replace('.', "-") + "-"
}

/// Removes whatever there is of a lab: processes, namespaces, mounts, files.
pub(crate) fn remove(name: &str) {
    if let Some(group) = groups().map(|groups| groups.join(name)) {
        let _ = fs::write(group.join("cgroup.freeze"), "0");
        let _ = fs::write(group.join("cgroup.kill"), "1");
        let until = Instant::now() + Duration::from_secs(10);
        let populated = || {
            let events = fs::read_to_string(group.join("cgroup.events"));
            events.is_ok_and(|events| events.contains("populated 1"))
        };
        while populated() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        for inner in fs::read_dir(&group).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(inner.path());
        }
        let _ = fs::remove_dir(&group);
    }
    wire::remove_all(&prefix(name));
    let directory = directory(name);
    for host in fs::read_dir(directory.join("hosts")).into_iter().flatten().flatten() {
        unmount(&host.path());
    }
    unmount(&directory);
    let _ = fs::remove_dir(&directory);
}

fn unmount(place: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(place).stderr(Stdio::null()).status();
}

/// What there still is of a lab.
pub(crate) fn remains(name: &str) -> Vec<PathBuf> {
    let namespaces = fs::read_dir(wire::NAMESPACES).into_iter().flatten().flatten();
    let of_it = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix(name));
    let mut remains: Vec<PathBuf> = namespaces.filter(of_it).map(|entry| entry.path()).collect();
    remains.extend(groups().map(|groups| groups.join(name)));
    remains.push(directory(name));
    remains.retain(|place| place.exists());
    remains
}

/// Removes the labs of processes that are gone and whose reaper was killed too.
fn remove_stale() {
    let in_tmp = fs::read_dir("/tmp").into_iter().flatten().flatten();
    let in_groups = groups().into_iter().flat_map(fs::read_dir).flatten().flatten();
    for entry in in_tmp.chain(in_groups) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let pid = rest.split('.').next().unwrap_or(rest);
        if !Path::new("/proc").join(pid).exists() {
            remove(&name);
        }
    }
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
        remove_stale();
        let name = format!("{MARK}.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = directory(&name);
        let group = groups().context("cgroup2 is not mounted")?.join(&name);
        // First of all, so that nothing is ever left behind.
        let reaper = Command::new(std::env::current_exe()?)
            .args([inside::REAPER, &name])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the reaper")?;
        fs::create_dir(&directory)?;
        mount(&directory, "mode=755")?;
        for place in ["shared/bin", "shared/up", "hosts"] {
            fs::create_dir_all(directory.join(place))?;
        }
        fs::create_dir(&group)?;
        let beats = directory.join("shared/beats");
        fs::write(&beats, "")?;
        let names = NODES.iter().copied().chain([ORIGIN]);
        let hosts = names.zip(1..).map(|(name, number)| Host { name, number, outer: Mutex::new(None) }).collect();
        let wire = Wire::new(&prefix(&name), HOSTS)?;
        let truth = Mutex::new(Truth::open(&beats)?);
        let lab = Self { system, directory, group, wire, hosts, truth, reaper };
        lab.furnish().context("cannot furnish the hosts")?;
        let all: Vec<&str> = lab.hosts.iter().map(|host| host.name).collect();
        lab.boot(&all)?;
        Ok(lab)
    }

    /// Fills the disks: keys, the repository and its clones, and what the system needs.
    fn furnish(&self) -> Result<()> {
        let bin = self.directory.join("shared/bin");
        fs::copy(std::env::current_exe()?, bin.join("lab"))?;
        fs::copy(env!("CARGO_BIN_EXE_mirror"), bin.join("mirror"))?;
        script(&bin.join("service"), SERVICE)?;
        let mut known = String::new();
        for host in &self.hosts {
            let disk = self.directory.join("hosts").join(host.name);
            fs::create_dir(&disk)?;
            mount(&disk, self.system.disk())?;
            for place in ["root/.ssh", "root/.sshd", "root/log", "var"] {
                fs::create_dir_all(disk.join(place))?;
            }
            let key = disk.join("root/.sshd/host_key");
            keygen(&key)?;
            known += &format!("{} {}", Wire::address(host.number), fs::read_to_string(key.with_extension("pub"))?);
        }
        let key = self.directory.join("key");
        keygen(&key)?;
        let bare = self.disk(ORIGIN).join("root/repo.git");
        let seed = self.directory.join("seed");
        shell(&format!(
            "git init -q --bare -b main '{bare}' && git clone -q '{bare}' '{seed}' 2>/dev/null && cd '{seed}' &&
             git -c user.name=lab -c user.email=lab@localhost commit -q --allow-empty -m seed && git push -q origin HEAD:main",
            bare = bare.display(),
            seed = seed.display(),
        ))?;
        for host in &self.hosts {
            let root = self.disk(host.name).join("root");
            fs::copy(&key, root.join(".ssh/id_ed25519"))?;
            fs::set_permissions(root.join(".ssh/id_ed25519"), fs::Permissions::from_mode(0o600))?;
            fs::copy(key.with_extension("pub"), root.join(".ssh/authorized_keys"))?;
            fs::write(root.join(".ssh/known_hosts"), &known)?;
            fs::write(root.join(".sshd/config"), SSHD)?;
            let identity = format!("[user]\nname = {0}\nemail = {0}@localhost\n", host.name);
            fs::write(root.join(".gitconfig"), identity)?;
            if host.name == ORIGIN {
                continue;
            }
            let clone = root.join("ACP_1");
            let url = format!("ssh://root@{}/root/repo.git", Wire::address(HOSTS));
            shell(&format!(
                "git clone -q '{}' '{clone}' && git -C '{clone}' remote set-url origin '{url}'",
                bare.display(),
                clone = clone.display(),
            ))?;
            self.system.furnish(host.name, host.number, &root, &bin)?;
        }
        Ok(())
    }

    /// The name of its directory and its control group.
    pub(crate) fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("no host is called {name}"))
    }

    fn numbers(&self, names: &[&str]) -> Result<Vec<u8>> {
        names.iter().map(|name| Ok(self.host(name)?.number)).collect()
    }

    /// A host's disk, as the machine sees it: `root` is its /root, `var` its /var/lib.
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.directory.join("hosts").join(name)
    }

    /// Boots hosts, all at once: new processes, the disk as it was.
    pub(crate) fn boot(&self, names: &[&str]) -> Result<()> {
        std::thread::scope(|scope| {
            let booting: Vec<_> = names.iter().map(|name| scope.spawn(|| self.boot_one(name))).collect();
            booting.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => bail!("a boot broke off"),
            })
        })
    }

    fn boot_one(&self, name: &str) -> Result<()> {
        let host = self.host(name)?;
        let mut outer = host.outer();
        ensure!(outer.is_none(), "{name} is up");
        let up = self.directory.join("shared/up").join(name);
        let _ = fs::remove_file(&up);
        self.wire.plug(host.number)?;
        let group = self.group.join(name);
        if !group.exists() {
            fs::create_dir(&group)?;
        }
        let log = fs::File::create(self.disk(name).join("root/log/init"))?;
        let child = self
            .within(name)
            .args(["ip", "netns", "exec", &self.wire.namespace(host.number)])
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--mount-proc"])
            .arg(self.directory.join("shared/bin/lab"))
            .arg(inside::INIT)
            .arg(&self.directory)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let child = outer.insert(child);
        let until = Instant::now() + BOOT;
        while !up.exists() {
            if Instant::now() > until || child.try_wait()?.is_some() {
                let words = fs::read_to_string(self.disk(name).join("root/log/init")).unwrap_or_default();
                bail!("{name} does not boot: {}", words.trim());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A command line to be completed, run in the host's control group with nothing of the machine's
    /// own environment.
    fn within(&self, name: &str) -> Command {
        let enter = "echo $$ >\"$0\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(self.group.join(name).join("cgroup.procs"));
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
        command
    }

    /// Runs a shell command on a host that is up.
    pub(crate) fn run(&self, name: &str, command: &str) -> Result<Output> {
        let first = self.first_process(name)?.to_string();
        let mut process = self.within(name);
        process.args(["nsenter", "-t", &first, "-m", "-u", "-p", "-n", "sh", "-c", &format!("cd /root; {command}")]);
        Ok(process.stdin(Stdio::null()).output()?)
    }

    /// The id, on the machine, of the host's process 1.
    fn first_process(&self, name: &str) -> Result<u32> {
        let group = fs::read_to_string(self.group.join(name).join("cgroup.procs"))?;
        let first = group.lines().find(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
        });
        first.with_context(|| format!("{name} is not up"))?.parse().map_err(anyhow::Error::from)
    }

    /// Cuts the power of hosts, all at the same moment: silence on the wire, and every process gone.
    /// Returns the moment.
    pub(crate) fn kill(&self, names: &[&str]) -> Result<u64> {
        let numbers = self.numbers(names)?;
        let at = truth::now();
        self.wire.silence(&numbers)?;
        for name in names {
            fs::write(self.group.join(name).join("cgroup.kill"), "1")?;
        }
        for name in names {
            let host = self.host(name)?;
            let mut child = host.outer().take().with_context(|| format!("{name} is down"))?;
            child.wait()?;
            self.wire.unplug(host.number)?;
        }
        Ok(at)
    }

    /// The nodes that are up.
    pub(crate) fn up(&self) -> Vec<&'static str> {
        self.hosts.iter().filter(|host| host.name != ORIGIN && host.outer().is_some()).map(|host| host.name).collect()
    }

    /// Boots every host that is down.
    pub(crate) fn boot_the_dead(&self) -> Result<()> {
        let dead: Vec<&str> = self.hosts.iter().filter(|host| host.outer().is_none()).map(|host| host.name).collect();
        self.boot(&dead)
    }

    /// Stops every process of a host where it stands; its kernel goes on answering.
    pub(crate) fn freeze(&self, name: &str) -> Result<()> {
        self.set_frozen(name, true)
    }

    /// Ends that.
    pub(crate) fn thaw(&self, name: &str) -> Result<()> {
        self.set_frozen(name, false)
    }

    fn set_frozen(&self, name: &str, frozen: bool) -> Result<()> {
        let group = self.group.join(name);
        fs::write(group.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let wanted = format!("frozen {}", u8::from(frozen));
        let until = Instant::now() + Duration::from_secs(5);
        while !fs::read_to_string(group.join("cgroup.events"))?.contains(&wanted) {
            ensure!(Instant::now() < until, "{name} does not freeze");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Cuts a host off from all others; its link stays up and its processes live on.
    pub(crate) fn isolate(&self, name: &str) -> Result<()> {
        self.wire.isolate(self.host(name)?.number, true)
    }

    /// Loses whatever `from` sends to `to`; the other direction stays open.
    pub(crate) fn cut(&self, from: &str, to: &str) -> Result<()> {
        self.wire.cut(self.host(from)?.number, self.host(to)?.number)
    }

    /// Ends every cut.
    pub(crate) fn heal(&self) -> Result<()> {
        for host in self.hosts.iter().filter(|host| host.outer().is_some()) {
            self.wire.isolate(host.number, false)?;
            self.wire.heal(host.number)?;
        }
        Ok(())
    }

    /// Loses one packet in so many everywhere, at random; none when it is 0.
    pub(crate) fn lose_one_in(&self, many: u32) -> Result<()> {
        for host in self.hosts.iter().filter(|host| host.outer().is_some()) {
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

    /// The processor time that all hosts have used so far, their dead processes included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.group.join("cpu.stat"))?;
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(used.context("cpu.stat lacks usage_usec")?.trim().parse()?))
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
                bail!("the service does not run\n{}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The ends of the nodes' logs, for a person who wonders why.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for name in NODES {
            let log = fs::read_to_string(self.disk(name).join("root/log/agent")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            words += &format!("{name}:\n");
            for line in &lines[lines.len().saturating_sub(4)..] {
                words += &format!("  {}\n", line.chars().take(400).collect::<String>());
            }
        }
        words
    }
}

impl Host {
    fn outer(&self) -> MutexGuard<'_, Option<Child>> {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        for host in &self.hosts {
            if let Some(mut child) = host.outer().take() {
                let _ = child.wait();
            }
        }
    }
}

/// Where a host's commands are.
pub(crate) const PATH: &str = "/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Start, stop and status of the service, for all systems alike. `start` fails where there is a file
/// /root/no-start. The beat itself makes sure that it runs but once.
const SERVICE: &str = r#"#!/bin/sh
runs() { read -r pid 2>/dev/null </run/bot.pid && kill -0 "$pid" 2>/dev/null; }
case $1 in
status) runs ;;
start)
    [ ! -e /root/no-start ] || exit 1
    setsid /run/lab/bin/lab --lab-beat </dev/null >/dev/null 2>&1 &
    ;;
stop)
    while runs; do
        kill -9 "$pid" 2>/dev/null
        sleep 0.002
    done
    ;;
esac
"#;

/// Debian's defaults but for what depends on the machine's own users and files.
const SSHD: &str = "Port 22
HostKey /root/.sshd/host_key
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
PrintMotd no
SetEnv PATH=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PidFile none
";

fn mount(place: &Path, options: &str) -> Result<()> {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).status()?;
    ensure!(mounted.success(), "cannot mount {}", place.display());
    Ok(())
}

fn keygen(key: &Path) -> Result<()> {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(key).status()?;
    ensure!(made.success(), "cannot make {}", key.display());
    Ok(())
}

/// Writes a program.
pub(crate) fn script(place: &Path, text: &str) -> Result<()> {
    fs::write(place, text)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn shell(command: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", command]).env("GIT_CONFIG_GLOBAL", "/dev/null").output()?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
