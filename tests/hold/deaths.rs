//! Whichever process is killed or frozen, nothing of the command runs longer than it may.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{Field, OBEDIENT, STUBBORN, gone};
use crate::support::processes::{descendants, kill, lives, signal, wait_until_gone};
use crate::support::wait_for;

#[test]
fn killing_hold_leaves_nothing_running() {
    let field = Field::new("600s", "300s");
    let running = field.start(STUBBORN);
    let (all, supervisor) = (running.all(), running.supervisor);
    kill(running.hold());
    assert_eq!(running.end().status, 137);
    gone(all);
    wait_until_gone(supervisor);
    // The lock is free again.
    assert_eq!(field.hold("exit 0").status, 0);
}

#[test]
fn killing_the_supervisor_leaves_nothing_running() {
    let field = Field::new("600s", "300s");
    let running = field.start(STUBBORN);
    let all = running.all();
    kill(running.supervisor);
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    assert!(said.stderr.contains("its supervisor was killed"), "{said:?}");
    gone(all);
}

#[test]
fn killing_both_at_once_kills_the_command_and_its_descendants() {
    let field = Field::new("600s", "300s");
    let running = field.start(STUBBORN);
    let all = running.all();
    // Stopped first, so that neither notices the other's death.
    for pid in [running.hold(), running.supervisor] {
        signal(pid, Signal::STOP);
    }
    kill(running.hold());
    kill(running.supervisor);
    gone(all);
}

/// Like a command that changes its user, this one has no parent-death signal any more.
fn without_death_signal(field: &Field) -> super::Running<'_> {
    std::fs::write(field.path("stubborn.sh"), STUBBORN).unwrap();
    field.start("exec setpriv --pdeathsig clear sh stubborn.sh")
}

#[test]
fn a_command_without_a_death_signal_ends_when_both_are_killed() {
    let field = Field::new("600s", "300s");
    let running = without_death_signal(&field);
    let all = running.all();
    for pid in [running.supervisor, running.hold()] {
        kill(pid);
    }
    gone(all);
}

#[test]
fn a_command_without_a_death_signal_ends_when_both_are_frozen() {
    let field = Field::new("2s", "1s");
    let running = without_death_signal(&field);
    let all = running.all();
    for pid in [running.supervisor, running.hold()] {
        signal(pid, Signal::STOP);
    }
    gone(all);
    signal(running.hold(), Signal::CONT);
    assert_eq!(running.end().status, 75);
}

#[test]
fn the_backstop_waits_for_a_permit_that_is_extended() {
    let field = Field::new("600ms", "300ms");
    let running = field.start(OBEDIENT);
    std::thread::sleep(Duration::from_secs(3));
    assert!(lives(running.main) && !field.path("term").exists());
}

/// The kernel takes the death signal from a process that changes its user (prctl(2), PR_SET_PDEATHSIG).
#[test]
fn a_command_that_changes_its_user_ends_with_both() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root changes its user");
        return;
    }
    let script = "trap '' TERM; echo $$ >main\nexec setpriv --reuid 65534 --regid 65534 --clear-groups sleep 1000";
    for strike in [Signal::KILL, Signal::STOP] {
        let field = Field::new(if strike == Signal::KILL { "600s" } else { "2s" }, "1s");
        let running = field.start(script);
        let user = || std::fs::metadata(format!("/proc/{}", running.main)).map(|data| data.uid()).ok();
        wait_for("it has changed its user", || (user() == Some(65534)).then_some(()));
        for pid in [running.supervisor, running.hold()] {
            signal(pid, strike);
        }
        wait_until_gone(running.main);
        signal(running.hold(), Signal::CONT);
    }
}

/// A control group as systemd delegates one; none where this process may not create it.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let directory = Path::new(line.split(' ').nth(4)?).join(own).join(format!("test-{}", std::process::id()));
        std::fs::create_dir(&directory).ok()?;
        let this = Self(directory);
        rustix::fs::setxattr(&this.0, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).ok()?;
        this.0.join("cgroup.kill").exists().then_some(this)
    }

    fn groups(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).count()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        if !std::thread::panicking() {
            wait_for("the group can be removed", || std::fs::remove_dir(&self.0).ok());
        }
    }
}

