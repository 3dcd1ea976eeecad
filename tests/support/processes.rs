//! Processes by their numbers, as /proc tells of them.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::wait_for;

/// Whether the process is there and no zombie.
pub fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Waits until the process is gone.
pub fn wait_until_gone(pid: i32) {
    wait_for(&format!("process {pid} is gone"), || (!lives(pid)).then_some(()));
}

/// Sends SIGKILL; a process that is gone is as good.
pub fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal; a process that is gone is as good.
pub fn signal(pid: i32, signal: Signal) {
    // 0 and 1 would be our own group and init.
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The children of a process, their children, and so on.
pub fn descendants(of: i32) -> Vec<i32> {
    let all: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.1)))
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// A number that a process wrote into a file of its own, as soon as it is there in full.
pub fn pid_in(file: &std::path::Path) -> i32 {
    wait_for(&format!("{} holds a number", file.display()), || {
        let text = std::fs::read_to_string(file).ok()?;
        text.ends_with('\n').then(|| text.trim().parse().ok())?
    })
}

/// A number from /proc/PID/status, such as `VmHWM` (KiB) or `Threads`.
pub fn status_number(pid: u32, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The state letter and the parent. The name before them may hold spaces and parentheses.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// How often a running process is looked at.
pub const GLANCE: Duration = Duration::from_millis(2);

/// The processor time that a process has used, in ticks of 10 ms.
pub fn cpu_ticks(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime are fields 14 and 15 of proc(5), of which the first two are cut off here.
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}
