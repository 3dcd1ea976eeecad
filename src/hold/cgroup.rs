//! A control group for the command, where the service manager delegates one.
//!
//! systemd marks a group that it delegated (`Delegate=yes`) with an extended attribute. Only there may
//! `mirror` create groups of its own. Killing a group (`cgroup.kill`, cgroups(7)) reaches every process in
//! it, whatever its user, session or state.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The command's control group.
#[derive(Clone, Debug)]
pub(super) struct CommandGroup {
    directory: PathBuf,
}

impl CommandGroup {
    /// Creates it; none where no group is delegated or the kernel cannot kill groups.
    pub(super) fn create() -> Option<Self> {
        let directory = delegated()?.join(format!("mirror-hold-{}", std::process::id()));
        if let Err(error) = std::fs::create_dir(&directory)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return None;
        }
        let group = Self { directory };
        if group.directory.join("cgroup.kill").exists() {
            Some(group)
        } else {
            group.remove();
            None
        }
    }

    /// The file into which a process writes 0 to join.
    pub(super) fn open_processes(&self) -> Option<File> {
        File::options().write(true).open(self.directory.join("cgroup.procs")).ok()
    }

    /// Kills all its processes.
    pub(super) fn kill(&self) {
        let kill = File::options().write(true).open(self.directory.join("cgroup.kill"));
        let _ = kill.and_then(|mut kill| kill.write_all(b"1"));
    }

    /// Removes it; whether it is gone. It must be empty.
    pub(super) fn remove(&self) -> bool {
        match std::fs::remove_dir(&self.directory) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

/// This process's group, if it is delegated.
fn delegated() -> Option<PathBuf> {
    let directory = own_group()?;
    let is_delegated = |attribute: &str| {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(&directory, attribute, &mut value[..]);
        length.is_ok_and(|length| value.get(..length) == Some(b"1"))
    };
    (is_delegated("user.delegate") || is_delegated("trusted.delegate")).then_some(directory)
}

fn own_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        source.starts_with("cgroup2 ").then_some(())?;
        let mut fields = mount.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        Some(Path::new(mount_point).join(group.strip_prefix(root).ok()?))
    })
}
