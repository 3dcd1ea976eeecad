//! The inhale before a start: what the target lacks comes along.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Stage, place};
use crate::support::mirror::{MIRROR, Said};

/// A remote and a clone of it on each node, at the same path as seen from there.
struct Clones(Stage);

const LINES: &str = "[breath]\nrepo = \"/nowhere\"\n";

impl Clones {
    fn new(service: &str) -> Self {
        let stage = Stage::new("");
        let directory = stage.network.path().to_owned();
        let directory = directory.as_path();
        git(directory, &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        for node in ["a", "b", "c"] {
            git(directory, &["clone", "-q", "origin.git", node]);
            git(&directory.join(node), &["symbolic-ref", "HEAD", "refs/heads/main"]);
        }
        let clones = Self(stage);
        clones.commit("a", "first");
        clones.git("a", &["push", "-q", "origin", "main"]);
        // Each node has its own list, as its own clone is elsewhere.
        for node in ["a", "b", "c"] {
            let list = clones.0.node_list(service) + LINES;
            let path = directory.join(format!("{node}.toml"));
            std::fs::write(path, list.replace("/nowhere", directory.join(node).to_str().unwrap())).unwrap();
        }
        let bin = directory.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(MIRROR, bin.join("mirror")).unwrap();
        let on = format!(
            "[\"env\", \"NODE={{node}}\", \"MIRROR_SELF={{node}}\", \"MIRROR_CONFIG={0}/{{node}}.toml\", \
             \"PATH={0}/bin:{1}\", \"sh\", \"-c\", \"{{command}}\"]",
            directory.display(),
            std::env::var("PATH").unwrap()
        );
        let list = (clones.0.node_list(service) + LINES).replace(super::LOCAL, &on);
        clones.0.network.rewrite(&list);
        clones
    }

    fn git(&self, node: &str, words: &[&str]) -> String {
        git(&self.0.network.path().join(node), words)
    }

    fn commit(&self, node: &str, message: &str) -> String {
        std::fs::write(self.0.network.path().join(node).join(message), message).unwrap();
        self.git(node, &["add", "-A"]);
        self.git(node, &["commit", "-q", "-m", message]);
        self.git(node, &["rev-parse", "HEAD"])
    }

    fn promote(&self) -> Said {
        self.0.promote("bot")
    }
}

fn git(directory: &Path, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(words).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "node").env(format!("GIT_{who}_EMAIL"), "node@example.org");
    }
    let ended = git.stderr(Stdio::inherit()).output().unwrap();
    assert!(ended.status.success(), "git {words:?}");
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_the_fallen_node_breathed_out_is_there_when_the_service_starts() {
    let mut clones = Clones::new("");
    clones.promote().expect(0, "started");
    let order = clones.commit("a", "order");
    clones.git("a", &["push", "-q", "origin", "main"]);
    // The service looks for it as it starts.
    let directory = clones.0.network.path().to_owned();
    clones.0.bot.before("start", "b", &format!("test -e {}/b/order || exit 1\n", directory.display()));
    clones.0.fall("a");
    let object = clones.promote().expect(0, "moved");
    let inhaled = &object["services"][0]["inhaled"];
    assert_eq!((&inhaled["to"], &inhaled["commits"], &inhaled["cause"]), (&json!(order), &json!(2), &json!(null)));
    assert_eq!(clones.0.bot.runs_on().last().map(String::as_str), Some("b"));
    // A quiet check starts nothing and inhales nothing.
    assert_eq!(clones.promote().expect(0, "in-place")["services"][0]["inhaled"], json!(null));
    assert_eq!(place("b"), 1);
}

#[test]
fn before_a_planned_move_the_target_inhales_while_the_service_still_runs() {
    let clones = Clones::new("");
    clones.promote().expect(0, "started");
    clones.git("b", &["pull", "-q", "--ff-only", "origin", "main"]);
    let before = clones.git("b", &["rev-parse", "HEAD"]);
    clones.commit("a", "order");
    clones.git("a", &["push", "-q", "origin", "main"]);
    // The stop is refused unless the order is on the target already; it writes the service's last one.
    let directory = clones.0.network.path().to_owned();
    let git = format!("git -C {}/a -c user.name=node -c user.email=node@example.org", directory.display());
    let stop = format!(
        "test -e {}/b/order || exit 1\n{git} commit -q --allow-empty -m last && {git} push -q origin main\n",
        directory.display()
    );
    clones.0.bot.before("stop", "a", &stop);
    let object = clones.0.promote("--to b bot").expect(0, "moved");
    let inhaled = &object["services"][0]["inhaled"];
    let last = clones.git("a", &["rev-parse", "HEAD"]);
    assert_eq!((&inhaled["from"], &inhaled["to"]), (&json!(before), &json!(last)), "{object:#}");
    assert_eq!((&inhaled["commits"], &inhaled["cause"]), (&json!(2), &json!(null)), "{object:#}");
    assert_eq!(clones.git("b", &["rev-parse", "HEAD"]), last);
}

#[test]
fn where_nothing_is_reached_it_starts_all_the_same_and_says_so() {
    let clones = Clones::new("inhale = \"5s\"");
    std::fs::rename(clones.0.network.path().join("origin.git"), clones.0.network.path().join("gone.git")).unwrap();
    let object = clones.promote().expect(0, "started");
    let service = &object["services"][0];
    assert!(service["inhaled"]["cause"].as_str().unwrap().contains("origin"), "{object:#}");
    assert!(service["reason"].as_str().unwrap().contains("a did not inhale before the start"), "{object:#}");
}

#[test]
fn a_clone_in_conflict_is_named() {
    let clones = Clones::new("");
    for node in ["a", "b"] {
        clones.git(node, &["pull", "-q", "--ff-only", "origin", "main"]);
        std::fs::write(clones.0.network.path().join(node).join("file"), node).unwrap();
        clones.commit(node, "contradiction");
    }
    clones.git("b", &["push", "-q", "origin", "main"]);
    let object = clones.promote().expect(0, "started");
    assert!(object["services"][0]["reason"].as_str().unwrap().contains("conflict"), "{object:#}");
}

#[test]
fn never_is_never() {
    let clones = Clones::new("inhale = \"0s\"");
    assert_eq!(clones.promote().expect(0, "started")["services"][0]["inhaled"], json!(null));
    assert!(!clones.0.network.path().join("a/.git/mirror").exists());
}
