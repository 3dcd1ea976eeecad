//! Hosts that really die: the short set. `bench.rs` is the long one, which measures.
//!
//! Here only what must always hold is asserted, since a machine that runs tests is a busy one: every
//! recovery under 10 s, never two at once where a host really died, no failover without a failure.
#![allow(dead_code, reason = "each of the two programs uses a part of the lab")]

mod arbiter;
mod doubt;
mod furnish;
mod host;
mod inert;
mod inside;
mod lab;
mod package;
mod remains;
mod scenario;
mod stalls;
mod state;
mod switch;
mod system;
mod systemd;
mod tree;
mod trips;
mod truth;
mod wire;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal};

use arbiter::{Away, Meanwhile};
use doubt::Part;
use inert::Inert;
use lab::{Lab, NODES, ORIGIN};
use package::Right;
use scenario::{Quiet, Recovery, Trouble};
use switch::Links;
use system::{FAST, LEASE, LEASE_ETCD_FAST, LEASE_FAST, LEASE_UNITS, PROTOCOL, System, TIMERS};
use truth::Truth;

/// What the protocol promises.
const PROMISED: Duration = Duration::from_secs(10);
/// How long a recovery is waited for, so that a failure says how late it was.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a trial is begun on a machine that stands still.
const MAX_TRIES: u32 = 3;

type Test = fn() -> Result<()>;