#[test]
fn a_delegated_control_group_leaves_no_descendant() {
    let Some(delegated) = Delegated::new() else {
        eprintln!("skipped: no control group can be created here");
        return;
    };
    let field = Field::new("600s", "300s");
    // Nothing but the group connects these processes to the command.
    let script = "echo $$ >main; env -i setsid setsid sh -c 'echo $$ >away; exec sleep 1000' & \
                  setpriv --pdeathsig clear sleep 1000";
    let hold = field.holding(script);
    let mut command = std::process::Command::new("sh");
    let join = format!("echo $$ >'{}'; exec \"$@\"", delegated.0.join("cgroup.procs").display());
    command.args(["-c", &join, "sh"]).arg(hold.get_program()).args(hold.get_args());
    command.envs(hold.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(hold.get_current_dir().unwrap());
    let running = field.begin(command);
    let away = field.pid("away");
    assert_eq!(delegated.groups(), 1);
    for pid in [running.supervisor, running.hold()] {
        kill(pid);
    }
    wait_until_gone(running.main);
    wait_until_gone(away);
    wait_for("the command's group is removed", || (delegated.groups() == 0).then_some(()));
}

#[test]
fn what_the_command_left_behind_ends_with_it() {
    let field = Field::new("600s", "300s");
    let script = "exec >/dev/null 2>&1; \
                  (setsid sh -c 'echo $$ >away; exec sleep 1000' &) ; sh -c 'echo $$ >near; exec sleep 1000' & \
                  while [ ! -s away ] || [ ! -s near ]; do sleep 0.02; done; exit 4";
    assert_eq!(field.hold(script).status, 4);
    for name in ["near", "away"] {
        assert!(!lives(field.pid(name)), "{name} lives");
    }
}

#[test]
fn what_ends_under_the_command_leaves_no_zombies() {
    let field = Field::new("600s", "300s");
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.1 &); done; sleep 0.3; echo $$ >main; exec sleep 1000";
    let running = field.start(script);
    let supervisor = running.supervisor;
    wait_for("only the command is left", || (descendants(supervisor) == [running.main]).then_some(()));
}

#[test]
fn what_a_read_left_behind_leaves_no_zombies_and_outlives_hold() {
    let field = Field::new("9s", "6s");
    // As ssh does for a shared connection: one child exits at once, one stays.
    let bin = field.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let git = "#!/bin/sh\n(exec >/dev/null 2>&1; sleep 0.05 &)\n\
               [ -s \"$STAYS\" ] || (exec >/dev/null 2>&1; setsid sh -c 'echo $$ >\"$STAYS\"; exec sleep 1000' &)\n\
               PATH=${PATH#*:} exec git \"$@\"\n";
    std::fs::write(bin.join("git"), git).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    super::lease::into_git(&field);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = field.network.mirror(["hold", "bot", "--check", "100ms", "--", "sh", "-c", OBEDIENT]);
    command.env("PATH", path).env("STAYS", field.path("stays"));
    let running = field.begin(command);
    std::thread::sleep(Duration::from_secs(3));
    let children = || {
        let task = format!("/proc/{0}/task/{0}/children", running.hold());
        let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let list = std::fs::read_to_string(task).unwrap();
        list.split_whitespace().filter(|pid| stat(pid).contains(") Z ")).count()
    };
    wait_for("few zombies are left", || (children() <= 2).then_some(()));
    let stays = field.pid("stays");
    signal(running.hold(), Signal::TERM);
    assert_eq!(running.end().status, 9);
    assert!(lives(stays), "the shared connection was killed");
    kill(stays);
}

