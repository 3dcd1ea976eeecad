//! What a host with a root tree of its own has changed in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::lab::Lab;

/// What is other on a host than on the machine: of each file what it is, whose, and a digest of its content.
pub(crate) type Tree = BTreeMap<PathBuf, String>;

pub(crate) fn tree(lab: &Lab, node: &str) -> Result<Tree> {
    let (mut tree, top) = (Tree::new(), lab.disk(node).join("tree/new"));
    let mut directories = vec![top.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                directories.push(path.clone());
            }
            tree.insert(Path::new("/").join(path.strip_prefix(&top)?), describe(&path)?);
        }
    }
    Ok(tree)
}

fn describe(path: &Path) -> Result<String> {
    let data = fs::symlink_metadata(path)?;
    let kind = data.file_type();
    let whose = format!("{:o} {}:{}", data.mode(), data.uid(), data.gid());
    Ok(if kind.is_symlink() {
        format!("a link to {}", fs::read_link(path)?.display())
    } else if kind.is_file() {
        let digest = Sha256::digest(fs::read(path)?);
        format!("{whose} {}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    } else if kind.is_char_device() && data.rdev() == 0 {
        "gone".to_owned()
    } else {
        whose
    })
}

/// What differs between two trees of a host, other than by what lies below some paths.
pub(crate) fn difference(before: &Tree, after: &Tree, but: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, what) in after {
        // What was copied up from the machine and is as there is no difference.
        let was = before.get(path).cloned().or_else(|| describe(path).ok());
        if was.as_ref() != Some(what) {
            found.push((path, format!("{}: {what}, was {}", path.display(), was.as_deref().unwrap_or("nothing"))));
        }
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    found.extend(gone.map(|path| (path, format!("{}: gone", path.display()))));
    found.retain(|(path, _)| !but.iter().any(|kept| path.starts_with(kept)));
    found.into_iter().map(|(_, words)| words).collect()
}
