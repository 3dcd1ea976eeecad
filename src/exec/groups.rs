//! The process groups under way, so that a signal that ends `mirror` ends them too.
//!
//! The parent-death signal reaches only the processes that `mirror` itself started; this reaches
//! theirs as well. Against SIGKILL there is only the former.

use std::io;
use std::mem::MaybeUninit;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::CLEAN_UP;

static UNDER_WAY: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// The processes that somebody here is going to wait for.
static OURS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn under_way() -> MutexGuard<'static, Vec<Pid>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ours() -> MutexGuard<'static, Vec<Pid>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process that leads a group. While a signal is being obeyed nothing is started.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut groups = under_way();
    let mut ours = ours();
    let child = command.spawn()?;
    ours.push(Pid::from_child(&child));
    groups.push(Pid::from_child(&child));
    Ok(child)
}

/// The process has been waited for.
pub(super) fn waited_for(process: Pid) {
    ours().retain(|other| *other != process);
}

/// Waits for children that have ended and that nobody here started: what a process started that has
/// itself ended, such as the ssh behind a shared connection, may have fallen to `mirror`. `spare` is
/// somebody else's.
pub fn reap_strangers(spare: Pid) {
    let ours = ours();
    while let Some(pid) = ended_child() {
        // One that somebody is going to wait for hides those that ended after it, until he has.
        if pid == spare || ours.contains(&pid) {
            return;
        }
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// A child that has ended and was not waited for.
pub fn ended_child() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes the structure in full, or leaves it zeroed where no child has ended.
    unsafe {
        let done = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        if done == 0 { Pid::from_raw(info.assume_init().si_pid()) } else { None }
    }
}

/// The process is about to be waited for; its id may soon be another's.
pub(super) fn forget(group: Pid) {
    under_way().retain(|other| *other != group);
}

static ONCE: Once = Once::new();

/// Has SIGTERM, SIGINT and SIGHUP end all groups before they end `mirror`, unless whoever started
/// `mirror` had them ignored, as `nohup` does.
pub(super) fn end_with_us() {
    ONCE.call_once(|| {
        // Without it, those that were started directly still end.
        if let Ok(signals) = Signals::new(signals_to_obey()) {
            let _ = std::thread::Builder::new().spawn(move || obey(signals));
        }
    });
}

/// Leaves the signals to whoever asks for them: those that are not ignored. From then on he calls
/// [`end_all`] before he ends `mirror`.
pub fn take_signals() -> Vec<i32> {
    ONCE.call_once(|| {});
    signals_to_obey().collect()
}

fn signals_to_obey() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    [SIGTERM, SIGINT, SIGHUP].into_iter().filter(move |signal| ignored & (1 << (signal - 1)) == 0)
}

fn obey(mut signals: Signals) {
    let Some(signal) = signals.forever().next() else { return };
    // Not let go, so that nothing is started any more.
    let _groups = end_under_way();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// Ends all groups.
pub fn end_all() {
    drop(end_under_way());
}

fn end_under_way() -> MutexGuard<'static, Vec<Pid>> {
    let groups = under_way();
    for group in groups.iter() {
        let _ = rustix::process::kill_process_group(*group, Signal::TERM);
    }
    if !groups.is_empty() {
        std::thread::sleep(CLEAN_UP);
    }
    for group in groups.iter() {
        let _ = rustix::process::kill_process_group(*group, Signal::KILL);
    }
    groups
}

/// The signals that are ignored, one bit each, from 1 (proc(5), `SigIgn`).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
