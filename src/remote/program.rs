//! The program that runs on a node: the same text for every login shell.
//!
//! By default ssh runs the one word `sh`, which every shell reads alike, and the program comes on its
//! standard input, which stays open: its end tells the node that the connection is gone. A template of
//! `[remote] command` may run through something that passes no standard input on (`docker exec`, a
//! wrapper that closes it), so there the whole program is the argument `{command}`, in an encoding that
//! every shell reads alike. Where standard input arrives all the same, its end counts there too.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Errand, header};

/// How long an argument may be, in bytes; Linux takes 128 KiB (execve(2), MAX_ARG_STRLEN).
pub(super) const MAX_ARGUMENT_LEN: usize = 96 * 1024;
/// What stands before a program that is an argument.
pub(crate) const ARGUMENT_PREFIX: &str = r#"sh -c 'eval "$(printf %b "$1")"' sh '"#;

/// How the program gets to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// On standard input.
    Stdin,
    /// As an argument.
    Argument,
}

/// Which processes of a request are ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// Those that it runs at the moment; it goes on.
    Step,
    /// All.
    All,
}

/// The program for these errands.
pub(super) fn text(errands: &[Errand<'_>], nonce: &str, channel: Channel) -> String {
    let mut program = format!("{}\n{{\n", header::line(errands, nonce));
    let (first, second) = nonce.split_at(nonce.len() / 2);
    let live = if channel == Channel::Argument { "$m_a$m_b" } else { "" };
    let single = if errands.len() == 1 { "1" } else { "" };
    let _ = writeln!(program, "m_a={first} m_b={second}\nm_live={live} m_single={single}");
    program += prelude();
    let mut start = "m_start() {\n".to_owned();
    for (index, errand) in errands.iter().enumerate() {
        // Without a function between, a subshell becomes its last command without another fork.
        let output = if errands.len() == 1 { ">&4" } else { ">/dev/null 2>&1" };
        let command = in_a_subshell(errand.task.status());
        let _ = writeln!(program, "m_q{index}() {{ ({command}) </dev/null {output} 3<&- 4>&-; }}");
        if let Some(act) = errand.task.act() {
            let _ = writeln!(program, "m_c{index}() {{ m_apart {}; }}", quoted(act));
        }
        if let Some(before) = errand.task.before() {
            let _ = writeln!(program, "m_b{index}() {{ m_apart {}; }}", quoted(before));
        }
        let before = if errand.task.before().is_some() { " before" } else { "" };
        let _ = writeln!(start, "m_do {index} {}{before} &\nm_j{index}=$!\nm_jobs=\"$m_jobs $!\"", errand.task.verb());
    }
    let _ = write!(program, "{start}}}\n{}}}; m_main\n", timer(errands));
    program
}

/// The same as the words of one command that every shell reads alike: no newline, no `!`, no backslash
/// before a quote, everything in single quotes.
pub(super) fn as_argument(program: &str) -> String {
    let mut encoded = String::with_capacity(program.len() * 5 / 4);
    for byte in program.bytes() {
        match byte {
            b'\'' | b'!' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(encoded, "\\0{byte:03o}");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    format!("{ARGUMENT_PREFIX}{encoded}'")
}

/// What of program.sh is sent.
fn prelude() -> &'static str {
    static PRELUDE: OnceLock<String> = OnceLock::new();
    PRELUDE.get_or_init(|| {
        let lines = include_str!("program.sh").lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n")
    })
}

/// Ends what is still under way at its deadline; a start or a stop a little sooner, so that its effect
/// can still be asked for.
fn timer(errands: &[Errand<'_>]) -> String {
    let mut events: Vec<(Duration, Cut, usize)> = Vec::new();
    for (index, errand) in errands.iter().enumerate() {
        let left = errand.deadline.left();
        if let Some(act_deadline) = errand.act_deadline {
            events.push((act_deadline.left().min(left), Cut::Step, index));
        }
        events.push((left, Cut::All, index));
    }
    events.sort_unstable();
    let (mut text, mut passed) = ("m_timer() {\n".to_owned(), Duration::ZERO);
    let mut rest = events.as_slice();
    while let Some(&(at, cut, _)) = rest.first() {
        // Deadlines that were computed one after another differ by microseconds.
        let same =
            rest.iter().take_while(|(other, how, _)| *how == cut && *other < at + Duration::from_millis(2)).count();
        let (now, later) = rest.split_at(same);
        rest = later;
        let wait = at.saturating_sub(passed);
        passed = at;
        let _ = writeln!(text, "m_nap {:.3} {} || return", wait.as_secs_f64(), wait.as_secs() + 1);
        if cut == Cut::All {
            for (_, _, index) in now {
                let _ = writeln!(text, "m_put {index} timeout");
            }
        }
        let jobs: String = now.iter().map(|(_, _, index)| format!(" $m_j{index}")).collect();
        let _ = writeln!(text, "m_end {}{jobs}", if cut == Cut::All { "all" } else { "below" });
    }
    text + "}\n"
}

/// How a subshell runs a command as `sh -c` would. Starting a shell costs more than anything else here,
/// so a command of plain words is left to the shell that is there.
fn in_a_subshell(command: &str) -> String {
    const NOT_PLAIN: [&str; 18] = [
        "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "function",
        "select", "time", ".", "source",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || " _./:=@%+,-".contains(c);
    let mut words = command.split(' ').filter(|word| !word.is_empty()).peekable();
    if words.peek().is_some() && command.chars().all(plain) && words.all(|word| !NOT_PLAIN.contains(&word)) {
        command.to_owned()
    } else {
        format!("exec sh -c {}", quoted(command))
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::Task;
    use super::*;
    use crate::clock::Deadline;

    #[test]
    fn the_mark_is_nowhere_in_one_piece() {
        let task = Task::Start { status: "test -e run", start: "echo 'a b' >&2; exit 3", before: Some("echo x") };
        let errand =
            Errand { service: None, task, deadline: Deadline::after(Duration::from_secs(9)), act_deadline: None };
        let nonce = "0123456789abcdef";
        for channel in [Channel::Stdin, Channel::Argument] {
            let program = text(&[errand], nonce, channel);
            assert!(!program.contains(nonce), "{program}");
            assert!(program.starts_with("# {\"mirror\":1,") && program.ends_with("\n}; m_main\n"), "{program}");
        }
        let argument = as_argument(&text(&[errand], nonce, Channel::Argument));
        assert!(!argument.contains(['!', '\n', '\r']) && argument.matches('\'').count() == 4, "{argument}");
    }

    #[test]
    fn only_plain_words_go_without_a_shell_of_their_own() {
        assert_eq!(in_a_subshell("systemctl is-active bot"), "systemctl is-active bot");
        for command in ["", " ", "echo $$", "a && b", "a\nb", "x 'y'", "if a", ". ./env", "a # b", "kill -0 ~/x", "a;b"]
        {
            assert_eq!(in_a_subshell(command), format!("exec sh -c {}", quoted(command)));
        }
    }
}
