//! One trial of the long set: which scenarios there are, which systems they suit, and what one trial adds to
//! the rows.

use std::time::Duration;

use anyhow::Result;

use crate::arbiter::{self, Away, Meanwhile};
use crate::doubt::{self, Part};
use crate::inert::{self, Inert};
use crate::lab::{Lab, NODES};
use crate::scenario::{self, Recovery, Trouble};
use crate::state;
use crate::switch::Links;
use crate::system::{BRAINS, Hanging, LeaseClient, System};
use crate::tally::Row;
use crate::truth;

/// How long a recovery is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where it is known not to come: an etcd that has lost its majority, a rule that goes on
/// starting the service where it does not start.
const SHORT_PATIENCE: Duration = Duration::from_secs(20);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    ServingDies,
    FourDie,
    OneAfterAnother,
    BrainThenServing,
    ServiceCrashes,
    CannotStartOnNext,
    Returns,
    StaleConnection,
    MovedTo,
    Reboots,
    CutOffFromNodes,
    CutOffFromAll,
    BrainCutOff,
    OneWayCut,
    ArbiterDies,
    ArbiterHangs,
    ArbiterSlow,
    ArbiterCutOff,
    ArbiterCutOffFromHolder,
    ArbiterMemberDies,
    ArbiterGoesBack,
    ArbiterDiesAndGoesBack,
    AwayAnd(Meanwhile),
    AwayAndBrainInert,
    HolderFrozen,
    BothFrozen,
    HostFrozen,
    BrainInert(Inert),
    BrainInertForLong(Inert),
    BrainWorksByTurns,
    BesideHanging(Hanging),
    KilledInTakeover,
    Wakes,
    OriginDies,
    OriginHangs,
    OriginSlow,
    ComesAlong,
    OriginGoneAndFourDie,
    Quiet,
    Loaded,
    Lossy,
    Stretched,
}

use Scenario::*;

/// By their names, in the order in which they are tried and shown.
pub(crate) const SCENARIOS: [(&str, Scenario); 62] = [
    ("serving-dies", ServingDies),
    ("four-die", FourDie),
    ("one-after-another", OneAfterAnother),
    ("brain-then-serving", BrainThenServing),
    ("service-crashes", ServiceCrashes),
    ("cannot-start-on-next", CannotStartOnNext),
    ("origin-dies", OriginDies),
    ("origin-hangs", OriginHangs),
    ("origin-slow", OriginSlow),
    ("commit-comes-along", ComesAlong),
    ("origin-gone-and-four-die", OriginGoneAndFourDie),
    ("returns-with-stale-connection", StaleConnection),
    ("returns", Returns),
    ("moved-to", MovedTo),
    ("planned-reboot", Reboots),
    ("cut-off-from-nodes", CutOffFromNodes),
    ("cut-off-from-all", CutOffFromAll),
    ("brain-cut-off-from-some", BrainCutOff),
    ("one-way-cut", OneWayCut),
    ("arbiter-dies", ArbiterDies),
    ("arbiter-hangs", ArbiterHangs),
    ("arbiter-slow", ArbiterSlow),
    ("arbiter-cut-off", ArbiterCutOff),
    ("arbiter-unreached-by-holder", ArbiterCutOffFromHolder),
    ("arbiter-member-dies", ArbiterMemberDies),
    ("arbiter-goes-back", ArbiterGoesBack),
    ("arbiter-away-and-goes-back", ArbiterDiesAndGoesBack),
    ("arbiter-away-and-node-dies", AwayAnd(Meanwhile::NodeDies)),
    ("arbiter-away-and-node-cut-off", AwayAnd(Meanwhile::NodeCutOff)),
    ("arbiter-away-and-serving-dies", AwayAnd(Meanwhile::ServingDies)),
    ("arbiter-away-and-holder-cut-off", AwayAnd(Meanwhile::HolderCutOff)),
    ("arbiter-away-and-hold-frozen", AwayAnd(Meanwhile::HoldFrozen)),
    ("arbiter-away-and-brain-inert", AwayAndBrainInert),
    ("holder-frozen", HolderFrozen),
    ("hold-and-keeper-frozen", BothFrozen),
    ("host-frozen", HostFrozen),
    ("brain-inert: typo", BrainInert(Inert::Typo)),
    ("brain-inert: timer-stopped", BrainInert(Inert::TimerStopped)),
    ("brain-inert: binary-gone", BrainInert(Inert::BinaryGone)),
    ("brain-inert: check-stopped", BrainInert(Inert::CheckStopped)),
    ("brain-inert: disk-full", BrainInert(Inert::DiskFull)),
    ("brain-inert: logins-hang", BrainInert(Inert::LoginsHang)),
    ("brain-inert: logins-refused", BrainInert(Inert::LoginsRefused)),
    ("brain-inert: frozen", BrainInert(Inert::Frozen)),
    ("brain-inert-for-a-minute: typo", BrainInertForLong(Inert::Typo)),
    ("brain-inert-for-a-minute: timer-stopped", BrainInertForLong(Inert::TimerStopped)),
    ("brain-inert-for-a-minute: binary-gone", BrainInertForLong(Inert::BinaryGone)),
    ("brain-inert-for-a-minute: check-stopped", BrainInertForLong(Inert::CheckStopped)),
    ("brain-inert-for-a-minute: disk-full", BrainInertForLong(Inert::DiskFull)),
    ("brain-inert-for-a-minute: logins-hang", BrainInertForLong(Inert::LoginsHang)),
    ("brain-inert-for-a-minute: logins-refused", BrainInertForLong(Inert::LoginsRefused)),
    ("brain-inert-for-a-minute: frozen", BrainInertForLong(Inert::Frozen)),
    ("brain-works-at-every-other-check", BrainWorksByTurns),
    ("beside-hanging: status", BesideHanging(Hanging::Status)),
    ("beside-hanging: start", BesideHanging(Hanging::Start)),
    ("beside-hanging: stop", BesideHanging(Hanging::Stop)),
    ("killed-in-takeover", KilledInTakeover),
    ("wakes-enabled", Wakes),
    ("quiet", Quiet),
    ("loaded", Loaded),
    ("lossy", Lossy),
    ("stretched", Stretched),
];

