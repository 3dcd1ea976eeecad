//! What a command says: its object, its exit status, its text for people, the one write to stdout.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec};
use schemars::JsonSchema;
use serde::Serialize;

use crate::name::Name;
pub use journal::Priority;
pub use progress::{PendingWaits, Spinner};
pub use style::{Style, columns, paragraph};
use warnings::Warning;

pub mod journal;
mod progress;
pub mod sanitize;
mod style;
pub mod warnings;

/// The exit statuses, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitStatus {
    /// Yes, or done.
    Yes = 0,
    /// A definite no.
    No = 1,
    /// The command line or the configuration is wrong; nothing was written to stdout.
    UsageError = 2,
    /// It could not be found out, or could not be confirmed in time.
    Unknown = 3,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// A command's verdict: a slug in its object, and an exit status.
pub trait HasStatus: Copy + Serialize + JsonSchema {
    /// The exit status it ends in.
    fn status(self) -> ExitStatus;
}

/// A command's facts, and how people are told of them.
pub trait ReportFacts: Serialize + JsonSchema {
    /// The verdicts the command can end in.
    type Verdict: HasStatus;
    /// The name and version of its object, such as `mirror.probe/1`.
    const SCHEMA: &'static str;

    /// The facts for people: lines, each ended by a newline.
    fn text(&self, style: Style) -> String;

    /// How much the object matters in a log.
    fn priority(&self, verdict: Self::Verdict) -> Priority {
        if verdict.status() == ExitStatus::Unknown { Priority::Failed } else { Priority::Quiet }
    }
}

/// What a command found out.
pub struct Report<F: ReportFacts> {
    /// In a word.
    pub verdict: F::Verdict,
    /// In a sentence.
    pub reason: String,
    /// In full.
    pub facts: F,
}

/// The object that a command prints.
#[derive(Serialize, JsonSchema)]
pub struct Envelope<'a, F: ReportFacts> {
    /// The name and version of this object.
    pub schema: &'static str,
    /// When the command began: RFC 3339, UTC, milliseconds.
    pub at: String,
    /// The node it ran on; null on a machine that is no node.
    #[serde(rename = "self")]
    pub local_node: Option<&'a Name>,
    /// The outcome as a stable slug.
    pub verdict: F::Verdict,
    /// The outcome as a sentence for people.
    pub reason: &'a str,
    /// How long the command took, in ms.
    pub elapsed_ms: f64,
    /// Trouble that was found beside the task; left out where there is none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub warnings: &'a [Warning],
    /// The facts.
    #[serde(flatten)]
    pub facts: &'a F,
}

/// How a command was told to speak.
#[derive(Clone, Copy, Debug)]
pub struct OutputMode {
    /// One JSON object, also on a terminal.
    pub json: bool,
    /// Text for people, also where stdout is no terminal.
    pub text: bool,
    /// Nothing but the exit status.
    pub quiet: bool,
    /// Each step on stderr, as it happens.
    pub verbose: bool,
}

impl OutputMode {
    /// Prints a step, where `--verbose` asks for each.
    pub fn step(&self, words: std::fmt::Arguments<'_>) {
        if self.verbose {
            say_as(Priority::Quiet, words);
        }
    }

    /// Whether people are to read stdout.
    pub fn is_text(&self) -> bool {
        !self.json && (self.text || std::io::stdout().is_terminal())
    }

    /// Prints what is no object: a schema, a script.
    pub fn print(&self, text: &str) -> ExitStatus {
        if self.quiet || write(text) { ExitStatus::Yes } else { ExitStatus::Unknown }
    }
}

/// When a command began.
#[derive(Clone, Copy, Debug)]
pub struct StartTime {
    /// By the wall clock.
    pub at: SystemTime,
    /// By the monotonic clock.
    pub instant: Instant,
}

impl StartTime {
    /// Now.
    pub fn now() -> Self {
        Self { at: SystemTime::now(), instant: Instant::now() }
    }
}

