//! The state directory: who can read and write it, and what becomes of damage, links, limits and
//! whatever else `mirror` inherits.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::mirror::{Network, Said, run};
use crate::support::service::Bot;
use crate::support::user::{OtherUser, open};
use crate::support::wait_for;

/// One node with a service, and the state in `state` unless the node list says otherwise.
struct Place {
    network: Network,
    bot: Bot,
}

impl Place {
    fn new(more: &str) -> Self {
        let bot = Bot::new();
        let network = Network::new(&format!(
            "{more}\n[nodes]\na = \"127.0.0.1\"\n[chains]\nbrain = [\"a\"]\nbot = [\"a\"]\n\
             [probe]\nmethod = \"exec\"\ncommand = \"true\"\ntimeout = \"20s\"\n\
             [services.bot]\n{}timeout = \"20s\"\n",
            bot.commands()
        ));
        Self { network, bot }
    }

    fn state(&self) -> PathBuf {
        self.network.path().join("state")
    }

    fn run(&self, words: &str) -> Said {
        let mut command = self.network.mirror(["--self", "a"]);
        command.args(words.split_whitespace()).env("NODE", "a");
        run(command)
    }

    /// A shell script in which `mirror` is `"$MIRROR"`.
    fn shell(&self, script: &str) -> Said {
        let mut command = self.network.program("sh", ["-c", script]);
        command.env("NODE", "a").env("MIRROR_SELF", "a");
        run(command)
    }
}

/// The lines on stderr that warn.
fn warnings(said: &Said) -> Vec<&str> {
    said.stderr.lines().filter(|line| line.starts_with("mirror: warning: ")).collect()
}

fn reason(object: &Value) -> &str {
    object["reason"].as_str().unwrap()
}

/// All that stands below a directory, itself included, and its mode.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let found = std::fs::symlink_metadata(path).unwrap();
    let mut all = vec![(path.to_owned(), found.mode() & 0o7777)];
    if found.is_dir() {
        all.extend(std::fs::read_dir(path).unwrap().flat_map(|entry| modes(&entry.unwrap().path())));
    }
    all
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const GIT_LEASE: &str = r#"lease = { store = "git", remote = "{dir}/lease.git", valid = "4s", grace = "1s" }"#;

#[test]
fn whatever_the_umask_nobody_else_can_read_or_write_the_state() {
    for umask in ["000", "022", "027"] {
        for lease in ["", GIT_LEASE] {
            let place = Place::new(lease);
            let script = format!(
                "umask {umask} && git init -q --bare lease.git && \"$MIRROR\" promote -q && \"$MIRROR\" pause -q &&
                 \"$MIRROR\" resume -q"
            );
            let said = place.shell(&script);
            assert_eq!(said.status, 0, "{said:?}");
            let all = modes(&place.state());
            assert!(all.len() > 4, "{all:?}");
            let loose: Vec<_> = all.iter().filter(|(_, mode)| mode & 0o77 != 0).collect();
            assert!(loose.is_empty(), "umask {umask}: {loose:?}");
        }
    }
}

#[test]
fn state_of_an_earlier_version_is_closed_to_others() {
    let place = Place::new("");
    std::fs::create_dir(place.state()).unwrap();
    for name in ["service-bot.lock", "history.jsonl"] {
        std::fs::write(place.state().join(name), "").unwrap();
        set_mode(&place.state().join(name), 0o666);
    }
    set_mode(&place.state(), 0o777);
    place.run("promote").expect(0, "started");
    assert!(modes(&place.state()).iter().all(|(_, mode)| mode & 0o77 == 0), "{:?}", modes(&place.state()));
}

#[test]
fn a_cache_that_another_user_can_have_written_runs_no_program_of_his() {
    let place = Place::new(GIT_LEASE);
    place.shell("git init -q --bare lease.git && \"$MIRROR\" promote").expect(0, "started");
    let cache = place.state().join("lease-_all.git");
    let config = cache.join(".git/config");
    let owned = place.network.path().join("owned");
    for loose in [cache.clone(), cache.join(".git"), config.clone()] {
        // git would run this instead of reading the remote.
        let evil = format!(
            "[protocol \"ext\"]\n\tallow = always\n[url \"ext::touch {} %S\"]\n\tinsteadOf = {}\n",
            owned.display(),
            place.network.path().display()
        );
        let before = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, before + &evil).unwrap();
        let mode = std::fs::metadata(&loose).unwrap().mode() & 0o7777;
        set_mode(&loose, mode | 0o022);
        place.run("lease show bot").expect(0, "granted");
        assert!(!owned.exists(), "{}", loose.display());
        assert!(!std::fs::read_to_string(&config).unwrap().contains("ext"), "it was made anew");
        assert!(modes(&cache).iter().all(|(_, mode)| mode & 0o77 == 0));
    }
}

