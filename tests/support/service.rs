//! A service that is a real process on each node, and that tells what it was asked.

use std::path::Path;

use tempfile::TempDir;

use super::processes::{kill, lives, pid_in, wait_until_gone};

/// The service's files: who runs where, what was asked, and what it is to do before it answers.
pub struct Bot {
    directory: TempDir,
}

/// `[remote] command` of nodes that are all this machine: `NODE` tells the service which one it is.
pub const LOCAL: &str = r#"["env", "NODE={node}", "sh", "-c", "{command}"]"#;

impl Bot {
    /// Running nowhere.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("bot.sh"), include_str!("bot.sh")).unwrap();
        Self { directory }
    }

    /// Its directory; `log` in it has one line for each thing that was asked, such as `start a`.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `status`, `start` and `stop` for a node list.
    pub fn commands(&self) -> String {
        let line = |verb| format!("{verb} = \"sh {dir}/bot.sh {dir} {verb}\"\n", dir = self.path().display());
        ["status", "start", "stop"].map(line).concat()
    }

    /// Has a node do this shell script before `status`, `start` or `stop`; nothing when it is empty.
    pub fn before(&self, verb: &str, node: &str, script: &str) {
        std::fs::write(self.path().join(format!("{node}.{verb}")), script).unwrap();
    }

    /// How often this was asked, such as `start a`.
    pub fn count(&self, asked: &str) -> usize {
        self.log().lines().filter(|line| *line == asked).count()
    }

    /// How often anything was started or stopped anywhere.
    pub fn acts(&self) -> usize {
        self.log().lines().filter(|line| !line.starts_with("status")).count()
    }

    /// The nodes on which it runs.
    pub fn runs_on(&self) -> Vec<String> {
        let mut nodes: Vec<String> =
            self.pid_files().into_iter().filter(|(_, pid)| lives(*pid)).map(|(node, _)| node).collect();
        nodes.sort();
        nodes
    }

    /// Starts it on a node behind everybody's back.
    pub fn start_on(&self, node: &str) {
        let mut script = std::process::Command::new("sh");
        script.arg(self.path().join("bot.sh")).arg(self.path()).arg("start").env("NODE", node);
        assert!(script.status().unwrap().success());
    }

    /// Ends its process on a node behind everybody's back.
    pub fn crash(&self, node: &str) {
        let pid = pid_in(&self.path().join(format!("{node}.pid")));
        kill(pid);
        wait_until_gone(pid);
    }

    /// What was asked.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn pid_files(&self) -> Vec<(String, i32)> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let read = |path: &Path| {
            let node = path.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            Some((node, std::fs::read_to_string(path).ok()?.trim().parse().ok()?))
        };
        entries.filter_map(|entry| read(&entry.ok()?.path())).collect()
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        for (_, pid) in self.pid_files() {
            kill(pid);
        }
    }
}
