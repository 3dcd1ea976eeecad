//! What a read and a claim of the lease take, with the arbiter so far away.
//!
//! `cargo bench --bench arbiter`. A real sshd with git, and a real etcd, each behind a relay that delays what
//! passes, so that a round trip takes 1, 20, 80 or 200 ms. Prints a table.

mod relay;
#[path = "../support/mod.rs"]
mod support;

#[allow(clippy::unwrap_used, reason = "a member that does not start is the end of it")]
#[path = "../register/etcd.rs"]
mod etcd;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use three_mirror::clock::Deadline;
use three_mirror::lease::Nonce;
use three_mirror::register::etcd::{Cluster, EtcdRegister};
use three_mirror::register::git::GitRegister;
use three_mirror::register::{CasOutcome, NewText, Register};

use relay::Relay;
use support::sshd::{Client, Sshd, user};

const ROUND_TRIPS: [u64; 4] = [1, 20, 80, 200];
const READS: usize = 20;
const CLAIMS: usize = 10;
const CONNECTIONS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(60);

/// As mirror's own ssh shares connections.
const SHARED: &str = "-o BatchMode=yes -o ServerAliveInterval=1 -o ServerAliveCountMax=2 -o ControlMaster=auto \
                      -o ControlPath={dir}/%C -o ControlPersist=10m";

fn main() {
    // `cargo test --benches` runs this too; it measures nothing then.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    println!("medians (min - max) in ms; {READS} reads, {CLAIMS} claims, {CONNECTIONS} new connections\n");
    println!("| store | round trip | read | read, new connection | claim |\n|---|--:|--:|--:|--:|");
    for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
        git(round_trip);
    }
    if etcd::is_there() {
        for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
            over_etcd(round_trip);
        }
    }
}

fn git(round_trip: Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let (client, repository) = (Client::new(), directory.path().join("lease.git"));
    let sshd = Sshd::new(&client);
    let made = Command::new("git").args(["init", "-q", "-b", "main", "--bare"]).arg(&repository).status().expect("git");
    assert!(made.success());
    let relay = Relay::before(sshd.port(), round_trip);
    let alias = format!("-o HostKeyAlias=[127.0.0.1]:{}", sshd.port());
    let shared = SHARED.replace("{dir}", directory.path().to_str().expect("UTF-8"));
    let ssh = format!("ssh -F '{}' {alias} {shared}", client.config().display());
    let remote = format!("ssh://{}@127.0.0.1:{}{}", user(), relay.port(), repository.display());
    let open = || {
        let cache = directory.path().join("cache");
        GitRegister::open(&cache, &remote, "refs/mirror/bot", "bench", Some(&ssh)).expect("a register")
    };
    let disconnect = || {
        let exit = format!("{ssh} -O exit -p {} {}@127.0.0.1", relay.port(), user());
        let _ = Command::new("sh").args(["-c", &exit]).stderr(Stdio::null()).status();
        wait_until_gone(directory.path());
    };
    measure("git over ssh", round_trip, &|| Box::new(open()), &disconnect);
    disconnect();
}

/// The master removes its socket as it ends.
fn wait_until_gone(directory: &Path) {
    let is_socket = |name: &str| name.len() == 40;
    let sockets = || {
        let entries = std::fs::read_dir(directory).expect("a directory").flatten();
        entries.filter(|entry| is_socket(&entry.file_name().to_string_lossy())).count()
    };
    support::wait_for("the connection is closed", || (sockets() == 0).then_some(()));
}

fn over_etcd(round_trip: Duration) {
    let etcd = etcd::Etcd::new(3);
    let relays: Vec<Relay> = (0..3).map(|n| Relay::before(etcd.port(n), round_trip)).collect();
    let endpoints: Vec<String> = relays.iter().map(|relay| format!("http://127.0.0.1:{}", relay.port())).collect();
    let open = || -> Box<dyn Register> {
        let cluster = Cluster { endpoints: endpoints.clone(), ..etcd.cluster() };
        Box::new(EtcdRegister::new(cluster, "/mirror/bot").expect("a register"))
    };
    measure("etcd, 3 members", round_trip, &open, &|| ());
}

fn measure(store: &str, round_trip: Duration, open: &dyn Fn() -> Box<dyn Register>, disconnect: &dyn Fn()) {
    let soon = || Deadline::after(TIMEOUT);
    let register = open();
    let claim = || {
        let before = register.read(soon()).expect("read").map(|found| found.version);
        let text = format!("{{\"nonce\":\"{}\"}}", Nonce::fresh().expect("random bits"));
        let new = NewText { text: &text, summary: "claim" };
        timed(|| assert!(matches!(register.compare_and_swap(before.as_ref(), &new, soon()), CasOutcome::Won(_))))
    };
    claim();
    let reads: Vec<Duration> = (0..READS).map(|_| timed(|| drop(register.read(soon()).expect("read")))).collect();
    let claims: Vec<Duration> = (0..CLAIMS).map(|_| claim()).collect();
    let connections: Vec<Duration> = (0..CONNECTIONS)
        .map(|_| {
            disconnect();
            let register = open();
            timed(|| drop(register.read(soon()).expect("read")))
        })
        .collect();
    let row = [reads, connections, claims].map(spread);
    println!("| {store} | {} ms | {} |", round_trip.as_millis(), row.join(" | "));
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |time: &Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let of = |index: usize| times.get(index).map_or_else(String::new, ms);
    format!("{} ({} - {})", of((times.len() - 1) / 2), of(0), of(times.len() - 1))
}