fn main() {
    inside::dispatch();
    // Several hosts, and at times several labs, share the processors of this machine.
    furnish::CHEAP_LOGINS.store(true, Ordering::Relaxed);
    let missing = remains::missing();
    let anywhere: [(&str, Test); 2] =
        [("overlap_is_counted", overlap_is_counted), ("silence_is_an_outage", silence_is_an_outage)];
    let on_hosts: [(&str, Test); 11] = [
        ("a_dead_host_is_silent", a_dead_host_is_silent),
        ("cuts_cut_what_they_say", cuts_cut_what_they_say),
        ("a_slow_origin_is_slow", a_slow_origin_is_slow),
        ("a_frozen_host_does_nothing", a_frozen_host_does_nothing),
        ("nothing_is_left_of_a_killed_lab", nothing_is_left_of_a_killed_lab),
        ("systemd_runs_units", systemd_runs_units),
        ("a_node_is_asked_under_the_confinement_of_its_unit", a_node_is_asked_under_the_confinement_of_its_unit),
        ("a_unit_that_goes_on_checking_keeps_its_connections", a_unit_that_goes_on_checking),
        ("with_a_lease_there_are_never_two", with_a_lease_there_are_never_two),
        ("without_the_arbiter_it_goes_on_while_every_node_answers", without_the_arbiter),
        ("with_a_lease_in_etcd_the_dead_are_followed", with_a_lease_in_etcd_the_dead_are_followed),
    ];
    // Without a lease a host that is silent for too long is dead, and be it because this machine stood still.
    let within_deadlines: [(&str, Test); 20] = [
        ("in_five_cities_it_moves_only_when_a_host_dies", in_five_cities),
        ("serving_dies", serving_dies),
        ("serving_dies_by_the_protocol_and_under_timers", serving_dies_by_the_protocol_and_under_timers),
        ("all_but_amsterdam_die", || all_die_but("amsterdam")),
        ("all_but_moscow_die", || all_die_but("moscow")),
        ("all_but_almaty_die", || all_die_but("almaty")),
        ("all_but_spb_die", || all_die_but("spb")),
        ("all_but_novosibirsk_die", || all_die_but("novosibirsk")),
        ("one_after_another_dies", one_after_another_dies),
        ("brain_dies_then_serving", brain_dies_then_serving),
        ("service_crashes", service_crashes),
        ("service_crashes_and_the_brain_is_inert", service_crashes_and_the_brain_is_inert),
        ("service_cannot_start_on_next", service_cannot_start_on_next),
        ("a_planned_reboot_moves_the_service_first", a_planned_reboot),
        ("dead_node_returns_and_a_person_moves", dead_node_returns_and_a_person_moves),
        ("origin_hangs_or_is_slow_and_serving_dies", origin_hangs_or_is_slow_and_serving_dies),
        ("dead_node_returns_with_stale_connection", dead_node_returns_with_stale_connection),
        ("a_commit_comes_along_when_its_host_dies", a_commit_comes_along),
        ("without_an_origin_the_survivor_holds_every_commit", without_an_origin),
        ("nothing_fails", nothing_fails),
    ];
    let packaged: [(&str, Test); 2] = [
        ("hosts_install_the_package_and_survive", hosts_install_the_package_and_survive),
        ("hosts_upgrade_the_package_and_purge_it", hosts_upgrade_the_package_and_purge_it),
    ];
    let unpackaged = missing.clone().or_else(package::missing);
    if let Some(why) = &unpackaged {
        eprintln!("lab: {} trials that need the package are ignored here, for {why}", packaged.len());
    }
    if let Some(why) = &missing {
        eprintln!(
            "lab: {} trials that need hosts are ignored here, for {why}",
            on_hosts.len() + within_deadlines.len()
        );
    }
    let trial = |name: &str, test: Box<dyn Fn() -> Result<()> + Send>| {
        Trial::test(name, move || test().map_err(|e| Failed::from(format!("{e:?}"))))
    };
    let mut trials: Vec<Trial> = anywhere.into_iter().map(|(name, test)| trial(name, Box::new(test))).collect();
    let on_hosts = on_hosts.into_iter().map(|(name, test)| trial(name, Box::new(test)));
    let within_deadlines =
        within_deadlines.into_iter().map(|(name, test)| trial(name, Box::new(move || unless_stalled(test))));
    trials.extend(on_hosts.chain(within_deadlines).map(|trial| trial.with_ignored_flag(missing.is_some())));
    trials.extend(packaged.into_iter().map(|(name, test)| {
        trial(name, Box::new(move || unless_stalled(test))).with_ignored_flag(unpackaged.is_some())
    }));
    let mut arguments = Arguments::from_args();
    // Two labs at once would measure each other.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

/// Tries again what failed while this machine stood still.
fn unless_stalled(test: Test) -> Result<()> {
    stalls::watch();
    for _ in 1..MAX_TRIES {
        let begun = Instant::now();
        let tried = test();
        let (Err(error), Some(stall)) = (&tried, stalls::longest_since(begun)) else { return tried };
        eprintln!("lab: once more, since a processor stood still for {stall:?}: {error:#}");
    }
    test()
}

/// What must hold for a recovery from the death of a host.
fn sound(recovery: &Recovery, lab: &Lab) -> Result<()> {
    eprintln!("lab: {recovery:?}");
    let in_time = recovery.outage_ms.is_some_and(|ms| ms < PROMISED.as_secs_f64() * 1e3);
    ensure!(in_time, "not recovered in time: {recovery:?}\n{}", lab.last_line());
    ensure!(recovery.double_ms == 0.0, "two at once: {recovery:?}\n{}", lab.last_line());
    Ok(())
}

/// What must hold when nothing has failed. A gap in the beats of one run is the machine's.
fn undisturbed(quiet: &Quiet, lab: &Lab) -> Result<()> {
    eprintln!("lab: {quiet:?}");
    ensure!(quiet.runs.len() == 1, "the service moved although nothing failed: {quiet:?}\n{}", lab.last_line());
    Ok(())
}

fn serving_dies() -> Result<()> {
    let lab = Lab::start(FAST)?;
    sound(&scenario::serving_dies(&lab, PATIENCE)?, &lab)
}

/// Nothing fails, all links become three times slower at once, and the host that serves dies.
fn in_five_cities() -> Result<()> {
    let lab = Lab::start_over(FAST, Links::Wan)?;
    let begun = Instant::now();
    ensure!(knock(&lab, "amsterdam", "almaty")? == Some(0), "almaty does not answer amsterdam");
    ensure!(begun.elapsed() > Duration::from_millis(105), "they are not 105 ms from each other: {:?}", begun.elapsed());
    undisturbed(&scenario::quiet(&lab, Duration::from_secs(6))?, &lab)?;
    undisturbed(&scenario::stretched(&lab, Duration::from_secs(4))?, &lab)?;
    let (moved, frames) = lab.record(|| scenario::moved_to(&lab, "spb", PATIENCE))?;
    tell_trips("planned move", &frames);
    one_alone(&moved, &lab)?;
    let (recovery, frames) = lab.record(|| scenario::serving_dies(&lab, PATIENCE))?;
    tell_trips("takeover", &frames);
    one_alone(&recovery, &lab)
}

/// From the brain to each node, the checks before and after included.
fn tell_trips(what: &str, frames: &[trips::Frame]) {
    for (number, node) in (1..).zip(NODES) {
        let (opened, trips) = trips::between(frames, 2, number);
        eprintln!("lab: {what}: moscow to {node}: {opened} connections opened, {trips} round trips on all");
    }
}

fn serving_dies_by_the_protocol_and_under_timers() -> Result<()> {
    side_by_side([PROTOCOL, TIMERS], |system| {
        let lab = Lab::start(system.clone())?;
        std::thread::sleep(scenario::some_of(Duration::from_secs(5)));
        sound(&scenario::serving_dies(&lab, PATIENCE)?, &lab)
    })
}

/// What mostly waits, in a lab each.
fn side_by_side<T: Sync, const N: usize>(ways: [T; N], trial: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let trials = ways.each_ref().map(|way| scope.spawn(|| trial(way)));
        trials.into_iter().try_for_each(|trial| trial.join().unwrap_or_else(|_| bail!("a lab broke off")))
    })
}

