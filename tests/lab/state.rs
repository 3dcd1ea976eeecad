//! The service's state: commits that a node made and breathed out, and whether they are where they are wanted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, ORIGIN};
use crate::scenario::{self, Recovery};

/// How long a node may take to breathe, on a busy machine and with breaths of its own.
const BREATH: Duration = Duration::from_secs(60);

/// The service commits on a node, and the node breathes it out, as the hook of the examples does. Returns what
/// its branch is at then.
pub(crate) fn breathed_out(lab: &Lab, node: &str, what: &str) -> Result<String> {
    // A breath that moves the files at this moment has the lock of the index.
    let commit = format!("cd ACP_1 && echo {what} >>{what} && git add {what} && git commit -q -m {what}");
    let until = Instant::now() + BREATH;
    while !lab.run(node, &commit)?.status.success() {
        ensure!(Instant::now() < until, "{node} cannot commit");
        std::thread::sleep(Duration::from_millis(50));
    }
    loop {
        let said = lab.run(node, "mirror breathe --json")?;
        let object: serde_json::Value = serde_json::from_slice(&said.stdout).with_context(|| format!("{said:?}"))?;
        if object["verdict"] == "in-step" && object["copies"].as_u64().is_none_or(|copies| copies > 0) {
            break;
        }
        ensure!(Instant::now() < until, "{node} does not breathe: {object:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(lab.must(node, "git -C ACP_1 rev-parse HEAD")?.trim().to_owned())
}

/// Whether a node's branch, or a commit, has a commit.
fn has(lab: &Lab, node: &str, whole: &str, commit: &str) -> Result<bool> {
    let asked = lab.run(node, &format!("git -C ACP_1 merge-base --is-ancestor {commit} {whole}"))?;
    Ok(asked.status.success())
}

/// The serving node breathes out a commit and loses power. Whether the next one has the commit at its first beat.
pub(crate) fn comes_along(lab: &Lab, patience: Duration) -> Result<(Recovery, bool)> {
    let node = scenario::serving(lab)?.node;
    let commit = breathed_out(lab, &node, "order")?;
    let recovery = scenario::serving_dies(lab, patience)?;
    if recovery.outage_ms.is_none() {
        return Ok((recovery, false));
    }
    let found = std::fs::read_to_string(lab.disk(&recovery.to).join("root/log/first-beat"));
    let found = found.with_context(|| format!("what {} had at its first beat", recovery.to))?;
    let is_there = has(lab, &recovery.to, found.trim(), &commit)?;
    Ok((recovery, is_there))
}

/// The origin is gone for good; nodes commit and breathe out; then all but one lose power. How many of the
/// commits the survivor lacks.
pub(crate) fn four_die_without_origin(
    lab: &Lab,
    survivor: &str,
    patience: Duration,
) -> Result<(Option<Recovery>, usize)> {
    lab.kill(&[ORIGIN])?;
    let serving = scenario::serving(lab)?.node;
    let writers: Vec<&str> = [&serving[..], "moscow", "spb"].into_iter().filter(|node| *node != survivor).collect();
    let commits = std::thread::scope(|scope| {
        let write = |node: &&str| breathed_out(lab, node, &format!("order-{node}"));
        let writing: Vec<_> = writers.iter().map(|node| scope.spawn(move || write(node))).collect();
        let join = |writing: std::thread::ScopedJoinHandle<'_, Result<String>>| match writing.join() {
            Ok(commit) => commit,
            Err(_) => bail!("a commit broke off"),
        };
        writing.into_iter().map(join).collect::<Result<Vec<String>>>()
    })?;
    let recovery = scenario::four_die(lab, survivor, patience)?;
    // It has them in its refs; its next breath brings them into its branch.
    let until = Instant::now() + BREATH;
    loop {
        lab.run(survivor, "mirror breathe --quiet")?;
        let there = commits.iter().map(|commit| has(lab, survivor, "main", commit)).collect::<Result<Vec<_>>>()?;
        let missing = there.iter().filter(|is_there| !**is_there).count();
        if missing == 0 || Instant::now() > until {
            return Ok((recovery, missing));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
