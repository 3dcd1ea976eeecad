//! The settings of a clone of the mesh.

use crate::git::Git;

/// Each setting, its value, and whether it is one of several.
pub(super) const SETTINGS: [(&str, &str); 7] = [
    // No push rewinds or deletes a branch.
    ("receive.denynonfastforwards", "true"),
    ("receive.denydeletes", "true"),
    // git's own collection would run while others push; the breath packs instead.
    ("receive.autogc", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // Work that was not offered is not visible: it may still be rewritten.
    ("uploadpack.hiderefs", "refs/heads"),
    ("uploadpack.hiderefs", "HEAD"),
];

/// The settings that this clone lacks, as `key=value`.
pub fn missing_settings(git: &Git) -> Vec<String> {
    let is_set = |key: &str, value: &str| match key {
        "uploadpack.hiderefs" => git.settings(key).any(|set| set == value),
        _ => git.setting(key).is_some_and(|set| set.eq_ignore_ascii_case(value)),
    };
    let missing = SETTINGS.iter().filter(|(key, value)| !is_set(key, value));
    missing.map(|(key, value)| format!("{key}={value}")).collect()
}