#[test]
fn no_other_user_can_hold_a_lock() {
    let (place, Some(other)) = (Place::new(""), OtherUser::new()) else { return };
    open(place.network.path());
    let script = "umask 022 && mkdir state && : >state/service-bot.lock && \"$MIRROR\" promote";
    place.shell(script).expect(0, "started");
    place.bot.crash("a");
    for lock in ["service-bot.lock", "lease-bot.json.lock", "paused.json.lock", "hold-bot.lock", "history.lock"] {
        let mut flock = other.command("flock", ["-x"]);
        let said = run({
            flock.arg(place.state().join(lock)).args(["-c", "true"]);
            flock
        });
        assert_ne!(said.status, 0, "{lock}");
    }
    place.run("promote").expect(0, "started");
}

#[test]
fn without_a_home_nothing_is_written_through_a_link() {
    let place = Place::new("");
    let (temporary, precious) = (place.network.path().join("tmp"), place.network.path().join("precious"));
    std::fs::create_dir(&temporary).unwrap();
    set_mode(&temporary, 0o1777);
    std::fs::create_dir(&precious).unwrap();
    let without_home = |command: &mut Command, directory: &Path| {
        command.env_remove("HOME").env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY");
        command.env("TMPDIR", directory).env("NODE", "a").env("MIRROR_CONFIG", place.network.config());
    };
    // As another user, since root's own state is elsewhere.
    let Some(other) = OtherUser::new() else { return };
    open(place.network.path());
    set_mode(place.bot.path(), 0o777);
    other.give(&precious);
    let link = temporary.join("mirror-64123");
    symlink(&precious, &link).unwrap();
    let promote = |other: &OtherUser| {
        let mut command = other.command(other.mirror(), ["promote", "--self", "a", "--json"]);
        without_home(&mut command, &temporary);
        run(command)
    };
    let said = promote(&other);
    said.expect(0, "started");
    assert!(warnings(&said).len() == 1 && said.stderr.contains("symbolic link"), "{said:?}");
    assert_eq!(std::fs::read_dir(&precious).unwrap().count(), 0);
    // Nor is a directory used that somebody else made first.
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    set_mode(&link, 0o777);
    symlink(precious.join("history"), link.join("history.jsonl")).unwrap();
    let said = promote(&other);
    said.expect(0, "in-place");
    assert!(said.stderr.contains("belongs to user 0"), "{said:?}");
    assert_eq!(std::fs::read_dir(&precious).unwrap().count(), 0);
    std::fs::remove_dir_all(&link).unwrap();
    let said = promote(&other);
    assert_eq!((warnings(&said).len(), std::fs::metadata(&link).unwrap().mode() & 0o777), (0, 0o700), "{said:?}");
}

#[test]
fn a_pause_that_the_checks_of_another_user_do_not_see_is_not_called_done() {
    let (place, Some(other)) = (Place::new(""), OtherUser::new()) else { return };
    open(place.network.path());
    set_mode(place.bot.path(), 0o777);
    let home = place.network.path().join("home");
    other.make(&home);
    let as_other = |words: &str| {
        let mut command = other.command(other.mirror(), words.split(' '));
        command.env("HOME", &home).env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY");
        command.env("MIRROR_CONFIG", place.network.config()).env("MIRROR_SELF", "a").env("NODE", "a");
        run(command)
    };
    // Root runs the checks.
    place.run("promote").expect(0, "started");
    let object = as_other("pause --why disks").expect(3, "unknown");
    assert!(reason(&object).contains("run this as the user who runs the checks"), "{object:#}");
    assert!(reason(&object).contains(home.to_str().unwrap()), "{object:#}");
    as_other("resume").expect(3, "unknown");
    // The other user runs them too, whatever comes of it, so the pause is seen.
    as_other("promote").json();
    as_other("pause").expect(0, "paused");
    as_other("resume").expect(0, "resumed");
    // A directory that belongs to root is root's.
    let mut command = other.command(other.mirror(), ["pause"]);
    command.env("STATE_DIRECTORY", place.state()).env("MIRROR_CONFIG", place.network.config()).env("MIRROR_SELF", "a");
    let object = run(command).expect(3, "unknown");
    assert!(reason(&object).contains("belongs to user 0"), "{object:#}");
}

