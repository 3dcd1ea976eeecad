//! The running process groups, so that a signal that ends `mirror` ends them too.
//!
//! The parent-death signal reaches only the processes that `mirror` itself started; a signal to their
//! groups reaches what they started as well. When `mirror` gets SIGKILL, only the former works.

use std::io;
use std::mem::MaybeUninit;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::TERM_TIMEOUT;

static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// The processes that a thread of ours is going to wait for.
static OURS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ours() -> MutexGuard<'static, Vec<Pid>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process that leads a group. Nothing is started any more once a signal ends `mirror`.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut groups = running();
    let mut ours = ours();
    let child = command.spawn()?;
    ours.push(Pid::from_child(&child));
    groups.push(Pid::from_child(&child));
    Ok(child)
}

/// Starts a process that runs on when `mirror` ends.
pub(super) fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    let mut ours = ours();
    let child = command.spawn()?;
    ours.push(Pid::from_child(&child));
    Ok(child)
}

/// The process was reaped, or nobody here waits for it any more.
pub(super) fn reaped(process: Pid) {
    ours().retain(|other| *other != process);
}

/// Reaps children that `mirror` did not start itself: a subreaper inherits what an ended child left
/// behind, such as the ssh of a shared connection. `spare` is reaped elsewhere.
pub fn reap_orphans(spare: Pid) {
    let ours = ours();
    while let Some(pid) = ended_child() {
        // The kernel names one ended child at a time; the rest follow once this one is reaped.
        if pid == spare || ours.contains(&pid) {
            return;
        }
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// A child that has ended and is not reaped yet.
pub fn ended_child() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes the structure in full, or leaves it zeroed where no child has ended.
    unsafe {
        let done = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        if done == 0 { Pid::from_raw(info.assume_init().si_pid()) } else { None }
    }
}

/// The process is about to be reaped; its number can be another's soon.
pub(super) fn forget(group: Pid) {
    running().retain(|other| *other != group);
}

static ONCE: Once = Once::new();

/// Makes SIGTERM, SIGINT and SIGHUP end all groups before they end `mirror`, except those that
/// `mirror` was started with ignored, as by `nohup`.
pub(super) fn end_with_us() {
    ONCE.call_once(|| {
        // Without the handler, the direct children still end by their parent-death signal.
        if let Ok(signals) = Signals::new(handled_signals()) {
            let _ = std::thread::Builder::new().spawn(move || end_on_signal(signals));
        }
    });
}

/// Disables the default handler and returns the signals that are not ignored; the caller must call
/// [`end_all`] before exiting.
pub fn take_signals() -> Vec<i32> {
    ONCE.call_once(|| {});
    handled_signals().collect()
}

fn handled_signals() -> impl Iterator<Item = i32> {
    [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal))
}

fn end_on_signal(mut signals: Signals) {
    let Some(signal) = signals.forever().next() else { return };
    // Kept locked, so that nothing is started any more.
    let _groups = end_running();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// Ends all groups.
pub fn end_all() {
    drop(end_running());
}

fn end_running() -> MutexGuard<'static, Vec<Pid>> {
    let groups = running();
    for group in groups.iter() {
        let _ = rustix::process::kill_process_group(*group, Signal::TERM);
    }
    if !groups.is_empty() {
        std::thread::sleep(TERM_TIMEOUT);
    }
    for group in groups.iter() {
        let _ = rustix::process::kill_process_group(*group, Signal::KILL);
    }
    groups
}

/// Whether a signal is ignored. Asked by itself: to print /proc/self/status costs the kernel more than all
/// else that a quick command asks of it.
pub(super) fn is_ignored(signal: i32) -> bool {
    // SAFETY: with no new action the old one is only read, into memory of ours.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}
