//! What may make two of one: hosts that are cut off and not dead, processes that are frozen or killed
//! in the middle, nodes that return, an arbiter that is away. Whether there ever were two, the beats
//! say; each of these goes on until what was begun would have shown.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, NODES, ORIGIN};
use crate::scenario::{Recovery, millis, pause, serving, some_of, watch, watch_for};
use crate::system::{BOTS, BRAINS, System, WAIT};
use crate::truth;

/// For how long a cut lasts after the service has gone elsewhere.
const CUT: Duration = Duration::from_secs(3);

/// How long to look on after something has ended: two looks at least, and what a lease waits.
pub(crate) fn aftermath(lab: &Lab) -> Result<Duration> {
    Ok(lab.system.check()? * 2 + WAIT + Duration::from_secs(1))
}

/// Does something that need not move the service, waits until it runs in peace somewhere, and
/// tells the longest time without it since.
pub(crate) fn endure(lab: &Lab, patience: Duration, act: impl FnOnce() -> Result<()>) -> Result<Recovery> {
    let (old, at) = (serving(lab)?, truth::now());
    act()?;
    let until = Instant::now() + patience;
    let steady = Duration::from_secs(1);
    let to = loop {
        let truth = lab.truth()?;
        let since = truth::now().saturating_sub(u64::try_from(steady.as_nanos())?);
        if let [run] = truth.runs_since(since).as_slice()
            && truth.longest_gap(since) < Duration::from_millis(300)
        {
            break Some(run.node.clone());
        }
        drop(truth);
        if Instant::now() > until {
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let truth = lab.truth()?;
    let outage_ms = to.is_some().then(|| truth.longest_gap(at).as_secs_f64() * 1e3);
    let to = to.unwrap_or_else(|| "nobody".to_owned());
    Ok(Recovery { outage_ms, double_ms: truth.double_ms(at), from: old.node, to })
}

/// Goes on looking, and takes what shows into account.
pub(crate) fn and_after(lab: &Lab, from: u64, mut recovery: Recovery) -> Result<Recovery> {
    std::thread::sleep(aftermath(lab)?);
    let truth = lab.truth()?;
    recovery.double_ms = truth.double_ms(from);
    let runs: Vec<String> = truth.runs_since(from).into_iter().map(|run| run.node).collect();
    eprintln!("lab: {recovery:?}, by way of {}", runs.join(", "));
    Ok(recovery)
}

/// The node that serves is cut off from the other nodes, not from the arbiter; or from everybody.
/// Some time after the service has gone elsewhere, it is heard again. Under a lease that both sides
/// can write, one of them has to have given way by then.
pub(crate) fn cut_off(lab: &Lab, with_arbiter: bool, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    let from = truth::now();
    let quarrel = with_arbiter && lab.system.lease().is_some();
    let cut = if quarrel { aftermath(lab)? * 3 } else { CUT };
    let recovery = watch_for(lab, patience, cut, || {
        let at = truth::now();
        if with_arbiter {
            let others: Vec<&str> = NODES.into_iter().filter(|other| *other != node).collect();
            lab.part(&node, &others)?;
        } else {
            lab.isolate(&node)?;
        }
        Ok(at)
    })?;
    if quarrel {
        let late = truth::now();
        std::thread::sleep(aftermath(lab)? * 2);
        let runs = lab.truth()?.runs_since(late);
        // It may go on to a better node over there.
        let settled = !runs.is_empty() && runs.iter().all(|run| run.node != node);
        ensure!(settled, "two brains quarrel: {runs:?}\n{}", lab.last_line());
    }
    lab.heal()?;
    and_after(lab, from, recovery)
}

/// The brain is cut off from the node that serves, and from some others.
pub(crate) fn brain_cut_off_from_some(lab: &Lab, number: usize, patience: Duration) -> Result<Recovery> {
    let (node, brain) = (serving(lab)?.node, BRAINS[0]);
    ensure!(node != brain, "the brain serves, and cannot be cut off from itself");
    let rest: Vec<&str> = BOTS.into_iter().filter(|other| *other != node && *other != brain).collect();
    let others = [&[][..], &rest[..1], &rest[1..2], &rest[..2]][number % 4];
    let from = truth::now();
    let recovery = watch_for(lab, patience, CUT, || {
        let at = truth::now();
        lab.part(brain, &[&[node.as_str()], others].concat())?;
        Ok(at)
    })?;
    lab.heal()?;
    and_after(lab, from, recovery)
}

/// One of the twenty: what one node sends to another is lost, for as long as a takeover takes.
pub(crate) fn one_way(lab: &Lab, number: usize, patience: Duration) -> Result<Recovery> {
    let sender = NODES[number / 4 % 5];
    let receivers: Vec<&str> = NODES.into_iter().filter(|node| *node != sender).collect();
    let from = truth::now();
    let recovery = endure(lab, patience, || {
        lab.cut(sender, receivers[number % 4])?;
        std::thread::sleep(aftermath(lab)?);
        Ok(())
    });
    lab.heal()?;
    and_after(lab, from, recovery?)
}

/// One of the arbiter's three members loses power; nothing is to come of it.
pub(crate) fn member_dies(lab: &Lab, number: usize, patience: Duration) -> Result<Recovery> {
    let member = lab.system.members()[number % 3];
    let recovery = endure(lab, patience, || {
        lab.kill(&[member])?;
        std::thread::sleep(aftermath(lab)?);
        Ok(())
    })?;
    lab.boot(&[member])?;
    Ok(recovery)
}

/// The service is taken over, and then the arbiter comes back with what it held before, as from a
/// backup. Nobody may obey it; a person has it repaired.
pub(crate) fn older_arbiter(lab: &Lab, patience: Duration) -> Result<Recovery> {
    lab.must(ORIGIN, "rm -rf backup.git && cp -a lease.git backup.git")?;
    let next = BOTS[1];
    lab.system.move_to(lab, next)?;
    ensure!(serving(lab)?.node == next, "it is not on {next}");
    endure(lab, patience, || {
        lab.must(ORIGIN, "mv lease.git newer.git && mv backup.git lease.git && rm -rf newer.git")?;
        std::thread::sleep(WAIT);
        let late = truth::now();
        std::thread::sleep(aftermath(lab)?);
        let beats = lab.truth()?.runs_since(late);
        ensure!(beats.is_empty(), "{beats:?} obeyed a register that went back\n{}", lab.last_line());
        repair(lab)
    })
}

/// What a person does on the brain about a register that went back.
pub(crate) fn repair(lab: &Lab) -> Result<()> {
    for _ in 0..200 {
        let done = lab.run(BRAINS[0], "mirror lease repair bot --json")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        match done.status.code() {
            Some(0) if said.contains("\"repaired\"") => return Ok(()),
            Some(3) if said.contains("\"busy\"") => std::thread::sleep(Duration::from_millis(20)),
            _ => bail!("lease repair: {said}{}", String::from_utf8_lossy(&done.stderr)),
        }
    }
    bail!("lease repair: busy")
}

/// What holds the service on the node that serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// `mirror hold`, or what other systems have instead.
    Hold,
    /// Its keeper.
    Supervisor,
    /// Both.
    Both,
}

/// What holds the service is stopped where it stands, for more than twice as long as a lease waits,
/// and goes on then; meanwhile the node may be cut off from everybody, so that others take over.
pub(crate) fn holder_frozen(lab: &Lab, part: Part, cut_off: bool, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    let find = match &lab.system {
        System::Mirror { timers: true, .. } => "hold=$(systemctl show --property MainPID --value juno)",
        System::Mirror { .. } => "hold=$(cat /run/hold.pid)",
        System::Keepalived { .. } => "hold=$(pgrep -x keepalived)",
        System::Etcd => "hold=$(pgrep -x etcdctl)",
        other => bail!("nothing holds the service of {}", other.name()),
    };
    let which = match part {
        Part::Hold => "echo $hold",
        Part::Supervisor => "pgrep -x mirror -P $hold",
        Part::Both => "echo $hold $(pgrep -x mirror -P $hold)",
    };
    let pids = lab.must(&node, &format!("{find}; {which}"))?.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(!pids.is_empty(), "nothing holds the service on {node}");
    let from = truth::now();
    let frozen = Instant::now();
    let recovery = watch(lab, patience, || {
        lab.must(&node, &format!("kill -STOP {pids}"))?;
        if cut_off {
            lab.isolate(&node)?;
        }
        Ok(from)
    })?;
    std::thread::sleep((WAIT * 2 + Duration::from_secs(2)).saturating_sub(frozen.elapsed()));
    // It may have been killed by now.
    lab.run(&node, &format!("kill -CONT {pids}"))?;
    lab.heal()?;
    and_after(lab, from, recovery)
}

/// The whole host is stopped where it stands, longer than a lease waits, and goes on then.
pub(crate) fn host_frozen(lab: &Lab, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    let from = truth::now();
    let frozen = Instant::now();
    // Its kernel goes on answering, so for some it lives: there is no need for another to come.
    let old = lab.serving()?.context("nobody serves")?;
    lab.freeze(&node)?;
    let until = frozen + WAIT * 2 + lab.system.check()? * 3 + Duration::from_secs(2);
    let mut found = None;
    while Instant::now() < until {
        if let (None, Some((run, first))) = (&found, lab.truth()?.first_other(from, std::slice::from_ref(&old))) {
            found = Some((run.clone(), first));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.thaw(&node)?;
    let waited = endure(lab, patience, || Ok(()));
    let truth = lab.truth()?;
    let (to, outage_ms) = match found {
        Some((run, first)) => (run.node, Some(millis(first.saturating_sub(from)))),
        None => (node.clone(), waited.is_ok().then(|| truth.longest_gap(from).as_secs_f64() * 1e3)),
    };
    drop(truth);
    and_after(lab, from, Recovery { outage_ms, double_ms: 0.0, from: node, to })
}

/// The ways in which what makes a takeover is killed.
pub(crate) const ENDS: usize = 4;

/// Kills what is in the middle of a takeover, at a random moment. By `number`: the node that serves
/// dies, and so do all processes of the brain's promotion; it dies, and so does the brain's host; a
/// person moves the service, and the promotion's processes are killed; the node that serves is cut
/// off, and the brain's host dies.
pub(crate) fn killed_in_takeover(lab: &Lab, number: usize, patience: Duration) -> Result<Recovery> {
    let (node, brain, from) = (serving(lab)?.node, BRAINS[0], truth::now());
    ensure!(node != brain, "the brain serves, and cannot be killed by itself");
    let takeover = lab.system.check()? + WAIT + Duration::from_millis(1500);
    let recovery = match number % ENDS {
        0 => watch(lab, patience, || {
            let at = lab.kill(&[&node])?;
            std::thread::sleep(some_of(takeover));
            lab.must(brain, KILL_PROMOTIONS)?;
            Ok(at)
        })?,
        1 => watch(lab, patience, || {
            let at = lab.kill(&[&node])?;
            std::thread::sleep(some_of(takeover));
            lab.kill(&[brain])?;
            Ok(at)
        })?,
        2 => endure(lab, patience, || {
            let to = BOTS[1 + number / ENDS % 3];
            std::thread::scope(|scope| {
                scope.spawn(|| lab.run(brain, &format!("mirror promote --to {to} --json")));
                std::thread::sleep(some_of(Duration::from_millis(800)));
                lab.must(brain, KILL_PROMOTIONS)
            })?;
            std::thread::sleep(aftermath(lab)?);
            Ok(())
        })?,
        _ => {
            let recovery = watch(lab, patience, || {
                let at = truth::now();
                lab.isolate(&node)?;
                std::thread::sleep(some_of(takeover));
                lab.kill(&[brain])?;
                Ok(at)
            })?;
            lab.heal()?;
            recovery
        }
    };
    and_after(lab, from, recovery)
}

/// Each with all that it has started, whatever group that is in, and at the same moment.
const KILL_PROMOTIONS: &str = "
tree() { for child in $(pgrep -P $1); do tree $child; done; echo $1; }
of=$(pgrep -f '^mirror promote'; true)
[ -z \"$of\" ] || kill -STOP $of
all=$(for pid in $of; do tree $pid; done)
[ -z \"$all\" ] || kill -9 $all 2>/dev/null || true
";

/// The node that serves loses power and returns, with its service enabled at boot: after another has
/// taken over, and until the lease names it again it has to be silent; or with `early` at any
/// moment, maybe before anyone has noticed.
pub(crate) fn wakes(lab: &Lab, early: bool, patience: Duration) -> Result<Recovery> {
    let (node, from) = (serving(lab)?.node, truth::now());
    if early {
        let recovery = endure(lab, patience, || {
            lab.kill(&[&node])?;
            std::thread::sleep(some_of(Duration::from_secs(9)));
            lab.boot(&[&node])?;
            std::thread::sleep(aftermath(lab)?);
            Ok(())
        })?;
        return and_after(lab, from, recovery);
    }
    let recovery = watch(lab, patience, || lab.kill(&[&node]))?;
    lab.boot(&[&node])?;
    let booted = truth::now();
    std::thread::sleep(pause(lab)?);
    let recovery = and_after(lab, from, recovery)?;
    let woke = lab.truth()?.runs_since(booted).into_iter().find(|run| run.node == node);
    ensure!(woke.is_none(), "it runs on {node}, which the lease does not name: {woke:?}\n{}", lab.last_line());
    let asked = lab.must(&node, "systemctl show --property Result,ActiveState juno")?;
    ensure!(
        asked.contains("Result=exec-condition") && asked.contains("ActiveState=inactive"),
        "{node} did not ask at boot: {asked}"
    );
    Ok(recovery)
}
