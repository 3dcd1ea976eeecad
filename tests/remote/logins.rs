//! What may answer a login in place of the command, and what a person's ssh_config says: only what
//! provably ran counts.

use std::path::Path;

use serde_json::Value;

use super::only;
use crate::support::mirror::{Network, Said, Started};
use crate::support::processes::{kill, lives, pid_in, wait_until_gone};
use crate::support::service::Bot;
use crate::support::sshd::{Client, Sshd};
use crate::support::{wait_for, write_program};

/// Nodes that are each an sshd of its own, in a chain of that order.
pub(super) struct Hosts {
    pub(super) bot: Bot,
    client: Client,
    pub(super) nodes: Vec<(String, Sshd)>,
    pub(super) network: Network,
    /// `[remote]` of the node list.
    remote: String,
}

/// How commands get to a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Through {
    /// The default, which finds in `PATH` an ssh that reads the client's configuration.
    Default,
    /// A template of the node list's own.
    Template,
}

impl Hosts {
    /// With these names, each with further lines of its sshd's configuration, and these further lines of
    /// the node list, of which the first belong to the service.
    pub(super) fn new(through: Through, nodes: &[(&str, String)], more: &str) -> Self {
        let client = Client::new();
        let start = |(name, lines): &(&str, String)| {
            let mut sshd = Sshd::named(&client, name);
            if !lines.is_empty() {
                sshd.configure(lines);
            }
            ((*name).to_owned(), sshd)
        };
        let nodes: Vec<_> = nodes.iter().map(start).collect();
        let remote = match through {
            Through::Default => String::new(),
            Through::Template => format!("[remote]\ncommand = {}\n", client.remote_command()),
        };
        let hosts = Self { bot: Bot::new(), client, nodes, network: Network::new(""), remote };
        hosts.list(&hosts.nodes, more);
        hosts.client.install_ssh(&hosts.network.path().join("bin/ssh"));
        hosts
    }

    /// Makes a node list of these.
    fn list(&self, nodes: &[(String, Sshd)], more: &str) {
        let rows: String = nodes.iter().map(|(name, sshd)| format!("{name} = {}\n", sshd.node())).collect();
        let names: Vec<String> = nodes.iter().map(|(name, _)| format!("{name:?}")).collect();
        self.network.rewrite(&format!(
            "{}[probe]\ntimeout = \"10s\"\n[nodes]\n{rows}[chains]\nbot = [{}]\n[services.bot]\n{}\n{more}\n",
            self.remote,
            names.join(", "),
            self.bot.commands()
        ));
    }

    /// The client's configuration as it stands.
    pub(super) fn ssh_config(&self) -> String {
        std::fs::read_to_string(self.client.config()).unwrap()
    }

    fn command(&self, words: &str) -> std::process::Command {
        let mut path = self.network.path().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = self.network.mirror(words.split_whitespace());
        command.env("PATH", path);
        command
    }

    pub(super) fn run(&self, words: &str) -> Said {
        crate::support::mirror::run(self.command(words))
    }

    /// A person's own lines, at the top of their configuration.
    pub(super) fn set_ssh_config(&self, before: &str, lines: &str) {
        std::fs::write(self.client.config(), format!("{before}\n{lines}\n")).unwrap();
    }
}

fn force(command: &str) -> String {
    format!("ForceCommand {command}")
}

/// The logins that run nothing, and answer all the same.
fn refusals() -> Vec<(&'static str, String)> {
    [
        ("nologin", "echo 'This account is currently not available.'; exit 1"),
        ("expired", "echo 'Password change required but no TTY available.' >&2; exit 1"),
        ("banner", "echo 'Please login as the user \"admin\" rather than the user \"root\".'; exit 0"),
        ("true", "/bin/true"),
        ("false", "/bin/false"),
        ("sftp", "internal-sftp"),
        ("exit3", "exit 3"),
        ("liar", "echo 'hello'; echo '0 status 0'; echo '0 end'; exit 0"),
        ("echo", "timeout 2 cat"),
        ("broken", "/nonexistent/shell"),
    ]
    .map(|(name, command)| (name, force(command)))
    .to_vec()
}

