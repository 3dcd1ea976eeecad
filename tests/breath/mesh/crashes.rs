//! A breath of the mesh is killed at each git that it starts, before it and after it, and then a person or the
//! service commits, or nobody does: nothing is lost, nothing comes twice, no file is older or torn anywhere.
//!
//! `MIRROR_TEST_CRASHES=all` plays each point in all four ways; else each is played in one of them, by turns.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use three_mirror::sync::BreatheVerdict;

use super::net::Net;
use crate::world::executable;

/// When the breath dies, and whether somebody commits before the next one.
#[derive(Clone, Copy, Debug)]
struct Crash {
    /// Which of the programs that it starts.
    point: usize,
    is_after: bool,
    somebody_commits: bool,
}

struct Run {
    net: Net,
    subjects: Vec<String>,
    files: BTreeMap<String, String>,
    count: usize,
}

impl Run {
    fn new() -> Self {
        let net = Net::new(2);
        let bin = net.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let real = which("git");
        // Peers are asked by other processes, which are none of the breath's own.
        let git = format!(
            "#!/bin/sh\nread -r parent </proc/$PPID/comm\n[ \"$parent\" = mirror ] || exec {real} \"$@\"\n\
             echo >>{0}/count\n[ $(wc -l <{0}/count) = \"$CRASH\" ] || exec {real} \"$@\"\n\
             [ -z \"$AFTER\" ] || {real} \"$@\"\nkill -9 $PPID\nexit 1\n",
            net.path().display()
        );
        fs::write(bin.join("git"), git).unwrap();
        executable(&bin.join("git"));
        Self { net, subjects: vec!["base".to_owned()], files: BTreeMap::new(), count: 0 }
    }

    fn commit(&mut self, node: usize, files: &[(&str, String)]) -> bool {
        let repo = self.net.repo(node);
        let subject = format!("{node}: {}", self.subjects.len());
        for (name, text) in files {
            repo.write(name, text);
        }
        let added = repo.try_git(&["add", "-A"]).status.success();
        let is_done = added && repo.try_git(&["commit", "-q", "-m", &subject]).status.success();
        if is_done {
            self.subjects.push(subject);
            self.files.extend(files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())));
        }
        is_done
    }

    /// Whether the breath was killed: it starts that many programs.
    fn play(&mut self, crash: Crash) -> bool {
        self.count += 1;
        let count = self.count;
        // The second node hears of it when it asks: what a peer pushes would be there already.
        self.net.cuts = [(0, 1)].into();
        let long = format!("{count}\n").repeat(300);
        fs::remove_file(self.net.repo(0).path().join(format!("new/{}", count - 1))).unwrap_or_default();
        self.files.remove(&format!("new/{}", count - 1));
        assert!(self.commit(0, &[("incoming", long), (&format!("new/{count}"), "n\n".to_owned())]));
        assert_eq!(self.net.breathe(0).verdict, BreatheVerdict::Alone);
        self.net.cuts.clear();
        assert!(self.commit(1, &[("own", format!("{count}\n"))]));
        let is_killed = self.crash(crash);
        let theirs = [("somebody's", format!("{count}\n"))];
        let is_refused = crash.somebody_commits && !self.commit(1, &theirs);
        for _ in 0..2 {
            for node in [1, 0] {
                let outcome = self.net.breathe(node);
                assert_eq!(outcome.verdict, BreatheVerdict::InStep, "{crash:?}: {outcome:?}");
            }
            if self.net.is_equal() {
                break;
            }
        }
        if is_refused {
            // The lock of the index was there; the file stayed, and is committed now.
            assert!(self.commit(1, &theirs), "{crash:?}");
            (0..2).for_each(|node| drop(self.net.breathe(1 - node)));
        }
        self.check(crash);
        is_killed
    }

    fn crash(&self, crash: Crash) -> bool {
        let path = format!("{}:{}", self.net.path().join("bin").display(), std::env::var("PATH").unwrap());
        loop {
            let _ = fs::remove_file(self.net.path().join("count"));
            let mut command = self.net.command(1, &[]);
            command.env("PATH", &path).env("CRASH", crash.point.to_string());
            command.env("AFTER", if crash.is_after { "1" } else { "" });
            match command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code() {
                None => return true,
                Some(0) => return false,
                // A process that another test is just starting may still hold the lock of the last breath.
                Some(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn check(&self, crash: Crash) {
        assert!(self.net.is_equal(), "{crash:?}: {:?}", self.net.heads());
        let mut wanted = self.subjects.clone();
        wanted.sort();
        for node in 0..2 {
            let repo = self.net.repo(node);
            let mut subjects = self.net.subjects(node, "main");
            subjects.sort();
            assert_eq!(subjects, wanted, "{crash:?}");
            assert_eq!(repo.status(), "", "{crash:?}");
            let listed = repo.git(&["ls-files", "new"]);
            assert_eq!(listed, format!("new/{}", self.count), "{crash:?}");
            for (name, text) in &self.files {
                assert_eq!(&repo.read(name), text, "{crash:?}: {name}");
            }
        }
    }
}

fn which(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_breath_that_is_killed_at_any_step_loses_nothing_by_the_next_commit() {
    let all = std::env::var("MIRROR_TEST_CRASHES").is_ok_and(|value| value == "all");
    let mut run = Run::new();
    let mut kills = 0;
    for point in 1..200 {
        let mut is_last = true;
        for way in 0..4 {
            let crash = Crash { point, is_after: way & 1 != 0, somebody_commits: way & 2 != 0 };
            if all || way == point % 4 {
                let is_killed = run.play(crash);
                is_last &= !is_killed;
                kills += usize::from(is_killed);
            }
        }
        if is_last {
            break;
        }
    }
    eprintln!("{kills} kills");
    assert!(kills > 20, "{kills}");
    run.net.is_sound();
}
