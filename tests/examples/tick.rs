//! `tick.sh`: a service that is told to stop whenever its lease does not name the node.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use three_mirror::lease::LeaseState;

use super::{PATIENCE, command, example, left, place, until};
use crate::support::lease::write;

fn grant(leases: &Path, holder: &str, epoch: u64) {
    write(&leases.join("bot"), "tester", holder, epoch, LeaseState::Granted, None);
}

/// Under way; dropped before its end, it is killed.
struct Ticking(Child);

impl Drop for Ticking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tick_stops_what_the_lease_does_not_name() {
    let place = place();
    let root = place.path();
    let (leases, stops) = (root.join("leases"), root.join("stops"));
    fs::create_dir(&leases).unwrap();
    fs::write(
        root.join("mirror.toml"),
        format!(
            "[nodes]\na = \"127.0.0.1\"\nb = \"192.0.2.2\"\n[chains]\nbrain = [\"a\", \"b\"]\nbot = [\"a\", \"b\"]\n\
             [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n\
             [lease]\nstore = \"file\"\npath = {leases:?}\nguard = \"tick\"\nvalid = \"60s\"\n"
        ),
    )
    .unwrap();
    grant(&leases, "a", 1);
    let mut tick = command("sh", root);
    tick.arg(example("tick.sh")).args(["bot", "sh", "-c", "echo stop >>stops"]);
    // What a busy machine needs for one read has no bearing on what is tried here.
    tick.env("MIRROR_CONFIG", root.join("mirror.toml")).env("MIRROR_SELF", "a");
    tick.env("CHECK_INTERVAL", "0.1").env("CHECK_TIMEOUT", "60");
    let mut tick = Ticking(tick.spawn().unwrap());
    let stopped = || fs::remove_file(&stops).is_ok();
    // A tick that was under way may have read what was there before.
    let left_alone = || {
        stopped();
        std::thread::sleep(Duration::from_secs(1));
        !stops.exists()
    };

    let seen = root.join("state/lease-bot.json");
    until("it reads the lease", PATIENCE, || seen.exists());
    until("it is left alone where it may run", PATIENCE, left_alone);
    grant(&leases, "b", 2);
    until("it is stopped", PATIENCE, stopped);
    grant(&leases, "a", 3);
    until("it is left alone where it may run again", PATIENCE, left_alone);
    fs::rename(&leases, root.join("away")).unwrap();
    until("it is stopped when the lease cannot be read", PATIENCE, stopped);
    fs::rename(root.join("away"), &leases).unwrap();
    until("it is left alone when it can be read again", PATIENCE, left_alone);
    kill_process(Pid::from_child(&tick.0), Signal::TERM).unwrap();
    assert!(tick.0.wait().unwrap().success());
    assert!(stopped(), "what no tick looks after any longer is stopped");
    until("nothing is left", PATIENCE, || left(root).is_empty());
}
