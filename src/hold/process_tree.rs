//! Finds the processes of a command whose ancestors are frozen or gone.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::CommandGroup;

/// The environment variable that marks the processes of one hold.
pub(super) const MARKER: &str = "MIRROR_HOLD";

/// How to recognise the processes of the command: by its control group, by the marker in the
/// environment, as the leader, and as their descendants or the supervisor's.
#[derive(Debug)]
pub(super) struct CommandProcesses {
    /// The supervisor. All its descendants belong to the command.
    pub(super) supervisor: Pid,
    /// The value of [`MARKER`].
    pub(super) marker: String,
    /// The command's control group, if it has one.
    pub(super) group: Option<CommandGroup>,
}

/// A running process; the start time distinguishes it from a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pid: Pid,
    start_time: String,
}

struct Stat {
    process: Process,
    parent: i32,
}

impl Process {
    /// Kills it, unless its pid already belongs to another process.
    pub(super) fn kill(&self) {
        let Ok(pidfd) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        if stat(self.pid).is_some_and(|stat| stat.process == *self) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

impl CommandProcesses {
    /// The processes that still run. `leader` is the command itself.
    pub(super) fn find(&self, leader: Option<BorrowedFd<'_>>) -> Vec<Process> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        let all: HashMap<i32, Stat> = pids.filter_map(|pid| Some((pid.as_raw_pid(), stat(pid)?))).collect();
        let leader = leader.and_then(pid_of);
        let marked = |pid: &i32| has_marker(*pid, &self.marker);
        let mut found: HashSet<i32> = all.keys().filter(|pid| Some(**pid) == leader || marked(pid)).copied().collect();
        // A child comes after its parent in no particular order, so repeat until nothing is added.
        loop {
            let is_ours = |stat: &Stat| found.contains(&stat.parent) || stat.parent == self.supervisor.as_raw_pid();
            let more: Vec<i32> =
                all.iter().filter(|(pid, stat)| !found.contains(pid) && is_ours(stat)).map(|(pid, _)| *pid).collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        all.into_iter().filter(|(pid, _)| found.contains(pid)).map(|(_, stat)| stat.process).collect()
    }

    /// Kills the control group, whatever the users of its processes.
    pub(super) fn kill_group(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Removes the control group; whether none is left. It must be empty.
    pub(super) fn remove_group(&self) -> bool {
        self.group.as_ref().is_none_or(CommandGroup::remove)
    }
}

/// A process that is not a zombie.
fn stat(pid: Pid) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // The name in field 2 may contain spaces and parentheses; the state is field 3 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let (state, parent, start_time) = (fields.first()?, fields.get(1)?.parse().ok()?, fields.get(19)?);
    let process = Process { pid, start_time: (*start_time).to_owned() };
    (!matches!(*state, "Z" | "X")).then_some(Stat { process, parent })
}

fn has_marker(pid: i32, marker: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let entry = format!("{MARKER}={marker}");
    environment.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes())
}

/// The pid of a process that has not been waited for.
fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid: i32 = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}
