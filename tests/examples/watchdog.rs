//! `watchdog.sh`: five nodes that are listeners, and a service that is a file on each.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, command, example, left, place, skip, there_is, until};

const NODES: [&str; 5] = ["amsterdam", "moscow", "almaty", "spb", "novosibirsk"];
/// Long after any step, and long before a breath that hangs gives up.
const AT_ONCE: Duration = Duration::from_secs(10);

struct Watched {
    place: TempDir,
    listeners: Vec<Option<TcpListener>>,
    watchdog: Option<Child>,
}

impl Watched {
    /// Five nodes; `more` is added to their node list.
    fn new(service: &str, more: &str) -> Self {
        let place = place();
        let root = place.path();
        let listeners: Vec<_> = NODES.map(|_| Some(TcpListener::bind("127.0.0.1:0").unwrap())).into();
        let mut list = "[nodes]\n".to_owned();
        for (name, listener) in NODES.iter().zip(&listeners) {
            let port = listener.as_ref().unwrap().local_addr().unwrap().port();
            list += &format!("{name} = {{ address = \"127.0.0.1\", port = {port} }}\n");
            fs::create_dir(root.join(name)).unwrap();
        }
        list += "[chains]\n\
            brain = [\"moscow\", \"almaty\", \"spb\", \"novosibirsk\", \"amsterdam\"]\n\
            bot = [\"amsterdam\", \"almaty\", \"spb\", \"novosibirsk\", \"moscow\"]\n";
        let there = root.join("{node}");
        list += &format!(
            "[remote]\ncommand = [\"sh\", \"-c\", 'cd \"$1\" && exec sh -c \"$2\"', \"sh\", {there:?}, \"{{command}}\"]\n"
        );
        fs::write(root.join("mirror.toml"), list + service + more).unwrap();
        Self { place, listeners, watchdog: None }
    }

    fn root(&self) -> &Path {
        self.place.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The watchdog of moscow, by this shell.
    fn watch(&mut self, shell: &str, check: &str, sync: &str) {
        let mut watchdog = command(shell, self.root());
        watchdog.arg(example("watchdog.sh")).current_dir(self.file("moscow"));
        watchdog.env("MIRROR_CONFIG", self.file("mirror.toml")).env("MIRROR_SELF", "moscow");
        watchdog.env("CHECK_INTERVAL", check).env("SYNC_INTERVAL", sync);
        watchdog.stdout(File::create(self.file("out")).unwrap()).stderr(File::create(self.file("err")).unwrap());
        self.watchdog = Some(watchdog.spawn().unwrap());
    }

    fn said(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("out")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
    }

    fn count(&self, schema: &str) -> usize {
        self.said().iter().filter(|object| object["schema"] == schema).count()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.file("err")).unwrap()
    }

    fn runs_on(&self, node: &str) -> bool {
        self.file(node).join("running").exists()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.watchdog.as_ref().unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.watchdog.as_mut().unwrap().try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < AT_ONCE, "it runs on: {:?}", left(self.root()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it by a signal, and sees that nothing is left.
    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        assert_eq!(self.ended().code(), Some(0), "{}", self.errors());
        // git is told by the death of its parent, and takes a moment.
        until("nothing to be left", AT_ONCE, || left(self.root()).is_empty());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = kill_process(Pid::from_child(&watchdog), Signal::TERM);
            let _ = watchdog.wait();
        }
    }
}

const SERVICE: &str = "[services.bot]\n\
    status = \"test -e running\"\nstart = \"touch running\"\nstop = \"rm -f running\"\n";

/// A clone whose remote is a listener that accepts and says nothing.
fn hanging_clone(watched: &Watched) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/nothing.git", silent.local_addr().unwrap());
    git(watched, &["init", "-q", "-b", "main"]);
    git(watched, &["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty", "-m", "x"]);
    git(watched, &["remote", "add", "origin", &url]);
    silent
}

fn git(watched: &Watched, arguments: &[&str]) {
    let git = command("git", watched.root()).current_dir(watched.file("moscow")).args(arguments).status();
    assert!(git.unwrap().success(), "git {arguments:?}");
}

#[test]
fn a_service_moves_when_its_node_falls_and_every_line_is_an_object() {
    for shell in ["dash", "bash", "busybox"] {
        if !there_is(shell) {
            skip(&format!("{shell} is not installed"));
            continue;
        }
        let mut watched = Watched::new(SERVICE, "");
        let bare = watched.file("bare.git");
        git(&watched, &["init", "-q", "-b", "main", "--bare", bare.to_str().unwrap()]);
        git(&watched, &["clone", "-q", bare.to_str().unwrap(), "."]);
        // busybox is called with the shell's name.
        if shell == "busybox" {
            std::os::unix::fs::symlink("/bin/busybox", watched.file("bin/ash")).unwrap();
        }
        watched.watch(if shell == "busybox" { "ash" } else { shell }, "0.2", "0.3");
        until("the service to run on amsterdam", PATIENCE, || watched.runs_on("amsterdam"));
        watched.listeners[0] = None;
        until("the service to run on almaty", PATIENCE, || watched.runs_on("almaty"));
        watched.listeners[2] = None;
        until("the service to run on spb", PATIENCE, || watched.runs_on("spb"));
        until("two breaths", PATIENCE, || watched.count("mirror.breathe/1") >= 2);
        watched.end(Signal::TERM);
        let said = watched.said();
        assert!(said.iter().all(|object| object["self"] == "moscow"), "{said:?}");
        assert_eq!(said.len(), watched.count("mirror.breathe/1") + watched.count("mirror.promote/1"));
    }
}

