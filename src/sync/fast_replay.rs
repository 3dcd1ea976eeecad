//! Replays commits with one process if local and incoming commits have no path in common. Then there
//! is nothing to merge: the changes of each commit are applied again by `git fast-import`.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::commit::CommitObject;
use super::diff::{TreeChange, tree_changes};
use crate::git::{self, Git};

/// The ref that `git fast-import` builds under. Only breaths write it.
pub(super) const REF: &str = "refs/breath-carried";

/// Replays `line`, a list of commits each with its one parent, onto `upstream`. None if that needs a
/// merge, or a commit has a header that `git fast-import` cannot express.
pub(super) fn fast_replay(
    git: &Git,
    line: &[Vec<&str>],
    commits: &HashMap<&str, CommitObject>,
    upstream: &str,
    committer: &str,
) -> Result<Option<String>> {
    let Some(base) = line.first().and_then(|commit| commit.get(1)) else {
        return Ok(None);
    };
    let incoming = TouchedPaths::of(&tree_changes(git, base, upstream)?);
    let changes = path_changes(git, line)?;
    if changes.values().flatten().any(|change| incoming.overlaps(&change.path)) {
        return Ok(None);
    }
    let mut stream = Vec::new();
    for (n, id) in line.iter().map(|commit| commit[0]).enumerate() {
        let commit = commits.get(id).with_context(|| format!("commit {id} is missing"))?;
        let Some(headers) = import_headers(commit, committer) else {
            return Ok(None);
        };
        stream.extend_from_slice(format!("commit {REF}\nmark :{}\n", n + 1).as_bytes());
        stream.extend_from_slice(&headers);
        write_message(&mut stream, commit.message());
        let parent = if n == 0 { upstream.to_owned() } else { format!(":{n}") };
        stream.extend_from_slice(format!("\nfrom {parent}\n").as_bytes());
        write_changes(&mut stream, changes.get(id).map(Vec::as_slice).unwrap_or_default());
    }
    stream.extend_from_slice(format!("get-mark :{}\ndone\n", line.len()).as_bytes());
    let import = cmd!(git.shell(), "git fast-import --quiet --force --date-format=raw-permissive");
    let output = git.read_with(import, &stream)?;
    let tip = String::from_utf8_lossy(&output).trim_end().to_owned();
    if !git::is_object_id(&tip) {
        bail!("unexpected output of git fast-import: {tip:?}");
    }
    Ok(Some(tip))
}

/// The paths that incoming commits touch, and their parent directories.
struct TouchedPaths {
    paths: HashSet<Vec<u8>>,
    dirs: HashSet<Vec<u8>>,
}

impl TouchedPaths {
    fn of(changes: &[TreeChange]) -> Self {
        let paths: HashSet<_> = changes.iter().map(|change| change.path.clone()).collect();
        let dirs = paths.iter().flat_map(|path| parents(path)).map(<[u8]>::to_owned).collect();
        Self { paths, dirs }
    }

    /// Whether this path is touched, or one side has a file where the other has a directory.
    fn overlaps(&self, path: &[u8]) -> bool {
        self.paths.contains(path) || self.dirs.contains(path) || parents(path).any(|dir| self.paths.contains(dir))
    }
}

/// The parent directories of a path.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// What a commit did to a path.
struct PathChange {
    path: Vec<u8>,
    /// Mode and object id; none if the path was removed.
    new: Option<(String, String)>,
}

/// The changes of each commit.
fn path_changes<'a>(git: &Git, line: &[Vec<&'a str>]) -> Result<HashMap<&'a str, Vec<PathChange>>> {
    let ids: String = line.iter().map(|commit| format!("{}\n", commit[0])).collect();
    let diff = cmd!(git.shell(), "git diff-tree --stdin -r -z --raw --no-renames --no-abbrev --always");
    let output = git.read_with(diff, ids.as_bytes())?;
    let mut changes: HashMap<&str, Vec<PathChange>> = HashMap::new();
    let mut current = None;
    let mut parts = output.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let text = String::from_utf8_lossy(part);
        let Some(header) = text.strip_prefix(':') else {
            current = line.iter().map(|commit| commit[0]).find(|id| *id == text.trim_end());
            continue;
        };
        let fields: Vec<_> = header.split(' ').collect();
        let (Some(commit), Some(path), [_, mode, _, id, _]) = (current, parts.next(), &fields[..]) else {
            bail!("unexpected output of git diff-tree: {text:?}");
        };
        let new = (*mode != "000000").then(|| ((*mode).to_owned(), (*id).to_owned()));
        changes.entry(commit).or_default().push(PathChange { path: path.to_owned(), new });
    }
    Ok(changes)
}

/// The headers of a commit as `git fast-import` reads them; none if it cannot express one of them.
fn import_headers(commit: &CommitObject, committer: &str) -> Option<Vec<u8>> {
    let (mut author, mut encoding) = (None, None);
    for (name, header) in commit.kept_headers() {
        match name {
            b"author" if author.is_none() && is_canonical(header) => author = Some(header),
            b"encoding" if encoding.is_none() => encoding = Some(header),
            b"committer" => {}
            _ => return None,
        }
    }
    let committer = format!("committer {committer}");
    let headers = [Some(author?), Some(committer.as_bytes()), encoding];
    Some(headers.into_iter().flatten().flat_map(|header| [header, b"\n"].concat()).collect())
}

fn write_message(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(format!("data {}\n", message.len()).as_bytes());
    out.extend_from_slice(message);
}

fn write_changes(out: &mut Vec<u8>, changes: &[PathChange]) {
    // Removals first: a new directory may replace a removed file.
    for change in changes.iter().filter(|change| change.new.is_none()) {
        out.extend_from_slice(&[b"D ", &quoted(&change.path)[..], b"\n"].concat());
    }
    for change in changes {
        if let Some((mode, id)) = &change.new {
            out.extend_from_slice(format!("M {mode} {id} ").as_bytes());
            out.extend_from_slice(&quoted(&change.path));
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// Whether an author line has exactly the form `author NAME <ADDRESS> SECONDS ZONE`.
fn is_canonical(header: &[u8]) -> bool {
    let count = |wanted: u8| header.iter().filter(|byte| **byte == wanted).count();
    let time = header.rsplit(|byte| *byte == b'>').next().unwrap_or_default();
    let time: Vec<_> = String::from_utf8_lossy(time).split(' ').map(str::to_owned).collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let zone = |text: &str| text.len() == 5 && text.starts_with(['+', '-']) && digits(&text[1..]);
    let is_time = matches!(&time[..], [empty, seconds, offset] if empty.is_empty() && digits(seconds) && zone(offset));
    is_time && count(b'<') == 1 && count(b'>') == 1 && !header.contains(&b'\n')
}

fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in path {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}
