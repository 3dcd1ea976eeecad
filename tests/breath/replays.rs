//! Commits that are moved keep all that is theirs, whichever way they are moved.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use three_mirror::sync::BreatheVerdict;

use crate::world::{Repo, World, executable};

/// A commit of this tree, written as it stands.
fn raw_commit(repo: &Repo, headers: &[u8], message: &[u8]) -> String {
    let (tree, parent) = (repo.git(&["write-tree"]), repo.head());
    let text = [format!("tree {tree}\nparent {parent}\n").as_bytes(), headers, b"\n", message].concat();
    let mut git = Command::new("git");
    git.args(["hash-object", "-t", "commit", "-w", "--stdin"]).current_dir(repo.path());
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let id = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    repo.git(&["reset", "-q", "--hard", id.trim()]);
    id.trim().to_owned()
}

/// Without what a move changes: the tree, the parent and the committer.
fn kept(repo: &Repo, id: &str) -> Vec<u8> {
    let raw = repo.try_git(&["cat-file", "commit", id]).stdout;
    let moved = |line: &&[u8]| ["tree ", "parent ", "committer "].iter().any(|name| line.starts_with(name.as_bytes()));
    raw.split_inclusive(|byte| *byte == b'\n')
        .skip_while(moved)
        .filter(|line| !moved(line))
        .collect::<Vec<_>>()
        .concat()
}

fn commits_of_every_kind(repo: &Repo, extra: &[u8]) {
    let odd = "odd/ä \"q\" 'new\nline' \\ *?";
    repo.write(odd, "odd\n").write("was-file", "f\n").write("run", "#!/bin/sh\n").commit("kinds");
    fs::remove_file(repo.path().join("was-file")).unwrap();
    repo.write("was-file/in", "i\n").write("empty", "").write(odd, "odder\n");
    executable(&repo.path().join("run"));
    symlink("run", repo.path().join("link")).unwrap();
    repo.git(&["add", "-A"]);
    let author = b"author J\xf6rg <joerg@example.org> 1000000000 -0330\ncommitter C <c@example.org> 2 +0000\n";
    let headers = [&author[..], b"encoding latin1\n", extra].concat();
    raw_commit(repo, &headers, b"subject \xf6\n\nbody\nfrom here\n\n\n");
    repo.git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
    repo.git(&["rm", "-q", odd]);
    repo.commit("gone");
}

#[test]
fn every_commit_is_kept_to_the_byte() {
    // With nothing in common, with a path in common, and with a header that is rare.
    for (theirs, mine, extra) in [("a", "b", &b""[..]), ("b", "b", b""), ("a", "b", b"change-id abc\n")] {
        let world = World::new();
        let repo = world.clone_as("one");
        repo.write("b", "1\n2\n3\n4\n5\n6\n7\n8\n").commit("longer");
        repo.git(&["push", "-q", "origin", "main"]);
        commits_of_every_kind(&repo, extra);
        repo.write(mine, "1\n2\n3\n4\n5\n6\n7\nmine\n").commit("last");
        let (old, files) = (repo.git(&["rev-list", "--reverse", "HEAD", "-5"]), repo.files());
        let text = if theirs == "b" { "theirs\n2\n3\n4\n5\n6\n7\n8\n" } else { "theirs\n" };
        world.incoming(&[(theirs, text)]);
        let outcome = repo.breathe();
        assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
        let new = repo.git(&["rev-list", "--reverse", "HEAD", "-5"]);
        for (old, new) in old.lines().zip(new.lines()) {
            assert_ne!(old, new);
            assert_eq!(
                String::from_utf8_lossy(&kept(&repo, new)),
                String::from_utf8_lossy(&kept(&repo, old)),
                "{theirs} {mine}"
            );
            let changed = |id: &str| repo.git(&["diff-tree", "-r", "--name-status", "--no-commit-id", id]);
            assert_eq!(changed(old), changed(new));
        }
        let mut now = repo.files();
        assert!(String::from_utf8_lossy(&now[std::path::Path::new(theirs)].1).contains("theirs"));
        now.insert(theirs.into(), files[std::path::Path::new(theirs)].clone());
        assert!(now == files);
        assert_eq!(repo.status(), "");
        let carried = repo.try_git(&["rev-parse", "-q", "--verify", "refs/breath-carried"]).status.success();
        assert_eq!(carried, theirs == "a" && extra.is_empty(), "by which way");
        repo.is_sound();
    }
}

#[test]
fn a_file_of_the_one_is_no_directory_of_the_other() {
    let world = World::new();
    let repo = world.clone_as("one");
    let head = repo.write("new", "a file\n").commit("local");
    world.incoming(&[("new/in", "a directory\n")]);
    let outcome = repo.breathe();
    assert_eq!((outcome.verdict, repo.head()), (BreatheVerdict::Conflict, head), "{outcome:?}");
    repo.is_sound();
}

#[test]
fn a_renamed_file_is_followed() {
    let world = World::new();
    let repo = world.clone_as("one");
    repo.git(&["mv", "a", "renamed"]);
    repo.commit("local");
    world.incoming(&[("a", "a1\na2\na3\ntheirs\n")]);
    let outcome = repo.breathe();
    assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{outcome:?}");
    assert_eq!(repo.read("renamed"), "a1\na2\na3\ntheirs\n");
    assert!(!repo.path().join("a").exists());
}
