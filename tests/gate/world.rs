//! Three nodes, `a`, `b` and `c`, each an sshd whose one key is behind a gate.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::mirror::{MIRROR, Network, Said, Started, run};
use crate::support::service::Bot;
use crate::support::sshd::{Client, Sshd, user};

pub(super) const NODES: [&str; 3] = ["a", "b", "c"];
pub(super) const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// How commands get to a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Through {
    /// The default, which finds in `PATH` an ssh that reads the client's configuration.
    Default,
    /// A template of the node list's own.
    Template,
}

pub(super) struct World {
    pub(super) bot: Bot,
    pub(super) client: Client,
    pub(super) nodes: [Sshd; 3],
    pub(super) network: Network,
}

impl World {
    pub(super) fn new(through: Through) -> Self {
        let client = Client::new();
        let nodes = NODES.map(|node| Sshd::named(&client, node));
        let world = Self { bot: Bot::new(), client, nodes, network: Network::new("") };
        for (node, sshd) in NODES.iter().zip(&world.nodes) {
            // The service's commands find out on which node they are.
            std::fs::write(sshd.path().join("node"), node).unwrap();
            std::fs::write(world.list(node), world.node_list(node, through)).unwrap();
            world.force(node, &format!("{MIRROR} --config {} --self {node} gate", world.list(node).display()));
        }
        world.client.install_ssh(&world.path().join("bin/ssh"));
        world
    }

    /// Puts a node's key behind this command.
    pub(super) fn force(&self, node: &str, command: &str) {
        let key = std::fs::read_to_string(self.client.path().join("key.pub")).unwrap();
        let line = format!("restrict,command=\"{command}\" {key}");
        std::fs::write(self.sshd(node).path().join("authorized_keys"), line).unwrap();
    }

    fn node_list(&self, node: &str, through: Through) -> String {
        let mut list = format!("state = \"{}/state/{node}\"\n[nodes]\n", self.path().display());
        for (name, sshd) in NODES.iter().zip(&self.nodes) {
            let _ = writeln!(list, "{name} = {}", sshd.node());
        }
        let dir = self.bot.path().display();
        let line = |verb| format!("{verb} = 'NODE=$(cat \"$HOME/node\") sh {dir}/bot.sh {dir} {verb}'\n");
        let commands = ["status", "start", "stop"].map(line).concat();
        if let Through::Template = through {
            let _ = writeln!(list, "[remote]\ncommand = {}", self.client.remote_command());
        }
        let _ = write!(
            list,
            "[chains]\nbrain = [\"a\", \"b\", \"c\"]\nbot = [\"a\", \"b\"]\n[cycle]\ncheck = \"30s\"\nsync = \"1h\"\n\
             [probe]\nmethod = \"tcp\"\ntimeout = \"20s\"\n[breath]\ntimeout = \"100s\"\nrepo = \"{}/b.repo\"\n\
             [services.bot]\n{commands}timeout = \"100s\"\n",
            self.path().display()
        );
        list
    }

    pub(super) fn path(&self) -> PathBuf {
        self.network.path().to_owned()
    }

    pub(super) fn list(&self, node: &str) -> PathBuf {
        self.path().join(format!("{node}.toml"))
    }

    pub(super) fn sshd(&self, node: &str) -> &Sshd {
        &self.nodes[NODES.iter().position(|name| *name == node).unwrap()]
    }

    /// Changes the list of every node.
    pub(super) fn replace(&self, from: &str, to: &str) {
        for node in NODES {
            let list = std::fs::read_to_string(self.list(node)).unwrap();
            assert!(list.contains(from), "{list}");
            std::fs::write(self.list(node), list.replace(from, to)).unwrap();
        }
    }

