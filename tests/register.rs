//! One suite for all stores, each of them real, and then the peculiarities of each store.
//!
//! `MIRROR_ROUNDS` sets how often 20 clients race for one swap.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use three_mirror::clock::Deadline;
use three_mirror::lease::codec::{LeaseRegister, SwapDeadlines, SwapOutcome, encode};
use three_mirror::lease::{LeaseRecord, LeaseState, LeaseView, Nonce, Observation, Regression};
use three_mirror::name::Name;
use three_mirror::register::etcd::{Cluster, EtcdRegister};
use three_mirror::register::file::FileRegister;
use three_mirror::register::git::GitRegister;
use three_mirror::register::{CasOutcome, NewText, Register, StoreError, Version, VersionedText};

#[path = "register/etcd.rs"]
pub(crate) mod etcd;
#[path = "register/many.rs"]
mod many;

use crate::support::sockets::{Chatty, Port};
use crate::support::sshd::{Client, Sshd};
use crate::support::{LONG, wait_for};
use etcd::{Cutter, Etcd};

const REF: &str = "refs/mirror/bot";
const RACERS: usize = 20;
/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_millis(400);

/// A store with one register, seen by many machines.
trait TestStore: Sync {
    /// One machine's connection to it.
    fn open(&self) -> Box<dyn Register + Send>;
    /// Replaces the content without compare-and-swap; with none, deletes it.
    fn overwrite(&self, text: Option<&str>);
}

fn soon() -> Deadline {
    Deadline::after(LONG)
}

fn bot() -> Name {
    "bot".parse().unwrap()
}

fn record(holder: &str, epoch: u64) -> LeaseRecord {
    LeaseRecord {
        holder: holder.parse().unwrap(),
        epoch,
        state: LeaseState::Claimed,
        previous_holder: None,
        nonce: Nonce::fresh().unwrap(),
        by: "tester".to_owned(),
        why: Some("because".to_owned()),
        at: "2026-01-01T00:00:00.000Z".to_owned(),
    }
}

fn swap(register: &dyn Register, expected: Option<&Version>, new: &LeaseRecord) -> SwapOutcome {
    swap_by(register, expected, new, SwapDeadlines { swap: soon(), verify: soon() })
}

fn swap_by(
    register: &dyn Register,
    expected: Option<&Version>,
    new: &LeaseRecord,
    deadlines: SwapDeadlines,
) -> SwapOutcome {
    LeaseRegister { register, service: &bot() }.swap(expected, new, deadlines)
}

fn observe(register: &dyn Register, deadline: Deadline) -> Result<Observation, StoreError> {
    LeaseRegister { register, service: &bot() }.read(deadline)
}

fn history(register: &dyn Register, max: usize) -> Vec<LeaseRecord> {
    let found = LeaseRegister { register, service: &bot() }.history(max, soon()).unwrap();
    found.into_iter().map(|found| found.value).collect()
}

fn read(register: &dyn Register) -> Option<(Version, LeaseRecord)> {
    let observation = observe(register, soon()).unwrap();
    assert!(observation.began <= observation.ended);
    observation.found.map(|found| (found.version, found.value))
}

fn won(swapped: SwapOutcome) -> Version {
    match swapped {
        SwapOutcome::Won(written) => written.found.unwrap().version,
        other => panic!("not won: {other:?}"),
    }
}

fn lost(swapped: SwapOutcome) -> Option<LeaseRecord> {
    match swapped {
        SwapOutcome::Lost(observation) => observation.found.map(|found| found.value),
        other => panic!("not lost: {other:?}"),
    }
}

/// Everything that every store must do alike.
fn conforms(place: &dyn TestStore, rounds: usize) {
    let begun = Instant::now();
    is_created_once_and_replaced_by_comparison(place);
    lost_acknowledgements_are_recognised(place);
    is_written_twice_in_a_second(place);
    has_one_winner(place, rounds);
    a_regression_is_not_obeyed(place);
    foreign_content_is_not_obeyed(place);
    refuses_what_could_not_be_read_again(place);
    println!("{rounds} rounds and the rest: {:?}", begun.elapsed());
}

