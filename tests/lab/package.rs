//! The Debian package on hosts with a root tree of their own, set up by the recipe that mirror-security(7) prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::host::First;
use crate::lab::{Lab, NODES};
use crate::system::{System, address};
use crate::systemd;
use crate::tree::{Tree, difference, tree};

/// What the package is called.
const NAME: &str = "three-mirror";
/// Where it has the examples.
const EXAMPLES: &str = "/usr/share/doc/three-mirror/examples";
/// What the package is made of.
const SOURCES: [&str; 6] = ["src", "man", "examples", "completions", "Cargo.toml", "Cargo.lock"];
/// What the hosts have of the machine, and the Debian packages that have it.
const NEEDED: [(&str, &str); 8] = [
    ("/usr/bin/dpkg", "dpkg"),
    ("/lib/systemd/systemd", "systemd"),
    ("/usr/bin/systemd-sysusers", "systemd"),
    ("/usr/bin/dbus-daemon", "dbus"),
    ("/usr/lib/polkit-1/polkitd", "polkitd"),
    ("/usr/bin/sudo", "sudo"),
    ("/usr/share/openssh/sshd_config", "openssh-server"),
    ("/usr/lib/systemd/system/dbus.socket", "dbus"),
];

/// How the user `mirror` may start and stop the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// By the rule for polkit, as the recipe says.
    Polkit,
    /// By the line for sudo, as it says for hosts without polkit.
    Sudo,
}

fn words(said: &[u8]) -> String {
    String::from_utf8_lossy(said).into_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Why there can be no hosts with the package, if there cannot.
pub(crate) fn missing() -> Option<String> {
    if let Some((_, package)) = NEEDED.iter().find(|(program, _)| !Path::new(program).exists()) {
        return Some(format!("the machine has no {package}"));
    }
    if ["/var/lib/mirror", "/usr/bin/mirror"].iter().any(|place| Path::new(place).exists()) {
        return Some("mirror is installed on the machine".to_owned());
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.contains("overlay") {
        return Some("the kernel has no overlayfs".to_owned());
    }
    found().err().map(|error| format!("{error:#}"))
}

/// The package in target/debian, if it is as new as what it is made of.
fn found() -> Result<PathBuf> {
    let packages = fs::read_dir(root().join("target/debian")).into_iter().flatten().flatten().map(|entry| entry.path());
    let packages = packages.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let made = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = packages.max_by_key(made).context("there is none in target/debian: tests/package builds it")?;
    let changed = SOURCES.iter().map(|source| last_change(&root().join(source))).max().flatten();
    ensure!(made(&newest) >= changed, "the one in target/debian is older than its sources: tests/package builds it");
    Ok(newest)
}

fn last_change(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        return fs::read_dir(path).ok()?.flatten().filter_map(|entry| last_change(&entry.path())).max();
    }
    fs::metadata(path).ok()?.modified().ok()
}

/// The same package in a version that comes later, made from its own files.
pub(crate) fn newer(place: &Path) -> Result<PathBuf> {
    let (tree, package) = (place.join("tree"), place.join("newer.deb"));
    let run = |program: &mut Command| -> Result<()> {
        let output = program.output()?;
        ensure!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    run(Command::new("dpkg-deb").arg("-R").arg(found()?).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let fields: Vec<String> = fs::read_to_string(&control)?
        .lines()
        .map(|line| if line.starts_with("Version:") { format!("Version: {NEWER}") } else { line.to_owned() })
        .collect();
    fs::write(control, fields.join("\n") + "\n")?;
    run(Command::new("dpkg-deb").arg("-Znone").arg("-b").arg(&tree).arg(&package))?;
    fs::remove_dir_all(tree)?;
    Ok(package)
}

pub(crate) const NEWER: &str = "99.0-1";

/// Carries out something on all nodes at once.
fn on_all(act: impl Fn(&'static str) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let acting: Vec<_> = NODES
            .into_iter()
            .map(|node| {
                scope.spawn({
                    let act = &act;
                    move || act(node)
                })
            })
            .collect();
        acting.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("it broke off"))?)
    })
}

/// Installs a package on a host, or one of a later version.
pub(crate) fn dpkg(lab: &Lab, node: &str, package: &Path) -> Result<()> {
    let copy = lab.disk(node).join("package.deb");
    fs::copy(package, &copy)?;
    lab.must(node, "dpkg -i /run/disk/package.deb")?;
    fs::remove_file(copy).map_err(anyhow::Error::from)
}

