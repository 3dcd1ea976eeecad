//! Leases move from one store to another: never two, and whatever is interrupted is finished.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use three_mirror::clock::Deadline;
use three_mirror::lease::moved::{Mark, Whereabouts};
use three_mirror::lease::{LeaseState, Nonce};
use three_mirror::register::etcd::EtcdRegister;
use three_mirror::register::file::FileRegister;
use three_mirror::register::git::GitRegister;
use three_mirror::register::{CasOutcome, NewText, Register};

use super::{BRIEF, BRIEF_WAIT, ENDLESS, Stage, only};
use crate::register::etcd::{self, Etcd};
use crate::support::mirror::{Said, Started, run};
use crate::support::processes::kill;
use crate::support::{LONG, wait_for};

/// A store that a node list can name.
enum Store<'a> {
    Git(&'static str),
    Etcd(&'a Etcd, &'static str),
    File(&'static str),
}

impl Store<'_> {
    fn lines(&self) -> String {
        match self {
            Self::Git(name) => format!("store = \"git\"\nremote = \"{{dir}}/{name}\""),
            Self::Etcd(etcd, prefix) => {
                format!("store = \"etcd\"\nendpoints = {}\nprefix = \"{prefix}\"", json!(etcd.endpoints()))
            }
            Self::File(name) => format!("store = \"file\"\npath = \"{{dir}}/{name}\""),
        }
    }

    fn make(&self, directory: &Path) {
        match self {
            Self::Git(name) => {
                let made = std::process::Command::new("git")
                    .args(["init", "-q", "-b", "main", "--bare"])
                    .arg(directory.join(name))
                    .status();
                assert!(made.unwrap().success());
            }
            Self::File(name) => std::fs::create_dir(directory.join(name)).unwrap(),
            Self::Etcd(..) => {}
        }
    }

    fn register(&self, directory: &Path) -> Box<dyn Register> {
        match self {
            Self::Git(name) => {
                let (cache, remote) = (directory.join(format!("cache-{name}")), directory.join(name));
                let remote = remote.to_str().unwrap();
                Box::new(GitRegister::open(&cache, remote, "refs/mirror/bot", "tester", None).unwrap())
            }
            Self::Etcd(etcd, prefix) => Box::new(EtcdRegister::new(etcd.cluster(), &format!("{prefix}bot")).unwrap()),
            Self::File(name) => Box::new(FileRegister::new(directory.join(name).join("bot"))),
        }
    }
}

fn soon() -> Deadline {
    Deadline::after(LONG)
}

/// A service under a lease, and the lists of its old and its new store.
struct Move<'a> {
    stage: Stage,
    from: Store<'a>,
    to: Store<'a>,
    lists: [PathBuf; 2],
}

impl<'a> Move<'a> {
    fn new(from: Store<'a>, to: Store<'a>, parameters: &str) -> Self {
        let stage = Stage::with(&format!("{}\n{parameters}", from.lines()), "timeout = \"40s\"");
        let directory = stage.network.path().to_owned();
        from.make(&directory);
        to.make(&directory);
        let lists = ["old.toml", "new.toml"].map(|name| directory.join(name));
        let old = std::fs::read_to_string(stage.network.config()).unwrap();
        let expand = |text: String| text.replace("{dir}", directory.to_str().unwrap());
        let new = old.replace(&expand(from.lines()), &expand(to.lines()));
        assert_ne!(old, new);
        std::fs::write(&lists[0], old).unwrap();
        std::fs::write(&lists[1], new).unwrap();
        Self { stage, from, to, lists }
    }

    /// Granted to `a` in epoch 1, which runs it.
    fn running(from: Store<'a>, to: Store<'a>, parameters: &str) -> Self {
        let this = Self::new(from, to, parameters);
        let register = this.from.register(this.stage.network.path());
        crate::support::lease::write_to(&*register, "tester", "a", 1, LeaseState::Granted, None);
        this.stage.promote("").expect(0, "started");
        this
    }

    fn migrate(&self) -> Said {
        self.stage.run("lease migrate new.toml")
    }

    /// By the old list (0) or the new one (1).
    fn by(&self, list: usize, words: &str) -> Said {
        self.by_node(list, "state", words)
    }

