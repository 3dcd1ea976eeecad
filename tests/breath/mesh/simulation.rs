//! Random rounds with deaths, cuts, wipes and kills: nothing is lost, nothing comes twice, no ref goes back.
//!
//! `MIRROR_TEST_MESH_ROUNDS` says how many breaths (40), `MIRROR_TEST_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::net::{NAMES, Net};

/// The numbers of a generator that is the same everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What the run did.
#[derive(Debug, Default)]
struct Counts {
    breaths: u64,
    kills: u64,
    commits: u64,
    wipes: u64,
    healings: u64,
    most_rounds: usize,
    merges: u64,
}

struct Run {
    net: Net,
    random: Random,
    /// The subjects that some clone has.
    expected: BTreeSet<String>,
    refs: Vec<BTreeMap<String, String>>,
    counts: Counts,
}

impl Run {
    fn subjects_of(&self, node: usize) -> BTreeSet<String> {
        let repo = self.net.repo(node);
        if !repo.path().join(".git").exists() {
            return BTreeSet::new();
        }
        let text = repo.git(&["log", "--all", "--format=%s"]);
        text.lines().filter(|subject| *subject != "mirror: merge").map(str::to_owned).collect()
    }

    fn step(&mut self) {
        let node = self.random.below(self.net.nodes);
        if self.net.dead.contains(&node) {
            if self.random.below(3) == 0 {
                self.net.dead.remove(&node);
            }
            return;
        }
        match self.random.below(100) {
            0..30 => self.commit(node),
            30..38 => self.cut(),
            38..43 if self.net.dead.len() + 2 < self.net.nodes => drop(self.net.dead.insert(node)),
            43..46 => self.wipe(node),
            46..60 => self.kill(node),
            _ => self.breathe(node),
        }
    }

    fn commit(&mut self, node: usize) {
        let subject = format!("{} {}", NAMES[node], self.counts.commits);
        let repo = self.net.repo(node);
        // A clone that is wiped has to hear of the others first, or its history has another root.
        if !repo.try_git(&["rev-parse", "-q", "--verify", "HEAD"]).status.success() {
            return;
        }
        repo.write(&format!("of-{}", NAMES[node]), &format!("{subject}\n"));
        if self.random.below(3) == 0 {
            repo.write(&format!("new/{}", self.counts.commits), "1\n");
        }
        // A person or the service, in whatever state a killed breath left the work tree.
        let added = repo.try_git(&["add", "-A"]);
        if added.status.success() && repo.try_git(&["commit", "-q", "-m", &subject]).status.success() {
            self.expected.insert(subject);
            self.counts.commits += 1;
        }
    }

    fn cut(&mut self) {
        let nodes = self.net.nodes;
        let (from, to) = (self.random.below(nodes), self.random.below(nodes));
        if !self.net.cuts.insert((from, to)) {
            self.net.cuts.remove(&(from, to));
        }
        if self.random.below(6) == 0 {
            self.net.cuts.clear();
        }
    }

    /// What only this clone had is gone with its disk.
    fn wipe(&mut self, node: usize) {
        let others = (0..self.net.nodes).filter(|other| *other != node);
        let kept: BTreeSet<String> = others.flat_map(|other| self.subjects_of(other)).collect();
        if !kept.contains("base") {
            return;
        }
        self.expected.retain(|subject| kept.contains(subject));
        fs::remove_dir_all(self.net.repo(node).path()).unwrap();
        self.net.init(node);
        self.refs[node].clear();
        self.counts.wipes += 1;
    }

    /// A breath that gets SIGKILL at some moment, with all that it started.
    fn kill(&mut self, node: usize) {
        self.net.mark_cuts();
        let mut command = self.net.command(node, &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let wait = Duration::from_millis(self.random.below(400) as u64);
        std::thread::sleep(wait);
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        self.net.unmark_cuts();
        self.counts.kills += 1;
        self.refs_go_forward(node);
    }

    fn breathe(&mut self, node: usize) {
        let outcome = self.net.breathe(node);
        let words = format!("{:?}: {}", outcome.verdict, outcome.reason);
        assert!(!words.contains("Failed") && !words.contains("Conflict"), "{}: {words}", NAMES[node]);
        self.counts.breaths += 1;
        self.refs_go_forward(node);
    }

    fn refs_go_forward(&mut self, node: usize) {
        let now = self.net.refs(node);
        for (name, old) in &self.refs[node] {
            let is_in =
                |new: &str| self.net.repo(node).try_git(&["merge-base", "--is-ancestor", old, new]).status.success();
            match now.get(name) {
                Some(new) => assert!(new == old || is_in(new), "{name} went back on {}", NAMES[node]),
                // The ref of a former life goes when another one of that node contains it.
                None => assert!(now.values().any(|new| is_in(new)), "{name} is gone from {}", NAMES[node]),
            }
        }
        self.refs[node] = now;
    }

    /// With all links and all nodes there, all are equal after two rounds, and everything is there once.
    fn heal(&mut self) {
        self.net.cuts.clear();
        self.net.dead.clear();
        // What a person's commit met in a killed move is theirs to commit or to drop.
        for node in 0..self.net.nodes {
            self.net.breathe(node);
        }
        let rounds = 1 + self.net.rounds_until_equal(4);
        self.counts.most_rounds = self.counts.most_rounds.max(rounds);
        self.counts.healings += 1;
        for node in 0..self.net.nodes {
            let subjects = self.net.subjects(node, "main");
            let once: BTreeSet<String> = subjects.iter().cloned().collect();
            assert_eq!(once.len(), subjects.len(), "twice on {}: {subjects:?}", NAMES[node]);
            let lost: Vec<&String> = self.expected.difference(&once).collect();
            assert!(lost.is_empty(), "lost on {}: {lost:?}", NAMES[node]);
        }
        let head = self.net.heads();
        self.net.round();
        assert_eq!(self.net.heads(), head, "nothing is merged once all are equal");
        self.refs = (0..self.net.nodes).map(|node| self.net.refs(node)).collect();
        eprintln!("{:?}", self.counts);
    }
}

#[test]
fn nothing_is_lost_or_doubled_and_no_ref_goes_back() {
    let breaths = number("MIRROR_TEST_MESH_ROUNDS").unwrap_or(40);
    let seed = number("MIRROR_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    eprintln!("MIRROR_TEST_SEED={seed}");
    let net = Net::new(5);
    let refs = (0..5).map(|node| net.refs(node)).collect();
    let mut run =
        Run { net, random: Random(seed | 1), expected: ["base".to_owned()].into(), refs, counts: Counts::default() };
    let mut next = 30;
    while run.counts.breaths + run.counts.kills < breaths {
        run.step();
        if run.counts.breaths + run.counts.kills >= next {
            run.heal();
            next += 30;
        }
    }
    run.heal();
    run.counts.merges = run.net.merges(0) as u64;
    run.net.is_sound();
    eprintln!("{:?}", run.counts);
}
