//! Node lists, units, the crontab and the script for a pipeline.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use super::{command, example, place, skip, there_is};

fn mirror(list: &str, arguments: &[&str]) -> (i32, Value) {
    let place = place();
    let output = command("mirror", place.path()).arg("--config").arg(example(list)).args(arguments).output().unwrap();
    let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), object)
}

#[test]
fn the_seed_survives_any_three() {
    let (status, object) = mirror("montana.toml", &["chain", "check"]);
    assert_eq!((status, &object["survives_any"]), (0, &Value::from(3)), "{object}");
    let (status, object) = mirror("montana.toml", &["chain", "check", "--survive", "4"]);
    assert_eq!((status, object["verdict"].as_str()), (1, Some("unsound")));
}

#[test]
fn the_seed_stands_as_it_was_written() {
    let (_, object) = mirror("montana.toml", &["chain", "show"]);
    assert_eq!(object["cycle"]["check_ms"], 5000, "{object}");
    assert_eq!(object["cycle"]["sync_ms"], 12000);
    let text = fs::read_to_string(example("montana.toml")).unwrap();
    let list = three_mirror::config::parse(Path::new("montana.toml"), &text).unwrap().config;
    let chain = |name| list.chain(name).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(chain("brain"), ["moscow", "almaty", "spb", "novosibirsk"]);
    assert_eq!(chain("bot"), ["amsterdam", "almaty", "spb", "novosibirsk"]);
    let addresses: Vec<String> = list.nodes.iter().map(|(name, node)| format!("{name} {}", node.address)).collect();
    assert_eq!(
        addresses,
        [
            "amsterdam 72.56.102.240",
            "moscow 176.124.208.93",
            "almaty 91.200.148.93",
            "spb 188.225.58.98",
            "novosibirsk 147.45.147.247"
        ]
    );
}

#[test]
fn five_mirrors_survive_any_four_within_the_budget() {
    let (status, object) = mirror("five-mirrors.toml", &["chain", "check", "--survive", "4"]);
    assert_eq!(
        (status, &object["survives_any"], &object["problems"]),
        (0, &Value::from(4), &Value::from(Vec::<Value>::new()))
    );
    assert_eq!(object["budget"]["within"], true, "{object}");
}

#[test]
fn the_last_of_five_mirrors_leads_both_chains() {
    let all = ["amsterdam", "moscow", "almaty", "spb", "novosibirsk"];
    for left in all {
        let down: Vec<&str> = all.into_iter().filter(|name| *name != left).collect();
        let (status, object) = mirror("five-mirrors.toml", &["chain", "show", "--down", &down.join(",")]);
        assert_eq!((status, object["brain"].as_str()), (0, Some(left)), "{object}");
        assert_eq!(object["services"][0]["target"], left);
    }
}

fn ci_check(arguments: &[&str]) -> Output {
    let place = place();
    command(example("ci-check.sh"), place.path()).args(arguments).output().unwrap()
}

#[test]
fn a_pipeline_gets_the_status_of_the_check() {
    let of = |list: &str| ci_check(&["--config", example(list).to_str().unwrap()]).status.code();
    assert_eq!(of("five-mirrors.toml"), Some(0));
    assert_eq!(of("montana.toml"), Some(1));
    assert_eq!(of("no-such-list.toml"), Some(2));
    let place = place();
    fs::remove_file(place.path().join("bin/mirror")).unwrap();
    let mut without = command("/bin/sh", place.path());
    let status = without.arg(example("ci-check.sh")).env("PATH", place.path().join("bin")).status().unwrap();
    assert_eq!(status.code(), Some(127));
}