    /// The same on a machine whose state is in another directory.
    fn by_node(&self, list: usize, state: &str, words: &str) -> Said {
        let mut command = self.stage.network.mirror(words.split_whitespace());
        command.env("MIRROR_CONFIG", &self.lists[list]).env("STATE_DIRECTORY", self.stage.network.path().join(state));
        run(command)
    }

    fn text(&self, list: usize) -> String {
        let store = if list == 0 { &self.from } else { &self.to };
        store.register(self.stage.network.path()).read(soon()).unwrap().map(|found| found.value).unwrap_or_default()
    }

    /// Neither list lets a node have it, on a machine that knows the lease and on one that never saw it.
    fn is_granted_to_nobody(&self, list: usize) {
        let acts = self.stage.bot.acts();
        for state in ["state", "fresh"] {
            self.by_node(list, state, "lease check bot --self a").expect(3, "unknown");
            self.by_node(list, state, "lease check bot --self b").expect(3, "unknown");
            self.by_node(list, state, "promote --to b").expect(3, "unknown");
        }
        assert_eq!(self.stage.bot.acts(), acts, "{}", self.stage.bot.log());
    }

    /// The new list is in force; the next promotion has it run on `a`, in this epoch.
    fn goes_on(&self, epoch: u64) {
        assert_eq!(self.stage.bot.runs_on(), [""; 0]);
        self.is_granted_to_nobody(0);
        std::fs::copy(&self.lists[1], self.stage.network.config()).unwrap();
        let object = self.stage.promote("").expect(0, "started");
        assert_eq!(only(&object)["lease"]["epoch"], epoch, "{object:#}");
        assert_eq!(self.stage.bot.runs_on(), ["a"]);
        self.stage.run("lease check bot --self a").expect(0, "self");
        self.is_granted_to_nobody(0);
        self.by(0, "lease migrate new.toml").expect(0, "already-there");
    }
}

fn lease(object: &Value) -> &Value {
    let leases = object["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 1, "{object:#}");
    &leases[0]
}

/// There, and back again.
fn there_and_back(one: Store<'_>, other: Store<'_>) {
    let place = Move::running(one, other, ENDLESS);
    let before = [place.text(0), place.text(1)];
    place.stage.run("lease migrate new.toml --dry-run").expect(0, "planned");
    assert_eq!([place.text(0), place.text(1)], before);
    let object = place.migrate().expect(0, "migrated");
    let moved = lease(&object);
    assert_eq!((&moved["epoch"], &moved["was"], &moved["confirmed_by"]), (&json!(2), &json!("a"), &json!("a")));
    assert!(object["reason"].as_str().unwrap().contains("mirror rollout new.toml"), "{object:#}");
    let error = place.by(0, "promote --to b").expect(3, "unknown");
    assert!(only(&error)["reason"].as_str().unwrap().contains("it moved to"), "{error:#}");
    place.goes_on(2);
    let object = place.by(1, "lease migrate old.toml").expect(0, "migrated");
    assert_eq!(lease(&object)["epoch"], 3, "{object:#}");
    assert_eq!(place.stage.bot.runs_on(), [""; 0]);
    let object = place.by(0, "promote").expect(0, "started");
    assert_eq!(only(&object)["lease"]["epoch"], 3, "{object:#}");
}

#[test]
fn from_one_git_remote_to_another_and_back() {
    there_and_back(Store::Git("one.git"), Store::Git("other.git"));
}

#[test]
fn from_a_git_remote_to_etcd_and_back() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    there_and_back(Store::Git("one.git"), Store::Etcd(&etcd, "/mirror/"));
}

#[test]
fn from_etcd_to_a_file_and_back() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    there_and_back(Store::Etcd(&etcd, "/mirror/"), Store::File("there"));
}

#[test]
fn a_holder_that_does_not_confirm_is_waited_out() {
    let place = Move::running(Store::Git("one.git"), Store::Git("other.git"), BRIEF);
    place.stage.bot.before("stop", "a", "exit 1");
    let object = place.migrate().expect(0, "migrated");
    let moved = lease(&object);
    assert_eq!(moved["confirmed_by"], Value::Null, "{object:#}");
    assert!(moved["waited_ms"].as_f64().unwrap() >= BRIEF_WAIT - 1.0, "{object:#}");
}

