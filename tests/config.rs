//! Good and bad configurations: every bad one ends in status 2 with one line that says what is
//! wrong, where, and what to do.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::program::{Ran, command, mirror};

/// A command for each part of the program that reads the configuration.
const COMMANDS: [&[&str]; 6] = [
    &["whois-brain"],
    &["chain", "show"],
    &["probe"],
    &["promote", "--dry-run"],
    &["breathe"],
    &["whois-brain", "--view", "/dev/null"],
];

fn samples(kind: &str, extension: &str) -> BTreeSet<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let files = std::fs::read_dir(directory).expect("is there").map(|entry| entry.expect("is there").path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn refused(ran: &Ran, context: &str) -> String {
    assert_eq!(ran.status, 2, "{context}: {ran:?}");
    assert_eq!(ran.stdout, "", "{context}");
    let lines: Vec<&str> = ran.stderr.split_inclusive('\n').collect();
    assert!(matches!(lines[..], [line] if line.ends_with('\n')), "{context}: not one line: {ran:?}");
    assert!(!lines[0].trim_end().contains(char::is_control), "{context}: {ran:?}");
    lines[0].trim_end().to_owned()
}

#[test]
fn every_bad_configuration_gets_the_message_that_stands_beside_it() {
    let bad = samples("bad", "toml");
    assert!(bad.len() >= 45, "only {} samples", bad.len());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut wrong = Vec::new();
    for path in &bad {
        let shown = path.strip_prefix(&directory).expect("within").to_str().expect("UTF-8");
        let expected = std::fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
        let ran = mirror(&directory, ["whois-brain", "--config", shown]);
        let line = refused(&ran, shown);
        let at = line.strip_prefix(&format!("mirror: {shown}:")).unwrap_or_else(|| panic!("no file: {line}"));
        let mut places = at.splitn(3, ':');
        let mut number = || places.next().and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0);
        assert!(number().is_some() && number().is_some(), "no line and column: {line}");
        assert!(line.contains("; "), "no remedy: {line}");
        if ran.stderr != expected {
            wrong.push(format!("{shown}\n  expected {expected}  found    {}", ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_message_is_left_without_its_configuration() {
    let names = |extension| -> BTreeSet<PathBuf> {
        samples("bad", extension).iter().map(|path| path.with_extension("")).collect()
    };
    assert_eq!(names("stderr"), names("toml"));
}

#[test]
fn every_command_refuses_alike() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    for name in ["syntax-json", "unknown-top-key", "chain-unknown-node", "service-without-stop", "duration-zero"] {
        let shown = format!("bad/{name}.toml");
        let expected = std::fs::read_to_string(directory.join("bad").join(name).with_extension("stderr"));
        for arguments in COMMANDS {
            let ran = mirror(&directory, [arguments, &["--config", &shown]].concat());
            refused(&ran, &format!("{arguments:?} {shown}"));
            assert_eq!(Some(&ran.stderr), expected.as_ref().ok());
        }
    }
}

#[test]
fn every_good_configuration_is_taken_as_it_is() {
    let good = samples("good", "toml");
    assert!(good.len() >= 5);
    let directory = tempfile::tempdir().expect("a directory");
    for path in good {
        let ran = mirror(directory.path(), ["chain", "show", "--config", path.to_str().expect("UTF-8")]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", path.display());
        let ran = mirror(directory.path(), ["chain", "check", "--config", path.to_str().expect("UTF-8")]);
        assert_eq!(ran.status, 0, "{}: {}", path.display(), ran.stdout);
    }
}

#[test]
fn chain_check_lists_every_problem_with_its_place() {
    let text = r#"self = "nobody"

[nodes]
a = "192.0.2.1"
b = "192.0.2.1"

[chains]
brain = ["a", "x", "b", "a"]
web = []

[cycle]
check = "0s"

[services.web]
status = "true"
timeout = "0s"
failback = "0s"

[services.bot]
status = "true"
start = "true"
stop = "true"
"#;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mirror.toml"), text).expect("written");
    let ran = mirror(directory.path(), ["chain", "check"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    let object: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(object["verdict"], "unsound");
    let number = |problem: &Value, key: &str| problem[key].as_u64().expect("a number");
    let found: Vec<(String, String, u64, u64)> = object["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|problem| problem["severity"] == "error")
        .map(|p| {
            let text = |key: &str| p[key].as_str().expect("text").to_owned();
            (text("code"), text("where"), number(p, "line"), number(p, "column"))
        })
        .collect();
    let expected = [
        ("unknown-node", "self", 1, 8),
        ("duplicate-address", "nodes.b", 5, 1),
        ("unknown-node", "chains.brain[1]", 8, 15),
        ("duplicate-node", "chains.brain[3]", 8, 25),
        ("empty-chain", "chains.web", 9, 7),
        ("unusable-duration", "cycle.check", 12, 9),
        ("missing-command", "services.web.start", 14, 11),
        ("missing-command", "services.web.stop", 14, 11),
        ("unusable-duration", "services.web.timeout", 16, 11),
        ("unusable-duration", "services.web.failback", 17, 12),
        ("unknown-chain", "services.bot.chain", 19, 11),
    ];
    let expected = expected.map(|(code, at, line, column)| (code.to_owned(), at.to_owned(), line, column));
    assert_eq!(found, expected);

    // Everybody else stops at the first.
    let first = refused(&mirror(directory.path(), ["chain", "show"]), "chain show");
    assert!(first.starts_with("mirror: ./mirror.toml:1:8: \"nobody\" is not in [nodes]"), "{first}");
}

#[test]
fn what_is_wrong_once_for_many_nodes_is_told_once() {
    let text = "[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\nc = \"192.0.2.3\"\n\n\
                [chains]\nbrain = [\"a\", \"b\", \"c\"]\n\n[probe]\ntimeout = \"0s\"\n\n\
                [services.brain]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n\
                health = { method = \"tcp\", timeout = \"0s\" }\n";
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mirror.toml"), text).expect("written");
    let object: Value = serde_json::from_str(&mirror(directory.path(), ["chain", "check"]).stdout).expect("JSON");
    let errors: Vec<&Value> =
        object["problems"].as_array().expect("a list").iter().filter(|p| p["severity"] == "error").collect();
    let places: Vec<&Value> = errors.iter().map(|error| &error["where"]).collect();
    assert_eq!(places, ["probe.timeout", "services.brain.health.timeout"]);
}

#[test]
fn files_that_are_no_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("directory")).expect("made");
    std::fs::write(path("long.toml"), vec![b'#'; 10 * 1024 * 1024]).expect("written");
    std::fs::write(path("latin.toml"), b"[nodes]\n\xc3\xa4 = 'M\xfcnchen'\n").expect("written");
    std::fs::write(path("utf16.toml"), b"\xff\xfe[\0n\0o\0d\0e\0s\0]\0\n\0").expect("written");
    std::fs::write(path("empty.toml"), b"").expect("written");
    std::fs::write(path("two\nlines.toml"), b"x").expect("written");
    for (name, expected) in [
        ("directory", "directory: Is a directory (os error 21); name a file that can be read with --config"),
        (
            "absent.toml",
            "absent.toml: No such file or directory (os error 2); name a file that can be read with --config",
        ),
        ("long.toml", "long.toml: longer than 1 MiB, so it is no node list; name another file with --config"),
        ("latin.toml", "latin.toml:2:7: not UTF-8; save the file as UTF-8"),
        ("utf16.toml", "utf16.toml:1:1: not UTF-8; save the file as UTF-8"),
        ("empty.toml", "empty.toml:1:1: [nodes] is missing or empty; add a node: NAME = \"ADDRESS\""),
        ("/dev/zero", "/dev/zero: longer than 1 MiB, so it is no node list; name another file with --config"),
        ("two\nlines.toml", r"two\nlines.toml:1:2: this is no line of TOML; write KEY = VALUE, or [TABLE]"),
    ] {
        for arguments in [&["whois-brain"][..], &["chain", "show"], &["chain", "check"]] {
            let ran = mirror(directory.path(), [arguments, &["--config", name]].concat());
            assert_eq!(refused(&ran, name), format!("mirror: {expected}"));
        }
    }
}

#[test]
fn a_file_without_permission() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read every file");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mirror.toml");
    std::fs::write(&path, "").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("set");
    let line = refused(&mirror(directory.path(), ["whois-brain"]), "mode 000");
    assert!(line.starts_with("mirror: ./mirror.toml: Permission denied"), "{line}");
}

#[test]
fn a_pipe_that_closes_is_read_to_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe.toml");
    let name = CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
    rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let through_pipe = |text: &'static str| {
        let path = path.clone();
        // Opening waits for the reader.
        let writer = std::thread::spawn(move || {
            std::fs::OpenOptions::new().write(true).open(path).expect("opens").write_all(text.as_bytes()).expect("goes")
        });
        let ran = mirror(directory.path(), ["chain", "show", "--config", "pipe.toml"]);
        writer.join().expect("ends");
        ran
    };
    let line = refused(&through_pipe(""), "closed at once");
    assert!(line.starts_with("mirror: pipe.toml:1:1: [nodes] is missing"), "{line}");
    let line = refused(&through_pipe("[nodes]\na = \"192.0."), "closed in the middle");
    assert!(line.starts_with("mirror: pipe.toml:2:12: the text has no end"), "{line}");
    assert_eq!(through_pipe("[nodes]\na = \"192.0.2.1\"\n[chains]\nbrain = [\"a\"]\n").status, 0);
}