#[test]
fn scripts_pass_shellcheck() {
    if !there_is("shellcheck") {
        return skip("shellcheck is not installed");
    }
    let place = place();
    let output = command("shellcheck", place.path())
        .args(["watchdog.sh", "tick.sh"].map(example))
        .arg(example("ci-check.sh"))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the lines of the crontab run: the active ones, and those that are offered in a comment.
fn cron_commands() -> Vec<String> {
    let text = fs::read_to_string(example("cron/mirror")).unwrap();
    let commands = text.lines().filter_map(|line| line.trim_start_matches("# ").strip_prefix("* * * * * root "));
    commands.map(str::to_owned).collect()
}

#[test]
fn the_crontab_runs_steps_that_answer() {
    let text = fs::read_to_string(example("cron/mirror")).unwrap();
    for line in text.lines() {
        let known =
            ["#", "SHELL=/bin/sh", "PATH=/", "* * * * * root mirror "].iter().any(|start| line.starts_with(start));
        // cron ends a command at a %, and ignores a last line without a newline.
        assert!(line.is_empty() || known && !line.contains('%'), "{line}");
    }
    assert!(text.ends_with('\n'));
    let commands = cron_commands();
    assert_eq!(commands.len(), 3, "{commands:?}");
    let place = place();
    for command_line in &commands {
        let parsed = command("sh", place.path()).args(["-n", "-c", command_line]).status().unwrap();
        assert!(parsed.success(), "{command_line}");
    }
    // Without the way into the system's log, which is none of ours here.
    fs::write(place.path().join("mirror.toml"), "nodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }\n")
        .unwrap();
    for (command_line, words) in commands.iter().zip(["no service to promote", "not a git repository"]) {
        let (step, log) = command_line.split_once(" | ").unwrap();
        assert!(log.starts_with("logger -t mirror"), "{log}");
        let mut shell = command("sh", place.path());
        let output = shell.args(["-c", step]).env("MIRROR_CONFIG", "mirror.toml").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(words), "{step}: {output:?}");
    }
}

#[test]
fn systemd_takes_the_units() {
    if !there_is("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    let place = place();
    let mut units = Vec::new();
    for entry in fs::read_dir(example("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // It has to be there for the check; where it is, is the one thing that is changed.
        let copy = place.path().join(path.file_name().unwrap());
        fs::write(&copy, text.replace("=mirror --", &format!("={} --", env!("CARGO_BIN_EXE_mirror")))).unwrap();
        units.push(copy);
    }
    assert_eq!(units.len(), 10, "{units:?}");
    let output = command("systemd-analyze", place.path()).args(["--man=no", "verify"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Words about other units are no concern of ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("mirror") || line.contains("under-lease")).collect();
    assert!(ours.is_empty() && output.status.success(), "{said}");
}

#[test]
fn the_unit_under_a_lease_fits_the_lease() {
    let text = fs::read_to_string(example("systemd/service-under-lease.service")).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let span = |key: &str| -> Duration { value(key).parse::<humantime::Duration>().unwrap().into() };
    // What it says in its comments are the defaults.
    let list = "nodes = { a = \"192.0.2.1\" }\nchains = { bot = [\"a\"] }\n\
                lease = { store = \"file\", path = \"/lease\" }\n\
                services.bot = { status = \"true\", start = \"true\", stop = \"true\" }\n";
    let list = three_mirror::config::parse(Path::new("mirror.toml"), list).unwrap().config;
    let lease = list.services[0].lease.unwrap();
    assert!(span("WatchdogSec") > lease.valid && span("WatchdogSec") < lease.valid + lease.grace);
    assert!(span("TimeoutStopSec") > lease.grace && span("TimeoutStartSec") > lease.valid);
    for key in ["ExecCondition", "ExecStart"] {
        let words: Vec<String> = value(key).split_whitespace().map(str::to_owned).collect();
        let parsed = <three_mirror::cli::Cli as clap::Parser>::try_parse_from(words);
        assert!(parsed.is_ok(), "{key}: {parsed:?}");
    }
}

#[test]
fn the_timers_keep_the_cycle_of_the_node_list() {
    let text = fs::read_to_string(example("five-mirrors.toml")).unwrap();
    let list = three_mirror::config::parse(Path::new("five-mirrors.toml"), &text).unwrap().config;
    let timer = |name: &str, key: &str| -> Duration {
        let text = fs::read_to_string(example("systemd").join(name)).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned));
        value.unwrap().parse::<humantime::Duration>().unwrap().into()
    };
    // From the end of a check that waited for dead nodes to the start of the next one.
    let check = timer("mirror-check.timer", "OnUnitInactiveSec") + timer("mirror-check.timer", "AccuracySec");
    assert!(check + list.probe_timeout <= list.cycle.check);
    assert_eq!(timer("mirror-breathe.timer", "OnUnitInactiveSec"), list.cycle.sync);
}
