//! Hosts that really die: the long set, which measures. `main.rs` is the short one.
//!
//! ```sh
//! cargo bench --bench recovery -- [--only SCENARIO,…] [--system SYSTEM,…] [--trials N] [--jobs N]
//!     [--links lan|wan|wan-bad] [--cheap-logins] [--seconds S] [--out DIR] [--append] [--list|--raise]
//! ```
//!
//! Names may be cut short, as long as they begin so; one that is whole is that one alone. `--trials` is how many trials of each scenario
//! with each system there are to be in the end; with `--append`, what the directory has counts, and
//! several runs, also at the same time, add to it. `--jobs` is how many labs run side by side of those
//! systems that look once a second or less often, or of scenarios that mostly wait; the others have the machine to
//! themselves. `--seconds` is how long nothing fails in `quiet`, `loaded`, `lossy` and `stretched`
//! (all round trips three times as long; with `--links` only), each of which is one trial (600, 600, 300 and 300), and how long the arbiter is away in `arbiter-dies`, `-hangs`, `-slow` and
//! `-cut-off` (60). In `arbiter-away-and-…` the time is until the service had stopped.
//!
//! `--raise` measures nothing: it raises one lab of the first system, or with `--system packaged` bare hosts on
//! which the package can be installed, says how to get onto its hosts, and keeps it until its standard input ends,
//! for somebody who wants to look around. A line `kill HOST` or `boot HOST` there has a host lose its power, or get
//! it back.
//!
//! `--links` puts the hosts into five cities, with good or bad links (`switch.rs`); names of systems end in
//! `@wan` or `@wan-bad` then. The etcd of a lease is where the origin is.
//!
//! `--cheap-logins` has the hosts agree on a key exchange that costs little, as if each had processors of its own.
//! Without it, ten ends of logins at a time keep two processors busy for seconds.
//!
//! `LAB_MIRROR` names another `mirror` to be measured.
//!
//! Prints a table, and keeps `recovery.json`, `recovery.svg` and `recovery.md` up to date after every
//! trial.
#![allow(dead_code, reason = "each of the two programs uses a part of the lab")]

mod arbiter;
mod chart;
mod doubt;
mod furnish;
mod host;
mod inert;
mod inside;
mod lab;
mod remains;
mod scenario;
mod state;
mod store;
mod switch;
mod system;
mod systemd;
mod table;
mod tally;
mod trial;
mod trips;
mod truth;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use lab::Lab;
use store::Store;
use switch::Links;
use system::{SYSTEMS, System};
use trial::{SCENARIOS, Scenario};

/// With this interval or a longer one the processors are idle enough for several labs at once.
const SLOW: Duration = Duration::from_secs(1);

struct Options {
    trials: usize,
    only: Vec<String>,
    systems: Vec<String>,
    jobs: usize,
    seconds: Option<Duration>,
    out: PathBuf,
    append: bool,
    action: Action,
}

/// What to do with what was chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Measure,
    List,
    Raise,
}

fn main() {
    inside::dispatch();
    // `cargo test --benches` runs this too; it measures nothing then.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    if let Some(why) = remains::missing() {
        eprintln!("recovery: nothing is measured here, for {why}");
        return;
    }
    if let Err(error) = options().and_then(|options| measure(&options)) {
        eprintln!("recovery: {error:#}");
        std::process::exit(1);
    }
}

