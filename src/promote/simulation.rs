//! Random histories of deaths, refusals, failed starts and crashes, through the very functions that
//! plan and remember. The nodes are a few booleans.

use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::cooldown;
use super::memory;
use super::now::Now;
use super::observed::{InstanceReport, Observed, PauseState, ServiceHealth};
use super::outcome::{PromoteVerdict, Step, StepKind, StepOutcome};
use super::plan::{Action, Plan, plan};
use super::request::{Goal, Options, Request};
use crate::clock::BootInstant;
use crate::config::Config;
use crate::leader::{NodeStates, State};
use crate::name::Name;
use crate::output::{OutputMode, PendingWaits};
use crate::state::{ServiceRecord, Uptimes};

const NODES: usize = 3;
/// Longer than any cool-down and any pause of a service that is tried in vain.
const LONG: Duration = Duration::from_secs(2 * 3600);
const MAX_ACTIONS: usize = 50;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Falls(usize),
    Rises(usize),
    Crashes(usize),
    CannotStart(usize),
    CanStart(usize),
    FallsSilent(usize),
    Answers(usize),
    /// Its watchdog ends.
    Idles(usize),
    Works(usize),
    /// A check, so many seconds later.
    Check(u64),
}

#[derive(Clone, Copy, Debug)]
struct World {
    alive: [bool; NODES],
    running: [bool; NODES],
    can_start: [bool; NODES],
    answers: [bool; NODES],
    at_work: [bool; NODES],
}

/// What one brain knows.
struct Brain<'a> {
    goal: Goal<'a>,
    record: ServiceRecord,
    uptimes: Uptimes,
    now: BootInstant,
}

impl World {
    /// All is well, but that nothing runs yet.
    const SOUND: Self = Self {
        alive: [true; NODES],
        running: [false; NODES],
        can_start: [true; NODES],
        answers: [true; NODES],
        at_work: [true; NODES],
    };

    fn apply(&mut self, event: &Event) {
        match *event {
            // The instance of a host that dies is gone.
            Event::Falls(node) => (self.alive[node], self.running[node]) = (false, false),
            Event::Rises(node) => self.alive[node] = true,
            Event::Crashes(node) => self.running[node] = false,
            Event::CannotStart(node) => self.can_start[node] = false,
            Event::CanStart(node) => self.can_start[node] = true,
            Event::FallsSilent(node) => self.answers[node] = false,
            Event::Answers(node) => self.answers[node] = true,
            Event::Idles(node) => self.at_work[node] = false,
            Event::Works(node) => self.at_work[node] = true,
            Event::Check(_) => {}
        }
    }

    fn states(&self, chain: &[Name]) -> NodeStates {
        let state = |node: usize| if self.alive[node] { State::Alive } else { State::Dead };
        chain.iter().enumerate().map(|(node, name)| (name.clone(), state(node))).collect()
    }

    fn report(&self, node: usize) -> InstanceReport {
        InstanceReport::new(match (self.answers[node], self.running[node]) {
            (false, _) => ServiceHealth::Unknown,
            (true, true) => ServiceHealth::Healthy,
            (true, false) => ServiceHealth::Stopped,
        })
    }

    fn stop(&mut self, node: usize, name: &Name) -> Step {
        let outcome = if self.answers[node] { StepOutcome::Confirmed } else { StepOutcome::Unconfirmed };
        self.running[node] &= !self.answers[node];
        Step::untaken(name, StepKind::Stop, outcome)
    }

    fn start(&mut self, node: usize, name: &Name) -> Step {
        self.running[node] = self.alive[node] && self.answers[node] && self.can_start[node];
        let outcome = if self.running[node] { StepOutcome::Confirmed } else { StepOutcome::Failed };
        Step::untaken(name, StepKind::Start, outcome)
    }
}