fn is_created_once_and_replaced_by_comparison(place: &dyn TestStore) {
    let (a, b) = (place.open(), place.open());
    let [one, two, three] = [record("a", 1), record("b", 1), record("b", 2)];
    assert_eq!(read(&*a), None);
    let first = won(swap(&*a, None, &one));
    assert_eq!(lost(swap(&*b, None, &two)), Some(one.clone()));
    assert_eq!(read(&*b), Some((first.clone(), one)));
    let second = won(swap(&*b, Some(&first), &three));
    assert_eq!(lost(swap(&*a, Some(&first), &two)), Some(three.clone()));
    assert_eq!(read(&*a), Some((second.clone(), three.clone())));
    assert_eq!(read(&*a), Some((second.clone(), three.clone())), "a second time, from what is kept");
    assert_eq!(read(&*place.open()), Some((second, three)));
}

/// A register whose answers to a swap are lost.
#[derive(Debug)]
struct LosesAnswers<'a> {
    register: &'a dyn Register,
    /// What another brain writes before we read.
    then: Option<&'a LeaseRecord>,
    /// Whether the question is lost too.
    loses_question: bool,
}

impl Register for LosesAnswers<'_> {
    fn read(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError> {
        self.register.read(deadline)
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        if !self.loses_question {
            let swapped = self.register.compare_and_swap(expected, new, deadline);
            assert!(matches!(swapped, CasOutcome::Won(_)), "{swapped:?}");
        }
        if let Some(then) = self.then {
            let (version, _) = read(self.register).unwrap();
            won(swap(self.register, Some(&version), then));
        }
        CasOutcome::Unknown(StoreError::Failed("no answer".to_owned()))
    }

    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        self.register.history(max, deadline)
    }
}

fn lost_acknowledgements_are_recognised(place: &dyn TestStore) {
    let register = place.open();
    let (version, held) = read(&*register).unwrap();
    let [mine, theirs, never] = [record("a", 3), record("b", 4), record("a", 5)];
    let loses = |then, loses_question| LosesAnswers { register: &*register, then, loses_question };
    let mine_at = won(swap(&loses(None, false), Some(&version), &mine));
    assert_eq!(read(&*register), Some((mine_at.clone(), mine)));
    // Done, but already replaced: it is not in force.
    let again = record("a", 3);
    assert_eq!(lost(swap(&loses(Some(&theirs), false), Some(&mine_at), &again)), Some(theirs.clone()));
    // Not done, and nothing else was written: it may yet take effect.
    let (version, _) = read(&*register).unwrap();
    let swapped = swap(&loses(None, true), Some(&version), &never);
    assert!(matches!(swapped, SwapOutcome::Unknown(_)), "{swapped:?}");
    assert_ne!(held, theirs);
}

fn is_written_twice_in_a_second(place: &dyn TestStore) {
    let (a, b) = (place.open(), place.open());
    let (version, _) = read(&*a).unwrap();
    // The same in all but the nonce.
    let [one, two] = [record("c", 6), record("c", 6)];
    assert_eq!(LeaseRecord { nonce: one.nonce, ..two.clone() }, one);
    won(swap(&*a, Some(&version), &one));
    assert_eq!(lost(swap(&*b, Some(&version), &two)), Some(one));
}

