//! A line of commits carried over by one process, where it and the incoming one touch no path in
//! common: then nothing needs merging, and what each commit did to its paths is done again.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::replay::Commit;
use super::turn;
use crate::git::{self, Git};

/// The ref that a carried line is built under. Only breaths write it.
pub(super) const REF: &str = "refs/breath-carried";

/// Carries `line`, each commit with its one parent, onto `upstream`. None where that takes a merge,
/// or a commit has what this cannot carry.
pub(super) fn carry(
    git: &Git,
    line: &[Vec<&str>],
    commits: &HashMap<&str, Commit>,
    upstream: &str,
    committer: &str,
) -> Result<Option<String>> {
    let Some(base) = line.first().and_then(|commit| commit.get(1)) else {
        return Ok(None);
    };
    let touched = Touched::by(&turn::changes(git, base, upstream)?);
    let done = deeds(git, line)?;
    if done.values().flatten().any(|deed| touched.meets(&deed.path)) {
        return Ok(None);
    }
    let mut stream = Vec::new();
    for (n, id) in line.iter().map(|commit| commit[0]).enumerate() {
        let commit = commits.get(id).with_context(|| format!("commit {id} is missing"))?;
        let deeds = done.get(id).map(Vec::as_slice).unwrap_or_default();
        let parent = if n == 0 { upstream.to_owned() } else { format!(":{n}") };
        if !write(&mut stream, n + 1, commit, &parent, committer, deeds) {
            return Ok(None);
        }
    }
    stream.extend_from_slice(format!("get-mark :{}\ndone\n", line.len()).as_bytes());
    let import = cmd!(git.shell(), "git fast-import --quiet --force --date-format=raw-permissive");
    let said = git.read_with(import, &stream)?;
    let tip = String::from_utf8_lossy(&said).trim_end().to_owned();
    if !git::is_id(&tip) {
        bail!("git fast-import said {tip:?}");
    }
    Ok(Some(tip))
}

/// The paths that incoming commits touch, and the directories that those are in.
struct Touched {
    paths: HashSet<Vec<u8>>,
    dirs: HashSet<Vec<u8>>,
}

impl Touched {
    fn by(changes: &[turn::Change]) -> Self {
        let paths: HashSet<_> = changes.iter().map(|change| change.path.clone()).collect();
        let dirs = paths.iter().flat_map(|path| dirs(path)).map(<[u8]>::to_owned).collect();
        Self { paths, dirs }
    }

    /// Whether this path is among them, or a file of the one stands where the other has a directory.
    fn meets(&self, path: &[u8]) -> bool {
        self.paths.contains(path) || self.dirs.contains(path) || dirs(path).any(|dir| self.paths.contains(dir))
    }
}

fn dirs(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// What a commit did to a path.
struct Deed {
    path: Vec<u8>,
    /// Mode and object, as they are said; none where the path went.
    new: Option<(String, String)>,
}

/// What each commit of the line did.
fn deeds<'a>(git: &Git, line: &[Vec<&'a str>]) -> Result<HashMap<&'a str, Vec<Deed>>> {
    let ids: String = line.iter().map(|commit| format!("{}\n", commit[0])).collect();
    let diff = cmd!(git.shell(), "git diff-tree --stdin -r -z --raw --no-renames --no-abbrev --always");
    let said = git.read_with(diff, ids.as_bytes())?;
    let mut done: HashMap<&str, Vec<Deed>> = HashMap::new();
    let mut current = None;
    let mut parts = said.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let text = String::from_utf8_lossy(part);
        let Some(about) = text.strip_prefix(':') else {
            current = line.iter().map(|commit| commit[0]).find(|id| *id == text.trim_end());
            continue;
        };
        let fields: Vec<_> = about.split(' ').collect();
        let (Some(commit), Some(path), [_, mode, _, id, _]) = (current, parts.next(), &fields[..]) else {
            bail!("git diff-tree said {text:?}");
        };
        let new = (*mode != "000000").then(|| ((*mode).to_owned(), (*id).to_owned()));
        done.entry(commit).or_default().push(Deed { path: path.to_owned(), new });
    }
    Ok(done)
}

/// Writes a commit as `git fast-import` reads it; false where it has more than can be said so.
fn write(out: &mut Vec<u8>, mark: usize, commit: &Commit, parent: &str, committer: &str, deeds: &[Deed]) -> bool {
    let (mut author, mut encoding) = (None, None);
    for (name, header) in commit.kept() {
        match name {
            b"author" if author.is_none() && is_plain(header) => author = Some(header),
            b"encoding" if encoding.is_none() => encoding = Some(header),
            b"committer" => {}
            _ => return false,
        }
    }
    let Some(author) = author else { return false };
    out.extend_from_slice(format!("commit {REF}\nmark :{mark}\n").as_bytes());
    for header in [Some(author), Some(format!("committer {committer}").as_bytes()), encoding].into_iter().flatten() {
        out.extend_from_slice(header);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("data {}\n", commit.message().len()).as_bytes());
    out.extend_from_slice(commit.message());
    out.extend_from_slice(format!("\nfrom {parent}\n").as_bytes());
    // What goes comes first, or a file would still stand where a directory is to be.
    for deed in deeds.iter().filter(|deed| deed.new.is_none()) {
        out.extend_from_slice(&[b"D ", &quoted(&deed.path)[..], b"\n"].concat());
    }
    for deed in deeds {
        if let Some((mode, id)) = &deed.new {
            out.extend_from_slice(format!("M {mode} {id} ").as_bytes());
            out.extend_from_slice(&quoted(&deed.path));
            out.push(b'\n');
        }
    }
    out.push(b'\n');
    true
}

/// Whether a line says a name, an address, a time and a zone, and nothing odd.
fn is_plain(header: &[u8]) -> bool {
    let count = |wanted: u8| header.iter().filter(|byte| **byte == wanted).count();
    let time = header.rsplit(|byte| *byte == b'>').next().unwrap_or_default();
    let time: Vec<_> = String::from_utf8_lossy(time).split(' ').map(str::to_owned).collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let zone = |text: &str| text.len() == 5 && text.starts_with(['+', '-']) && digits(&text[1..]);
    let is_time = matches!(&time[..], [empty, at, place] if empty.is_empty() && digits(at) && zone(place));
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
