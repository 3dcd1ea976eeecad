//! The status kept on the screen, redrawn in place; or a line each time where stdout is no terminal.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use super::facts::StatusFacts;
use crate::clock::Deadline;
use crate::commands::{Context, everywhere};
use crate::output::{self, ExitStatus, HasStatus as _, OutputMode, Report};

/// Until q, or a signal.
pub(super) fn run(context: &Context, every: Duration, within: Option<Duration>) -> Result<ExitStatus> {
    let on_screen = std::io::stdout().is_terminal() && !context.output_mode.json;
    let quit = on_screen.then(keys);
    let mut before = String::new();
    loop {
        let begun = Instant::now();
        let report = super::look(&quiet(context), Deadline::after(everywhere::timeout(context, within)))?;
        if context.output_mode.json {
            output::emit(&report, &[], context.local_node.as_ref(), output::StartTime::now(), context.output_mode);
        } else if on_screen {
            let text = output::rendered(&report);
            output::write(&screen(&text, &before));
            before = text;
        } else if !context.output_mode.quiet {
            output::print_text(context.output_mode, |_| line(&report));
        }
        let left = every.saturating_sub(begun.elapsed());
        match &quit {
            Some(quit) => match quit.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Ok(report.verdict.status()),
            },
            None => std::thread::sleep(left),
        }
    }
}

/// The spinner would draw over the screen.
fn quiet(context: &Context) -> Context {
    Context {
        begun: output::StartTime::now(),
        output_mode: OutputMode { quiet: true, ..context.output_mode },
        config: context.config.clone(),
        local_node: context.local_node.clone(),
    }
}

/// A message when q is pressed. The terminal reads a key at a time only while this waits for one.
fn keys() -> mpsc::Receiver<()> {
    let (sender, quit) = mpsc::channel();
    std::thread::spawn(move || {
        let term = console::Term::stdout();
        loop {
            match term.read_key() {
                Ok(console::Key::Char('q' | 'Q') | console::Key::CtrlC | console::Key::Escape) | Err(_) => {
                    let _ = sender.send(());
                    return;
                }
                Ok(_) => {}
            }
        }
    });
    quit
}

/// The whole screen: from the top, each line to its end, the rest cleared. Lines in which more than a number has
/// changed are marked.
fn screen(text: &str, before: &str) -> String {
    let words = |line: &str| line.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    let known: Vec<String> = before.lines().map(words).collect();
    let mut shown = String::from("\x1b[H");
    for line in text.lines() {
        let is_new = !known.is_empty() && !known.contains(&words(line));
        let mark = if is_new { "\x1b[1m>\x1b[0m" } else { " " };
        shown += &format!("{mark}{line}\x1b[K\r\n");
    }
    shown + "\x1b[2mq: quit\x1b[0m\x1b[K\x1b[J"
}

fn line(report: &Report<StatusFacts>) -> String {
    format!("{} {}\n", humantime::format_rfc3339_seconds(SystemTime::now()), report.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_says_something_else_is_marked() {
        let shown = screen("a 2.5s\nb dead\n", "a 1.2s\nb alive\n");
        assert!(shown.contains(" a 2.5s\x1b[K") && shown.contains("\x1b[1m>\x1b[0mb dead"), "{shown:?}");
        assert!(!screen("a\n", "").contains('>'), "at first nothing has changed");
    }
}