fn has_one_winner(place: &dyn TestStore, rounds: usize) {
    let (version, held) = read(&*place.open()).unwrap();
    let (line, mut epoch) = (Barrier::new(RACERS), held.epoch);
    let mut last = version;
    let racers: Vec<_> = (0..RACERS).map(|_| std::sync::Mutex::new(place.open())).collect();
    for _ in 0..rounds {
        epoch += 1;
        let winners: Vec<(Version, LeaseRecord)> = std::thread::scope(|scope| {
            let race = |racer: &std::sync::Mutex<Box<dyn Register + Send>>| {
                let (racer, new) = (racer.lock().unwrap(), record("a", epoch));
                line.wait();
                match swap(&**racer, Some(&last), &new) {
                    SwapOutcome::Won(reading) => Some((reading.found.unwrap().version, new)),
                    SwapOutcome::Lost(reading) => {
                        assert_ne!(reading.found.map(|found| found.version).as_ref(), Some(&last));
                        None
                    }
                    SwapOutcome::Unknown(error) => panic!("{error}"),
                }
            };
            let threads: Vec<_> = racers.iter().map(|racer| scope.spawn(move || race(racer))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(read(&*place.open()).as_ref(), winners.first());
        last = winners[0].0.clone();
    }
}

fn a_regression_is_not_obeyed(place: &dyn TestStore) {
    let register = place.open();
    let (version, older) = read(&*register).unwrap();
    let newer = record("a", older.epoch + 1);
    won(swap(&*register, Some(&version), &newer));
    let mut lease_view = LeaseView::default();
    let look = || observe(&*register, soon()).unwrap();
    lease_view.observe(look()).unwrap();
    place.overwrite(Some(&encode(&bot(), &older)));
    assert_eq!(lease_view.observe(look()), Err(Regression::Rewound { from: newer.epoch, to: older.epoch }));
    place.overwrite(Some(&encode(&bot(), &record("b", newer.epoch))));
    assert_eq!(lease_view.observe(look()), Err(Regression::Forked(newer.epoch)));
    place.overwrite(None);
    assert_eq!(lease_view.observe(look()), Err(Regression::Gone(newer.epoch)));
    place.overwrite(Some(&encode(&bot(), &newer)));
    lease_view.observe(look()).unwrap();
}

fn foreign_content_is_not_obeyed(place: &dyn TestStore) {
    let register = place.open();
    let web = encode(&"web".parse().unwrap(), &record("a", 9));
    for text in ["", "hello", "{\"schema\":\"mirror.lease/9\"}", &web] {
        place.overwrite(Some(text));
        let error = observe(&*register, soon()).unwrap_err();
        assert!(matches!(error, StoreError::Foreign(_)), "{text:?}: {error:?}");
        let swapped = swap(&*register, None, &record("a", 1));
        assert!(matches!(swapped, SwapOutcome::Unknown(StoreError::Foreign(_))), "{text:?}: {swapped:?}");
        assert_eq!(register.read(soon()).unwrap().unwrap().value, text);
    }
}

fn refuses_what_could_not_be_read_again(place: &dyn TestStore) {
    place.overwrite(None);
    let register = place.open();
    let first = won(swap(&*register, None, &record("a", 1)));
    let long = LeaseRecord { why: Some("w".repeat(70_000)), ..record("b", 2) };
    for unreadable in [long, record("b", 1 << 53)] {
        let refused = swap(&*register, Some(&first), &unreadable);
        assert!(matches!(refused, SwapOutcome::Unknown(_)), "{refused:?}");
        let (version, held) = read(&*register).unwrap();
        assert_eq!((version, held.epoch), (first.clone(), 1));
    }
    // The longest that is let through can be read.
    let why = Some("w".repeat(65_000));
    won(swap(&*register, Some(&first), &LeaseRecord { why: why.clone(), ..record("b", 2) }));
    assert_eq!(read(&*register).unwrap().1.why, why);
    assert_eq!(history(&*register, usize::MAX)[0].epoch, 2);
}

fn rounds(default: usize) -> usize {
    std::env::var("MIRROR_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Checks that reads and swaps end in time and without a result.
fn is_unusable(register: &dyn Register) {
    let begun = Instant::now();
    let read = register.read(Deadline::after(SHORT));
    assert!(matches!(read, Err(StoreError::Failed(_))), "{read:?}");
    let new = record("a", 1);
    let deadline = Deadline::after(SHORT);
    let swapped = swap_by(register, None, &new, SwapDeadlines { swap: deadline, verify: deadline });
    assert!(matches!(swapped, SwapOutcome::Unknown(StoreError::Failed(_))), "{swapped:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

// The file.

struct InFile(TempDir);

impl InFile {
    fn path(&self) -> PathBuf {
        self.0.path().join("bot")
    }
}

impl TestStore for InFile {
    fn open(&self) -> Box<dyn Register + Send> {
        Box::new(FileRegister::new(self.path()))
    }

    fn overwrite(&self, text: Option<&str>) {
        match text {
            Some(text) => std::fs::write(self.path(), text).unwrap(),
            None => std::fs::remove_file(self.path()).unwrap(),
        }
    }
}

#[test]
fn a_file_is_a_register() {
    conforms(&InFile(tempfile::tempdir().unwrap()), rounds(100));
}

#[test]
fn a_file_that_another_process_holds_is_unusable() {
    let place = InFile(tempfile::tempdir().unwrap());
    let lock = std::fs::File::create(place.0.path().join("bot.lock")).unwrap();
    lock.lock().unwrap();
    is_unusable(&*place.open());
    drop(lock);
    won(swap(&*place.open(), None, &record("a", 1)));
}

#[test]
fn a_named_pipe_does_not_hang_the_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bot");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let (sender, answer) = std::sync::mpsc::channel();
    let register = FileRegister::new(&path);
    // A hanging read cannot be cancelled; the thread ends with the process.
    std::thread::spawn(move || sender.send(register.read(soon())));
    let answer = answer.recv_timeout(LONG).expect("it is read in time");
    assert!(matches!(answer, Err(StoreError::Foreign(_))), "{answer:?}");
}

#[test]
fn a_file_without_a_directory_is_unusable() {
    let place = InFile(tempfile::tempdir().unwrap());
    is_unusable(&FileRegister::new(place.0.path().join("no/such/bot")));
}

/// What [`a_file_survives_a_killed_writer`] kills.
#[test]
#[ignore = "a part of another test"]
fn writes_until_it_is_killed() {
    let register = FileRegister::new(std::env::var_os("MIRROR_TEST_FILE").unwrap());
    for epoch in 1.. {
        let version = read(&register).map(|(version, _)| version);
        won(swap(&register, version.as_ref(), &record("a", epoch)));
    }
}

#[test]
fn a_file_survives_a_killed_writer() {
    let place = InFile(tempfile::tempdir().unwrap());
    for round in 0..20 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "register::writes_until_it_is_killed", "--ignored"])
            .env("MIRROR_TEST_FILE", place.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let before = std::fs::read(place.path()).ok();
        wait_for("it has written", || (std::fs::read(place.path()).ok() != before).then_some(()));
        std::thread::sleep(Duration::from_micros(137 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let (version, held) = read(&*place.open()).unwrap();
        won(swap(&*place.open(), Some(&version), &record("b", held.epoch + 1)));
    }
}

// The git remote.

struct InGit {
    directory: TempDir,
    url: Option<String>,
    ssh: Option<String>,
    opened: std::sync::atomic::AtomicUsize,
}

impl InGit {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), &["init", "--quiet", "-b", "main", "--bare", "remote"], b"");
        Self { directory, url: None, ssh: None, opened: 0.into() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("remote")
    }

    fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        git(&self.path(), arguments, input)
    }

    /// A commit with this message and this parent.
    fn commit(&self, message: &str, parents: &[&str]) -> String {
        let tree = self.git(&["hash-object", "-w", "-t", "tree", "--stdin"], b"");
        let mut words = vec!["-c", "user.name=x", "-c", "user.email=x", "commit-tree", &tree];
        words.extend(parents.iter().flat_map(|parent| ["-p", parent]));
        self.git(&words, message.as_bytes())
    }

    fn connect(&self) -> GitRegister {
        let n = self.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let cache = self.directory.path().join(format!("caches/{n}"));
        let url = self.url.clone().unwrap_or_else(|| self.path().display().to_string());
        GitRegister::open(&cache, &url, REF, "tester", self.ssh.as_deref()).unwrap()
    }

    /// In place of ssh, a script that is given the command as `$command`. It counts its calls.
    fn through(&mut self, script: &str) {
        let path = self.directory.path().join("ssh");
        let calls = self.directory.path().join("calls");
        let head = "#!/bin/sh\nfor command; do :; done\n";
        std::fs::write(&path, format!("{head}echo \"$command\" >> {}\n{script}\n", calls.display())).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        self.ssh = Some(path.display().to_string());
        self.url = Some(format!("ssh://nowhere.invalid{}", self.path().display()));
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl TestStore for InGit {
    fn open(&self) -> Box<dyn Register + Send> {
        Box::new(self.connect())
    }

    fn overwrite(&self, text: Option<&str>) {
        match text {
            Some(text) => {
                let commit = self.commit(text, &[]);
                self.git(&["update-ref", REF, &commit], b"");
            }
            None => drop(self.git(&["update-ref", "-d", REF], b"")),
        }
    }
}

fn git(directory: &Path, arguments: &[&str], input: &[u8]) -> String {
    use std::io::Write;
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_git_remote_is_a_register() {
    conforms(&InGit::new(), rounds(5));
}

#[test]
fn a_git_remote_over_ssh_is_a_register() {
    let client = Client::new();
    let sshd = Sshd::new(&client);
    let mut place = InGit::new();
    place.url =
        Some(format!("ssh://{}@127.0.0.1:{}{}", crate::support::sshd::user(), sshd.port(), place.path().display()));
    // Shared, as ours are: a new connection for each of hundreds of pushes takes minutes. The shared
    // one ends with the server.
    let share = format!("-o ControlMaster=auto -o ControlPersist=60 -o ControlPath='{}/%C'", client.path().display());
    place.ssh = Some(format!("{} {share}", client.git_ssh_command()));
    conforms(&place, rounds(1));
    place.overwrite(Some(&encode(&bot(), &record("a", 1))));
    let register = place.open();
    assert!(read(&*register).is_some());
    sshd.freeze();
    is_unusable(&*register);
    drop(sshd);
    is_unusable(&*register);
}

/// Prints the medians; a loaded machine makes no promise.
#[test]
#[ignore = "a measurement"]
fn a_quiet_read_costs_what_a_bare_list_costs() {
    let client = Client::new();
    let sshd = Sshd::new(&client);
    let mut place = InGit::new();
    let url = format!("ssh://{}@127.0.0.1:{}{}", crate::support::sshd::user(), sshd.port(), place.path().display());
    place.url = Some(url.clone());
    let share = format!("-o ControlMaster=auto -o ControlPersist=60 -o ControlPath='{}/%C'", client.path().display());
    let ssh = format!("{} {share}", client.git_ssh_command());
    place.ssh = Some(ssh.clone());
    let register = place.open();
    won(swap(&*register, None, &record("a", 1)));
    let (mut reads, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let begun = Instant::now();
        assert!(read(&*register).is_some());
        reads.push(begun.elapsed());
        let begun = Instant::now();
        let listed = Command::new("git").args(["ls-remote", &url, REF]).env("GIT_SSH_COMMAND", &ssh).output().unwrap();
        lists.push(begun.elapsed());
        assert!(listed.status.success() && !listed.stdout.is_empty());
    }
    reads.sort();
    lists.sort();
    println!("read {:?}, bare list {:?}: {:.3}", reads[50], lists[50], reads[50].div_duration_f64(lists[50]));
    assert_eq!(sshd.logins(), 1, "the connection is shared");
}

#[test]
fn a_quiet_read_of_a_git_remote_is_one_list() {
    let mut place = InGit::new();
    place.through("exec sh -c \"$command\"");
    let register = place.open();
    won(swap(&*register, None, &record("a", 1)));
    let other = place.open();
    assert!(read(&*other).is_some());
    let before = place.calls().len();
    assert!(read(&*register).is_some());
    assert!(read(&*other).is_some());
    let calls = place.calls();
    assert_eq!(calls.len(), before + 2, "{calls:?}");
    assert!(calls[before].starts_with("git-upload-pack"), "{calls:?}");
}

#[test]
fn a_damaged_git_cache_is_recreated() {
    let place = InGit::new();
    won(swap(&place.connect(), None, &record("a", 1)));
    // As after a power loss, or an edit by hand.
    let damages: [fn(&Path); 5] = [
        |cache| {
            for directory in std::fs::read_dir(cache.join(".git/objects")).unwrap() {
                for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
                    let file = file.unwrap().path();
                    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
                    std::fs::File::create(file).unwrap();
                }
            }
        },
        |cache| std::fs::write(cache.join(".git/config"), "[[[").unwrap(),
        |cache| drop(std::fs::File::create(cache.join(".git/HEAD")).unwrap()),
        |cache| std::fs::remove_file(cache.join(".git/HEAD")).unwrap(),
        |cache| {
            std::fs::remove_dir_all(cache).unwrap();
            std::fs::write(cache, "").unwrap();
        },
    ];
    let cache = place.directory.path().join("cache");
    for (number, damage) in damages.into_iter().enumerate() {
        let open = || GitRegister::open(&cache, place.path().to_str().unwrap(), REF, "tester", None).unwrap();
        assert!(read(&open()).is_some());
        damage(&cache);
        let register = open();
        let (version, found) = read(&register).unwrap_or_else(|| panic!("nothing after damage {number}"));
        let epoch = u64::try_from(number).unwrap() + 2;
        assert_eq!(found.epoch + 1, epoch);
        won(swap(&register, Some(&version), &record("a", epoch)));
    }
}

#[test]
fn the_ref_of_a_git_remote_is_its_log() {
    let place = InGit::new();
    let register = place.open();
    let mut version = None;
    let mut all = Vec::new();
    for epoch in 1..=5 {
        let new = record("a", epoch);
        version = Some(won(swap(&*register, version.as_ref(), &new)));
        all.insert(0, new);
    }
    assert_eq!(history(&*place.open(), 100), all);
    assert_eq!(history(&*place.open(), 2), all[..2]);
    let log = place.git(&["log", "--format=%an %s", REF], b"");
    assert!(log.starts_with("tester bot: claimed for a in epoch 5 by tester\n"), "{log}");
    place.git(&["fsck", "--strict"], b"");
}

#[test]
fn other_objects_in_a_git_ref_are_foreign() {
    let place = InGit::new();
    let register = place.open();
    let tree = place.git(&["hash-object", "-w", "-t", "tree", "--stdin"], b"");
    let blob = place.git(&["hash-object", "-w", "--stdin"], b"hello");
    let commit = place.commit("an\n\nordinary commit\n", &[]);
    let tag =
        place.git(&["mktag"], format!("object {commit}\ntype commit\ntag t\ntagger x <x> 0 +0000\n\nt\n").as_bytes());
    for object in [tree, blob, tag, commit] {
        place.git(&["update-ref", REF, &object], b"");
        let error = observe(&*register, soon()).unwrap_err();
        assert!(matches!(error, StoreError::Foreign(_)), "{object}: {error:?}");
    }
    // Other refs that end with the same path are ignored.
    place.overwrite(None);
    let commit = place.commit("x", &[]);
    place.git(&["update-ref", "refs/heads/refs/mirror/bot", &commit], b"");
    assert_eq!(read(&*register), None);
}

#[test]
fn a_push_whose_acknowledgement_is_lost_was_done() {
    let place = InGit::new();
    let register = place.open();
    // The ref has moved when this runs; it ends with the directory at the latest.
    let gate = place.directory.path().join("gate");
    std::fs::write(&gate, "").unwrap();
    let hook = place.path().join("hooks/post-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\nwhile [ -e {} ]; do sleep 0.05; done\n", gate.display())).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let new = record("a", 1);
    let deadline = Deadline::after(Duration::from_secs(3));
    let swapped = swap_by(&*register, None, &new, SwapDeadlines { swap: deadline, verify: soon() });
    assert_eq!(read(&*register), Some((won(swapped), new)));
}

#[test]
fn a_push_that_a_hook_declines_is_not_won() {
    let place = InGit::new();
    let hook = place.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho no >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let swapped = swap(&*place.open(), None, &record("a", 1));
    assert!(
        matches!(&swapped, SwapOutcome::Unknown(StoreError::Failed(why)) if why.contains("declined")),
        "{swapped:?}"
    );
    assert_eq!(read(&*place.open()), None);
}

#[test]
fn a_broken_git_remote_is_unusable() {
    for script in [
        "exec sleep 30",
        "exit 255",
        "echo garbage",
        "exec head -c 100000 /dev/urandom",
        "printf 0000",
        "printf '003f%s\\n' 'zzzz refs/mirror/bot'; printf 0000",
        "sleep 5; exec sh -c \"$command\"",
    ] {
        let mut place = InGit::new();
        place.overwrite(Some(&encode(&bot(), &record("a", 1))));
        place.through(script);
        let register = place.open();
        let read = register.read(Deadline::after(SHORT));
        // A list without a ref is an honest answer; all else is none.
        assert!(matches!(read, Err(StoreError::Failed(_)) | Ok(None)), "{script}: {read:?}");
        assert!(read.is_err() || script == "printf 0000", "{script}: {read:?}");
        let deadline = Deadline::after(SHORT);
        let swapped = swap_by(&*register, None, &record("b", 1), SwapDeadlines { swap: deadline, verify: deadline });
        assert!(matches!(swapped, SwapOutcome::Unknown(StoreError::Failed(_))), "{script}: {swapped:?}");
    }
    let mut nowhere = InGit::new();
    nowhere.url = Some(nowhere.directory.path().join("no-such").display().to_string());
    is_unusable(&*nowhere.open());
}

#[test]
fn a_slow_git_remote_is_waited_for() {
    let mut place = InGit::new();
    place.through("sleep 0.5; exec sh -c \"$command\"");
    let new = record("a", 1);
    won(swap(&*place.open(), None, &new));
    assert_eq!(read(&*place.open()).unwrap().1, new);
}

// etcd.

struct InEtcd<'a> {
    cluster: Cluster,
    key: &'a str,
}

impl InEtcd<'_> {
    fn connect(&self) -> EtcdRegister {
        EtcdRegister::new(self.cluster.clone(), self.key).unwrap()
    }

    fn ask(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        ask(&self.cluster, path, body)
    }
}

fn ask(cluster: &Cluster, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let roots: Vec<_> = cluster.ca.iter().map(|pem| ureq::tls::Certificate::from_pem(pem).unwrap()).collect();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
        .client_cert(cluster.identity.as_ref().map(|(certificate, key)| {
            let certificate = ureq::tls::Certificate::from_pem(certificate).unwrap();
            ureq::tls::ClientCert::new_with_certs(&[certificate], ureq::tls::PrivateKey::from_pem(key).unwrap())
        }))
        .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(LONG)).build().into();
    let answer = agent.post(format!("{}/v3/{path}", cluster.endpoints[0])).send(body.to_string()).unwrap();
    serde_json::from_str(&answer.into_body().read_to_string().unwrap()).unwrap()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl TestStore for InEtcd<'_> {
    fn open(&self) -> Box<dyn Register + Send> {
        Box::new(self.connect())
    }

    fn overwrite(&self, text: Option<&str>) {
        let key = base64(self.key);
        match text {
            Some(text) => self.ask("kv/put", &serde_json::json!({ "key": key, "value": base64(text) })),
            None => self.ask("kv/deleterange", &serde_json::json!({ "key": key })),
        };
    }
}

/// Waits until the members have a leader.
fn ready(cluster: &Cluster) {
    let register = EtcdRegister::new(cluster.clone(), "x").unwrap();
    let begun = Instant::now();
    while let Err(error) = register.read(Deadline::after(Duration::from_secs(2))) {
        assert!(begun.elapsed() < LONG, "{error}");
    }
}

#[test]
fn an_etcd_cluster_is_a_register_with_two_of_three() {
    if !etcd::is_there() {
        return;
    }
    let mut etcd = Etcd::new(3);
    ready(&etcd.cluster());
    conforms(&InEtcd { cluster: etcd.cluster(), key: "/mirror/bot" }, rounds(20));
    let place = InEtcd { cluster: etcd.cluster(), key: "/mirror/killed" };
    let register = place.open();
    let first = won(swap(&*register, None, &record("a", 1)));
    etcd.kill(0);
    // The cluster may elect a new leader first.
    let (version, _) = wait_for("two of three answer", || {
        let reading = observe(&*register, Deadline::after(Duration::from_secs(2))).ok()?;
        reading.found.map(|found| (found.version, found.value))
    });
    assert_eq!(version, first);
    let new = record("b", 2);
    won(swap(&*register, Some(&first), &new));
    assert_eq!(read(&*place.open()).unwrap().1, new);
    etcd.kill(1);
    is_unusable(&*register);
    etcd.restart(1);
    wait_for("two of three answer again", || register.read(Deadline::after(Duration::from_secs(2))).ok());
    assert_eq!(read(&*register).unwrap().1, new);
}

#[test]
fn etcd_history_ends_at_the_compaction() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    ready(&etcd.cluster());
    let place = InEtcd { cluster: etcd.cluster(), key: "/mirror/bot" };
    let register = place.open();
    let (mut version, mut all) = (None, Vec::new());
    for epoch in 1..=5 {
        place.ask("kv/put", &serde_json::json!({ "key": base64("/other"), "value": "" }));
        let new = record("a", epoch);
        version = Some(won(swap(&*register, version.as_ref(), &new)));
        all.insert(0, new);
    }
    assert_eq!(history(&*register, 100), all);
    assert_eq!(history(&*register, 2), all[..2]);
    let revision: u64 = version.unwrap().0.parse().unwrap();
    place.ask("kv/compaction", &serde_json::json!({ "revision": (revision - 2).to_string(), "physical": true }));
    assert_eq!(history(&*register, 100), all[..2]);
}

