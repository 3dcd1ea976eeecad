//! Nodes whose versions of git merge in different ways: they make different commits of the same heads, and come to
//! rest all the same.

use std::fs;
use std::process::Stdio;

use super::net::{NAMES, Net};
use crate::world::executable;

/// Puts a git into a directory that writes another message into each automatic merge than the git of this machine.
fn another_git(net: &Net) -> String {
    let bin = net.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|file| file.is_file()).unwrap();
    let git = format!(
        "#!/bin/sh\ncase \"$*\" in *'hash-object -t commit'*)\n\
         sed '/^mirror: merge$/s/$/\\n\\nby another git/' | {0} \"$@\"; exit ;;\nesac\nexec {0} \"$@\"\n",
        real.display()
    );
    fs::write(bin.join("git"), git).unwrap();
    executable(&bin.join("git"));
    format!("{}:{}", bin.display(), path.to_str().unwrap())
}

/// All living nodes breathe at the same time; those with an odd number by the other git.
fn lockstep(net: &Net, other: &str) {
    net.mark_cuts();
    let breaths = (0..net.nodes).filter(|node| !net.dead.contains(node)).map(|node| {
        let mut command = net.command(node, &[]);
        if node % 2 == 1 {
            command.env("PATH", other);
        }
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    for mut breath in breaths.collect::<Vec<_>>() {
        breath.wait().unwrap();
    }
    net.unmark_cuts();
}

fn comes_to_rest(net: &Net, other: &str, most: usize) {
    let mut rounds = 0;
    while !net.is_equal() {
        assert!(rounds < most, "not equal after {rounds} rounds: {:?}", net.heads());
        lockstep(net, other);
        rounds += 1;
    }
    eprintln!("equal after {rounds} rounds");
    let heads = net.heads();
    for _ in 0..3 {
        lockstep(net, other);
    }
    assert_eq!(net.heads(), heads, "nothing is merged once all are equal");
}

#[test]
fn two_versions_of_git_in_one_mesh_come_to_rest() {
    let mut net = Net::new(4);
    let other = another_git(&net);
    let apart = |net: &mut Net, round: usize| {
        net.cuts = (0..4).flat_map(|a| (0..4).map(move |b| (a, b))).collect();
        for node in (0..4).filter(|node| !net.dead.contains(node)).collect::<Vec<_>>() {
            net.repo(node).write(NAMES[node], &format!("{round}\n")).commit(&format!("{} {round}", NAMES[node]));
        }
        lockstep(net, &other);
        net.cuts.clear();
    };
    apart(&mut net, 1);
    comes_to_rest(&net, &other, 40);
    assert_eq!(net.subjects(0, "main").len(), 5);
    // The first node's merge would come first; now it is away.
    net.dead.insert(0);
    apart(&mut net, 2);
    comes_to_rest(&net, &other, 40);
    net.dead.clear();
    comes_to_rest(&net, &other, 40);
    assert_eq!(net.subjects(0, "main").len(), 8);
    net.is_sound();
}
