//! The real binary with a node list of its own: write it, run a command, read the object.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::LONG;
use super::processes::{GLANCE, status_number};

/// The binary under test.
pub const MIRROR: &str = env!("CARGO_BIN_EXE_mirror");

/// A directory with a node list and the state that belongs to it.
pub struct Network {
    directory: TempDir,
}

impl Network {
    /// A network with this node list. `{dir}` in it becomes the network's own directory.
    pub fn new(node_list: &str) -> Self {
        let network = Self { directory: tempfile::tempdir().unwrap() };
        network.rewrite(node_list);
        network
    }

    /// Replaces the node list.
    pub fn rewrite(&self, node_list: &str) {
        let text = node_list.replace("{dir}", self.path().to_str().unwrap());
        std::fs::write(self.config(), text).unwrap();
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its node list.
    pub fn config(&self) -> PathBuf {
        self.path().join("mirror.toml")
    }

    /// `mirror` with these arguments, not yet run.
    pub fn mirror<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.program(MIRROR, arguments)
    }

    /// Any program, in the surroundings in which `mirror` finds this network and nothing else.
    pub fn program<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("MIRROR_SELF")
            .env("MIRROR_CONFIG", self.config())
            .env("STATE_DIRECTORY", self.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.path())
            .env("MIRROR", MIRROR)
            .stdin(Stdio::null());
        command
    }

    /// Runs `mirror` with these words, to its end.
    pub fn run(&self, words: &str) -> Said {
        run(self.mirror(words.split_whitespace()))
    }

    /// Runs a shell script in which `mirror` is `"$MIRROR"`.
    pub fn shell(&self, script: &str) -> Said {
        run(self.program("sh", ["-c", script]))
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit status; 128 and the signal when one ended it, as a shell has it.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    /// The most memory it was seen to hold, in KiB.
    pub peak_kib: u64,
    /// The most threads it was seen to have.
    pub threads: u64,
}

impl Said {
    /// The one object and newline that it printed.
    pub fn json(&self) -> Value {
        let line = self.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no newline ends it: {self:?}"));
        assert!(!line.contains('\n'), "more than one line: {self:?}");
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Its object, after a check of status and verdict.
    pub fn expect(&self, status: i32, verdict: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let object = self.json();
        assert_eq!(object["verdict"], verdict, "{object:#}");
        object
    }

    /// Checks that it refused: status 2, nothing on stdout, one line on stderr.
    pub fn expect_misuse(&self) -> &str {
        assert_eq!((self.status, self.stdout.as_str()), (2, ""), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        &self.stderr
    }
}

/// What the object says of a node.
pub fn node<'a>(object: &'a Value, name: &str) -> &'a Value {
    let nodes = object["nodes"].as_array().expect("nodes is a list");
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("no {name} in {object:#}"))
}

/// Runs a command to its end and collects what it says.
///
/// # Panics
/// When it does not end in time; it is killed then.
pub fn run(command: Command) -> Said {
    Started::new(command).end()
}

/// Runs a command whose standard output goes elsewhere.
///
/// # Panics
/// When it does not end in time; it is killed then.
pub fn run_into(command: Command, stdout: Stdio) -> Said {
    Started::into(command, stdout).end()
}

/// A command under way. Dropped before its end, it is killed.
pub struct Started {
    child: Child,
    begun: Instant,
    readers: [Option<std::thread::JoinHandle<String>>; 2],
}

impl Started {
    /// Starts it, and collects its output.
    pub fn new(command: Command) -> Self {
        Self::into(command, Stdio::piped())
    }

    /// Starts it with its standard output elsewhere.
    pub fn into(mut command: Command, stdout: Stdio) -> Self {
        command.stdout(stdout).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { child, begun, readers: [stdout, stderr] }
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn end(mut self) -> Said {
        let (mut peak_kib, mut threads) = (0, 0);
        let status = loop {
            let number = |key| status_number(self.child.id(), key).unwrap_or(0);
            peak_kib = number("VmHWM").max(peak_kib);
            threads = number("Threads").max(threads);
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.begun.elapsed() < LONG, "it does not end");
            std::thread::sleep(GLANCE);
        };
        let took = self.begun.elapsed();
        let [stdout, stderr] = self.readers.each_mut().map(|reader| reader.take().map(|r| r.join().unwrap()));
        let (stdout, stderr) = (stdout.unwrap_or_default(), stderr.unwrap_or_default());
        Said { status: number_of(status), stdout, stderr, took, peak_kib, threads }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

fn number_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
