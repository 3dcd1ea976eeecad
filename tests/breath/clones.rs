//! Five clones that commit and breathe at once end with one history that holds every commit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use three_mirror::sync::{Breath, BreatheVerdict};

use crate::world::{Repo, World};

#[test]
fn five_clones_end_with_one_history() {
    let seconds = std::env::var("MIRROR_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let world = World::new();
    let clones: Vec<Repo> = (0..5).map(|n| world.clone_as(&format!("clone-{n}"))).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (over, made, breaths) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let breathers: Vec<_> = clones.iter().map(|repo| scope.spawn(|| breathe(repo, &over, &breaths))).collect();
        let committers: Vec<_> = clones
            .iter()
            .enumerate()
            .map(|(n, repo)| {
                let made = &made;
                scope.spawn(move || commit(repo, n, end, made))
            })
            .collect();
        committers.into_iter().for_each(|thread| thread.join().unwrap());
        over.store(true, Ordering::Relaxed);
        breathers.into_iter().for_each(|thread| thread.join().unwrap());
    });
    settle(&clones);
    let made = made.into_inner();
    println!("{made} commits, {} breaths in {seconds} s", breaths.into_inner());
    let remote = world.remote();
    let log = remote.log();
    let subjects: BTreeSet<_> = log.iter().collect();
    assert_eq!(log.len(), subjects.len(), "no commit is there twice");
    assert_eq!(log.len(), made as usize + 1, "every commit is there");
    for repo in &clones {
        assert_eq!((repo.head(), repo.status()), (remote.tip("main"), String::new()));
        repo.is_sound();
    }
}

fn commit(repo: &Repo, clone: usize, end: Instant, made: &AtomicU32) {
    let mut n = 0;
    while Instant::now() < end {
        let name = format!("of-{clone}/{}", n % 7);
        repo.write(&name, &format!("{n}\n"));
        // A breath may hold the index, or move the branch under a commit's hands: git says so, and
        // a person tries again.
        let subject = format!("clone {clone}, commit {n}");
        while !repo.try_git(&["add", "-A"]).status.success() {
            std::thread::sleep(Duration::from_millis(5));
        }
        while !repo.try_git(&["commit", "-q", "-m", &subject]).status.success() {
            std::thread::sleep(Duration::from_millis(5));
        }
        n += 1;
        made.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn breathe(repo: &Repo, over: &AtomicBool, breaths: &AtomicU32) {
    while !over.load(Ordering::Relaxed) {
        let outcome = Breath { timeout: Duration::from_secs(60), ..repo.breath() }.breathe().unwrap();
        let fine = matches!(outcome.verdict, BreatheVerdict::InStep | BreatheVerdict::Busy | BreatheVerdict::Raced);
        assert!(fine, "{outcome:?}");
        breaths.fetch_add(1, Ordering::Relaxed);
    }
}

fn settle(clones: &[Repo]) {
    for _ in 0..2 {
        for repo in clones {
            let outcome = repo.breathe();
            assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
        }
    }
}