#[test]
fn a_machine_that_no_holder_asks_does_not_wait() {
    let place = Move::running(Store::Git("one.git"), Store::Git("other.git"), &format!("{BRIEF}\nfailsafe = true"));
    place.stage.bot.before("stop", "a", "exit 1");
    let object = place.migrate().expect(3, "unconfirmed");
    assert!(object["reason"].as_str().unwrap().contains("only a node of the brain chain"), "{object:#}");
    place.is_granted_to_nobody(0);
    place.is_granted_to_nobody(1);
    place.stage.bot.before("stop", "a", "");
    assert_eq!(lease(&place.migrate().expect(0, "migrated"))["confirmed_by"], "a");
    place.goes_on(2);
}

/// Hangs after the ref has moved, until the gate is gone.
fn hook(remote: &Path, gate: &Path) {
    let hook = remote.join("hooks/post-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(gate, "").unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\nwhile [ -e {} ]; do sleep 0.05; done\n", gate.display())).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Kills a migration as soon as one of the registers holds this.
fn killed_when(place: &Move<'_>, list: usize, words: &str) {
    let migration = Started::new(place.stage.network.mirror(["lease", "migrate", "new.toml"]));
    wait_for("the migration is so far", || place.text(list).contains(words).then_some(()));
    kill(migration.pid());
    migration.end();
}

#[test]
fn killed_after_each_write_it_is_finished_by_another_run() {
    // The list whose register is written, and what it holds then.
    for (list, words) in [(1, "awaited"), (0, "lease-moved"), (1, "\"claimed\"")] {
        let place = Move::running(Store::Git("one.git"), Store::Git("other.git"), ENDLESS);
        let (directory, gate) = (place.stage.network.path(), place.stage.network.path().join("gate"));
        if words == "\"claimed\"" {
            // The second write to this remote.
            let reserved = place.stage.network.path().join("reserved");
            hook(&directory.join("other.git"), &gate);
            let script = std::fs::read_to_string(directory.join("other.git/hooks/post-receive")).unwrap();
            let second = format!("#!/bin/sh\nmkdir {} 2>/dev/null && exit\n{script}", reserved.display());
            std::fs::write(directory.join("other.git/hooks/post-receive"), second).unwrap();
        } else {
            hook(&directory.join(["one.git", "other.git"][list]), &gate);
        }
        killed_when(&place, list, words);
        std::fs::remove_file(&gate).unwrap();
        match words {
            // Nothing has changed but the new register, which nobody can use.
            "awaited" => {
                place.is_granted_to_nobody(1);
                place.by(0, "lease check bot --self a").expect(0, "self");
                place.by(0, "promote").expect(0, "in-place");
                assert_eq!(place.stage.bot.runs_on(), ["a"]);
            }
            "lease-moved" => {
                place.is_granted_to_nobody(0);
                place.is_granted_to_nobody(1);
            }
            _ => place.is_granted_to_nobody(0),
        }
        let verdict = if words == "\"claimed\"" { "already-there" } else { "migrated" };
        assert_eq!(lease(&place.migrate().expect(0, verdict))["epoch"], 2);
        place.goes_on(2);
    }
}

#[test]
fn killed_with_etcd_it_is_finished_by_another_run() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    // Reserved, and nothing else.
    let place = Move::running(Store::Etcd(&etcd, "/one/"), Store::Etcd(&etcd, "/other/"), ENDLESS);
    let state = Whereabouts::Awaited { from: "the old store".to_owned() };
    let mark = Mark::new(&"bot".parse().unwrap(), state, Nonce(7), ("tester", "")).written();
    let reserved = place.to.register(place.stage.network.path());
    let written = reserved.compare_and_swap(None, &NewText { text: &mark, summary: "a test" }, soon());
    assert!(matches!(written, CasOutcome::Won(_)), "{written:?}");
    place.is_granted_to_nobody(1);
    place.by(0, "promote").expect(0, "in-place");
    // Closed, while the holder is stopped.
    let gate = place.stage.network.path().join("gate");
    std::fs::write(&gate, "").unwrap();
    place.stage.bot.before("stop", "a", &format!("while [ -e {} ]; do sleep 0.05; done", gate.display()));
    killed_when(&place, 0, "lease-moved");
    place.is_granted_to_nobody(0);
    place.is_granted_to_nobody(1);
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(lease(&place.migrate().expect(0, "migrated"))["epoch"], 2);
    place.goes_on(2);
}

