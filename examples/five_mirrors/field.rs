//! The five nodes: started in a directory of their own, and taken away with everything that belongs to them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;
use three_mirror::config::{self, Config};

/// The environment variables of the demonstration's processes.
pub(crate) const PORT: &str = "FIVE_MIRRORS_PORT";
pub(crate) const BEATS: &str = "FIVE_MIRRORS_BEATS";
pub(crate) const NODE: &str = "FIVE_MIRRORS_NODE";
pub(crate) const WORK_INTERVAL: &str = "FIVE_MIRRORS_WORK_INTERVAL";
/// Directories in the environment of every process of a node, and of the demonstration: they mark it.
pub(crate) const HOME: &str = "FIVE_MIRRORS_HOME";
pub(crate) const FIELD: &str = "FIVE_MIRRORS_FIELD";
/// A node's clone, in its home.
pub(crate) const CLONE: &str = "clone";

const BRANCH: &str = "main";
const HUB: &str = "shared.git";
const LIST: &str = "mirror.toml";
const WATCHDOG: &str = include_str!("../watchdog.sh");
const NODE_LIST: &str = include_str!("../five-mirrors.toml");
/// The deadline for a process to come up, or to end after SIGKILL, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A setting in the environment of a part.
pub(crate) fn context(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The pace, in seconds: the protocol's, unless the environment says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) check: f64,
    pub(crate) sync: f64,
}

impl Pace {
    pub(crate) fn of_environment(config: &Config) -> Result<Self> {
        let of = |name: &str, default: Duration| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .ok()
                .filter(|s| (0.01..=3600.0).contains(s))
                .with_context(|| format!("{name}={text}: no number of seconds from 0.01 to 3600")),
            Err(_) => Ok(default.as_secs_f64()),
        };
        Ok(Self { check: of("CHECK_INTERVAL", config.cycle.check)?, sync: of("SYNC_INTERVAL", config.cycle.sync)? })
    }
}

/// The node list of `examples/five-mirrors.toml`: its names, chains and promise count here, its addresses do
/// not.
pub(crate) fn node_list() -> Result<Config> {
    Ok(config::parse(Path::new("five-mirrors.toml"), NODE_LIST)?.config)
}

/// A node, or the origin.
struct Host {
    name: String,
    home: PathBuf,
    port: u16,
    /// Bound and never listening: reserves the port while the host is away.
    _reserved: OwnedFd,
    leader: Option<Child>,
}

pub(crate) struct Field {
    hosts: Vec<Host>,
    hub: Host,
    pace: Pace,
    /// Where everything is; dropped last.
    directory: TempDir,
}

