//! When this machine stood still: a virtual machine's processor may be given to a neighbour for longer than a
//! host may be silent, and then hosts that live are found dead, as the example says.
//!
//! A thread on each processor wakes before everything else, however busy that is. One that wakes late
//! was on a processor that did not run.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_millis(5);
/// Neighbours are found dead after 100 ms, of which an answer needs a part.
const STALL: Duration = Duration::from_millis(30);
/// Before the switch.
const PRIORITY: libc::c_int = 2;

static STALLS: Mutex<Vec<(Instant, Duration)>> = Mutex::new(Vec::new());
static WATCHED: Once = Once::new();

fn stalls() -> MutexGuard<'static, Vec<(Instant, Duration)>> {
    STALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches the processors from now on.
pub(crate) fn watch() {
    WATCHED.call_once(|| {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        for processor in 0..all {
            std::thread::spawn(move || match stay_on(processor) {
                Ok(()) => look(),
                Err(error) => eprintln!("lab: processor {processor} is not watched: {error}"),
            });
        }
    });
}

/// The longest stall since then, if there was one.
pub(crate) fn longest_since(begun: Instant) -> Option<Duration> {
    stalls().iter().filter(|(at, _)| *at >= begun).map(|(_, stall)| *stall).max()
}

fn look() {
    let mut last = Instant::now();
    loop {
        std::thread::sleep(INTERVAL);
        let now = Instant::now();
        let late = now.duration_since(last).saturating_sub(INTERVAL);
        if late >= STALL {
            stalls().push((now, late));
        }
        last = now;
    }
}

/// Runs this thread on one processor alone, before everything else there.
fn stay_on(processor: usize) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: a set of processors and a parameter, both whole, for this thread alone.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set) == 0
            && libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