#[test]
fn files_that_a_power_cut_emptied_cost_caution_and_are_mended() {
    let damages: [(&str, &[u8]); 3] = [("empty", b""), ("NUL", &[0; 300]), ("damaged", b"{\"boot\":\"")];
    for (what, content) in damages {
        let place = Place::new("");
        place.run("promote --if-brain").expect(0, "started");
        place.run("pause bot").expect(0, "paused");
        place.run("resume").expect(0, "resumed");
        let records = ["spans.json", "service-bot.json", "brain.json"];
        for name in records.into_iter().chain(["history.jsonl"]) {
            std::fs::write(place.state().join(name), content).unwrap();
        }
        let said = place.run("promote --if-brain");
        said.expect(0, "in-place");
        let warned = warnings(&said);
        assert_eq!(warned.len(), records.len(), "{said:?}");
        for name in records {
            let mut about = warned.iter().filter(|line| line.contains(name) && line.contains(what));
            assert!(about.next().is_some() && about.next().is_none(), "{name}: {said:?}");
        }
        let said = place.run("promote --if-brain");
        said.expect(0, "in-place");
        assert_eq!(said.stderr, "", "{what}: mended");
        let said = place.run("history");
        let object = said.expect(0, "listed");
        assert_eq!(object["entries"][0]["event"], "brain", "{object:#}");
        assert_eq!(warnings(&said).len(), usize::from(!content.is_empty()), "{said:?}");
    }
}

