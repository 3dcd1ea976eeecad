//! A git that sees nobody's settings: every question about history, and every merge, has the same answer on
//! every node.
//!
//! It works on the objects of the clone through a bare git directory of its own. Grafts, replaced objects,
//! attributes and drivers of the clone, and the settings of its user, do not reach it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xshell::{Cmd, cmd};

use super::super::merged_tree::MergedTree;
use crate::exec::{Ended, Finished};
use crate::git::{self, Git};

/// Below the directory of the breath.
const DIRECTORY: &str = "engine";
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";

/// The git of the mesh.
pub(super) struct Engine<'a> {
    git: &'a Git,
    directory: PathBuf,
    objects: PathBuf,
}

impl<'a> Engine<'a> {
    /// Makes its directory anew where a file of it is not as it should be.
    pub(super) fn open(git: &'a Git) -> Result<Self> {
        let directory = git.common().join("mirror").join(DIRECTORY);
        let object_format = git.setting("extensions.objectformat").filter(|format| *format != "sha1");
        let config = match object_format {
            Some(format) => {
                let config = CONFIG.replace("= 0", "= 1");
                format!("{config}[extensions]\n\tobjectFormat = {format}\n")
            }
            None => CONFIG.to_owned(),
        };
        for (name, text) in [("config", &config[..]), ("HEAD", "ref: refs/heads/none\n")] {
            if fs::read_to_string(directory.join(name)).ok().as_deref() != Some(text) {
                for made in ["refs", "objects"] {
                    fs::create_dir_all(directory.join(made)).with_context(|| directory.display().to_string())?;
                }
                crate::fsutil::replace(&directory.join(name), text.as_bytes(), crate::fsutil::Durability::Cached)?;
            }
        }
        Ok(Self { git, directory, objects: git.common().join("objects") })
    }

    fn run(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Finished> {
        let cmd = cmd.env("GIT_DIR", &self.directory).env("GIT_OBJECT_DIRECTORY", &self.objects);
        self.git.run_isolated(cmd, input)
    }

    fn read(&self, cmd: Cmd<'_>, input: &[u8]) -> Result<Vec<u8>> {
        let shown = cmd.to_string();
        let finished = self.run(cmd, input)?;
        if !finished.success() {
            bail!("{shown}: {}", git::error_line(&finished));
        }
        Ok(finished.stdout)
    }

    /// Whether `new` contains `old`.
    pub(super) fn is_ancestor(&self, old: &str, new: &str) -> Result<bool> {
        if old == new {
            return Ok(true);
        }
        let asked = self.run(cmd!(self.git.shell(), "git merge-base --is-ancestor {old} {new}"), b"")?;
        match asked.ended {
            Ended::Exited(0) => Ok(true),
            Ended::Exited(1) => Ok(false),
            _ => bail!("git merge-base: {}", git::error_line(&asked)),
        }
    }

    /// Those that no other one contains.
    pub(super) fn independent(&self, commits: &[&str]) -> Result<Vec<String>> {
        if commits.len() < 2 {
            return Ok(commits.iter().map(|&commit| commit.to_owned()).collect());
        }
        let found = self.read(cmd!(self.git.shell(), "git merge-base --independent {commits...}"), b"")?;
        Ok(String::from_utf8_lossy(&found).lines().map(str::to_owned).collect())
    }

    /// The commits that `wanted` have and `without` lack, newest first, each with its author's address and
    /// its parents.
    pub(super) fn log(&self, wanted: &[&str], without: &[&str]) -> Result<Vec<Logged>> {
        let minus = without.iter().map(|commit| format!("^{commit}\n"));
        let input: String = wanted.iter().map(|commit| format!("{commit}\n")).chain(minus).collect();
        let format = "--format=%P%x09%ae";
        let log = cmd!(self.git.shell(), "git rev-list --topo-order {format} --stdin");
        let text = self.read(log, input.as_bytes())?;
        let mut logged = Vec::new();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text.lines();
        while let (Some(header), Some(line)) = (lines.next(), lines.next()) {
            let Some((commit, (parents, author))) = header.strip_prefix("commit ").zip(line.split_once('\t')) else {
                bail!("unexpected output of git rev-list: {header:?} {line:?}");
            };
            let parents = parents.split(' ').filter(|id| !id.is_empty()).map(str::to_owned).collect();
            logged.push(Logged { commit: commit.to_owned(), parents, author: author.to_owned() });
        }
        Ok(logged)
    }

    /// Whether all that these commits reach is here, as far as `known` does not tell.
    pub(super) fn is_complete(&self, commits: &[&str], known: &[&str]) -> Result<bool> {
        let minus = known.iter().map(|commit| format!("^{commit}\n"));
        let input: String = commits.iter().map(|commit| format!("{commit}\n")).chain(minus).collect();
        let walk = cmd!(self.git.shell(), "git rev-list --objects --quiet --stdin");
        Ok(self.run(walk, input.as_bytes())?.success())
    }

    /// Those that are here as commits.
    pub(super) fn present(&self, commits: &[&str]) -> Result<Vec<String>> {
        let input: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let found = self.read(cmd!(self.git.shell(), "git cat-file --batch-check"), input.as_bytes())?;
        let found = String::from_utf8_lossy(&found).into_owned();
        let is_commit = |line: &&str| line.split(' ').nth(1) == Some("commit");
        Ok(found.lines().filter(is_commit).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// The committer's time of each commit, in seconds.
    pub(super) fn times(&self, commits: &[&str]) -> Result<HashMap<String, i64>> {
        let show = cmd!(self.git.shell(), "git rev-list --no-walk=unsorted --format=%H%x09%ct {commits...}");
        let text = self.read(show, b"")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(pairs.filter_map(|(id, time)| Some((id.to_owned(), time.parse().ok()?))).collect())
    }

    /// Merges two commits. The exit status decides, whatever is listed.
    pub(super) fn merge_trees(&self, ours: &str, theirs: &str) -> Result<MergedTree> {
        let merge = cmd!(self.git.shell(), "git merge-tree --write-tree --name-only --no-messages -z {ours} {theirs}");
        let merged = self.run(merge.env("GIT_ATTR_SOURCE", ours), b"")?;
        match MergedTree::read(&merged) {
            Some(merged) => Ok(merged),
            None if merged.ended == Ended::Exited(1) || merged.stderr.contains("unrelated histories") => {
                Ok(MergedTree::Conflict(Vec::new()))
            }
            None => bail!("git merge-tree: {}", git::error_line(&merged)),
        }
    }
}

/// A commit of a history.
pub(super) struct Logged {
    pub(super) commit: String,
    pub(super) parents: Vec<String>,
    /// The author's address.
    pub(super) author: String,
}
