//! Another user of this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mirror::MIRROR;

/// A number that no account has.
const NUMBER: u32 = 64_123;

/// A user without an account, who can run `mirror` and owns nothing yet.
pub struct OtherUser {
    directory: tempfile::TempDir,
}

impl OtherUser {
    /// None, and a line that says so, where this is not root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can act as another user");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        open(directory.path());
        // The one under test can lie where nobody else may go.
        std::fs::copy(MIRROR, directory.path().join("mirror")).unwrap();
        Some(Self { directory })
    }

    /// The copy of the binary under test that the user can run.
    pub fn mirror(&self) -> PathBuf {
        self.directory.path().join("mirror")
    }

    /// A command that this user runs, without groups.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={NUMBER}"), format!("--regid={NUMBER}"), "--clear-groups".to_owned()]);
        command.arg("--").arg(program.as_ref()).args(arguments);
        command
    }

    /// Makes a directory that belongs to this user.
    pub fn make(&self, path: &Path) {
        std::fs::create_dir(path).unwrap();
        self.give(path);
    }

    /// Makes a path belong to this user.
    pub fn give(&self, path: &Path) {
        std::os::unix::fs::lchown(path, Some(NUMBER), Some(NUMBER)).unwrap();
    }
}

/// Lets everybody enter a directory and read what is in it.
pub fn open(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}
