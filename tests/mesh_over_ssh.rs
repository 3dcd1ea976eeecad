//! Nodes that breathe with each other over real sshds. `tests/breath.rs` does the rest by path.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::mirror::{MIRROR, Network, Said, run};
use crate::support::sshd::{Client, Sshd};
use crate::support::{wait_for, write_program};

const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Five sshds. Each leads to a clone of its own, though the path is the same in every request.
struct Stage {
    sshds: Vec<Sshd>,
    network: Network,
    _client: Client,
}

impl Stage {
    /// By the default way to the nodes, with shared connections.
    fn new() -> Self {
        let client = Client::new();
        let network = Network::new("");
        let here = network.path().to_owned();
        let on = format!(
            "#!/bin/sh\ncommand=$SSH_ORIGINAL_COMMAND\ncase $command in\n\
             *{0}/*) head=${{command%%{0}/*}} tail=${{command#*{0}/}}; exec sh -c \"$head{0}/$NODE/${{tail#*/}}\" ;;\n\
             sh) sed -u \"s#{0}/[a-z]*/#{0}/$NODE/#g\" | sh ;;\n*) exec sh -c \"$command\" ;;\nesac\n",
            here.display()
        );
        write_program(&here.join("on"), &on);
        let sshds: Vec<Sshd> = NODES
            .iter()
            .map(|node| {
                let mut sshd = Sshd::named(&client, node);
                sshd.configure(&format!("ForceCommand {}/on", here.display()));
                sshd
            })
            .collect();
        client.install_ssh(&here.join("bin/ssh"));
        let stage = Self { sshds, network, _client: client };
        for node in NODES {
            stage.write_list(node);
        }
        stage
    }

    fn write_list(&self, node: &str) {
        let rows: String =
            NODES.iter().zip(&self.sshds).map(|(name, sshd)| format!("{name} = {}\n", sshd.node())).collect();
        let here = self.network.path().display();
        let list = format!(
            "state = \"{here}/state-{node}\"\n[nodes]\n{rows}[chains]\nbrain = [\"a\", \"b\", \"c\", \"d\", \"e\"]\n[probe]\ntimeout = \"20s\"\n\
             [breath]\nrepo = \"{here}/{node}/repo\"\npeers = true\ntimeout = \"60s\"\n"
        );
        std::fs::write(self.network.path().join(format!("{node}.toml")), list).unwrap();
    }

    fn repo(&self, node: &str) -> PathBuf {
        self.network.path().join(node).join("repo")
    }

    fn command(&self, program: &str, node: &str) -> Command {
        let mut command = self.network.program(program, [""; 0]);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.network.path().join("bin").display()));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("MIRROR_CONFIG", self.network.path().join(format!("{node}.toml")));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "node").env(format!("GIT_{who}_EMAIL"), "node@example.org");
        }
        command
    }

    fn breathe(&self, node: &str, words: &[&str]) -> Said {
        let mut command = self.command(MIRROR, node);
        command.args(["--self", node, "breathe"]).args(words);
        run(command)
    }

    fn commit(&self, node: &str, file: &str) -> String {
        std::fs::write(self.repo(node).join(file), file).unwrap();
        self.git(node, &["add", file]);
        self.git(node, &["commit", "-q", "-m", file]);
        self.git(node, &["rev-parse", "HEAD"])
    }

    fn git(&self, node: &str, words: &[&str]) -> String {
        let mut git = self.command("git", node);
        let ended = git.args(words).current_dir(self.repo(node)).stderr(Stdio::inherit()).output().unwrap();
        assert!(ended.status.success(), "git {words:?}");
        String::from_utf8(ended.stdout).unwrap().trim().to_owned()
    }

    /// How often `git` or `ssh` is started.
    fn processes_of_an_idle_breath(&self) -> usize {
        let (bin, log) = (self.network.path().join("bin"), self.network.path().join("started"));
        let ssh = std::fs::read_to_string(bin.join("ssh")).unwrap();
        write_program(&bin.join("ssh"), &ssh.replace("exec", &format!("echo x >>{}\nexec", log.display())));
        write_program(&bin.join("git"), &format!("#!/bin/sh\necho x >>{}\nexec /usr/bin/git \"$@\"\n", log.display()));
        self.breathe("a", &[]).expect(0, "in-step");
        write_program(&bin.join("ssh"), &ssh);
        std::fs::remove_file(bin.join("git")).unwrap();
        let count = std::fs::read_to_string(log).unwrap().lines().count();
        eprintln!("an idle breath starts {count} processes");
        count
    }

    fn logins(&self) -> usize {
        self.sshds.iter().map(Sshd::logins).sum()
    }
}

