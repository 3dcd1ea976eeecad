//! The demonstration, at a quicker pace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, command, left, place, until};

/// The demonstration as cargo builds it beside these tests.
fn demonstration() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let directory = tests.parent().and_then(Path::parent).unwrap();
    // As tests/run does before; without that it takes its time here.
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package makes some build scripts run anew.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CARGO_")) {
        if !["CARGO_HOME", "CARGO_NET_OFFLINE"].iter().any(|kept| name == *kept) {
            cargo.env_remove(name);
        }
    }
    let profile = if directory.ends_with("release") { "release" } else { "test" };
    cargo.args(["build", "--quiet", "--profile", profile, "--example", "five_mirrors", "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).arg("--target-dir").arg(directory.parent().unwrap());
    assert!(cargo.status().unwrap().success());
    directory.join("examples/five_mirrors")
}

fn started(place: &Path) -> Child {
    let out = File::create(place.join("out")).unwrap();
    let mut play = command(demonstration(), place);
    // Hostile on purpose: none of it may reach the nodes.
    play.env("MIRROR_SELF", "nobody").env("MIRROR_CONFIG", "/nowhere").env("GIT_DIR", "/nowhere");
    fs::create_dir(place.join("tmp")).unwrap();
    play.env("TMPDIR", place.join("tmp")).env("CHECK_INTERVAL", "0.5").env("SYNC_INTERVAL", "2");
    play.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap()
}

fn said(place: &Path) -> String {
    fs::read_to_string(place.join("out")).unwrap()
}

/// Nothing in the directory for temporary files, and no process.
fn nothing_is_left(place: &Path) {
    let files: Vec<_> = fs::read_dir(place.join("tmp")).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    assert!(left(place).is_empty(), "{:?}", left(place));
}

#[test]
fn five_mirrors_recover_each_time_and_leave_nothing() {
    let place = place();
    let status = started(place.path()).wait().unwrap();
    let said = said(place.path());
    assert!(status.success(), "{said}");
    let table = said.split_once("taken away").unwrap().1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .take(5)
        .map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    // The next of the chain takes over, unless its start is too slow on a busy machine.
    assert_eq!((rows[0][0], rows[4][0], rows[4][1]), ("amsterdam", "moscow, almaty, spb, novosibirsk", "amsterdam"));
    for pair in rows[..4].windows(2) {
        assert_eq!(pair[1][0], pair[0][1], "who took over falls next: {said}");
    }
    let mut living = vec!["amsterdam", "almaty", "spb", "novosibirsk", "moscow"];
    for row in &rows[..4] {
        living.retain(|node| *node != row[0]);
        let is_slow = living.contains(&row[1]) && said.contains(&format!("{} is passed over", living[0]));
        assert!(row[1] == living[0] || is_slow, "{said}");
    }
    assert_eq!(living.len(), 1, "{said}");
    for row in &rows {
        let seconds: f64 = row[2].strip_suffix(" s").unwrap().parse().unwrap();
        assert!(seconds > 0.0 && seconds < 10.0, "{said}");
        let (commits, _) = row[3].split_once(' ').unwrap();
        assert!(commits.parse::<u32>().unwrap() > 0 && commits == row[4], "{said}");
    }
    let kept = [
        "every recovery took under 10 s",
        "no commit was lost, with the origin and without it",
        "no two instances ever ran at once",
    ];
    for kept in kept {
        assert!(said.contains(&format!("  ok {kept}\n")), "{said}");
    }
    // Four of the five hear from the one that was left, and from each other, what they missed.
    let without_origin = said.split_once("the origin is gone for good").unwrap().1;
    assert!(without_origin.contains("breathed out"), "{said}");
    assert!(!said.contains('\x1b'), "colours or a progress display where there is no terminal: {said:?}");
    nothing_is_left(place.path());
}

#[test]
fn interrupted_it_leaves_nothing() {
    for (signal, words) in [(Signal::INT, "bot runs on amsterdam"), (Signal::TERM, "SIGKILL to all of amsterdam")] {
        let place = place();
        let mut play = started(place.path());
        until(words, PATIENCE, || said(place.path()).contains(words));
        assert!(!left(place.path()).is_empty());
        kill_process(Pid::from_child(&play), signal).unwrap();
        let status = play.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{}", said(place.path()));
        nothing_is_left(place.path());
    }
}

#[test]
fn killed_it_takes_its_nodes_along() {
    let place = place();
    let mut play = started(place.path());
    until("the bot to run", PATIENCE, || said(place.path()).contains("bot runs on amsterdam"));
    play.kill().unwrap();
    play.wait().unwrap();
    until("the nodes to be gone", PATIENCE, || left(place.path()).is_empty());
}
