//! The arbiter is away. The service goes on by failsafe as long as every node answers, and stops in time
//! when one does not; nothing starts before the arbiter is back, and there are never two.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::doubt::{aftermath, and_after, endure};
use crate::inert::{self, Inert};
use crate::lab::{Lab, NODES, ORIGIN};
use crate::scenario::{Recovery, TRICKLE, millis, serving, some_of, watch_for};
use crate::system::{BOTS, BRAINS};
use crate::truth;

/// Until the failsafe begins, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How late a beat may show that was written in time.
const LATE: Duration = Duration::from_millis(50);

/// How the arbiter is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// Its hosts lose power.
    Dead,
    /// Its processes are frozen; its kernel goes on accepting connections.
    Hanging,
    /// Its links carry [`TRICKLE`].
    Slow,
    /// No node reaches it.
    CutOff,
}

/// Those in which no read is answered.
pub(crate) const SILENT: [Away; 3] = [Away::Dead, Away::Hanging, Away::CutOff];

impl Away {
    fn begin(self, lab: &Lab) -> Result<()> {
        let hosts = lab.system.lease_client();
        match self {
            Self::Dead => lab.kill(hosts).map(drop),
            Self::Hanging => hosts.iter().try_for_each(|host| lab.freeze(host)),
            Self::Slow => hosts.iter().try_for_each(|host| lab.slow(host, Some(TRICKLE))),
            Self::CutOff => {
                let up = lab.up();
                hosts.iter().try_for_each(|host| lab.part(host, &up))
            }
        }
    }

    /// Ends every other cut too.
    fn end(self, lab: &Lab) -> Result<()> {
        let hosts = lab.system.lease_client();
        match self {
            Self::Dead => lab.boot(hosts)?,
            Self::Hanging => hosts.iter().try_for_each(|host| lab.thaw(host))?,
            Self::Slow => hosts.iter().try_for_each(|host| lab.slow(host, None))?,
            Self::CutOff => {}
        }
        lab.heal()
    }
}

/// What happens while the arbiter is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// A node that does not serve loses power.
    NodeDies,
    /// It is cut off from everybody.
    NodeCutOff,
    /// The node that serves loses power.
    ServingDies,
    /// It is cut off from everybody.
    HolderCutOff,
    /// `hold` is stopped where it stands on the node that serves.
    HoldFrozen,
}

/// Whether `hold` on this node says that it holds by failsafe.
fn holds_by_failsafe(lab: &Lab, node: &str) -> bool {
    let file = lab.disk(node).join("var/mirror/hold-bot.json");
    let facts = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    facts.is_some_and(|facts| facts["failsafe_since"].is_string())
}

