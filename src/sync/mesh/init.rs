//! Makes a clone of the mesh: an empty one, or one of the repository that is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::MeshBreath;
use super::settings::{SETTINGS, missing_settings};
use crate::clock::Deadline;
use crate::exec::Exec;
use crate::git::{Git, LOCAL_TIMEOUT, error_line};

/// git's own settings against deletions and rewound refs cover branches alone.
const GUARD: &str = r#"#!/bin/sh
# Written by `mirror breathe --init`.
# A ref of the mesh only goes forward.
while read -r old new name; do
    case $name in refs/breath/*) ;; *) continue ;; esac
    case $new in *[!0]*) ;; *) echo "$name is never deleted" >&2 && exit 1 ;; esac
    case $old in *[!0]*) ;; *) continue ;; esac
    git merge-base --is-ancestor "$old" "$new" && continue
    echo "$name only goes forward" >&2
    exit 1
done
"#;
/// Tells our hook from a person's.
const MARK: &str = "# Written by `mirror breathe --init`.";

/// How the hook that takes over what a peer pushes calls `mirror`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The program.
    pub program: PathBuf,
    /// The node list.
    pub config: PathBuf,
    /// The node.
    pub node: Option<String>,
}

impl MeshBreath<'_> {
    /// Makes the clone, or makes the one that is there a clone of the mesh. Nothing of it is lost: only
    /// settings, a hook, and the refs of breaths with an origin change. Returns what a person has to know.
    ///
    /// # Errors
    /// When git fails, or something else is in the way.
    pub fn init(&self, hook: &Hook) -> Result<Option<String>> {
        let repo = std::path::absolute(self.breath.repo)?;
        if !repo.join(".git").exists() {
            fs::create_dir_all(&repo).with_context(|| repo.display().to_string())?;
            let mut init = Command::new("git");
            init.args(["init", "--quiet", "--initial-branch", self.breath.branch, "."]).current_dir(&repo);
            let made = Exec::new(init).run(Deadline::after(LOCAL_TIMEOUT)).context("git init")?;
            if !made.success() {
                bail!("git init: {}", error_line(&made));
            }
        }
        let git = Git::open(&repo)?;
        if git.work_tree().is_none() {
            bail!("{}: the repository is bare; a breath needs a work tree", repo.display());
        }
        self.adopt(&git)?;
        let trigger = hook.text(&repo, self.breath.branch);
        let notes = [write_hook(&git, "pre-receive", GUARD)?, write_hook(&git, "post-receive", &trigger)?];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        Ok((!notes.is_empty()).then(|| notes.join("; ")))
    }

    /// Makes the settings of the mesh. A breath with an origin has fetched into `refs/breath/REMOTE/BRANCH`,
    /// which is no node's ref, and is removed.
    pub(super) fn adopt(&self, git: &Git) -> Result<()> {
        let missing = missing_settings(git);
        for (key, value) in SETTINGS.iter().filter(|(key, value)| missing.contains(&format!("{key}={value}"))) {
            let how = if *key == "uploadpack.hiderefs" { "--add" } else { "--replace-all" };
            git.read(cmd!(git.shell(), "git config --local {how} {key} {value}"))?;
        }
        let list = git.line(cmd!(git.shell(), "git for-each-ref --format=%(refname) refs/breath/*/**"))?;
        for name in list.lines().filter(|name| !name.is_empty()) {
            git.read(cmd!(git.shell(), "git update-ref -d {name}"))?;
        }
        Ok(())
    }
}

/// A hook of a person stays. The result says what is to be known of it.
fn write_hook(git: &Git, name: &str, text: &str) -> Result<Option<String>> {
    let directory = git.common().join("hooks");
    let path = directory.join(name);
    let present = fs::read_to_string(&path).unwrap_or_default();
    if !present.is_empty() && !present.contains(MARK) {
        return Ok(Some(format!("{} is a person's and was left as it is", path.display())));
    }
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(|| path.display().to_string())?;
    // The last one is our own, for local commands.
    let elsewhere = git.settings("core.hookspath").find(|place| *place != "/dev/null");
    Ok(elsewhere
        .map(|place| format!("git looks for hooks in {place}, so {} does not run; link it there", path.display())))
}

impl Hook {
    /// It ends before the breath begins, so no push waits for it. What this branch has already is no news:
    /// else each push would cause another one, and that one another.
    fn text(&self, repo: &Path, branch: &str) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let node = self.node.as_ref().map(|node| format!(" --self {}", quoted(node))).unwrap_or_default();
        format!(
            r#"#!/bin/sh
{MARK}
# What a peer has pushed is taken over at once. The push does not wait for it.
news=
while read -r _ new name; do
    case $name in
    refs/breath/*) git merge-base --is-ancestor "$new" {branch} 2>/dev/null || news=1 ;;
    esac
done
[ -n "$news" ] || exit 0
# shellcheck disable=SC2046 # a list of names
unset $(git rev-parse --local-env-vars)
apart=
command -v setsid >/dev/null && apart=setsid
$apart {program} --config {config}{node} breathe --quiet --repo {repo} </dev/null >/dev/null 2>&1 &
"#,
            branch = quoted(&format!("refs/heads/{branch}")),
            program = quoted(&self.program.to_string_lossy()),
            config = quoted(&self.config.to_string_lossy()),
            repo = quoted(&repo.to_string_lossy()),
        )
    }
}
