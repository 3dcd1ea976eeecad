//! Who leads and where a service belongs: what must hold for every view, and that `--down` tells
//! what the real thing does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use proptest::prelude::*;
use rustix::net;
use serde_json::Value;
use three_mirror::chain::Chain;
use three_mirror::config::Failback;
use three_mirror::leader::{self, Leader, NodeStates, State};
use three_mirror::name::Name;
use three_mirror::target::{self, TargetInputs};

use crate::support::program::{Ran, mirror};

const NODES: usize = 5;

fn names() -> Chain {
    ["a", "b", "c", "d", "e"].map(|name| name.parse().expect("a name")).into()
}

fn node() -> impl Strategy<Value = Name> {
    (0..NODES).prop_map(|index| names()[index].clone())
}

fn chain() -> impl Strategy<Value = Chain> {
    (Just(names()).prop_shuffle(), 1..=NODES).prop_map(|(mut names, length)| {
        names.truncate(length);
        names
    })
}

fn state() -> impl Strategy<Value = Option<State>> {
    prop_oneof![
        4 => Just(Some(State::Alive)),
        4 => Just(Some(State::Dead)),
        1 => Just(Some(State::Unknown)),
        1 => Just(None),
    ]
}

fn seen() -> impl Strategy<Value = NodeStates> {
    proptest::collection::vec(state(), NODES)
        .prop_map(|states| names().into_iter().zip(states).filter_map(|(name, state)| Some((name, state?))).collect())
}

fn failback() -> impl Strategy<Value = Failback> {
    prop_oneof![
        Just(Failback::Always),
        Just(Failback::Never),
        (1..100_u64).prop_map(|s| Failback::After(Duration::from_secs(s))),
    ]
}

