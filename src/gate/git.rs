//! git's two servers, for the repositories that are named here.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GitService;
use crate::exec;

/// The repositories that git may reach.
#[derive(Debug, Default)]
pub struct Repositories(pub Vec<PathBuf>);

impl Repositories {
    /// The one that a caller's path names, as it is named here; none for any other path.
    ///
    /// The path is only compared. What is given to git is our own.
    pub fn named(&self, path: &str) -> Option<&Path> {
        let asked = from_home(path)?;
        // As git itself tries them.
        let tries = ["", ".git", "/.git"].map(|suffix| {
            let mut tried = asked.clone().into_os_string();
            tried.push(suffix);
            PathBuf::from(tried).canonicalize().ok()
        });
        let is_one = |found: Option<PathBuf>| found.is_some_and(|found| tries.contains(&Some(found)));
        self.0
            .iter()
            .find(|repository| {
                is_one(repository.canonicalize().ok()) || is_one(repository.join(".git").canonicalize().ok())
            })
            .map(PathBuf::as_path)
    }
}

/// Becomes git's server.
///
/// # Errors
/// When git cannot be run.
pub fn serve(service: GitService, repository: &Path) -> io::Result<Infallible> {
    let mut command = Command::new("git");
    // An absolute path is no option.
    command.arg(service.to_string()).arg(std::path::absolute(repository)?);
    exec::become_program(command)
}

/// An absolute path; one that is not begins at the home, as ssh's do.
fn from_home(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix("~/").unwrap_or(if path == "~" { "" } else { path });
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    if Path::new(path).is_absolute() { Some(path.into()) } else { Some(home()?.join(path)) }
}
