//! Many services of one node in one trip.

use std::path::Path;
use std::time::{Duration, Instant};

use three_mirror::clock::Deadline;
use three_mirror::config::{self, Config};
use three_mirror::remote::{Cause, Remote};
use three_mirror::service::{Condition, ServiceCommand, ServiceResult, Verb, run_on_node};

use crate::support::processes::{pid_in, wait_until_gone};
use crate::support::{wait_for, write_program};

/// A node that is this machine, with these services: name, status, start and stop. `{dir}` in them is
/// the directory.
fn node_list(directory: &Path, remote: &str, services: &[(&str, &str, &str, &str)]) -> Config {
    let mut text = format!(
        "{remote}[nodes]\na = \"127.0.0.1\"\n[chains]\nbot = [\"a\"]\n[probe]\nmethod = \"exec\"\ncommand = \"true\"\n\
         timeout = \"10s\"\n"
    );
    for (name, status, start, stop) in services {
        text += &format!(
            "[services.{name}]\nchain = \"bot\"\nstatus = '''{status}'''\nstart = '''{start}'''\nstop = '''{stop}'''\n"
        );
    }
    let text = text.replace("{dir}", directory.to_str().unwrap());
    config::parse(Path::new("test.toml"), &text).unwrap().config
}

/// Carries out the verb for all services at once; each result with the time at which it was known.
fn run(config: &Config, local: bool, verb: Verb, wait: Duration) -> Vec<(Duration, ServiceResult)> {
    let (name, node) = config.node("a").unwrap();
    let remote = Remote::new(config, local.then_some(name));
    let (begun, deadline) = (Instant::now(), Deadline::after(wait));
    let mut commands = Vec::new();
    for (service_name, service) in &config.services {
        commands.push(ServiceCommand { service_name, service, verb, deadline });
    }
    let mut results: Vec<Option<(Duration, ServiceResult)>> = commands.iter().map(|_| None).collect();
    run_on_node(&remote, (name, node), &commands, &mut |index, result| {
        assert!(results[index].replace((begun.elapsed(), result)).is_none(), "each is reported once");
    });
    results.into_iter().map(Option::unwrap).collect()
}

const TEMPLATE: &str = "[remote]\ncommand = [\"sh\", \"-c\", \"{command}\"]\n";

#[test]
fn one_that_hangs_delays_no_other_and_is_ended() {
    let ways = [("", true), (TEMPLATE, false)];
    std::thread::scope(|scope| {
        let started = ways.map(|(remote, local)| scope.spawn(move || one_hangs(remote, local)));
        assert!(started.into_iter().all(|way| way.join().is_ok()));
    });
}

fn one_hangs(remote: &str, local: bool) {
    let directory = tempfile::tempdir().unwrap();
    let hangs = "echo $$ >{dir}/hangs; sleep 3600; true";
    let services = [
        ("hangs", "test -e {dir}/hung", hangs, "true"),
        ("quick", "test -e {dir}/quick", "touch {dir}/quick", "rm {dir}/quick"),
        ("slow", "test -e {dir}/slow", "(sleep 0.3; touch {dir}/slow) >/dev/null 2>&1 &", "true"),
        ("poor", "test -e {dir}/poor", "echo >&2; echo no room >&2; echo later >&2; exit 3", "true"),
        ("absent", "no-such-program status", "touch {dir}/absent", "true"),
        ("there", "true", "touch {dir}/started-again", "true"),
    ];
    let config = node_list(directory.path(), remote, &services);
    let wait = Duration::from_secs(20);
    let results = run(&config, local, Verb::Start, wait);
    let [hangs, quick, slow, poor, absent, there] = results.as_slice() else { panic!("{results:?}") };
    for (took, result) in [quick, slow, there] {
        assert_eq!(result.status.condition, Condition::Running, "{results:?}");
        assert!(*took < wait / 2, "{results:?}");
    }
    assert!(there.1.act.is_none() && !directory.path().join("started-again").exists());
    let Some(failed) = &poor.1.act else { panic!("{results:#?}") };
    assert_eq!((failed.cause, failed.detail.as_deref()), (Some(Cause::Exit), Some("exit status 3: no room")));
    assert_eq!((poor.1.status.condition, absent.1.status.condition), (Condition::Stopped, Condition::Unknown));
    assert_eq!(absent.1.status.cause, Some(Cause::ProgramMissing));
    assert!(absent.1.act.is_none() && !directory.path().join("absent").exists());
    // It was ended in time for its effect to be asked for.
    assert_eq!(hangs.1.act.as_ref().unwrap().cause, Some(Cause::Timeout));
    assert_eq!(hangs.1.status.condition, Condition::Stopped, "{results:?}");
    wait_until_gone(pid_in(&directory.path().join("hangs")));
}

