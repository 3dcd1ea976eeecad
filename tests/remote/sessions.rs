//! Sessions on a shared connection, which take no ssh of their own.

use super::logins::{Hosts, Through};
use super::only;
use crate::support::{wait_for, write_program};

const PATIENT: &str = "timeout = \"60s\"";

/// Nodes with further lines of their sshd's configuration.
fn hosts(lines: &str, more: &str) -> Hosts {
    let nodes = ["a", "b"].map(|name| (name, lines.to_owned()));
    Hosts::new(Through::Default, &nodes, more)
}

/// From here on, ssh does nothing.
fn break_ssh(hosts: &Hosts) {
    write_program(&hosts.network.path().join("bin/ssh"), "#!/bin/sh\nexit 255\n");
}

#[test]
fn a_shared_connection_carries_a_command_without_another_ssh() {
    let hosts = hosts("", PATIENT);
    hosts.run("promote").expect(0, "started");
    hosts.run("promote --to b").expect(0, "moved");
    break_ssh(&hosts);
    hosts.run("promote").expect(0, "in-place");
    let object = hosts.run("promote --to a").expect(0, "moved");
    assert_eq!(only(&object)["fencing"], "confirmed");
    assert_eq!(hosts.bot.runs_on(), ["a"]);
}

#[test]
fn a_login_goes_on_when_its_trip_is_over() {
    let hosts = hosts("", "timeout = \"2s\"");
    hosts.nodes.iter().for_each(|(_, sshd)| sshd.freeze());
    assert_eq!(hosts.run("promote").status, 3);
    // Another trip starts no other login.
    assert_eq!(hosts.run("promote").status, 3);
    hosts.nodes.iter().for_each(|(_, sshd)| sshd.thaw());
    let directory = hosts.network.path().join("mirror");
    let is_socket = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().extension().is_none();
    let sockets = || std::fs::read_dir(&directory).unwrap().map(is_socket).filter(|is| *is).count();
    wait_for("both logins are done", || (sockets() == 2).then_some(()));
    let list = std::fs::read_to_string(hosts.network.config()).unwrap();
    hosts.network.rewrite(&list.replace("\"2s\"", "\"60s\""));
    hosts.run("promote").expect(0, "started");
    assert_eq!(hosts.bot.runs_on(), ["a"]);
    assert!(hosts.nodes.iter().all(|(_, sshd)| sshd.logins() == 1));
}

#[test]
fn a_session_has_the_environment_that_the_configuration_gives_it() {
    let hosts = hosts("AcceptEnv GIVEN LANG", PATIENT);
    let whose = hosts.ssh_config();
    hosts.set_ssh_config("SetEnv GIVEN=kept\nSendEnv LANG", &whose);
    let note = "echo \"$GIVEN\" >>\"$dir/given\"";
    for node in ["a", "b"] {
        hosts.bot.before("start", node, note);
    }
    for to in ["a", "b", "a", "b"] {
        hosts.run(&format!("promote --to {to}"));
        assert_eq!(hosts.bot.runs_on(), [to]);
    }
    let given = std::fs::read_to_string(hosts.bot.path().join("given")).unwrap();
    assert_eq!(given, "kept\n".repeat(4));
}

#[test]
fn a_session_that_is_refused_is_asked_for_by_an_ssh() {
    let hosts = hosts("MaxSessions 1", PATIENT);
    let list = std::fs::read_to_string(hosts.network.config()).unwrap();
    let list = list.replace("[chains]\n", "[chains]\nother = [\"a\"]\n");
    // Once the one is in place, its status lasts until the other has been started.
    let directory = hosts.bot.path().display();
    let other = format!(
        "[services.other]\nstatus = \"test ! -e {directory}/lasts || until grep -q start {directory}/log; do \
         sleep 0.1; done\"\nstart = \"true\"\nstop = \"true\"\ntimeout = \"60s\"\n"
    );
    hosts.network.rewrite(&format!("{list}\n{other}"));
    hosts.run("promote other").expect(0, "in-place");
    std::fs::write(hosts.bot.path().join("lasts"), "").unwrap();
    let logins = hosts.nodes[0].1.logins();
    let said = hosts.run("promote");
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(hosts.bot.runs_on(), ["a"]);
    assert!(hosts.nodes[0].1.logins() > logins);
}

#[test]
fn what_answers_on_the_socket_in_another_way_is_left_alone() {
    let hosts = hosts("", PATIENT);
    hosts.run("promote").expect(0, "started");
    let directory = hosts.network.path().join("mirror");
    let sockets = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let sockets: Vec<_> = sockets.filter(|path| path.extension().is_none()).collect();
    assert!(!sockets.is_empty());
    for socket in &sockets {
        std::fs::remove_file(socket).unwrap();
        // It takes everybody in, and closes.
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || listener.incoming().take(20).for_each(drop));
    }
    hosts.run("promote").expect(0, "in-place");
    assert_eq!(hosts.bot.acts(), 1);
}

#[test]
fn many_services_start_and_move_where_few_sessions_are_allowed() {
    let hosts = hosts("MaxSessions 4", PATIENT);
    let list = std::fs::read_to_string(hosts.network.config()).unwrap();
    let runs = |index: usize| format!("{}/s{index}-$NODE", hosts.bot.path().display());
    let service = |index: usize| {
        let file = runs(index);
        format!(
            "[services.s{index}]\nchain = \"bot\"\nstatus = \"test -e {file}\"\nstart = \"touch {file}\"\n\
             stop = \"rm {file}\"\ntimeout = \"60s\"\n"
        )
    };
    let services: String = (0..30).map(service).collect();
    hosts.network.rewrite(&format!("{list}\n{services}"));
    hosts.run("promote").expect(0, "started");
    hosts.run("promote --to b").expect(0, "moved");
    for index in 0..30 {
        let file = |node: &str| std::path::PathBuf::from(runs(index).replace("$NODE", node));
        assert!(file("b").exists() && !file("a").exists(), "s{index}");
    }
}
