//! A model of the lease that drives the rules in `src/lease.rs` through every order of events.
//!
//! Three nodes, each with a guard that follows the run rule; on two of them a brain that follows the
//! take rule; one register. A question and its answer are separate steps, anything may happen between
//! them, and either may be lost. A swap may take effect after its sender died. Every node may crash at
//! any time and return without memory. Clocks run at different rates.
//!
//! The guards do the worst that is allowed: a service starts as soon as its guard learns that it may,
//! and ends at the last moment at which it must.
//!
//! In some scopes the register may be unreadable for a holder for any time, and the failsafe lets it go on:
//! the brains answer its questions from their witnesses, which may lose what they know at any time.
//!
//! The checker must find the counterexample of each broken variant, or the model would prove nothing.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Property};
use three_mirror::clock::BootInstant;
use three_mirror::lease::failsafe;
use three_mirror::lease::{
    self, ClaimRequest, Latest, LeaseRecord, LeaseView, Nonce, Observation, Params, Stopped, TakeoverStep,
    VersionedRecord, takeover,
};
use three_mirror::name::Name;
use three_mirror::register::Version;

const NODES: usize = 3;
/// The first nodes are brains too.
const BRAINS: usize = 2;
/// What a tick of the time adds to a clock.
const SLOW: u8 = 2;
const FAST: u8 = 3;
/// How long a read may be relied on, in units of a clock.
const VALID: u8 = 4;
/// How long a stop takes, by the clock of the node that stops.
const STOP: u8 = 2;
/// `VALID + STOP` on a slow clock takes as long as `VALID + GRACE` on a fast one.
const GRACE: u8 = 5;
/// A time later than every other in the model.
const NOW: BootInstant = BootInstant::since_boot(Duration::from_secs(1000));

/// A lease's record in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Short {
    holder: u8,
    epoch: u8,
    granted: bool,
    previous_holder: Option<u8>,
    nonce: u8,
}

/// The broken variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing.
    Kept,
    /// A brain grants without having waited.
    NoWait,
    /// A brain waits only for `valid` and the time to stop, as if all clocks ran at the same rate.
    NoDrift,
    /// A brain takes a stop that it ordered for one that was confirmed.
    GrantBeforeConfirm,
    /// A brain takes a status for a confirmed stop, although the node may start on the strength of an earlier
    /// read.
    ConfirmByStatus,
    /// A guard counts from a read's answer instead of its beginning.
    StaleRead,
    /// Every write bears the same nonce.
    EqualNonce,
    /// The register takes every write, whatever it holds.
    BlindSwap,
    /// A brain waits for the confirmation without limit.
    NoEnd,
    /// A voter says yes whatever it knows.
    YesWhateverKnown,
    /// A voter says no only because of claims that it wrote itself.
    OwnClaimsOnly,
    /// A brain stamps the beginning of its wait before its witness shows the claim.
    StampBeforePublishing,
    /// One voter is not asked.
    OneVoterNotAsked,
    /// A holder counts from the last answer of a round instead of its first question.
    CountFromAnswer,
    /// A holder that has stopped starts again after a unanimous round.
    StartOnYes,
}

/// How far the search goes in each direction; in all at once, it would take days.
#[derive(Clone, Copy, Debug)]
struct Scope {
    /// Claims go up to this epoch.
    last_epoch: u8,
    /// Whether at the beginning the lease is granted to the first node, which runs the service;
    /// else the register was never written.
    granted: bool,
    /// Whether a swap may take effect long after its sender gave up or died.
    late_swaps: bool,
    /// Whether anything may happen between a question, its answer, and the arrival of the answer. Without it,
    /// an answer arrives as soon as it is given: to ignore it for a while is the same as to receive it late,
    /// and a guard that starts late does not run longer.
    delays: bool,
    /// The nodes that the brains may want.
    targets: &'static [u8],
    /// The nodes that reach the register to read it before they run.
    readers: &'static [usize],
    /// The nodes that use the failsafe.
    failsafe: &'static [usize],
    /// Which clocks are slow, in each initial state.
    slow: &'static [[bool; NODES]],
}

/// A holder whose clock is slow and a brain whose clock is fast are the worst.
const WORST_CLOCKS: &[[bool; NODES]] = &[[true, false, false], [true, false, true]];
const SOME_CLOCKS: &[[bool; NODES]] =
    &[[false, false, false], [true, false, false], [true, false, true], [false, true, false]];