impl Scenario {
    /// Whether the system claims to do anything about it. Only `mirror` uses an origin, moves a
    /// service on demand, and shares connections.
    pub(crate) fn applies_to(self, system: &System) -> bool {
        let is_mirror = matches!(system, System::Mirror { .. });
        match self {
            ServingDies | FourDie | OneAfterAnother | Quiet | Loaded | Lossy => true,
            Stretched => Links::chosen() != Links::Lan,
            BrainThenServing => system.has_brain(),
            ServiceCrashes => system.sees_the_service(),
            CannotStartOnNext => is_mirror || *system == System::Sequential,
            Returns => is_mirror || system.prefers_the_first(),
            // The timers' connections end with each check.
            StaleConnection => matches!(system, System::Mirror { timers: false, .. }),
            MovedTo | BesideHanging(_) => is_mirror,
            Reboots => is_mirror && system.needs_systemd() && system.lease().is_none(),
            // The ways in which it is made inert are those of the script.
            BrainInert(_) | BrainInertForLong(_) | BrainWorksByTurns => {
                matches!(system, System::Mirror { timers: false, .. })
            }
            // Under a lease the origin is the arbiter, which has scenarios of its own.
            OriginDies | OriginHangs | OriginSlow => is_mirror && system.lease().is_none(),
            ComesAlong => is_mirror && system.lease().is_none(),
            OriginGoneAndFourDie => is_mirror && system.lease().is_none() && system.has_peers(),
            // Before it tells a dead node, the others would have been cut off for minutes.
            CutOffFromNodes | CutOffFromAll | OneWayCut | HostFrozen => *system != System::Sequential,
            BrainCutOff => is_mirror,
            ArbiterDies | ArbiterHangs | ArbiterSlow | ArbiterCutOff | KilledInTakeover => system.lease().is_some(),
            ArbiterMemberDies => system.lease() == Some(LeaseClient::Etcd),
            ArbiterGoesBack | ArbiterDiesAndGoesBack => system.lease() == Some(LeaseClient::Git),
            // What is done to the holder and the brain is meant for the script.
            ArbiterCutOffFromHolder | AwayAnd(_) | AwayAndBrainInert => {
                system.lease().is_some() && !system.needs_systemd()
            }
            HolderFrozen => system.lease().is_some() || matches!(system, System::Keepalived { .. } | System::Etcd),
            BothFrozen => system.lease().is_some(),
            Wakes => system.lease().is_some() && system.needs_systemd(),
        }
    }

    fn patience(self, system: &System) -> Duration {
        match self {
            // Where nothing moves because nothing fails.
            CutOffFromNodes | CutOffFromAll | BrainCutOff | HolderFrozen if system.lease().is_none() => SHORT_PATIENCE,
            FourDie | OneAfterAnother if *system == System::Etcd => SHORT_PATIENCE,
            CannotStartOnNext if *system == System::Sequential => SHORT_PATIENCE,
            _ => PATIENCE,
        }
    }

