//! What `mirror` inherits from the process that started it, and must not suffer from or pass on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fd::BorrowedFd;
use rustix::io::FdFlags;
use signal_hook::consts::{SIGCHLD, SIGXFSZ};

use super::groups::is_ignored;

/// The first descriptor after the standard streams.
const FIRST_INHERITED: libc::c_uint = 3;

/// To be called first, before any thread or file: no inherited descriptor is passed on to a program
/// that is started, a file that reaches its limit (`RLIMIT_FSIZE`) is an error and not the end, and
/// children can be waited for whatever was set before.
pub fn disarm_inherited() {
    close_on_exec();
    // A handler, unlike an ignored signal, is gone in the programs that are started.
    if !is_ignored(SIGXFSZ) {
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
    if is_ignored(SIGCHLD) {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { libc::signal(SIGCHLD, libc::SIG_DFL) };
    }
}

fn close_on_exec() {
    // SAFETY: it changes flags of descriptors and closes none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_INHERITED,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    };
    if done == 0 {
        return;
    }
    // Linux before 5.11.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST_INHERITED as i32) {
        // SAFETY: the descriptor is borrowed for this call alone, and nothing else runs yet.
        let _ = rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC);
    }
}

/// To be called before there is any thread: only these variables stay in the environment.
pub fn keep_variables(keep: impl Fn(&str, &str) -> bool) {
    for (name, value) in std::env::vars_os() {
        let stays = name.to_str().zip(value.to_str()).is_some_and(|(name, value)| keep(name, value));
        if !stays {
            // SAFETY: no other thread runs yet that could read the environment.
            unsafe { std::env::remove_var(name) };
        }
    }
}