impl Field {
    /// Creates the directory; nothing runs yet.
    pub(crate) fn lay_out(config: &Config, pace: Pace) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("five-mirrors-").tempdir()?;
        let root = directory.path().to_owned();
        let host = |name: &str| -> Result<Host> {
            let home = root.join(name);
            fs::create_dir(&home)?;
            let (reserved, port) = reserve_port()?;
            Ok(Host { name: name.to_owned(), home, port, _reserved: reserved, leader: None })
        };
        let hosts = config.nodes.keys().map(|name| host(name.as_str())).collect::<Result<Vec<_>>>()?;
        let field = Self { hosts, hub: host("hub")?, pace, directory };
        field.lay_out_programs()?;
        for host in &field.hosts {
            fs::write(host.home.join(LIST), field.node_list(config))?;
        }
        File::create(field.beats())?;
        field.lay_out_hub()?;
        Ok(field)
    }

    fn lay_out_programs(&self) -> Result<()> {
        let bin = self.root().join("bin");
        fs::create_dir(&bin)?;
        let local_node = std::env::current_exe()?;
        for name in ["mirror", "call", "bot"] {
            symlink(&local_node, bin.join(name))?;
        }
        let watchdog = bin.join("watchdog.sh");
        fs::write(&watchdog, WATCHDOG)?;
        fs::set_permissions(watchdog, fs::Permissions::from_mode(0o755))?;
        // Private, or mirror refuses it; and a path short enough for a socket.
        let run = self.root().join("run");
        fs::create_dir(&run)?;
        fs::set_permissions(run, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    fn node_list(&self, config: &Config) -> String {
        let mut text = "[nodes]\n".to_owned();
        for host in &self.hosts {
            text += &format!("{} = {{ address = \"127.0.0.1\", port = {} }}\n", host.name, host.port);
        }
        text += "[chains]\n";
        for (name, chain) in &config.chains {
            let chain: Vec<&str> = chain.iter().map(three_mirror::name::Name::as_str).collect();
            text += &format!("{name} = {chain:?}\n");
        }
        let ms = |seconds: f64| (seconds * 1000.0).ceil();
        text += &format!("[cycle]\ncheck = \"{}ms\"\nsync = \"{}ms\"\n", ms(self.pace.check), ms(self.pace.sync));
        // The bot does not return to a node that comes back, so the node where it runs is taken away.
        text + "[probe]\nmethod = \"tcp\"\n\
            [remote]\ncommand = [\"call\", \"{port}\", \"{command}\"]\n\
            [services.bot]\nstatus = \"bot status\"\nstart = \"bot start\"\nstop = \"bot stop\"\n\
            timeout = \"2s\"\ninhale = \"1s\"\nfailback = \"never\"\n\
            [breath]\nrepo = \"clone\"\npeers = true\nremote = \"origin\"\nbranch = \"main\"\n"
    }

    /// A bare repository with a first commit, and a clone of it for every node.
    fn lay_out_hub(&self) -> Result<()> {
        let hub = &self.hub.home;
        let url = format!("git://127.0.0.1:{}/{HUB}", self.hub.port);
        for host in self.hosts.iter().chain([&self.hub]) {
            let settings = format!(
                "[user]\nname = {0}\nemail = {0}@localhost\n[init]\ndefaultBranch = {BRANCH}\n[gc]\nauto = 0\n[maintenance]\nauto = false\n",
                host.name
            );
            fs::write(host.home.join(".gitconfig"), settings)?;
        }
        self.git(&self.hub, hub, &["init", "--quiet", "--bare", HUB])?;
        self.git(&self.hub, hub, &["clone", "--quiet", HUB, "first"])?;
        let first = hub.join("first");
        self.git(&self.hub, &first, &["commit", "--quiet", "--allow-empty", "--message", "Five mirrors"])?;
        self.git(&self.hub, &first, &["push", "--quiet", "origin", BRANCH])?;
        for host in &self.hosts {
            let bare = hub.join(HUB).display().to_string();
            self.git(host, &host.home, &["clone", "--quiet", "--no-hardlinks", &bare, CLONE])?;
            self.git(host, &host.home.join(CLONE), &["remote", "set-url", "origin", &url])?;
        }
        Ok(())
    }

    /// Starts the origin.
    pub(crate) fn start_hub(&mut self) -> Result<()> {
        let mut command = part(&self.hub, self.root(), "hub")?;
        logged(&mut command, &self.hub)?;
        self.hub.leader = Some(command.process_group(0).spawn()?);
        listening(&mut self.hub)
    }

    /// Takes the origin away for good, with its disk.
    pub(crate) fn lose_hub(&mut self) -> Result<()> {
        kill_group(&self.hub);
        sweep(HOME, &self.hub.home)?;
        self.hub.leader.take().map(|mut leader| leader.wait()).transpose()?;
        fs::remove_dir_all(&self.hub.home).context("the disk of the origin")
    }

    /// Starts a node as after a power loss, with the disk as it was.
    pub(crate) fn boot(&mut self, name: &str) -> Result<()> {
        let root = self.root().to_owned();
        let pace = self.pace;
        let Some(host) = self.hosts.iter_mut().find(|host| host.name == name) else { bail!("no node {name}") };
        remove_stale_locks(&host.home.join(CLONE).join(".git"))?;
        let mut command = part(host, &root, "node")?;
        logged(&mut command, host)?;
        command
            .env("MIRROR_CONFIG", host.home.join(LIST))
            .env("MIRROR_SELF", name)
            .env("STATE_DIRECTORY", host.home.join("state"))
            .env("XDG_RUNTIME_DIR", root.join("run"))
            .env("CHECK_INTERVAL", pace.check.to_string())
            .env("SYNC_INTERVAL", pace.sync.to_string())
            .env(BEATS, root.join("beats"))
            .env(WORK_INTERVAL, (pace.sync / 4.0).max(1.0).to_string());
        host.leader = Some(command.process_group(0).spawn()?);
        listening(host)
    }

    /// Takes nodes away at once, each with all its processes.
    pub(crate) fn kill(&mut self, names: &[String]) -> Result<()> {
        let mut hosts: Vec<_> = self.hosts.iter_mut().filter(|host| names.contains(&host.name)).collect();
        for host in &mut hosts {
            kill_group(host);
        }
        for host in &mut hosts {
            // mirror gives every command its own process group, so some are outside the node's.
            sweep(HOME, &host.home)?;
            host.leader.take().map(|mut leader| leader.wait()).transpose()?;
        }
        Ok(())
    }

    /// Whether a node was started and not taken away.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host.name == name && host.leader.is_some())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    pub(crate) fn beats(&self) -> PathBuf {
        self.root().join("beats")
    }

    /// Where a node's watchdog writes the output and the errors of each step.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root().join(name).join("log")
    }

    pub(crate) fn errors(&self, name: &str) -> PathBuf {
        self.root().join(name).join("errors")
    }

    /// The commits that a node made, up to one of its branch.
    pub(crate) fn made_by(&self, name: &str, commit: &str) -> Result<Vec<String>> {
        self.log_of(name, &["log", "--format=%H", &format!("--author=<{name}@localhost>"), commit])
    }

    /// The commits on a node's own branch.
    pub(crate) fn held(&self, name: &str) -> Result<Vec<String>> {
        self.log_of(name, &["log", "--format=%H", BRANCH])
    }

    /// Also of a node that was taken away: its disk is there.
    fn log_of(&self, name: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let host = self.hosts.iter().find(|host| host.name == name).with_context(|| format!("no node {name}"))?;
        let text = self.git(host, &host.home.join(CLONE), arguments)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn git(&self, host: &Host, place: &Path, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        clean(&mut git, host, self.root());
        let output = git.arg("-C").arg(place).args(arguments).stdin(Stdio::null()).output().context("git")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        for host in self.hosts.iter_mut().chain([&mut self.hub]) {
            kill_group(host);
        }
        let swept = sweep(FIELD, self.directory.path());
        for host in self.hosts.iter_mut().chain([&mut self.hub]) {
            let _ = host.leader.take().map(|mut leader| leader.wait());
        }
        let removed = fs::remove_dir_all(self.directory.path());
        if let Err(error) = swept.and(removed.context("cannot remove the directory")) {
            eprintln!("five_mirrors: {}: {error:#}", self.directory.path().display());
        }
    }
}

