//! The brain lives and does not work: what a probe does not see.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::scenario::{self, Quiet, Recovery, serving, watch};
use crate::system::{BOTS, BRAINS};
use crate::truth;

/// Has every other check end at once.
const BY_TURNS: &str = r#"mkdir -p /run/real && cp /run/lab/bin/mirror /run/real/mirror && cat >/run/by-turns <<'END'
#!/bin/sh
case "$*" in
*--if-brain*)
    if rm /run/worked 2>/dev/null; then exit 3; fi
    : >/run/worked
    ;;
esac
exec /run/real/mirror "$@"
END
chmod 755 /run/by-turns && mount --bind /run/by-turns /run/lab/bin/mirror"#;

/// What is wrong with the brain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inert {
    /// Its node list has a typo.
    Typo,
    /// Its timer, here the loop of its watchdog, is stopped.
    TimerStopped,
    /// Its `mirror` cannot be run any more.
    BinaryGone,
    /// Its check is stopped where it stands, with its locks.
    CheckStopped,
    /// Its disk is full; it works all the same.
    DiskFull,
    /// Its sshd accepts connections and answers nobody; it works all the same.
    LoginsHang,
    /// Nobody may log in; it works all the same.
    LoginsRefused,
    /// All its processes are stopped; its kernel answers.
    Frozen,
}

/// All of them.
pub(crate) const WAYS: [Inert; 8] = [
    Inert::Typo,
    Inert::TimerStopped,
    Inert::BinaryGone,
    Inert::CheckStopped,
    Inert::DiskFull,
    Inert::LoginsHang,
    Inert::LoginsRefused,
    Inert::Frozen,
];

/// Makes the brain inert.
pub(crate) fn strike(lab: &Lab, way: Inert) -> Result<()> {
    let brain = BRAINS[0];
    let command = match way {
        Inert::Typo => {
            "for l in /root/.config/mirror/mirror.toml /etc/mirror/mirror.toml; do [ ! -e $l ] || echo '[nodes' >$l; done"
                .to_owned()
        }
        Inert::TimerStopped if lab.system.needs_systemd() => "systemctl stop mirror-check.timer".to_owned(),
        Inert::TimerStopped => "kill -STOP $(pgrep -f '^sh /run/lab/bin/watchdog.sh')".to_owned(),
        Inert::BinaryGone => "mount --bind /dev/null /run/lab/bin/mirror".to_owned(),
        // It may be between two checks.
        Inert::CheckStopped => "for _ in $(seq 500); do p=$(pgrep -f '^mirror promote --if-brain') && \
                                kill -STOP $p && exit; sleep 0.01; done; exit 1"
            .to_owned(),
        Inert::DiskFull => return lab.fill_disk(brain),
        Inert::LoginsHang => "kill -STOP $(pgrep '^sshd')".to_owned(),
        // Those who are logged in are out as well.
        Inert::LoginsRefused => "echo >/root/.ssh/authorized_keys; \
                                 for p in $(pgrep '^sshd'); do pgrep -P $p; done | xargs -r kill; true"
            .to_owned(),
        Inert::Frozen => return lab.freeze(brain),
    };
    lab.must(brain, &command).map(|_| ())
}

/// The brain becomes inert, and so long after that the service dies on its host, which lives.
pub(crate) fn service_crashes(lab: &Lab, way: Inert, after: Duration, patience: Duration) -> Result<Recovery> {
    let node = serving(lab)?.node;
    ensure!(node != BRAINS[0], "the brain serves itself");
    strike(lab, way)?;
    std::thread::sleep(after);
    ensure!(serving(lab)?.node == node, "the service moved although it was well");
    let from = truth::now();
    let recovery = watch(lab, patience, || {
        let at = truth::now();
        lab.run(&node, "kill -9 $(cat /run/bot.pid)")?;
        Ok(at)
    })?;
    ensure!(lab.truth()?.double_ms(from) == 0.0, "two at once after {way:?}\n{}", lab.last_line());
    Ok(recovery)
}

/// The brain works at every other check only. The runs are the nodes that led, in turn.
pub(crate) fn works_by_turns(lab: &Lab, time: Duration) -> Result<Quiet> {
    lab.must(BRAINS[0], BY_TURNS)?;
    let until = Instant::now() + time;
    // A node that only follows says who leads, by its beat.
    let place = lab.disk(BRAINS[2]).join("var/mirror/beat.json");
    let mut leaders: Vec<String> = Vec::new();
    let mut quiet = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| scenario::quiet(lab, time));
        while Instant::now() < until {
            let beat: Option<Value> = fs::read(&place).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let leader = beat.and_then(|beat| beat["value"]["brain"].as_str().map(str::to_owned));
            leaders.extend(leader.filter(|leader| leaders.last() != Some(leader)));
            std::thread::sleep(Duration::from_millis(50));
        }
        quiet.join().map_err(|_| anyhow!("the watch broke off"))?
    })?;
    ensure!(!leaders.is_empty(), "{} has no beat", BRAINS[2]);
    ensure!(quiet.runs.len() == 1, "the service moved: {:?}", quiet.runs);
    eprintln!("lab: these led: {leaders:?}");
    quiet.runs = leaders;
    Ok(quiet)
}

/// Waits until every node has judged by more than its first checks, and the brain does not serve.
pub(crate) fn settle(lab: &Lab) -> Result<()> {
    if serving(lab)?.node == BRAINS[0] {
        lab.system.move_to(lab, BOTS[0])?;
    }
    std::thread::sleep(lab.system.check()? * 3 + Duration::from_secs(3) + scenario::some_of(lab.system.check()?));
    Ok(())
}
