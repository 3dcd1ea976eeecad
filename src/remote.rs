//! A command on a node: through `[remote] command`, or `sh -c` on the own node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::chain::Name;
use crate::config::{Config, Node};
use crate::template;

/// A shared connection is kept for so long after its last use.
const KEPT_OPEN: &str = "10m";
/// A Unix socket's path has room for 107 bytes; ssh adds 40 of its own and 17 while it makes one.
const LONGEST_SOCKET_DIRECTORY: usize = 48;

/// How commands reach the nodes.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Of the configuration; empty for the default, which is made when it is first needed: most looks
    /// run no command, and whether a shared connection can be had takes a trial.
    command: Vec<String>,
    default: OnceLock<Vec<String>>,
    probe_timeout: Duration,
    local_node: Option<Name>,
}

impl Remote {
    /// By the configuration in force, seen from the node `own`.
    pub fn new(config: &Config, local_node: Option<&Name>) -> Self {
        let (command, probe_timeout) = (config.remote_command.clone(), config.probe_timeout);
        Self { command, default: OnceLock::new(), probe_timeout, local_node: local_node.cloned() }
    }

    fn template(&self) -> &[String] {
        if self.command.is_empty() {
            self.default.get_or_init(|| through_ssh(self.probe_timeout))
        } else {
            &self.command
        }
    }

    /// The arguments, program first, that run the shell command `command` on `node`.
    pub fn words(&self, name: &Name, node: &Node, command: &str) -> Vec<String> {
        if self.local_node.as_ref() == Some(name) {
            return ["sh", "-c", command].map(str::to_owned).to_vec();
        }
        let value = |template: &str| match template {
            "node" => Some(name.to_string()),
            "address" => Some(node.address.to_string()),
            "port" => Some(node.port.to_string()),
            "user" => Some(node.user.clone()),
            "command" => Some(command.to_owned()),
            _ => None,
        };
        self.template().iter().map(|word| template::fill(word, value)).collect()
    }

    /// The process that runs the shell command `command` on `node`.
    pub fn command(&self, name: &Name, node: &Node, command: &str) -> Command {
        let words = self.words(name, node, command);
        let mut process = Command::new(words.first().map_or("", String::as_str));
        process.args(words.iter().skip(1));
        process
    }
}

fn through_ssh(timeout: Duration) -> Vec<String> {
    let mut words = vec!["ssh".to_owned()];
    words.extend(ssh_options(timeout));
    words.extend(["-p", "{port}", "-l", "{user}", "--", "{address}", "{command}"].map(str::to_owned));
    words
}

/// What git is to call instead of `ssh`, so that it shares the connections too.
pub fn git_ssh_command(timeout: Duration) -> String {
    let quoted = ssh_options(timeout).into_iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    format!("ssh {}", quoted.collect::<Vec<_>>().join(" "))
}

/// The options of every ssh: never prompt, notice a dead peer, share connections.
///
/// Nothing here touches the checking of host keys.
fn ssh_options(timeout: Duration) -> Vec<String> {
    let connect_timeout = format!("ConnectTimeout={}", timeout.as_secs_f64().ceil().max(1.0));
    // A peer that is gone is noticed after 2 s, so that a shared connection to it soon ends.
    let mut options: Vec<String> =
        ["BatchMode=yes", &connect_timeout, "ServerAliveInterval=1", "ServerAliveCountMax=2"]
            .map(str::to_owned)
            .to_vec();
    if let Some(directory) = socket_directory() {
        options.push("ControlMaster=auto".to_owned());
        options.push(format!("ControlPath={}/%C", directory.display()));
        options.push(format!("ControlPersist={KEPT_OPEN}"));
    }
    options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
}

/// The directory of the shared connections' sockets: our own, and closed to others. None, and thus
/// no sharing, where there is no such place.
fn socket_directory() -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let local_node = rustix::process::geteuid();
    let candidates = [
        runtime.map(|path| path.join("mirror")),
        local_node.is_root().then(|| PathBuf::from("/run/mirror")),
        Some(PathBuf::from(format!("/tmp/mirror-{}", local_node.as_raw()))),
    ];
    candidates.into_iter().flatten().find(|path| is_private(path))
}

/// Makes the directory where it is missing, and takes one that is there only when nobody else can
/// enter it: a socket in it is as good as a login.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    // ssh would expand a % and split at a space, so such a place is not used.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = path.to_str().is_some_and(|text| text.len() <= LONGEST_SOCKET_DIRECTORY && text.chars().all(plain));
    if !fits {
        return false;
    }
    let _ = std::fs::DirBuilder::new().mode(0o700).create(path);
    let ours = std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0
    });
    ours && takes_a_socket(path)
}

/// Whether a socket can be made there: ssh gives up altogether where it cannot, as on a full or a
/// read-only disk, and every node would seem to be dead.
fn takes_a_socket(directory: &Path) -> bool {
    let path = directory.join(format!("try-{}", std::process::id()));
    let made = std::os::unix::net::UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    made.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = r#"
            nodes = { a = "192.0.2.1", b = { address = "2001:db8::1", port = 2222, user = "bot" } }
            chains = { brain = ["a", "b"] }
            [remote]
            command = ["run", "on={node}", "{user}@{address}:{port}", "{command}"]
        "#;
        crate::config::parse(Path::new("t.toml"), text).expect("parses").config
    }

    #[test]
    fn a_command_is_one_argument_whatever_is_in_it() {
        let config = config();
        let remote = Remote::new(&config, None);
        let (name, node) = config.node("b").expect("is there");
        let words = remote.words(name, node, "echo {node} 'x y'; \"$HOME\"");
        assert_eq!(words, ["run", "on=b", "bot@2001:db8::1:2222", "echo {node} 'x y'; \"$HOME\""]);
    }

    #[test]
    fn the_own_node_is_not_reached_over_the_network() {
        let config = config();
        let (name, node) = config.node("a").expect("is there");
        let remote = Remote::new(&config, Some(name));
        assert_eq!(remote.words(name, node, "true"), ["sh", "-c", "true"]);
    }
}
