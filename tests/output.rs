//! What is written where, and under which name the binary is called.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::support::mirror::{MIRROR, Network, Started, run, run_into};
use crate::support::sockets::Port;

/// One living node `a` with a service that always runs.
fn network(port: &Port) -> Network {
    Network::new(&format!(
        "[nodes]\na = {{ address = \"127.0.0.1\", port = {} }}\n[chains]\nbrain = [\"a\"]\n\
         [remote]\ncommand = [\"sh\", \"-c\", \"{{command}}\"]\n[probe]\ntimeout = \"20s\"\n\
         [services.brain]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n",
        port.number()
    ))
}

const COMMANDS: [&str; 7] =
    ["probe", "whois-brain", "promote", "promote --dry-run", "chain show", "chain show --probe", "chain check"];

#[test]
fn every_object_begins_alike() {
    let port = Port::silent();
    let network = network(&port);
    for command in COMMANDS {
        let said = network.run(&format!("{command} --self a"));
        let object = said.json();
        assert_eq!(object["self"], "a", "{command}");
        let name = command.split(" --").next().unwrap().replace(' ', "-");
        assert_eq!(object["schema"], format!("mirror.{name}/1"));
        let at = object["at"].as_str().unwrap();
        assert!(at.len() == "2026-01-01T00:00:00.000Z".len() && at.ends_with('Z'), "{at}");
        assert!(object["reason"].as_str().unwrap().ends_with('.'), "{command}: {}", object["reason"]);
        assert!(object["elapsed_ms"].as_f64().unwrap() > 0.0);
        let keys = ["schema", "at", "self", "verdict", "reason", "elapsed_ms"];
        let places: Vec<_> = keys.map(|key| said.stdout.find(&format!("\"{key}\":")).unwrap()).into();
        assert!(places[0] == 1 && places.is_sorted(), "{}", said.stdout);
        assert_eq!(object.as_object().unwrap().keys().filter(|key| keys.contains(&key.as_str())).count(), 6);
    }
    // On a machine that is no node, nobody is self.
    assert_eq!(network.run("probe").json()["self"], serde_json::Value::Null);
}

#[test]
fn verbose_says_each_answer() {
    let port = Port::silent();
    let network = network(&port);
    for command in ["probe", "whois-brain", "promote --dry-run", "chain show --probe"] {
        let said = network.run(&format!("{command} -v"));
        assert!(said.stderr.lines().any(|line| line == "mirror: a: alive, answered"), "{command}: {}", said.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_told_in_one_line() {
    for arguments in [&["probe", "--nope"][..], &["nope"], &["schema"], &["completions", "csh"], &[], &["chain"]] {
        let output = std::process::Command::new(MIRROR).args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(stderr.starts_with("mirror: ") && stderr.matches('\n').count() == 1, "{arguments:?}: {stderr}");
    }
}

#[test]
fn without_git_a_breath_is_unknown_and_no_misuse() {
    let port = Port::silent();
    let network = network(&port);
    let repo = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(MIRROR)
        .args(["breathe", "--config"])
        .arg(network.config())
        .arg("--repo")
        .arg(repo.path())
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["verdict"], "failed", "{object}");
    assert!(object["reason"].as_str().unwrap().ends_with('.'), "not a sentence: {object}");
}

#[test]
fn quiet_says_nothing_but_the_status() {
    let mut port = Port::silent();
    let network = network(&port);
    for command in COMMANDS {
        let said = network.run(&format!("{command} --quiet"));
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""), "{command}");
    }
    for command in ["schema probe -q", "completions bash -q"] {
        let said = network.run(command);
        assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{command}");
    }
    port.refuse();
    assert_eq!(network.run("probe -q").status, 1);
    assert_eq!(network.run("whois-brain -q").status, 1);
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut port = Port::silent();
    let network = network(&port);
    let status = |command: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = run_into(network.mirror(command.split(' ')), Stdio::from(writer));
        assert_eq!(said.stderr, "", "{command}");
        said.status
    };
    for command in COMMANDS.into_iter().chain(["schema probe", "completions bash"]) {
        assert_eq!(status(command), 0, "{command}");
    }
    port.refuse();
    assert_eq!(status("probe"), 1, "the verdict stands");
}

