//! Names that come from outside, checked before git sees them.

use anyhow::{Result, bail};

/// The rules of `git check-ref-format`, and no leading dash.
pub(super) fn check_branch(name: &str) -> Result<()> {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let wrong = name.starts_with('-')
        || name.contains(bad)
        || name.contains("..")
        || name.contains("@{")
        || name.ends_with('.')
        || name == "@"
        || name == "HEAD"
        || !name.split('/').all(part);
    if wrong {
        bail!("`{name}` cannot be the name of a branch");
    }
    Ok(())
}

/// A remote is named, never given by its address: its settings hang on its name.
pub(super) fn check_remote(name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('-') || name.contains(|c: char| c.is_control() || c == ' ') {
        bail!("`{name}` cannot be the name of a remote");
    }
    Ok(())
}

/// The node as a part of a ref; `unnamed` where it cannot be one.
pub(super) fn plain_node(node: Option<&str>) -> &str {
    let plain = |name: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
    };
    node.filter(plain).unwrap_or("unnamed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_what_git_takes_for_one() {
        for good in ["main", "release/1.0", "größe", "a-b_c", "v1.x"] {
            assert!(check_branch(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-f", "a b", "a..b", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a@{1}", "@", "HEAD", "a.",
        ] {
            assert!(check_branch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_that_is_no_part_of_a_ref_is_unnamed() {
        assert_eq!(plain_node(Some("spb-1")), "spb-1");
        for odd in [None, Some(""), Some("../x"), Some("a b"), Some("-x")] {
            assert_eq!(plain_node(odd), "unnamed");
        }
    }
}
