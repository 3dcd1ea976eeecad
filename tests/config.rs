//! Good and bad configurations: every bad one ends in status 2 with one line that says what is
//! wrong, where, and what to do.

use std::collections::BTreeSet;
use std::ffi::CString;
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
    assert!(first.starts_with("mirror: mirror.toml:1:8: \"nobody\" is not in [nodes]"), "{first}");
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
        ("directory", "directory: not a regular file; name a file that holds a node list with --config"),
        (
            "absent.toml",
            "absent.toml: No such file or directory (os error 2); name a file that can be read with --config",
        ),
        ("long.toml", "long.toml: longer than 1 MiB, so it is not a node list; name another file with --config"),
        ("latin.toml", "latin.toml:2:7: not UTF-8; save the file as UTF-8"),
        ("utf16.toml", "utf16.toml:1:1: not UTF-8; save the file as UTF-8"),
        ("empty.toml", "empty.toml:1:1: [nodes] is missing or empty; add a node: NAME = \"ADDRESS\""),
        ("two\nlines.toml", r"two\nlines.toml:1:2: key with no value, expected `=`; see mirror.toml(5)"),
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
    assert!(line.starts_with("mirror: mirror.toml: Permission denied"), "{line}");
}

#[test]
fn a_pipe_and_a_device_are_refused_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe.toml");
    let name = CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
    rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    std::os::unix::net::UnixListener::bind(directory.path().join("socket.toml")).expect("a socket");
    // Nobody writes into the pipe: a plain open would wait for ever.
    for (name, what) in [
        ("pipe.toml", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("/dev/tty", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("socket.toml", "No such device or address (os error 6)"),
    ] {
        let line = refused(&mirror(directory.path(), ["chain", "show", "--config", name]), name);
        // Without a terminal there is no /dev/tty to open.
        let told = line.starts_with(&format!("mirror: {name}: {what}; name a file")) || name == "/dev/tty";
        assert!(told, "{line}");
    }
}

const MINIMAL: &str = "nodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }\n";

#[test]
fn no_configuration_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    if Path::new("/etc/mirror/mirror.toml").exists() {
        eprintln!("skipped: there is /etc/mirror/mirror.toml");
        return;
    }
    // What somebody else put into the directory is not the node list.
    std::fs::write(directory.path().join("mirror.toml"), MINIMAL).expect("written");
    let show = || {
        let mut show = command(directory.path(), ["whois-brain"]);
        show.env_remove("MIRROR_CONFIG");
        show
    };
    let line = refused(&show().output().expect("runs").into(), "none");
    let home = directory.path().display();
    let looked = format!("{home}/.config/mirror/mirror.toml or /etc/mirror/mirror.toml");
    assert_eq!(line, format!("mirror: no configuration found; write one to {looked}, or name it with --config"));
    // Set to nothing is not set, and a relative path is none (XDG Base Directory Specification).
    let line = refused(
        &show().env("MIRROR_CONFIG", "").env("XDG_CONFIG_HOME", "xdg").output().expect("runs").into(),
        "set to nothing",
    );
    assert!(line.contains(&looked), "{line}");
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
    let show = || {
        let mut show = command(directory.path(), ["chain", "show"]);
        show.env_remove("MIRROR_CONFIG");
        show
    };
    write("mirror.toml", "here");
    write(".config/mirror/mirror.toml", "home");
    assert_eq!(shown(&mut show()), "home");
    write("xdg/mirror/mirror.toml", "xdg");
    assert_eq!(shown(show().env("XDG_CONFIG_HOME", directory.path().join("xdg"))), "xdg");
    write("named.toml", "named");
    assert_eq!(shown(show().env("MIRROR_CONFIG", "named.toml")), "named");
    assert_eq!(shown(show().env("MIRROR_CONFIG", "named.toml").args(["--config", "mirror.toml"])), "here");
    // One that is there and cannot be read is not passed over.
    std::fs::remove_file(directory.path().join("xdg/mirror/mirror.toml")).expect("removed");
    std::os::unix::fs::symlink("nowhere", directory.path().join("xdg/mirror/mirror.toml")).expect("linked");
    let ran = show().env("XDG_CONFIG_HOME", directory.path().join("xdg")).output().expect("runs").into();
    assert!(refused(&ran, "a dangling link").contains("No such file or directory"), "{ran:?}");
}

