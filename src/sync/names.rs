//! Names from outside, checked before git sees them.

use anyhow::{Result, bail};

/// The rules of `git check-ref-format`, and no leading dash.
pub(super) fn check_branch(name: &str) -> Result<()> {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let is_valid = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let invalid = name.starts_with('-')
        || name.contains(forbidden)
        || name.contains("..")
        || name.contains("@{")
        || name.ends_with('.')
        || name == "@"
        || name == "HEAD"
        || !name.split('/').all(is_valid);
    if invalid {
        bail!("`{name}` is not a valid branch name");
    }
    Ok(())
}

/// A remote is given by name, never by URL, because its settings belong to the name.
pub(super) fn check_remote(name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('-') || name.contains(|c: char| c.is_control() || c == ' ') {
        bail!("`{name}` is not a valid remote name");
    }
    Ok(())
}

/// The node's name as a component of a ref; `unnamed` if it cannot be one.
pub(super) fn ref_component(node: Option<&str>) -> &str {
    let is_valid = |name: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !name.is_empty() && !name.starts_with('-') && name.chars().all(allowed)
    };
    node.filter(is_valid).unwrap_or("unnamed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names_are_checked_as_git_checks_them() {
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
    fn a_node_name_that_cannot_be_in_a_ref_becomes_unnamed() {
        assert_eq!(ref_component(Some("spb-1")), "spb-1");
        for odd in [None, Some(""), Some("../x"), Some("a b"), Some("-x")] {
            assert_eq!(ref_component(odd), "unnamed");
        }
    }
}
