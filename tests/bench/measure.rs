//! How it is measured and told: A and B in turn, and their ratio or difference pair by pair.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How A stands to B.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Ratio,
    Difference,
}

/// Two whole processes.
pub(crate) fn compare(
    a: &str,
    run_a: &dyn Fn() -> Command,
    b: &str,
    run_b: &dyn Fn() -> Command,
    rounds: usize,
    unit: Unit,
) {
    compare_with(a, run_a, b, run_b, rounds, unit, &|| ());
}

/// The same, with something to be done after each of them, which does not count.
pub(crate) fn compare_with(
    a: &str,
    run_a: &dyn Fn() -> Command,
    b: &str,
    run_b: &dyn Fn() -> Command,
    rounds: usize,
    unit: Unit,
    after: &dyn Fn(),
) {
    let once = |make: &dyn Fn() -> Command| {
        let (took, _) = run(make());
        after();
        took
    };
    compare_times(a, &|| once(run_a), b, &|| once(run_b), rounds, unit);
}

/// Two things that take time; each says how long.
pub(crate) fn compare_times(
    a: &str,
    run_a: &dyn Fn() -> Duration,
    b: &str,
    run_b: &dyn Fn() -> Duration,
    rounds: usize,
    unit: Unit,
) {
    let once = |run: &dyn Fn() -> Duration| run().as_secs_f64() * 1000.0;
    once(run_a);
    once(run_b);
    let pairs: Vec<(f64, f64)> = (0..rounds).map(|_| (once(run_a), once(run_b))).collect();
    let of_a: Vec<f64> = pairs.iter().map(|(a, _)| *a).collect();
    let of_b: Vec<f64> = pairs.iter().map(|(_, b)| *b).collect();
    println!("A {a}: {} ms (n = {rounds})", spread(&of_a, 2));
    println!("B {b}: {} ms", spread(&of_b, 2));
    match unit {
        Unit::Ratio => println!("  A / B: {}\n", spread(&pairs.iter().map(|(a, b)| a / b).collect::<Vec<_>>(), 2)),
        Unit::Difference => {
            println!("  A - B: {} ms\n", spread(&pairs.iter().map(|(a, b)| a - b).collect::<Vec<_>>(), 2));
        }
    }
}

/// The wall time of a whole process, and its peak memory in KiB.
#[expect(clippy::zombie_processes, reason = "wait4 reaps it, and tells what it used")]
pub(crate) fn run(mut command: Command) -> (Duration, u64) {
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("started");
    let mut status = 0;
    // SAFETY: both pointers are to values that live across the call; the child is our own.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::pid_t::try_from(child.id()).expect("a pid");
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    let took = begun.elapsed();
    assert!(ExitStatus::from_raw(status).code().is_some_and(|code| code != 2), "{command:?}");
    (took, u64::try_from(usage.ru_maxrss).unwrap_or(0))
}

/// Their median, and in brackets the least and the greatest.
pub(crate) fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, median, max) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    format!("{median:.digits$} ({min:.digits$} – {max:.digits$})")
}
