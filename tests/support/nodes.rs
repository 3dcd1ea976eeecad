//! Nodes of this machine, three unless others are named, each with an sshd, a directory, a node list and a `mirror` of its own, and a laptop
//! from which they are asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mirror::{MIRROR, Network, Said, run};
use super::service::Bot;
use super::sshd::{Client, Sshd};

/// The nodes, where no others are named.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// The nodes and the laptop.
pub struct Nodes {
    /// Whose keys and known hosts all use.
    pub client: Client,
    /// One for each node.
    pub servers: Vec<Sshd>,
    /// The laptop; each node has a directory in its directory.
    pub network: Network,
    /// Their names.
    names: Vec<&'static str>,
    /// What the node list says beyond the nodes.
    more: String,
}

impl Nodes {
    /// With this text at the end of the node list.
    pub fn new(more: &str) -> Self {
        Self::named(&NAMES, more)
    }

    /// The first is the first of the chain `brain`, the second that of the chain `bot`.
    pub fn named(names: &[&'static str], more: &str) -> Self {
        let client = Client::new();
        let servers: Vec<Sshd> = names.iter().map(|name| Sshd::named(&client, name)).collect();
        let names = names.to_vec();
        let nodes = Self { client, servers, network: Network::new(""), names, more: more.to_owned() };
        for name in &nodes.names {
            let directory = nodes.path(name);
            fs::create_dir_all(directory.join("bin")).unwrap();
            nodes.install(name, &format!("exec {MIRROR} \"$@\""));
            git(&directory, &["init", "-q", "-b", "main", "--bare", "origin"]);
            git(&directory, &["init", "-q", "-b", "main", "repo"]);
            git(&directory.join("repo"), &["remote", "add", "origin", "../origin"]);
        }
        nodes.write();
        nodes
    }

    /// Something in the network's directory; a node's own is named after it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.network.path().join(name)
    }

    /// Has a node do this where `mirror` is called.
    pub fn install(&self, name: &str, script: &str) {
        let directory = self.path(name);
        let script = format!(
            "#!/bin/sh\nexport NODE={name} MIRROR_SELF={name} MIRROR_CONFIG={dir}/mirror.toml STATE_DIRECTORY={dir}/state\n\
             {script}\n",
            dir = directory.display()
        );
        fs::write(directory.join("bin/mirror"), script).unwrap();
        fs::set_permissions(directory.join("bin/mirror"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Has a node tell the time as if its clock were an hour ahead.
    pub fn set_clock_ahead(&self, name: &str) {
        let at = "at=$(date -u -d '1 hour' +%Y-%m-%dT%H:%M:%S.000Z)";
        let change = "sed \"s/\\\"at\\\":\\\"[^\\\"]*\\\"/\\\"at\\\":\\\"$at\\\"/\"";
        self.install(name, &format!("{MIRROR} \"$@\" | {{ {at}; {change}; }}"));
    }

    /// The node list, the same for all.
    pub fn list(&self) -> String {
        let nodes: Vec<String> = self
            .names
            .iter()
            .zip(&self.servers)
            .map(|(name, server)| format!("{name} = {}\n", server.node()))
            .collect();
        let ssh = self.path("ssh");
        let mut bot = self.names.clone();
        bot.rotate_left(1);
        format!(
            "[nodes]\n{}[chains]\nbrain = {brain:?}\nbot = {bot:?}\n\
             [probe]\ntimeout = \"5s\"\n[cycle]\ncheck = \"60s\"\nrecovery = \"60s\"\n[breath]\nrepo = \"repo\"\n{}\n\
             [remote]\ncommand = [{ssh:?}, \"-p\", \"{{port}}\", \"-l\", \"{{user}}\", \"--\", \"{{address}}\", \
             \"cd {dir}/{{node}} && PATH={dir}/{{node}}/bin:$PATH && NODE={{node}} && export PATH NODE && {{command}}\"]\n",
            nodes.concat(),
            self.more,
            brain = self.names,
            dir = self.network.path().display()
        )
    }

    /// Writes the list of each node and of the laptop, and the ssh that all use: each has the known hosts
    /// of its own directory.
    pub fn write(&self) {
        let script = format!(
            "#!/bin/sh\nexec ssh -F {config} -o UserKnownHostsFile={dir}/${{MIRROR_SELF:-.}}/known_hosts \
             -o BatchMode=yes -o ConnectTimeout=20 \"$@\"\n",
            dir = self.network.path().display(),
            config = self.client.config().display()
        );
        fs::write(self.path("ssh"), script).unwrap();
        fs::set_permissions(self.path("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in self.names.iter().map(|name| self.path(name)).chain([self.network.path().to_owned()]) {
            fs::write(directory.join("mirror.toml"), self.list()).unwrap();
            fs::copy(self.client.path().join("known_hosts"), directory.join("known_hosts")).unwrap();
        }
    }

    /// Replaces something in the list of one node, or of the laptop, which is `.`.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let file = self.path(name).join("mirror.toml");
        let list = fs::read_to_string(&file).unwrap();
        assert!(list.contains(old), "{list}");
        fs::write(file, list.replace(old, new)).unwrap();
    }

    /// Runs `mirror` on a node.
    pub fn on(&self, name: &str, words: &str) -> Said {
        let program = self.path(name).join("bin/mirror");
        let mut command = self.network.program(program, words.split_whitespace());
        let path = format!("{}:{}", self.path(name).join("bin").display(), std::env::var("PATH").unwrap());
        command.current_dir(self.path(name)).env("PATH", path);
        run(command)
    }
}

/// Runs git in a directory, with nobody's settings.
pub fn git(directory: &Path, words: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(directory).args(words).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    assert!(git.status().unwrap().success());
}

/// Nodes that are all at work, with a service that runs where it belongs.
pub struct Served {
    /// The service.
    pub bot: Bot,
    /// The nodes.
    pub nodes: Nodes,
}

impl Served {
    /// With what the list says by itself.
    pub fn new() -> Self {
        Self::with("")
    }

    /// With this text more in the node list.
    pub fn with(more: &str) -> Self {
        let bot = Bot::new();
        let nodes = Nodes::new(&format!("[services.bot]\n{}timeout = \"100s\"\n{more}", bot.commands()));
        let stage = Self { bot, nodes };
        stage.nodes.on("a", "promote --if-brain").expect(0, "started");
        for name in ["b", "c"] {
            stage.nodes.on(name, "promote --if-brain").expect(1, "not-brain");
        }
        stage
    }

    /// Has a node and its remote disagree about a file.
    pub fn breath_conflicts_on(&self, name: &str) {
        let (repo, other) = (self.nodes.path(name).join("repo"), self.nodes.path(name).join("other"));
        let commit = |directory: &Path, text: &str| {
            fs::write(directory.join("file"), text).unwrap();
            git(directory, &["add", "file"]);
            git(directory, &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", text]);
        };
        commit(&repo, "one");
        self.nodes.on(name, "breathe").expect(0, "in-step");
        git(&self.nodes.path(name), &["clone", "-q", "-b", "main", "origin", "other"]);
        commit(&other, "two");
        git(&other, &["push", "-q"]);
        commit(&repo, "three");
        self.nodes.on(name, "breathe").expect(1, "conflict");
    }
}