/// Swaps that arrive late.
const LATE: Scope = Scope {
    last_epoch: 2,
    granted: true,
    late_swaps: true,
    delays: false,
    targets: &[0, 1, 2],
    readers: &[0, 1, 2],
    failsafe: &[],
    slow: WORST_CLOCKS,
};
/// One takeover more.
const LONG: Scope = Scope {
    last_epoch: 3,
    granted: true,
    late_swaps: false,
    delays: false,
    targets: &[0, 1, 2],
    readers: &[0, 1, 2],
    failsafe: &[],
    slow: SOME_CLOCKS,
};
/// A register that was never written.
const NEW: Scope = Scope {
    last_epoch: 2,
    granted: false,
    late_swaps: false,
    delays: false,
    targets: &[0, 1, 2],
    readers: &[0, 1, 2],
    failsafe: &[],
    slow: SOME_CLOCKS,
};
/// Every step by itself.
const SLOW_NETWORK: Scope = Scope {
    last_epoch: 2,
    granted: true,
    late_swaps: false,
    delays: true,
    targets: &[1],
    readers: &[0, 1, 2],
    failsafe: &[],
    slow: &[[true, false, false]],
};
/// The failsafe of the holder.
const FAILSAFE: Scope = Scope { last_epoch: 2, failsafe: &[0], targets: &[0, 1], slow: WORST_CLOCKS, ..LONG };
/// The failsafe of the holder, and swaps that arrive late.
const LATE_FAILSAFE: Scope = Scope { failsafe: &[0], slow: &[[true, false, false]], ..LATE };
/// The failsafe of a holder that cannot read, while every step takes its time.
const SLOW_FAILSAFE: Scope = Scope { readers: &[1, 2], failsafe: &[0], ..SLOW_NETWORK };
/// The failsafe of each holder, over one takeover more.
const LONG_FAILSAFE: Scope = Scope { failsafe: &[0, 1], targets: &[0, 1], slow: &[[true, false, false]], ..LONG };

struct Lease {
    rule: Rule,
    scope: Scope,
    names: [Name; NODES],
    recovered: Mutex<HashMap<(State, usize), bool>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    register: Option<Short>,
    guards: [Guard; NODES],
    brains: [Brain; BRAINS],
    /// What each brain's witness shows.
    witnesses: [Option<Short>; BRAINS],
    /// A swap in progress whose sender no longer listens.
    orphan: Option<Swap>,
    slow: [bool; NODES],
    /// A swap replaced a later record with an earlier one.
    went_back: bool,
    /// A node took the register for one that went back.
    distrusted: bool,
}

