//! The status kept on the screen, redrawn in place; or a line each time where stdout is no screen.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use super::facts::StatusFacts;
use crate::clock::Deadline;
use crate::commands::{Context, everywhere};
use crate::exec;
use crate::output::{self, ExitStatus, HasStatus as _, OutputMode, Report, Style};

mod rounds;
mod screen;
mod terminal;

use rounds::{Answer, Rounds};
use screen::Screen;
use terminal::Terminal;

/// What the watch waits for.
enum Event {
    /// Something that a round asked for, and the number of the round.
    Answered(u64, Answer),
    /// Keys that were pressed, as bytes.
    Keys(Vec<u8>),
    /// A signal.
    Signal(i32),
}

/// Until q, or a signal.
pub(super) fn run(context: &Context, every: Duration, within: Option<Duration>) -> Result<ExitStatus> {
    let has_screen = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    if has_screen && !context.output_mode.json && !context.output_mode.quiet {
        on_screen(&Arc::new(quiet(context)), every, within)
    } else {
        in_lines(context, every, within)
    }
}

fn in_lines(context: &Context, every: Duration, within: Option<Duration>) -> Result<ExitStatus> {
    loop {
        let begun = Instant::now();
        let deadline = Deadline::after(everywhere::timeout(context, within));
        let report = super::look(&quiet(context), deadline)?;
        if context.output_mode.json {
            output::emit(&report, &[], context.local_node.as_ref(), output::StartTime::now(), context.output_mode);
        } else {
            output::print_text(context.output_mode, |_| line(&report));
        }
        if output::nobody_reads() {
            return Ok(report.verdict.status());
        }
        std::thread::sleep(every.saturating_sub(begun.elapsed()));
    }
}

fn line(report: &Report<StatusFacts>) -> String {
    format!("{} {}\n", humantime::format_rfc3339_seconds(SystemTime::now()), report.reason)
}

/// Neither a spinner nor a step may draw over the screen.
fn quiet(context: &Context) -> Context {
    Context {
        begun: output::StartTime::now(),
        output_mode: OutputMode { quiet: true, verbose: false, ..context.output_mode },
        config: context.config.clone(),
        local_node: context.local_node.clone(),
    }
}

/// The nodes are asked on threads of their own, so that none of them can hold up the screen or a key.
fn on_screen(context: &Arc<Context>, every: Duration, within: Option<Duration>) -> Result<ExitStatus> {
    output::warnings::hush();
    let (sender, events) = mpsc::channel();
    let mut handled = exec::take_signals();
    handled.extend([SIGWINCH, SIGTSTP, SIGCONT]);
    let mut signals = signal_hook::iterator::Signals::new(handled)?;
    let terminal = Terminal::enter()?;
    terminal.send_keys(sender.clone());
    let to = sender.clone();
    std::thread::spawn(move || signals.forever().try_for_each(|signal| to.send(Event::Signal(signal))));
    let within = everywhere::timeout(context, within);
    let rounds = Rounds::new(Arc::clone(context), (every, within), sender);
    let style = Style::of_environment();
    let screen = Screen::new(style.has_colour(), every, terminal.size());
    Watch { terminal, rounds, style, screen, shown: None }.until_quit(&events)
}

struct Watch {
    terminal: Terminal,
    rounds: Rounds,
    style: Style,
    screen: Screen,
    /// What was found last, and when.
    shown: Option<(Report<StatusFacts>, SystemTime)>,
}

impl Watch {
    fn until_quit(mut self, events: &Receiver<Event>) -> Result<ExitStatus> {
        loop {
            if let Some(report) = self.rounds.go_on()? {
                self.shown = Some((report, SystemTime::now()));
            }
            self.draw();
            match events.recv_timeout(self.rounds.next_event()) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Answered(round, answer)) => self.rounds.take(round, answer),
                Ok(Event::Signal(SIGWINCH)) => self.screen.resize(self.terminal.size()),
                Ok(Event::Signal(SIGTSTP)) => self.suspend(),
                Ok(Event::Signal(SIGCONT)) => self.resume(),
                Ok(Event::Signal(signal)) => self.end_by(signal),
                Ok(Event::Keys(keys)) if !terminal::has_q(&keys) => {}
                Ok(Event::Keys(_)) | Err(RecvTimeoutError::Disconnected) => {
                    drop(self.terminal);
                    exec::end_all();
                    return Ok(self.shown.map_or(ExitStatus::Unknown, |(report, _)| report.verdict.status()));
                }
            }
        }
    }

    fn draw(&mut self) {
        let shown = self.shown.as_ref().map(|(report, at)| (output::rendered_in_width(report, self.style), *at));
        let frame = self.screen.frame(shown.as_ref(), &self.rounds.late(), SystemTime::now());
        // A terminal that has gone sends SIGHUP.
        let _ = self.terminal.write(&frame);
    }

    fn suspend(&mut self) {
        self.terminal.leave();
        let _ = kill_process(getpid(), Signal::STOP);
        self.resume();
    }

    fn resume(&mut self) {
        self.terminal.enter_again();
        self.screen.resize(self.terminal.size());
    }

    /// As a signal ends any program, after the terminal is as it was.
    fn end_by(&mut self, signal: i32) {
        self.terminal.leave();
        exec::end_all();
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
