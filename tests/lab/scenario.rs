//! What befalls the hosts, and how long the service was away for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, NODES, ORIGIN};
use crate::system::BOTS;
use crate::truth::{self, Run};

/// One move of the service from one run to another.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    /// From the last beat of the old run to the first of the new one, in ms; none when none came.
    pub(crate) outage_ms: Option<f64>,
    /// For how long the service was active on two nodes at once.
    pub(crate) double_ms: f64,
    /// Where it ran before.
    pub(crate) from: String,
    /// Where it runs now.
    pub(crate) to: String,
}

/// A stretch of time in which nothing should have happened.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    /// The nodes that ran the service, in turn; one if all is well.
    pub(crate) runs: Vec<String>,
    /// The longest time without a beat, in ms.
    pub(crate) gap_ms: f64,
    /// For how long the service was active on two nodes at once.
    pub(crate) double_ms: f64,
    /// Processor time of all hosts, as a part of one core.
    pub(crate) cpu: f64,
}

/// Does something to the hosts, and watches until another run of the service beats. `act` returns
/// when it happened.
pub(crate) fn watch(lab: &Lab, patience: Duration, act: impl FnOnce() -> Result<u64>) -> Result<Recovery> {
    let old = lab.serving()?.context("the service does not run before anything has happened")?;
    let at = act()?;
    let until = Instant::now() + patience;
    let found = loop {
        let truth = lab.truth()?;
        if let Some((run, first)) = truth.first_other(at, std::slice::from_ref(&old)) {
            let last = truth.last_of(&old).filter(|last| *last <= first).unwrap_or(first);
            break Some((run.clone(), first - last));
        }
        drop(truth);
        if Instant::now() > until {
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // What was begun has to end too: two at once would show now.
    std::thread::sleep(pause(lab)?);
    let (to, outage_ms) = match found {
        Some((run, outage)) => (run.node, Some(millis(outage))),
        None => ("nobody".to_owned(), None),
    };
    Ok(Recovery { outage_ms, double_ms: lab.truth()?.double_ms(at), from: old.node, to })
}

/// Two looks, and a little.
pub(crate) fn pause(lab: &Lab) -> Result<Duration> {
    Ok(lab.system.check()?.min(Duration::from_secs(1)) * 2 + Duration::from_millis(300))
}

#[allow(clippy::cast_precision_loss, reason = "hours fit")]
fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Some part of `longest`, another one each time, so that no trial keeps step with the checks.
pub(crate) fn some_of(longest: Duration) -> Duration {
    let noise = truth::now().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    longest.mul_f64(f64::from(u16::try_from(noise).unwrap_or(0)) / 65536.0)
}

/// The node that serves loses power.
pub(crate) fn serving_dies(lab: &Lab, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    watch(lab, patience, || lab.kill(&[&node]))
}

/// All but one lose power at the same moment. None when the survivor is the one that serves, and went
/// on undisturbed.
pub(crate) fn four_die(lab: &Lab, survivor: &str, patience: Duration) -> Result<Option<Recovery>> {
    let old = serving(lab)?;
    let dying: Vec<&str> = NODES.into_iter().filter(|node| *node != survivor).collect();
    if old.node != survivor {
        return watch(lab, patience, || lab.kill(&dying)).map(Some);
    }
    let at = lab.kill(&dying)?;
    std::thread::sleep(pause(lab)? + lab.system.check()?);
    let runs = lab.truth()?.runs_since(at);
    ensure!(lab.serving()?.as_ref() == Some(&old), "{survivor} no longer serves; it went to {runs:?}");
    Ok(None)
}

/// The node that serves loses power, then the one that took over, and so on until one is left.
pub(crate) fn one_after_another(lab: &Lab, patience: Duration) -> Result<Vec<Recovery>> {
    let mut recoveries = Vec::new();
    while lab.up().len() > 1 {
        let recovery = serving_dies(lab, patience)?;
        let lost = recovery.outage_ms.is_none();
        recoveries.push(recovery);
        if lost {
            break;
        }
        std::thread::sleep(some_of(lab.system.check()? * 2));
    }
    Ok(recoveries)
}

/// The brain loses power, and within two checks so does the node that serves.
pub(crate) fn brain_then_serving(lab: &Lab, patience: Duration) -> Result<Recovery> {
    let brain = "moscow";
    let node = serving(lab)?.node;
    ensure!(node != brain, "the brain serves, so the two cannot die one after another");
    lab.kill(&[brain])?;
    std::thread::sleep(some_of(lab.system.check()? * 2));
    serving_dies(lab, patience)
}

/// The service dies; its host lives.
pub(crate) fn service_crashes(lab: &Lab, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    watch(lab, patience, || {
        let at = truth::now();
        lab.run(&node, "kill -9 $(cat /run/bot.pid)")?;
        Ok(at)
    })
}

/// The node that serves loses power, and on the next one the service cannot start.
pub(crate) fn cannot_start_on_next(lab: &Lab, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    let next = BOTS.into_iter().find(|other| *other != node).context("there is one node only")?;
    std::fs::write(lab.disk(next).join("root/no-start"), "")?;
    let recovery = watch(lab, patience, || lab.kill(&[&node]))?;
    ensure!(recovery.to != next, "the service runs on {next}, where it cannot start");
    Ok(recovery)
}

/// The better node returns; how long the service is away when it goes back there, and how long after
/// the boot that was.
pub(crate) fn returns(lab: &Lab, patience: Duration) -> Result<(Recovery, Duration)> {
    let node = serving(lab)?.node;
    let died = serving_dies(lab, patience)?;
    ensure!(died.outage_ms.is_some(), "the service did not recover from the death of {node}");
    let booted = Instant::now();
    let recovery = watch(lab, patience, || {
        let at = truth::now();
        lab.boot(&[&node])?;
        Ok(at)
    })?;
    let after = booted.elapsed().saturating_sub(pause(lab)?);
    ensure!(recovery.to == node, "it went to {} and not back to {node}", recovery.to);
    Ok((recovery, after))
}

/// A person moves the service to another node.
pub(crate) fn moved_to(lab: &Lab, node: &str, patience: Duration) -> Result<Recovery> {
    let recovery = watch(lab, patience, || {
        let at = truth::now();
        lab.system.move_to(lab, node)?;
        Ok(at)
    })?;
    ensure!(recovery.to == node, "it went to {} and not to {node}", recovery.to);
    Ok(recovery)
}

/// How the origin is out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Dead,
    Hanging,
}

/// The origin is out of order, long enough for every node to have tried to breathe; then the node
/// that serves loses power.
pub(crate) fn without_origin(lab: &Lab, trouble: Trouble, patience: Duration) -> Result<Recovery> {
    match trouble {
        Trouble::Dead => {
            lab.kill(&[ORIGIN])?;
        }
        Trouble::Hanging => lab.freeze(ORIGIN)?,
    }
    std::thread::sleep(Duration::from_secs(13));
    serving_dies(lab, patience)
}

/// Nothing is done for a while.
pub(crate) fn quiet(lab: &Lab, time: Duration) -> Result<Quiet> {
    let (begun, from, used) = (Instant::now(), truth::now(), lab.cpu()?);
    std::thread::sleep(time);
    let cpu = (lab.cpu()? - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    let truth = lab.truth()?;
    let runs = truth.runs_since(from).into_iter().map(|run| run.node).collect();
    let gap_ms = truth.longest_gap(from).as_secs_f64() * 1e3;
    Ok(Quiet { runs, gap_ms, double_ms: truth.double_ms(from), cpu })
}

/// Nothing is done to the hosts, but both processors have other things to do.
pub(crate) fn loaded(lab: &Lab, time: Duration) -> Result<Quiet> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let quiet = quiet(lab, time);
        over.store(true, Ordering::Relaxed);
        quiet
    })
}

