//! A slow transfer gets more time from breath to breath, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use three_mirror::sync::{Breath, BreatheVerdict};

use crate::kills::Driver;
use crate::world::{Repo, World, breathe, executable};

/// An `upload-pack` that sends 64 KiB every 50 ms.
fn slow(world: &World, repo: &Repo) {
    let program = world.path().join("slow-upload-pack");
    let script = "#!/bin/sh\ngit-upload-pack \"$@\" | while :; do\n\
                  dd bs=65536 count=1 of=\"$0.$$\" 2>/dev/null\n[ -s \"$0.$$\" ] || break\n\
                  cat \"$0.$$\" || break\nsleep 0.05\ndone\n";
    fs::write(&program, script).unwrap();
    executable(&program);
    repo.git(&["config", "remote.origin.uploadpack", program.to_str().unwrap()]);
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> String {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

fn temporary(repo: &Repo) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in fs::read_dir(repo.path().join(".git/objects")).unwrap().flatten() {
        let files = fs::read_dir(dir.path()).into_iter().flatten().flatten();
        found.extend(files.map(|file| file.path()).filter(|path| path.to_string_lossy().contains("/tmp_")));
    }
    found
}

/// Large incoming commits: as one file, or as so many objects that git receives them as a pack.
fn large(world: &World, files: usize) -> String {
    let length = 4_000_000 / files;
    let names: Vec<_> = (0..files).map(|n| (format!("big/{n}"), noise(length, n as u64))).collect();
    let files: Vec<_> = names.iter().map(|(name, text)| (&name[..], &text[..])).collect();
    world.incoming(&files)
}

#[test]
fn a_slow_transfer_ends_after_a_few_breaths_without_partial_packs() {
    for files in [1, 150] {
        let world = World::new();
        let repo = world.clone_as("one");
        let new = large(&world, files);
        slow(&world, &repo);
        // On a busy machine nothing may arrive in time; then the next breath has no more time either.
        let (mut cut_short, end) = (0, Instant::now() + Duration::from_secs(300));
        loop {
            let outcome = breathe(Breath { timeout: Duration::from_secs(1), ..repo.breath() });
            assert_eq!(temporary(&repo), Vec::<PathBuf>::new());
            if outcome.verdict == BreatheVerdict::InStep {
                break;
            }
            assert_eq!(outcome.verdict, BreatheVerdict::Unreachable, "{outcome:?}");
            cut_short += u32::from(outcome.reason.contains("the next breath has"));
            assert!(Instant::now() < end, "{outcome:?}");
        }
        assert!(cut_short > 0, "the transfer was not slow");
        assert_eq!(repo.head(), new);
        assert!(!repo.path().join(".git/mirror/time-limit").exists());
        repo.is_sound();
    }
}

#[test]
fn an_impatient_breath_keeps_to_its_time_limit() {
    let world = World::new();
    let repo = world.clone_as("one");
    large(&world, 1);
    slow(&world, &repo);
    for _ in 0..2 {
        let began = Instant::now();
        let breath =
            Breath { timeout: Duration::from_millis(300), manner: three_mirror::sync::Manner::Prompt, ..repo.breath() };
        assert_eq!(breathe(breath).verdict, BreatheVerdict::Unreachable);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(!repo.path().join(".git/mirror/time-limit").exists());
    }
}

#[test]
fn the_partial_pack_of_a_killed_breath_is_removed_and_nobody_else_s() {
    let world = World::new();
    let repo = world.clone_as("one");
    let packs = repo.path().join(".git/objects/pack");
    fs::write(packs.join("tmp_pack_before"), "a person's").unwrap();
    large(&world, 150);
    slow(&world, &repo);
    let mut killed = Driver::new(&repo).spawn();
    while temporary(&repo).len() < 2 {
        assert!(killed.try_wait().unwrap().is_none(), "the breath ended before it received anything");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    // One that somebody has open is in use.
    let in_use = fs::File::create(packs.join("tmp_pack_in_use")).unwrap();
    repo.git(&["config", "--unset", "remote.origin.uploadpack"]);
    let settled = |left: &[PathBuf]| left.len() == 2;
    let end = Instant::now() + Duration::from_secs(20);
    while !settled(&temporary(&repo)) && Instant::now() < end {
        assert_eq!(repo.breathe().verdict, BreatheVerdict::InStep);
    }
    let mut left = temporary(&repo);
    left.sort();
    assert_eq!(left, [packs.join("tmp_pack_before"), packs.join("tmp_pack_in_use")]);
    drop(in_use);
}
