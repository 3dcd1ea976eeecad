//! What git's messages mean: which side failed, and the remedy. Pure.

/// A kind of failure on this machine: what git says, and what to do about it.
struct Rule {
    /// Every one of these must be in the same line.
    patterns: &'static [&'static str],
    remedy: &'static str,
}

const WRITABLE: &str = "this user cannot write to the repository: give its files to the user that runs mirror, for \
                        example with `chown -R USER .git`, and check that the file system is mounted read-write";
const SPACE: &str = "the disk of this machine is full: make room, for example with `git gc`";
const DAMAGED: &str = "the repository on this machine is damaged: `git fsck` names the objects; fetch them again into a \
                       fresh clone and copy its `.git/objects` over";
const REF: &str = "a ref on this machine is damaged, for example emptied by a power loss: find its last value in \
                   `.git/logs` (`git reflog`) and write it with `git update-ref`; a ref below refs/remotes can be deleted";
const INDEX: &str = "the index is damaged: remove `.git/index` and run `git reset`";
const HEAD: &str = "if `.git/HEAD` is empty or garbled, write it again: `echo 'ref: refs/heads/BRANCH' > .git/HEAD`";
const OWNER: &str = "the repository belongs to another user: run mirror as that user, change its owner, or allow it \
                     with `git config --global --add safe.directory DIRECTORY`";
const SETTINGS: &str = "correct that file";
const PROTOCOL: &str = "a setting forbids this kind of remote: see `git config --show-origin --get-regexp protocol`";
const MIRROR: &str = "a setting forbids the push: `git config --unset remote.REMOTE.mirror`";
const SIGNED: &str = "a setting forbids the push: `git config push.gpgSign false`";
const OPTIONS: &str = "a setting forbids the push: `git config --unset-all push.pushOption`";
const PROGRAM: &str = "install that program, or correct the setting that names it";
const LFS: &str = "an object of Git LFS is missing: push it from a clone that has it (`git lfs push --all REMOTE`), \
                   or set `git config lfs.skipdownloaderrors true` to take the pointer file in its place";
const FILTER: &str = "install the filter's program, or correct `filter.*` in git's configuration";
const RESOURCES: &str = "this machine is short of memory, processes or file descriptors";