#[test]
fn a_login_that_runs_nothing_means_neither_running_nor_stopped() {
    for through in [Through::Default, Through::Template] {
        let hosts = Hosts::new(through, &refusals(), "timeout = \"8s\"");
        let said = hosts.run("promote");
        assert_eq!(said.status, 3, "{through:?}: {said:?}");
        let object = said.json();
        let steps = only(&object)["steps"].as_array().unwrap();
        assert!(steps.iter().all(|step| step["step"] != "start" && step["outcome"] != "confirmed"), "{object:#}");
        assert_eq!(hosts.bot.log(), "");
    }
}

#[test]
fn a_node_that_refuses_the_login_has_not_stopped_its_service() {
    for through in [Through::Default, Through::Template] {
        let nodes = ["a", "b"].map(|name| (name, String::new()));
        let mut hosts = Hosts::new(through, &nodes, "timeout = \"6s\"");
        hosts.run("promote").expect(0, "started");
        hosts.nodes[0].1.configure(&force("echo 'Password change required.' >&2; exit 1"));
        let object = hosts.run("promote --to b").expect(3, "blocked");
        assert_eq!(only(&object)["fencing"], Value::Null);
        let stop = &only(&object)["steps"][0];
        assert_eq!((&stop["node"], &stop["cause"]), (&"a".into(), &"unframed".into()), "{object:#}");
        assert!(stop["detail"].as_str().unwrap().contains("Password change required."), "{object:#}");
        assert_eq!(hosts.bot.runs_on(), ["a"]);
    }
}

/// The login shells that there are, each as the forced command that passes on what is asked for, and one
/// that says more than that.
fn login_shells() -> Vec<(&'static str, String)> {
    let shells = [
        ("sh", "/bin/sh"),
        ("bash", "/bin/bash"),
        ("rbash", "/bin/rbash"),
        ("csh", "/bin/tcsh"),
        ("fish", "/usr/bin/fish"),
        ("zsh", "/usr/bin/zsh"),
        ("mksh", "/bin/mksh"),
        ("busybox", "/bin/busybox sh"),
    ];
    let there = shells.into_iter().filter(|(_, shell)| {
        let program = shell.split(' ').next().unwrap_or_default();
        Path::new(program).exists() || {
            eprintln!("skipped: no {program}");
            false
        }
    });
    let mut nodes: Vec<_> =
        there.map(|(name, shell)| (name, force(&format!("{shell} -c \"$SSH_ORIGINAL_COMMAND\"")))).collect();
    let noisy = "echo motd; printf 'no newline'; echo warning >&2; sh -c \"$SSH_ORIGINAL_COMMAND\"; echo bye; exit 7";
    nodes.push(("noisy", force(noisy)));
    nodes
}

#[test]
fn a_command_means_the_same_under_every_login_shell() {
    for through in [Through::Default, Through::Template] {
        let hosts = Hosts::new(through, &login_shells(), "timeout = \"60s\"");
        hosts.run("promote").expect(0, "started");
        // Each has two nodes to ask, and not all.
        for pair in hosts.nodes.windows(2) {
            hosts.list(pair, "timeout = \"60s\"");
            let name = &pair[1].0;
            let object = hosts.run(&format!("promote --to {name}")).expect(0, "moved");
            assert_eq!(only(&object)["fencing"], "confirmed", "{through:?} {name}: {object:#}");
            assert_eq!(hosts.bot.runs_on(), [name.as_str()]);
        }
    }
}

