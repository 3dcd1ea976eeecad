//! Real etcd members on loopback, and what may stand between them and a client.
#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use three_mirror::register::etcd::Cluster;

use crate::support::wait_for;

/// Whether there is an etcd to test with; says so when there is none.
pub fn is_there() -> bool {
    let there = Command::new("etcd").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: no etcd here; install etcd-server");
    }
    there
}

/// Members of one cluster. Dropped, they are gone with all they kept.
pub struct Etcd {
    members: Vec<Member>,
    directory: tempfile::TempDir,
    tls: bool,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Etcd {
    /// So many members, over plain HTTP.
    pub fn new(members: usize) -> Self {
        Self::start_all(members, false)
    }

    /// One member over TLS, its certificate signed by a CA of its own, which lets in only who shows a
    /// certificate of that CA.
    pub fn over_tls() -> Self {
        Self::start_all(1, true)
    }

    fn start_all(count: usize, tls: bool) -> Self {
        let members = (0..count).map(|_| Member { client: free_port(), peer: free_port(), process: None }).collect();
        let directory = tempfile::tempdir().unwrap();
        if tls {
            make_certificates(directory.path());
        }
        let mut etcd = Self { members, directory, tls };
        for n in 0..count {
            etcd.start(n);
        }
        for n in 0..count {
            etcd.wait_for(n);
        }
        etcd
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }

    /// `http://…` of each member.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://127.0.0.1:{}", member.client)).collect()
    }

    pub fn port(&self, n: usize) -> u16 {
        self.members[n].client
    }

    pub fn cluster(&self) -> Cluster {
        let ca = self.tls.then(|| self.read("ca.pem"));
        let identity = self.tls.then(|| (self.read("cert.pem"), self.read("key.pem")));
        Cluster { endpoints: self.endpoints(), ca, identity, user: None }
    }

    /// Ends a member at once.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn restart(&mut self, n: usize) {
        self.kill(n);
        self.start(n);
        self.wait_for(n);
    }

    fn start(&mut self, n: usize) {
        let scheme = if self.tls { "https" } else { "http" };
        let peers = self.members.iter().enumerate().map(|(n, m)| format!("m{n}=http://127.0.0.1:{}", m.peer));
        let Member { client, peer, .. } = self.members[n];
        let path = self.directory.path();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{n}"), "--data-dir"])
            .arg(path.join(format!("m{n}")))
            .args(["--listen-client-urls", &format!("{scheme}://127.0.0.1:{client}")])
            .args(["--advertise-client-urls", &format!("{scheme}://127.0.0.1:{client}")])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-cluster", &peers.collect::<Vec<_>>().join(",")])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        if self.tls {
            command.arg("--cert-file").arg(path.join("cert.pem")).arg("--key-file").arg(path.join("key.pem"));
            command.arg("--trusted-ca-file").arg(path.join("ca.pem"));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path.join(format!("m{n}.log"))).unwrap();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.members[n].process = Some(process);
    }

    fn wait_for(&self, n: usize) {
        let port = self.members[n].client;
        wait_for("etcd listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for n in 0..self.members.len() {
            self.kill(n);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn make_certificates(directory: &Path) {
    let script = "set -e
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
            -days 2 -subj /CN=test-ca
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out csr.pem -subj /CN=etcd
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
        openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext";
    let made = Command::new("sh").args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Stands before a server, and cuts the connection instead of handing on an answer, as often as it
/// is told to.
pub struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&cuts);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || hand_on(from, to, || false));
                let left = Arc::clone(&left);
                let cut = move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                std::thread::spawn(move || hand_on(server, client, cut));
            }
        });
        Self { port, cuts }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts the next `n` answers.
    pub fn cut(&self, n: usize) {
        self.cuts.store(n, Ordering::SeqCst);
    }

    /// How many it has still to cut.
    pub fn left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, cut: impl Fn() -> bool) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        if cut() || to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