#[test]
fn a_lease_that_was_never_claimed_moves_too() {
    let place = Move::new(Store::Git("one.git"), Store::Git("other.git"), BRIEF);
    let object = place.migrate().expect(0, "migrated");
    assert_eq!((&lease(&object)["epoch"], &lease(&object)["was"]), (&json!(1), &Value::Null));
    place.goes_on(1);
}

#[test]
fn an_unfinished_takeover_is_carried_along() {
    let place = Move::running(Store::Git("one.git"), Store::Git("other.git"), ENDLESS);
    let register = place.from.register(place.stage.network.path());
    crate::support::lease::write_to(&*register, "tester", "b", 2, LeaseState::Claimed, Some("a"));
    let object = place.migrate().expect(0, "migrated");
    let moved = lease(&object);
    assert_eq!((&moved["holder"], &moved["epoch"], &moved["was"]), (&json!("b"), &json!(3), &json!("a")));
    std::fs::copy(&place.lists[1], place.stage.network.config()).unwrap();
    // `a` held it last, and is stopped again before another node gets it.
    let said = place.stage.promote("--to b");
    assert_eq!((said.status, &only(&said.json())["lease"]["epoch"]), (0, &json!(3)), "{said:?}");
    assert_eq!(place.stage.bot.runs_on(), ["b"]);
}

#[test]
fn no_other_lease_is_written_over_and_nothing_else_is_touched() {
    let place = Move::running(Store::File("one"), Store::File("other"), ENDLESS);
    let there = place.stage.network.path().join("other/bot");
    crate::support::lease::write(&there, "tester", "c", 9, LeaseState::Granted, None);
    let before = [place.text(0), place.text(1)];
    let object = place.migrate().expect(1, "refused");
    assert!(object["reason"].as_str().unwrap().contains("granted to c in epoch 9"), "{object:#}");
    std::fs::write(&there, "hello\n").unwrap();
    place.migrate().expect(3, "unknown");
    std::fs::remove_file(&there).unwrap();
    std::fs::rename(place.stage.network.path().join("other"), place.stage.network.path().join("away")).unwrap();
    place.migrate().expect(3, "unknown");
    assert_eq!(place.text(0), before[0]);
    assert_eq!(place.stage.bot.runs_on(), ["a"]);
    // A register that went back is not moved either.
    std::fs::rename(place.stage.network.path().join("away"), place.stage.network.path().join("other")).unwrap();
    std::fs::remove_file(place.stage.network.path().join("one/bot")).unwrap();
    let object = place.migrate().expect(3, "unknown");
    assert!(object["reason"].as_str().unwrap().contains("mirror lease repair bot"), "{object:#}");
    assert_eq!([place.text(0), place.text(1)], ["", ""]);
}

#[test]
fn a_list_with_another_store_is_rolled_out_only_after_it() {
    let place = Move::running(Store::File("one"), Store::File("other"), ENDLESS);
    let planned = || place.stage.run("rollout new.toml --dry-run");
    let object = planned().expect(1, "refused");
    assert!(object["reason"].as_str().unwrap().contains("mirror lease migrate"), "{object:#}");
    place.migrate().expect(0, "migrated");
    planned().expect(0, "planned");
}

#[test]
fn what_is_paused_stays_paused() {
    let place = Move::running(Store::Git("one.git"), Store::Git("other.git"), ENDLESS);
    place.stage.run("pause bot --why works").expect(0, "paused");
    assert_eq!(place.migrate().expect(0, "migrated")["pauses"], 1);
    std::fs::copy(&place.lists[1], place.stage.network.config()).unwrap();
    place.stage.promote("").expect(1, "paused");
    place.stage.run("resume").expect(0, "resumed");
    place.stage.promote("").expect(0, "started");
}

#[test]
fn a_list_that_names_no_other_store_is_misuse() {
    let place = Move::new(Store::File("one"), Store::File("other"), ENDLESS);
    let misuse = |words: &str, why: &str| {
        let said = place.stage.run(&format!("lease migrate {words}"));
        assert!(said.expect_misuse().contains(why), "{said:?}");
    };
    misuse("old.toml", "names the store that is in force");
    misuse("missing.toml", "missing.toml");
    misuse("new.toml nothing", "nothing");
    let list = std::fs::read_to_string(&place.lists[0]).unwrap();
    let without = list.split("[lease]").next().unwrap();
    std::fs::write(place.stage.network.path().join("without.toml"), without).unwrap();
    misuse("without.toml", "no [lease]");
}