/// In order: the first rule that matches a line names the cause.
const RULES: &[Rule] = &[
    Rule { patterns: &["No space left on device"], remedy: SPACE },
    Rule { patterns: &["Disk quota exceeded"], remedy: SPACE },
    Rule { patterns: &["File too large"], remedy: SPACE },
    Rule { patterns: &["Too many open files"], remedy: RESOURCES },
    Rule { patterns: &["Cannot allocate memory"], remedy: RESOURCES },
    Rule { patterns: &["Out of memory"], remedy: RESOURCES },
    Rule { patterns: &["Resource temporarily unavailable"], remedy: RESOURCES },
    Rule { patterns: &["Read-only file system"], remedy: WRITABLE },
    Rule { patterns: &["insufficient permission for adding"], remedy: WRITABLE },
    Rule { patterns: &["unable to create temporary"], remedy: WRITABLE },
    Rule { patterns: &["unable to create directory for"], remedy: WRITABLE },
    Rule { patterns: &["Permission denied", ".git"], remedy: WRITABLE },
    Rule { patterns: &["unable to create", "Permission denied"], remedy: WRITABLE },
    Rule { patterns: &["unable to write"], remedy: WRITABLE },
    Rule { patterns: &["detected dubious ownership"], remedy: OWNER },
    Rule { patterns: &["index file smaller than expected"], remedy: INDEX },
    Rule { patterns: &["index file corrupt"], remedy: INDEX },
    Rule { patterns: &["bad index file sha1 signature"], remedy: INDEX },
    Rule { patterns: &["index uses", "extension, which we do not understand"], remedy: INDEX },
    Rule { patterns: &["error: bad signature 0x"], remedy: INDEX },
    Rule { patterns: &["object file", "is empty"], remedy: DAMAGED },
    Rule { patterns: &["loose object", "is corrupt"], remedy: DAMAGED },
    Rule { patterns: &["unable to unpack"], remedy: DAMAGED },
    Rule { patterns: &["packfile", "does not match index"], remedy: DAMAGED },
    Rule { patterns: &["packfile", "cannot be"], remedy: DAMAGED },
    Rule { patterns: &["far too short to be a packfile"], remedy: DAMAGED },
    Rule { patterns: &["index file", ".idx"], remedy: DAMAGED },
    Rule { patterns: &["unable to read"], remedy: DAMAGED },
    Rule { patterns: &["unable to find", "object"], remedy: DAMAGED },
    Rule { patterns: &["invalid object"], remedy: DAMAGED },
    Rule { patterns: &["missing tree"], remedy: DAMAGED },
    Rule { patterns: &["missing blob"], remedy: DAMAGED },
    Rule { patterns: &["bad tree object"], remedy: DAMAGED },
    Rule { patterns: &["unable to normalize alternate object path"], remedy: DAMAGED },
    Rule { patterns: &["bad object refs/"], remedy: REF },
    Rule { patterns: &["bad object HEAD"], remedy: REF },
    Rule { patterns: &["unable to resolve reference"], remedy: REF },
    Rule { patterns: &["packed-refs"], remedy: REF },
    Rule { patterns: &["bad object"], remedy: DAMAGED },
    Rule { patterns: &["not a git repository"], remedy: HEAD },
    Rule { patterns: &["bad config"], remedy: SETTINGS },
    Rule { patterns: &["bad numeric config"], remedy: SETTINGS },
    Rule { patterns: &["bad boolean config"], remedy: SETTINGS },
    Rule { patterns: &["transport '", "not allowed"], remedy: PROTOCOL },
    Rule { patterns: &["--mirror can't be combined"], remedy: MIRROR },
    Rule { patterns: &["does not support --signed push"], remedy: SIGNED },
    Rule { patterns: &["gpg failed to sign"], remedy: SIGNED },
    Rule { patterns: &["does not support push options"], remedy: OPTIONS },
    Rule { patterns: &["smudge filter lfs failed"], remedy: LFS },
    Rule { patterns: &["Smudge error"], remedy: LFS },
    Rule { patterns: &["Error downloading object"], remedy: LFS },
    Rule { patterns: &["(missing) "], remedy: LFS },
    Rule { patterns: &["missing or corrupt local objects"], remedy: LFS },
    Rule { patterns: &["Unable to find source for object"], remedy: LFS },
    Rule { patterns: &["LFS upload failed"], remedy: LFS },
    Rule { patterns: &["LFS upload missing objects"], remedy: LFS },
    Rule { patterns: &["cannot run"], remedy: PROGRAM },
    Rule { patterns: &["unable to fork"], remedy: PROGRAM },
    Rule { patterns: &["is not a git command"], remedy: PROGRAM },
    Rule { patterns: &["Unable to find remote helper"], remedy: PROGRAM },
    Rule { patterns: &["external filter"], remedy: FILTER },
    Rule { patterns: &["smudge filter"], remedy: FILTER },
    Rule { patterns: &["clean filter"], remedy: FILTER },
    Rule { patterns: &["cannot lock ref"], remedy: WRITABLE },
];

/// What ssh, http and git say if the connection failed or the login was refused.
const NOT_REACHED: [&str; 12] = [
    "Could not read from remote repository",
    "unable to access '",
    "hung up unexpectedly",
    "early EOF",
    "unexpected disconnect",
    "unable to connect",
    "unable to look up",
    "Connection ",
    "Could not resolve",
    "could not read Username",
    "Authentication failed",
    "remote failure",
];

