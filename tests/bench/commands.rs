//! What the commands cost as whole processes, beside the barest thing that does the same work.
//!
//! `cargo bench --bench commands [-- over-ssh|services]`. Each pair runs in turn, A B A B, so that a machine that slows
//! down slows both. The figures are medians with their spread; the ratio is taken pair by pair.

mod black_hole;
mod measure;
mod over_ssh;
mod services;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use black_hole::BlackHole;
use measure::{Unit, compare, compare_with, run, spread};

const MIRROR: &str = env!("CARGO_BIN_EXE_mirror");
const ROUNDS: usize = 31;
const FEW_ROUNDS: usize = 7;
const TIMEOUT: Duration = Duration::from_millis(750);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "bare-connect") {
        return bare_connect(&arguments[2]);
    }
    let directory = tempfile::tempdir().expect("a directory");
    match arguments.iter().map(String::as_str).find(|word| matches!(*word, "over-ssh" | "services")) {
        Some("over-ssh") => return over_ssh::measure(),
        Some(_) => return services::measure(),
        None => {}
    }
    println!("whole processes; medians of n runs (min – max), A and B in turn\n");
    start_up(directory.path());
    whois_brain(directory.path());
    probe(directory.path());
    breathe(directory.path());
    over_ssh::measure();
    services::measure();
}

// ---- the barest connect loop: one try each, until all have answered or the timeout has passed

fn bare_connect(list: &str) {
    let text = std::fs::read_to_string(list).expect("the list");
    let targets: Vec<SocketAddr> = text.lines().map(|line| line.parse().expect("an address")).collect();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let mut sockets = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
        let _ = rustix::net::connect(&socket, target);
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, socket.as_fd(), data, epoll::EventFlags::OUT).expect("added");
        sockets.push(Some(socket));
    }
    let deadline = Instant::now() + TIMEOUT;
    let (mut open, mut alive) = (targets.len(), 0);
    let mut events = Vec::with_capacity(256);
    while open > 0 && Instant::now() < deadline {
        let wait = rustix::event::Timespec::try_from(deadline - Instant::now()).expect("a time");
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)).expect("events");
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("an index");
            if let Some(socket) = sockets[index].take() {
                open -= 1;
                alive += usize::from(matches!(rustix::net::sockopt::socket_error(&socket), Ok(Ok(()))));
            }
        }
    }
    println!("{alive} of {}", targets.len());
}

// ---- the measurements

fn start_up(directory: &Path) {
    let list = node_list(directory, "five.toml", &(0..5).map(|i| loopback(20_000 + i)).collect::<Vec<_>>());
    let show = || mirror(&["chain", "show", "--config", &list, "--self", "n0"]);
    compare("chain show", &show, "/bin/true", &|| Command::new("/bin/true"), ROUNDS, Unit::Difference);
}

fn whois_brain(directory: &Path) {
    let live = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let holes: Vec<BlackHole> = (0..4).map(|_| BlackHole::new()).collect();
    let mut nodes: Vec<SocketAddr> = holes.iter().map(|hole| hole.address).collect();
    nodes.push(live.local_addr().expect("an address"));
    let last = node_list(directory, "last.toml", &nodes);
    nodes.rotate_right(1);
    let first = node_list(directory, "first.toml", &nodes);
    let bare = list_file(directory, "one", &nodes[..1]);
    let exe = std::env::current_exe().expect("this program");
    let connect = || {
        let mut command = Command::new(&exe);
        command.arg("bare-connect").arg(&bare);
        command
    };
    let head_alive = || mirror(&["whois-brain", "--config", &first, "--self", "n1"]);
    compare(
        "whois-brain, head alive, 4 black holes",
        &head_alive,
        "a bare connect",
        &connect,
        ROUNDS,
        Unit::Difference,
    );
    let four_dead = || mirror(&["whois-brain", "--config", &last, "--self", "n4"]);
    let taken: Vec<f64> = (0..FEW_ROUNDS).map(|_| run(four_dead()).0.as_secs_f64() / TIMEOUT.as_secs_f64()).collect();
    println!(
        "whois-brain, 4 of 4 predecessors black-holed: {} x probe.timeout (n = {FEW_ROUNDS})\n",
        spread(&taken, 3)
    );
}