/// Nothing is done to the hosts, but one packet in ten is lost, everywhere and at random.
pub(crate) fn lossy(lab: &Lab, time: Duration) -> Result<Quiet> {
    lab.lose_one_in(10)?;
    let quiet = quiet(lab, time);
    lab.lose_one_in(0)?;
    quiet
}

/// Everything as it was at the start: all hosts up, nothing cut, the service on its first choice.
pub(crate) fn restore(lab: &Lab) -> Result<()> {
    for node in NODES {
        let _ = std::fs::remove_file(lab.disk(node).join("root/no-start"));
    }
    lab.thaw(ORIGIN).or_else(|_| lab.boot(&[ORIGIN]))?;
    lab.boot_the_dead()?;
    lab.heal()?;
    let check = lab.system.check()?;
    lab.wait_for_service(Duration::from_secs(60))?;
    std::thread::sleep(check * 2);
    let until = Instant::now() + Duration::from_secs(60);
    // A system that knows no better node leaves the service where it is.
    let can_move = lab.system.move_to(lab, BOTS[0]).is_ok();
    let at_home = |run: Option<Run>| run.is_some_and(|run| run.node == BOTS[0]);
    while (can_move || lab.system.prefers_the_first()) && !at_home(lab.serving()?) {
        ensure!(Instant::now() < until, "the service does not come back to {}", BOTS[0]);
        std::thread::sleep(check.min(Duration::from_millis(500)));
    }
    std::thread::sleep(check + some_of(check));
    lab.wait_for_service(Duration::from_secs(60)).map(|_| ())
}

fn serving(lab: &Lab) -> Result<Run> {
    match lab.serving()? {
        Some(run) => Ok(run),
        None => bail!("the service does not run\n{}", lab.last_words()),
    }
}
