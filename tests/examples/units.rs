//! How far the units are confined, as systemd itself counts, and what goes with them.

use std::fs;
use std::path::Path;

use super::{command, example, place, skip, there_is};

/// The exposure of a unit, from 0 to 10, with these drop-ins.
fn exposure(unit: &str, drop_ins: &[&str]) -> f64 {
    let place = place();
    let copy = place.path().join(unit);
    let text = fs::read_to_string(example("systemd").join(unit)).unwrap();
    fs::write(&copy, text.replace("=mirror --", &format!("={} --", env!("CARGO_BIN_EXE_mirror")))).unwrap();
    let directory = place.path().join(format!("{unit}.d"));
    fs::create_dir(&directory).unwrap();
    for drop_in in drop_ins {
        fs::copy(example("drop-ins").join(drop_in), directory.join(drop_in)).unwrap();
    }
    let mut analyze = command("systemd-analyze", place.path());
    let output = analyze.args(["security", "--offline=true", "--no-pager"]).arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let line =
        said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{output:?}"));
    line.split_once("service: ").unwrap().1.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_units_are_confined() {
    // Before systemd 250 there is no --offline.
    if !there_is("systemd-analyze") || !knows_offline() {
        return skip("there is no systemd-analyze that reads units offline");
    }
    for (unit, drop_ins, most) in [
        ("mirror-check.service", &[][..], 2.5),
        ("mirror-breathe.service", &[], 2.5),
        ("mirror-drain.service", &[], 2.5),
        ("mirror-watchdog.service", &[], 2.5),
        ("mirror-notify.service", &[], 2.5),
        ("mirror-check.service", &["mirror-user.conf"], 1.5),
        ("mirror-breathe.service", &["mirror-user.conf"], 1.5),
        ("service-under-lease.service", &[], 4.5),
        ("mirror@.service", &["mirror-juno.conf"], 4.5),
    ] {
        let found = exposure(unit, drop_ins);
        assert!(found <= most, "{unit} {drop_ins:?}: {found}, at most {most}");
    }
}

fn knows_offline() -> bool {
    let help = std::process::Command::new("systemd-analyze").arg("--help").output().unwrap();
    String::from_utf8_lossy(&help.stdout).contains("--offline")
}

#[test]
fn the_template_is_the_single_unit() {
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(example("systemd").join(name)).unwrap();
        let counts = |line: &&str| !line.starts_with('#') && !line.is_empty() && !line.starts_with("Description=");
        text.lines().filter(counts).map(str::to_owned).collect()
    };
    let single = lines("service-under-lease.service").join("\n");
    let template = lines("mirror@.service").join("\n").replace("Environment=COMMAND=\n", "");
    let template = template.replace("hold %i -- $COMMAND", "hold bot -- /usr/local/bin/juno");
    assert_eq!(template.replace("mirror-%i", "juno-lease").replace("%i", "bot"), single);
}

#[test]
fn the_user_is_made_where_its_files_are() {
    if !there_is("systemd-sysusers") || !there_is("systemd-tmpfiles") {
        return skip("systemd-sysusers or systemd-tmpfiles is not installed");
    }
    let place = place();
    let root = place.path().join("root");
    fs::create_dir(&root).unwrap();
    let ran = |program: &str, file: &Path| {
        let mut command = command(program, place.path());
        if program.ends_with("tmpfiles") {
            command.arg("--create");
        }
        let output = command.arg(format!("--root={}", root.display())).arg(file).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::create_dir(root.join("etc")).unwrap();
    let (made, said) = ran("systemd-sysusers", &example("sysusers.d/mirror.conf"));
    assert!(made, "{said}");
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let line = users.lines().find(|line| line.starts_with("mirror:")).unwrap();
    assert!(line.ends_with(":/var/lib/mirror:/bin/sh"), "{line}");
    if rustix::process::geteuid().is_root() {
        let (made, said) = ran("systemd-tmpfiles", &example("tmpfiles.d/mirror.conf"));
        assert!(made, "{said}");
        use std::os::unix::fs::PermissionsExt;
        for directory in ["var/lib/mirror", "var/lib/mirror/.ssh"] {
            let mode = fs::metadata(root.join(directory)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{directory}");
        }
    }
}

#[test]
fn the_line_for_sudo_is_well_formed() {
    if !there_is("visudo") {
        return skip("visudo is not installed");
    }
    let place = place();
    let output = command("visudo", place.path()).arg("-cf").arg(example("sudoers.d/mirror")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
