//! A real sshd, and a client that checks its host key.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::processes::{descendants, kill, signal, wait_until_gone};
use super::{wait_for, write_program};

const SSHD: &str = "/usr/sbin/sshd";

/// Who logs in: a key, the host keys it knows, and an ssh configuration that uses these alone.
pub struct Client {
    directory: TempDir,
}

impl Client {
    /// With a fresh key, knowing no host.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        make_key(&path.join("key"));
        std::fs::write(path.join("known_hosts"), "").unwrap();
        let config = format!(
            "IdentityFile {dir}/key\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {dir}/known_hosts\n\
             GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\nUpdateHostKeys no\n",
            dir = path.display()
        );
        std::fs::write(path.join("config"), config).unwrap();
        Self { directory }
    }

    /// Its directory, with `key`, `key.pub`, `known_hosts` and `config` in it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The file for `ssh -F`.
    pub fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    /// `[remote] command` for a node list: a plain ssh without connection sharing.
    pub fn remote_command(&self) -> String {
        self.remote_command_with(&["-o", "ControlPath=none"])
    }

    /// `[remote] command` with these options of ssh. JSON's list of strings is TOML's too.
    pub fn remote_command_with(&self, options: &[&str]) -> String {
        let config = self.config();
        let mut words = vec!["ssh", "-F", config.to_str().unwrap(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"];
        words.extend(options);
        words.extend(["-p", "{port}", "-l", "{user}", "--", "{address}", "{command}"]);
        serde_json::to_string(&words).unwrap()
    }

    /// Writes an `ssh` that reads this client's configuration: the real one takes its settings from the home in the
    /// password file, which is not a test's.
    pub fn install_ssh(&self, path: &Path) {
        write_program(path, &format!("#!/bin/sh\nexec /usr/bin/ssh -F '{}' \"$@\"\n", self.config().display()));
    }

    /// For git's environment.
    pub fn git_ssh_command(&self) -> String {
        format!("ssh -F '{}' -o BatchMode=yes", self.config().display())
    }

    /// `ssh` to a server, running this.
    pub fn ssh(&self, sshd: &Sshd, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.config()).args(["-o", "BatchMode=yes", "-p", &sshd.port().to_string(), "--"]);
        ssh.args(["127.0.0.1", command]).stdin(Stdio::null());
        ssh
    }

    /// Takes the server's host key for known.
    fn trust(&self, sshd: &Sshd) {
        let key = std::fs::read_to_string(sshd.path().join("host_key.pub")).unwrap();
        let known = self.path().join("known_hosts");
        let mut text = std::fs::read_to_string(&known).unwrap();
        text += &format!("[127.0.0.1]:{} {}\n", sshd.port(), key.trim());
        std::fs::write(known, text).unwrap();
    }
}

/// An sshd on 127.0.0.1 and a port of its own. Dropped, it ends with everybody who is logged in.
pub struct Sshd {
    directory: TempDir,
    node: String,
    port: u16,
    server: Option<Child>,
}

impl Sshd {
    /// One that lets this client in and that it knows.
    pub fn new(client: &Client) -> Self {
        Self::named(client, "")
    }

    /// The same, in whose sessions `NODE` is this name.
    pub fn named(client: &Client, node: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_key(&directory.path().join("host_key"));
        std::fs::copy(client.path().join("key.pub"), directory.path().join("authorized_keys")).unwrap();
        let mut sshd = Self { directory, node: node.to_owned(), port: 0, server: None };
        sshd.choose_port();
        client.trust(&sshd);
        sshd
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, with `authorized_keys` and `log` in it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `{ address = …, port = …, user = … }` for a node list.
    pub fn node(&self) -> String {
        format!("{{ address = \"127.0.0.1\", port = {}, user = {:?} }}", self.port, user())
    }

    /// The processes of those who are connected.
    pub fn sessions(&self) -> Vec<i32> {
        self.pid().map(descendants).unwrap_or_default()
    }

    /// How many have logged in so far.
    pub fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Stops it in its tracks with all its sessions: connections are still accepted, by the kernel,
    /// and nothing answers. [`Self::kill`] and drop work all the same.
    pub fn freeze(&self) {
        let pid = self.pid().unwrap();
        signal(pid, Signal::STOP);
        for session in descendants(pid) {
            signal(session, Signal::STOP);
        }
    }

    /// Lets it go on, with its sessions.
    pub fn thaw(&self) {
        let pid = self.pid().unwrap();
        for process in descendants(pid).into_iter().chain([pid]) {
            signal(process, Signal::CONT);
        }
    }

    /// Ends it and its sessions at once; connections are refused from then on.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).unwrap();
        // Stopped, it can make no further children while they are counted.
        signal(pid, Signal::STOP);
        let sessions = descendants(pid);
        let _ = server.kill();
        let _ = server.wait();
        for session in &sessions {
            kill(*session);
        }
        for session in sessions {
            wait_until_gone(session);
        }
    }

    /// Starts it again after [`Self::kill`], on the same port.
    pub fn restart(&mut self) {
        assert!(self.server.is_none() && self.start(), "{}", self.log());
    }

    /// Starts it anew with these further lines of configuration.
    pub fn configure(&mut self, lines: &str) {
        std::fs::write(self.path().join("more"), lines).unwrap();
        self.kill();
        self.restart();
    }

    fn pid(&self) -> Option<i32> {
        self.server.as_ref().and_then(|server| i32::try_from(server.id()).ok())
    }

    /// Somebody else may take a free port before it does.
    fn choose_port(&mut self) {
        for _ in 0..5 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            self.port = free.local_addr().unwrap().port();
            drop(free);
            if self.start() {
                return;
            }
        }
        panic!("sshd does not start: {}", self.log());
    }

    fn start(&mut self) -> bool {
        if rustix::process::geteuid().is_root() {
            // Where root's sshd confines its unprivileged half; Debian makes it as the service starts.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let path = self.path();
        // A home of its own: what a person's shell does at a login is not for the tests. The first key exchange of
        // OpenSSH 9's list costs half a second of processor time.
        let config = format!(
            "KexAlgorithms curve25519-sha256\nListenAddress 127.0.0.1:{port}\nHostKey {dir}/host_key\nPidFile {dir}/pid\n\
             AuthorizedKeysFile {dir}/authorized_keys\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 200\n\
             PrintMotd no\nPrintLastLog no\nLogLevel VERBOSE\nSetEnv NODE={node} HOME={dir}\n{more}\n",
            more = std::fs::read_to_string(path.join("more")).unwrap_or_default(),
            node = self.node,
            port = self.port,
            dir = path.display()
        );
        std::fs::write(path.join("sshd_config"), config).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path.join("log")).unwrap();
        let mut server = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(path.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{SSHD}: {error}; install openssh-server"));
        let greets = wait_for("sshd greets", || match server.try_wait().unwrap() {
            Some(_) => Some(false),
            None => greets(self.port).then_some(true),
        });
        self.server = Some(server);
        greets
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The user who runs the tests, and the one that sshd lets in.
pub fn user() -> String {
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(name).unwrap().trim().to_owned()
}

fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}
