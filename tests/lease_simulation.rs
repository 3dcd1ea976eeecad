//! The rules of the lease in systems that are too large for the model: five nodes, each with a brain and
//! a guard. Messages are late, lost or overtaken, links fail one by one, nodes crash and freeze, and
//! clocks drift. Every schedule follows from its number.
//!
//! `MIRROR_SCHEDULES` sets how many; `MIRROR_SCHEDULE` runs one and prints its events.
#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use three_mirror::clock::BootInstant;
use three_mirror::lease::failsafe::{self, Grant, Round};
use three_mirror::lease::takeover::next_step;
use three_mirror::lease::{
    ClaimRequest, LeaseRecord, LeaseView, Nonce, Observation, Params, Stopped, TakeoverStep, VersionedRecord,
};
use three_mirror::name::Name;
use three_mirror::register::Version;

const NODES: usize = 5;
const MS: u64 = 1_000_000;
const VALID: u64 = 2000 * MS;
const GRACE: u64 = 1000 * MS;
/// A guard kills at the latest so long after its permit ended, by its own clock.
const STOP: u64 = 700 * MS;
/// Clocks are fast or slow by up to so many millionths: far more than any crystal.
const DRIFT: u64 = 20_000;
/// Faults happen until then; after it all is well.
const TROUBLE: u64 = 20_000 * MS;
/// By then the service must run.
const END: u64 = TROUBLE + 12_000 * MS;
const POLL: u64 = 700 * MS;
/// A brain that hears nothing for so long gives a question up.
const PATIENCE: u64 = 1000 * MS;

