//! Commands on nodes that are reached by a real ssh and a real sshd, and what can go wrong with them.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use crate::support::mirror::{Network, Said};
use crate::support::processes::{kill, lives, pid_in, wait_until_gone};
use crate::support::service::Bot;
use crate::support::sshd::{Client, Sshd};
use serde_json::{Value, json};

/// Two nodes, `a` and `b`, each an sshd of its own, and a service with a chain in that order.
struct Stage {
    bot: Bot,
    client: Client,
    nodes: [Sshd; 2],
    network: Network,
}

impl Stage {
    /// With these further keys of the service, and this method of probing.
    fn new(service: &str, method: &str) -> Self {
        let client = Client::new();
        let stage = Self {
            bot: Bot::new(),
            nodes: ["a", "b"].map(|node| Sshd::named(&client, node)),
            client,
            network: Network::new(""),
        };
        let command = stage.client.remote_command();
        stage.network.rewrite(&format!("[remote]\ncommand = {command}\n{}", stage.node_list(service, method)));
        stage
    }

    fn node_list(&self, service: &str, method: &str) -> String {
        format!(
            "[nodes]\na = {}\nb = {}\n[chains]\nbot = [\"a\", \"b\"]\n[cycle]\nsync = \"1h\"\n\
             [probe]\nmethod = \"{method}\"\ntimeout = \"20s\"\n[services.bot]\n{}\n{service}\n",
            self.nodes[0].node(),
            self.nodes[1].node(),
            self.bot.commands()
        )
    }

    fn promote(&self, words: &str) -> Said {
        self.network.run(&format!("promote {words}"))
    }
}

fn only(object: &Value) -> &Value {
    &object["services"][0]
}

const PATIENT: &str = "timeout = \"100s\"";

#[test]
fn a_service_starts_moves_and_stops_over_ssh() {
    let mut stage = Stage::new(PATIENT, "tcp");
    assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "a");
    assert!(stage.nodes.iter().all(|node| node.logins() > 0), "by real logins");
    stage.promote("").expect(0, "in-place");
    let object = stage.promote("--to b").expect(0, "moved");
    assert_eq!(only(&object)["fencing"], "confirmed");
    assert_eq!(stage.bot.runs_on(), ["b"]);
    stage.nodes[1].kill();
    let object = stage.promote("").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["fencing"]), (&json!("a"), &json!("none")));
    assert_eq!(stage.bot.acts(), 4, "{}", stage.bot.log());
}

#[test]
fn a_host_that_logs_nobody_in_blocks_unless_the_probe_is_a_login() {
    let service = "timeout = \"10s\"";
    let stage = Stage::new(service, "tcp");
    stage.promote("").expect(0, "started");
    stage.nodes[0].freeze();
    stage.promote("").expect(3, "blocked");
    assert_eq!(stage.bot.runs_on(), ["a"]);

    let stage = Stage::new(service, "ssh");
    stage.promote("").expect(0, "started");
    let list = std::fs::read_to_string(stage.network.config()).unwrap();
    stage.network.rewrite(&list.replace("\"20s\"", "\"10s\""));
    stage.nodes[0].freeze();
    let object = stage.promote("").expect(0, "moved");
    assert_eq!((&only(&object)["target"], &only(&object)["fencing"]), (&json!("b"), &json!("none")));
}

#[test]
fn a_host_key_that_is_not_the_known_one_is_obeyed_in_nothing() {
    let stage = Stage::new("timeout = \"4s\"", "tcp");
    std::fs::write(stage.client.path().join("known_hosts"), "").unwrap();
    let said = stage.promote("");
    assert_eq!(said.status, 3, "{said:?}");
    assert_eq!(stage.bot.log(), "");
    assert_eq!(stage.nodes[0].logins(), 0);
}

// commands that misbehave, over ssh and through a local shell

/// The same, reached by ssh and by a shell.
fn both(service: &str) -> [Stage; 2] {
    let local = Stage::new("", "tcp");
    let list = local.node_list(service, "tcp");
    local.network.rewrite(&format!("[remote]\ncommand = {}\n{list}", crate::support::service::LOCAL));
    [Stage::new(service, "tcp"), local]
}

#[test]
fn a_command_that_hangs_is_given_up_at_its_deadline() {
    for stage in both("timeout = \"12s\"") {
        stage.bot.before("start", "a", "echo $$ >\"$dir/hangs\"; exec sleep 3600");
        let said = stage.promote("");
        let hangs = pid_in(&stage.bot.path().join("hangs"));
        kill(hangs);
        let object = said.expect(0, "started");
        assert_eq!(only(&object)["target"], "b");
        let first = &only(&object)["steps"][0];
        assert_eq!((&first["node"], &first["cause"]), (&json!("a"), &json!("timeout")));
    }
}

#[test]
fn a_command_that_prints_a_gigabyte_is_heard_out() {
    for stage in both("timeout = \"150s\"") {
        stage.bot.before("start", "a", "head -c 1G /dev/zero || exit 1");
        // No file may grow beyond 512 MiB, not even one in memory.
        let said = stage.network.shell("ulimit -f 1048576; exec \"$MIRROR\" promote");
        assert_eq!(only(&said.expect(0, "started"))["target"], "a");
        assert!(said.peak_kib < 64 * 1024, "{} KiB", said.peak_kib);
    }
}

#[test]
fn a_command_that_closes_its_output_early_is_heard_out() {
    for stage in both(PATIENT) {
        for verb in ["status", "start", "stop"] {
            stage.bot.before(verb, "a", "exec >&- 2>&- <&-; sleep 0.1");
        }
        assert_eq!(only(&stage.promote("").expect(0, "started"))["target"], "a");
        stage.promote("--to b").expect(0, "moved");
        assert_eq!(stage.bot.runs_on(), ["b"]);
    }
}