/// Runs the service on a node while the run rule allows it. Ages are by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Guard {
    /// The service runs: the grant that it relies on, and how long ago the read of it began.
    runs: Option<(Short, u8)>,
    /// A read in progress: how long ago it began, and once it is answered, the grant.
    read: Option<(u8, Option<Short>)>,
    /// A round in progress: how long ago it began, and which voters have said yes.
    round: Option<(u8, [bool; BRAINS])>,
    /// The last grant that the service ran under; only where a broken rule makes use of it.
    last: Option<Short>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Brain {
    /// What it knows of the register, and for how long it has waited for a claim.
    seen: Option<(Short, Option<u8>)>,
    /// What the register really held, with which the next swap compares.
    version: Option<Short>,
    read: Read,
    swap: Option<(Swap, Stage)>,
    stop: Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Read {
    #[default]
    Idle,
    Asked,
    Answered(Option<Short>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Swap {
    expected: Option<Short>,
    new: Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Sent,
    /// Carried out, or refused because the register held this.
    Done(Result<(), Option<Short>>),
    /// No acknowledgement came.
    Unknown,
}

/// A stop that a brain ordered after it knew of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Stop {
    #[default]
    None,
    Sent(u8),
    Done(u8),
    Confirmed(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Tick,
    GuardAsks(usize),
    RegisterAnswersGuard(usize),
    GuardHears(usize),
    Crash(usize),
    BrainAsks(usize),
    RegisterAnswersBrain(usize),
    BrainHears(usize),
    BrainSwaps(usize, u8),
    BrainOrdersStop(usize, u8),
    RegisterSwaps(usize),
    BrainHearsOfSwap(usize),
    SwapIsLost(usize),
    RegisterSwapsOrphan,
    NodeStops(usize),
    BrainHearsOfStop(usize),
    GuardBeginsRound(usize),
    VoterAnswers(usize, usize),
    BrainPublishes(usize),
    WitnessForgets(usize),
    /// Several of these in one step.
    GuardReads(usize),
    BrainReads(usize),
    NodeConfirms(usize),
    SwapSucceeds(usize, u8),
    SwapIsUnheard(usize, u8),
    SwapGoesAstray(usize, u8),
}

impl Lease {
    fn new(rule: Rule, scope: Scope) -> Self {
        let names = ["a", "b", "c"].map(|name| name.parse().unwrap());
        Self { rule, scope, names, recovered: Mutex::default() }
    }

    fn params(&self) -> Params {
        let units = |units: u8| Duration::from_secs(units.into());
        Params { valid: units(VALID), grace: units(GRACE) }
    }

    fn wait(&self) -> Params {
        let units = |units: u8| Duration::from_secs(units.into());
        match self.rule {
            Rule::NoWait => Params { valid: Duration::ZERO, grace: Duration::ZERO },
            Rule::NoDrift => Params { valid: units(VALID), grace: units(STOP) },
            Rule::NoEnd => Params { valid: units(VALID), grace: units(100) },
            _ => self.params(),
        }
    }

    fn long(&self, short: Short) -> LeaseRecord {
        LeaseRecord {
            holder: self.names[usize::from(short.holder)].clone(),
            epoch: short.epoch.into(),
            state: if short.granted { lease::LeaseState::Granted } else { lease::LeaseState::Claimed },
            previous_holder: short.previous_holder.map(|was| self.names[usize::from(was)].clone()),
            nonce: Nonce(short.nonce.into()),
            by: String::new(),
            why: None,
            at: String::new(),
        }
    }

    fn short(&self, value: &LeaseRecord) -> Short {
        let number = |name: &Name| self.names.iter().position(|known| known == name).unwrap() as u8;
        Short {
            holder: number(&value.holder),
            epoch: value.epoch.try_into().unwrap(),
            granted: value.state == lease::LeaseState::Granted,
            previous_holder: value.previous_holder.as_ref().map(number),
            nonce: value.nonce.0.try_into().unwrap(),
        }
    }

    fn found(&self, short: Short) -> VersionedRecord {
        VersionedRecord { version: Version(String::new()), value: self.long(short) }
    }

    /// A number that no other write has, made of the writer, the target and the record that it replaces.
    fn nonce(&self, brain: usize, target: u8, seen: Option<Short>) -> Nonce {
        let then = seen.map_or(0, |seen| u128::from(seen.epoch) * 2 + u128::from(seen.granted));
        let number = 1 + (then * 4 + u128::from(target)) * 4 + brain as u128;
        Nonce(if self.rule == Rule::EqualNonce { 0 } else { number })
    }

    fn next(&self, brain: &Brain, number: usize, target: u8) -> TakeoverStep {
        let stopped = match brain.stop {
            Stop::Confirmed(node) => Some(node),
            Stop::Sent(node) | Stop::Done(node) if self.rule == Rule::GrantBeforeConfirm => Some(node),
            _ => None,
        };
        let since = brain.seen.and_then(|(_, unnamed)| unnamed).map_or(NOW, ago);
        let issued = since.plus(Duration::from_nanos(1));
        let stopped = stopped.map(|node| Stopped { node: self.names[usize::from(node)].clone(), issued });
        let want = ClaimRequest {
            target: &self.names[usize::from(target)],
            by: "",
            why: None,
            at: "",
            nonce: self.nonce(number, target, brain.seen.map(|(seen, _)| seen)),
            may_grant_by_waiting: true,
        };
        takeover::next_step(&self.brain_view(brain), stopped.as_slice(), &want, NOW, &self.wait())
    }

    fn brain_view(&self, brain: &Brain) -> LeaseView {
        let seen = brain.seen.map(|(short, unnamed)| Latest {
            found: self.found(short),
            last_read_began: None,
            first_seen: BootInstant::default(),
            unheld_since: unnamed.map(ago),
            written_after: None,
            read_after: None,
        });
        LeaseView { seen }
    }

    /// A brain learns that the register held `version`, and takes it for `found`. The two differ only when
    /// it takes another brain's write for its own.
    fn brain_observes(
        &self,
        state: &mut State,
        b: usize,
        version: Option<Short>,
        found: Option<Short>,
        own_write: bool,
    ) {
        let mut lease_view = self.brain_view(&state.brains[b]);
        let ended = NOW.plus(Duration::from_nanos(1));
        let reading = Observation { began: NOW, ended, found: found.map(|short| self.found(short)) };
        let noted = if own_write { lease_view.observe_own_write(reading) } else { lease_view.observe(reading) };
        state.distrusted |= noted.is_err();
        lease_view.published(ended);
        if !self.scope.failsafe.is_empty() && self.rule != Rule::StampBeforePublishing {
            state.witnesses[b] = lease_view.value().map(|record| self.short(record));
        }
        state.brains[b].version = version;
        if lease_view.seen.as_ref().is_none_or(|seen| seen.unheld_since.is_none_or(|since| since == ended)) {
            // A stop that was ordered before does not count.
            state.brains[b].stop = Stop::None;
        }
        state.brains[b].seen = lease_view.seen.map(|seen| {
            let age = |boot_instant: BootInstant| u8::try_from(boot_instant.until(NOW).as_secs()).unwrap();
            (self.short(&seen.found.value), seen.unheld_since.map(age))
        });
    }

    /// The voter answers from its witness. A no ends the round; the last yes extends the run.
    fn voter_answers(&self, state: &mut State, n: usize, b: usize) -> Option<()> {
        let grant = state.guards[n].runs.map(|(grant, _)| grant).or(state.guards[n].last)?;
        let (age, yes) = state.guards[n].round.as_mut()?;
        let known = match self.rule {
            Rule::YesWhateverKnown => None,
            Rule::OwnClaimsOnly => state.witnesses[b].filter(|known| written_by(*known) == b),
            _ => state.witnesses[b],
        };
        let question = failsafe::Grant { holder: self.names[n].clone(), epoch: grant.epoch.into() };
        if yes[b] || !failsafe::vouches(known.map(|known| self.long(known)).as_ref(), &question) {
            state.guards[n].round = None;
            return Some(());
        }
        yes[b] = true;
        let is_asked = |voter: usize| voter != 1 || self.rule != Rule::OneVoterNotAsked;
        if (0..BRAINS).all(|voter| yes[voter] || !is_asked(voter)) {
            let began = if self.rule == Rule::CountFromAnswer { NOW } else { ago(*age) };
            self.round_ends(&mut state.guards[n], &question, grant, began);
        }
        Some(())
    }

    fn round_ends(&self, guard: &mut Guard, question: &failsafe::Grant, grant: Short, began: BootInstant) {
        guard.round = None;
        let age = match guard.runs {
            // It was told to stop.
            Some((_, age)) if age >= VALID => return,
            Some((_, age)) => age,
            None if self.rule == Rule::StartOnYes => u8::MAX,
            None => return,
        };
        let mut lease_view = LeaseView {
            seen: Some(Latest {
                found: self.found(grant),
                last_read_began: Some(ago(age)),
                first_seen: BootInstant::default(),
                unheld_since: None,
                written_after: None,
                read_after: None,
            }),
        };
        lease_view.renew(question, began);
        if lease_view.permit(&question.holder, NOW, &self.params()).is_some() {
            let began = lease_view.seen.and_then(|latest| latest.last_read_began).unwrap();
            guard.runs = Some((grant, u8::try_from(began.until(NOW).as_secs()).unwrap()));
        }
    }

    /// Whether the holder runs on while the arbiter is away, all voters are up and no claim is made.
    fn holder_runs_on(&self, state: &State) -> bool {
        let Some(grant) = state.register.filter(|record| record.granted) else { return true };
        let n = usize::from(grant.holder);
        let runs = |state: &State| state.guards[n].runs.is_some_and(|(held, age)| held == grant && age < VALID);
        if !self.scope.failsafe.contains(&n) || !runs(state) {
            return true;
        }
        let mut state = state.clone();
        (0..8).all(|_| {
            state.guards[n].round = None;
            let round =
                [Action::GuardBeginsRound(n), Action::VoterAnswers(n, 0), Action::VoterAnswers(n, 1), Action::Tick];
            for action in round {
                // Under a broken rule a round may end before its last answer.
                state = self.step(&state, action).unwrap_or(state.clone());
            }
            runs(&state)
        })
    }

    fn guard_hears(&self, state: &mut State, n: usize, age: u8, short: Short) {
        let began = if self.rule == Rule::StaleRead { NOW } else { ago(age) };
        let guard = &mut state.guards[n];
        let seen = guard.runs.map(|(short, age)| Latest {
            found: self.found(short),
            last_read_began: Some(ago(age)),
            first_seen: BootInstant::default(),
            unheld_since: None,
            written_after: None,
            read_after: None,
        });
        let mut lease_view = LeaseView { seen };
        state.distrusted |=
            lease_view.observe(Observation { began, ended: NOW, found: Some(self.found(short)) }).is_err();
        if lease_view.permit(&self.names[n], NOW, &self.params()).is_some() {
            let seen = lease_view.seen.unwrap();
            let age = u8::try_from(seen.last_read_began.unwrap().until(NOW).as_secs()).unwrap();
            guard.runs = Some((self.short(&seen.found.value), age));
            guard.last = guard.runs.map(|(grant, _)| grant).filter(|_| self.rule == Rule::StartOnYes);
        }
    }

    fn steps(&self, before: &State, steps: &[Action]) -> Option<State> {
        steps.iter().try_fold(before.clone(), |state, step| self.step(&state, *step))
    }

    /// The state after one event; none if it cannot happen.
    fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::GuardReads(n) => {
                let steps = [Action::GuardAsks(n), Action::RegisterAnswersGuard(n), Action::GuardHears(n)];
                return self.steps(before, &steps);
            }
            Action::BrainReads(b) => {
                let steps = [Action::BrainAsks(b), Action::RegisterAnswersBrain(b), Action::BrainHears(b)];
                return self.steps(before, &steps);
            }
            Action::NodeConfirms(b) => {
                return self.steps(before, &[Action::NodeStops(b), Action::BrainHearsOfStop(b)]);
            }
            Action::SwapSucceeds(b, target) => {
                let steps = [Action::BrainSwaps(b, target), Action::RegisterSwaps(b), Action::BrainHearsOfSwap(b)];
                return self.steps(before, &steps);
            }
            Action::SwapIsUnheard(b, target) => {
                let steps = [Action::BrainSwaps(b, target), Action::RegisterSwaps(b), Action::SwapIsLost(b)];
                return self.steps(before, &steps);
            }
            Action::SwapGoesAstray(b, target) => {
                return self.steps(before, &[Action::BrainSwaps(b, target), Action::SwapIsLost(b)]);
            }
            Action::Tick => {
                for (n, guard) in state.guards.iter_mut().enumerate() {
                    let rate = if state.slow[n] { SLOW } else { FAST };
                    guard.runs = guard.runs.map(|(s, age)| (s, age + rate)).filter(|(_, age)| *age < VALID + STOP);
                    let late = |age: u8| age >= VALID && self.rule != Rule::StaleRead;
                    guard.read = guard.read.map(|(age, s)| ((age + rate).min(VALID), s)).filter(|(age, _)| !late(*age));
                    let round = guard.round.map(|(age, yes)| ((age + rate).min(VALID), yes));
                    let counts = |age: u8| age < VALID || self.rule == Rule::CountFromAnswer;
                    guard.round = round.filter(|(age, _)| counts(*age));
                }
                for (b, brain) in state.brains.iter_mut().enumerate() {
                    let rate = if state.slow[b] { SLOW } else { FAST };
                    let older = |age: u8| (age + rate).min(VALID + GRACE);
                    brain.seen = brain.seen.map(|(s, age)| (s, age.map(older)));
                }
            }
            Action::GuardAsks(n) => match &mut state.guards[n].read {
                read @ None => *read = Some((0, None)),
                Some(_) => return None,
            },
            Action::RegisterAnswersGuard(n) => {
                let (age, None) = state.guards[n].read? else { return None };
                // Any other answer leaves the guard as it is: at worst, the service runs on.
                let named = state.register.filter(|held| held.granted && usize::from(held.holder) == n);
                state.guards[n].read = named.map(|short| (age, Some(short)));
            }
            Action::GuardHears(n) => {
                let (age, Some(short)) = state.guards[n].read.take()? else { return None };
                self.guard_hears(&mut state, n, age, short);
            }
            Action::Crash(n) => {
                state.guards[n] = Guard { last: state.guards[n].last, ..Guard::default() };
                if let Some(witness) = state.witnesses.get_mut(n) {
                    *witness = None;
                }
                if let Some(brain) = state.brains.get_mut(n) {
                    if let Some((swap, Stage::Sent)) = brain.swap {
                        self.comes_late(&mut state.orphan, swap);
                    }
                    *brain = Brain::default();
                }
            }
            Action::BrainAsks(b) => {
                let brain = &mut state.brains[b];
                if brain.read != Read::Idle || matches!(brain.swap, Some((_, Stage::Sent | Stage::Done(_)))) {
                    return None;
                }
                brain.read = Read::Asked;
            }
            Action::RegisterAnswersBrain(b) => {
                (state.brains[b].read == Read::Asked).then_some(())?;
                state.brains[b].read = Read::Answered(state.register);
            }
            Action::BrainHears(b) => {
                let Read::Answered(found) = state.brains[b].read else { return None };
                state.brains[b].read = Read::Idle;
                match (state.brains[b].swap.take(), found) {
                    (Some((swap, Stage::Unknown)), Some(found))
                        if self.long(found).is_same_write(&self.long(swap.new)) =>
                    {
                        self.brain_observes(&mut state, b, Some(found), Some(swap.new), true);
                    }
                    _ => self.brain_observes(&mut state, b, found, found, false),
                }
            }
            Action::BrainSwaps(b, target) => {
                let brain = &mut state.brains[b];
                if brain.read != Read::Idle || brain.swap.is_some() {
                    return None;
                }
                let (TakeoverStep::Claim(new) | TakeoverStep::Grant(new)) = self.next(brain, b, target) else {
                    return None;
                };
                let swap = Swap { expected: brain.version, new: self.short(&new) };
                brain.swap = Some((swap, Stage::Sent));
            }
            Action::BrainOrdersStop(b, target) => {
                let brain = &mut state.brains[b];
                if brain.stop != Stop::None || brain.swap.is_some() {
                    return None;
                }
                let TakeoverStep::Wait { stop: Some(node), .. } = self.next(brain, b, target) else { return None };
                let node = self.names.iter().position(|name| *name == node).unwrap();
                brain.stop = Stop::Sent(node as u8);
            }
            Action::RegisterSwaps(b) => {
                let (swap, Stage::Sent) = state.brains[b].swap? else { return None };
                let expected = if self.rule == Rule::BlindSwap { state.register } else { swap.expected };
                let result = swap_in(&mut state, Swap { expected, ..swap });
                state.brains[b].swap = Some((swap, Stage::Done(result)));
            }
            Action::BrainHearsOfSwap(b) => {
                let (swap, Stage::Done(result)) = state.brains[b].swap? else { return None };
                state.brains[b].swap = None;
                match result {
                    Ok(()) => self.brain_observes(&mut state, b, Some(swap.new), Some(swap.new), true),
                    Err(found) => self.brain_observes(&mut state, b, found, found, false),
                }
            }
            Action::SwapIsLost(b) => {
                let (swap, stage) = state.brains[b].swap?;
                match stage {
                    Stage::Sent => self.comes_late(&mut state.orphan, swap),
                    Stage::Done(_) => {}
                    Stage::Unknown => return None,
                }
                state.brains[b].swap = Some((swap, Stage::Unknown));
            }
            Action::RegisterSwapsOrphan => {
                let swap = state.orphan.take()?;
                let _ = swap_in(&mut state, swap);
            }
            Action::NodeStops(b) => {
                let Stop::Sent(node) = state.brains[b].stop else { return None };
                let guard = &mut state.guards[usize::from(node)];
                if self.rule == Rule::ConfirmByStatus {
                    guard.runs.is_none().then_some(())?;
                } else {
                    *guard = Guard::default();
                }
                state.brains[b].stop = Stop::Done(node);
            }
            Action::BrainHearsOfStop(b) => {
                let Stop::Done(node) = state.brains[b].stop else { return None };
                state.brains[b].stop = Stop::Confirmed(node);
            }
            Action::GuardBeginsRound(n) => {
                let guard = &mut state.guards[n];
                if guard.round.is_some() || guard.runs.is_none() && guard.last.is_none() {
                    return None;
                }
                guard.round = Some((0, [false; BRAINS]));
            }
            Action::VoterAnswers(n, b) => self.voter_answers(&mut state, n, b)?,
            Action::BrainPublishes(b) => {
                let (seen, _) = state.brains[b].seen?;
                if state.witnesses[b] == Some(seen) {
                    return None;
                }
                state.witnesses[b] = Some(seen);
                if self.rule != Rule::StampBeforePublishing {
                    state.brains[b].seen = Some((seen, (!seen.granted).then_some(0)));
                    state.brains[b].stop = Stop::None;
                }
            }
            Action::WitnessForgets(b) => {
                state.witnesses[b].take()?;
                // The brain notices that before it grants, and its wait begins anew.
                if self.rule != Rule::StampBeforePublishing {
                    state.brains[b].seen = state.brains[b].seen.map(|(seen, _)| (seen, None));
                    state.brains[b].stop = Stop::None;
                }
            }
        }
        Some(state)
    }

    /// A swap for which no one waits any more: lost, or still in progress.
    fn comes_late(&self, orphan: &mut Option<Swap>, swap: Swap) {
        if self.scope.late_swaps {
            orphan.get_or_insert(swap);
        }
    }

    /// Whether the service comes to run if from now on only this node, with its brain, stays up: the others
    /// are gone for ever, and what they sent arrives at the worst time or never.
    fn recovers(&self, state: &State, survivor: usize) -> bool {
        let mut left = state.clone();
        for n in (0..NODES).filter(|n| *n != survivor) {
            left = self.step(&left, Action::Crash(n)).unwrap();
        }
        let key = (left, survivor);
        if let Some(known) = self.recovered.lock().unwrap().get(&key) {
            return *known;
        }
        let orphan_at = if key.0.orphan.is_some() { 0..6 } else { 0..1 };
        let recovers = orphan_at.into_iter().all(|at| self.runs_in_time(&key.0, survivor, at));
        self.recovered.lock().unwrap().insert(key, recovers);
        recovers
    }

    fn runs_in_time(&self, state: &State, n: usize, orphan_at: usize) -> bool {
        let mut state = state.clone();
        let mut orphan_at = orphan_at;
        for _ in 0..20 {
            let turn = [
                Action::BrainHearsOfSwap(n),
                Action::RegisterAnswersBrain(n),
                Action::BrainHears(n),
                Action::BrainAsks(n),
                Action::RegisterAnswersBrain(n),
                Action::BrainHears(n),
                Action::BrainSwaps(n, n as u8),
                Action::RegisterSwaps(n),
                Action::BrainHearsOfSwap(n),
                Action::GuardHears(n),
                Action::GuardAsks(n),
                Action::RegisterAnswersGuard(n),
                Action::GuardHears(n),
            ];
            for action in turn {
                if orphan_at == 0 {
                    state = self.step(&state, Action::RegisterSwapsOrphan).unwrap_or(state);
                }
                let next = self.step(&state, action);
                orphan_at = orphan_at.wrapping_sub(usize::from(next.is_some()));
                state = next.unwrap_or(state);
            }
            if state.guards[n].runs.is_some_and(|(grant, _)| Some(grant) == state.register) {
                return !state.distrusted;
            }
            state = self.step(&state, Action::Tick).unwrap();
        }
        false
    }
}

/// The brain whose nonce this is.
fn written_by(short: Short) -> usize {
    usize::from(short.nonce.wrapping_sub(1) % 4)
}

fn ago(age: u8) -> BootInstant {
    BootInstant::since_boot(Duration::from_secs(1000 - u64::from(age)))
}

fn swap_in(state: &mut State, swap: Swap) -> Result<(), Option<Short>> {
    if state.register != swap.expected {
        return Err(state.register);
    }
    let rank = |short: Short| (short.epoch, short.granted);
    state.went_back |= state.register.is_some_and(|held| rank(swap.new) <= rank(held));
    state.register = Some(swap.new);
    Ok(())
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    /// Either the lease is granted to the first node, which runs the service, or nothing was ever written.
    fn init_states(&self) -> Vec<State> {
        let grant = Short { holder: 0, epoch: 1, granted: true, previous_holder: None, nonce: 255 };
        let state = |slow: &[bool; NODES], register: Option<Short>| {
            let mut guards = [Guard::default(); NODES];
            guards[0].runs = register.map(|grant| (grant, 0));
            guards[0].last = register.filter(|_| self.rule == Rule::StartOnYes);
            let (brains, witnesses) = ([Brain::default(); BRAINS], [None; BRAINS]);
            State {
                register,
                guards,
                brains,
                witnesses,
                orphan: None,
                slow: *slow,
                went_back: false,
                distrusted: false,
            }
        };
        self.scope.slow.iter().map(|slow| state(slow, self.scope.granted.then_some(grant))).collect()
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Tick, Action::RegisterSwapsOrphan]);
        for n in 0..NODES {
            actions.push(Action::Crash(n));
            if !self.scope.readers.contains(&n) {
                continue;
            }
            if self.scope.delays {
                // A guard that is never named has nothing to read.
                if n != 0 && !self.scope.targets.contains(&(n as u8)) {
                    continue;
                }
                actions.extend([Action::GuardAsks(n), Action::RegisterAnswersGuard(n), Action::GuardHears(n)]);
            } else {
                actions.push(Action::GuardReads(n));
            }
        }
        for &n in self.scope.failsafe {
            actions.push(Action::GuardBeginsRound(n));
            actions.extend((0..BRAINS).map(|b| Action::VoterAnswers(n, b)));
        }
        for b in 0..BRAINS {
            if !self.scope.failsafe.is_empty() {
                actions.extend([Action::BrainPublishes(b), Action::WitnessForgets(b)]);
            }
            if self.scope.delays {
                actions.push(Action::SwapIsLost(b));
                actions.extend([Action::BrainAsks(b), Action::RegisterAnswersBrain(b), Action::BrainHears(b)]);
                actions.extend([Action::RegisterSwaps(b), Action::BrainHearsOfSwap(b)]);
                actions.extend([Action::NodeStops(b), Action::BrainHearsOfStop(b)]);
            } else {
                actions.extend([Action::BrainReads(b), Action::NodeConfirms(b)]);
            }
            for &target in self.scope.targets {
                actions.push(Action::BrainOrdersStop(b, target));
                if self.scope.delays {
                    actions.push(Action::BrainSwaps(b, target));
                } else {
                    actions.extend([Action::SwapSucceeds(b, target), Action::SwapIsUnheard(b, target)]);
                    if self.scope.late_swaps {
                        actions.push(Action::SwapGoesAstray(b, target));
                    }
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        let sent = state.brains.iter().filter_map(|brain| brain.swap).map(|(swap, _)| swap).chain(state.orphan);
        sent.map(|swap| swap.new).chain(state.register).all(|value| value.epoch <= self.scope.last_epoch)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWO, |_, state: &State| {
                state.guards.iter().filter(|guard| guard.runs.is_some()).count() < 2
            }),
            Property::always("epochs only grow", |_, state: &State| !state.went_back && !state.distrusted),
            Property::always("someone runs eventually", |model: &Self, state: &State| {
                (0..BRAINS).all(|survivor| model.recovers(state, survivor))
            }),
            Property::always("a quiet holder runs on", |model: &Self, state: &State| model.holder_runs_on(state)),
            Property::sometimes("another node runs", |_, state: &State| state.guards[1].runs.is_some()),
        ]
    }
}