#[test]
fn a_frozen_hold_does_not_keep_it_alive() {
    let field = Field::new("1s", "2s");
    let running = field.start(STUBBORN);
    let all = running.all();
    signal(running.hold(), Signal::STOP);
    // It is still frozen when everything that it held is gone.
    gone(all);
    signal(running.hold(), Signal::CONT);
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
}

#[test]
fn under_a_frozen_hold_the_command_still_gets_sigterm_first() {
    let field = Field::new("1s", "60s");
    let running = field.start(OBEDIENT);
    signal(running.hold(), Signal::STOP);
    wait_until_gone(running.main);
    assert!(field.path("term").exists());
    signal(running.hold(), Signal::CONT);
    assert_eq!(running.end().status, 75);
}

#[test]
fn a_frozen_supervisor_does_not_keep_it_alive() {
    let field = Field::new("1s", "2s");
    let running = field.start(STUBBORN);
    let all = running.all();
    signal(running.supervisor, Signal::STOP);
    field.cut_off();
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    gone(all);
}

#[test]
fn a_frozen_hold_and_a_frozen_supervisor_do_not_keep_it_alive() {
    let field = Field::new("1s", "1s");
    let running = field.start(OBEDIENT);
    for pid in [running.supervisor, running.hold()] {
        signal(pid, Signal::STOP);
    }
    wait_until_gone(running.main);
    assert!(!field.path("term").exists(), "it got SIGTERM although both were frozen");
    signal(running.hold(), Signal::CONT);
    assert_eq!(running.end().status, 75);
}

#[test]
fn after_a_long_freeze_it_is_killed_without_sigterm() {
    let field = Field::new("1s", "1s");
    let running = field.start(OBEDIENT);
    for pid in [running.supervisor, running.hold(), running.main] {
        signal(pid, Signal::STOP);
    }
    std::thread::sleep(Duration::from_secs(4));
    for pid in [running.hold(), running.supervisor] {
        signal(pid, Signal::CONT);
    }
    let main = running.main;
    let said = running.end();
    assert_eq!(said.status, 75, "{said:?}");
    wait_until_gone(main);
    assert!(!field.path("term").exists(), "it got SIGTERM instead of being killed");
}

#[test]
fn a_frozen_hold_that_wakes_in_time_goes_on() {
    let field = Field::new("30s", "10s");
    let running = field.start(OBEDIENT);
    for pid in [running.supervisor, running.hold()] {
        signal(pid, Signal::STOP);
    }
    std::thread::sleep(Duration::from_secs(2));
    for pid in [running.supervisor, running.hold()] {
        signal(pid, Signal::CONT);
    }
    super::a_while();
    assert!(lives(running.main) && !field.path("term").exists());
}

/// A command with five generations of descendants, each in a session of its own and ignoring SIGTERM.
/// Each becomes a child of the process that ends them only after its parent has died.
fn generations(field: &Field) -> (super::Running<'_>, Vec<i32>) {
    let script = "trap '' TERM; echo $$ >generation$1; \
                  [ $1 -ge 5 ] || setsid sh generation.sh $(($1 + 1)) & while :; do sleep 0.05; done\n";
    std::fs::write(field.path("generation.sh"), script).unwrap();
    let running = field.start("echo $$ >main; setsid sh generation.sh 1 & while :; do sleep 0.05; done");
    let all = (1..=5).map(|number| field.pid(&format!("generation{number}"))).collect();
    (running, all)
}

#[test]
fn no_generation_outlives_a_lost_lease() {
    let field = Field::new("3s", "2s");
    let (running, all) = generations(&field);
    field.grant("b");
    assert_eq!(running.end().status, 75);
    assert_eq!(all.into_iter().filter(|pid| lives(*pid)).collect::<Vec<_>>(), [0; 0], "these live");
}

#[test]
fn no_generation_outlives_the_supervisor() {
    let field = Field::new("600s", "300s");
    let (running, all) = generations(&field);
    kill(running.supervisor);
    assert_eq!(running.end().status, 75);
    assert_eq!(all.into_iter().filter(|pid| lives(*pid)).collect::<Vec<_>>(), [0; 0], "these live");
}
