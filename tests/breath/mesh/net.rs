//! Nodes that breathe with each other: a clone each in one directory, and links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use three_mirror::sync::{Breath, BreathOutcome, BreatheVerdict, Hook, Manner, MeshBreath, Peer, ask_command};

use crate::world::{Repo, apart, executable, scratch};

pub(crate) const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// The program, or a copy of it, so that a long run outlives a build.
pub(crate) fn program() -> String {
    std::env::var("MIRROR_TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_mirror").to_owned())
}

/// A network of so many nodes.
pub(crate) struct Net {
    dir: tempfile::TempDir,
    pub(crate) nodes: usize,
    /// The links that are cut: from, to.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) dead: BTreeSet<usize>,
    /// The remote that is one more peer; none if it is empty.
    pub(crate) remote: &'static str,
}

impl Net {
    /// Each with an empty clone.
    pub(crate) fn empty(nodes: usize) -> Self {
        apart();
        let net = Self { dir: scratch(), nodes, cuts: BTreeSet::new(), dead: BTreeSet::new(), remote: "" };
        // The path of the repository is this node's own, wherever a command has it.
        let on = format!(
            "#!/bin/sh\n[ -e {0}/cut/$MIRROR_SELF-$1 ] && exit 255\nexport MIRROR_SELF=$1\n\
             exec sh -c \"$(printf %s \"$2\" | sed \"s#{0}/[a-g]/#{0}/$1/#g\")\"\n",
            net.dir.path().display()
        );
        fs::write(net.dir.path().join("on"), on).unwrap();
        executable(&net.dir.path().join("on"));
        fs::create_dir(net.dir.path().join("cut")).unwrap();
        for node in 0..nodes {
            net.write_list(node);
            net.init(node);
        }
        net
    }

    /// The same with one commit, by the first node, everywhere.
    pub(crate) fn new(nodes: usize) -> Self {
        let net = Self::empty(nodes);
        net.repo(0).write("base", "1\n2\n3\n4\n5\n").commit("base");
        net.round();
        assert!(net.is_equal());
        net
    }

