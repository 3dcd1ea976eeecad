//! What the test binary is when it is started by a lab and not by a person: the first process of a
//! host, the service, or the reaper that tidies up after the lab.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::WaitOptions;

use crate::lab;
use crate::remains;
use crate::system;
use crate::truth;

/// The arguments under which the binary is one of these.
pub(crate) const INIT: &str = "--lab-init";
/// Behind a host's: it gets a root tree of its own.
pub(crate) const TREE: &str = "tree";
pub(crate) const BEAT: &str = "--lab-beat";
pub(crate) const REAPER: &str = "--lab-reaper";
/// Raises a lab, with systemd where that is said, says so, and waits to be killed.
pub(crate) const VICTIM: &str = "--lab-victim";

/// The pause between two beats.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(10);

/// Does what the arguments ask for, and never returns, when they are a lab's.
pub(crate) fn dispatch() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let done = match words.as_slice() {
        [INIT, directory, host] => init(Path::new(directory), host),
        [INIT, directory, host, group] => systemd(Path::new(directory), host, &[group]),
        [INIT, directory, host, group, TREE] => systemd(Path::new(directory), host, &[group, TREE]),
        [BEAT] => beat(),
        [REAPER, name] => reap(name),
        [VICTIM] => victim(system::FAST),
        [VICTIM, "systemd"] => victim(system::System::Bare),
        _ => return,
    };
    if let Err(error) = done {
        eprintln!("lab: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// Mounts what is a host's own.
fn mount(lab: &Path, host: &str) -> Result<()> {
    // /tmp last, since the lab's directory may be in it. The boot id is a new one with every boot.
    let script = r#"
        hostname "$2"
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/lab /run/disk /run/sshd
        mount --bind "$1/shared" /run/lab
        mount --bind "$1/hosts/$2" /run/disk
        mount --bind /run/disk/root /root
        mount --bind /run/disk/var /var/lib
        cat /proc/sys/kernel/random/uuid >/run/boot_id
        mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
        mount -t tmpfs -o mode=1777 tmpfs /tmp
    "#;
    let mounted = Command::new("sh").args(["-ec", script, "init"]).arg(lab).arg(host).status()?;
    if !mounted.success() {
        bail!("{host}: cannot mount what is its own");
    }
    std::env::set_current_dir("/root")?;
    Ok(())
}

/// The first process of a host that systemd runs: becomes systemd.
fn systemd(lab: &Path, host: &str, group: &[&str]) -> Result<()> {
    if group.contains(&TREE) {
        let moved = Command::new("sh").args(["-ec", include_str!("tree.sh"), "init"]).arg(lab).arg(host).status()?;
        ensure!(moved.success(), "{host}: there can be no root tree of its own");
        std::env::set_current_dir("/root")?;
    } else {
        mount(lab, host)?;
    }
    let error = Command::new("sh").args(["-ec", include_str!("systemd.sh"), "init"]).args(group).exec();
    Err(error).context("cannot start sh")
}

/// The first process of another host: starts its daemons, and buries its dead. When it dies, so does
/// everything on the host.
fn init(lab: &Path, host: &str) -> Result<()> {
    mount(lab, host)?;
    daemon("sshd", Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f", "/root/.sshd/config"]))?;
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", 22)).is_err() {
        if std::time::Instant::now() > until {
            bail!("{host}: its sshd does not answer");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if Path::new("/root/agent").exists() {
        daemon("agent", Command::new("sh").arg("/root/agent"))?;
    }
    File::create(format!("/run/lab/up/{host}"))?;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}

fn daemon(name: &str, command: &mut Command) -> Result<()> {
    std::fs::create_dir_all("/root/log")?;
    let log = OpenOptions::new().create(true).append(true).open(format!("/root/log/{name}"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(())
}

/// The service: notes its id, and says every 10 ms that it lives. Never twice on one host.
fn beat() -> Result<()> {
    let lock = File::create("/run/bot.lock")?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    std::fs::write("/run/bot.new", format!("{}\n", std::process::id()))?;
    std::fs::rename("/run/bot.new", "/run/bot.pid")?;
    let uname = rustix::system::uname();
    let node = uname.nodename().to_str()?.to_owned();
    // What of the state is there when it begins to work.
    let _ = std::fs::copy("/root/ACP_1/.git/refs/heads/main", "/root/log/first-beat");
    let begun = truth::now();
    let mut beats = OpenOptions::new().append(true).open("/run/lab/beats")?;
    let step = u64::try_from(BEAT_EVERY.as_nanos())?;
    let mut next = begun;
    loop {
        let now = truth::now();
        beats.write_all(truth::line(now, &node, std::process::id(), begun).as_bytes())?;
        next = (next + step).max(now.saturating_sub(step));
        std::thread::sleep(Duration::from_nanos(next.saturating_sub(truth::now())));
    }
}

/// Waits until the lab's process is gone, however it went, and removes what is left of the lab.
fn reap(name: &str) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    remains::remove(name);
    Ok(())
}

fn victim(system: system::System) -> Result<()> {
    let lab = lab::Lab::raise(system)?;
    println!("{}", lab.name());
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}