fn systemd_runs_units() -> Result<()> {
    let lab = Lab::raise(System::Bare)?;
    let unit =
        "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 99'\n";
    systemd::run_unit(&lab, "spb", "sleeper.service", unit)?;
    lab.must("spb", "systemctl is-active sleeper")?;
    ensure!(!lab.run("almaty", "systemctl is-active sleeper")?.status.success(), "a unit runs where it is not");
    lab.kill(&["spb"])?;
    lab.boot(&["spb"])?;
    let after = lab.must("spb", "systemctl is-active sleeper || systemctl start sleeper && echo started")?;
    ensure!(after.contains("inactive") && after.contains("started"), "not a new life of the same disk: {after}");
    Ok(())
}

/// The brain's connections last from check to check, and a killed unit begins anew.
fn a_unit_that_goes_on_checking() -> Result<()> {
    let lab = Lab::start(TIMERS)?;
    lab.must("moscow", "systemctl enable --now mirror-watchdog.service")?;
    ensure!(!lab.run("moscow", "systemctl is-active mirror-check.timer")?.status.success(), "both check");
    let status = || lab.run("moscow", "systemctl status --no-pager --full mirror-watchdog");
    let connections = || -> Result<Vec<String>> {
        let told = String::from_utf8_lossy(&status()?.stdout).into_owned();
        let of_ssh = told.lines().filter(|line| line.contains("ssh -N"));
        let ids = of_ssh.filter_map(|line| line.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()));
        Ok(ids.map(str::to_owned).collect())
    };
    let wait_for = |what: &str, met: &dyn Fn() -> Result<bool>| -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while !met()? {
            let told = || status().map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
            ensure!(Instant::now() < until, "{what}\n{}", told()?);
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    };
    let main = || lab.must("moscow", "systemctl show --property MainPID --value mirror-watchdog");
    let beat = || lab.must("moscow", "stat --format %y /var/lib/mirror/beat.json");
    // A login is another process than the connection that it leaves.
    wait_for("no connection lasted from check to check", &|| {
        let (before, first) = (connections()?, beat()?);
        wait_for("it did not check again", &|| Ok(beat()? != first))?;
        let after = connections()?;
        Ok(before.iter().any(|one| after.contains(one)))
    })?;
    let held = connections()?;

    let killed = main()?;
    lab.must("moscow", &format!("kill -9 {killed}"))?;
    wait_for("it did not begin anew", &|| Ok(main()? != killed && !connections()?.is_empty()))?;
    ensure!(connections()?.iter().all(|one| !held.contains(one)), "what it held did not end with it");
    lab.wait_for_service(PATIENCE).map(|_| ())
}