fn inputs() -> impl Strategy<Value = TargetInputs> {
    let times = proptest::collection::vec(proptest::option::of(0..200_u64), NODES);
    let some = || proptest::collection::vec(proptest::bool::weighted(0.2), NODES);
    let chosen = |some: Vec<bool>| names().into_iter().zip(some).filter_map(|(name, is_one)| is_one.then_some(name));
    let parts = (proptest::option::of(node()), 0..200_u64, times, some(), some());
    parts.prop_map(move |(on, on_for, times, over, idle)| TargetInputs {
        last_ran_on: on.clone(),
        drained: BTreeSet::new(),
        runs_well_on: on,
        runs_there_for: Duration::from_secs(on_for),
        alive_for: names()
            .into_iter()
            .zip(times)
            .filter_map(|(name, time)| Some((name, Duration::from_secs(time?))))
            .collect::<BTreeMap<_, _>>(),
        passed_over: chosen(over).collect(),
        not_at_work: chosen(idle).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_leads_while_an_earlier_node_is_alive_or_in_doubt(chain in chain(), seen in seen()) {
        let before = |node: &Name| chain.iter().take_while(|other| *other != node).cloned().collect::<Vec<_>>();
        let dead = |node: &Name| seen.get(node) == Some(&State::Dead);
        match leader::leader(&chain, &seen) {
            Leader::Known(node) => {
                prop_assert_eq!(seen.get(node), Some(&State::Alive));
                prop_assert!(before(node).iter().all(dead));
            }
            Leader::Nobody => prop_assert!(chain.iter().all(dead)),
            Leader::InDoubt(node) => {
                prop_assert_eq!(seen.get(node), Some(&State::Unknown));
                prop_assert!(before(node).iter().all(dead));
            }
            Leader::Open(node) => {
                prop_assert_eq!(seen.get(node), None);
                prop_assert!(before(node).iter().all(dead));
            }
        }
    }

    #[test]
    fn what_has_been_decided_stands_whatever_else_is_answered(chain in chain(), seen in seen(), more in seen()) {
        let decided = leader::leader(&chain, &seen);
        let mut all = more;
        all.extend(seen.clone());
        if !matches!(decided, Leader::Open(_)) {
            prop_assert_eq!(leader::leader(&chain, &all), decided);
        }
        prop_assert!(!matches!(leader::final_leader(&chain, &seen), Leader::Open(_)));
    }

    #[test]
    fn a_target_is_a_living_node_of_the_chain(
        chain in chain(), seen in seen(), failback in failback(), inputs in inputs(),
    ) {
        if let Leader::Known(node) = target::choose(&chain, &seen, failback, &inputs) {
            prop_assert_eq!(seen.get(node), Some(&State::Alive));
            prop_assert!(chain.contains(node));
        }
    }

    #[test]
    fn a_service_that_runs_well_moves_only_to_a_better_node_that_is_due(
        chain in chain(), seen in seen(), failback in failback(), inputs in inputs(),
    ) {
        let Some(on) = inputs.runs_well_on.as_ref().filter(|on| chain.contains(on) && seen.get(*on) == Some(&State::Alive))
        else { return Ok(()) };
        let place = |node: &Name| chain.iter().position(|other| other == node);
        match target::choose(&chain, &seen, failback, &inputs) {
            Leader::Known(node) if node == on => {}
            Leader::Known(node) => {
                prop_assert!(place(node) < place(on), "moved down");
                prop_assert!(!inputs.passed_over.contains(node), "moved to a node that was passed over");
                prop_assert!(!inputs.not_at_work.contains(node), "moved to a node that is not at work");
                match failback {
                    Failback::Always => {}
                    Failback::Never => prop_assert!(false, "moved though it never should"),
                    Failback::After(wait) => {
                        prop_assert!(inputs.runs_there_for >= wait, "moved before it had been there for long");
                        prop_assert!(inputs.alive_for.get(node).is_some_and(|alive| *alive >= wait));
                    }
                }
                // No doubt was passed on the way.
                for earlier in chain.iter().take_while(|other| *other != node) {
                    let passed = inputs.passed_over.contains(earlier);
                    prop_assert!(passed || matches!(seen.get(earlier), Some(State::Alive | State::Dead)));
                }
            }
            // More answers may yet show a better node; until then nothing moves.
            Leader::Open(node) => prop_assert!(place(node) < place(on) && !seen.contains_key(node)),
            other => prop_assert!(false, "taken away by {:?}", other),
        }
    }

    #[test]
    fn doubt_moves_nothing(chain in chain(), states in seen(), failback in failback(), inputs in inputs()) {
        let Some(on) = inputs.runs_well_on.clone().filter(|on| chain.contains(on)) else { return Ok(()) };
        let doubt: NodeStates = names().into_iter().map(|name| {
            let state = states.get(&name).copied().filter(|state| *state == State::Dead).unwrap_or(State::Unknown);
            let state = if name == on { State::Alive } else { state };
            (name, state)
        }).collect();
        prop_assert_eq!(target::choose(&chain, &doubt, failback, &inputs), Leader::Known(&on));
    }

    #[test]
    fn a_service_that_runs_nowhere_goes_to_the_first_living_node_that_is_not_passed_over(
        chain in chain(), seen in seen(), failback in failback(), mut inputs in inputs(),
    ) {
        inputs.runs_well_on = None;
        let favoured: Chain = chain.iter().filter(|node| !inputs.passed_over.contains(*node)).cloned().collect();
        let expected = match leader::leader(&favoured, &seen) {
            Leader::Nobody => leader::leader(&chain, &seen),
            settled => settled,
        };
        prop_assert_eq!(target::choose(&chain, &seen, failback, &inputs), expected);
        if inputs.passed_over.is_empty() {
            prop_assert_eq!(expected, leader::leader(&chain, &seen));
        }
    }

    #[test]
    fn a_due_failback_comes_to_pass(chain in chain(), wait in 1..100_u64) {
        let seen: NodeStates = names().into_iter().map(|name| (name, State::Alive)).collect();
        let waited = Duration::from_secs(wait);
        let mut inputs = TargetInputs {
            runs_well_on: chain.last().cloned(),
            runs_there_for: waited,
            alive_for: names().into_iter().map(|name| (name, waited)).collect(),
            passed_over: BTreeSet::new(),
            ..TargetInputs::default()
        };
        let head = || Leader::Known(&chain[0]);
        let last = || Leader::Known(&chain[chain.len() - 1]);
        prop_assert_eq!(target::choose(&chain, &seen, Failback::After(waited), &inputs), head());
        prop_assert_eq!(target::choose(&chain, &seen, Failback::Never, &inputs), last());
        inputs.runs_there_for = Duration::ZERO;
        prop_assert_eq!(target::choose(&chain, &seen, Failback::Always, &inputs), head());
        prop_assert_eq!(target::choose(&chain, &seen, Failback::After(waited), &inputs), last());
    }

    #[test]
    fn who_sees_another_or_a_witness_is_not_cut_off(
        local_node in node(), seen in seen(), witnesses in proptest::collection::vec(proptest::option::of(any::<bool>()), 0..3),
    ) {
        let others = NODES - 1;
        let cut_off = leader::isolated(Some(&local_node), &seen, others, &witnesses);
        let alive = seen.iter().any(|(name, state)| *name != local_node && *state == State::Alive);
        if witnesses.is_empty() || alive || witnesses.contains(&Some(true)) {
            prop_assert_eq!(cut_off, Some(false));
        } else {
            let complete = names().iter().all(|name| *name == local_node || seen.contains_key(name));
            prop_assert_eq!(cut_off, (complete && !witnesses.contains(&None)).then_some(true));
        }
        prop_assert_eq!(leader::isolated(None, &seen, others, &witnesses), Some(false));
    }
}

#[test]
fn for_every_set_of_dead_nodes_one_living_node_believes_itself_the_brain() {
    let chain = names();
    for down in 0..1_u32 << NODES {
        let state = |index: usize| if down >> index & 1 == 1 { State::Dead } else { State::Alive };
        let seen: NodeStates = names().into_iter().enumerate().map(|(index, name)| (name, state(index))).collect();
        let living = chain.iter().filter(|name| seen[*name] == State::Alive);
        let believers = living.filter(|local_node| leader::leader(&chain, &seen) == Leader::Known(local_node)).count();
        assert_eq!(believers, usize::from(down != (1 << NODES) - 1), "{down:05b}");
    }
}

/// Four nodes on loopback, each a port of its own. At those whose bit is set in `down` nobody
/// listens, but the port stays taken, so that no other process can listen there.
struct Four {
    directory: tempfile::TempDir,
    down: usize,
    _sockets: Vec<OwnedFd>,
}

const FOUR: [&str; 4] = ["a", "b", "c", "d"];

impl Four {
    fn new(down: usize) -> Self {
        let mut list = "[nodes]\n".to_owned();
        let mut sockets = Vec::new();
        for (index, name) in FOUR.iter().enumerate() {
            let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
            net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
            if down >> index & 1 == 0 {
                net::listen(&socket, 128).expect("listens");
            }
            let port = SocketAddr::try_from(net::getsockname(&socket).expect("has one")).expect("IPv4").port();
            list += &format!("{name} = {{ address = \"127.0.0.1\", port = {port} }}\n");
            sockets.push(socket);
        }
        list += "[chains]\nbrain = [\"b\", \"d\", \"a\"]\nweb = [\"c\", \"a\", \"d\", \"b\"]\nmail = [\"d\", \"c\"]\n\
                 [probe]\ntimeout = \"20s\"\n[remote]\ncommand = [\"false\", \"{command}\"]\n";
        for service in ["web", "mail"] {
            list += &format!("[services.{service}]\nstatus = \"false\"\nstart = \"false\"\nstop = \"false\"\n");
        }
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("mirror.toml"), list).expect("written");
        Self { directory, down, _sockets: sockets }
    }

    fn mirror(&self, arguments: &[&str]) -> Ran {
        mirror(self.directory.path(), arguments)
    }

    fn object(&self, arguments: &[&str]) -> Value {
        let ran = self.mirror(arguments);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    fn down(&self) -> Vec<&'static str> {
        (0..FOUR.len()).filter(|index| self.down >> index & 1 == 1).map(|index| FOUR[index]).collect()
    }
}

#[test]
fn what_if_agrees_with_the_real_thing() {
    for down in 0..1_usize << FOUR.len() {
        let four = Four::new(down);
        let dead = four.down();
        let expected =
            |chain: &[&str]| chain.iter().find(|node| !dead.contains(node)).map_or(Value::Null, |node| (*node).into());
        let brain = expected(&["b", "d", "a"]);

        let if_down = four.object(&["chain", "show", &format!("--down={}", dead.join(","))]);
        let really = four.object(&["chain", "show", "--probe"]);
        for part in ["nodes", "services", "brain", "chains", "digest", "reason"] {
            assert_eq!(if_down[part], really[part], "{part} with {dead:?} down");
        }
        assert_eq!(really["brain"], brain, "{dead:?} down");
        let target = |index: usize| &really["services"][index]["target"];
        assert_eq!(*target(0), expected(&["c", "a", "d", "b"]), "{dead:?} down");
        assert_eq!(*target(1), expected(&["d", "c"]), "{dead:?} down");

        let ran = four.mirror(&["whois-brain"]);
        let asked: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(asked["brain"], brain, "{dead:?} down");
        assert_eq!(asked["verdict"], if brain.is_null() { "nobody" } else { "known" });
        assert_eq!(ran.status, i32::from(brain.is_null()));

        // Each node for itself, by asking and by one view that all are given.
        let view = four.mirror(&["probe"]);
        assert_eq!(view.status, i32::from(!dead.is_empty()));
        std::fs::write(four.directory.path().join("view.json"), &view.stdout).expect("written");
        for node in FOUR {
            let check = &["whois-brain", "--check", "--self", node][..];
            for arguments in [check, &[check, &["--view", "view.json"]].concat()] {
                let ran = four.mirror(arguments);
                let asked: Value = serde_json::from_str(&ran.stdout).expect("JSON");
                let me = brain == *node;
                assert_eq!(ran.status, i32::from(!me), "{arguments:?} with {dead:?} down");
                assert_eq!((&asked["i_am_brain"], &asked["brain"]), (&me.into(), &brain));
                let verdict = if brain.is_null() {
                    "nobody"
                } else if me {
                    "self"
                } else {
                    "other"
                };
                assert_eq!(asked["verdict"], verdict, "{arguments:?} with {dead:?} down");
            }
        }
    }
}

#[test]
fn what_if_names_only_nodes_that_are_there() {
    let four = Four::new(0);
    let ran = four.mirror(&["chain", "show", "--down", "a,x"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    assert_eq!(ran.stderr, "mirror: mirror.toml: no node is named \"x\"; there are a, b, c, d\n");
    // Nobody is down, and nobody is asked.
    let shown = four.object(&["chain", "show", "--down", ""]);
    assert_eq!(shown["brain"], "b");
}