/// What the remote says about a push it does not accept, and the remedy there.
const REMOTE_RULES: &[(&str, &str)] = &[
    (
        "currently checked out",
        "the remote is no bare repository: make it one (`git config core.bare true` there), or let it update its files \
         (`git config receive.denyCurrentBranch updateInstead` there)",
    ),
    ("hidden ref", "`receive.hideRefs` on the remote hides the branch"),
    ("shallow update not allowed", "this clone is shallow: complete it with `git fetch --unshallow`"),
    ("rotected branch", "allow this node to push to the branch in the settings of the server"),
    ("unpacker error", "the remote could not store the commits: check free space, owner and permissions there"),
    ("No space left on device", "the disk of the remote is full: make room there"),
    ("dubious ownership", "on the remote, allow it with `git config --global --add safe.directory DIRECTORY`"),
    ("git is not installed", "install git on the remote, in the PATH of its ssh sessions"),
    ("not our ref", "the repository on the remote is damaged: `git fsck` there names the objects and refs"),
    ("remote error:", "look at the repository on the remote"),
];

/// The line that says what failed on this machine, and the remedy. None if nothing here is known to
/// have failed.
pub(super) fn failed_here(text: &str) -> Option<(&str, &'static str)> {
    let own_lines = || text.lines().filter(|line| !is_of_remote(line));
    RULES.iter().find_map(|rule| {
        let matches = |line: &&str| rule.patterns.iter().all(|pattern| line.contains(pattern));
        own_lines().find(matches).map(|line| (line.trim(), rule.remedy))
    })
}

/// Whether git says that it did not reach the remote, or was not let in.
pub(super) fn was_not_reached(text: &str) -> bool {
    NOT_REACHED.iter().any(|pattern| text.contains(pattern))
}

/// The remedy for what the remote said.
pub(super) fn remote_remedy(text: &str) -> Option<&'static str> {
    REMOTE_RULES.iter().find(|(pattern, _)| text.contains(pattern)).map(|(_, remedy)| *remedy)
}

/// The lock file on this machine that is in the way, if a command failed because of one.
pub(super) fn own_lock(text: &str) -> Option<&str> {
    text.lines().filter(|line| !is_of_remote(line)).find_map(lock_in)
}

/// The lock file that is in the way on the remote, if a push failed because of one.
pub(super) fn remote_lock(text: &str) -> Option<&str> {
    text.lines().filter(|line| is_of_remote(line)).find_map(lock_in)
}

fn lock_in(line: &str) -> Option<&str> {
    let end = line.find(".lock': File exists")? + ".lock".len();
    line[..end].rsplit('\'').next()
}

/// What the remote's shell says if git is not installed there.
pub(super) fn missing_git(text: &str) -> Option<&str> {
    let program = |line: &str| ["git-upload-pack", "git-receive-pack"].iter().any(|program| line.contains(program));
    let missing = |line: &str| line.contains("not found") || line.contains("No such file or directory");
    text.lines().find(|line| program(line) && missing(line))
}

/// The first line that contains `pattern`.
pub(super) fn line_with(text: &str, pattern: &str) -> String {
    text.lines().find(|line| line.contains(pattern)).unwrap_or_default().trim().to_owned()
}

/// Whether a line comes from the remote: its own output, or what git reports of it.
fn is_of_remote(line: &str) -> bool {
    ["remote:", "error: remote unpack failed", "fatal: remote error"].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_remote_never_blames_this_machine() {
        assert!(failed_here("remote: fatal: No space left on device\nfatal: hung up").is_none());
        assert!(failed_here("error: remote unpack failed: unable to create temporary object directory").is_none());
        assert!(failed_here("fatal: write error: No space left on device").is_some());
    }

    #[test]
    fn a_refused_login_is_no_failure_here() {
        let text = "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.\n";
        assert!(failed_here(text).is_none());
        assert!(was_not_reached(text));
    }

    #[test]
    fn the_lock_on_the_remote_is_named() {
        let text = "remote: error: cannot lock ref 'refs/heads/main': Unable to create \
                    '/srv/o.git/./refs/heads/main.lock': File exists.        \n";
        assert_eq!(remote_lock(text), Some("/srv/o.git/./refs/heads/main.lock"));
        assert_eq!(remote_lock("error: Unable to create '/here/x.lock': File exists."), None);
    }
}