#[test]
fn only_what_root_and_this_user_can_have_written_is_a_node_list() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let set = |name: &str, mode: u32| {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).expect("set");
    };
    std::fs::create_dir(path("etc")).expect("made");
    std::fs::write(path("etc/mirror.toml"), MINIMAL).expect("written");
    std::os::unix::fs::symlink("etc/mirror.toml", path("link.toml")).expect("linked");
    std::os::unix::fs::symlink("../etc/../link.toml", path("etc/twice.toml")).expect("linked");
    let show = |name: &str| mirror(directory.path(), ["chain", "show", "--config", name]);
    let all = ["etc/mirror.toml", "link.toml", "etc/twice.toml", "etc/../link.toml"];
    for name in all {
        assert_eq!(show(name).status, 0, "{name}");
    }
    let (file, etc) = (path("etc/mirror.toml"), path("etc"));
    for (changed, mode) in [("etc/mirror.toml", 0o664), ("etc/mirror.toml", 0o646), ("etc", 0o775), ("etc", 0o757)] {
        let before = std::fs::metadata(path(changed)).expect("is there").permissions().mode() & 0o7777;
        set(changed, mode);
        for name in all {
            let line = refused(&show(name), name);
            let shown = if changed == "etc" { etc.display().to_string() } else { name.to_owned() };
            assert!(line.contains(&format!("mode {mode:04o}")), "{name}: {line}");
            assert!(line.ends_with(&format!("; chmod go-w {shown}")), "{name}: {line}");
        }
        set(changed, before);
    }
    // In a sticky directory nobody else can replace the file.
    set("etc", 0o1777);
    assert_eq!(show("etc/mirror.toml").status, 0);
    set("etc", 0o755);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give a file to somebody else");
        return;
    }
    let nobody = Some(65534);
    for changed in [&file, &etc, &path("link.toml")] {
        std::os::unix::fs::lchown(changed, nobody, None).expect("given away");
        let line = refused(&show("link.toml"), "of another");
        assert!(
            line.ends_with("belongs to the user 65534, and a node list is code that runs as you; chown it to root"),
            "{line}"
        );
        std::os::unix::fs::lchown(changed, Some(0), None).expect("taken back");
    }
    // The other user may read what is root's and what is his own, and nothing of a third.
    set("etc/mirror.toml", 0o644);
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    let as_nobody = || {
        let mut setpriv = std::process::Command::new("setpriv");
        setpriv.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            crate::support::program::MIRROR,
            "--config",
            "etc/mirror.toml",
        ]);
        setpriv.args(["--quiet", "chain", "show"]).current_dir(directory.path());
        Ran::from(setpriv.output().expect("runs"))
    };
    if as_nobody().status >= 126 {
        eprintln!("skipped: another user cannot run {}", crate::support::program::MIRROR);
        return;
    }
    assert_eq!(as_nobody().status, 0);
    std::os::unix::fs::chown(&file, nobody, None).expect("given away");
    assert_eq!(as_nobody().status, 0);
    std::os::unix::fs::chown(&file, Some(65533), None).expect("given away");
    assert!(refused(&as_nobody(), "of a third").ends_with("chown it to root or 65534"));
}

