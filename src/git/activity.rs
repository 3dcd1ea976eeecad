//! What the processes of a group have done so far, to tell a slow command from a stuck one.

use std::fs;
use std::path::{Path, PathBuf};

/// The work of all processes of a group that still run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Read from files, pipes and sockets.
    pub bytes_read: u64,
    /// Bytes written and clock ticks of CPU time.
    pub other: u64,
}

impl Activity {
    /// Measures a process group.
    pub fn of_group(group: i32) -> Self {
        let mut sum = Self::default();
        for dir in processes() {
            let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok());
            if number(2) != Some(i64::from(group)) {
                continue;
            }
            let (read, written) = bytes(&dir);
            let ticks = [11, 12].into_iter().filter_map(number).filter_map(|ticks| u64::try_from(ticks).ok());
            sum.bytes_read += read;
            sum.other += written + ticks.sum::<u64>();
        }
        sum
    }
}

/// The directories of all processes.
pub fn processes() -> impl Iterator<Item = PathBuf> {
    let is_process = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_process)
}

fn bytes(dir: &Path) -> (u64, u64) {
    let io = fs::read_to_string(dir.join("io")).unwrap_or_default();
    let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    (field("rchar:").unwrap_or_default(), field("wchar:").unwrap_or_default())
}