#[test]
fn a_process_that_ends_while_all_are_listed_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Reading the file of a process that has just ended fails, as does reading this one.
    let unreadable = "#!/bin/sh\nfor word; do\n    shift\n    case $word in /proc/1/stat) set -- \"$@\" /proc/self/mem ;; esac\n    \
                      set -- \"$@\" \"$word\"\ndone\n";
    for (name, real) in [("sed", "/bin/sed"), ("cat", "/bin/cat")] {
        write_program(&path.join(name), &format!("{unreadable}exec {real} \"$@\"\n"));
    }
    let remote = format!(
        "[remote]\ncommand = [\"env\", \"PATH={}:{}\", \"sh\", \"-c\", \"{{command}}\"]\n",
        path.display(),
        std::env::var("PATH").unwrap()
    );
    let services = [("hangs", "false", "echo $$ >{dir}/hangs; sleep 3600; true", "true")];
    run(&node_list(path, &remote, &services), false, Verb::Start, Duration::from_secs(3));
    wait_until_gone(pid_in(&path.join("hangs")));
}

#[test]
fn more_services_than_an_argument_holds_take_several_trips() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..60).map(|index| format!("s{index}")).collect();
    let padding = "x".repeat(4000);
    let status = format!("test -e {{dir}}/run; : {padding}'");
    let rows: Vec<_> =
        names.iter().map(|name| (name.as_str(), status.trim_end_matches('\''), "true", "true")).collect();
    for (remote, local) in [("", true), (TEMPLATE, false)] {
        let config = node_list(directory.path(), remote, &rows);
        let results = run(&config, local, Verb::Status, Duration::from_secs(120));
        assert!(results.iter().all(|(_, result)| result.status.condition == Condition::Running));
    }
}

#[test]
fn a_stop_is_confirmed_by_the_status_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let services = [
        ("obeys", "test -e {dir}/obeys", "true", "(sleep 0.2; rm {dir}/obeys) >/dev/null 2>&1 &"),
        ("fails", "test -e {dir}/fails", "true", "rm {dir}/fails; exit 4"),
        ("stays", "true", "true", "true"),
    ];
    let config = node_list(directory.path(), "", &services);
    for file in ["obeys", "fails"] {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let results = run(&config, true, Verb::Stop, Duration::from_secs(8));
    let conditions: Vec<_> = results.iter().map(|(_, result)| result.status.condition).collect();
    assert_eq!(conditions, [Condition::Stopped, Condition::Stopped, Condition::Running], "{results:?}");
    let acts: Vec<_> = results.iter().map(|(_, result)| result.act.as_ref().unwrap().cause).collect();
    assert_eq!(acts, [None, Some(Cause::Exit), None]);
}

#[test]
fn no_timer_outlives_its_program() {
    let directory = tempfile::tempdir().unwrap();
    let config = node_list(directory.path(), "", &[("bot", "true", "true", "true")]);
    // Nothing else sleeps for so long.
    let seconds = 1_000_000 + u64::from(std::process::id());
    let deadline = Duration::from_secs(seconds);
    for _ in 0..100 {
        run(&config, true, Verb::Status, deadline);
    }
    let is_timer = |line: &Vec<u8>| {
        [seconds - 1, seconds].iter().any(|seconds| line.starts_with(format!("sleep\0{seconds}.").as_bytes()))
    };
    let lines = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
    };
    wait_for("the timers to be gone", || lines().all(|line| !is_timer(&line)).then_some(()));
}
