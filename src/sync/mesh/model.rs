//! Random runs of the rules, over a model of git: some thousand breaths a second. `tests/breath/mesh/simulation.rs`
//! does the same with real repositories and processes, which is slower by far.
//!
//! What decides is the code of every breath ([`super::heads`]); what gathers, offers and publishes is modelled step by
//! step, and a breath may be killed at each step. Nodes die and come back, links are cut in one direction, disks are
//! wiped or restored from a snapshot, and several nodes breathe at the same time, so that what they know of each other
//! is old. Nothing may be lost or come twice, no ref may go back, and once all is well, two rounds make all equal. In
//! some runs each node has its own version of git, which merges the same commits into a different one: then it
//! takes longer, and comes to rest all the same.
//!
//! ```sh
//! MIRROR_TEST_MODEL_ROUNDS=1000000 cargo test --release --lib mesh::model -- --nocapture
//! ```
//!
//! `MIRROR_TEST_SEED` repeats a run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

mod history;
mod node;

use super::heads::Quiet;
use history::History;
use node::{Breath, Disk};

const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// So many breaths make one run, which ends with all well.
const RUN: u64 = 120;

/// The numbers of a generator that is the same everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

/// What the runs did.
#[derive(Debug, Default)]
struct Counts {
    breaths: u64,
    kills: u64,
    commits: u64,
    deaths: u64,
    cuts: u64,
    wipes: u64,
    restores: u64,
    resolutions: u64,
    healings: u64,
    most_rounds: usize,
    most_rounds_of_many_versions: usize,
}

/// A node that breathed, and the commits that its line leaves out.
type LeftOut = (usize, Vec<String>);

struct World<'a> {
    history: History,
    disks: Vec<Disk>,
    snapshots: Vec<Option<Disk>>,
    dead: BTreeSet<usize>,
    cuts: BTreeSet<(usize, usize)>,
    /// How many versions of git the nodes have.
    versions: usize,
    is_lockstep: bool,
    names: Cell<u32>,
    changes: u32,
    /// The changes that some disk has.
    expected: BTreeSet<u32>,
    random: &'a mut Random,
    counts: &'a mut Counts,
}

fn empty(place: usize, names: &Cell<u32>) -> Disk {
    names.set(names.get() + 1);
    let identity = format!("{}.{:08x}", NODES[place], names.get());
    Disk { identity, refs: BTreeMap::new(), main: None, quiet: Quiet::default() }
}

impl<'a> World<'a> {
    fn new(versions: usize, random: &'a mut Random, counts: &'a mut Counts) -> Self {
        let history = History::default();
        let base = history.commit(&[], Some(0), false);
        let names = Cell::new(0);
        let mut disks: Vec<Disk> = (0..NODES.len()).map(|place| empty(place, &names)).collect();
        disks[0].main = Some(base);
        let (dead, cuts, snapshots) = (BTreeSet::new(), BTreeSet::new(), vec![None; NODES.len()]);
        let expected = [0].into();
        let (changes, is_lockstep) = (0, random.below(2) == 0);
        let mut world = Self {
            history,
            disks,
            snapshots,
            dead,
            cuts,
            versions,
            is_lockstep,
            names,
            changes,
            expected,
            random,
            counts,
        };
        (0..NODES.len()).for_each(|node| drop(world.breathe(&[node], None)));
        world
    }

    /// The changes that a disk has.
    fn on(&self, disk: &Disk) -> BTreeSet<u32> {
        let all: Vec<&str> = disk.refs.values().chain(&disk.main).map(String::as_str).collect();
        self.history.changes(&all).into_iter().collect()
    }

    fn commit(&mut self, node: usize) {
        let Some(main) = self.disks[node].main.clone() else { return };
        self.changes += 1;
        let is_shared = self.random.below(12) == 0;
        self.disks[node].main = Some(self.history.commit(&[&main], Some(self.changes), is_shared));
        self.expected.insert(self.changes);
        self.counts.commits += 1;
    }