#[test]
fn what_an_editor_for_another_system_leaves_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let list = "nodes = { a = \"127.0.0.1\" }\nchains = { brain = [\"a\"] }\nprobe = { method = \"exec\", command = \"\"\"\n\
                true\n\"\"\" }\n[services.brain]\nstatus = \"test -e run\"\nstop = \"rm -f run\"\nstart = \"\"\"\ntouch run\n\"\"\"\n";
    std::fs::write(directory.path().join("mirror.toml"), list).expect("written");
    let digest = |directory: &Path| {
        let object: Value = serde_json::from_str(&mirror(directory, ["chain", "show"]).stdout).expect("JSON");
        object["digest"].clone()
    };
    let plain = digest(directory.path());
    let windows = format!("\u{feff}{}", list.replace('\n', "\r\n"));
    std::fs::write(directory.path().join("mirror.toml"), windows).expect("written");
    assert_eq!(digest(directory.path()), plain);
    let ran = mirror(directory.path(), ["promote", "--self", "a"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(directory.path().join("run").exists(), "{ran:?}");
}

#[test]
fn what_cannot_be_seen_in_a_command_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let names: Vec<(char, &str)> = vec![
        ('\r', "carriage return"),
        ('\u{a0}', "non-breaking space"),
        ('\u{202f}', "non-breaking space"),
        ('\u{feff}', "byte order mark"),
        ('\u{1b}', "escape"),
        ('\u{7f}', "control character"),
        ('\u{3000}', "foreign space"),
        ('\u{2028}', "foreign space"),
        ('\u{200b}', "invisible character"),
        ('\u{202e}', "invisible character"),
    ];
    for (c, what) in names {
        let escape = format!("\\u{:04X}", u32::from(c));
        for list in [
            format!("{MINIMAL}[services.brain]\nstatus = \"systemctl{escape}status x\"\n"),
            format!("{MINIMAL}probe = {{ method = \"exec\", command = \"ping {escape}{{address}}\" }}\n"),
            format!("{MINIMAL}remote = {{ command = [\"ssh{escape}\", \"{{command}}\"] }}\n"),
        ] {
            std::fs::write(directory.path().join("mirror.toml"), &list).expect("written");
            let line = refused(&mirror(directory.path(), ["chain", "check"]), &list);
            assert!(line.contains(&format!("U+{:04X} ({what})", u32::from(c))), "{line}");
        }
    }
    let list = format!(
        "{MINIMAL}[services.brain]\nstatus = \"echo 'Ünïcödé – “да”'\\n\\ttrue\"\nstart = \"true\"\nstop = \"true\"\n"
    );
    std::fs::write(directory.path().join("mirror.toml"), &list).expect("written");
    assert_eq!(mirror(directory.path(), ["chain", "check"]).status, 0);
}

/// A node list as an editor's validator sees it; none for what is not TOML.
fn as_json(path: &Path) -> Option<Value> {
    toml::from_str(&std::fs::read_to_string(path).expect("is read")).ok()
}

#[test]
fn the_schema_of_the_node_list_takes_what_mirror_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    let schema: Value =
        serde_json::from_str(&mirror(directory.path(), ["schema", "mirror.toml"]).stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples =
        std::fs::read_dir(root.join("examples")).expect("is there").map(|entry| entry.expect("is there").path());
    let examples = examples.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut taken = 0;
    for path in samples("good", "toml").into_iter().chain(examples) {
        let json = as_json(&path).expect("TOML");
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| format!("{error}")).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        taken += 1;
    }
    assert!(taken >= 10, "only {taken}");
    // What is wrong in kind, an editor can mark. What is wrong in meaning, `chain check` tells.
    let kinds = [
        "type-",
        "unknown-",
        "method-",
        "port-",
        "attempts-",
        "missing-",
        "name-",
        "expect-",
        "restarts-",
        "window-number",
    ];
    let mut refused = 0;
    for path in samples("bad", "toml") {
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        let Some(json) = as_json(&path).filter(|_| kinds.iter().any(|kind| name.starts_with(kind))) else { continue };
        // JSON Schema takes 22.0 for an integer.
        assert!(!validator.is_valid(&json) || name == "port-float", "{name} is taken");
        refused += 1;
    }
    assert!(refused >= 60, "only {refused}");
}