#[test]
fn etcd_over_tls_requires_the_password() {
    if !etcd::is_there() {
        return;
    }
    let mut etcd = Etcd::over_tls();
    let plain = etcd.cluster();
    ready(&plain);
    for (path, body) in [
        ("auth/user/add", serde_json::json!({ "name": "root", "password": "secret" })),
        ("auth/role/add", serde_json::json!({ "name": "root" })),
        ("auth/user/grant", serde_json::json!({ "user": "root", "role": "root" })),
        ("auth/enable", serde_json::json!({})),
    ] {
        ask(&plain, path, &body);
    }
    let with = |password: &str| Cluster { user: Some(("root".to_owned(), password.to_owned())), ..plain.clone() };
    let open = |cluster: Cluster| EtcdRegister::new(cluster, "/mirror/bot").unwrap();
    let register = open(with("secret"));
    let new = record("a", 1);
    won(swap(&register, None, &new));
    let strangers = Cluster { ca: None, ..with("secret") };
    let nameless = Cluster { identity: None, ..with("secret") };
    for cluster in [plain.clone(), with("guessed"), strangers, nameless] {
        let register = open(cluster);
        let read = register.read(Deadline::after(Duration::from_secs(5)));
        assert!(matches!(read, Err(StoreError::Failed(_))), "{read:?}");
    }
    // A member forgets its tokens when it starts anew.
    etcd.restart(0);
    let again = wait_for("it answers", || observe(&register, Deadline::after(Duration::from_secs(2))).ok());
    assert_eq!(again.found.unwrap().value, new);
    assert!(!format!("{register:?} {:?}", with("secret")).contains("secret"));
}