fn options() -> Result<Options> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut options = Options {
        trials: 30,
        only: Vec::new(),
        systems: Vec::new(),
        jobs: 4,
        seconds: None,
        out: target.parent().unwrap_or(&target).join("recovery"),
        append: false,
        action: Action::Measure,
    };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        match word.as_str() {
            "--trials" => options.trials = value()?.parse()?,
            "--only" => options.only = list(value()?),
            "--system" => options.systems = list(value()?),
            "--jobs" => options.jobs = value()?.parse::<usize>()?.max(1),
            "--seconds" => options.seconds = Some(Duration::from_secs(value()?.parse()?)),
            "--out" => options.out = value()?.into(),
            "--cheap-logins" => furnish::CHEAP_LOGINS.store(true, Ordering::Relaxed),
            "--links" => Links::named(&value()?)?.choose(),
            "--append" => options.append = true,
            "--list" => options.action = Action::List,
            "--raise" => options.action = Action::Raise,
            _ => bail!("{word} is no option; see the top of tests/lab/bench.rs"),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    // Nothing is measured on hosts that have no `mirror`.
    if options.action == Action::Raise && options.systems == [System::Packaged.name()] {
        return raise(&System::Packaged);
    }
    let known = |word: &String| SYSTEMS.iter().any(|s| s.name() == *word) || SCENARIOS.iter().any(|(n, _)| n == word);
    let means = |word: &String, name: &str| if known(word) { word == name } else { name.starts_with(word) };
    let chosen = |name: &str, wanted: &[String]| wanted.is_empty() || wanted.iter().any(|word| means(word, name));
    for wanted in &options.only {
        anyhow::ensure!(SCENARIOS.iter().any(|(name, _)| name.starts_with(wanted)), "no scenario is called {wanted}");
    }
    for wanted in &options.systems {
        anyhow::ensure!(SYSTEMS.iter().any(|s| s.name().starts_with(wanted)), "no system is called {wanted}");
    }
    let scenarios = SCENARIOS.into_iter().filter(|(name, _)| chosen(name, &options.only));
    let pairs: Vec<_> = scenarios
        .flat_map(|(name, scenario)| SYSTEMS.iter().map(move |system| (name, scenario, system)))
        .filter(|(_, scenario, system)| chosen(&system.name(), &options.systems) && scenario.applies_to(system))
        .collect();
    if options.action == Action::Raise {
        return raise(pairs.first().map(|(_, _, system)| *system).context("no system is chosen")?);
    }
    if options.action == Action::List {
        pairs.iter().for_each(|(name, _, system)| println!("{name:<30} {}", system.name()));
        return Ok(());
    }
    let scenarios = SCENARIOS.iter().map(|(name, _)| (*name).to_owned());
    let request = scenarios.chain(SYSTEMS.iter().map(System::name)).collect();
    let store = Store::open(&options.out, request, options.append)?;
    for (name, scenario, system) in pairs {
        match system.missing() {
            Some(remedy) => eprintln!("recovery: {} is not here: {remedy}", system.name()),
            None => try_it(name, scenario, system, options, &store)?,
        }
    }
    let rows = store.read()?.rows;
    rows.iter().for_each(|row| println!("{}", table::line(row)));
    println!("\n{}\n{}", table::markdown(&rows), options.out.display());
    Ok(())
}

/// Keeps a lab up until the standard input ends, and does what that says: `kill HOST` and `boot HOST`.
fn raise(system: &System) -> Result<()> {
    let lab = if *system == System::Packaged { Lab::raise(system.clone()) } else { Lab::start(system.clone()) }?;
    for line in std::iter::once(Ok(String::new())).chain(std::io::stdin().lines()) {
        let line = line?;
        match line.split_once(' ') {
            Some(("kill", host)) => drop(lab.kill(&[host])?),
            Some(("boot", host)) => lab.boot(&[host])?,
            _ => {}
        }
        for host in lab.up() {
            println!("{host}\t{}\tnsenter -t {} -m -u -p -n", lab.address(host)?, lab.first_process(host)?);
        }
        println!();
    }
    Ok(())
}

/// The trials of one scenario with one system that are still to be made.
fn try_it(name: &str, scenario: Scenario, system: &System, options: &Options, store: &Store) -> Result<()> {
    let (profile, system) = (system.profile()?, scenario.adapt(system));
    let wanted = if scenario.is_long() { 1 } else { options.trials };
    let done = store.read()?.trials(name, &system.name());
    let side_by_side = system.check()? >= SLOW || scenario.mostly_waits();
    let jobs = if side_by_side && !scenario.is_long() { options.jobs } else { 1 };
    let next = AtomicUsize::new(done);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(wanted.saturating_sub(done)) {
            scope.spawn(|| {
                let mut lab: Option<Lab> = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wanted {
                        break;
                    }
                    let rows = trial::carry_out(&mut lab, &system, (name, scenario), number, options.seconds);
                    let rows = rows.unwrap_or_else(|error| {
                        eprintln!("{} {name}: trial {number}: {error:#}", system.name());
                        // What it left is no fair start for the next.
                        lab = None;
                        vec![trial::not_carried_out(&system, (name, scenario))]
                    });
                    rows.iter().for_each(|row| eprintln!("{}", table::line(row)));
                    if let Err(error) = store.add(rows, &profile) {
                        eprintln!("recovery: cannot keep a result: {error:#}");
                    }
                }
            });
        }
    });
    Ok(())
}