#[test]
fn an_emptied_pause_counts_as_one_until_it_is_written_anew() {
    for mend in ["resume", "pause"] {
        let place = Place::new("");
        place.run("pause").expect(0, "paused");
        place.run("resume").expect(0, "resumed");
        std::fs::write(place.state().join("paused.json"), "").unwrap();
        let said = place.run("promote");
        let object = said.expect(1, "paused");
        assert!(
            reason(&object).contains("paused.json: empty") && reason(&object).contains("mirror resume"),
            "{object:#}"
        );
        assert_eq!(warnings(&said).len(), 1, "{said:?}");
        assert_eq!(place.bot.acts(), 0);
        let said = place.run("chain show");
        assert!(reason(&said.expect(0, "shown")).starts_with("PAUSED: every service"), "{said:?}");
        // One service is no way out, as the pause may have been of all.
        place.run("resume bot").expect(1, "refused");
        let object = place.run(mend).expect(0, if mend == "pause" { "paused" } else { "resumed" });
        assert_eq!(object["changed"], true);
        let said = place.run("promote");
        if mend == "pause" {
            assert!(reason(&said.expect(1, "paused")).contains("by a. Nothing was touched"), "{said:?}");
            place.run("resume").expect(0, "resumed");
            place.run("promote").expect(0, "started");
        } else {
            said.expect(0, "started");
        }
        assert_eq!(said.stderr, "");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_state_file_is_replaced() {
    let place = Place::new("");
    std::fs::create_dir(place.state()).unwrap();
    set_mode(&place.state(), 0o700);
    for name in ["spans.json", "service-bot.json", "brain.json", "history.jsonl", "paused.json"] {
        let path = place.state().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let said = place.run("promote --if-brain");
    let object = said.expect(1, "paused");
    assert!(reason(&object).contains("paused.json: not a regular file"), "{object:#}");
    place.run("resume").expect(0, "resumed");
    place.run("promote --if-brain").expect(0, "started");
    let said = place.run("history");
    assert_eq!(said.stderr, "");
    let entries = said.expect(0, "listed")["entries"].as_array().unwrap().len();
    assert!(entries >= 2, "{said:?}");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_once() {
    let place = Place::new("");
    std::fs::write(place.state(), "no directory").unwrap();
    let said = place.run("promote --if-brain");
    said.expect(0, "started");
    assert!(warnings(&said).len() == 1 && said.stderr.contains("cannot be used"), "{said:?}");
    let object = place.run("pause").expect(3, "unknown");
    assert!(reason(&object).contains("Not a directory"), "{object:#}");
}

#[test]
fn a_limit_on_file_sizes_is_a_full_disk_and_no_end() {
    let place = Place::new("");
    std::fs::create_dir(place.state()).unwrap();
    set_mode(&place.state(), 0o700);
    std::fs::write(place.state().join("history.jsonl"), "{}\n".repeat(25_000)).unwrap();
    let said = place.shell("ulimit -f 32; exec \"$MIRROR\" promote");
    said.expect(0, "started");
    assert!(warnings(&said).len() == 1 && said.stderr.contains("File too large"), "{said:?}");
    // What is started has the signal as it was.
    let ignored = |said: &str| {
        let mask = said.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (libc::SIGXFSZ - 1))
    };
    place.bot.crash("a");
    place.bot.before("start", "a", &format!("cat /proc/self/status >{}/status", place.bot.path().display()));
    let before = place.shell("cat /proc/self/status").stdout;
    place.shell("exec \"$MIRROR\" promote").expect(0, "started");
    let within = std::fs::read_to_string(place.bot.path().join("status")).unwrap();
    assert_eq!(ignored(&within), ignored(&before));
}

#[test]
fn inherited_descriptors_and_signals_do_no_harm() {
    let place = Place::new("");
    let listing = place.bot.path().join("descriptors");
    place.bot.before("start", "a", &format!("ls -l /proc/$$/fd >{}", listing.display()));
    let script = "trap '' CHLD; exec 7>>inherited 8<. 9<>inherited; exec \"$MIRROR\" promote";
    place.shell(script).expect(0, "started");
    let listed = wait_for("the descriptors are listed", || std::fs::read_to_string(&listing).ok());
    assert!(!listed.contains("inherited") && !listed.contains(" 8 ->"), "{listed}");
}

#[test]
fn too_little_memory_is_an_error_in_one_line() {
    let place = Place::new("");
    // Below some 16 MB not even the loader has enough; above 60 MB nothing is missing.
    for kilobytes in (16_000..60_000).step_by(2_000) {
        for command in ["status", "promote --dry-run"] {
            let said = place.shell(&format!("ulimit -v {kilobytes}; exec \"$MIRROR\" --self a {command} --json"));
            // 127 and 134 are the loader's and the allocator's ends; where not even the program fits, the kernel ends it.
            let has_begun = !matches!(said.status, 139) || !said.stderr.is_empty();
            assert!(!has_begun || matches!(said.status, 0..=3 | 127 | 134), "{kilobytes} kB: {said:?}");
            assert!(!said.stderr.contains("panicked"), "{kilobytes} kB: {said:?}");
            let is_told = said.status != 3 || said.stderr.contains("mirror: ") || said.stdout.contains("reason");
            assert!(is_told, "{kilobytes} kB: {said:?}");
        }
    }
}

#[test]
fn the_words_of_others_do_not_command_a_terminal() {
    let place = Place::new("");
    let why = "disks \u{1b}[8m\u{1b}[31m\u{202e}\u{200b}\u{9b}1m end";
    let pause = |words: &[&str]| {
        let mut command = place.network.mirror(["--self", "a", "pause"]);
        command.args(words);
        run(command)
    };
    let object = pause(&["--json", "--why", why]).expect(0, "paused");
    assert_eq!(object["paused"][0]["why"], why, "as it was given");
    for command in ["chain show", "history", "promote", "pause", "chain show --json", "history --json"] {
        let script = format!("TERM=xterm script -qec '\"$MIRROR\" --self a {command}' /dev/null");
        let said = place.shell(&script);
        assert!(said.stdout.contains("disks") && said.stdout.contains("end"), "{command}: {said:?}");
        let foreign = ["\u{1b}[8m", "\u{1b}[31m\u{202e}", "\u{202e}", "\u{200b}", "\u{9b}"];
        assert!(!foreign.iter().any(|foreign| said.stdout.contains(foreign)), "{command}: {:?}", said.stdout);
        assert!(said.stdout.contains("\u{1b}[") || command.ends_with("json"), "{command}: our colours are there");
    }
}