#[test]
fn a_daemon_that_a_start_leaves_behind_lives_on() {
    let [over_ssh, local] = both("timeout = \"30s\"");
    // Over ssh nothing is heard of a start before the daemon lets go of its output, so what counts
    // is what status says. A daemon that then goes on writing has nobody to write to.
    let silent = "sleep 3600 & echo $! >\"$dir/daemon\"";
    let chatty = "(while :; do echo tick; sleep 0.05; done) & echo $! >\"$dir/daemon\"";
    for (stage, daemon) in [(over_ssh, silent), (local, chatty)] {
        stage.bot.before("start", "a", daemon);
        let said = stage.promote("");
        let daemon = pid_in(&stage.bot.path().join("daemon"));
        let lived = lives(daemon);
        kill(daemon);
        assert_eq!(only(&said.expect(0, "started"))["target"], "a");
        assert!(lived);
        assert_eq!(stage.bot.runs_on(), ["a"]);
        assert_eq!(stage.bot.count("stop a"), 0);
    }
}

// the default template, with its shared connections

/// A stage with the built-in `[remote] command`. ssh reads the client's configuration in place of the
/// system's, in a mount namespace of its own.
struct Shared {
    stage: Stage,
    unshare: &'static str,
}

impl Shared {
    /// None, and a line that says so, where such a namespace is not permitted.
    fn new() -> Option<Self> {
        let stage = Stage::new(PATIENT, "ssh");
        stage.network.rewrite(&stage.node_list(PATIENT, "ssh"));
        let works = |unshare: &&str| {
            stage.network.shell(&format!("{unshare} mount --bind /dev/null /etc/ssh/ssh_config")).status == 0
        };
        let found = ["unshare -m", "unshare -rm"].into_iter().find(works);
        if found.is_none() {
            eprintln!("skipped: neither user namespaces nor root to be had for another ssh configuration");
        }
        Some(Self { stage, unshare: found? })
    }

    fn promote(&self) -> Said {
        self.promote_after(":")
    }

    /// Runs `mirror promote` after these shell commands in the namespace.
    fn promote_after(&self, preparation: &str) -> Said {
        let config = self.stage.client.config();
        let inner = format!(
            "mount --bind {} /etc/ssh/ssh_config && {preparation} && exec \"$MIRROR\" promote",
            config.display()
        );
        self.stage.network.shell(&format!("exec {} sh -c '{inner}'", self.unshare))
    }

    fn logins(&self) -> usize {
        self.stage.nodes.iter().map(Sshd::logins).sum()
    }

    /// The sockets of the shared connections.
    fn sockets(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.stage.network.path().join("mirror")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        // What is kept beside a socket has an extension.
        paths.filter(|path| path.extension().is_none()).collect()
    }

    /// The processes that keep the shared connections.
    fn masters(&self) -> Vec<i32> {
        let here = self.stage.network.path().to_str().unwrap();
        let is_one = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("[mux]") && line.contains(here)
        };
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(is_one).collect()
    }

    fn end_masters(&self) {
        for master in self.masters() {
            kill(master);
            wait_until_gone(master);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end_masters();
    }
}

#[test]
fn connections_are_shared_and_outlive_the_command() {
    let Some(shared) = Shared::new() else { return };
    shared.promote().expect(0, "started");
    let (masters, sockets) = (shared.masters(), shared.sockets());
    assert_eq!((masters.len(), sockets.len()), (2, 2), "{masters:?} {sockets:?}");
    let logins = shared.logins();
    for _ in 0..3 {
        shared.promote().expect(0, "in-place");
    }
    assert_eq!(shared.logins(), logins, "nobody logs in anew");
}

#[test]
fn what_a_dead_shared_connection_left_is_no_obstacle() {
    let Some(shared) = Shared::new() else { return };
    shared.promote().expect(0, "started");
    shared.end_masters();
    let stale = shared.sockets();
    assert_eq!(stale.len(), 2);
    shared.promote().expect(0, "in-place");

    // Something that is no socket, in its place.
    for foreign in ["file", "directory"] {
        shared.end_masters();
        for socket in &stale {
            let _ = std::fs::remove_file(socket);
            match foreign {
                "file" => std::fs::write(socket, "mine\n").unwrap(),
                _ => std::fs::create_dir(socket).unwrap(),
            }
        }
        shared.promote().expect(0, "in-place");
    }
    assert_eq!(shared.stage.bot.acts(), 1);
}

#[test]
fn a_shared_connection_whose_host_restarted_is_made_anew() {
    let Some(mut shared) = Shared::new() else { return };
    shared.promote().expect(0, "started");
    for node in &mut shared.stage.nodes {
        node.kill();
        node.restart();
    }
    shared.promote().expect(0, "in-place");
    assert_eq!(shared.stage.bot.acts(), 1);
}

#[test]
fn a_directory_that_takes_no_socket_is_not_used() {
    let Some(shared) = Shared::new() else { return };
    // A directory of our own that is read-only, or full. The next one is in /run, here an empty one.
    let directory = shared.stage.network.path().join("mirror");
    let mount = |options: &str| {
        let at = directory.display();
        format!("mount -t tmpfs none /run && mkdir -p -m 700 {at} && mount -t tmpfs -o mode=700,{options} none {at}")
    };
    shared.promote_after(&mount("ro")).expect(0, "started");
    shared.promote_after(&mount("nr_inodes=1")).expect(0, "in-place");
    assert_eq!(shared.masters(), [0; 0]);
}

#[path = "remote/batch.rs"]
mod batch;
#[path = "remote/logins.rs"]
mod logins;
#[path = "remote/sessions.rs"]
mod sessions;
