//! What is on the hosts' disks before they boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

use crate::host::{First, Host};
use crate::lab::{NODES, ORIGIN, ORIGIN_NUMBER};
use crate::system::{LeaseClient, System};
use crate::systemd;
use crate::wire::Wire;

/// The key exchange of a cheap login, as cheap as one is where each host has processors of its own: the first of
/// OpenSSH 9's list costs a quarter of a second of processor time at each end, and here all ends share the same few.
const CHEAP_KEY_EXCHANGE: &str = "curve25519-sha256";

/// Whether the hosts that boot from now on have cheap logins.
pub(crate) static CHEAP_LOGINS: AtomicBool = AtomicBool::new(false);

/// Fills the disks: keys, the repository and its clones, and what the system needs.
pub(crate) fn furnish(lab: &Path, hosts: &[Host], system: &System) -> Result<()> {
    let bin = lab.join("shared/bin");
    fs::copy(std::env::current_exe()?, bin.join("lab"))?;
    // Another build can be measured with the same bench.
    let mirror = std::env::var_os("LAB_MIRROR").unwrap_or_else(|| env!("CARGO_BIN_EXE_mirror").into());
    // Where it comes out of a package there is no other one.
    if *system != System::Packaged {
        fs::copy(mirror, bin.join("mirror"))?;
    }
    script(&bin.join("service"), if system.lease().is_some() { HELD } else { SERVICE })?;
    let mut known = String::new();
    for host in hosts {
        fs::create_dir(&host.disk)?;
        mount(&host.disk, system.disk())?;
        for place in ["root/.ssh", "root/.sshd", "root/log", "var", "etc/new"] {
            fs::create_dir_all(host.disk.join(place))?;
        }
        fs::write(host.disk.join("etc/new/hostname"), format!("{}\n", host.name))?;
        let key = host.disk.join("root/.sshd/host_key");
        keygen(&key)?;
        known += &format!("{} {}", Wire::address(host.number), fs::read_to_string(key.with_extension("pub"))?);
    }
    let key = lab.join("key");
    keygen(&key)?;
    let (bare, seed) = (lab.join("hosts").join(ORIGIN).join("root/repo.git"), lab.join("seed"));
    shell(&format!(
        "git init -q --bare -b main '{bare}' && git clone -q '{bare}' '{seed}' 2>/dev/null && cd '{seed}' &&
         git -c user.name=lab -c user.email=lab@localhost commit -q --allow-empty -m seed && git push -q origin HEAD:main",
        bare = bare.display(),
        seed = seed.display(),
    ))?;
    if system.lease() == Some(LeaseClient::Git) {
        let lease_client = bare.with_file_name("lease.git");
        shell(&format!(
            "git init -q -b main --bare '{0}' && git -C '{0}' config core.logAllRefUpdates true",
            lease_client.display()
        ))?;
        script(&bin.join("git-receive-pack"), RECEIVE)?;
    }
    if hosts.iter().any(|host| host.first != First::Daemons) {
        systemd::furnish(&lab.join("shared/units"), *system == System::Packaged)?;
        script(&bin.join("juno"), "#!/bin/sh\nexec /run/lab/bin/lab --lab-beat\n")?;
    }
    // A tree of its own is as clean as after the installation of the machine.
    for host in hosts.iter().filter(|host| host.first != First::SystemdInTree) {
        let root = host.disk.join("root");
        fs::copy(&key, root.join(".ssh/id_ed25519"))?;
        fs::set_permissions(root.join(".ssh/id_ed25519"), fs::Permissions::from_mode(0o600))?;
        fs::copy(key.with_extension("pub"), root.join(".ssh/authorized_keys"))?;
        fs::write(root.join(".ssh/known_hosts"), &known)?;
        let mut sshd = SSHD.to_owned();
        if CHEAP_LOGINS.load(Ordering::Relaxed) {
            sshd += &format!("KexAlgorithms {CHEAP_KEY_EXCHANGE}\n");
        }
        fs::write(root.join(".sshd/config"), sshd)?;
        let identity = format!("[user]\nname = {0}\nemail = {0}@localhost\n", host.name);
        fs::write(root.join(".gitconfig"), identity)?;
        if !NODES.contains(&host.name) {
            system.furnish_member(host.name, host.number, &host.disk)?;
            continue;
        }
        let clone = root.join("ACP_1");
        let url = format!("ssh://root@{}/root/repo.git", Wire::address(ORIGIN_NUMBER));
        shell(&format!(
            "git clone -q '{}' '{clone}' && git -C '{clone}' remote set-url origin '{url}'",
            bare.display(),
            clone = clone.display(),
        ))?;
        system.furnish(host.name, host.number, &host.disk, &bin)?;
    }
    Ok(())
}

/// Start, stop and status of the service, for all systems alike. A start ends when the service runs,
/// and one follows another, as with a service manager. It fails where there is a file /root/no-start.
/// The beat itself makes sure that it runs but once.
const SERVICE: &str = r#"#!/bin/sh
runs() { read -r pid 2>/dev/null </run/bot.pid && kill -0 "$pid" 2>/dev/null; }
case $1 in
status)
    runs
    exit
    ;;
esac
exec 9>/run/bot.turn
flock 9
case $1 in
start)
    [ ! -e /root/no-start ] || exit 1
    runs && exit
    setsid /run/lab/bin/lab --lab-beat </dev/null >/dev/null 2>&1 9>&- &
    for _ in $(seq 500); do
        runs && exit
        sleep 0.002
    done
    exit 1
    ;;
stop)
    while runs; do
        kill -9 "$pid" 2>/dev/null
        sleep 0.002
    done
    ;;
esac
"#;

/// The same under a lease: it runs under `mirror hold`, as a service manager would run that. A stop
/// kills, in the end, what does not obey.
const HELD: &str = include_str!("held.sh");

/// Counts the pushes on the way to the real one, also those that change nothing.
const RECEIVE: &str = "#!/bin/sh
echo \"$*\" >>/root/log/pushes
exec /usr/bin/git-receive-pack \"$@\"
";

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

/// Mounts an empty file system.
pub(crate) fn mount(place: &Path, options: &str) -> Result<()> {
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
