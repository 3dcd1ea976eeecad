//! Hosts that really die: the long set, which measures. `main.rs` is the short one.
//!
//! ```sh
//! cargo bench --bench recovery -- [--trials N] [--only SCENARIO,…] [--system SYSTEM,…]
//!     [--jobs N] [--quiet SECONDS] [--out DIR]
//! ```
//!
//! Prints a table, and writes `recovery.json` and `recovery.svg`.
#![allow(dead_code, reason = "each of the two programs uses a part of the lab")]

mod chart;
mod furnish;
mod host;
mod inside;
mod lab;
mod remains;
mod scenario;
mod system;
mod systemd;
mod truth;
mod wire;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chart::Row;
use lab::{Lab, NODES};
use scenario::{Quiet, Recovery, Trouble};
use system::{SYSTEMS, System};

/// How long a recovery is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where it is known not to come: an etcd that has lost its majority.
const SHORT_PATIENCE: Duration = Duration::from_secs(20);
/// With this interval or a longer one the processors are idle enough for several labs at once.
const SLOW: Duration = Duration::from_secs(1);

/// What is tried.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    ServingDies,
    FourDie,
    OneAfterAnother,
    BrainThenServing,
    ServiceCrashes,
    CannotStartOnNext,
    Returns,
    MovedTo,
    OriginDies,
    OriginHangs,
    Quiet,
    Loaded,
    Lossy,
}

use Scenario::*;

const SCENARIOS: [(&str, Scenario); 13] = [
    ("serving-dies", ServingDies),
    ("four-die", FourDie),
    ("one-after-another", OneAfterAnother),
    ("brain-then-serving", BrainThenServing),
    ("service-crashes", ServiceCrashes),
    ("cannot-start-on-next", CannotStartOnNext),
    ("returns", Returns),
    ("moved-to", MovedTo),
    ("origin-dies", OriginDies),
    ("origin-hangs", OriginHangs),
    ("quiet", Quiet),
    ("loaded", Loaded),
    ("lossy", Lossy),
];

impl Scenario {
    fn applies_to(self, system: &System) -> bool {
        let is_mirror = matches!(system, System::Mirror { .. });
        match self {
            ServingDies | FourDie | OneAfterAnother | Quiet | Loaded | Lossy => true,
            BrainThenServing => system.has_brain(),
            ServiceCrashes => system.sees_the_service(),
            Returns => is_mirror || system.prefers_the_first(),
            CannotStartOnNext | MovedTo | OriginDies | OriginHangs => is_mirror,
        }
    }

    fn patience(self, system: &System) -> Duration {
        match self {
            FourDie | OneAfterAnother if *system == System::Etcd => SHORT_PATIENCE,
            _ => PATIENCE,
        }
    }

    /// Once, and not as often as there are trials.
    fn is_long(self) -> bool {
        matches!(self, Quiet | Loaded | Lossy)
    }
}

struct Options {
    trials: usize,
    only: Vec<String>,
    systems: Vec<String>,
    jobs: usize,
    quiet: Duration,
    out: PathBuf,
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
        quiet: Duration::from_secs(600),
        out: target.parent().unwrap_or(&target).join("recovery"),
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
            "--quiet" => options.quiet = Duration::from_secs(value()?.parse()?),
            "--out" => options.out = value()?.into(),
            _ => bail!("{word} is no option; see the top of tests/lab/bench.rs"),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    let chosen = |name: &str, wanted: &[String]| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w));
    let mut rows: Vec<Row> = Vec::new();
    for (name, scenario) in SCENARIOS.into_iter().filter(|(name, _)| chosen(name, &options.only)) {
        for system in SYSTEMS.iter().filter(|system| chosen(&system.name(), &options.systems)) {
            if !scenario.applies_to(system) {
                continue;
            }
            if let Some(remedy) = system.missing() {
                eprintln!("recovery: {} is not here: {remedy}", system.name());
                continue;
            }
            let row = try_it(name, scenario, system, options)?;
            eprintln!("{}", row.line());
            rows.push(row);
            chart::write(&options.out, &rows)?;
        }
    }
    println!("{}", chart::table(&rows));
    println!("{}", options.out.display());
    Ok(())
}

/// All trials of one scenario with one system.
fn try_it(name: &str, scenario: Scenario, system: &System, options: &Options) -> Result<Row> {
    let row = Mutex::new(Row::new(&system.name(), name, scenario.patience(system)));
    let system = match scenario {
        // Long enough to tell it from a move at once.
        Returns => system.failing_back_after("3s"),
        _ => system.clone(),
    };
    let trials = if scenario.is_long() { 1 } else { options.trials };
    let jobs = if system.check()? >= SLOW && !scenario.is_long() { options.jobs.min(trials) } else { 1 };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut lab: Option<Lab> = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= trials {
                        break;
                    }
                    let tried = one_trial(&mut lab, &system, scenario, number, options);
                    let mut row = row.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match tried {
                        Ok(Tried::Recoveries(recoveries)) => recoveries.iter().for_each(|r| row.add(r)),
                        Ok(Tried::Quiet(quiet)) => row.add_quiet(&quiet),
                        Err(error) => {
                            eprintln!("{} {name}: trial {number}: {error:#}", system.name());
                            row.failed += 1;
                            // What it left is no fair start for the next.
                            lab = None;
                        }
                    }
                }
            });
        }
    });
    Ok(row.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

enum Tried {
    Recoveries(Vec<Recovery>),
    Quiet(Quiet),
}

fn one_trial(
    place: &mut Option<Lab>,
    system: &System,
    scenario: Scenario,
    number: usize,
    options: &Options,
) -> Result<Tried> {
    // Four dead members of an etcd, or a lock on them, are best forgotten.
    if *system == System::Etcd {
        *place = None;
    }
    let lab = match place {
        Some(lab) => {
            scenario::restore(lab)?;
            lab
        }
        None => {
            let lab = place.insert(Lab::start(system.clone())?);
            let settled = (system.check()? * 2).max(Duration::from_secs(2));
            std::thread::sleep(settled + scenario::some_of(system.check()?));
            lab
        }
    };
    let patience = scenario.patience(system);
    let one = |recovery| Ok(Tried::Recoveries(vec![recovery]));
    match scenario {
        ServingDies => one(scenario::serving_dies(lab, patience)?),
        FourDie => {
            let survivor = NODES[1 + number % (NODES.len() - 1)];
            Ok(Tried::Recoveries(scenario::four_die(lab, survivor, patience)?.into_iter().collect()))
        }
        OneAfterAnother => Ok(Tried::Recoveries(scenario::one_after_another(lab, patience)?)),
        BrainThenServing => one(scenario::brain_then_serving(lab, patience)?),
        ServiceCrashes => one(scenario::service_crashes(lab, patience)?),
        CannotStartOnNext => one(scenario::cannot_start_on_next(lab, patience)?),
        Returns => one(scenario::returns(lab, patience)?.0),
        MovedTo => one(scenario::moved_to(lab, NODES[2 + number % 3], patience)?),
        OriginDies => one(scenario::without_origin(lab, Trouble::Dead, patience)?),
        OriginHangs => one(scenario::without_origin(lab, Trouble::Hanging, patience)?),
        Quiet => Ok(Tried::Quiet(scenario::quiet(lab, options.quiet)?)),
        Loaded => Ok(Tried::Quiet(scenario::loaded(lab, options.quiet)?)),
        Lossy => Ok(Tried::Quiet(scenario::lossy(lab, options.quiet / 2)?)),
    }
}