/// This program, in another part.
fn part(host: &Host, root: &Path, name: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    clean(&mut command, host, root);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([root.join("bin")].into_iter().chain(std::env::split_paths(&path)))?;
    command.args([name, &std::process::id().to_string()]).current_dir(&host.home).env("PATH", path);
    command.env(PORT, host.port.to_string()).env(NODE, &host.name);
    Ok(command)
}

/// Removes a person's own settings for mirror and git.
fn clean(command: &mut Command, host: &Host, root: &Path) {
    let foreign =
        |name: &str| ["MIRROR_", "GIT_", "XDG_", "FIVE_MIRRORS_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    command.env("HOME", &host.home).env("GIT_CONFIG_NOSYSTEM", "1").env(HOME, &host.home).env(FIELD, root);
}

fn logged(command: &mut Command, host: &Host) -> Result<()> {
    let append = |name| File::options().create(true).append(true).open(host.home.join(name));
    command.stdin(Stdio::null()).stdout(append("log")?).stderr(append("errors")?);
    Ok(())
}

/// A free port that stays free until its host listens on it.
fn reserve_port() -> Result<(OwnedFd, u16)> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    // From here on, a host that asks for this port in the same way can bind it too.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, address.port()))
}

fn listening(host: &mut Host) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, host.port)).is_err() {
        let ended = host.leader.as_mut().map(Child::try_wait).transpose()?.flatten();
        if ended.is_some() || begun.elapsed() > PATIENCE {
            bail!("{} does not come up: {}", host.name, fs::read_to_string(host.home.join("errors"))?.trim());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Removes the locks that git left at the power loss. Nothing of this node runs, so no process owns them.
fn remove_stale_locks(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_stale_locks(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The leader has not been reaped, so its id cannot belong to another process.
fn kill_group(host: &Host) {
    if let Some(leader) = &host.leader {
        let _ = rustix::process::kill_process_group(Pid::from_child(leader), Signal::KILL);
    }
}

/// Kills every process whose environment marks it, until none is left.
fn sweep(name: &str, value: &Path) -> Result<()> {
    let mark = [name.as_bytes(), b"=", value.as_os_str().as_encoded_bytes()].concat();
    let begun = Instant::now();
    loop {
        let mut found = 0;
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            // Open the pidfd before reading, so that the process that is killed is the one that was read.
            let Ok(held) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
                found += 1;
                let _ = rustix::process::pidfd_send_signal(&held, Signal::KILL);
            }
        }
        if found == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("{found} processes are still there");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