    fn command(&self, program: &str, node: &str, words: &str) -> Command {
        let mut path = self.path().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = self.network.program(program, words.split_whitespace());
        command.env("PATH", path).env("MIRROR_CONFIG", self.list(node)).env("MIRROR_SELF", node);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_SSH_COMMAND", self.client.git_ssh_command());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "node").env(format!("GIT_{who}_EMAIL"), "node@example.org");
        }
        // The own node runs its commands without an ssh.
        command.env("HOME", self.sshd(node).path());
        command
    }

    /// Runs `mirror` on a node.
    pub(super) fn on(&self, node: &str, words: &str) -> Said {
        run(self.command(MIRROR, node, words))
    }

    pub(super) fn breathe(&self, node: &str) -> Said {
        self.on(node, &format!("breathe --repo {}/{node}.repo", self.path().display()))
    }

    pub(super) fn git(&self, directory: &Path, words: &[&str]) -> String {
        let mut git = self.command("git", "a", "");
        git.args(words).current_dir(directory).stderr(Stdio::inherit());
        let ended = git.output().unwrap();
        assert!(ended.status.success(), "git {words:?}");
        String::from_utf8(ended.stdout).unwrap().trim().to_owned()
    }

    /// A path of this world, by ssh to a node.
    pub(super) fn url(&self, node: &str, path: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{}/{path}", user(), self.sshd(node).port(), self.path().display())
    }

    /// A bare repository that `a` has, and a clone for each of the others.
    pub(super) fn make_repositories(&self) {
        let dir = self.path();
        let bare = dir.join("bare.git");
        self.git(&dir, &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()]);
        let list = self.list("a");
        let gate = format!("{MIRROR} --config {} --self a gate --repo {}", list.display(), bare.display());
        self.force("a", &gate);
        for node in ["b", "c"] {
            let repo = format!("{node}.repo");
            self.git(&dir, &["clone", "-q", &self.url("a", "bare.git"), &repo]);
            self.git(&dir.join(&repo), &["symbolic-ref", "HEAD", "refs/heads/main"]);
        }
    }

    pub(super) fn commit(&self, node: &str, file: &str) {
        let directory = self.path().join(format!("{node}.repo"));
        std::fs::write(directory.join(file), file).unwrap();
        self.git(&directory, &["add", file]);
        self.git(&directory, &["commit", "-q", "-m", file]);
    }

    /// `ssh` to a node with further options, running this command.
    pub(super) fn ssh(&self, node: &str, options: &[&str], command: &str) -> Said {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.client.config()).args(["-o", "BatchMode=yes", "-p"]);
        ssh.arg(self.sshd(node).port().to_string()).args(options).arg("127.0.0.1");
        if !command.is_empty() {
            ssh.arg(command);
        }
        ssh.stdin(Stdio::null());
        run(ssh)
    }

    /// Sends these bytes to the standard input of `sh` on a node, and keeps it open.
    pub(super) fn send(&self, node: &str, bytes: &[u8]) -> Said {
        feed(self.client.ssh(self.sshd(node), "sh"), bytes)
    }

    /// Checks that a call was refused: in one line, with status 1, and nothing done.
    pub(super) fn assert_refused(&self, said: &Said, what: &str) {
        assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{what}: {said:?}");
        assert!(said.stderr.starts_with("mirror: gate: refused: "), "{what}: {said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{what}: {said:?}");
        self.assert_untouched(what);
    }

    /// The file that every attack tries to make.
    pub(super) fn owned(&self) -> PathBuf {
        self.path().join("owned")
    }

    pub(super) fn assert_untouched(&self, what: &str) {
        assert!(!self.owned().exists(), "{what}");
        assert_eq!(self.bot.acts(), 0, "{what}");
    }
}

/// Runs a command with these bytes on its standard input, which stays open until it has ended.
pub(super) fn feed(mut command: Command, bytes: &[u8]) -> Said {
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    let started = Started::new(command);
    let bytes = bytes.to_owned();
    let (done, end) = std::sync::mpsc::channel::<()>();
    let feeding = std::thread::spawn(move || {
        let _ = writer.write_all(&bytes);
        let _ = end.recv();
    });
    let said = started.end();
    drop(done);
    feeding.join().unwrap();
    said
}

/// A program with these requests, and this text for a shell.
pub(super) fn program(requests: &str, text: &str) -> Vec<u8> {
    let (first, second) = NONCE.split_at(16);
    format!("# {{\"mirror\":1,\"nonce\":[\"{first}\",\"{second}\"],\"requests\":[{requests}]}}\n{text}\n").into_bytes()
}
