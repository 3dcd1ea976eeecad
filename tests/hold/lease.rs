//! The lease is taken away, or cannot be read any more.

use std::process::Command;
use std::time::{Duration, Instant};

use three_mirror::lease::LeaseState;

use super::{Field, OBEDIENT, STUBBORN, gone, write};
use crate::support::wait_for;

#[test]
fn it_runs_on_while_the_lease_is_read() {
    let field = Field::new("600ms", "10s");
    let running = field.start(OBEDIENT);
    // Several times as long as a single read permits.
    std::thread::sleep(Duration::from_secs(3));
    assert!(super::lives(running.main));
    assert!(!field.path("term").exists());
}

#[test]
fn it_is_told_to_stop_at_once_when_another_node_holds_the_lease() {
    for (holder, state) in [("b", LeaseState::Granted), ("b", LeaseState::Claimed), ("a", LeaseState::Granted)] {
        let field = Field::new("90s", "30s");
        let running = field.start_with("200ms", OBEDIENT);
        write(&field.path("lease/bot"), holder, 2, state);
        let said = running.end();
        assert_eq!(said.status, 75, "{said:?}");
        assert_eq!(std::fs::read_to_string(field.path("term")).unwrap(), "term\n");
        assert!(said.took < Duration::from_secs(60), "{said:?}");
        let shown = field.shown();
        assert_eq!((shown["verdict"].as_str(), shown["killed"].as_bool()), (Some("lost"), Some(false)), "{shown}");
    }
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_its_descendants() {
    let field = Field::new("3s", "2s");
    let running = field.start(STUBBORN);
    let all = running.all();
    field.grant("b");
    assert_eq!(running.end().status, 75);
    gone(all);
    assert_eq!(field.shown()["killed"], true);
}

#[test]
fn a_stopped_command_gets_sigterm_too() {
    let field = Field::new("60s", "30s");
    let running = field.start_with("200ms", OBEDIENT);
    crate::support::processes::signal(running.main, rustix::process::Signal::STOP);
    field.grant("b");
    assert_eq!(running.end().status, 75);
    assert!(field.path("term").exists());
}

/// The time of the last beat that a command wrote.
fn last_beat(field: &Field) -> Duration {
    let beats = std::fs::read_to_string(field.path("beats")).unwrap();
    let last = beats.lines().rfind(|line| !line.is_empty()).unwrap().parse().unwrap();
    Duration::from_nanos(last)
}

fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

const BEATS: &str = "trap '' TERM; echo $$ >main; while :; do date +%s%N >>beats; sleep 0.01; done";

#[test]
fn it_is_dead_before_valid_and_grace_have_passed_since_the_arbiter_went() {
    let field = Field::new("1500ms", "4s");
    let running = field.start(BEATS);
    field.cut_off();
    let cut = now();
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    assert!(said.stderr.contains("unless the lease is read by then"), "{said:?}");
    let last = last_beat(&field);
    assert!(last < cut + Duration::from_millis(5500), "{last:?} {cut:?}");
    // It ran until its permit expired, and then got SIGTERM first.
    assert!(last > cut + Duration::from_millis(3000), "{last:?} {cut:?}");
}

#[test]
fn a_hanging_read_delays_no_stop() {
    let field = Field::new("1500ms", "4s");
    let running = field.start(BEATS);
    let lock = std::fs::File::create(field.path("lease/bot.lock")).unwrap();
    lock.lock().unwrap();
    let locked = now();
    assert_eq!(running.end().status, 75);
    let last = last_beat(&field);
    assert!(last < locked + Duration::from_millis(5500), "{last:?} {locked:?}");
}

#[test]
fn an_arbiter_that_returns_in_time_changes_nothing() {
    let field = Field::new("20s", "10s");
    let running = field.start_with("200ms", OBEDIENT);
    field.cut_off();
    std::thread::sleep(Duration::from_secs(2));
    field.bring_back();
    std::thread::sleep(Duration::from_secs(1));
    assert!(super::lives(running.main));
    crate::support::processes::signal(running.hold(), rustix::process::Signal::TERM);
    let said = running.end();
    assert_eq!(said.status, 9, "{said:?}");
    assert!(said.stderr.contains("may go on: the lease was read again"), "{said:?}");
}

fn git(field: &Field, words: &[&str]) -> String {
    let done = Command::new("git").args(words).current_dir(field.path("")).env("HOME", field.path("")).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Moves the lease into a git remote.
pub(super) fn into_git(field: &Field) {
    git(field, &["init", "--quiet", "--bare", "lease.git"]);
    let list = std::fs::read_to_string(field.network.config()).unwrap();
    let list = list.replace("store = \"file\", path = \"lease\"", "store = \"git\", remote = \"{dir}/lease.git\"");
    field.network.rewrite(&list);
    commit(field);
}

/// Copies the file register's content into the remote, as a commit.
fn commit(field: &Field) {
    let tree = git(field, &["-C", "lease.git", "hash-object", "-w", "-t", "tree", "/dev/null"]);
    let text = std::fs::read_to_string(field.path("lease/bot")).unwrap();
    let who = ["-c", "user.name=test", "-c", "user.email=test", "-C", "lease.git"];
    let id = git(field, &[&who[..], &["commit-tree", &tree, "-m", "lease", "-m", text.trim()]].concat());
    git(field, &["-C", "lease.git", "update-ref", "refs/mirror/bot", &id]);
}

#[test]
fn a_lease_in_a_git_remote_is_held_and_lost() {
    let field = Field::new("9s", "6s");
    into_git(&field);
    let running = field.start_with("300ms", OBEDIENT);
    std::thread::sleep(Duration::from_secs(2));
    assert!(super::lives(running.main));
    let begun = Instant::now();
    field.grant("b");
    commit(&field);
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    assert!(said.stderr.contains("b holds the lease, in epoch 2"), "{said:?}");
    assert!(field.path("term").exists() && begun.elapsed() < Duration::from_secs(60));
    wait_for("no git is left", || {
        let left = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ours = |pid: &String| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(field.path("lease.git").to_str().unwrap())
        };
        (!left.filter(|pid| pid.parse::<u32>().is_ok()).any(|pid| ours(&pid))).then_some(())
    });
}