/// Random numbers by Steele, Lea and Flood's `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Mostly quick, sometimes late, and now and then very late.
    fn delay(&mut self) -> u64 {
        match self.below(100) {
            0..90 => self.below(40 * MS),
            90..98 => self.below(900 * MS),
            _ => self.below(8000 * MS),
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    GuardPolls {
        node: usize,
        life: u64,
    },
    GuardAsks {
        node: usize,
        life: u64,
        began: BootInstant,
    },
    GuardHears {
        node: usize,
        life: u64,
        began: BootInstant,
        found: Option<VersionedRecord>,
    },
    GuardWakes {
        node: usize,
        life: u64,
    },
    BrainTicks {
        node: usize,
        boot: u64,
    },
    BrainThinks {
        node: usize,
        boot: u64,
    },
    BrainAsks {
        node: usize,
        boot: u64,
        question: u64,
        began: BootInstant,
    },
    BrainHears {
        node: usize,
        boot: u64,
        question: u64,
        began: BootInstant,
        found: Option<VersionedRecord>,
    },
    SwapArrives {
        node: usize,
        boot: u64,
        question: u64,
        began: BootInstant,
        expected: Option<Version>,
        new: LeaseRecord,
    },
    BrainHearsOfSwap {
        node: usize,
        boot: u64,
        question: u64,
        began: BootInstant,
        found: Option<VersionedRecord>,
        won: bool,
    },
    BrainGivesUp {
        node: usize,
        boot: u64,
        question: u64,
    },
    StopArrives {
        brain: usize,
        boot: u64,
        node: usize,
        issued: BootInstant,
    },
    StopEnds {
        brain: usize,
        boot: u64,
        node: usize,
        life: u64,
        issued: BootInstant,
    },
    BrainHearsOfStop {
        brain: usize,
        boot: u64,
        node: usize,
        issued: BootInstant,
    },
    VoterAsked {
        guard: usize,
        life: u64,
        voter: usize,
        began: BootInstant,
        grant: Grant,
    },
    VoterAnswers {
        guard: usize,
        life: u64,
        voter: usize,
        began: BootInstant,
        yes: bool,
    },
    Fault,
    Heal {
        link: (usize, usize),
    },
    Thaw {
        node: usize,
    },
}

/// An instance of the service. Times are by its node's clock.
#[derive(Debug)]
struct Run {
    epoch: u64,
    until: u64,
    /// When it ends because it was told to, if it was.
    ends: Option<u64>,
}

struct Node {
    name: Name,
    offset: u64,
    ppm: i64,
    frozen_until: u64,
    guard: LeaseView,
    /// Counts the guard's lives: what an earlier one asked is not heard by a later one.
    life: u64,
    run: Option<Run>,
    /// The latest round of questions to all voters, and when it began.
    round: Option<(Round, BootInstant, Grant)>,
    brain: LeaseView,
    /// What this node's processes have published; it may be lost in a crash.
    witness: Option<LeaseRecord>,
    boot: u64,
    question: u64,
    open: Option<LeaseRecord>,
    stops: Vec<Stopped>,
    ordered: Option<Nonce>,
    /// The target that it wants instead of the first living node.
    wish: Option<usize>,
}

struct World {
    dice: Dice,
    now: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    bodies: Vec<Option<Event>>,
    nodes: Vec<Node>,
    /// Which links are cut; the last row and column are the arbiter's.
    cut: [[bool; NODES + 1]; NODES + 1],
    register: Option<VersionedRecord>,
    versions: u64,
    params: Params,
    wait: Params,
    takeovers: u64,
    /// How often the failsafe extended a run.
    extensions: u64,
    verbose: bool,
}

const ARBITER: usize = NODES;

impl World {
    fn new(seed: u64, wait: Params) -> Self {
        let mut dice = Dice(seed);
        let names = ["a", "b", "c", "d", "e"];
        let node = |name: &str, dice: &mut Dice| Node {
            name: name.parse().unwrap(),
            offset: dice.below(1_000_000 * MS),
            ppm: dice.below(2 * DRIFT + 1) as i64 - DRIFT as i64,
            frozen_until: 0,
            guard: LeaseView::default(),
            life: 0,
            run: None,
            round: None,
            brain: LeaseView::default(),
            witness: None,
            boot: 0,
            question: 0,
            open: None,
            stops: Vec::new(),
            ordered: None,
            wish: None,
        };
        let nodes = names.iter().map(|name| node(name, &mut dice)).collect();
        let nanos = Duration::from_nanos;
        let mut world = Self {
            dice,
            now: 0,
            number: seed,
            events: BinaryHeap::new(),
            bodies: Vec::new(),
            nodes,
            cut: [[false; NODES + 1]; NODES + 1],
            register: None,
            versions: 0,
            params: Params { valid: nanos(VALID), grace: nanos(GRACE) },
            wait,
            takeovers: 0,
            extensions: 0,
            verbose: std::env::var_os("MIRROR_SCHEDULE").is_some(),
        };
        for node in 0..NODES {
            let (poll, tick) = (world.dice.below(POLL), world.dice.below(1000 * MS));
            world.at(poll, Event::GuardPolls { node, life: 0 });
            world.at(tick, Event::BrainTicks { node, boot: 0 });
        }
        let first = world.dice.below(3000 * MS);
        world.at(first, Event::Fault);
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        self.events.push(Reverse((time, self.bodies.len() as u64, self.bodies.len())));
        self.bodies.push(Some(event));
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Over a link: late, or lost where it is cut, or for no reason.
    fn send(&mut self, from: usize, to: usize, event: Event) {
        let lost = self.cut[from][to] || (self.now < TROUBLE && self.dice.one_in(40));
        if !lost {
            let delay = if self.now < TROUBLE { self.dice.delay() } else { self.dice.below(40 * MS) };
            self.after(delay, event);
        }
    }

    fn local(&self, node: usize) -> u64 {
        let Node { offset, ppm, .. } = self.nodes[node];
        (offset + self.now).wrapping_add_signed(self.now as i64 / 1_000_000 * ppm)
    }

    fn boot_instant(&self, node: usize) -> BootInstant {
        BootInstant::since_boot(Duration::from_nanos(self.local(node)))
    }

    /// When a node's clock will show this, or just after.
    fn when(&self, node: usize, local: u64) -> u64 {
        let ppm = self.nodes[node].ppm;
        let left = local.saturating_sub(self.local(node)) as i64;
        self.now + (left - left / 1_000_000 * ppm).max(0) as u64 + left.unsigned_abs() / 1000 + 1000
    }

    fn frozen(&self, node: usize) -> bool {
        self.now < self.nodes[node].frozen_until
    }

    fn two_run(&self) -> Option<String> {
        // When it wakes, it first looks at the time.
        let acts = |n: &usize| self.nodes[*n].run.is_some() && self.now > self.nodes[*n].frozen_until;
        let acting: Vec<usize> = (0..NODES).filter(acts).collect();
        (acting.len() > 1).then(|| {
            let runs = acting.iter().map(|n| format!("{} {:?}", self.nodes[*n].name, self.nodes[*n].run));
            format!("schedule {}: at {} ms run {}", self.number, self.now / MS, runs.collect::<Vec<_>>().join(" and "))
        })
    }

    /// Runs the schedule to its end. The error is a broken promise.
    fn run(&mut self) -> Result<(u64, u64), String> {
        let mut healed = false;
        while let Some(Reverse((time, _, body))) = self.events.pop() {
            if time > END {
                break;
            }
            if time > TROUBLE && !healed {
                healed = true;
                self.now = TROUBLE;
                self.cut = [[false; NODES + 1]; NODES + 1];
                self.nodes.iter_mut().for_each(|node| node.wish = None);
            }
            self.now = self.now.max(time);
            let event = self.bodies[body].take().unwrap();
            // A frozen node handles the event as soon as it wakes.
            if let Some(until) = self.sleeper(&event).map(|node| self.nodes[node].frozen_until)
                && self.now < until
            {
                self.at(until + 1, event);
                continue;
            }
            if self.verbose {
                println!("{:>9.3} {event:?}", self.now as f64 / 1e6);
            }
            self.happen(event)?;
            if let Some(wrong) = self.two_run() {
                return Err(wrong);
            }
        }
        let (number, register) = (self.number, &self.register);
        let runs = |node: &Node| node.run.as_ref().map(|run| (node.name.clone(), run.epoch));
        let running: Vec<_> = self.nodes.iter().filter_map(runs).collect();
        let named = register.as_ref().map(|found| &found.value).filter(|value| value.granted_to().is_some());
        match named {
            Some(value) if running == [(value.holder.clone(), value.epoch)] => Ok((self.takeovers, self.extensions)),
            _ => Err(format!("schedule {number}: in the end run {running:?}, and the register holds {register:?}")),
        }
    }

    fn sleeper(&self, event: &Event) -> Option<usize> {
        match event {
            Event::GuardPolls { node, .. }
            | Event::GuardHears { node, .. }
            | Event::GuardWakes { node, .. }
            | Event::BrainTicks { node, .. }
            | Event::BrainThinks { node, .. }
            | Event::BrainHears { node, .. }
            | Event::BrainHearsOfSwap { node, .. }
            | Event::BrainGivesUp { node, .. }
            | Event::StopArrives { node, .. }
            | Event::StopEnds { node, .. } => Some(*node),
            Event::VoterAsked { voter, .. } => Some(*voter),
            Event::VoterAnswers { guard, .. } => Some(*guard),
            Event::BrainHearsOfStop { brain, .. } => Some(*brain),
            Event::GuardAsks { .. }
            | Event::BrainAsks { .. }
            | Event::SwapArrives { .. }
            | Event::Fault
            | Event::Heal { .. }
            | Event::Thaw { .. } => None,
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::GuardPolls { node, life } if life == self.nodes[node].life => {
                let began = self.boot_instant(node);
                self.send(node, ARBITER, Event::GuardAsks { node, life, began });
                self.after(POLL, Event::GuardPolls { node, life });
                self.begin_round(node);
            }
            Event::GuardAsks { node, life, began } => {
                let found = self.register.clone();
                self.send(ARBITER, node, Event::GuardHears { node, life, began, found });
            }
            Event::GuardHears { node, life, began, found } if life == self.nodes[node].life => {
                let ended = self.boot_instant(node);
                self.observe(node, true, Observation { began, ended, found }, false)?;
                self.guard_acts(node);
            }
            Event::VoterAsked { guard, life, voter, began, grant } => {
                let yes = failsafe::vouches(self.nodes[voter].witness.as_ref(), &grant);
                self.send(voter, guard, Event::VoterAnswers { guard, life, voter, began, yes });
            }
            Event::VoterAnswers { guard, life, voter, began, yes } if life == self.nodes[guard].life && yes => {
                self.take_yes(guard, voter, began);
            }
            Event::GuardWakes { node, life } if life == self.nodes[node].life => self.guard_acts(node),
            Event::BrainTicks { node, boot } if boot == self.nodes[node].boot => {
                let pause = 500 * MS + self.dice.below(1000 * MS);
                self.after(pause, Event::BrainTicks { node, boot });
                if self.now < TROUBLE && self.dice.one_in(12) {
                    self.nodes[node].wish =
                        Some(self.dice.below(NODES as u64) as usize).filter(|_| self.dice.one_in(2));
                }
                if self.nodes[node].open.is_none() {
                    self.ask(node);
                }
            }
            Event::BrainThinks { node, boot } if boot == self.nodes[node].boot => self.think(node),
            Event::BrainAsks { node, boot, question, began } => {
                let found = self.register.clone();
                self.send(ARBITER, node, Event::BrainHears { node, boot, question, began, found });
            }
            Event::BrainHears { node, boot, question, began, found } if self.waits(node, boot, question) => {
                let ended = self.boot_instant(node);
                let open = self.nodes[node].open.take();
                let local_node = open.zip(found.as_ref()).is_some_and(|(open, found)| open.is_same_write(&found.value));
                self.observe(node, false, Observation { began, ended, found }, local_node)?;
                self.think(node);
            }
            Event::SwapArrives { node, boot, question, began, expected, new } => {
                let version = self.register.as_ref().map(|found| found.version.clone());
                let won = version == expected;
                if won {
                    self.swap_in(new)?;
                }
                let found = self.register.clone();
                self.send(ARBITER, node, Event::BrainHearsOfSwap { node, boot, question, began, found, won });
            }
            Event::BrainHearsOfSwap { node, boot, question, began, found, won } if self.waits(node, boot, question) => {
                self.nodes[node].open = None;
                let ended = self.boot_instant(node);
                self.observe(node, false, Observation { began, ended, found }, won)?;
                self.think(node);
            }
            Event::BrainGivesUp { node, boot, question } if self.waits(node, boot, question) => self.ask(node),
            Event::StopArrives { brain, boot, node, issued } => {
                // A guard that is told to stop ends, and with it all that it has read.
                let local = self.local(node);
                let life = self.nodes[node].life;
                let pause = self.dice.below(STOP);
                let ends = local + pause;
                if let Some(run) = &mut self.nodes[node].run {
                    let ends = run.ends.map_or(ends, |sooner| sooner.min(ends));
                    run.ends = Some(ends);
                    let at = self.when(node, ends);
                    self.at(at, Event::StopEnds { brain, boot, node, life, issued });
                } else {
                    self.reset_guard(node);
                    self.send(node, brain, Event::BrainHearsOfStop { brain, boot, node, issued });
                }
            }
            Event::StopEnds { brain, boot, node, life, issued } => {
                if life == self.nodes[node].life {
                    self.reset_guard(node);
                }
                self.send(node, brain, Event::BrainHearsOfStop { brain, boot, node, issued });
            }
            Event::BrainHearsOfStop { brain, boot, node, issued } if boot == self.nodes[brain].boot => {
                let node = self.nodes[node].name.clone();
                self.nodes[brain].stops.push(Stopped { node, issued });
                self.think(brain);
            }
            Event::Fault => self.fault(),
            Event::Heal { link: (a, b) } => {
                self.cut[a][b] = false;
            }
            Event::Thaw { node } => self.guard_acts(node),
            _ => {}
        }
        Ok(())
    }

    fn waits(&self, node: usize, boot: u64, question: u64) -> bool {
        boot == self.nodes[node].boot && question == self.nodes[node].question
    }

    fn observe(&mut self, node: usize, guard: bool, reading: Observation, local_node: bool) -> Result<(), String> {
        let me = &mut self.nodes[node];
        let lease_view = if guard { &mut me.guard } else { &mut me.brain };
        let ended = reading.ended;
        let noted = if local_node { lease_view.observe_own_write(reading) } else { lease_view.observe(reading) };
        if !guard {
            me.witness = lease_view.value().cloned();
            lease_view.published(ended);
        }
        noted.map_err(|distrust| format!("schedule {}: {distrust}", self.number))
    }

    fn swap_in(&mut self, new: LeaseRecord) -> Result<(), String> {
        if let Some(old) = &self.register
            && (new.epoch, new.state) <= (old.value.epoch, old.value.state)
        {
            return Err(format!("schedule {}: {new:?} replaced {old:?}", self.number));
        }
        self.versions += 1;
        self.takeovers += u64::from(new.granted_to().is_some());
        self.register = Some(VersionedRecord { version: Version(self.versions.to_string()), value: new });
        Ok(())
    }

    /// Starts, goes on, stops or kills, as the run rule has it.
    fn guard_acts(&mut self, node: usize) {
        let (now, boot_instant, params) = (self.local(node), self.boot_instant(node), self.params);
        let me = &mut self.nodes[node];
        let permit = me.guard.permit(&me.name, boot_instant, &params);
        if let Some(run) = &mut me.run {
            match permit {
                Some(permit) if permit.epoch == run.epoch && run.ends.is_none() => run.until = nanos(permit.until),
                _ if run.ends.is_none() => {
                    // Told to stop at once, and killed at the latest when the grace is over.
                    run.ends = Some((now + STOP).min(run.until + STOP));
                }
                _ => {}
            }
            if run.ends.is_some_and(|ends| ends <= now) {
                me.run = None;
            }
        }
        let me = &mut self.nodes[node];
        if let (None, Some(permit)) = (&me.run, permit) {
            me.run = Some(Run { epoch: permit.epoch, until: nanos(permit.until), ends: None });
        }
        let life = me.life;
        if let Some(next) = me.run.as_ref().map(|run| run.ends.unwrap_or(run.until)) {
            let at = self.when(node, next);
            self.at(at, Event::GuardWakes { node, life });
        }
    }

    /// Restarts the guard, which keeps only the record of its view.
    fn reset_guard(&mut self, node: usize) {
        let me = &mut self.nodes[node];
        (me.run, me.round) = (None, None);
        me.guard.forget_times();
        me.life += 1;
        let life = me.life;
        let pause = self.dice.below(300 * MS);
        self.after(pause, Event::GuardPolls { node, life });
    }

    /// Asks all voters when the latest good read is half used up.
    fn begin_round(&mut self, node: usize) {
        let now = self.boot_instant(node);
        let me = &self.nodes[node];
        let renewed = me.guard.seen.as_ref().and_then(|latest| latest.last_read_began);
        let late = renewed.is_some_and(|renewed| renewed.until(now) >= self.params.valid / 2);
        let Some(run) = me.run.as_ref().filter(|run| run.ends.is_none() && late) else { return };
        let (life, grant) = (me.life, Grant { holder: me.name.clone(), epoch: run.epoch });
        let names: Vec<Name> = self.nodes.iter().map(|node| node.name.clone()).collect();
        self.nodes[node].round = Some((Round::begin(&names, now), now, grant.clone()));
        for voter in 0..NODES {
            self.send(node, voter, Event::VoterAsked { guard: node, life, voter, began: now, grant: grant.clone() });
        }
    }

    fn take_yes(&mut self, node: usize, voter: usize, began: BootInstant) {
        let (now, voter) = (self.local(node), self.nodes[voter].name.clone());
        let me = &mut self.nodes[node];
        let Some((round, _, grant)) = me.round.as_mut().filter(|(_, round_began, _)| *round_began == began) else {
            return;
        };
        round.add_yes(&voter);
        let may_extend = me.run.as_ref().is_some_and(|run| run.ends.is_none() && now < run.until);
        if let Some(began) = round.unanimous_since().filter(|_| may_extend) {
            me.guard.renew(grant, began);
            me.round = None;
            self.extensions += 1;
            self.guard_acts(node);
        }
    }

    fn ask(&mut self, node: usize) {
        self.nodes[node].question += 1;
        let Node { boot, question, .. } = self.nodes[node];
        let began = self.boot_instant(node);
        self.send(node, ARBITER, Event::BrainAsks { node, boot, question, began });
        self.after(PATIENCE, Event::BrainGivesUp { node, boot, question });
    }

    fn think(&mut self, node: usize) {
        if self.nodes[node].open.is_some() {
            return;
        }
        // It sees the nodes that it reaches as alive. It may wrongly take itself for the brain.
        let sees = |other: &usize| *other == node || !(self.cut[node][*other] || self.frozen(*other));
        let Some(first) = (0..NODES).find(sees) else { return };
        let trouble = self.now < TROUBLE;
        if first != node && !(trouble && self.dice.one_in(4)) {
            return;
        }
        let target = self.nodes[node].wish.unwrap_or(first);
        let nonce = Nonce(u128::from(self.dice.roll()));
        let want = ClaimRequest {
            target: &self.nodes[target].name,
            by: "",
            why: None,
            at: "",
            nonce,
            may_grant_by_waiting: true,
        };
        let me = &self.nodes[node];
        let (began, boot) = (self.boot_instant(node), me.boot);
        match next_step(&me.brain, &me.stops, &want, began, &self.wait) {
            TakeoverStep::Claim(new) | TakeoverStep::Grant(new) => {
                let expected = me.brain.version().cloned();
                self.nodes[node].question += 1;
                let question = self.nodes[node].question;
                self.nodes[node].open = Some(new.clone());
                self.nodes[node].stops.retain(|stopped| stopped.issued.until(began) < Duration::from_secs(60));
                self.send(node, ARBITER, Event::SwapArrives { node, boot, question, began, expected, new });
                self.after(PATIENCE, Event::BrainGivesUp { node, boot, question });
            }
            TakeoverStep::Wait { until, stop } => {
                let at = self.when(node, nanos(until));
                let claim = me.brain.value().map(|value| value.nonce);
                if let Some(stop) = stop.filter(|_| me.ordered != claim) {
                    self.nodes[node].ordered = claim;
                    let other = self.nodes.iter().position(|known| known.name == stop).unwrap();
                    let event = Event::StopArrives { brain: node, boot, node: other, issued: began };
                    self.send(node, other, event);
                }
                self.at(at, Event::BrainThinks { node, boot });
            }
            TakeoverStep::Publish | TakeoverStep::LeaveToBrain | TakeoverStep::Settled => {}
        }
    }

    fn fault(&mut self) {
        let pause = self.dice.below(2500 * MS);
        if self.now + pause < TROUBLE {
            self.after(pause, Event::Fault);
        }
        let node = self.dice.below(NODES as u64) as usize;
        let lasts = self.dice.below(9000 * MS).min(TROUBLE.saturating_sub(self.now));
        match self.dice.below(10) {
            // A link, in one direction or both; a node from everybody; the arbiter from everybody.
            0..4 => {
                let other = self.dice.below(NODES as u64 + 1) as usize;
                self.cut_link(node, other, lasts);
                if self.dice.one_in(2) {
                    self.cut_link(other, node, lasts);
                }
            }
            4 | 5 => {
                for other in 0..=ARBITER {
                    self.cut_link(node, other, lasts);
                    self.cut_link(other, node, lasts);
                }
            }
            6 => {
                for other in 0..NODES {
                    self.cut_link(ARBITER, other, lasts);
                }
            }
            7 => {
                self.nodes[node].frozen_until = self.now + lasts;
                self.after(lasts, Event::Thaw { node });
            }
            _ => {
                self.reset_guard(node);
                let me = &mut self.nodes[node];
                me.boot += 1;
                (me.open, me.ordered) = (None, None);
                me.stops.clear();
                me.brain.forget_times();
                let boot = me.boot;
                if self.dice.one_in(2) {
                    (self.nodes[node].brain, self.nodes[node].guard) = (LeaseView::default(), LeaseView::default());
                    self.nodes[node].witness = None;
                }
                self.after(lasts / 4, Event::BrainTicks { node, boot });
            }
        }
    }

    fn cut_link(&mut self, from: usize, to: usize, lasts: u64) {
        self.cut[from][to] = true;
        self.after(lasts, Event::Heal { link: (from, to) });
    }
}

fn nanos(boot_instant: BootInstant) -> u64 {
    BootInstant::default().until(boot_instant).as_nanos().try_into().unwrap()
}

/// Runs so many schedules on both processors; counts the takeovers and the extensions by failsafe.
fn run(schedules: u64, wait: Params) -> Result<(u64, u64), String> {
    let next = AtomicU64::new(0);
    let (takeovers, extensions) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= schedules {
            return Ok(());
        }
        match World::new(seed, wait).run() {
            Ok((more_takeovers, more_extensions)) => {
                takeovers.fetch_add(more_takeovers, Ordering::Relaxed);
                extensions.fetch_add(more_extensions, Ordering::Relaxed);
            }
            Err(wrong) => {
                next.store(schedules, Ordering::Relaxed);
                return Err(wrong);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    Ok((takeovers.into_inner(), extensions.into_inner()))
}

fn params(valid: u64, grace: u64) -> Params {
    Params { valid: Duration::from_nanos(valid), grace: Duration::from_nanos(grace) }
}

#[test]
fn never_two_whatever_fails() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = number("MIRROR_SCHEDULE") {
        World::new(seed, params(VALID, GRACE)).run().unwrap();
        return;
    }
    let schedules = number("MIRROR_SCHEDULES").unwrap_or(20_000);
    let begun = std::time::Instant::now();
    let (takeovers, extensions) = run(schedules, params(VALID, GRACE)).unwrap();
    println!("{schedules} schedules, {takeovers} takeovers, {extensions} extensions, {:?}", begun.elapsed());
    assert!(extensions > schedules / 10, "the failsafe did too little: {extensions} extensions");
    assert!(takeovers > schedules * 2, "too little happened: {takeovers} takeovers");
}

#[test]
fn a_wait_that_is_too_short_makes_two_run() {
    for wait in [params(0, 0), params(VALID, 0), params(VALID, STOP / 2)] {
        let wrong = run(20_000, wait).unwrap_err();
        assert!(wrong.contains("ms run"), "{wrong}");
        println!("{wait:?}: {wrong}");
    }
}