impl Brain<'_> {
    fn at(&self) -> Now {
        Now { boot: self.now, wall: SystemTime::UNIX_EPOCH }
    }

    fn index(&self, node: &Name) -> usize {
        self.goal.chain().iter().position(|name| name == node).expect("a node of the chain")
    }

    /// One check: the last plan.
    fn check(&mut self, world: &mut World) -> Result<Plan, TestCaseError> {
        let seen = world.states(self.goal.chain());
        self.uptimes.update(&seen, self.now, Duration::from_secs(3600));
        let idle = self.goal.chain().iter().enumerate().filter(|(node, _)| !world.at_work[*node]);
        let idle = idle.map(|(_, name)| name.clone()).collect();
        let mut observed = Observed::new(seen, self.record.clone(), self.uptimes.clone()).with_not_at_work(idle);
        memory::begin(&self.goal, observed.record_mut(), self.now);
        self.look(world, &mut observed);
        observed.set_pause(PauseState::Known(None));
        memory::full_check(&self.goal, &mut observed, self.now);
        for _ in 0..MAX_ACTIONS {
            let next = plan(&self.goal, &observed, self.at());
            let Some(action) = next.actions.first().cloned() else {
                memory::finish(&self.goal, &mut observed, &next, self.now);
                self.record = observed.into_parts().0;
                return Ok(next);
            };
            self.is_allowed(world, &observed, &next)?;
            if !action.binds_to_nothing() {
                observed.commit(next.target.as_ref(), next.previous.as_ref());
            }
            self.act(world, &mut observed, action);
        }
        Err(TestCaseError::fail("it does not come to an end"))
    }

    fn look(&self, world: &World, observed: &mut Observed) {
        for (node, name) in self.goal.chain().iter().enumerate().filter(|(node, _)| world.alive[*node]) {
            observed.add_instance(name, world.report(node));
        }
    }

    fn act(&self, world: &mut World, observed: &mut Observed, action: Action) {
        match action {
            Action::LookAgain => {
                observed.look_again(world.states(self.goal.chain()), self.uptimes.clone());
                self.look(world, observed);
            }
            Action::Stop(nodes) => {
                for node in nodes {
                    observed.add_step(world.stop(self.index(&node), &node));
                }
            }
            Action::Start(node) => {
                memory::starting(&self.goal, observed, &node, self.now);
                let step = world.start(self.index(&node), &node);
                memory::started(&self.goal, observed.record_mut(), &step, self.now);
                observed.add_step(step);
            }
            Action::Inhale(node) => observed.set_inhaled(&node),
            Action::AskSecondOpinion(_) | Action::WaitForClaim { .. } | Action::Acquire { .. } => {
                unreachable!("no lease, and no second opinion")
            }
        }
    }

    /// What must hold of every plan.
    fn is_allowed(&self, world: &World, observed: &Observed, next: &Plan) -> Result<(), TestCaseError> {
        let target = next.target.as_ref().expect("an action has a target");
        if let Some(Action::Stop(nodes)) = next.actions.first() {
            let healthy = nodes.iter().any(|node| node != target && observed.is_healthy(node));
            let cools_down = cooldown::cools_down(&observed.record().failures, target, self.now);
            prop_assert!(!healthy || observed.is_alive(target), "stopped for a dead node: {next:?}");
            prop_assert!(!healthy || !observed.is_silent(target), "stopped for a silent node: {next:?}");
            let is_idle = observed.not_at_work().contains(target) && !observed.is_healthy(target);
            prop_assert!(!healthy || !is_idle, "stopped for a node that is not at work: {next:?}");
            let moves = healthy && !observed.is_healthy(target);
            prop_assert!(!moves || !cools_down, "stopped for a node that cools down: {next:?}");
        }
        if let Some(Action::Start(node)) = next.actions.first() {
            let target = self.index(node);
            let two = (0..NODES).any(|other| other != target && world.running[other]);
            prop_assert!(!two, "started beside another instance: {next:?} {:?}", self.record);
        }
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES;
    prop_oneof![
        2 => node().prop_map(Event::Falls),
        2 => node().prop_map(Event::Rises),
        3 => node().prop_map(Event::Crashes),
        1 => node().prop_map(Event::CannotStart),
        2 => node().prop_map(Event::CanStart),
        1 => node().prop_map(Event::FallsSilent),
        2 => node().prop_map(Event::Answers),
        1 => node().prop_map(Event::Idles),
        1 => node().prop_map(Event::Works),
        12 => prop_oneof![Just(1), Just(5), Just(30), Just(70), Just(400)].prop_map(Event::Check),
    ]
}

fn config(failback: &str) -> Config {
    let text = format!(
        "nodes = {{ a = \"192.0.2.1\", b = \"192.0.2.2\", c = \"192.0.2.3\" }}\n\
         chains = {{ brain = [\"a\"], bot = [\"a\", \"b\", \"c\"] }}\n[services.bot]\n\
         status = \"x\"\nstart = \"x\"\nstop = \"x\"\nfailback = \"{failback}\""
    );
    crate::config::parse(Path::new("t.toml"), &text).expect("parses").config
}

fn request(config: &Config) -> Request<'_> {
    Request {
        config,
        local_node: None,
        services: config.services.iter().collect(),
        check: None,
        options: Options::default(),
        view: None,
        output_mode: OutputMode { json: true, text: false, quiet: true, verbose: false },
        waits: PendingWaits::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_healthy_instance_is_stopped_only_for_a_node_that_can_take_it(
        events in proptest::collection::vec(event(), 1..80),
        failback in prop_oneof![Just("always"), Just("never"), Just("20s"), Just("1m")],
    ) {
        let config = config(failback);
        let request = request(&config);
        let (name, service) = config.services.first().expect("a service");
        let goal = Goal::new(&request, name, service);
        let mut world = World::SOUND;
        let start = BootInstant::since_boot(Duration::from_secs(1000));
        let mut brain = Brain { goal, record: ServiceRecord::default(), uptimes: Uptimes::default(), now: start };
        for event in &events {
            world.apply(event);
            if let Event::Check(seconds) = event {
                brain.now = brain.now.plus(Duration::from_secs(*seconds));
                brain.check(&mut world)?;
            }
        }
        // In the end all is well, and it runs: on one node, where it stays.
        world = World { running: world.running, ..World::SOUND };
        let end = brain.now.plus(LONG);
        while brain.now < end {
            brain.now = brain.now.plus(Duration::from_secs(120));
            brain.check(&mut world)?;
        }
        let last = brain.check(&mut world)?;
        prop_assert_eq!(last.verdict, PromoteVerdict::InPlace);
        prop_assert_eq!(world.running.iter().filter(|running| **running).count(), 1);
    }
}