fn probe(directory: &Path) {
    let exe = std::env::current_exe().expect("this program");
    let bare = |list: &str| {
        let mut command = Command::new(&exe);
        command.arg("bare-connect").arg(list);
        command
    };
    let listeners: Vec<TcpListener> =
        (0..1000).map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener")).collect();
    // Whoever accepts is another program; here the kernel's queue does.
    let live: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().expect("an address")).collect();
    let drain = |listeners: &[TcpListener]| {
        for listener in listeners {
            listener.set_nonblocking(true).expect("nonblocking");
            while listener.accept().is_ok() {}
        }
    };
    let list = node_list(directory, "live.toml", &live);
    let raw = list_file(directory, "live", &live);
    let after = || drain(&listeners);
    compare_with(
        "probe, 1,000 live",
        &|| mirror(&["probe", "--config", &list, "--self", "n0"]),
        "a bare epoll loop",
        &|| bare(&raw),
        FEW_ROUNDS,
        Unit::Ratio,
        &after,
    );

    let hole = BlackHole::wide();
    let dark: Vec<SocketAddr> = (0..1000).map(|i| hole.at(i)).collect();
    let list = node_list(directory, "dark.toml", &dark);
    let taken: Vec<(f64, u64)> = (0..FEW_ROUNDS)
        .map(|_| {
            let (took, peak) = run(mirror(&["probe", "--config", &list, "--self", "n0"]));
            (took.as_secs_f64() / TIMEOUT.as_secs_f64(), peak)
        })
        .collect();
    let ratios: Vec<f64> = taken.iter().map(|(ratio, _)| *ratio).collect();
    println!("probe, 1,000 black-holed: {} x probe.timeout (n = {FEW_ROUNDS})\n", spread(&ratios, 3));

    let mut mixed: Vec<SocketAddr> = live;
    mixed.extend((0..4500).map(|i| hole.at(i)));
    // Nobody listens on port 1.
    mixed.extend((0..4500).map(|i| SocketAddr::from(([127, 2, (i / 250) as u8, (i % 250 + 1) as u8], 1))));
    let list = node_list(directory, "mixed.toml", &mixed);
    let taken: Vec<(f64, u64)> = (0..FEW_ROUNDS)
        .map(|_| {
            let (took, peak) = run(mirror(&["probe", "--config", &list, "--self", "n0"]));
            drain(&listeners);
            (took.as_secs_f64() / TIMEOUT.as_secs_f64(), peak)
        })
        .collect();
    let ratios: Vec<f64> = taken.iter().map(|(ratio, _)| *ratio).collect();
    let peak = taken.iter().map(|(_, peak)| *peak).max().unwrap_or(0);
    println!(
        "probe, 10,000 mixed (1,000 live, 4,500 black-holed, 4,500 refused): {} x probe.timeout, peak {} MiB (n = {FEW_ROUNDS})\n",
        spread(&ratios, 3),
        peak / 1024
    );
}

fn breathe(directory: &Path) {
    let git = |words: &[&str]| {
        let status = Command::new("git").args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "git {words:?}");
    };
    let bare = directory.join("shared.git");
    let clone = directory.join("clone");
    let (bare, clone) = (bare.to_str().expect("UTF-8"), clone.to_str().expect("UTF-8"));
    git(&["init", "-q", "--bare", "-b", "main", bare]);
    git(&["clone", "-q", bare, clone]);
    git(&[
        "-C",
        clone,
        "-c",
        "user.name=n",
        "-c",
        "user.email=n@localhost",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "first",
    ]);
    git(&["-C", clone, "branch", "-M", "main"]);
    git(&["-C", clone, "push", "-q", "-u", "origin", "main"]);
    let list = node_list(directory, "breath.toml", &[loopback(20_000)]);
    let breathe = || mirror(&["breathe", "--config", &list, "--self", "n0", "--repo", clone]);
    let by_hand = || {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("cd '{clone}' && git pull -q --rebase && git push -q"));
        command
    };
    compare("idle breathe, by path", &breathe, "git pull --rebase && git push", &by_hand, ROUNDS, Unit::Ratio);
}

// ---- the things measured against

fn mirror(words: &[&str]) -> Command {
    let mut command = Command::new(MIRROR);
    command.args(words);
    for variable in ["MIRROR_CONFIG", "MIRROR_SELF"] {
        command.env_remove(variable);
    }
    command
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn list_file(directory: &Path, name: &str, targets: &[SocketAddr]) -> String {
    let path = directory.join(name);
    let mut file = std::fs::File::create(&path).expect("a file");
    for target in targets {
        writeln!(file, "{target}").expect("written");
    }
    path.to_str().expect("UTF-8").to_owned()
}

fn node_list(directory: &Path, name: &str, targets: &[SocketAddr]) -> String {
    let path = directory.join(name);
    let mut text = format!("[cycle]\ncheck = \"1s\"\n[probe]\ntimeout = \"{}ms\"\n[nodes]\n", TIMEOUT.as_millis());
    for (index, target) in targets.iter().enumerate() {
        let _ = writeln!(text, "n{index} = {{ address = \"{}\", port = {} }}", target.ip(), target.port());
    }
    let chain: Vec<String> = (0..targets.len().min(5)).map(|index| format!("\"n{index}\"")).collect();
    let _ = writeln!(text, "[chains]\nbrain = [{}]", chain.join(", "));
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}
