//! The Debian package as its metadata describes it, put together and installed into a directory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{place, skip, there_is};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest() -> toml::Table {
    fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap()
}

/// A file of the package: what it is, where it goes, and its mode.
struct Asset {
    source: PathBuf,
    target: String,
    mode: u32,
}

/// What `*` in the last part of a source stands for. The program is the one under test, the links are made.
fn sources(pattern: &str, links: &Path) -> Vec<PathBuf> {
    if pattern == "target/release/mirror" {
        return vec![env!("CARGO_BIN_EXE_mirror").into()];
    }
    let (directory, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let directory = if directory == "target/package/links" { links.to_owned() } else { root().join(directory) };
    let Some((before, after)) = name.split_once('*') else { return vec![directory.join(name)] };
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(before) && name.ends_with(after) && !path.is_dir()
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(fits).collect();
    found.sort();
    found
}

fn assets(links: &Path) -> Vec<Asset> {
    let manifest = manifest();
    let listed = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut assets = Vec::new();
    for asset in listed {
        let part = |index: usize| asset[index].as_str().unwrap();
        let found = sources(part(0), links);
        assert!(!found.is_empty(), "{} is nothing", part(0));
        for source in found {
            let name = source.file_name().unwrap().to_str().unwrap();
            let target = if part(1).ends_with('/') { format!("{}{name}", part(1)) } else { part(1).to_owned() };
            assets.push(Asset { source, target, mode: u32::from_str_radix(part(2), 8).unwrap() });
        }
    }
    assets
}

fn make_links(directory: &Path) -> PathBuf {
    let links = directory.join("links");
    let made = Command::new("sh").arg(root().join("tests/package")).arg("links").arg(&links).status().unwrap();
    assert!(made.success());
    links
}

#[test]
fn its_files_lie_where_debian_looks_for_them() {
    let place = place();
    let assets = assets(&make_links(place.path()));
    let targets: BTreeSet<&str> = assets.iter().map(|asset| asset.target.as_str()).collect();
    assert_eq!(targets.len(), assets.len(), "two files go to one place");
    for target in [
        "usr/bin/mirror",
        "usr/bin/mirror-promote",
        "usr/bin/mirror-chain-check",
        "usr/share/man/man1/mirror-gate.1",
        "usr/share/man/man5/mirror.toml.5",
        "usr/share/man/man7/mirror-security.7",
        "usr/share/bash-completion/completions/mirror",
        "usr/share/fish/vendor_completions.d/mirror.fish",
        "usr/share/zsh/vendor-completions/_mirror",
        "usr/lib/systemd/system/mirror-check.timer",
        "usr/lib/systemd/system/mirror-breathe.service",
        "usr/lib/systemd/system/mirror@.service",
        "usr/lib/sysusers.d/mirror.conf",
        "usr/lib/tmpfiles.d/mirror.conf",
        "usr/share/mirror/mirror.schema.json",
        "usr/share/doc/three-mirror/examples/five-mirrors.toml",
        "usr/share/doc/three-mirror/examples/polkit-1/50-mirror.rules",
    ] {
        assert!(targets.contains(target), "{target} is missing: {targets:?}");
    }
    assert!(!targets.iter().any(|target| target.starts_with("etc/")), "nothing is active: {targets:?}");
    // Every page, and nothing that is only installed by one of the two kinds of packages.
    for page in fs::read_dir(root().join("man")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let section = name.rsplit('.').next().unwrap();
        assert!(targets.contains(format!("usr/share/man/man{section}/{name}").as_str()), "{name}");
    }
    let manifest = manifest();
    let rpm = manifest["package"]["metadata"]["generate-rpm"]["assets"].as_array().unwrap();
    let rpm: BTreeSet<&str> = rpm.iter().map(|asset| asset["source"].as_str().unwrap()).collect();
    let deb = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let deb: BTreeSet<&str> = deb.iter().map(|asset| asset[0].as_str().unwrap()).collect();
    assert_eq!(
        deb.difference(&rpm).copied().collect::<Vec<_>>(),
        ["examples/debian/lintian-overrides", "target/package/links/*"]
    );
    assert!(rpm.is_subset(&deb));
}

/// Builds the package in this version.
fn build(place: &Path, version: &str) -> PathBuf {
    let tree = place.join(version);
    for Asset { source, target, mode } in assets(&make_links(place)) {
        let target = tree.join(target);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if let Ok(to) = fs::read_link(&source) {
            symlink(to, target).unwrap();
        } else {
            fs::copy(source, &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let control = tree.join("DEBIAN");
    fs::create_dir(&control).unwrap();
    let fields = format!(
        "Package: three-mirror\nVersion: {version}\nArchitecture: all\nMaintainer: test <test@example.org>\n\
         Description: test\n"
    );
    fs::write(control.join("control"), fields).unwrap();
    for script in fs::read_dir(root().join("examples/debian")).unwrap() {
        let script = script.unwrap().path();
        let copy = control.join(script.file_name().unwrap());
        fs::copy(script, &copy).unwrap();
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let package = place.join(format!("{version}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&package);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::remove_dir_all(tree).unwrap();
    package
}

/// `dpkg` on a system that is a directory; the scripts of the package act on that directory.
fn dpkg(system: &Path, arguments: &[&str]) {
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", system.display()));
    dpkg.args(["--force-script-chrootless", "--force-depends", "--force-not-root"]).args(arguments);
    let output = dpkg.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Everything below a directory that is called after mirror.
fn remains(system: &Path) -> Vec<String> {
    let find = Command::new("find").arg(system).args(["-name", "*mirror*"]).output().unwrap();
    String::from_utf8(find.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn it_is_installed_upgraded_and_purged() {
    if !there_is("dpkg") || !there_is("systemd-sysusers") || !rustix::process::geteuid().is_root() {
        return skip("only root can install a package, by dpkg and with systemd-sysusers");
    }
    let place = place();
    let system = place.path().join("system");
    for directory in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log"] {
        fs::create_dir_all(system.join(directory)).unwrap();
    }
    fs::write(system.join("var/lib/dpkg/status"), "").unwrap();
    let install = |version: &str| dpkg(&system, &["--install", build(place.path(), version).to_str().unwrap()]);
    install("1.0");
    let version = Command::new(system.join("usr/bin/mirror-probe")).arg("--version").output().unwrap();
    assert!(version.status.success(), "{version:?}");
    let users = fs::read_to_string(system.join("etc/passwd")).unwrap();
    assert!(users.contains("mirror:"), "{users}");
    let home = system.join("var/lib/mirror");
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    // The state, the keys and the list outlast an upgrade.
    fs::write(home.join("beat.json"), "{}").unwrap();
    fs::create_dir(system.join("etc/mirror")).unwrap();
    fs::write(system.join("etc/mirror/mirror.toml"), "").unwrap();
    install("2.0");
    assert!(home.join("beat.json").is_file() && system.join("etc/mirror/mirror.toml").is_file());
    dpkg(&system, &["--remove", "three-mirror"]);
    assert!(home.join("beat.json").is_file() && !system.join("usr/bin/mirror").exists());
    dpkg(&system, &["--purge", "three-mirror"]);
    assert_eq!(remains(&system), [""; 0]);
    let users = fs::read_to_string(system.join("etc/passwd")).unwrap();
    assert!(!users.contains("mirror:"), "{users}");
}