/// Writes the finding to stdout, once, and tells the exit status.
pub fn emit<F: ReportFacts>(
    report: &Report<F>,
    warnings: &[Warning],
    local_node: Option<&Name>,
    begun: StartTime,
    output_mode: OutputMode,
) -> ExitStatus {
    let status = report.verdict.status();
    if output_mode.quiet {
        return status;
    }
    let text = if !output_mode.is_text() {
        let object = Envelope {
            schema: F::SCHEMA,
            at: humantime::format_rfc3339_millis(begun.at).to_string(),
            local_node,
            verdict: report.verdict,
            reason: &report.reason,
            elapsed_ms: millis(begun.instant.elapsed()),
            warnings,
            facts: &report.facts,
        };
        let priority = journal::prefix(std::io::stdout(), report.facts.priority(report.verdict));
        serde_json::to_string(&object).map(|json| priority + &sanitize::json(&json) + "\n")
    } else {
        let style = Style::of_environment();
        let warned = warnings.iter().map(|warning| vec![style.doubtful("warning"), warning.message.clone()]);
        Ok(rendered(report) + &sanitize::for_terminal(&columns(&warned.collect::<Vec<_>>())))
    };
    match text {
        Ok(text) if write(&text) => status,
        Ok(_) => ExitStatus::Unknown,
        Err(error) => {
            say(format_args!("cannot write the result as JSON: {error}"));
            ExitStatus::Unknown
        }
    }
}

/// A report as text for people, ready for a terminal.
pub fn rendered<F: ReportFacts>(report: &Report<F>) -> String {
    let style = Style::of_environment();
    let headline = style.status(report.verdict.status(), &sanitize::one_line(&report.reason));
    sanitize::for_terminal(&format!("{headline}\n{}", report.facts.text(style)))
}

/// The same for a screen: each line behind a space, the sentence broken where a line of the terminal ends.
pub fn rendered_in_width<F: ReportFacts>(report: &Report<F>, style: Style) -> String {
    let headline = style::headline(style, report.verdict.status(), &report.reason);
    sanitize::for_terminal(&(headline + &report.facts.text(style)))
}

/// Prints text for people that is no report, and tells whether that went well.
pub fn print_text(output_mode: OutputMode, text: impl FnOnce(Style) -> String) -> bool {
    output_mode.quiet || write(&sanitize::for_terminal(&text(Style::of_environment())))
}

/// Prints objects, one a line, and tells whether that went well.
pub fn print_lines(output_mode: OutputMode, objects: &[impl Serialize]) -> bool {
    let written = objects.iter().filter_map(|object| serde_json::to_string(object).ok());
    let lines: String = written.map(|object| sanitize::json(&object) + "\n").collect();
    output_mode.quiet || write(&lines)
}

/// Writes to stdout, and tells whether that went well. A reader that has gone is no failure: it had
/// what it wanted. What failed has been said on stderr.
pub fn write(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say(format_args!("cannot write to stdout: {error}"));
            false
        }
        _ => true,
    }
}

/// Whether stdout is a pipe that nobody reads any more.
pub fn nobody_reads() -> bool {
    let stdout = std::io::stdout();
    // An error is told without being asked for.
    let mut waited = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = rustix::event::poll(&mut waited, Some(&now));
    told.is_ok() && waited[0].revents().contains(PollFlags::ERR)
}

/// One line on stderr, whatever a file's name or a program's words hold; a closed one is no reason
/// to fail.
pub fn say(words: std::fmt::Arguments<'_>) {
    say_as(Priority::Failed, words);
}

/// The same, where it is no failure.
pub fn say_as(priority: Priority, words: std::fmt::Arguments<'_>) {
    let mut line = journal::prefix(std::io::stderr(), priority) + "mirror: ";
    for c in words.to_string().chars() {
        if sanitize::is_unsafe(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// A time in ms, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