/// Checks everything that the scope reaches.
fn holds(scope: Scope) {
    let checker = Lease::new(Rule::Kept, scope).checker().threads(2).spawn_bfs().join();
    println!("{} states, {} deep", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
    assert!(checker.is_done());
}

const TWO: &str = "never two nodes run";

/// Checks that the broken rule breaks the promise, and shows how.
fn breaks(rule: Rule, scope: Scope, promise: &'static str) {
    let broken = HasDiscoveries::AnyOf([promise].into());
    let checker = Lease::new(rule, scope).checker().threads(2).finish_when(broken).spawn_bfs().join();
    let path = checker.discovery(promise);
    let path = path.unwrap_or_else(|| panic!("{rule:?} does no harm in {} states", checker.unique_state_count()));
    println!("{rule:?}: {:?}", path.into_actions());
}

#[test]
fn never_two_with_swaps_that_come_late() {
    holds(LATE);
}

#[test]
fn never_two_over_three_epochs() {
    holds(LONG);
}

#[test]
fn never_two_from_the_first_claim() {
    holds(NEW);
}

#[test]
fn never_two_when_every_step_takes_its_time() {
    holds(SLOW_NETWORK);
}

#[test]
fn without_the_wait_two_run() {
    breaks(Rule::NoWait, LATE, TWO);
}

#[test]
fn without_room_for_drift_two_run() {
    breaks(Rule::NoDrift, LATE, TWO);
}

#[test]
fn a_grant_before_the_confirmation_makes_two_run() {
    breaks(Rule::GrantBeforeConfirm, LATE, TWO);
}

#[test]
fn a_mere_status_makes_two_run() {
    breaks(Rule::ConfirmByStatus, SLOW_NETWORK, TWO);
}

#[test]
fn a_stale_read_makes_two_run() {
    breaks(Rule::StaleRead, SLOW_NETWORK, TWO);
}

#[test]
fn equal_nonces_make_two_run() {
    breaks(Rule::EqualNonce, Scope { last_epoch: 2, targets: &[0, 1], ..LONG }, TWO);
}

#[test]
fn a_register_that_does_not_compare_goes_back() {
    breaks(Rule::BlindSwap, LATE, "epochs only grow");
}

#[test]
fn a_wait_without_end_lets_nobody_run() {
    breaks(Rule::NoEnd, LATE, "someone runs eventually");
}

#[test]
fn never_two_under_the_failsafe() {
    holds(FAILSAFE);
}

#[test]
fn never_two_under_the_failsafe_with_swaps_that_come_late() {
    holds(LATE_FAILSAFE);
}

#[test]
fn never_two_under_the_failsafe_when_every_step_takes_its_time() {
    holds(SLOW_FAILSAFE);
}

#[test]
fn never_two_under_the_failsafe_of_each_holder() {
    holds(LONG_FAILSAFE);
}

#[test]
fn a_voter_that_says_yes_whatever_it_knows_makes_two_run() {
    breaks(Rule::YesWhateverKnown, FAILSAFE, TWO);
}

#[test]
fn a_voter_that_counts_only_its_own_claims_makes_two_run() {
    breaks(Rule::OwnClaimsOnly, FAILSAFE, TWO);
}

#[test]
fn a_wait_that_begins_before_the_claim_is_published_makes_two_run() {
    breaks(Rule::StampBeforePublishing, FAILSAFE, TWO);
}

#[test]
fn a_voter_that_is_not_asked_makes_two_run() {
    breaks(Rule::OneVoterNotAsked, FAILSAFE, TWO);
}

#[test]
fn a_round_that_counts_from_its_answers_makes_two_run() {
    breaks(Rule::CountFromAnswer, FAILSAFE, TWO);
}

#[test]
fn a_failsafe_without_room_for_drift_makes_two_run() {
    breaks(Rule::NoDrift, Scope { readers: &[1, 2], ..FAILSAFE }, TWO);
}

#[test]
fn a_failsafe_without_a_wait_makes_two_run() {
    breaks(Rule::NoWait, Scope { readers: &[1, 2], ..FAILSAFE }, TWO);
}

#[test]
fn a_start_on_a_yes_makes_two_run() {
    breaks(Rule::StartOnYes, FAILSAFE, TWO);
}