#[test]
fn nodes_breathe_with_each_other_by_ssh_alone() {
    let mut stage = Stage::new();
    stage.breathe("a", &["--init"]).expect(3, "alone");
    stage.commit("a", "one");
    stage.breathe("a", &[]).expect(3, "alone");
    for node in &NODES[1..] {
        let object = stage.breathe(node, &["--init"]).expect(0, "in-step");
        assert_eq!(stage.git(node, &["log", "--format=%s"]), "one", "{object:#}");
    }
    // The hook would breathe when it likes.
    for node in NODES {
        std::fs::remove_file(stage.repo(node).join(".git/hooks/post-receive")).unwrap();
    }
    let head = stage.commit("b", "two");
    let object = stage.breathe("b", &[]).expect(0, "in-step");
    assert_eq!(object["copies"], 4, "{object:#}");
    for node in ["a", "c", "d", "e"] {
        stage.breathe(node, &[]).expect(0, "in-step");
        assert_eq!(stage.git(node, &["rev-parse", "main"]), head);
    }
    // Once all are in step, a breath asks over the connections that are there.
    for node in NODES {
        stage.breathe(node, &[]).expect(0, "in-step");
    }
    let (before, begun) = (stage.logins(), Instant::now());
    stage.breathe("a", &[]).expect(0, "in-step");
    eprintln!("an idle breath with four peers: {:?}", begun.elapsed());
    assert_eq!(stage.logins(), before, "no further login");
    assert!(stage.processes_of_an_idle_breath() <= 6);
    // One node hangs, and the others get the commit all the same.
    stage.sshds[2].freeze();
    let head = stage.commit("a", "three");
    stage.breathe("a", &["--timeout", "8s"]).expect(0, "in-step");
    assert_eq!(stage.git("b", &["for-each-ref", "--points-at", &head, "--format=x", "refs/breath"]), "x");
    for at in [1, 3, 4] {
        stage.sshds[at].kill();
    }
    let object = stage.breathe("a", &["--timeout", "8s"]).expect(3, "alone");
    assert!(object["peers"].as_array().unwrap().iter().all(|peer| peer["state"] == "unreachable"), "{object:#}");
    wait_for("nothing is left in the way", || stage.git("a", &["status", "--porcelain"]).is_empty().then_some(()));
}

/// `MIRROR_TEST_MEASURE=1` and `--nocapture`: how long a commit takes to all others, and an idle breath.
#[test]
fn measured_over_shared_connections() {
    if std::env::var_os("MIRROR_TEST_MEASURE").is_none() {
        return;
    }
    let stage = Stage::new();
    stage.breathe("a", &["--init"]).expect(3, "alone");
    stage.commit("a", "one");
    stage.breathe("a", &[]).expect(3, "alone");
    for node in &NODES[1..] {
        stage.breathe(node, &["--init"]).expect(0, "in-step");
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/post-commit");
    let mut times = Vec::new();
    std::fs::copy(example, stage.repo("a").join(".git/hooks/post-commit")).unwrap();
    for n in 0..15 {
        let file = format!("file-{n}");
        std::fs::write(stage.repo("a").join(&file), &file).unwrap();
        stage.git("a", &["add", &file]);
        let mut commit = stage.command("git", "a");
        commit.env("MIRROR", MIRROR).env("MIRROR_SELF", "a").current_dir(stage.repo("a"));
        let begun = Instant::now();
        assert!(commit.args(["commit", "-q", "-m", &file]).status().unwrap().success());
        let head = stage.git("a", &["rev-parse", "HEAD"]);
        let has_it =
            |node: &str| std::fs::read_to_string(stage.repo(node).join(".git/refs/heads/main")).unwrap().trim() == head;
        wait_for("the commit is everywhere", || NODES.iter().all(|node| has_it(node)).then_some(()));
        times.push(begun.elapsed());
        // The next one meets a network at rest.
        std::thread::sleep(std::time::Duration::from_secs(3));
    }
    times.sort();
    eprintln!("from the commit to the branch of all four others: median {:?}, all {times:?}", times[times.len() / 2]);
    let mut idle: Vec<_> = (0..15).map(|_| stage.breathe("a", &[]).took).collect();
    idle.sort();
    let sockets = stage.network.path().join("bare-%C");
    let question = format!("git -C {} for-each-ref", stage.repo("a").display());
    let bare = || {
        let begun = Instant::now();
        let ask = |sshd: &Sshd| {
            let mut ssh = stage.command("ssh", "a");
            ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=120", "-o"]);
            ssh.arg(format!("ControlPath={}", sockets.display()));
            ssh.args(["-p", &sshd.port().to_string(), "127.0.0.1", &question]);
            ssh.stdout(Stdio::null()).spawn().unwrap()
        };
        let asked: Vec<_> = stage.sshds[1..].iter().map(ask).collect();
        asked.into_iter().for_each(|mut asked| {
            let _ = asked.wait();
        });
        begun.elapsed()
    };
    // The first one logs in; the others share its connections, as a breath does.
    bare();
    let mut bare: Vec<_> = (0..15).map(|_| bare()).collect();
    bare.sort();
    eprintln!(
        "an idle breath: median {:?}; four bare ssh over shared connections at once: median {:?}",
        idle[7], bare[7]
    );
}
