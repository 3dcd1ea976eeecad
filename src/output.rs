//! What a command says: its object, its exit status, its text for people, the one write to stdout.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;

use crate::chain::Name;
use warnings::Warning;

pub mod sanitize;
pub mod warnings;

/// A command that ends sooner shows no spinner.
const PATIENCE: Duration = Duration::from_millis(300);
const SPINNER_TICK: Duration = Duration::from_millis(100);

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
    /// Nothing but the exit status.
    pub quiet: bool,
    /// Each step on stderr, as it happens.
    pub verbose: bool,
}

impl OutputMode {
    /// Says a step to whoever asked to hear of each.
    pub fn step(&self, words: std::fmt::Arguments<'_>) {
        if self.verbose {
            say(words);
        }
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
    let stdout = std::io::stdout();
    let text = if output_mode.json || !stdout.is_terminal() {
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
        serde_json::to_string(&object).map(|json| sanitize::json(&json) + "\n")
    } else {
        let style = Style { on: colour_wanted() };
        let warned = warnings.iter().map(|warning| vec![style.doubtful("warning"), warning.message.clone()]);
        let warned = columns(&warned.collect::<Vec<_>>());
        let headline = style.status(status, &sanitize::one_line(&report.reason));
        Ok(sanitize::for_terminal(&format!("{headline}\n{}{warned}", report.facts.text(style))))
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

/// One line on stderr, whatever a file's name or a program's words hold; a closed one is no reason
/// to fail.
pub fn say(words: std::fmt::Arguments<'_>) {
    let mut line = String::from("mirror: ");
    for c in words.to_string().chars() {
        if sanitize::is_unsafe(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// What is being waited for, for whom a spinner turns into a bar meanwhile.
#[derive(Clone, Debug, Default)]
pub struct PendingWaits(Arc<Mutex<Vec<Wait>>>);

#[derive(Clone, Debug, PartialEq)]
struct Wait {
    what: String,
    begun: Instant,
    length: Duration,
}

/// A wait; it ends when it is dropped.
pub struct Waiting<'a>(&'a PendingWaits, Wait);

impl PendingWaits {
    /// A wait for the lease of `service` begins, and takes this long at most.
    pub fn begin(&self, service: &Name, length: Duration) -> Waiting<'_> {
        let what = format!("{service}: until whoever may run it has stopped");
        let wait = Wait { what, begun: Instant::now(), length };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wait.clone());
        Waiting(self, wait)
    }

    /// The one that lasts longest.
    fn longest(&self) -> Option<Wait> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().max_by_key(|wait| wait.begun + wait.length).cloned()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|wait| *wait != self.1);
    }
}

/// A spinner on stderr for what takes long; it ends when it is dropped.
pub struct Spinner(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl Spinner {
    /// Shows `doing` once it has taken long enough for somebody to wonder; on a terminal only.
    pub fn start(output_mode: OutputMode, doing: &'static str) -> Self {
        Self::with_waits(output_mode, doing, PendingWaits::default())
    }

    /// The same, and a bar for as long as there is something that is waited for.
    pub fn with_waits(output_mode: OutputMode, doing: &'static str, waits: PendingWaits) -> Self {
        if output_mode.quiet || output_mode.verbose || !std::io::stderr().is_terminal() {
            return Self(None, None);
        }
        let (done, waiting) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let spinner = ProgressBar::new_spinner().with_message(doing);
                let mut shown = None;
                while waiting.recv_timeout(SPINNER_TICK) == Err(RecvTimeoutError::Timeout) {
                    let wait = waits.longest();
                    if wait != shown {
                        show(&spinner, wait.as_ref(), doing);
                        shown = wait;
                    }
                    match &shown {
                        Some(wait) => spinner.set_position(whole_millis(wait.begun.elapsed().min(wait.length))),
                        None => spinner.tick(),
                    }
                }
                spinner.finish_and_clear();
            }
        });
        Self(Some(done), Some(thread))
    }
}

fn show(spinner: &ProgressBar, wait: Option<&Wait>, doing: &'static str) {
    match wait {
        Some(wait) => {
            if let Ok(bar) = ProgressStyle::with_template("{msg} [{bar:30}] {elapsed}") {
                spinner.set_style(bar);
            }
            spinner.set_length(whole_millis(wait.length));
            spinner.set_message(wait.what.clone());
        }
        None => {
            spinner.set_style(ProgressStyle::default_spinner());
            spinner.set_message(doing);
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

/// A time in ms, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Colours for a terminal, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    on: bool,
}

impl Style {
    /// No colours.
    pub const PLAIN: Self = Self { on: false };

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { sanitize::coloured(code, text) } else { text.to_owned() }
    }

    /// Text of a good thing.
    pub fn good(self, text: &str) -> String {
        self.in_colour("32", text)
    }

    /// Text of a bad thing.
    pub fn bad(self, text: &str) -> String {
        self.in_colour("31", text)
    }

    /// Text of a thing that is in doubt.
    pub fn doubtful(self, text: &str) -> String {
        self.in_colour("33", text)
    }

    /// Text of minor interest.
    pub fn faint(self, text: &str) -> String {
        self.in_colour("2", text)
    }

    fn status(self, status: ExitStatus, text: &str) -> String {
        match status {
            ExitStatus::Yes => self.good(text),
            ExitStatus::No => self.bad(text),
            ExitStatus::UsageError | ExitStatus::Unknown => self.doubtful(text),
        }
    }
}

/// Lines up columns by their width as it is read: colours take no room.
pub fn columns(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| sanitize::one_line(cell)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| sanitize::width(c)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - sanitize::width(cell))))
            .collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_cursor_and_begins_no_line() {
        let foreign = "\x1b[2J\x1b]0;owned\x07\nbot\r\x1b[31";
        let shown = sanitize::for_terminal(&columns(&[vec![Style { on: true }.good("ok"), foreign.to_owned()]]));
        assert_eq!(shown, "  \x1b[32mok\x1b[0m   [2J ]0;owned  bot  [31\n");
    }

    #[test]
    fn colours_take_no_room_in_a_column() {
        let style = Style { on: true };
        let rows = vec![vec![style.good("a"), "1".to_owned()], vec!["bcd".to_owned(), "2".to_owned()]];
        assert_eq!(sanitize::for_terminal(&columns(&rows)), "  \x1b[32ma\x1b[0m    1\n  bcd  2\n");
        assert_eq!(columns(&[vec![Style::PLAIN.bad("x")]]), "  x\n");
    }
}