#[test]
fn a_stdout_that_was_never_open_is_no_panic() {
    let port = Port::silent();
    let network = network(&port);
    for command in COMMANDS {
        let said = network.shell(&format!("exec \"$MIRROR\" {command} >&- 2>&- <&-"));
        assert!([0, 3].contains(&said.status), "{command}: {said:?}");
    }
}

#[test]
fn what_could_not_be_written_is_not_done() {
    let port = Port::silent();
    let network = network(&port);
    for command in COMMANDS.into_iter().chain(["schema probe", "completions bash"]) {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = run_into(network.mirror(command.split(' ')), Stdio::from(full));
        assert_eq!(said.status, 3, "{command}: {said:?}");
        assert!(!said.stderr.contains("panicked"), "{command}: {said:?}");
    }
}

#[test]
fn a_link_is_the_command_it_is_named_after() {
    let port = Port::silent();
    let network = network(&port);
    let links = [
        ("probe", "", "mirror.probe/1"),
        ("mirror-probe", "", "mirror.probe/1"),
        ("whois-brain", "", "mirror.whois-brain/1"),
        ("mirror-whois-brain", "", "mirror.whois-brain/1"),
        ("promote", "--dry-run", "mirror.promote/1"),
        ("chain", "show", "mirror.chain-show/1"),
        ("mirror-chain-check", "", "mirror.chain-check/1"),
    ];
    for (name, words, schema) in links {
        let link = network.path().join(name);
        symlink(MIRROR, &link).unwrap();
        let said = run(network.program(&link, words.split_whitespace()));
        assert_eq!(said.status, 0, "{name}: {said:?}");
        assert_eq!(said.json()["schema"], schema, "{name}");
    }
    // Any other name is `mirror` itself.
    let link = network.path().join("watchdog");
    symlink(MIRROR, &link).unwrap();
    assert_eq!(run(network.program(&link, ["probe"])).json()["schema"], "mirror.probe/1");
}

#[test]
fn a_wrong_command_line_is_misuse_and_help_is_not() {
    let port = Port::silent();
    let network = network(&port);
    for words in ["", "prob", "probe --no-such-option", "promote --to", "schema", "completions tcsh"] {
        let said = network.run(words);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{words}: {said:?}");
        assert_ne!(said.stderr, "", "{words}");
    }
    for words in ["--help", "-h", "probe --help", "--version"] {
        let said = network.run(words);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{words}: {said:?}");
    }
}

#[test]
fn a_signal_ends_all_that_was_started() {
    use crate::support::processes::{kill, lives, pid_in, signal, wait_until_gone};
    use rustix::process::Signal;

    let network = Network::new("");
    let file = network.path().join("pid");
    network.rewrite(&format!(
        "nodes.a = \"127.0.0.1\"\nchains.brain = [\"a\"]\n[probe]\nmethod = \"exec\"\ntimeout = \"1h\"\nattempts = 1\n\
         command = \"sleep 3600 & echo $! >{} ; wait; true\"\n",
        file.display()
    ));
    // A grandchild, which no parent-death signal reaches.
    for (number, how) in [(15, Signal::TERM), (2, Signal::INT), (1, Signal::HUP)] {
        let started = Started::new(network.mirror(["probe"]));
        let grandchild = pid_in(&file);
        signal(started.pid(), how);
        assert_eq!(started.end().status, 128 + number);
        wait_until_gone(grandchild);
        std::fs::remove_file(&file).unwrap();
    }
    // Whoever had it ignored, as nohup does, meant it.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" probe --config \"$1\"", MIRROR]).arg(network.config());
    let started = Started::new(command);
    let grandchild = pid_in(&file);
    signal(started.pid(), Signal::HUP);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(lives(grandchild));
    signal(started.pid(), Signal::TERM);
    assert_eq!(started.end().status, 128 + 15);
    if lives(grandchild) {
        kill(grandchild);
        panic!("it outlived TERM");
    }
}