#[test]
fn no_configuration_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    if Path::new("/etc/mirror/mirror.toml").exists() {
        eprintln!("skipped: there is /etc/mirror/mirror.toml");
        return;
    }
    let line = refused(&mirror(directory.path(), ["whois-brain"]), "none");
    let home = directory.path().display();
    let looked = format!("./mirror.toml or {home}/.config/mirror/mirror.toml or /etc/mirror/mirror.toml");
    assert_eq!(line, format!("mirror: no configuration found; write one to {looked}, or name it with --config"));
}

#[test]
fn the_configuration_is_looked_for_where_it_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = |name: &str| format!("[nodes]\n{name} = \"192.0.2.1\"\n[chains]\nbrain = [\"{name}\"]\n");
    let shown = |command: &mut std::process::Command| {
        let ran = Ran::from(command.output().expect("runs"));
        let object: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        object["nodes"][0]["node"].as_str().expect("a name").to_owned()
    };
    let write = |path: &str, name: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(path, text(name)).expect("written");
    };
    let show = || command(directory.path(), ["chain", "show"]);
    write(".config/mirror/mirror.toml", "home");
    assert_eq!(shown(&mut show()), "home");
    write("xdg/mirror/mirror.toml", "xdg");
    assert_eq!(shown(show().env("XDG_CONFIG_HOME", directory.path().join("xdg"))), "xdg");
    write("mirror.toml", "here");
    assert_eq!(shown(&mut show()), "here");
    write("named.toml", "named");
    assert_eq!(shown(show().env("MIRROR_CONFIG", "named.toml")), "named");
    assert_eq!(shown(show().env("MIRROR_CONFIG", "named.toml").args(["--config", "mirror.toml"])), "here");
}
