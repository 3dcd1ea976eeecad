//! Many services under one store: what a tick asks of it does not depend on how many they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;

use crate::register::etcd::{self, Etcd};
use crate::support::mirror::{Network, run};
use crate::support::service::LOCAL;
use crate::support::sockets::Port;
use serde_json::{Value, json};

/// Nodes `a` and `b`, and services that are files in the network's directory.
struct Fleet {
    network: Network,
    ports: [Port; 2],
}

impl Fleet {
    fn new(services: usize, store: &str, more: &str) -> Self {
        let fleet = Self { network: Network::new(""), ports: [Port::silent(), Port::silent()] };
        let [a, b] = fleet.ports.each_ref().map(Port::number);
        let mut list = format!(
            "[nodes]\na = {{ address = \"127.0.0.1\", port = {a} }}\nb = {{ address = \"127.0.0.1\", port = {b} }}\n\
             [chains]\nbrain = [\"a\", \"b\"]\nbot = [\"a\", \"b\"]\n[cycle]\nsync = \"1h\"\n[probe]\ntimeout = \"10s\"\n\
             [remote]\ncommand = {LOCAL}\n[lease]\n{store}\nvalid = \"3s\"\ngrace = \"500ms\"\nfailsafe = false\n"
        );
        for service in 0..services {
            let file = format!("{{dir}}/s{service}.$NODE");
            let _ = write!(
                list,
                "[services.s{service}]\nchain = \"bot\"\nstatus = \"test -e {file}\"\nstart = \"touch {file}\"\n\
                 stop = \"rm -f {file}\"\ntimeout = \"60s\"\n"
            );
        }
        fleet.network.rewrite(&(list + more));
        let bin = fleet.network.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let made = fleet.network.program("git", ["init", "-q", "-b", "main", "--bare", "lease.git"]).status();
        assert!(made.unwrap().success());
        let log = fleet.network.path().join("gits");
        let script =
            format!("#!/bin/sh\necho \"$1\" >> {}\nPATH=${{PATH#*:}}; export PATH; exec git \"$@\"\n", log.display());
        std::fs::write(bin.join("git"), script).unwrap();
        std::fs::set_permissions(bin.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
        fleet
    }

    /// A promotion, and how often it ran each command of git.
    fn promote(&self, status: i32, verdict: &str) -> (Value, BTreeMap<String, usize>) {
        let log = self.network.path().join("gits");
        std::fs::write(&log, "").unwrap();
        let mut command = self.network.mirror(["promote"]);
        command
            .env("PATH", format!("{}:{}", self.network.path().join("bin").display(), std::env::var("PATH").unwrap()));
        let object = run(command).expect(status, verdict);
        let mut counts = BTreeMap::new();
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        (object, counts)
    }

    fn runs_on(&self, node: &str) -> usize {
        let names = std::fs::read_dir(self.network.path()).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.ends_with(&format!(".{node}")))).count()
    }
}

const GIT: &str = "store = \"git\"\nremote = \"{dir}/lease.git\"";

#[test]
fn a_takeover_of_many_services_is_as_many_pushes_as_that_of_one() {
    let counts = [1, 12].map(|services| {
        let mut fleet = Fleet::new(services, GIT, "");
        fleet.promote(0, "started");
        assert_eq!(fleet.runs_on("a"), services);
        fleet.ports[0].refuse();
        let (_, counts) = fleet.promote(0, "moved");
        assert_eq!(fleet.runs_on("b"), services);
        counts
    });
    // On a busy machine, some come too late for the first trip; that is not one for each.
    for command in ["ls-remote", "push"] {
        let [one, many] = counts.each_ref().map(|counts| counts.get(command).copied().unwrap_or(0));
        assert!(many <= one + 8, "{command}: {counts:?}");
    }
}

#[test]
fn a_tick_reads_all_leases_at_once() {
    let fleet = Fleet::new(12, GIT, "");
    fleet.promote(0, "started");
    fleet.promote(0, "in-place");
    let (_, counts) = fleet.promote(0, "in-place");
    assert_eq!(counts, BTreeMap::new(), "a quiet tick");
    let list = std::fs::read_to_string(fleet.network.config()).unwrap();
    fleet.network.rewrite(&list.replace("\"1h\"", "\"1ms\""));
    let (_, counts) = fleet.promote(0, "in-place");
    let lists = counts.get("ls-remote").copied().unwrap_or(0);
    assert!((1..=6).contains(&lists), "{counts:?}");
}

#[test]
fn in_etcd_many_services_move_together() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    let mut fleet = Fleet::new(12, &format!("store = \"etcd\"\nendpoints = {}", json!(etcd.endpoints())), "");
    fleet.promote(0, "started");
    fleet.ports[0].refuse();
    let (object, _) = fleet.promote(0, "moved");
    assert_eq!(fleet.runs_on("b"), 12, "{object:#}");
}

/// The stop of one hangs on its node; the others are moved meanwhile.
#[test]
fn a_service_whose_stop_hangs_delays_no_other_lease() {
    let hangs = "[services.hangs]\nchain = \"bot\"\nstatus = \"test -e {dir}/h.$NODE\"\nstart = \"touch {dir}/h.$NODE\"\n\
                 stop = \"while [ -e {dir}/gate ]; do sleep 0.05; done; rm -f {dir}/h.$NODE\"\ntimeout = \"100s\"\n";
    let fleet = Fleet::new(4, GIT, hangs);
    fleet.promote(0, "started");
    std::fs::write(fleet.network.path().join("gate"), "").unwrap();
    let promotion = crate::support::mirror::Started::new(fleet.network.mirror(["promote", "--to", "b"]));
    let moved = || (1..4).all(|n| fleet.network.path().join(format!("s{n}.b")).exists());
    crate::support::wait_for("the others have moved", || moved().then_some(()));
    assert!(fleet.network.path().join("h.a").exists());
    std::fs::remove_file(fleet.network.path().join("gate")).unwrap();
    promotion.end().expect(0, "moved");
    assert_eq!((fleet.runs_on("a"), fleet.runs_on("b")), (0, 5));
}