/// Five hosts with the package and with all that the recipe says.
pub(crate) fn set_up(right: Right) -> Result<(Lab, BTreeMap<&'static str, Tree>)> {
    let lab = Lab::raise(System::Packaged)?;
    ensure!(lab.system.first() == First::SystemdInTree, "the hosts have no trees of their own");
    let mut trees = BTreeMap::new();
    for node in NODES {
        trees.insert(node, tree(&lab, node)?);
    }
    let package = found()?;
    on_all(|node| dpkg(&lab, node, &package))?;
    let recipe = Recipe::read(&lab)?;
    on_all(|node| {
        recipe.may(&lab, node, right)?;
        lab.must(node, &recipe.key[..2].join("\n")).map(|_| ())
    })?;
    on_all(|node| recipe.know_the_others(&lab, node))?;
    let list = node_list(&lab, right)?;
    on_all(|node| {
        fs::write(lab.disk(node).join("list"), &list)?;
        lab.must(node, "install -D -m 644 /run/disk/list /etc/mirror/mirror.toml").map(|_| ())
    })?;
    // As mirror-mesh(7) says; the first has nobody to breathe with yet.
    let breathe = |node: &str| lab.run(node, "runuser -u mirror -- mirror breathe --init");
    breathe(NODES[0])?;
    on_all(|node| wait_for(&format!("{node} does not breathe"), || Ok(breathe(node)?.status.success())))?;
    on_all(|node| lab.must(node, &recipe.in_examples(&recipe.units)).map(|_| ()))?;
    Ok((lab, trees))
}

/// The package's own example, with what the recipe says of it.
fn node_list(lab: &Lab, right: Right) -> Result<String> {
    let example = lab.must(NODES[0], &format!("cat {EXAMPLES}/five-mirrors.toml"))?;
    let mut list = "state = \"/var/lib/mirror\"\n".to_owned();
    for line in example.lines() {
        let key = line.split('=').next().unwrap_or("").trim();
        list += &match (key, right) {
            (node, _) if NODES.contains(&node) => format!("{node} = \"{}\"", address(node)),
            ("user", _) => "user = \"mirror\"".to_owned(),
            ("repo", _) => "repo = \"/var/lib/mirror/ACP_1\"".to_owned(),
            // The nodes breathe with each other alone.
            ("remote", _) => String::new(),
            ("start" | "stop", Right::Sudo) => format!("{key} = \"sudo -n systemctl {key} juno\""),
            _ => line.to_owned(),
        };
        list.push('\n');
    }
    Ok(list)
}

/// The commands of the recipe, as the page on the hosts has them.
struct Recipe {
    /// By polkit and by sudo.
    rights: [String; 2],
    key: Vec<String>,
    units: String,
    pub(crate) check: String,
}

impl Recipe {
    fn read(lab: &Lab) -> Result<Self> {
        let page = lab.must(NODES[0], "zcat /usr/share/man/man7/mirror-security.7.gz")?;
        let (_, recipe) = page.split_once(".SH A USER OF ITS OWN").context("there is no recipe")?;
        let recipe = recipe.split("\n.SH ").next().unwrap_or_default();
        let blocks: Vec<String> = recipe
            .split("\n.EX\n")
            .skip(1)
            .filter_map(|block| Some(block.split_once("\n.EE")?.0))
            .map(|block| block.replace("\\-", "-").replace("\\(dq", "\"").replace("\\e", "\\"))
            .collect();
        // The first makes the user, which the package has done.
        let [user, polkit, sudo, key, units, check] = blocks.as_slice() else {
            anyhow::bail!("the recipe has other steps: {blocks:#?}")
        };
        ensure!(user.contains("sysusers") && key.contains("ssh-keygen"), "the recipe has other steps: {blocks:#?}");
        let key: Vec<String> = key.lines().map(str::to_owned).collect();
        ensure!(key.len() == 4 && key[2].contains("OTHER.pub") && key[3].contains("192.0.2.2 192.0.2.3"), "{key:#?}");
        let rights = [polkit.clone(), sudo.clone()];
        Ok(Self { rights, key, units: units.clone(), check: check.clone() })
    }

    /// Its commands begin in the directory of the examples.
    fn in_examples(&self, commands: &str) -> String {
        format!("set -e; cd {EXAMPLES}\n{commands}")
    }

    /// The right to start and stop the service.
    fn may(&self, lab: &Lab, node: &str, right: Right) -> Result<()> {
        let [polkit, sudo] = &self.rights;
        let commands = if right == Right::Polkit { polkit } else { sudo };
        lab.must(node, &self.in_examples(commands)).map(|_| ())
    }

