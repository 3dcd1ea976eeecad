//! Many registers of one store: read and written together, each with an outcome of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use three_mirror::clock::Deadline;
use three_mirror::register::etcd::EtcdStore;
use three_mirror::register::file::FileStore;
use three_mirror::register::git::GitStore;
use three_mirror::register::shared::{Joined, SharedRegister, SharedStore};
use three_mirror::register::{CasOutcome, NewText, ReadOutcome, Register, RegisterStore, StoreError, Swap, Version};

use super::etcd::{self, Etcd};
use super::{InGit, git, ready, soon};

const SERVICES: usize = 20;

fn read_each(store: &dyn RegisterStore, names: &[&str]) -> Vec<ReadOutcome> {
    let mut found: Vec<Option<ReadOutcome>> = names.iter().map(|_| None).collect();
    store.read_each(names, soon(), &mut |index, outcome| {
        assert!(found[index].replace(outcome).is_none(), "{} is told twice", names[index]);
    });
    found.into_iter().map(Option::unwrap).collect()
}

fn texts(store: &dyn RegisterStore, names: &[&str]) -> Vec<Option<String>> {
    read_each(store, names).into_iter().map(|found| found.unwrap().map(|found| found.value)).collect()
}

fn swap_each(store: &dyn RegisterStore, swaps: &[(&str, Option<&Version>, &str)]) -> Vec<CasOutcome> {
    let new = |text| NewText { text, summary: "a test" };
    let swaps: Vec<Swap<'_>> =
        swaps.iter().map(|(name, expected, text)| Swap { name, expected: *expected, new: new(text) }).collect();
    let mut outcomes: Vec<Option<CasOutcome>> = swaps.iter().map(|_| None).collect();
    store.swap_each(&swaps, soon(), &mut |index, outcome| {
        assert!(outcomes[index].replace(outcome).is_none(), "{} is told twice", swaps[index].name);
    });
    outcomes.into_iter().map(Option::unwrap).collect()
}

fn won(outcome: &CasOutcome) -> Version {
    match outcome {
        CasOutcome::Won(version) => version.clone(),
        other => panic!("not won: {other:?}"),
    }
}

/// What every store must do alike.
fn conforms(open: &dyn Fn() -> Box<dyn RegisterStore>) {
    let (one, other) = (open(), open());
    assert_eq!(texts(&*one, &["a", "b", "c"]), [None, None, None]);
    let created = swap_each(&*one, &[("a", None, "a1"), ("b", None, "b1"), ("c", None, "c1")]);
    let versions: Vec<Version> = created.iter().map(won).collect();
    let expected = ["c", "a", "none", "b"].map(|name| (name != "none").then(|| format!("{name}1")));
    assert_eq!(texts(&*other, &["c", "a", "none", "b"]), expected);
    // The one that another process wrote first fails, and no other does.
    won(&swap_each(&*other, &[("b", Some(&versions[1]), "b2")])[0]);
    let swaps = [("a", Some(&versions[0]), "a2"), ("b", Some(&versions[1]), "b3"), ("c", Some(&versions[2]), "c2")];
    let swapped = swap_each(&*one, &swaps);
    won(&swapped[0]);
    assert!(matches!(&swapped[1], CasOutcome::Lost(Some(found)) if found.value == "b2"), "{swapped:?}");
    won(&swapped[2]);
    for store in [&one, &other, &open()] {
        assert_eq!(texts(&**store, &["a", "b", "c"]), ["a2", "b2", "c2"].map(|text| Some(text.to_owned())));
    }
    // What exists cannot be created.
    let swapped = swap_each(&*open(), &[("a", None, "a3"), ("d", None, "d1")]);
    assert!(matches!(&swapped[0], CasOutcome::Lost(Some(found)) if found.value == "a2"), "{swapped:?}");
    won(&swapped[1]);
}

#[test]
fn many_files_are_registers() {
    let directory = tempfile::tempdir().unwrap();
    conforms(&|| Box::new(FileStore::open(directory.path()).unwrap()));
}