    /// Once, and not as often as there are trials.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, BrainWorksByTurns | Quiet | Loaded | Lossy | Stretched)
    }

    /// Whether most of a trial is waiting, so that several labs fit on the machine.
    pub(crate) fn mostly_waits(self) -> bool {
        matches!(self, BrainInert(_) | BrainInertForLong(_))
    }

    /// Whether it is about what did not just die.
    fn is_aside(self) -> bool {
        let first = SCENARIOS.iter().position(|(_, scenario)| *scenario == CutOffFromNodes);
        SCENARIOS.iter().position(|(_, scenario)| *scenario == self) >= first
    }

    /// The system as the scenario needs it set.
    pub(crate) fn adapt(self, system: &System) -> System {
        match self {
            // Long enough to tell it from a move at once.
            Returns | StaleConnection => system.failing_back_after("3s"),
            BesideHanging(hanging) => system.beside(hanging),
            _ => system.clone(),
        }
    }
}

/// Makes one trial, in the lab that is in `place` or a new one.
pub(crate) fn carry_out(
    place: &mut Option<Lab>,
    system: &System,
    (name, scenario): (&str, Scenario),
    number: usize,
    seconds: Option<Duration>,
) -> Result<Vec<Row>> {
    let lab = made_ready(place, system)?;
    let patience = scenario.patience(system);
    let mut row = Row::new(&system.name(), name, patience);
    row.trials = 1;
    row.aside = scenario.is_aside();
    let from = truth::now();
    let for_long = |usual| seconds.unwrap_or(Duration::from_secs(usual));
    match scenario {
        ServingDies => row.add(&scenario::serving_dies(lab, patience)?),
        FourDie => {
            // The one that serves would go on undisturbed.
            let serving = lab.wait_for_service(patience)?.node;
            let others: Vec<&str> = NODES.into_iter().filter(|node| *node != serving).collect();
            let survivor = others[number % others.len()];
            scenario::four_die(lab, survivor, patience)?.iter().for_each(|recovery| row.add(recovery));
        }
        OneAfterAnother => scenario::one_after_another(lab, patience)?.iter().for_each(|recovery| row.add(recovery)),
        BrainThenServing => row.add(&scenario::brain_then_serving(lab, patience)?),
        ServiceCrashes => row.add(&scenario::service_crashes(lab, patience)?),
        BrainInert(way) | BrainInertForLong(way) => {
            let at_once = matches!(scenario, BrainInert(_));
            let after = if at_once { Duration::ZERO } else { Duration::from_secs(60) };
            inert::settle(lab)?;
            let recovery = inert::service_crashes(lab, way, after, patience);
            eprintln!("{} {name}: {recovery:?}", system.name());
            row.add(&recovery?);
            row.add_double(lab.truth()?.double_ms(from));
            // What was done to the brain is not undone.
            *place = None;
            return Ok(vec![row]);
        }
        BrainWorksByTurns => {
            inert::settle(lab)?;
            row.add_quiet(&inert::works_by_turns(lab, for_long(180))?);
            row.add_double(lab.truth()?.double_ms(from));
            *place = None;
            return Ok(vec![row]);
        }
        BesideHanging(_) => {
            row.add(&scenario::serving_dies(lab, patience)?);
            row.add_double(lab.truth()?.double_ms(from));
            // A person cannot move the other service back.
            *place = None;
            return Ok(vec![row]);
        }
        CannotStartOnNext => row.add(&scenario::cannot_start_on_next(lab, patience)?),
        OriginDies => row.add(&scenario::without_origin(lab, Trouble::Dead, patience)?),
        OriginHangs => row.add(&scenario::without_origin(lab, Trouble::Hanging, patience)?),
        OriginSlow => row.add(&scenario::without_origin(lab, Trouble::Slow, patience)?),
        ComesAlong => {
            let (recovery, is_there) = state::comes_along(lab, patience)?;
            row.add(&recovery);
            row.add_missing(usize::from(!is_there));
        }
        OriginGoneAndFourDie => {
            let serving = lab.wait_for_service(patience)?.node;
            let others: Vec<&str> = NODES.into_iter().filter(|node| *node != serving).collect();
            let survivor = others[number % others.len()];
            let (recovery, missing) = state::four_die_without_origin(lab, survivor, patience)?;
            recovery.iter().for_each(|recovery| row.add(recovery));
            row.add_missing(missing);
            row.add_double(lab.truth()?.double_ms(from));
            // The next trial begins with an origin that has none of this.
            *place = None;
            return Ok(vec![row]);
        }
        Returns => {
            row.planned = true;
            row.add(&scenario::returns(lab, patience)?.0);
        }
        MovedTo => {
            row.planned = true;
            row.add(&scenario::moved_to(lab, NODES[2 + number % 3], patience)?);
        }
        Reboots => {
            row.planned = true;
            row.add(&scenario::reboots(lab, patience)?.0);
        }
        StaleConnection => {
            let stale = scenario::returns_with_stale_connection(lab, patience)?;
            let leg = |what: &str, recovery: &Recovery| {
                let mut leg = Row::new(&system.name(), &format!("{name}: {what}"), patience);
                leg.trials = 1;
                leg.add(recovery);
                leg.add_double(recovery.double_ms);
                leg
            };
            let first = leg("first death", &stale.first);
            let mut back = leg("move back", &stale.back);
            back.planned = true;
            back.add_false_alarms(stale.false_failovers);
            return Ok(vec![first, back, leg("second death", &stale.second)]);
        }
        CutOffFromNodes => {
            // Every other time it is the brain itself.
            if system.lease().is_some() && number % 2 == 1 {
                lab.system.move_to(lab, BRAINS[0])?;
            }
            row.add(&doubt::cut_off(lab, true, patience)?);
        }
        CutOffFromAll => row.add(&doubt::cut_off(lab, false, patience)?),
        BrainCutOff => row.add(&doubt::brain_cut_off_from_some(lab, number, patience)?),
        OneWayCut => row.add(&doubt::one_way(lab, number, patience)?),
        ArbiterDies => row.add(&arbiter::goes_on(lab, Away::Dead, for_long(60), patience)?.0),
        ArbiterHangs => row.add(&arbiter::goes_on(lab, Away::Hanging, for_long(60), patience)?.0),
        ArbiterSlow => row.add(&arbiter::goes_on(lab, Away::Slow, for_long(60), patience)?.0),
        ArbiterCutOff => row.add(&arbiter::goes_on(lab, Away::CutOff, for_long(60), patience)?.0),
        ArbiterCutOffFromHolder => {
            row.planned = true;
            row.add(&arbiter::cut_off_from_holder(lab, number % 2 == 1, patience)?);
        }
        ArbiterMemberDies => row.add(&doubt::member_dies(lab, number, patience)?),
        ArbiterGoesBack => row.add(&doubt::older_arbiter(lab, patience)?),
        ArbiterDiesAndGoesBack => row.add(&arbiter::comes_back_older(lab, patience)?),
        AwayAnd(meanwhile) => {
            let away = arbiter::SILENT[number % arbiter::SILENT.len()];
            row.add_until_stopped(arbiter::stops(lab, away, meanwhile, patience)?);
        }
        AwayAndBrainInert => {
            inert::settle(lab)?;
            let away = arbiter::SILENT[number % arbiter::SILENT.len()];
            let way = inert::WAYS[number % inert::WAYS.len()];
            let recovery = arbiter::brain_inert(lab, away, way, patience);
            eprintln!("{} {name}: {away:?}, {way:?}: {recovery:?}", system.name());
            row.add(&recovery?);
            row.add_double(lab.truth()?.double_ms(from));
            // What was done to the brain is not undone.
            *place = None;
            return Ok(vec![row]);
        }
        HolderFrozen => {
            let (part, cut_off) = match number % 3 {
                1 if system.lease().is_some() => (Part::Hold, true),
                // Alone it does no harm: while the lease names the node, nothing has to be ended.
                2 if system.lease().is_some() => (Part::Supervisor, true),
                _ => (Part::Hold, false),
            };
            row.add(&doubt::holder_frozen(lab, part, cut_off, patience)?);
        }
        BothFrozen => row.add(&doubt::holder_frozen(lab, Part::Both, true, patience)?),
        HostFrozen => row.add(&doubt::host_frozen(lab, patience)?),
        KilledInTakeover => row.add(&doubt::killed_in_takeover(lab, number, patience)?),
        Wakes => row.add(&doubt::wakes(lab, number % 2 == 1, patience)?),
        Quiet => row.add_quiet(&scenario::quiet(lab, for_long(600))?),
        Loaded => row.add_quiet(&scenario::loaded(lab, for_long(600))?),
        Lossy => row.add_quiet(&scenario::lossy(lab, for_long(300))?),
        Stretched => row.add_quiet(&scenario::stretched(lab, for_long(300))?),
    }
    row.add_double(lab.truth()?.double_ms(from));
    Ok(vec![row])
}

/// What is told of a trial that broke off; it is made up for by a later run.
pub(crate) fn not_carried_out(system: &System, (name, scenario): (&str, Scenario)) -> Row {
    let mut row = Row::new(&system.name(), name, scenario.patience(system));
    row.failed = 1;
    row
}

/// A lab at the start of all things.
fn made_ready<'a>(place: &'a mut Option<Lab>, system: &System) -> Result<&'a Lab> {
    // Four dead members of an etcd, or a lock on them, are best forgotten.
    if *system == System::Etcd {
        *place = None;
    }
    if let Some(lab) = place {
        scenario::restore(lab)?;
        return Ok(lab);
    }
    let lab = place.insert(Lab::start(system.clone())?);
    let settled = (system.check()? * 2).max(Duration::from_secs(2));
    std::thread::sleep(settled + scenario::some_of(system.check()?));
    // Hosts do not boot in step, and the first that is up may have the lease then, or be about to.
    if system.lease().is_some() {
        scenario::restore(lab)?;
    }
    Ok(lab)
}
