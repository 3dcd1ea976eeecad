//! The completion scripts in the real shells: they offer commands, and the names of the
//! configuration that the line being completed would use.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::program::{MIRROR, Ran, mirror};

/// Two node lists, one in force by `MIRROR_CONFIG`, one to be named on the line, and a broken one.
fn place() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let list = |one: &str, two: &str, service: &str| {
        format!(
            "[nodes]\n{one} = \"192.0.2.1\"\n{two} = \"192.0.2.2\"\n[chains]\nbrain = [\"{one}\"]\n\
             {service} = [\"{two}\"]\n[services.{service}]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n"
        )
    };
    for (name, text) in [
        ("mirror.toml", list("moscow", "minsk", "bot")),
        ("other.toml", list("berlin", "bonn", "web")),
        ("with space.toml", list("paris", "pau", "mail")),
        ("broken.toml", "[nodes".to_owned()),
    ] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let bin = directory.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    std::os::unix::fs::symlink(MIRROR, bin.join("mirror")).expect("linked");
    directory
}

/// A line that is being completed, and what must and must not be offered.
struct Line {
    line: &'static str,
    offered: &'static [&'static str],
    not_offered: &'static [&'static str],
}

const fn line(line: &'static str, offered: &'static [&'static str], not_offered: &'static [&'static str]) -> Line {
    Line { line, offered, not_offered }
}

const LINES: [Line; 18] = [
    line(
        "mirror ",
        &["probe", "whois-brain", "breathe", "promote", "chain", "schema", "completions"],
        &["moscow", "bot", "brain"],
    ),
    line("mirror pro", &["probe", "promote"], &["chain", "breathe"]),
    line("mirror chain ", &["show", "check"], &["probe", "brain"]),
    line("mirror probe ", &["moscow", "minsk"], &["berlin", "bot", "brain"]),
    line("mirror probe mo", &["moscow"], &["minsk"]),
    line("mirror probe moscow ", &["minsk"], &["bot"]),
    line("mirror probe --chain ", &["brain", "bot"], &["moscow"]),
    line("mirror promote ", &["bot"], &["brain", "moscow"]),
    line("mirror promote bot --to mi", &["minsk"], &["moscow", "bot"]),
    line("mirror chain show b", &["brain", "bot"], &["moscow"]),
    line("mirror schema wh", &["whois-brain"], &["probe"]),
    line("mirror help ", &["lease", "cycle", "glossary", "probe"], &["moscow"]),
    line("mirror completions ", &["bash", "zsh", "fish"], &["moscow"]),
    line("mirror --config other.toml probe ", &["berlin", "bonn"], &["moscow"]),
    line("mirror --config=other.toml promote ", &["web"], &["bot"]),
    line("mirror chain show --config=other.toml ", &["brain", "web"], &["bot"]),
    line("mirror probe --config 'with space.toml' p", &["paris", "pau"], &["moscow"]),
    line("mirror probe --config ~/other.toml ", &["berlin", "bonn"], &["moscow"]),
];

/// Lines whose offer is a whole word in some shells, and the piece that is still missing in others.
const PIECES: [(&str, &str); 4] = [
    ("mirror probe --self=mo", "moscow"),
    ("mirror probe --self mo", "moscow"),
    ("mirror chain show --down minsk,mo", "moscow"),
    ("mirror probe --config=oth", "other.toml"),
];

/// Completes every line by `complete`, which gives the words that are offered for one.
fn check(shell: &str, complete: impl Fn(&Path, &str) -> Vec<String>) {
    let place = place();
    for Line { line, offered, not_offered } in LINES {
        let found = complete(place.path(), line);
        for word in offered {
            assert!(found.iter().any(|found| found == word), "{shell}: {line:?} lacks {word}: {found:?}");
        }
        for word in not_offered {
            assert!(!found.iter().any(|found| found == word), "{shell}: {line:?} offers {word}: {found:?}");
        }
    }
    for (line, end) in PIECES {
        let found = complete(place.path(), line);
        assert!(matches!(&found[..], [only] if only.ends_with(end)), "{shell}: {line:?}: {found:?}");
    }
    for line in ["mirror --config broken.toml promote ", "mirror --config absent.toml promote "] {
        let found = complete(place.path(), line);
        assert!(found.iter().all(|word| word.starts_with('-')), "{shell}: {line:?}: {found:?}");
    }
}

/// A shell that finds this `mirror` first, in the place's directory, with its list in force.
fn shell(program: &str, arguments: &[&str], place: &Path) -> Vec<String> {
    let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").expect("is set"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(place).stdin(Stdio::null());
    command.env("PATH", path).env("HOME", place).env("MIRROR_CONFIG", place.join("mirror.toml"));
    command.env_remove("MIRROR_SELF").env_remove("XDG_CONFIG_HOME").env("TERM", "dumb");
    let ran = Ran::from(command.output().expect("runs"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{program} {arguments:?}: {}", ran.stdout);
    ran.stdout.lines().map(|word| word.trim_end().to_owned()).collect()
}

fn is_there(program: &str) -> bool {
    let there = Command::new(program).args(["-c", "exit 0"]).stdin(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// Breaks the line as readline does: at blanks outside quotes, and before and after `=`.
fn broken(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        let word = words.last_mut().expect("never empty");
        match c {
            '\'' => {
                quoted = !quoted;
                word.push(c);
            }
            ' ' if !quoted => words.push(String::new()),
            '=' if !quoted => {
                words.push("=".to_owned());
                words.push(String::new());
            }
            c => word.push(c),
        }
    }
    words
}

#[test]
fn bash() {
    assert_eq!(broken("a --b=c 'd e' "), ["a", "--b", "=", "c", "'d e'", ""]);
    check("bash", |place, line| {
        let words = broken(line);
        let script = r#"
            source <(mirror completions bash) || exit
            [[ $(complete -p mirror) == *" -F "* ]] || exit
            function=$(complete -p mirror); function=${function##* -F }; function=${function%% *}
            COMP_LINE=$1; shift
            COMP_POINT=${#COMP_LINE} COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
            "$function" mirror "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        shell("bash", &[&["--norc", "-c", script, "bash", line], words.as_slice()].concat(), place)
    });
}

#[test]
fn bash_at_the_equals_sign_itself() {
    // Right after `--self=`, readline takes `=` for the word, and calls with an empty one.
    let place = place();
    let script = r#"
        source <(mirror completions bash)
        COMP_WORDS=(mirror probe --self =) COMP_CWORD=3 COMP_TYPE=9
        _mirror mirror "" --self; printf '%s\n' "${COMPREPLY[@]}"
    "#;
    assert_eq!(shell("bash", &["--norc", "-c", script], place.path()), ["moscow", "minsk"]);
}

#[test]
fn fish() {
    if !is_there("fish") {
        return;
    }
    check("fish", |place, line| {
        let script = "mirror completions fish | source; complete --do-complete $argv[1]";
        let found = shell("fish", &["--no-config", "-c", script, line], place);
        found.iter().map(|offer| offer.split('\t').next().unwrap_or_default().to_owned()).collect()
    });
}

/// A zsh that types the line and a tab into another, in which `compadd` tells what it is given.
const ZSH: &str = r#"
zmodload zsh/zpty || exit
zpty inner zsh -f -i
() {
    zpty -w inner "source $1"
    local said
    repeat 50 { zpty -r inner said || exit 3; [[ $said == *ready* ]] && return }
    exit 4
} =(<<'END'
    PROMPT= RPROMPT= zle_bracketed_paste=()
    autoload -Uz compinit
    compinit -u -D
    source <(mirror completions zsh)
    bindkey '^M' undefined-key
    bindkey '^J' undefined-key
    bindkey '^I' complete-word
    zstyle ':completion:*' insert-tab false
    tell-begin() { print -r -- "<<begin>>" }
    tell-end() { print -r -- "<<end>>"; exit }
    compprefuncs=(tell-begin)
    comppostfuncs=(tell-end)
    compadd() {
        if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
        local -a offered
        builtin compadd -A offered "$@"
        ((${#offered})) && print -rl -- "offer:"$^offered
        builtin compadd "$@"
    }
    print ready
END
)
zpty -n -w inner "$1"$'\t'
local said all=""
while zpty -r inner said; do all+=$said; [[ $all == *"<<end>>"* ]] && break; done
zpty -d inner
print -r -- ${${all#*"<<begin>>"}%%"<<end>>"*} | tr -d '\r' | sed -n 's/.*offer://p'
"#;

#[test]
fn zsh() {
    if !is_there("zsh") {
        return;
    }
    check("zsh", |place, line| {
        // What two shells say to each other may come to nothing: then this ends it.
        let mut found = shell("timeout", &["60", "zsh", "-f", "-c", ZSH, "zsh", line], place);
        found.dedup();
        found
    });
}

#[test]
fn the_scripts_are_what_the_shells_are_given() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = mirror(Path::new("/"), ["completions", shell]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{shell}");
        assert!(ran.stdout.contains("mirror"), "{shell}");
    }
    let ran = mirror(Path::new("/"), ["completions", "tcsh"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
}