    /// These nodes ask all others at once, move on at once, and push at once. The first one may be killed. Returns what each
    /// leaves out.
    fn breathe(&mut self, nodes: &[usize], steps: Option<usize>) -> Vec<LeftOut> {
        let reaches =
            |from: usize, to: usize| to != from && !self.dead.contains(&to) && !self.cuts.contains(&(from, to));
        let shown = |from: usize| (0..NODES.len()).filter(move |to| reaches(from, *to));
        let shown: Vec<Vec<(usize, _)>> =
            nodes.iter().map(|from| shown(*from).map(|to| (to, self.disks[to].refs.clone())).collect()).collect();
        let before: Vec<_> = self.disks.iter().map(|disk| disk.refs.clone()).collect();
        let (mut left_out, mut pushing) = (Vec::new(), Vec::new());
        for (at, (place, shown)) in nodes.iter().zip(shown).enumerate() {
            let (place, version, steps) = (*place, place % self.versions, steps.filter(|_| at == 0));
            let (history, nodes, names) = (&self.history, &NODES[..], &self.names);
            let mut breath = Breath { history, nodes, place, version, steps, shown, names };
            match breath.move_on(&mut self.disks[place]) {
                Ok(out) => {
                    left_out.push((place, out));
                    pushing.push(breath);
                }
                Err(node::Killed) => self.counts.kills += 1,
            }
        }
        for mut breath in pushing {
            match breath.publish(&mut self.disks) {
                Ok(()) => self.counts.breaths += 1,
                Err(node::Killed) => self.counts.kills += 1,
            }
        }
        before.iter().zip(&self.disks).for_each(|(before, disk)| self.go_forward(before, disk));
        left_out
    }

    fn go_forward(&self, before: &BTreeMap<String, String>, disk: &Disk) {
        for (name, old) in before {
            let is_in = |new: &String| self.history.is_ancestor(old, new);
            // The ref of a former life goes when another one contains it.
            let is_forward = disk.refs.get(name).map_or_else(|| disk.refs.values().any(is_in), is_in);
            assert!(is_forward, "{name} went back");
        }
    }

    fn lose_what_only(&mut self, node: usize, by: Disk) {
        self.disks[node] = by;
        let kept: BTreeSet<u32> = self.disks.iter().flat_map(|disk| self.on(disk)).collect();
        self.expected.retain(|change| kept.contains(change));
        // A snapshot brings back what only it had.
        let brought = self.on(&self.disks[node]);
        self.expected.extend(brought);
    }

    fn act(&mut self) {
        let node = self.random.below(NODES.len());
        if self.dead.contains(&node) {
            if self.random.below(3) == 0 {
                self.dead.remove(&node);
            }
            return;
        }
        match self.random.below(100) {
            0..30 => self.commit(node),
            30..38 => {
                let cut = (node, self.random.below(NODES.len()));
                if !self.cuts.insert(cut) {
                    self.cuts.remove(&cut);
                }
                if self.random.below(6) == 0 {
                    self.cuts.clear();
                }
                self.counts.cuts += 1;
            }
            38..43 if self.dead.len() + 2 < NODES.len() => {
                self.dead.insert(node);
                self.counts.deaths += 1;
            }
            // The last one that has the first commit is not wiped: what comes then has another root.
            43..46 if self.disks.iter().enumerate().any(|(at, disk)| at != node && self.on(disk).contains(&0)) => {
                let by = empty(node, &self.names);
                self.lose_what_only(node, by);
                self.counts.wipes += 1;
            }
            46..50 => {
                // What was not offered yet could be replayed in one life and again in the next: a known limit.
                let disk = &self.disks[node];
                if disk.main.as_ref() == disk.refs.get(&disk.identity) {
                    self.snapshots[node] = Some(disk.clone());
                }
            }
            50..52 => {
                if let Some(snapshot) = self.snapshots[node].clone() {
                    self.lose_what_only(node, snapshot);
                    self.counts.restores += 1;
                }
            }
            52..70 => {
                let steps = self.random.below(10);
                drop(self.breathe(&[node], Some(steps)));
            }
            70..77 => {
                let living: Vec<usize> = (0..NODES.len()).filter(|node| !self.dead.contains(node)).collect();
                drop(self.breathe(&living, None));
            }
            _ => drop(self.breathe(&[node], None)),
        }
    }