#[test]
fn a_remote_that_hangs_delays_no_failover_and_no_end() {
    let mut watched = Watched::new(SERVICE, "[breath]\ntimeout = \"1h\"\n");
    let silent = hanging_clone(&watched);
    watched.watch("dash", "0.1", "0.1");
    // The breath hangs from here on.
    let _connection = silent.accept().unwrap();
    until("the service to run on amsterdam", PATIENCE, || watched.runs_on("amsterdam"));
    watched.listeners[0] = None;
    until("the service to run on almaty", PATIENCE, || watched.runs_on("almaty"));
    let checks = watched.count("mirror.promote/1");
    until("ten more checks", PATIENCE, || watched.count("mirror.promote/1") >= checks + 10);
    assert_eq!(watched.count("mirror.breathe/1"), 0);
    assert!(left(watched.root()).iter().any(|process| process.contains("fetch")), "{:?}", left(watched.root()));
    watched.end(Signal::TERM);
}

#[test]
fn a_check_that_hangs_ends_with_it_too() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let service =
            "[services.bot]\nstatus = \"exec sleep 1000\"\nstart = \"true\"\nstop = \"true\"\ntimeout = \"1h\"\n";
        let mut watched = Watched::new(service, "");
        watched.watch("dash", "0.1", "3600");
        // The shells that carry the program there have the words among their arguments too.
        let hangs = |process: &&String| process.trim_end().ends_with(": sleep 1000");
        let hangs = || left(watched.root()).iter().filter(hangs).count();
        until("a check to hang on all nodes", PATIENCE, || hangs() == NODES.len());
        watched.end(signal);
    }
}

#[test]
fn what_is_wrong_is_said_once_and_the_rest_goes_on() {
    // No service, and no repository.
    let mut watched = Watched::new("", "");
    watched.watch("dash", "0.05", "0.05");
    let times = |words: &str| watched.errors().matches(words).count();
    until("checks and breaths to go on", PATIENCE, || times("no service to promote") > 3 && times("not a git") > 3);
    assert_eq!(times("check: unknown (status 2)"), 1, "{}", watched.errors());
    assert_eq!(times("breathe: unknown (status "), 1, "{}", watched.errors());
    // As soon as there is one, the checks answer.
    let list = watched.file("mirror.toml");
    let text = fs::read_to_string(&list).unwrap() + SERVICE;
    fs::write(watched.file("new.toml"), text).unwrap();
    fs::rename(watched.file("new.toml"), list).unwrap();
    until("the service to run", PATIENCE, || watched.runs_on("amsterdam"));
    until("it to be said", PATIENCE, || times("check: known") == 1);
    watched.end(Signal::TERM);
}

#[test]
fn checks_keep_their_pace_and_never_overlap() {
    // Each check takes most of its interval, and does not add it.
    let service = "[services.bot]\nstatus = \"sleep 0.6; test -e running\"\n\
        start = \"touch running\"\nstop = \"rm -f running\"\ntimeout = \"1m\"\n";
    let mut watched = Watched::new(service, "");
    watched.watch("dash", "1", "3600");
    until("the service to run", PATIENCE, || watched.runs_on("amsterdam"));
    let before = watched.count("mirror.promote/1");
    until("nine more checks", PATIENCE, || watched.count("mirror.promote/1") > before + 9);
    watched.end(Signal::TERM);
    let at = |object: &Value| humantime::parse_rfc3339(object["at"].as_str().unwrap()).unwrap();
    let took = |object: &Value| Duration::from_secs_f64(object["elapsed_ms"].as_f64().unwrap() / 1000.0);
    // The first of them starts the service and has more to do.
    let said = watched.said().split_off(before + 1);
    let mut gaps: Vec<Duration> = Vec::new();
    for pair in said.windows(2) {
        let gap = at(&pair[1]).duration_since(at(&pair[0])).unwrap();
        // The wall clock is written down to the millisecond.
        assert!(gap + Duration::from_millis(2) >= took(&pair[0]), "{pair:?}");
        gaps.push(gap);
    }
    gaps.sort();
    // The median, since a busy machine may hold up some. In a row, a check and a pause take 1.6 s.
    let median = gaps[gaps.len() / 2];
    assert!(median >= Duration::from_millis(950) && median < Duration::from_millis(1400), "{gaps:?}");
}

#[test]
fn killed_it_leaves_nothing_for_long() {
    let mut watched = Watched::new(SERVICE, "");
    watched.watch("dash", "0.1", "0.1");
    until("the service to run", PATIENCE, || watched.runs_on("amsterdam"));
    watched.signal(Signal::KILL);
    watched.ended();
    until("the loop of breaths to end", PATIENCE, || left(watched.root()).is_empty());
}

#[test]
fn an_interval_that_is_none_is_a_misuse() {
    for interval in ["5s", "-1", "0", "0.0", ".", "1.2.3", "five", "1e3", "$(date)"] {
        let mut watched = Watched::new(SERVICE, "");
        watched.watch("dash", interval, "12");
        assert_eq!(watched.ended().code(), Some(2), "{interval}");
        assert!(watched.errors().contains("CHECK_INTERVAL"), "{interval}: {}", watched.errors());
        assert!(watched.said().is_empty());
    }
}