    fn write_list(&self, node: usize) {
        let dir = self.dir.path().display();
        let nodes: Vec<String> = (0..self.nodes)
            .map(|n| format!("{} = {{ address = \"127.0.0.1\", port = {} }}\n", NAMES[n], n + 1))
            .collect();
        let chain: Vec<String> = (0..self.nodes).map(|n| format!("{:?}", NAMES[n])).collect();
        let list = format!(
            "state = \"{dir}/state/{}\"\n[nodes]\n{}[chains]\nbrain = [{}]\n[probe]\ntimeout = \"10s\"\n[remote]\n\
             command = [\"{dir}/on\", \"{{node}}\", \"{{command}}\"]\n[breath]\nrepo = \"{dir}/{}/repo\"\npeers = true\n\
             timeout = \"60s\"\n",
            NAMES[node],
            nodes.concat(),
            chain.join(", "),
            NAMES[node]
        );
        fs::write(self.dir.path().join(format!("{}.toml", NAMES[node])), list).unwrap();
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn repo(&self, node: usize) -> Repo {
        Repo(self.dir.path().join(NAMES[node]).join("repo"))
    }

    /// `mirror breathe` on a node, as a program.
    pub(crate) fn command(&self, node: usize, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["breathe", "--json", "--self", NAMES[node]]).args(words);
        command.env("MIRROR_CONFIG", self.dir.path().join(format!("{}.toml", NAMES[node])));
        command.env("MIRROR_SELF", NAMES[node]).env("STATE_DIRECTORY", self.dir.path().join("state").join(NAMES[node]));
        command.env("XDG_RUNTIME_DIR", self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Lets the programs that [`command`](Self::command) starts meet the cuts and deaths that there are.
    pub(crate) fn mark_cuts(&self) {
        let dead = self.dead.iter().flat_map(|dead| (0..self.nodes).map(move |node| (node, *dead)));
        for (from, to) in self.cuts.iter().copied().chain(dead) {
            fs::write(self.path().join("cut").join(format!("{}-{}", NAMES[from], NAMES[to])), "").unwrap();
        }
    }

    /// Ends that.
    pub(crate) fn unmark_cuts(&self) {
        for cut in fs::read_dir(self.path().join("cut")).unwrap() {
            fs::remove_file(cut.unwrap().path()).unwrap();
        }
    }

    /// Makes its clone. Nothing is triggered by a push, so that a test knows who breathes when.
    pub(crate) fn init(&self, node: usize) -> BreathOutcome {
        fs::create_dir_all(self.repo(node).path().parent().unwrap()).unwrap();
        let hook = Hook { program: "/bin/true".into(), config: "/nowhere".into(), node: None };
        let outcome = self.with(node, &|_| false, Manner::Patient, &|mesh| {
            mesh.init(&hook).unwrap();
            mesh.breathe_and_run(None).unwrap()
        });
        let _ = fs::remove_file(self.repo(node).path().join(".git/hooks/post-receive"));
        outcome
    }

    fn with(
        &self,
        node: usize,
        reaches: &dyn Fn(usize) -> bool,
        manner: Manner,
        act: &dyn Fn(&MeshBreath<'_>) -> BreathOutcome,
    ) -> BreathOutcome {
        let repo = self.repo(node);
        let peer = |other: usize| {
            let path = self.repo(other);
            let is_reached = reaches(other) && path.path().exists();
            let place = path.path().to_owned();
            let ask = move |_| {
                if !is_reached {
                    return Err("cut".to_owned());
                }
                let asked = Command::new("sh").args(["-c", &ask_command(place.to_str().unwrap())]).output();
                let asked = asked.map_err(|error| error.to_string())?;
                if asked.status.success() {
                    Ok(String::from_utf8(asked.stdout).unwrap())
                } else {
                    Err("gone".to_owned())
                }
            };
            let url = if is_reached { path.path().to_str().unwrap().to_owned() } else { "/nowhere".to_owned() };
            Peer { name: NAMES[other].to_owned(), url, ask: Arc::new(ask), passed_over: None }
        };
        let peers: Vec<Peer> = (0..self.nodes).filter(|other| *other != node).map(peer).collect();
        let breath = Breath {
            remote: self.remote,
            node: Some(NAMES[node]),
            manner,
            timeout: Duration::from_secs(120),
            ..repo.breath()
        };
        let mesh = MeshBreath { breath, peers: &peers, nodes: &NAMES[..self.nodes], patience: Duration::from_secs(60) };
        // A process that another test is just starting may still hold the lock of the last breath.
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let outcome = act(&mesh);
            if outcome.reason != "another breath is running in this repository" || Instant::now() > end {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One breath, with the cuts and deaths that there are.
    pub(crate) fn breathe(&self, node: usize) -> BreathOutcome {
        self.breathe_in(node, Manner::Patient)
    }

    pub(crate) fn breathe_in(&self, node: usize, manner: Manner) -> BreathOutcome {
        let reaches = |other: usize| !self.cuts.contains(&(node, other)) && !self.dead.contains(&other);
        self.with(node, &reaches, manner, &|mesh| mesh.breathe_and_run(None).unwrap())
    }

    /// Every living node breathes once.
    pub(crate) fn round(&self) -> Vec<BreathOutcome> {
        (0..self.nodes).filter(|node| !self.dead.contains(node)).map(|node| self.breathe(node)).collect()
    }

    /// Breathes until the branch is the same everywhere; the number of rounds that it took.
    pub(crate) fn rounds_until_equal(&self, most: usize) -> usize {
        for round in 0..=most {
            if self.is_equal() {
                return round;
            }
            let outcomes = self.round();
            let unsound = outcomes.iter().find(|outcome| outcome.verdict != BreatheVerdict::InStep);
            assert!(unsound.is_none(), "{unsound:?}");
        }
        panic!("not equal after {most} rounds: {:?}", self.heads());
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        let living = (0..self.nodes).filter(|node| !self.dead.contains(node));
        living.map(|node| self.repo(node).git(&["for-each-ref", "--format=%(objectname)", "refs/heads/main"])).collect()
    }

    pub(crate) fn is_equal(&self) -> bool {
        self.heads().iter().collect::<BTreeSet<_>>().len() == 1
    }

    /// The values of the mesh's refs in a clone.
    pub(crate) fn refs(&self, node: usize) -> BTreeMap<String, String> {
        let text = self.repo(node).git(&["for-each-ref", "--format=%(refname) %(objectname)", "refs/breath"]);
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, id)| (name.to_owned(), id.to_owned()))
            .collect()
    }

    /// The subjects of all that a clone's branch and refs reach, without automatic merges.
    pub(crate) fn subjects(&self, node: usize, of: &str) -> Vec<String> {
        let text = self.repo(node).git(&["log", "--format=%s", of, "--"]);
        text.lines().filter(|subject| *subject != "mirror: merge").map(str::to_owned).collect()
    }

    pub(crate) fn merges(&self, node: usize) -> usize {
        self.repo(node).git(&["rev-list", "--min-parents=2", "--count", "main"]).parse().unwrap()
    }

    /// Everything is whole, and nothing is committed twice.
    pub(crate) fn is_sound(&self) {
        for node in (0..self.nodes).filter(|node| !self.dead.contains(node)) {
            self.repo(node).is_sound();
            assert_eq!(self.repo(node).status(), "", "{}", NAMES[node]);
            let subjects = self.subjects(node, "main");
            let once: BTreeSet<&String> = subjects.iter().collect();
            assert_eq!(once.len(), subjects.len(), "twice on {}: {subjects:?}", NAMES[node]);
        }
    }
}
