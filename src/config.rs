//! From the file to a [`Config`] in which nothing is left open.
//!
//! One direction: [`file`](self) bytes → `raw` (keys as they stand) → `resolve` (defaults filled in) →
//! `model` → `validate` and `digest`. Reading has two halves. What is wrong in itself (a syntax error, an
//! unknown key, a duration without a unit) ends it at once. What is wrong only beside the rest (a chain that
//! names an unknown node) becomes a [`Problem`], so that `chain check` can list them all.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::usage_error::UsageError;

pub mod address;
mod budget;
mod digest;
mod file;
mod limits;
mod model;
mod problem;
mod raw;
mod resolve;
mod schema;
mod text;
mod validate;
mod values;

pub use address::{Address, Witness};
pub use budget::{Budget, budget};
pub use limits::Limits;
pub use model::{
    Breath, Config, Cycle, Guard, Learned, Lease, Method, Node, Notify, NotifyFormat, Probe, Service, Store,
};
pub use problem::{Places, Problem, Severity};
pub use schema::schema;
pub use values::{Failback, is_git_name};

/// A configuration, and what is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, without what the problems speak of.
    pub config: Config,
    /// In the file's order.
    pub problems: Vec<Problem>,
    /// Where its keys stand.
    pub places: Places,
}

impl Loaded {
    /// Whether nothing worse than a warning was found.
    pub fn sound(&self) -> bool {
        self.problems.iter().all(|p| p.severity != Severity::Error)
    }
}

/// Where the configuration in force is, or will be where there is none yet.
///
/// # Errors
/// When the path that is given has no name.
pub fn place(given: Option<&Path>) -> Result<std::path::PathBuf> {
    let path = given.map_or_else(file::place, Path::to_owned);
    std::path::absolute(&path).map_err(|error| UsageError::new(format!("{}: {error}", path.display())))
}

/// Reads the configuration in force, refusing one with an error in it.
///
/// # Errors
/// When no file is found, when it cannot be read or trusted, or when it is wrong; with file, line and
/// column.
pub fn load(given: Option<&Path>) -> Result<Config> {
    let loaded = load_with_problems(given)?;
    match loaded.problems.iter().find(|p| p.severity == Severity::Error) {
        None => Ok(loaded.config),
        Some(problem) => Err(UsageError::new(format!(
            "{}:{}:{}: {}",
            loaded.config.file.display(),
            problem.line,
            problem.column,
            problem.message
        ))),
    }
}

/// Reads the configuration in force and lists what is wrong with it as a whole.
///
/// # Errors
/// When no file is found, when it cannot be read or trusted, or when a part of it is wrong in itself.
pub fn load_with_problems(given: Option<&Path>) -> Result<Loaded> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => file::find()?,
    };
    let text = file::read(&path)?;
    parse(&path, &text)
}

/// Reads a configuration from its text; `path` is what errors name and relative paths start from.
///
/// # Errors
/// When a part of it is wrong in itself.
pub fn parse(path: &Path, text: &str) -> Result<Loaded> {
    let text = &text::normalized(text);
    let refuse = |offset: usize, message: &str| {
        let (line, column) = text::line_column(text, offset);
        UsageError::new(format!("{}:{line}:{column}: {message}", path.display()))
    };
    let refuse_toml = |error: &toml::de::Error| {
        let message = text::one_line(error.message());
        // The parser says what is wrong and often what it expected; the page tells the rest.
        let remedy = if message.contains("; ") { "" } else { "; see mirror.toml(5)" };
        refuse(error.span().unwrap_or_default().start, &format!("{message}{remedy}"))
    };
    let table = toml::Deserializer::parse(text).map_err(|error| refuse_toml(&error))?;
    let raw = raw::File::deserialize(table).map_err(|error| refuse_toml(&error))?;
    let nodes_at = raw.nodes.span().start;
    let Some(mut resolved) = resolve::resolve(path, raw) else {
        return Err(refuse(nodes_at, "[nodes] is missing or empty; add a node: NAME = \"ADDRESS\""));
    };
    resolved.config.digest = digest::digest(&resolved.config);
    validate::warn(&resolved.config, &validate::Spans::new(&resolved.keys), &mut resolved.findings);
    Ok(Loaded {
        config: resolved.config,
        problems: resolved.findings.into_problems(text),
        places: Places::new(text, resolved.keys),
    })
}