    fn heads(&self) -> Vec<Option<String>> {
        self.disks.iter().map(|disk| disk.main.clone()).collect()
    }

    /// All breathe: one after another, or in some runs all at once.
    fn round(&mut self) -> Vec<LeftOut> {
        let all: Vec<usize> = (0..NODES.len()).collect();
        let together = if self.is_lockstep { all.len() } else { 1 };
        all.chunks(together).flat_map(|nodes| self.breathe(nodes, None)).collect()
    }

    /// A person joins what contradicts a node's line.
    fn join(&mut self, place: usize, left_out: &[String]) {
        let main = self.disks[place].main.clone().unwrap_or_default();
        let parents: Vec<&str> = [&main].into_iter().chain(left_out).map(String::as_str).collect();
        self.changes += 1;
        self.disks[place].main = Some(self.history.commit(&parents, Some(self.changes), true));
        self.expected.insert(self.changes);
        self.counts.resolutions += 1;
    }

    /// With all links and all nodes there, all are equal after two rounds, and everything is there once.
    fn heal(&mut self) {
        self.cuts.clear();
        self.dead.clear();
        let most = if self.versions == 1 { 2 } else { 2 + NODES.len() * NODES.len() };
        let (mut rounds, mut resolutions) = (0, 0);
        loop {
            let mut contradicted = self.round().into_iter().filter(|(_, left_out)| !left_out.is_empty());
            rounds += 1;
            match contradicted.next() {
                // Others may not have heard of all of it.
                Some(_) if rounds == 1 => {}
                Some((place, left_out)) => {
                    self.join(place, &left_out);
                    (rounds, resolutions) = (0, resolutions + 1);
                    assert!(resolutions < 8, "never joined: {left_out:?}");
                }
                None if self.heads().iter().collect::<BTreeSet<_>>().len() == 1 => break,
                None => assert!(rounds < most, "not equal: {:?}", self.heads()),
            }
        }
        let Counts { most_rounds, most_rounds_of_many_versions, .. } = &mut *self.counts;
        let counted = if self.versions == 1 { most_rounds } else { most_rounds_of_many_versions };
        *counted = (*counted).max(rounds);
        for main in self.heads().into_iter().flatten() {
            let mut changes = self.history.changes(&[&main]);
            changes.sort_unstable();
            assert_eq!(changes, self.expected.iter().copied().collect::<Vec<_>>(), "lost, or there twice");
        }
        let heads = self.heads();
        self.round();
        self.round();
        assert_eq!(self.heads(), heads, "nothing is merged once all are equal");
        let refs = self.disks.iter().map(|disk| disk.refs.len()).max();
        assert!(refs <= Some(2 * NODES.len()), "{refs:?} refs");
        self.counts.healings += 1;
    }
}

#[test]
fn nothing_is_lost_or_doubled_in_the_model_and_no_ref_goes_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("MIRROR_TEST_MODEL_ROUNDS").unwrap_or(3000);
    let seed = number("MIRROR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    eprintln!("MIRROR_TEST_SEED={seed}");
    let (mut random, mut counts) = (Random(seed | 1), Counts::default());
    while counts.breaths + counts.kills < wanted {
        let end = counts.breaths + counts.kills + RUN;
        let versions = if random.below(3) == 0 { NODES.len() } else { 1 };
        let mut world = World::new(versions, &mut random, &mut counts);
        while world.counts.breaths + world.counts.kills < end {
            world.act();
        }
        world.heal();
    }
    eprintln!("{counts:?}");
}