#[test]
fn many_keys_of_an_etcd_cluster_are_registers() {
    if !etcd::is_there() {
        return;
    }
    let etcd = Etcd::new(1);
    ready(&etcd.cluster());
    conforms(&|| Box::new(EtcdStore::new(etcd.cluster(), "/many/").unwrap()));
    // More than fit in one request of etcd.
    let names: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let store = EtcdStore::new(etcd.cluster(), "/more/").unwrap();
    won(&swap_each(&store, &[("n299", None, "last")])[0]);
    let found = texts(&store, &names);
    assert_eq!((found.len(), found[299].as_deref(), found.iter().flatten().count()), (300, Some("last"), 1));
}

fn store(place: &InGit) -> GitStore {
    let n = place.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let cache = place.directory.path().join(format!("caches/{n}"));
    let url = place.url.clone().unwrap_or_else(|| place.path().display().to_string());
    GitStore::open(&cache, &url, "refs/mirror/", "tester", place.ssh.as_deref()).unwrap()
}

fn hook(place: &InGit, name: &str, script: &str) {
    let hook = place.path().join("hooks").join(name);
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn many_refs_of_a_git_remote_are_registers() {
    let place = InGit::new();
    conforms(&|| Box::new(store(&place)));
    git(&place.path(), &["fsck", "--strict"], b"");
}

#[test]
fn many_refs_are_read_by_one_list_and_written_by_one_push() {
    let mut place = InGit::new();
    place.through("exec sh -c \"$command\"");
    let names: Vec<String> = (0..SERVICES).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut known = 0;
    let mut calls = || {
        let calls = place.calls();
        let new: Vec<String> =
            calls[known..].iter().map(|call| call.split(' ').next().unwrap_or_default().to_owned()).collect();
        known = calls.len();
        new
    };
    let one = store(&place);
    let created: Vec<_> = names.iter().map(|name| (*name, None, *name)).collect();
    let versions: Vec<Version> = swap_each(&one, &created).iter().map(won).collect();
    assert_eq!(calls(), ["git-receive-pack"]);
    assert_eq!(texts(&one, &names).iter().flatten().count(), SERVICES);
    assert_eq!(calls(), ["git-upload-pack"]);
    let other = store(&place);
    assert_eq!(texts(&other, &names).iter().flatten().count(), SERVICES);
    assert_eq!(calls(), ["git-upload-pack"; 2], "a list and a fetch");
    let moved: Vec<_> = names.iter().zip(&versions).map(|(name, version)| (*name, Some(version), "2")).collect();
    swap_each(&other, &moved).iter().for_each(|outcome| drop(won(outcome)));
    assert_eq!(calls(), ["git-receive-pack"]);
}

#[test]
fn a_ref_that_is_declined_or_foreign_or_gone_holds_up_no_other() {
    let place = InGit::new();
    let one = store(&place);
    let created = swap_each(&one, &[("a", None, "a1"), ("b", None, "b1"), ("c", None, "c1"), ("d", None, "d1")]);
    let versions: Vec<Version> = created.iter().map(won).collect();
    let swaps = |texts: [&'static str; 2]| [("a", Some(&versions[0]), texts[0]), ("b", Some(&versions[1]), texts[1])];
    // By itself, and for its sake the whole push.
    for (name, script, texts) in [
        ("update", "#!/bin/sh\n[ \"$1\" != refs/mirror/b ]\n", ["a2", "b2"]),
        ("pre-receive", "#!/bin/sh\n! grep -q refs/mirror/b\n", ["a3", "b3"]),
    ] {
        hook(&place, name, script);
        let store = store(&place);
        let a = read_each(&store, &["a"]).remove(0).unwrap().unwrap().version;
        let swapped = swap_each(&store, &[("a", Some(&a), texts[0]), swaps(texts)[1]]);
        won(&swapped[0]);
        let why = "declined";
        assert!(
            matches!(&swapped[1], CasOutcome::Unknown(StoreError::Failed(said)) if said.contains(why)),
            "{name}: {swapped:?}"
        );
        std::fs::remove_file(place.path().join("hooks").join(name)).unwrap();
    }
    let blob = place.git(&["hash-object", "-w", "--stdin"], b"hello");
    place.git(&["update-ref", "refs/mirror/b", &blob], b"");
    place.git(&["update-ref", "-d", "refs/mirror/c"], b"");
    let reader = store(&place);
    let read = read_each(&reader, &["a", "b", "c", "d"]);
    assert_eq!(read[0].as_ref().unwrap().as_ref().unwrap().value, "a3");
    assert!(matches!(read[1], Err(StoreError::Foreign(_))), "{read:?}");
    assert!(matches!(read[2], Ok(None)), "{read:?}");
    // What was deleted is written over by nobody who expects it to be there.
    let writer = store(&place);
    let swapped = swap_each(&writer, &[("c", Some(&versions[2]), "c2"), ("d", Some(&versions[3]), "d2")]);
    assert!(!matches!(swapped[0], CasOutcome::Won(_)), "{swapped:?}");
    won(&swapped[1]);
}

fn all(store: &Arc<SharedStore>) -> Vec<SharedRegister> {
    (0..SERVICES).map(|n| store.register(&format!("s{n}"))).collect()
}

fn shared(place: &Arc<InGit>) -> Arc<SharedStore> {
    let place = Arc::clone(place);
    let open = move || -> anyhow::Result<Box<dyn RegisterStore + Send>> { Ok(Box::new(store(&place))) };
    SharedStore::new(Joined::All, Box::new(open))
}

fn create(register: &SharedRegister) -> CasOutcome {
    register.compare_and_swap(None, &NewText { text: "granted", summary: "a test" }, soon())
}

#[test]
fn the_services_of_one_process_travel_together() {
    let mut place = InGit::new();
    place.through("exec sh -c \"$command\"");
    let place = Arc::new(place);
    let registers = all(&shared(&place));
    let each = |act: &(dyn Fn(&SharedRegister) + Sync)| {
        std::thread::scope(|scope| registers.iter().for_each(|register| drop(scope.spawn(move || act(register)))));
    };
    // On a busy machine, some are too late for the first trip.
    let mut known = 0;
    let mut travelled_together = || {
        let trips = place.calls().len() - known;
        known += trips;
        assert!((1..SERVICES / 2).contains(&trips), "{trips} trips: {:?}", place.calls());
    };
    each(&|register| assert_eq!(register.read(soon()).unwrap(), None));
    travelled_together();
    each(&|register| drop(won(&create(register))));
    travelled_together();
    each(&|register| assert_eq!(register.read(soon()).unwrap().unwrap().value, "granted"));
    travelled_together();
}

#[test]
fn one_that_asks_nothing_is_not_waited_for() {
    let registers = all(&shared(&Arc::new(InGit::new())));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for register in &registers[1..] {
            scope.spawn(move || won(&create(register)));
        }
    });
    assert!(begun.elapsed() < super::LONG / 4, "{:?}", begun.elapsed());
    won(&create(&registers[0]));
}