fn wait_for_failsafe(lab: &Lab, node: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !holds_by_failsafe(lab, node) {
        ensure!(Instant::now() < until, "no failsafe on {node}\n{}", hold_log(lab, node));
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn hold_log(lab: &Lab, node: &str) -> String {
    let log = std::fs::read_to_string(lab.disk(node).join("root/log/hold")).unwrap_or_default();
    log.lines().rev().take(6).collect::<Vec<_>>().join("\n")
}

/// The arbiter is away for a while, and all nodes are up: the service goes on, as if nothing had happened.
/// The longest time without it, and whether it was one run all the while.
pub(crate) fn goes_on(lab: &Lab, away: Away, time: Duration, patience: Duration) -> Result<(Recovery, bool)> {
    let (old, from) = (serving(lab)?, truth::now());
    away.begin(lab)?;
    std::thread::sleep(time);
    let truth = lab.truth()?;
    let (mut gap, went_on) = (truth.longest_gap(from), truth.runs_since(from) == [old.clone()]);
    drop(truth);
    let went_on = went_on && lab.serving()?.is_some();
    away.end(lab)?;
    let to = lab.wait_for_service(patience)?.node;
    if !went_on {
        gap = lab.truth()?.longest_gap(from);
        eprintln!("{away:?}: it did not go on\n{}\n{}", hold_log(lab, &old.node), lab.last_line());
    }
    let outage_ms = Some(gap.as_secs_f64() * 1e3);
    let recovery = and_after(lab, from, Recovery { outage_ms, double_ms: 0.0, from: old.node, to })?;
    Ok((recovery, went_on))
}

/// While the arbiter is away something else fails. How long after that the last beat was, which must be less
/// than `valid + grace`. Then all is as before, and the service runs again.
pub(crate) fn stops(lab: &Lab, away: Away, meanwhile: Meanwhile, patience: Duration) -> Result<Duration> {
    let (old, wait) = (serving(lab)?, lab.system.wait()?);
    away.begin(lab)?;
    wait_for_failsafe(lab, &old.node)?;
    std::thread::sleep(some_of(Duration::from_secs(1)));
    let other = NODES[(NODES.iter().position(|node| *node == old.node).context("a node")? + 2) % NODES.len()];
    let mut frozen = String::new();
    match meanwhile {
        Meanwhile::NodeDies => drop(lab.kill(&[other])?),
        Meanwhile::NodeCutOff => lab.isolate(other)?,
        Meanwhile::ServingDies => drop(lab.kill(&[&old.node])?),
        Meanwhile::HolderCutOff => lab.isolate(&old.node)?,
        Meanwhile::HoldFrozen => {
            frozen = lab.must(&old.node, "cat /run/hold.pid")?.trim().to_owned();
            lab.must(&old.node, &format!("kill -STOP {frozen}"))?;
        }
    }
    let struck = truth::now();
    std::thread::sleep(wait + Duration::from_secs(1));
    let last = lab.truth()?.last_of(&old).context("it never ran")?;
    let stopped = Duration::from_nanos(last.saturating_sub(struck));
    eprintln!("{away:?}, {meanwhile:?}: it had stopped after {stopped:?}");
    std::thread::sleep(aftermath(lab)?);
    let runs = lab.truth()?.runs_since(struck + u64::try_from((wait + LATE).as_nanos())?);
    ensure!(runs.is_empty(), "without an arbiter, {runs:?} ran\n{}", lab.last_line());
    if !frozen.is_empty() {
        // It may have been killed by now.
        lab.run(&old.node, &format!("kill -CONT {frozen}"))?;
    }
    away.end(lab)?;
    lab.boot_the_dead()?;
    lab.wait_for_service(patience)?;
    std::thread::sleep(aftermath(lab)?);
    Ok(stopped)
}

/// Whether a brain that is inert in this way vouches.
fn vouches(way: Inert) -> bool {
    match way {
        Inert::TimerStopped | Inert::CheckStopped | Inert::DiskFull => true,
        Inert::Typo | Inert::BinaryGone | Inert::LoginsHang | Inert::LoginsRefused | Inert::Frozen => false,
    }
}

/// While the arbiter is away the brain becomes inert. If its witness still answers, the service goes on, and
/// the outage is none; else it stops in time, and the outage is how long after that. What was done to the
/// brain is not undone.
pub(crate) fn brain_inert(lab: &Lab, away: Away, way: Inert, patience: Duration) -> Result<Recovery> {
    let (old, from, wait) = (serving(lab)?, truth::now(), lab.system.wait()?);
    ensure!(old.node != BRAINS[0], "the brain serves itself");
    away.begin(lab)?;
    wait_for_failsafe(lab, &old.node)?;
    inert::strike(lab, way)?;
    let struck = truth::now();
    std::thread::sleep(wait + aftermath(lab)?);
    let beats = lab.truth()?.runs_since(struck + u64::try_from((wait + LATE).as_nanos())?);
    let went_on = beats == [old.clone()];
    ensure!(went_on || beats.is_empty(), "{away:?}, {way:?}: {beats:?}\n{}", lab.last_line());
    ensure!(
        went_on == vouches(way),
        "{way:?}: it {} go on\n{}",
        if went_on { "did" } else { "did not" },
        hold_log(lab, &old.node)
    );
    let last = lab.truth()?.last_of(&old).context("it never ran")?;
    away.end(lab)?;
    let to = lab.wait_for_service(patience)?.node;
    let outage_ms = Some(if went_on { 0.0 } else { millis(last.saturating_sub(struck)) });
    and_after(lab, from, Recovery { outage_ms, double_ms: 0.0, from: old.node, to })
}

/// The arbiter is cut off from the node that serves, and from no other: that one goes on. Then a person has
/// the service moved; with `deaf`, the old holder does not carry out the stop, so only the claim ends its
/// failsafe.
pub(crate) fn cut_off_from_holder(lab: &Lab, deaf: bool, patience: Duration) -> Result<Recovery> {
    let (old, from) = (serving(lab)?, truth::now());
    let hosts = lab.system.lease_client();
    let to = BOTS.into_iter().find(|node| *node != old.node && *node != BRAINS[0]).context("there is one node only")?;
    hosts.iter().try_for_each(|host| lab.part(host, &[old.node.as_str()]))?;
    wait_for_failsafe(lab, &old.node)?;
    std::thread::sleep(aftermath(lab)?);
    let runs = lab.truth()?.runs_since(from);
    ensure!(runs == [old.clone()], "it did not go on: {runs:?}\n{}", hold_log(lab, &old.node));
    if deaf {
        lab.must(&old.node, "setsid flock /run/bot.turn sleep 60 </dev/null >/dev/null 2>&1 &")?;
    }
    let recovery = watch_for(lab, patience, aftermath(lab)?, || {
        let at = truth::now();
        lab.system.move_to(lab, to)?;
        Ok(at)
    })?;
    ensure!(recovery.to == to, "it went to {}", recovery.to);
    lab.run(&old.node, "pkill -x flock; pkill -f '^sleep 60$'")?;
    lab.heal()?;
    and_after(lab, from, recovery)
}

/// The arbiter dies, and comes back with what it held before the last takeover, as from a backup. The
/// failsafe ends, because the register answers and must not be obeyed; nobody starts the service before a
/// person has the register repaired.
pub(crate) fn comes_back_older(lab: &Lab, patience: Duration) -> Result<Recovery> {
    lab.must(ORIGIN, "rm -rf backup.git && cp -a lease.git backup.git")?;
    let next = BOTS[1];
    lab.system.move_to(lab, next)?;
    let (old, from) = (serving(lab)?, truth::now());
    ensure!(old.node == next, "it is not on {next}");
    let recovery = endure(lab, patience, || {
        Away::Dead.begin(lab)?;
        wait_for_failsafe(lab, next)?;
        std::thread::sleep(aftermath(lab)?);
        let runs = lab.truth()?.runs_since(from);
        ensure!(runs == [old.clone()], "it did not go on: {runs:?}\n{}", hold_log(lab, next));
        let root = lab.disk(ORIGIN).join("root");
        std::fs::remove_dir_all(root.join("lease.git"))?;
        std::fs::rename(root.join("backup.git"), root.join("lease.git"))?;
        Away::Dead.end(lab)?;
        std::thread::sleep(lab.system.wait()? + Duration::from_secs(1));
        let late = truth::now();
        std::thread::sleep(aftermath(lab)?);
        let beats = lab.truth()?.runs_since(late);
        ensure!(beats.is_empty(), "{beats:?} obeyed a register that went back\n{}", lab.last_line());
        crate::doubt::repair(lab)
    })?;
    and_after(lab, from, recovery)
}