/// A status that needs what the shipped unit takes away works by hand, and not in the unit.
fn a_node_is_asked_under_the_confinement_of_its_unit() -> Result<()> {
    let lab = Lab::raise(TIMERS)?;
    let look = |node: &str| -> Result<serde_json::Value> {
        let said = lab.run(node, "mirror --json chain check --here --within 60s")?;
        let object: serde_json::Value = serde_json::from_slice(&said.stdout).with_context(|| format!("{said:?}"))?;
        Ok(object["here"].clone())
    };
    let all_work =
        |list: &serde_json::Value| list.as_array().is_some_and(|all| all.iter().all(|one| one["works"] == true));
    let here = look("spb")?;
    ensure!(here["confinement"]["works"] == true && here["state_of_unit"] == "/var/lib/mirror", "{here:#}");
    ensure!(
        all_work(&here["nodes"]) && all_work(&here["services"]) && here["state"] == here["state_of_unit"],
        "{here:#}"
    );

    let needs = "echo 'grep -q NoNewPrivs:.0 /proc/self/status || exit 126' >/root/needs; \
                 sed -i 's|^status = .*|status = \"sh /root/needs\"|' /etc/mirror/mirror.toml";
    lab.must("spb", needs)?;
    let here = look("spb")?;
    ensure!(all_work(&here["nodes"]) && !all_work(&here["services"]), "{here:#}");
    lab.must(
        "spb",
        "rm /etc/systemd/system/mirror-check.* && systemctl daemon-reload && { systemctl stop mirror-check.service || :; }",
    )?;
    let here = look("spb")?;
    ensure!(all_work(&here["services"]) && here["confinement"]["works"] == false, "{here:#}");
    let why = here["confinement"]["detail"].as_str().unwrap_or_default();
    ensure!(why.contains("no mirror-check.service is loaded"), "{here:#}");
    Ok(())
}

fn all_die_but(survivor: &str) -> Result<()> {
    let lab = Lab::start(FAST)?;
    std::thread::sleep(Duration::from_millis(500));
    match scenario::four_die(&lab, survivor, PATIENCE)? {
        Some(recovery) => sound(&recovery, &lab),
        None => Ok(()),
    }
}

fn one_after_another_dies() -> Result<()> {
    let lab = Lab::start(FAST)?;
    let recoveries = scenario::one_after_another(&lab, PATIENCE)?;
    recoveries.iter().try_for_each(|recovery| sound(recovery, &lab))?;
    ensure!(recoveries.len() == NODES.len() - 1, "{} recoveries", recoveries.len());
    Ok(())
}

fn brain_dies_then_serving() -> Result<()> {
    let lab = Lab::start(FAST)?;
    sound(&scenario::brain_then_serving(&lab, PATIENCE)?, &lab)
}

fn service_crashes() -> Result<()> {
    let lab = Lab::start(FAST)?;
    // One that crashes while it is being started has failed to start, and goes to the next node.
    std::thread::sleep(Duration::from_secs(2));
    let recovery = scenario::service_crashes(&lab, PATIENCE)?;
    ensure!(recovery.to == recovery.from, "it crashed on {} and went to {}", recovery.from, recovery.to);
    sound(&recovery, &lab)
}

/// At the same moment; and later, when others lead. How long it takes is for the long set: on a busy
/// machine the first login of the node that takes over may be broken off many times.
fn service_crashes_and_the_brain_is_inert() -> Result<()> {
    let later = Duration::from_secs(8);
    let ways = [
        (Inert::Typo, Duration::ZERO),
        (Inert::CheckStopped, later),
        (Inert::LoginsRefused, later),
        (Inert::Frozen, later),
    ];
    ways.into_iter().try_for_each(|(way, after)| {
        let lab = Lab::start(FAST)?;
        inert::settle(&lab)?;
        let recovery = inert::service_crashes(&lab, way, after, PATIENCE * 2).with_context(|| format!("{way:?}"))?;
        one_alone(&recovery, &lab).with_context(|| format!("{way:?}"))
    })
}

fn service_cannot_start_on_next() -> Result<()> {
    let lab = Lab::start(FAST)?;
    sound(&scenario::cannot_start_on_next(&lab, PATIENCE)?, &lab)
}