/// The first trip hangs; what is asked after it sets out beside it.
#[test]
fn a_trip_that_hangs_holds_up_no_later_one() {
    let mut place = InGit::new();
    let (first, gate) = (place.directory.path().join("first"), place.directory.path().join("gate"));
    std::fs::write(&gate, "").unwrap();
    let waits = format!("while [ -e {} ]; do sleep 0.05; done", gate.display());
    place.through(&format!("if mkdir {} 2>/dev/null; then {waits}; fi\nexec sh -c \"$command\"", first.display()));
    let place = Arc::new(place);
    let registers = all(&shared(&place));
    std::thread::scope(|scope| {
        let hangs = scope.spawn(|| registers[0].read(Deadline::after(super::LONG / 2)));
        crate::support::wait_for("the first trip is under way", || first.is_dir().then_some(()));
        assert_eq!(registers[1].read(soon()).unwrap(), None);
        assert!(!hangs.is_finished());
        std::fs::remove_file(&gate).unwrap();
        assert_eq!(hangs.join().unwrap().unwrap(), None);
    });
}

#[test]
fn a_store_that_cannot_be_opened_is_told_to_each() {
    let store = SharedStore::new(Joined::All, Box::new(|| anyhow::bail!("no such directory")));
    let registers = all(&store);
    std::thread::scope(|scope| {
        for register in &registers {
            scope.spawn(move || {
                let error = register.read(soon()).unwrap_err();
                assert!(error.to_string().contains("no such directory"), "{error}");
                assert!(matches!(create(register), CasOutcome::Unknown(_)));
            });
        }
    });
}
