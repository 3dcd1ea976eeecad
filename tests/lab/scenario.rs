//! What happens to the hosts, and how long the service was away for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, NODES, ORIGIN};
use crate::system::{BOTS, LeaseClient};
use crate::systemd;
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
    /// How long it was.
    pub(crate) seconds: f64,
    /// The nodes that ran the service, in turn; one if all is well.
    pub(crate) runs: Vec<String>,
    /// The longest time without a beat, in ms.
    pub(crate) gap_ms: f64,
    /// For how long the service was active on two nodes at once.
    pub(crate) double_ms: f64,
    /// Processor time of all hosts, as a part of one core.
    pub(crate) cpu: f64,
    /// The same of the five nodes alone.
    pub(crate) cpu_of_nodes: f64,
}

/// Does something to the hosts, and watches until another run of the service beats. `act` returns
/// when it happened.
pub(crate) fn watch(lab: &Lab, patience: Duration, act: impl FnOnce() -> Result<u64>) -> Result<Recovery> {
    watch_for(lab, patience, pause(lab)?, act)
}

/// The same, and goes on watching for `more` when it has come.
pub(crate) fn watch_for(
    lab: &Lab,
    patience: Duration,
    more: Duration,
    act: impl FnOnce() -> Result<u64>,
) -> Result<Recovery> {
    let old = serving(lab)?;
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
    std::thread::sleep(more);
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
pub(crate) fn millis(nanoseconds: u64) -> f64 {
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
        let recovery = match serving_dies(lab, patience) {
            Ok(recovery) => recovery,
            Err(error) if recoveries.is_empty() => return Err(error),
            // Where several remain active there is no next recovery to measure.
            Err(error) => {
                eprintln!("after {} deaths: {error:#}", recoveries.len());
                break;
            }
        };
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

/// The node that serves is shut down, and drains itself meanwhile; how long the service was away, and whether it ran
/// elsewhere before the node was gone.
pub(crate) fn reboots(lab: &Lab, patience: Duration) -> Result<(Recovery, bool)> {
    let old = serving(lab)?;
    for node in lab.up() {
        systemd::drain_at_shutdown(lab, node)?;
    }
    // A check of each under the list that all have by now.
    std::thread::sleep(lab.system.check()? * 2 + some_of(lab.system.check()?));
    let (begun, mut gone) = (truth::now(), 0);
    let recovery = watch(lab, patience, || {
        gone = lab.shut_down(&old.node)?;
        Ok(begun)
    })?;
    let is_before = lab.truth()?.first_other(begun, &[old]).is_some_and(|(_, first)| first < gone);
    Ok((recovery, is_before))
}

/// What became of a node that came back while connections to its former life still lay about.
#[derive(Clone, Debug)]
pub(crate) struct Stale {
    /// The node dies, and shared connections from the brain to it are open.
    pub(crate) first: Recovery,
    /// Whether the brain still held its dead connection open then: ssh gives it up after 3 s or so.
    pub(crate) was_open: bool,
    /// It comes back at once, and after `failback` so does the service.
    pub(crate) back: Recovery,
    /// It dies again.
    pub(crate) second: Recovery,
    /// How often the service moved beside these three times.
    pub(crate) false_failovers: usize,
}

/// The node that serves loses power and comes back before the brain's shared connection to it has
/// been given up; the service returns there; the node loses power again.
pub(crate) fn returns_with_stale_connection(lab: &Lab, patience: Duration) -> Result<Stale> {
    let (node, brain) = (serving(lab)?.node, "moscow");
    ensure!(node != brain, "the brain serves, and needs no connection to do so");
    wait_for_connection(lab, brain, &node)?;
    let from = truth::now();
    // Not watched any longer than it takes: the connection is to be found dead, and not gone.
    let first = watch_for(lab, patience, Duration::ZERO, || lab.kill(&[&node]))?;
    ensure!(first.outage_ms.is_some(), "the service did not recover from the death of {node}");
    let was_open = shares_connection(lab, brain, &node)?;
    lab.boot(&[&node])?;
    let back = watch(lab, patience, || Ok(truth::now()))?;
    wait_for_connection(lab, brain, &node)?;
    // Out of step with the check that moved it back.
    std::thread::sleep(some_of(lab.system.check()?));
    let second = serving_dies(lab, patience)?;
    let moves = lab.truth()?.runs_since(from).len().saturating_sub(1);
    Ok(Stale { first, was_open, back, second, false_failovers: moves.saturating_sub(3) })
}

/// Waits until a node shares a connection to another.
fn wait_for_connection(lab: &Lab, from: &str, to: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while !shares_connection(lab, from, to)? {
        ensure!(Instant::now() < until, "{from} has no shared connection to {to}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether a node holds a connection to another open that it shares, and be it a dead one.
fn shares_connection(lab: &Lab, from: &str, to: &str) -> Result<bool> {
    let address = lab.address(to)?;
    let socket = format!("/run/mirror/$(printf %s root@{address}:22 | sha256sum | cut -c 1-16)");
    Ok(lab.run(from, &format!("timeout 5 ssh -S {socket} -O check -- {address}"))?.status.success())
}

/// How the origin is out of order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Dead,
    /// Its processes are frozen; its kernel goes on accepting connections.
    Hanging,
    /// Its link carries [`TRICKLE`].
    Slow,
}

/// What the link of a slow origin carries: a login alone takes some seconds.
pub(crate) const TRICKLE: &str = "16kbit";

/// The origin is out of order, long enough for every node to have tried to breathe; then the node
/// that serves loses power.
pub(crate) fn without_origin(lab: &Lab, trouble: Trouble, patience: Duration) -> Result<Recovery> {
    match trouble {
        Trouble::Dead => {
            lab.kill(&[ORIGIN])?;
        }
        Trouble::Hanging => lab.freeze(ORIGIN)?,
        Trouble::Slow => lab.slow(ORIGIN, Some(TRICKLE))?,
    }
    std::thread::sleep(Duration::from_secs(13));
    serving_dies(lab, patience)
}

/// What a lease in git has been asked to write so far, and every file that it consists of.
fn register(lab: &Lab) -> Result<Option<String>> {
    // A takeover at least has been written, or they are not counted.
    let look = "grep -c lease.git log/pushes && find lease.git -type f -printf '%p %s %T@\\n' | sort";
    (lab.system.lease() == Some(LeaseClient::Git)).then(|| lab.must(ORIGIN, look)).transpose()
}

/// Nothing is done for a while. Nothing may be pushed to a lease meanwhile, were it without effect.
pub(crate) fn quiet(lab: &Lab, time: Duration) -> Result<Quiet> {
    let (before, run) = (register(lab)?, serving(lab)?);
    let quiet = only_wait(lab, time)?;
    let after = register(lab)?;
    let calm = lab.serving()?.is_some_and(|now| now == run) && quiet.runs.len() == 1;
    ensure!(!calm || before == after, "nothing failed, and the register was {before:?} and is {after:?}");
    Ok(quiet)
}

fn only_wait(lab: &Lab, time: Duration) -> Result<Quiet> {
    let (begun, from, used, used_by_nodes) = (Instant::now(), truth::now(), lab.cpu()?, lab.cpu_of_nodes()?);
    std::thread::sleep(time);
    let (seconds, used, by_nodes) =
        (begun.elapsed().as_secs_f64(), lab.cpu()? - used, lab.cpu_of_nodes()? - used_by_nodes);
    let truth = lab.truth()?;
    let runs: Vec<String> = truth.runs_since(from).into_iter().map(|run| run.node).collect();
    let gap_ms = truth.longest_gap(from).as_secs_f64() * 1e3;
    let (cpu, cpu_of_nodes) = (used.as_secs_f64() / seconds, by_nodes.as_secs_f64() / seconds);
    Ok(Quiet { seconds, runs, gap_ms, double_ms: truth.double_ms(from), cpu, cpu_of_nodes })
}

/// Nothing is done to the hosts, but all processors have other things to do.
pub(crate) fn loaded(lab: &Lab, time: Duration) -> Result<Quiet> {
    lab.under_load(|| {
        // It has to get going.
        std::thread::sleep(Duration::from_millis(500));
        quiet(lab, time)
    })
}

/// Nothing is done to the hosts, but one packet in ten is lost, everywhere and at random.
pub(crate) fn lossy(lab: &Lab, time: Duration) -> Result<Quiet> {
    lab.lose_one_in(10)?;
    let quiet = quiet(lab, time);
    lab.lose_one_in(0)?;
    quiet
}

/// Nothing is done to the hosts, but all round trips take three times as long.
pub(crate) fn stretched(lab: &Lab, time: Duration) -> Result<Quiet> {
    lab.stretch(3)?;
    let quiet = quiet(lab, time);
    lab.stretch(1)?;
    quiet
}

/// Everything as it was at the start: all hosts up, nothing cut, the service on its first choice.
pub(crate) fn restore(lab: &Lab) -> Result<()> {
    for node in NODES {
        let _ = std::fs::remove_file(lab.disk(node).join("root/no-start"));
    }
    for host in [ORIGIN].iter().chain(lab.system.members()) {
        lab.thaw(host).or_else(|_| lab.boot(&[host]))?;
        lab.slow(host, None)?;
    }
    for node in lab.up() {
        lab.thaw(node)?;
    }
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

/// The one run of the service, where nothing has happened yet.
pub(crate) fn serving(lab: &Lab) -> Result<Run> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let active = lab.truth()?.active();
        match active.as_slice() {
            [run] => return Ok(run.clone()),
            [] if Instant::now() > until => bail!("the service does not run\n{}", lab.last_line()),
            _ if Instant::now() > until => bail!("several are active: {active:?}\n{}", lab.last_line()),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