/// A node that shuts down drains itself first, and when it is back it is drained no more.
fn a_planned_reboot() -> Result<()> {
    let lab = Lab::start(TIMERS)?;
    std::thread::sleep(Duration::from_secs(10));
    let (moved, is_before) = scenario::reboots(&lab, PATIENCE)?;
    sound(&moved, &lab)?;
    ensure!(is_before, "the service ran elsewhere only after its host was gone: {moved:?}\n{}", lab.last_line());
    let drains = || -> Result<usize> {
        let said = lab.run("moscow", "mirror --json status")?;
        let object: serde_json::Value = serde_json::from_slice(&said.stdout).with_context(|| format!("{said:?}"))?;
        object["drains"].as_array().map(Vec::len).with_context(|| format!("{object:#}"))
    };
    ensure!(drains()? == 1, "{} is not drained", moved.from);
    lab.boot(&[&moved.from])?;
    let until = Instant::now() + Duration::from_secs(60);
    while drains()? > 0 {
        ensure!(Instant::now() < until, "{} stays drained after its boot", moved.from);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn dead_node_returns_and_a_person_moves() -> Result<()> {
    let lab = Lab::start(FAST.failing_back_after("2s"))?;
    let (back, after) = scenario::returns(&lab, PATIENCE)?;
    sound(&back, &lab)?;
    ensure!(after >= Duration::from_secs(2), "it went back {after:?} after the boot, before its time");
    sound(&scenario::moved_to(&lab, "spb", PATIENCE)?, &lab)
}

fn dead_node_returns_with_stale_connection() -> Result<()> {
    let lab = Lab::start(FAST.failing_back_after("3s"))?;
    let stale = scenario::returns_with_stale_connection(&lab, PATIENCE)?;
    sound(&stale.first, &lab)?;
    sound(&stale.back, &lab)?;
    sound(&stale.second, &lab)?;
    ensure!(stale.was_open, "recovered too late for the connection to have been a stale one: {stale:?}");
    ensure!(stale.back.to == "amsterdam" && stale.false_failovers == 0, "{stale:?}\n{}", lab.last_line());
    Ok(())
}

fn origin_hangs_or_is_slow_and_serving_dies() -> Result<()> {
    side_by_side([Trouble::Hanging, Trouble::Slow], |trouble| {
        let lab = Lab::start(FAST)?;
        sound(&scenario::without_origin(&lab, *trouble, PATIENCE)?, &lab).with_context(|| format!("{trouble:?}"))
    })
}

/// The serving host breathes a commit out and dies; the next one has it at the first beat.
fn a_commit_comes_along() -> Result<()> {
    let lab = Lab::start(PROTOCOL)?;
    let (recovery, is_there) = state::comes_along(&lab, PATIENCE)?;
    ensure!(is_there, "the commit is not there at the first beat: {recovery:?}\n{}", lab.last_line());
    sound(&recovery, &lab)
}

/// The origin is gone for good, then four of five die.
fn without_an_origin() -> Result<()> {
    let lab = Lab::start(PROTOCOL)?;
    let (recovery, missing) = state::four_die_without_origin(&lab, "novosibirsk", PATIENCE)?;
    ensure!(missing == 0, "{missing} commits are missing: {recovery:?}\n{}", lab.last_line());
    recovery.map_or(Ok(()), |recovery| sound(&recovery, &lab))
}

fn nothing_fails() -> Result<()> {
    let lab = Lab::start(FAST)?;
    // The first looks make the shared connections.
    std::thread::sleep(Duration::from_secs(2));
    undisturbed(&scenario::quiet(&lab, Duration::from_secs(8))?, &lab)?;
    undisturbed(&scenario::loaded(&lab, Duration::from_secs(8))?, &lab)?;
    undisturbed(&scenario::lossy(&lab, Duration::from_secs(8))?, &lab)
}

/// What somebody does who has the package and its pages, and then four of five hosts die at once.
fn hosts_install_the_package_and_survive() -> Result<()> {
    let (lab, _) = package::set_up(Right::Polkit)?;
    lab.wait_for_service(Duration::from_secs(60))?;
    package::check(&lab)?;
    package::keep_quiet_checks(&lab, "novosibirsk")?;
    std::thread::sleep(scenario::some_of(Duration::from_secs(5)));
    let recovery = scenario::four_die(&lab, "novosibirsk", PATIENCE)?.context("the survivor served already")?;
    sound(&recovery, &lab)?;
    package::notices_tell_of_a_move(&lab, "novosibirsk")
}

/// One after the other, each while it checks; nothing moves. In the end nothing is left.
fn hosts_upgrade_the_package_and_purge_it() -> Result<()> {
    let (lab, before) = package::set_up(Right::Sudo)?;
    let serving = lab.wait_for_service(Duration::from_secs(60))?;
    package::check(&lab)?;
    let place = tempfile::tempdir()?;
    let newer = package::newer(place.path())?;
    let begun = truth::now();
    for node in NODES {
        package::upgrade(&lab, node, &newer)?;
    }
    std::thread::sleep(lab.system.check()? * 2);
    let runs = lab.truth()?.runs_since(begun);
    eprintln!("lab: upgraded: {runs:?}, {:?} without a beat at most", lab.truth()?.longest_gap(begun));
    ensure!(runs == [serving], "the service moved although nothing failed: {runs:?}\n{}", lab.last_line());
    for node in NODES {
        package::purge(&lab, node, &before[node])?;
    }
    Ok(())
}

/// What must hold under a lease, whatever happens to the hosts, and however busy the machine is. How
/// long it took is for the long set.
fn one_alone(recovery: &Recovery, lab: &Lab) -> Result<()> {
    eprintln!("lab: {recovery:?}");
    ensure!(recovery.outage_ms.is_some(), "not recovered: {recovery:?}\n{}", lab.last_line());
    ensure!(recovery.double_ms == 0.0, "two at once: {recovery:?}\n{}", lab.last_line());
    Ok(())
}

fn moved_then_dies(lab: &Lab) -> Result<Vec<Recovery>> {
    let served = lab.serving()?.context("nobody serves")?.node;
    let to = if served == "spb" { "almaty" } else { "spb" };
    Ok(vec![scenario::moved_to(lab, to, PATIENCE)?, scenario::serving_dies(lab, PATIENCE)?])
}

/// What is cut off stops by itself, and a busy machine may take as long to find it dead: so there it runs
/// on for so long that a takeover that did not wait would be seen.
fn with_a_lease_there_are_never_two() -> Result<()> {
    type Way = (&'static str, System, fn(&Lab) -> Result<Vec<Recovery>>);
    let pairs: [[Way; 2]; 2] = [
        [
            ("moved, then dies", LEASE, moved_then_dies),
            ("cut off", LEASE_FAST.relying_for("6s"), |lab| Ok(vec![doubt::cut_off(lab, false, PATIENCE)?])),
        ],
        [
            ("frozen and cut off", LEASE_FAST, |lab| Ok(vec![doubt::holder_frozen(lab, Part::Hold, true, PATIENCE)?])),
            ("wakes, enabled", LEASE_UNITS, |lab| Ok(vec![doubt::wakes(lab, false, PATIENCE)?])),
        ],
    ];
    pairs.into_iter().try_for_each(|pair| {
        side_by_side(pair, |(name, system, way)| {
            let lab = Lab::start(system.clone())?;
            way(&lab).and_then(|all| all.iter().try_for_each(|recovery| one_alone(recovery, &lab))).context(*name)
        })
    })
}

/// Reads are relied on for so long that a busy machine is in time. Where it is too busy even for that, another
/// attempt may be luckier; one that stops too late or makes two is an error at once.
fn without_the_arbiter() -> Result<()> {
    side_by_side([None, Some(Meanwhile::NodeDies)], |meanwhile| {
        let lab = Lab::start(LEASE_FAST.relying_for("5s"))?;
        let from = truth::now();
        match meanwhile {
            Some(meanwhile) => {
                let stopped = arbiter::stops(&lab, Away::Hanging, *meanwhile, PATIENCE)?;
                eprintln!("lab: {meanwhile:?}: it had stopped after {stopped:?}");
            }
            None => {
                let attempt = || arbiter::goes_on(&lab, Away::Dead, Duration::from_secs(8), PATIENCE).map(|on| on.1);
                ensure!(attempt()? || attempt()? || attempt()?, "it never went on\n{}", lab.last_line());
            }
        }
        ensure!(lab.truth()?.double_ms(from) == 0.0, "two at once\n{}", lab.last_line());
        Ok(())
    })
}

fn with_a_lease_in_etcd_the_dead_are_followed() -> Result<()> {
    if let Some(remedy) = LEASE_ETCD_FAST.missing() {
        eprintln!("lab: no etcd is here: {remedy}");
        return Ok(());
    }
    let lab = Lab::start(LEASE_ETCD_FAST)?;
    moved_then_dies(&lab)?.iter().try_for_each(|recovery| one_alone(recovery, &lab))
}

/// Connects to a host's sshd from another host: the status of bash, 124 when there was no answer.
fn knock(lab: &Lab, from: &str, to: &str) -> Result<Option<i32>> {
    let number = NODES.iter().chain([&ORIGIN]).position(|node| *node == to).context("a host")? + 1;
    let command = format!("timeout 1 bash -c '</dev/tcp/10.77.0.{number}/22' 2>/dev/null");
    Ok(lab.run(from, &command)?.status.code())
}

fn a_dead_host_is_silent() -> Result<()> {
    let lab = Lab::raise(FAST)?;
    ensure!(knock(&lab, "spb", "almaty")? == Some(0), "a living host does not answer");
    std::fs::write(lab.disk("almaty").join("root/kept"), "")?;
    lab.kill(&["almaty"])?;
    // Longer than it takes a neighbour to be given up.
    for _ in 0..5 {
        ensure!(knock(&lab, "spb", "almaty")? == Some(124), "a dead host is not silent");
    }
    lab.boot(&["almaty"])?;
    ensure!(knock(&lab, "spb", "almaty")? == Some(0), "a host does not answer after its boot");
    ensure!(lab.run("almaty", "test -e /root/kept && test ! -e /run/bot.pid")?.status.success(), "not its disk");
    Ok(())
}

fn cuts_cut_what_they_say() -> Result<()> {
    let lab = Lab::raise(FAST)?;
    lab.isolate("spb")?;
    ensure!(knock(&lab, "spb", "almaty")? == Some(124) && knock(&lab, "almaty", "spb")? == Some(124), "not cut off");
    ensure!(lab.run("spb", "ip link show eth0 | grep -q LOWER_UP")?.status.success(), "its link is down");
    lab.heal()?;
    ensure!(knock(&lab, "spb", "almaty")? == Some(0), "not healed");
    // No connection survives one direction alone, but a datagram to a closed port does: the kernel
    // counts it.
    lab.cut("spb", "almaty")?;
    let heard = |from: &str, to: &str, number: u8| -> Result<bool> {
        let count = || -> Result<String> {
            let counted = lab.run(to, "grep ^Udp: /proc/net/snmp | tail -1 | cut -d' ' -f3")?.stdout;
            Ok(String::from_utf8_lossy(&counted).into_owned())
        };
        let before = count()?;
        lab.run(from, &format!("bash -c 'echo hello >/dev/udp/10.77.0.{number}/7'"))?;
        std::thread::sleep(Duration::from_millis(100));
        Ok(count()? != before)
    };
    ensure!(!heard("spb", "almaty", 3)?, "spb is heard on almaty, where it is cut");
    ensure!(heard("almaty", "spb", 4)?, "almaty is not heard on spb, where nothing is cut");
    ensure!(knock(&lab, "spb", "amsterdam")? == Some(0), "a third host is cut off");
    lab.heal()?;
    ensure!(knock(&lab, "almaty", "spb")? == Some(0), "not healed");
    lab.fill_disk("spb")
}

fn a_slow_origin_is_slow() -> Result<()> {
    // A cheap login is small too.
    furnish::CHEAP_LOGINS.store(false, Ordering::Relaxed);
    let lab = Lab::raise(System::Bare);
    furnish::CHEAP_LOGINS.store(true, Ordering::Relaxed);
    let lab = lab?;
    let read = || -> Result<Duration> {
        let begun = Instant::now();
        lab.must("spb", "git -C ACP_1 ls-remote -q origin")?;
        Ok(begun.elapsed())
    };
    let before = read()?;
    lab.slow(ORIGIN, Some(scenario::TRICKLE))?;
    let slow = read()?;
    lab.slow(ORIGIN, None)?;
    let after = read()?;
    eprintln!("lab: git ls-remote took {before:?}, {slow:?} while the origin was slow, and {after:?}");
    ensure!(slow > Duration::from_secs(2) && after < slow, "it took {before:?}, {slow:?} and {after:?}");
    Ok(())
}

fn a_frozen_host_does_nothing() -> Result<()> {
    let lab = Lab::start(FAST)?;
    let old = lab.serving()?.context("nobody serves")?;
    lab.freeze(&old.node)?;
    std::thread::sleep(Duration::from_millis(300));
    let at = truth::now();
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!lab.truth()?.runs_since(at).contains(&old), "a frozen host beats");
    lab.thaw(&old.node)?;
    let at = truth::now();
    std::thread::sleep(Duration::from_millis(300));
    ensure!(lab.truth()?.runs_since(at).contains(&old), "a host does not wake");
    Ok(())
}

fn nothing_is_left_of_a_killed_lab() -> Result<()> {
    let cases: [(Signal, &[&str]); 4] =
        [(Signal::INT, &[]), (Signal::TERM, &[]), (Signal::KILL, &[]), (Signal::KILL, &["systemd"])];
    for (signal, kind) in cases {
        let mut victim = Command::new(std::env::current_exe()?);
        let mut victim = victim.arg(inside::VICTIM).args(kind).stdout(Stdio::piped()).spawn()?;
        let mut name = String::new();
        BufReader::new(victim.stdout.take().context("no pipe")?).read_line(&mut name)?;
        let name = name.trim();
        ensure!(remains::remains(name).len() > 2, "the lab {name:?} is not up");
        rustix::process::kill_process(Pid::from_child(&victim), signal)?;
        victim.wait()?;
        let until = Instant::now() + Duration::from_secs(20);
        while !remains::remains(name).is_empty() {
            ensure!(Instant::now() < until, "after {signal:?} there still is {:?}", remains::remains(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// A run of the service: its node, its first and its last beat in ms.
type Told = (&'static str, u64, u64);

/// The truth that such runs make.
fn told(runs: &[Told]) -> Result<Truth> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (node, from, until) in runs {
        let beats = (*from..=*until).step_by(10);
        lines.extend(beats.map(|at| (at, truth::line(at * 1_000_000, node, 7, *from))));
    }
    lines.sort();
    lines.iter().try_for_each(|(_, line)| file.write_all(line.as_bytes()))?;
    let mut truth = Truth::open(file.path())?;
    truth.read()?;
    Ok(truth)
}

fn overlap_is_counted() -> Result<()> {
    let cases: [(&[Told], f64); 6] = [
        // One after the other, however soon.
        (&[("a", 0, 1000), ("b", 1001, 2000)], 0.0),
        // 205 ms of two at once.
        (&[("a", 0, 1000), ("b", 805, 2000)], 200.0),
        // Frozen for a second while the other runs, and then awake for 50 ms.
        (&[("a", 0, 1000), ("b", 1105, 3000), ("a", 2000, 2050)], 60.0),
        // Awake for one beat.
        (&[("b", 1105, 3000), ("a", 2000, 2000)], 10.0),
        // The same node: a restart.
        (&[("a", 0, 1000), ("a", 995, 2000)], 0.0),
        // Frozen, and gone before it woke.
        (&[("a", 0, 1000), ("b", 1500, 3000), ("a", 3500, 3600)], 0.0),
    ];
    for (runs, wanted) in cases {
        let double = told(runs)?.double_ms(0);
        ensure!((double - wanted).abs() <= 10.0 && (wanted > 0.0) == (double > 0.0), "{runs:?}: {double}");
    }
    Ok(())
}

fn silence_is_an_outage() -> Result<()> {
    let truth = told(&[("a", 0, 1000), ("b", 1800, 2000)])?;
    let runs = truth.runs_since(0);
    ensure!(runs.len() == 2 && truth.last_of(&runs[0]) == Some(1_000_000_000), "{runs:?}");
    let (next, first) = truth.first_other(500_000_000, &runs[..1]).context("nobody came")?;
    ensure!(next.node == "b" && first == 1_800_000_000, "{next:?} at {first}");
    Ok(())
}
