//! Whether there can be a lab here, and how nothing remains of one.
//!
//! Everything that a lab makes bears its name: a directory, a control group, namespaces. So a
//! later process that knows the name can remove it all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::wire;

/// What names of directories and control groups begin with; those of namespaces are shorter.
pub(crate) const MARK: &str = "mirror-lab";

/// What a lab is made with.
const PROGRAMS: [&str; 12] =
    ["ip", "tc", "nft", "bridge", "unshare", "nsenter", "setsid", "sshd", "ssh", "ssh-keygen", "git", "stress-ng"];

/// Why there can be no lab here, if there cannot.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    if groups().is_none() {
        return Some("it needs a mounted cgroup2".to_owned());
    }
    let absent: Vec<&str> = PROGRAMS
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
pub(crate) fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut words| {
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// A lab's directory.
pub(crate) fn directory(name: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/{name}"))
}

/// The prefix of the namespaces of the lab `mirror-lab.PID.COUNT`.
pub(crate) fn prefix(name: &str) -> String {
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
        remove_groups(&group);
    }
    wire::remove_all(&prefix(name));
    let directory = directory(name);
    for host in fs::read_dir(directory.join("hosts")).into_iter().flatten().flatten() {
        unmount(&host.path());
    }
    unmount(&directory);
    let _ = fs::remove_dir(&directory);
}

/// Removes a control group without processes, and those in it.
pub(crate) fn remove_groups(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&inner.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// A control group as it is named from the root of them all.
pub(crate) fn below_the_root(group: &Path) -> Result<PathBuf> {
    Ok(group.strip_prefix(groups().context("cgroup2 is not mounted")?)?.to_owned())
}

/// The processor time that the processes of a control group have used so far, the dead ones included.
pub(crate) fn cpu(group: &Path) -> Result<Duration> {
    let text = fs::read_to_string(group.join("cpu.stat"))?;
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(used.context("cpu.stat lacks usage_usec")?.trim().parse()?))
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
pub(crate) fn remove_stale() {
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