#[test]
fn of_several_state_directories_the_first_is_used() {
    let port = Port::silent();
    let network = network(&port);
    let (first, second) = (network.path().join("first"), network.path().join("second"));
    let both = std::env::join_paths([&first, &second]).unwrap();
    let mut command = network.mirror(["promote"]);
    command.env("STATE_DIRECTORY", both);
    run(command).expect(0, "in-place");
    assert!(first.join("service-brain.lock").exists() && !second.exists());
}

/// The priority that the first line begins with.
fn priority(line: &str) -> &str {
    line.split_once('>').map_or("", |(priority, _)| priority)
}

#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let network = Network::new(
        "self = \"a\"\nnodes = { a = \"127.0.0.1\", b = \"127.0.0.2\" }\nchains = { brain = [\"a\"], bot = [\"a\"] }\n\
         probe = { method = \"exec\", command = \"true\", timeout = \"60s\" }\n\
         services.bot = { status = \"test -e {dir}/on\", start = \"touch {dir}/on\", stop = \"rm {dir}/on\" }\n",
    );
    // Started; in place; a start that fails.
    assert_eq!(priority(&network.run("promote --journal").stdout), "<5");
    assert_eq!(priority(&network.run("promote --journal").stdout), "<7");
    std::fs::remove_file(network.path().join("on")).unwrap();
    let list = std::fs::read_to_string(network.config()).unwrap();
    network.rewrite(&list.replace("touch", "false"));
    assert_eq!(priority(&network.run("promote --journal").stdout), "<3");
    // What is said on stderr.
    let said = network.run("promote --journal --to nobody");
    assert_eq!((said.status, priority(&said.stderr)), (2, "<3"), "{said:?}");
    // Without the option none, unless the stream is the journal's.
    assert_eq!(priority(&network.run("promote").stdout), "");
    let script = "exec >said; JOURNAL_STREAM=$(stat -Lc %d:%i said) \"$MIRROR\" promote; \
                  exec >other; JOURNAL_STREAM=1:1 \"$MIRROR\" promote";
    network.shell(script);
    assert_eq!(priority(&std::fs::read_to_string(network.path().join("said")).unwrap()), "<3");
    assert!(std::fs::read_to_string(network.path().join("other")).unwrap().starts_with('{'));
}

#[test]
fn a_loop_says_only_what_changes() {
    let network = Network::new(
        "self = \"a\"\nnodes = { a = \"127.0.0.1\", b = \"127.0.0.2\" }\nchains = { brain = [\"a\"], bot = [\"a\"] }\n\
         probe = { method = \"exec\", command = \"true\", timeout = \"60s\" }\n\
         services.bot = { status = \"test -e {dir}/on\", start = \"test ! -e {dir}/broken && touch {dir}/on\", \
         stop = \"rm {dir}/on\" }\n",
    );
    let script = r#"
        step() { "$MIRROR" promote --json --changes-only >>said; }
        step; step; step
        rm on; step; step
        rm on; touch broken; step; step; rm broken; step; step
    "#;
    network.shell(script);
    let said = std::fs::read_to_string(network.path().join("said")).unwrap();
    let verdicts: Vec<String> = said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["verdict"].as_str().unwrap().to_owned())
        .collect();
    // The first two quiet ticks say once that all is well; so does the tick after each change.
    let first = ["started", "in-place", "started", "failed"];
    assert_eq!(verdicts[..first.len()], first, "{verdicts:?}");
    assert!(verdicts.len() <= 7, "{verdicts:?}");
    // A new loop says where things stand.
    let anew = network.shell("\"$MIRROR\" promote --json --changes-only; \"$MIRROR\" promote --json --changes-only");
    assert_eq!(anew.stdout.lines().count(), 1, "{anew:?}");
    assert_eq!(anew.status, network.run("promote").status);
}