#[test]
fn a_start_that_the_lease_refuses_takes_no_effect_under_any_login_shell() {
    let nodes = login_shells();
    let bin = tempfile::tempdir().unwrap();
    write_program(&bin.path().join("mirror"), "#!/bin/sh\nexit 1\n");
    let path = format!("ForceCommand export PATH={}:$PATH; ", bin.path().display());
    let nodes: Vec<_> =
        nodes.into_iter().map(|(name, lines)| (name, lines.replacen("ForceCommand ", &path, 1))).collect();
    let register = bin.path().join("lease.git");
    let made =
        std::process::Command::new("git").args(["init", "-q", "-b", "main", "--bare"]).arg(&register).status().unwrap();
    assert!(made.success());
    let more = format!(
        "lease = {{ guard = \"tick\", valid = \"20s\" }}\ntimeout = \"3s\"\n[cycle]\ncheck = \"1s\"\n\
         [lease]\nstore = \"git\"\nremote = \"{}\"\n",
        register.display()
    );
    let hosts = Hosts::new(Through::Default, &nodes, &more);
    let said = hosts.run("promote");
    assert_ne!(said.status, 0, "{said:?}");
    assert!(hosts.bot.acts() == hosts.bot.log().matches("stop ").count(), "{}", hosts.bot.log());
}

#[test]
fn a_persons_ssh_config_does_not_change_what_is_done_on_a_node() {
    let nodes = ["a", "b"].map(|name| (name, String::new()));
    let hosts = Hosts::new(Through::Default, &nodes, "timeout = \"60s\"");
    let port = hosts.nodes[0].1.port();
    let forward = format!("LocalForward {port} 127.0.0.1:1\nExitOnForwardFailure yes");
    let whose = hosts.ssh_config();
    let lines = [
        "RemoteCommand tmux new -A -s main",
        "RemoteCommand true\nRequestTTY force",
        "SessionType none",
        "SessionType subsystem",
        "ForkAfterAuthentication yes",
        &forward,
        "RemoteForward 1 127.0.0.1:1\nExitOnForwardFailure yes",
        "Tunnel yes",
        "StdinNull yes",
        "LogLevel DEBUG3",
        "LogLevel QUIET",
        "PermitLocalCommand yes\nLocalCommand echo hi; exit 1",
        "ControlMaster yes\nControlPath none\nControlPersist no",
        "VisualHostKey yes",
        "BatchMode no\nCompression yes",
        "EscapeChar a",
        "SendEnv *\nSetEnv A=b",
        "AddKeysToAgent yes",
        "IgnoreUnknown UseKeychain\nUseKeychain yes\nObscureKeystrokeTiming interval:80",
    ];
    hosts.run("promote").expect(0, "started");
    for (index, line) in lines.iter().enumerate() {
        hosts.set_ssh_config(line, &whose);
        // A connection of its own, on which nothing of the ones before is left.
        let runtime = hosts.network.path().join(format!("r{index}"));
        std::fs::create_dir(&runtime).unwrap();
        let to = if index % 2 == 0 { "b" } else { "a" };
        let mut command = hosts.command(&format!("promote --to {to}"));
        command.env("XDG_RUNTIME_DIR", &runtime);
        let said = crate::support::mirror::run(command);
        assert_eq!(said.status, 0, "{line}: {said:?}");
        assert_eq!(hosts.bot.runs_on(), [to], "{line}");
    }
}

#[test]
fn what_a_node_still_runs_ends_with_the_connection() {
    for through in [Through::Default, Through::Template] {
        let hosts = Hosts::new(through, &[("a", String::new())], "timeout = \"100s\"");
        // One of its children has left the tree of processes.
        let hangs = "sleep 3600 & echo $! >\"$dir/child\"; (sleep 3600 & echo $! >\"$dir/stray\"); \
                     echo $$ >\"$dir/hangs\"; exec sleep 3600";
        hosts.bot.before("start", "a", hangs);
        let mut command = hosts.command("promote");
        command.stdout(std::process::Stdio::null());
        let started = Started::new(command);
        let file = hosts.bot.path().join("hangs");
        wait_for("the start hangs", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')).then_some(())
        });
        kill(started.pid());
        for name in ["hangs", "child", "stray"] {
            let pid = pid_in(&hosts.bot.path().join(name));
            wait_until_gone(pid);
            assert!(!lives(pid));
        }
    }
}