#[test]
fn an_etcd_swap_whose_acknowledgement_is_lost_was_done() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    ready(&etcd.cluster());
    let cutter = Cutter::before(etcd.port(0));
    let cluster = Cluster { endpoints: vec![cutter.endpoint()], ..Cluster::default() };
    let register = EtcdRegister::new(cluster, "/mirror/bot").unwrap();
    assert_eq!(read(&register), None);
    let new = record("a", 1);
    cutter.cut(1);
    let version = won(swap(&register, None, &new));
    assert_eq!(cutter.left(), 0, "an answer was cut");
    assert_eq!(read(&register), Some((version, new)));
    // The second endpoint is asked in the same breath, and finds that it is done.
    let both = Cluster { endpoints: vec![cutter.endpoint(), etcd.endpoints().remove(0)], ..Cluster::default() };
    let register = EtcdRegister::new(both, "/mirror/both").unwrap();
    cutter.cut(1);
    won(swap(&register, None, &record("a", 1)));
    assert_eq!(cutter.left(), 0, "an answer was cut");
}

#[test]
fn a_broken_etcd_is_unusable() {
    let answers: [&'static [u8]; 7] = [
        b"",
        b"garbage\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"header\":",
        b"HTTP/1.1 503 Unavailable\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ];
    let at = |port: u16| Cluster { endpoints: vec![format!("http://127.0.0.1:{port}")], ..Cluster::default() };
    for answer in answers {
        let server = Chatty::new(answer);
        is_unusable(&EtcdRegister::new(at(server.number()), "x").unwrap());
    }
    let (silent, refusing) = (Port::silent(), Port::refusing());
    is_unusable(&EtcdRegister::new(at(silent.number()), "x").unwrap());
    is_unusable(&EtcdRegister::new(at(refusing.number()), "x").unwrap());
}

#[test]
fn a_hanging_or_dead_etcd_member_costs_little() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    ready(&etcd.cluster());
    let (hanging, dead) = (Port::silent(), Port::refusing());
    let mut endpoints: Vec<String> =
        [&hanging, &dead].map(|port| format!("http://127.0.0.1:{}", port.number())).to_vec();
    endpoints.extend(etcd.endpoints());
    let register = EtcdRegister::new(Cluster { endpoints, ..Cluster::default() }, "/mirror/bot").unwrap();
    let begun = Instant::now();
    won(swap(&register, None, &record("a", 1)));
    assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(read(&register).is_some());
    println!("the second time: {:?}", begun.elapsed());
}
