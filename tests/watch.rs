//! `mirror status --watch` on a real terminal, while real nodes fall.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use rustix::process::Signal;

use crate::support::nodes::{NAMES, Served};
use crate::support::processes::signal;
use crate::support::terminal::{OnTerminal, Terminal};
use crate::support::wait_for;

const WELL: &str = "All is well: bot runs on b; a is the brain.";

/// Beats stay fresh however long a test takes.
fn stage() -> Served {
    let stage = Served::new();
    for name in NAMES.into_iter().chain(["."]) {
        stage.nodes.edit(name, "check = \"60s\"", "check = \"1h\"");
    }
    stage
}

fn watch(stage: &Served) -> Command {
    let mut command = stage.nodes.network.mirror(["status", "--watch", "200ms", "--within", "100s"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
}

/// A terminal with a line on it, and the watch, once it shows something.
fn started(command: Command) -> (Terminal, String, OnTerminal) {
    let terminal = Terminal::new(80, 24);
    let mut echo = Command::new("echo");
    echo.arg("before");
    assert_eq!(terminal.start(echo).end(), 0);
    terminal.wait_until("before");
    let modes = terminal.modes();
    let watch = terminal.start(command);
    terminal.wait_until(WELL);
    (terminal, modes, watch)
}

/// Nothing is left of it. What a window showed that was smaller in between is the terminal's affair.
fn as_before(terminal: &Terminal, modes: &str, shows: &str) {
    wait_for("the terminal is as before", || {
        let is_so = terminal.look(|screen| !screen.alternate_screen() && !screen.hide_cursor());
        (is_so && terminal.modes() == modes && terminal.lines().concat().starts_with(shows)).then_some(())
    });
}

#[test]
fn what_changes_is_marked_in_place_and_q_leaves_the_terminal_as_it_was() {
    let stage = stage();
    let (terminal, modes, watch) = started(watch(&stage));
    assert!(terminal.look(|screen| screen.alternate_screen() && screen.hide_cursor()));
    assert_ne!(terminal.modes(), modes);
    assert!(!terminal.lines().concat().contains('>'), "{:#?}", terminal.lines());
    stage.bot.crash("b");
    stage.bot.before("start", "b", "echo no room >&2; exit 1");
    stage.nodes.on("a", "promote --if-brain").expect(0, "moved");
    // A mark goes after a while, and a slow machine sees one thing after another.
    let mut awaited = vec![
        ">1 problem; bot runs on c; a is the brain.",
        "> bot      c  ",
        "> ! b is passed over for bot until",
        "  *  a  ",
    ];
    wait_for("what has changed is marked", || {
        let lines = terminal.lines();
        awaited.retain(|words| !lines.iter().any(|line| line.starts_with(words)));
        awaited.is_empty().then_some(())
    });
    assert!(terminal.lines().last().unwrap().ends_with("every 200ms  q: quit"), "{:#?}", terminal.lines());
    // It was never cleared but at the beginning.
    assert_eq!(terminal.sent().matches("\x1b[2J").count(), 1);
    // A key that means nothing, an arrow among them, ends nothing.
    terminal.press("x\x1b[A");
    terminal.press("q");
    assert_eq!(watch.end(), 1);
    as_before(&terminal, &modes, "before");
}

#[test]
fn a_signal_ends_it_or_stops_it_with_the_terminal_as_it_was() {
    let stage = stage();
    let (terminal, modes, program) = started(watch(&stage));
    signal(program.pid(), Signal::TERM);
    assert_eq!(program.end(), 128 + 15);
    as_before(&terminal, &modes, "before");
    let (terminal, modes, program) = started(watch(&stage));
    let state = |letter: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with(letter).then_some(())
    };
    // Ctrl-Z, `fg`, Ctrl-C.
    terminal.press("\x1a");
    wait_for("it is stopped", || state("T"));
    as_before(&terminal, &modes, "before");
    signal(program.pid(), Signal::CONT);
    terminal.wait_until(WELL);
    assert!(terminal.look(|screen| screen.alternate_screen() && screen.hide_cursor()));
    terminal.press("\x03");
    assert_eq!(program.end(), 128 + 2);
    as_before(&terminal, &modes, "before");
}

#[test]
fn a_node_that_hangs_holds_up_neither_the_screen_nor_q() {
    let stage = stage();
    let (terminal, modes, watch) = started(watch(&stage));
    stage.nodes.servers[2].freeze();
    terminal.wait_until("waiting for c: ");
    wait_for("c is not known", || {
        let lines = terminal.lines();
        let is_unknown = |line: &String| line.contains('c') && line.contains("unknown  not-reached");
        let is_said = lines[0].contains("1 not known; bot runs on b; a is the brain.");
        (is_said && lines.iter().any(is_unknown)).then_some(())
    });
    // The others are asked again meanwhile.
    let time = || terminal.lines().last().unwrap().split("Z ").next().unwrap().to_owned();
    let first = time();
    wait_for("a later round is shown", || (time() > first).then_some(()));
    assert!(terminal.lines().last().unwrap().contains("waiting for c: "), "{:#?}", terminal.lines());
    terminal.press("q");
    assert_eq!(watch.end(), 3);
    as_before(&terminal, &modes, "before");
    stage.nodes.servers[2].thaw();
}

#[test]
fn it_fits_a_window_of_any_size() {
    let stage = stage();
    let (terminal, modes, watch) = started(watch(&stage));
    for (columns, rows) in [(30, 24), (30, 5), (1, 1), (200, 60)] {
        terminal.resize(columns, rows);
        let drawn = wait_for("it is drawn anew", || {
            let lines = terminal.lines();
            let (first, last) = (lines.first()?, lines.last()?);
            let is_last = if rows > 1 { lines.len() == usize::from(rows) && last.contains("Z") } else { true };
            // On the narrowest one only the first letters are seen.
            (is_last && (columns < 20 || first.contains("All is well"))).then_some(lines)
        });
        assert!(drawn.iter().all(|line| line.chars().count() <= usize::from(columns)), "{drawn:#?}");
    }
    let lines = terminal.wait_until(WELL);
    assert!(lines.iter().any(|line| line.contains("in step") || line.contains("clock")), "{lines:#?}");
    terminal.press("q");
    assert_eq!(watch.end(), 0);
    as_before(&terminal, &modes, "");
}

#[test]
fn without_colour_nothing_is_coloured_and_a_dumb_terminal_gets_lines() {
    let stage = stage();
    let mut plain = watch(&stage);
    plain.env("NO_COLOR", "1");
    let (terminal, modes, program) = started(plain);
    stage.bot.start_on("c");
    terminal.wait_until("> bot      b, c");
    terminal.press("q");
    assert_eq!(program.end(), 1);
    as_before(&terminal, &modes, "before");
    let sent = terminal.sent();
    let is_colour =
        |sequence: &&str| sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    assert_eq!(sent.split("\x1b[").skip(1).filter(is_colour).count(), 0, "{sent:?}");

    let mut dumb = watch(&stage);
    dumb.env("TERM", "dumb");
    let terminal = Terminal::new(80, 24);
    let program = terminal.start(dumb);
    terminal.wait_until("Z 1 problem; bot runs on 2 nodes; a is the brain.");
    terminal.press("\x03");
    assert_eq!(program.end(), 128 + 2);
    assert!(!terminal.sent().contains('\x1b'), "{:?}", terminal.sent());
}

#[test]
fn lines_end_when_nobody_reads_them() {
    let stage = stage();
    let said = stage.nodes.network.shell("\"$MIRROR\" status --within 100s --watch 10ms | head -n 2");
    assert_eq!(said.stdout.matches(WELL).count(), 2, "{said:?}");
    let said = stage.nodes.network.shell("\"$MIRROR\" status --within 100s --watch 10ms --json | head -n 1");
    assert_eq!(said.json()["verdict"], "well");
}
