//! Commit objects, read and rewritten byte for byte.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::git::Git;

/// A commit object.
pub(super) struct CommitObject {
    pub(super) tree: String,
    raw: Vec<u8>,
}

impl CommitObject {
    /// The same commit on another parent. Author, encoding and message stay byte for byte; a
    /// signature is dropped, because it would no longer be valid.
    pub(super) fn with_parent(&self, parent: &str, tree: &str, committer: &str) -> Vec<u8> {
        self.with_parent_bytes(parent, tree, committer.as_bytes())
    }

    /// The same, where the committer need not be UTF-8.
    pub(super) fn with_parent_bytes(&self, parent: &str, tree: &str, committer: &[u8]) -> Vec<u8> {
        let mut moved = format!("tree {tree}\nparent {parent}\n").into_bytes();
        for (name, header) in self.kept_headers() {
            match name {
                b"committer" => moved.extend_from_slice(&[b"committer ", committer].concat()),
                _ => moved.extend_from_slice(header),
            }
            moved.push(b'\n');
        }
        moved.push(b'\n');
        moved.extend_from_slice(self.message());
        moved
    }

    /// The committer line, without its name.
    pub(super) fn committer(&self) -> &[u8] {
        let headers = self.kept_headers();
        let found = headers.iter().find(|(name, _)| *name == b"committer");
        found.and_then(|(_, header)| header.strip_prefix(b"committer ")).unwrap_or_default()
    }

    /// The headers that a replay keeps: name and whole header, with its continuation lines.
    pub(super) fn kept_headers(&self) -> Vec<(&[u8], &[u8])> {
        let headers = &self.raw[..self.headers_end()];
        let mut found: Vec<(&[u8], &[u8])> = Vec::new();
        let mut start = 0;
        while start < headers.len() {
            let rest = &headers[start..];
            let is_end = |at: &usize| rest[*at] == b'\n' && rest.get(at + 1) != Some(&b' ');
            let header = &rest[..(0..rest.len()).find(is_end).unwrap_or(rest.len())];
            let name = header.split(|byte| *byte == b' ').next().unwrap_or_default();
            if ![&b"tree"[..], b"parent", b"gpgsig", b"gpgsig-sha256"].contains(&name) {
                found.push((name, header));
            }
            start += header.len() + 1;
        }
        found
    }

    pub(super) fn message(&self) -> &[u8] {
        self.raw.get(self.headers_end() + 2..).unwrap_or_default()
    }

    /// The offset of the empty line after the headers.
    fn headers_end(&self) -> usize {
        self.raw.windows(2).position(|pair| pair == b"\n\n").unwrap_or(self.raw.len())
    }
}

/// Reads commits with one process.
pub(super) fn read_commits<'a>(git: &Git, ids: &[&'a str]) -> Result<HashMap<&'a str, CommitObject>> {
    let output = git.read_with(cmd!(git.shell(), "git cat-file --batch"), (ids.join("\n") + "\n").as_bytes())?;
    let mut commits = HashMap::new();
    let mut rest = &output[..];
    for id in ids {
        let end = rest.iter().position(|byte| *byte == b'\n').context("git cat-file printed too little")?;
        let header = String::from_utf8_lossy(&rest[..end]);
        let Some(length) = header.strip_prefix(&format!("{id} commit ")) else {
            bail!("unexpected output of git cat-file: {header:?}");
        };
        let length: usize = length.parse()?;
        let raw = rest.get(end + 1..end + 1 + length).context("git cat-file printed too little")?.to_owned();
        rest = rest.get(end + 2 + length..).context("git cat-file printed too little")?;
        let first = raw.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let tree = String::from_utf8_lossy(first).trim_start_matches("tree ").to_owned();
        commits.insert(*id, CommitObject { tree, raw });
    }
    Ok(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_on_another_parent_keeps_all_but_committer_and_signature() {
        let raw = b"tree aa\nparent bb\nauthor A \xe9 <a@b> 1 +0100\ncommitter C <c@d> 2 +0000\n\
                    gpgsig -----BEGIN\n line\n -----END\nencoding latin1\n\nsubject \xe9\n\nbody\n\n\n"
            .to_vec();
        let commit = CommitObject { tree: "aa".to_owned(), raw };
        let moved = commit.with_parent("pp", "tt", "N <n@n> 3 +0000");
        let wanted = b"tree tt\nparent pp\nauthor A \xe9 <a@b> 1 +0100\ncommitter N <n@n> 3 +0000\n\
                       encoding latin1\n\nsubject \xe9\n\nbody\n\n\n";
        assert_eq!(String::from_utf8_lossy(&moved), String::from_utf8_lossy(wanted));
        assert_eq!(moved, wanted);
    }
}
