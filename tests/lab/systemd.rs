//! Hosts whose first process is systemd, so that units run under the real thing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// What has to be there.
pub(crate) const PROGRAM: &str = "/lib/systemd/systemd";

/// What the distribution ships and every boot needs.
const SHIPPED: [&str; 24] = [
    "sysinit.target",
    "basic.target",
    "multi-user.target",
    "timers.target",
    "sockets.target",
    "paths.target",
    "slices.target",
    "network.target",
    "network-online.target",
    "network-pre.target",
    "local-fs.target",
    "local-fs-pre.target",
    "remote-fs.target",
    "swap.target",
    "umount.target",
    "shutdown.target",
    "final.target",
    "time-set.target",
    "time-sync.target",
    "emergency.target",
    "rescue.target",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
];

/// What lets others than root ask the service manager, where it is there.
const OF_POLKIT: [&str; 3] = ["dbus.socket", "dbus.service", "polkit.service"];

/// What each of these needs to have started, beside what it asks for itself.
const WANTS: [(&str, &str); 4] = [
    ("sysinit.target", "systemd-journald.service"),
    ("sockets.target", "systemd-journald.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
    ("multi-user.target", "lab-up.service"),
];

/// As Debian's, with the lab's configuration.
const SSH: &str = "[Unit]
Description=OpenBSD Secure Shell server
After=network.target
[Service]
ExecStart=/usr/sbin/sshd -D -f /root/.sshd/config
KillMode=process
Restart=on-failure
Type=notify
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
";

/// The configuration of the lab's sshd, and what it is where packages are installed: as openssh-server ships it.
const OF_THE_LAB: &str = "-f /root/.sshd/config";
const OF_DEBIAN: &str = "-f /usr/share/openssh/sshd_config -h /root/.sshd/host_key";

/// Tells the lab that the host is up.
const UP: &str = "[Unit]
Description=Tell the lab
Requires=ssh.service
After=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/bin/touch /run/lab/up/%H
";

/// What poweroff.target does first. The rest would be done to the machine.
const DOWN: &str = "[Unit]
Description=Stop all units
DefaultDependencies=no
Requires=shutdown.target
After=shutdown.target
";

/// The service, as the examples call it. It cannot start where there is a file /root/no-start.
const JUNO: &str = "[Unit]
Description=The service that is kept alive
[Service]
Type=exec
ExecStartPre=/usr/bin/test ! -e /root/no-start
ExecStart=/run/lab/bin/lab --lab-beat
";

/// Puts together the units that systemd finds on each host.
pub(crate) fn furnish(units: &Path, for_packages: bool) -> Result<()> {
    let all = Path::new("/usr/lib/systemd/system");
    fs::create_dir(units)?;
    for name in SHIPPED {
        fs::copy(all.join(name), units.join(name)).with_context(|| format!("there is no {name}"))?;
    }
    if for_packages {
        for name in OF_POLKIT {
            fs::copy(all.join(name), units.join(name)).with_context(|| format!("there is no {name}"))?;
        }
    }
    let ssh = if for_packages { SSH.replace(OF_THE_LAB, OF_DEBIAN) } else { SSH.to_owned() };
    let own =
        [("ssh.service", ssh.as_str()), ("lab-up.service", UP), ("lab-down.target", DOWN), ("juno.service", JUNO)];
    for (name, text) in own {
        fs::write(units.join(name), text)?;
    }
    let bus = for_packages.then_some(("sockets.target", OF_POLKIT[0]));
    for (target, wanted) in WANTS.into_iter().chain(bus) {
        let wants = units.join(format!("{target}.wants"));
        fs::create_dir_all(&wants)?;
        symlink(Path::new("..").join(wanted), wants.join(wanted))?;
    }
    Ok(())
}

/// Installs a unit on a host that is up, as an operator does.
pub(crate) fn install(lab: &Lab, host: &str, name: &str, text: &str) -> Result<()> {
    fs::write(lab.disk(host).join("etc/units").join(name), text)?;
    lab.must(host, "systemctl daemon-reload").map(|_| ())
}

/// Installs a unit and starts it; returns when it is started, which for one with `Type=notify` is
/// when it says so.
pub(crate) fn run_unit(lab: &Lab, host: &str, name: &str, text: &str) -> Result<()> {
    install(lab, host, name, text)?;
    lab.must(host, &format!("systemctl start {name}")).map(|_| ())
}

/// Has a node drained whenever it shuts down, as mirror-drain.service says.
pub(crate) fn drain_at_shutdown(lab: &Lab, host: &str) -> Result<()> {
    let drop_in = "/etc/systemd/system/mirror-drain.service.d";
    // While the machine shuts down, a plain stop would wait for this very unit.
    let past_the_queue = "s/systemctl stop/& --job-mode=ignore-dependencies/";
    lab.must(host, &format!("mkdir -p {drop_in} && printf '[Unit]\\nAfter=juno.service\\n' >{drop_in}/juno.conf"))?;
    lab.must(
        host,
        &format!("grep -q job-mode /etc/mirror/mirror.toml || sed -i '{past_the_queue}' /etc/mirror/mirror.toml"),
    )?;
    lab.must(host, "systemctl daemon-reload && systemctl enable --now mirror-drain.service").map(|_| ())
}

/// What the journal of a host holds of a unit.
pub(crate) fn journal(lab: &Lab, host: &str, unit: &str) -> Result<String> {
    lab.must(host, &format!("journalctl --no-pager --output cat --unit {unit}"))
}
