//! A commit is on all living nodes at once: `post-commit` of the examples, and `post-receive` of `--init`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::net::{NAMES, Net, program};
use crate::world::executable;

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process has this directory in its arguments or its environment.
fn works_in(directory: &Path) -> bool {
    let place = directory.to_str().unwrap().as_bytes();
    let mentions = |path: &Path| {
        let has = |file: &str| {
            let bytes = fs::read(path.join(file)).unwrap_or_default();
            bytes.windows(place.len()).any(|window| window == place)
        };
        has("cmdline") || has("environ")
    };
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    entries
        .into_iter()
        .any(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit()) && mentions(&path))
}

#[test]
fn a_commit_is_on_all_nodes_soon_and_many_cost_few_breaths() {
    let net = Net::new(4);
    for node in 0..4 {
        let made = net.command(node, &["--init"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/post-commit");
    let hook = net.repo(2).path().join(".git/hooks/post-commit");
    fs::copy(example, &hook).unwrap();
    executable(&hook);
    let commit = |file: &str| {
        net.repo(2).write(file, "1\n").git(&["add", file]);
        let mut commit = Command::new("git");
        commit.args(["commit", "-q", "-m", file]).current_dir(net.repo(2).path()).env("MIRROR", program());
        commit.env("MIRROR_CONFIG", net.path().join("c.toml")).env("MIRROR_SELF", NAMES[2]);
        assert!(commit.status().unwrap().success());
        net.repo(2).head()
    };
    let begun = Instant::now();
    let head = commit("one");
    until("the commit is everywhere", || net.heads().iter().all(|other| *other == head));
    eprintln!("from the commit to all others: {:?}", begun.elapsed());
    for n in 0..5 {
        commit(&format!("file-{n}"));
    }
    until("all are everywhere", || (0..4).all(|node| net.subjects(node, "main").len() == 7));
    // Whatever was triggered ends by itself, and leaves nothing to do.
    until("all is quiet", || !works_in(net.path()));
    assert!(net.rounds_until_equal(2) <= 1);
    assert_eq!(net.merges(0), 0);
    net.is_sound();
}

#[test]
fn a_hook_of_a_person_stays() {
    let net = Net::empty(2);
    let hook = net.repo(0).path().join(".git/hooks/post-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ntrue\n").unwrap();
    let made = net.command(0, &["--init"]).output().unwrap();
    assert_eq!(fs::read_to_string(&hook).unwrap(), "#!/bin/sh\ntrue\n");
    assert!(String::from_utf8_lossy(&made.stdout).contains("left as it is"), "{made:?}");
}