    /// The keys of the other nodes, and of their sshds.
    fn know_the_others(&self, lab: &Lab, node: &str) -> Result<()> {
        let others: Vec<&str> = NODES.into_iter().filter(|other| *other != node).collect();
        let mut commands = format!("set -e\n{}\n", self.key[0]);
        for other in &others {
            let key = lab.must(other, "cat /var/lib/mirror/.ssh/id_ed25519.pub")?;
            fs::write(lab.disk(node).join(format!("{other}.pub")), key)?;
            commands += &self.key[2].replace("OTHER.pub", &format!("/run/disk/{other}.pub"));
            commands.push('\n');
        }
        let addresses: Vec<String> = others.iter().map(|other| address(other)).collect();
        commands += &self.key[3].replace("192.0.2.2 192.0.2.3", &addresses.join(" "));
        lab.must(node, &commands).map(|_| ())
    }
}

/// What the recipe ends with: every node asks every other one.
pub(crate) fn check(lab: &Lab) -> Result<()> {
    let check = Recipe::read(lab)?.check;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let said = lab.run(NODES[0], &format!("{check} --within 60s"))?;
        if said.status.success() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{check}: {}{}", words(&said.stdout), words(&said.stderr));
    }
}

/// Has the journal of a host keep its quiet checks too.
pub(crate) fn keep_quiet_checks(lab: &Lab, node: &str) -> Result<()> {
    let place = "/etc/systemd/system/mirror-check.service.d";
    let drop_in = format!("mkdir -p {place} && printf '[Service]\\nLogLevelMax=debug\\n' >{place}/log.conf");
    lab.must(node, &format!("{drop_in} && systemctl daemon-reload")).map(|_| ())
}

/// Checks that `journalctl -p notice` shows on such a host that the service moved, and none of its quiet checks. The
/// check that moved it may not have ended.
pub(crate) fn notices_tell_of_a_move(lab: &Lab, node: &str) -> Result<()> {
    let is_move = |verdict: &String| verdict == "moved" || verdict == "started";
    let is_quiet = |verdict: &String| verdict == "not-brain" || verdict == "in-place";
    wait_for(&format!("the journal of {node} does not tell of a move and of quiet checks"), || {
        let shown = lab.must(node, "journalctl --no-pager --output cat --unit mirror-check --priority notice")?;
        let (notices, all) = (verdicts(&shown), verdicts(&systemd::journal(lab, node, "mirror-check")?));
        ensure!(!notices.iter().any(is_quiet), "quiet checks among the notices: {notices:?}");
        Ok(notices.iter().any(is_move) && all.iter().any(is_quiet))
    })
}

/// The verdicts of the objects among these lines.
fn verdicts(lines: &str) -> Vec<String> {
    let objects = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    objects.filter_map(|object| Some(object["verdict"].as_str()?.to_owned())).collect()
}

/// Upgrades a host while it checks, and waits until the new version has checked.
pub(crate) fn upgrade(lab: &Lab, node: &str, package: &Path) -> Result<()> {
    let state = |property: &str| lab.must(node, &format!("systemctl show --value -p {property} mirror-check.service"));
    wait_for(&format!("{node} does not check"), || Ok(state("ActiveState")?.trim() == "activating"))?;
    dpkg(lab, node, package)?;
    let version = lab.must(node, &format!("dpkg-query --show --showformat '${{Version}}' {NAME}"))?;
    ensure!(version == NEWER, "{node} has {version}");
    let beat = || lab.must(node, "stat --format %Y.%y /var/lib/mirror/beat.json");
    let first = beat()?;
    wait_for(&format!("{node} does not check after its upgrade"), || Ok(beat()? != first))
}

/// What is not the package's own and stays, as Debian has it: the records of dpkg, and the copies that are made by
/// whatever changes the lists of users. The user itself goes, as no file is left that could be of it.
const KEPT: [&str; 6] =
    ["/var/lib/dpkg/status-old", "/var/log/dpkg.log", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"];

/// Purges the package on a host; then its tree is as it was.
pub(crate) fn purge(lab: &Lab, node: &str, before: &Tree) -> Result<()> {
    lab.must(node, &format!("dpkg --purge {NAME}"))?;
    let left = difference(before, &tree(lab, node)?, &KEPT);
    ensure!(left.is_empty(), "{node}: {left:#?}");
    Ok(())
}

fn wait_for(what: &str, met: impl Fn() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !met()? {
        ensure!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
