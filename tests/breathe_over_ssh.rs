//! `mirror breathe` with a remote behind a real sshd. `tests/breath.rs` does the rest by path.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::mirror::{Network, Said, run};
use crate::support::sshd::{Client, Sshd};

/// A bare repository that is reached through an sshd, and two clones of it.
struct Stage {
    client: Client,
    sshd: Sshd,
    network: Network,
}

impl Stage {
    fn new(timeout: &str) -> Self {
        let client = Client::new();
        let sshd = Sshd::new(&client);
        let network = Network::new(&format!(
            "nodes.a = \"127.0.0.1\"\nnodes.b = {{ address = \"127.0.0.1\", port = 23 }}\n\
             chains.brain = [\"a\", \"b\"]\nbreath.timeout = \"{timeout}\"\n"
        ));
        let stage = Self { client, sshd, network };
        let bare = stage.network.path().join("bare.git");
        stage.git(stage.network.path(), &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()]);
        let url = format!("ssh://{}@127.0.0.1:{}{}", crate::support::sshd::user(), stage.sshd.port(), bare.display());
        for node in ["a", "b"] {
            stage.git(stage.network.path(), &["clone", "-q", &url, node]);
            stage.git(&stage.network.path().join(node), &["symbolic-ref", "HEAD", "refs/heads/main"]);
        }
        stage
    }

    /// git, apart from what the person has set.
    fn command(&self, program: &str) -> Command {
        let mut command = self.network.program(program, [""; 0]);
        command.env("GIT_SSH_COMMAND", self.client.git_ssh_command());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "node").env(format!("GIT_{who}_EMAIL"), "node@example.org");
        }
        command
    }

    fn git(&self, directory: &Path, words: &[&str]) -> String {
        let ended = self.command("git").current_dir(directory).args(words).stderr(Stdio::inherit()).output().unwrap();
        assert!(ended.status.success(), "git {words:?}");
        String::from_utf8(ended.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, node: &str, file: &str, text: &str) {
        let directory = self.network.path().join(node);
        std::fs::write(directory.join(file), text).unwrap();
        self.git(&directory, &["add", file]);
        self.git(&directory, &["commit", "-q", "-m", &format!("{node}: {file}")]);
    }

    fn breathe(&self, node: &str) -> Said {
        let mut command = self.command(crate::support::mirror::MIRROR);
        command.args(["breathe", "--self", node, "--repo", node]);
        run(command)
    }

    fn log(&self, node: &str) -> String {
        self.git(&self.network.path().join(node), &["log", "--format=%s", "main"])
    }
}

#[test]
fn commits_come_and_go_and_an_idle_breath_logs_in_once() {
    let stage = Stage::new("60s");
    stage.commit("a", "one", "1\n");
    stage.breathe("a").expect(0, "in-step");
    stage.breathe("b").expect(0, "in-step");
    stage.commit("a", "three", "3\n");
    stage.breathe("a").expect(0, "in-step");
    stage.commit("b", "two", "2\n");
    let object = stage.breathe("b").expect(0, "in-step");
    assert_eq!((&object["inhale"]["commits"], &object["exhale"]["commits"]), (&1.into(), &1.into()), "{object:#}");
    stage.breathe("a").expect(0, "in-step");
    assert_eq!(stage.log("a"), "b: two\na: three\na: one");
    assert_eq!(stage.log("b"), stage.log("a"));
    let before = stage.sshd.logins();
    stage.breathe("a").expect(0, "in-step");
    assert_eq!(stage.sshd.logins() - before, 1);
}

#[test]
fn what_contradicts_is_parked_on_the_remote() {
    let stage = Stage::new("60s");
    stage.commit("a", "file", "a\n");
    stage.breathe("a").expect(0, "in-step");
    stage.breathe("b").expect(0, "in-step");
    stage.commit("b", "file", "b\n");
    stage.commit("a", "file", "again\n");
    stage.breathe("a").expect(0, "in-step");
    let object = stage.breathe("b").expect(1, "conflict");
    let parked = object["parked"]["reference"].as_str().unwrap();
    let tip = stage.git(&stage.network.path().join("b"), &["rev-parse", "main"]);
    assert_eq!(parked, format!("refs/conflicts/b/{tip}"));
    let there = stage.git(&stage.network.path().join("bare.git"), &["rev-parse", parked]);
    assert_eq!(there, tip);
}

#[test]
fn a_server_that_is_gone_or_hangs_is_not_reached_and_nothing_is_lost() {
    let mut stage = Stage::new("8s");
    stage.commit("a", "one", "1\n");
    stage.sshd.freeze();
    let said = stage.breathe("a");
    said.expect(3, "unreachable");
    assert!(said.took.as_secs() < 30, "{:?}", said.took);
    stage.sshd.kill();
    stage.breathe("a").expect(3, "unreachable");
    stage.sshd.restart();
    // sshd needs a moment to listen again.
    for _ in 0..10 {
        let said = stage.breathe("a");
        if said.status == 0 {
            break;
        }
    }
    assert_eq!(stage.git(&stage.network.path().join("bare.git"), &["log", "--format=%s", "main"]), "a: one");
}

#[test]
fn a_remote_that_answers_but_cannot_serve_is_not_unreachable() {
    let stage = Stage::new("60s");
    stage.commit("a", "one", "1\n");
    let directory = stage.network.path().join("a");
    stage.git(&directory, &["config", "remote.origin.uploadpack", "/nowhere/git-upload-pack"]);
    let object = stage.breathe("a").expect(1, "refused");
    assert!(object["reason"].as_str().unwrap().contains("install git on the remote"), "{object:#}");
    stage.git(&directory, &["config", "--unset", "remote.origin.uploadpack"]);
    let lock = stage.network.path().join("bare.git/refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let object = stage.breathe("a").expect(3, "busy");
    assert!(object["reason"].as_str().unwrap().contains("main.lock"), "{object:#}");
    std::fs::remove_file(lock).unwrap();
    stage.breathe("a").expect(0, "in-step");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(stage.network.path().join("bare.git"), Some(12345), None).unwrap();
        let object = stage.breathe("a").expect(1, "refused");
        assert!(object["reason"].as_str().unwrap().contains("dubious ownership"), "{object:#}");
    }
}
