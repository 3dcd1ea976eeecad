//! The same questions under the confinement of the unit that runs the checks here.
//!
//! A person's login may do what the unit may not: read /home, call sudo, write to /tmp. So where systemd
//! runs, this program is run again as a transient unit with the properties of the real one, which is only
//! read.

use std::ffi::OsString;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::MemfdFlags;

use super::here::{self, Here};
use crate::clock::Deadline;
use crate::commands::Context;
use crate::exec::{Exec, Finished};

/// The unit, as it is shipped.
pub(super) const UNIT: &str = "mirror-check.service";
/// Is there exactly where systemd runs the machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// What confines a process (systemd.exec(5)). The runtime directory is left out: it would be removed
/// together with the transient unit.
const PROPERTIES: [&str; 43] = [
    "User",
    "Group",
    "SupplementaryGroups",
    "UMask",
    "Environment",
    "WorkingDirectory",
    "StateDirectory",
    "StateDirectoryMode",
    "ProtectSystem",
    "ProtectHome",
    "ProtectProc",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateUsers",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "IPAddressDeny",
    "IPAddressAllow",
];
/// Beyond this, the output is not an object of ours.
const MAX_OBJECT: u64 = 4 * 1024 * 1024;

/// Asks in the unit.
///
/// # Errors
/// Why that cannot be done here, for people.
pub(super) fn look(context: &Context, deadline: Deadline) -> Result<Here, String> {
    if !Path::new(BOOTED).exists() {
        return Err("no systemd runs here".to_owned());
    }
    let properties = properties(deadline)?;
    if !rustix::process::geteuid().is_root() {
        return Err("only root can run a transient unit".to_owned());
    }
    let output = rustix::fs::memfd_create("mirror", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut output = std::fs::File::from(output);
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--service-type=oneshot"]);
    command.arg(format!("--unit=mirror-chain-check-{}", std::process::id()));
    let within = deadline.left() / 2;
    let place = format!("StandardOutput=file:/proc/{}/fd/{}", std::process::id(), output.as_raw_fd());
    let own = [place, "StandardError=null".to_owned(), format!("TimeoutStartSec={}ms", deadline.left().as_millis())];
    for property in properties.iter().chain(&own) {
        command.arg("--property").arg(property);
    }
    command.arg("--").args(words(context)?);
    command.args(["--json", "chain", "check", "--here", "--confined", "--within"]);
    command.arg(format!("{}ms", within.as_millis()));
    // It ends in 1 where this program finds a problem, so only what was printed tells.
    let finished = Exec::new(command).run(deadline).map_err(|error| format!("systemd-run: {error}"))?;
    let mut text = Vec::new();
    let read = output.rewind().and_then(|()| output.take(MAX_OBJECT).read_to_end(&mut text));
    let object: Option<serde_json::Value> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    let here = object.and_then(|mut object| serde_json::from_value(object.get_mut("here")?.take()).ok());
    here.ok_or_else(|| format!("systemd-run: {}", here::why(&finished)))
}

/// How this program is called with the same node list for the same node.
fn words(context: &Context) -> Result<Vec<OsString>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let list = std::path::absolute(&context.config.file).map_err(|error| error.to_string())?;
    let mut words = vec![program.into(), "--config".into(), list.into()];
    if let Some(name) = &context.local_node {
        words.extend(["--self".into(), name.as_str().into()]);
    }
    Ok(words)
}

/// The confinement of the unit, as assignments.
fn properties(deadline: Deadline) -> Result<Vec<String>, String> {
    let mut command = Command::new("systemctl");
    command.args(["show", UNIT, "--property", "LoadState"]).args(["--property", &PROPERTIES.join(",")]);
    let shown = Exec::new(command).run(deadline).map_err(|error| format!("systemctl: {error}"))?;
    if !shown.success() {
        return Err(format!("systemctl: {}", here::why(&shown)));
    }
    assignments(&shown)
}

fn assignments(shown: &Finished) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(&shown.stdout);
    if !text.lines().any(|line| line == "LoadState=loaded") {
        return Err(format!("no {UNIT} is loaded here"));
    }
    let set = |line: &&str| line.split_once('=').is_some_and(|(key, value)| key != "LoadState" && !value.is_empty());
    Ok(text.lines().filter(set).map(str::to_owned).collect())
}
