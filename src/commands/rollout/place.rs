//! The list on one node: put beside the one in force, and put in its place by a rename.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{RolloutFacts, RolloutVerdict};
use crate::config::{self, Config, Severity};
use crate::fsutil::{self, Durability};
use crate::output::{self, ExitStatus, OutputMode, Report, StartTime};

/// What is added to the name of the list in force.
const BESIDE: &str = ".new";

/// One step of a rollout on this node, as another node asks for it; `file` is the list in force, or where it will be.
pub(in crate::commands) fn stage(file: &Path, text: &str, begun: StartTime, mode: OutputMode) -> Result<ExitStatus> {
    let text = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let done = text.context("what came is no list").and_then(|text| stage_file(file, &text));
    Ok(tell(done, begun, mode))
}

/// The other step.
pub(in crate::commands) fn switch(file: &Path, digest: &str, begun: StartTime, mode: OutputMode) -> Result<ExitStatus> {
    Ok(tell(switch_file(file, digest).map(|()| digest.to_owned()), begun, mode))
}

fn tell(done: Result<String>, begun: StartTime, mode: OutputMode) -> ExitStatus {
    let (verdict, reason, digest_new) = match done {
        Ok(digest) => (RolloutVerdict::RolledOut, "Done here.".to_owned(), digest),
        Err(error) => (RolloutVerdict::Refused, format!("{error:#}"), String::new()),
    };
    let digest = String::new();
    let facts = RolloutFacts { nodes: Vec::new(), changes: Vec::new(), problems: Vec::new(), digest, digest_new };
    output::emit(&Report { verdict, reason, facts }, &[], None, begun, mode)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(BESIDE);
    name.into()
}

fn sound(file: &Path, text: &str) -> Result<Config> {
    let loaded = config::parse(file, text)?;
    match loaded.problems.iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => bail!("{}:{}: {}", file.display(), problem.line, problem.message),
        None => Ok(loaded.config),
    }
}

/// Puts a list beside the one in force, with what is this node's own, and returns its digest.
pub(super) fn stage_file(file: &Path, text: &str) -> Result<String> {
    let new = sound(file, text)?;
    let mut own = String::new();
    if let Ok(loaded) =
        std::fs::read_to_string(file).map_err(anyhow::Error::from).and_then(|old| config::parse(file, &old))
    {
        own = own_keys(&loaded.config, &new)?;
    }
    let text = own + text;
    // What was added is of this node alone, and changes nothing that must be alike.
    let staged = sound(file, &text)?;
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    put(&beside(file), &text, file)?;
    Ok(staged.digest)
}

/// Writes a list whole, readable by those who can read the one in force.
fn put(path: &Path, text: &str, in_force: &Path) -> Result<()> {
    let permissions = std::fs::metadata(in_force).map(|found| found.permissions());
    let written = fsutil::replace(path, text.as_bytes(), Durability::Durable);
    let written = written.and_then(|()| permissions.map_or(Ok(()), |mode| std::fs::set_permissions(path, mode)));
    written.with_context(|| path.display().to_string())
}

/// The lines of the present list that are this node's own, where the new one does not have them.
fn own_keys(old: &Config, new: &Config) -> Result<String> {
    let mut lines = String::new();
    if let (Some(name), None) = (&old.local_node, &new.local_node) {
        if !new.nodes.contains_key(name) {
            bail!("this node calls itself {name}, which is no node of the new list; take `self` out of its list first");
        }
        lines += &format!("self = \"{name}\"\n");
    }
    if let (Some(path), None) = (&old.state, &new.state) {
        lines += &format!("state = {:?}\n", path.display().to_string());
    }
    let differs = |old: String, new: String, empty: String| old != empty && old != new;
    let none = config::Notify::default();
    if differs(format!("{:?}", old.notify), format!("{:?}", new.notify), format!("{none:?}")) {
        bail!("its own [notify] would be lost; write it into the new list");
    }
    if differs(format!("{:?}", old.witnesses), format!("{:?}", new.witnesses), "[]".to_owned()) {
        bail!("its own [witness] would be lost; write it into the new list");
    }
    Ok(lines)
}

/// Puts the list that is beside the one in force in its place, if it is the one that is meant.
pub(super) fn switch_file(file: &Path, digest: &str) -> Result<()> {
    let beside = beside(file);
    let text = std::fs::read_to_string(&beside).with_context(|| beside.display().to_string())?;
    let found = sound(file, &text)?.digest;
    if found != digest {
        bail!("{}: has the digest {found}, and not {digest}", beside.display());
    }
    // A link is followed, as it may be there so that the list is kept elsewhere.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if target.parent() == beside.parent() {
        std::fs::rename(&beside, &target).with_context(|| target.display().to_string())
    } else {
        put(&target, &text, &target)?;
        std::fs::remove_file(&beside).with_context(|| beside.display().to_string())
    }
}
