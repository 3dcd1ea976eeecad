//! A service that commits faster than the work tree can be moved.

use std::fs;

use super::net::Net;
use crate::world::executable;

/// At every try the branch moves, and each takes so long that all of them do not fit into one breath.
#[test]
fn what_is_here_goes_out_although_the_branch_moves_at_every_try() {
    let net = Net::new(2);
    net.repo(0).write("theirs", "1\n").commit("theirs");
    net.breathe(0);
    let before = net.repo(1).write("ours", "1\n").commit("ours");
    let bin = net.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // Between the look at the refs and the move of the work tree.
    let git = format!(
        "#!/bin/sh\nexport PATH=${{PATH#*:}}\nread -r parent </proc/$PPID/comm\n\
         case \"$parent $*\" in\n*'refs/breath refs/heads/main')\n    git \"$@\" || exit\n    sleep 4\n\
         cd {0} && echo >>ours && git commit -qam \"again $(wc -l <ours)\" >/dev/null && echo >>{1}/moves\n    exit ;;\nesac\n\
         exec git \"$@\"\n",
        net.repo(1).path().display(),
        net.path().display()
    );
    fs::write(bin.join("git"), git).unwrap();
    executable(&bin.join("git"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ended = net.command(1, &["--timeout", "30s"]).env("PATH", path).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(said["verdict"], "raced", "{said:#}");
    let moves = fs::read_to_string(net.path().join("moves")).unwrap().lines().count();
    assert!((2..8).contains(&moves), "it moved {moves} times");
    assert_eq!(said["copies"], 1, "{said:#}");
    assert!(said["exhale"]["commits"].as_u64() > Some(0), "{said:#}");
    let there = net.refs(0);
    assert!(
        there.values().any(|value| net
            .repo(0)
            .try_git(&["merge-base", "--is-ancestor", &before, value])
            .status
            .success())
    );
    assert!(net.rounds_until_equal(3) > 0);
    net.is_sound();
}
