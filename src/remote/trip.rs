//! One trip to a node: the program goes there, and what comes back in marked lines counts.

use std::io;
use std::time::{Duration, Instant};

use super::connection::{Connection, Exchange, Route};
use super::frame::{self, Frame, Line, Scanner};
use super::program::{self, Channel};
use super::{Cause, Errand, Remote, Report, Silence, ssh};
use crate::clock::Deadline;
use crate::config::Node;
use crate::exec::{Ended, Finished};
use crate::hex::hex;
use crate::name::Name;

/// How often a process's output is cut back while it runs.
const TRIM_EVERY: Duration = Duration::from_millis(20);
/// How long the words of a failed command are waited for once its status is there.
const WORDS_TIMEOUT: Duration = Duration::from_millis(500);
/// For how long a status counts that was followed by none before the deadline.
const MAX_STATUS_AGE: Duration = Duration::from_secs(1);
/// How much is kept of what a single command prints, in bytes.
const MAX_OUTPUT_LEN: usize = 16 << 20;
/// How much is kept of what is told to people.
const MAX_WORDS_LEN: usize = 200;

/// Where a trip goes, and who can say that it is in vain.
pub(crate) struct Destination<'a> {
    /// The node's name.
    pub name: &'a Name,
    /// The node.
    pub node: &'a Node,
    /// Whether the node has fallen; asked when nothing has come for as long as a probe may take.
    pub has_died: &'a dyn Fn() -> bool,
}

/// Carries out all errands on a node, side by side, each until its own deadline. `on_report` gets each
/// errand's index and report as soon as it is there, each index once.
pub(crate) fn run(
    remote: &Remote,
    to: &Destination<'_>,
    errands: &[Errand<'_>],
    on_report: &mut dyn FnMut(usize, Report),
) {
    if errands.is_empty() {
        return;
    }
    let nonce = nonce();
    let (words, program) = match remote.channel(to.name) {
        Channel::Stdin => {
            (remote.words(to.name, to.node, ssh::SHELL), program::text(errands, &nonce, Channel::Stdin).into_bytes())
        }
        Channel::Argument => {
            let argument = program::as_argument(&program::text(errands, &nonce, Channel::Argument));
            if argument.len() > program::MAX_ARGUMENT_LEN && errands.len() > 1 {
                return in_halves(remote, to, errands, on_report);
            }
            (remote.words(to.name, to.node, &argument), format!("{nonce}\n").into_bytes())
        }
    };
    let begun = Instant::now();
    let mut trip = Trip::new(&nonce, errands, begun);
    let gentle = remote.channel(to.name) == Channel::Argument || remote.is_local(to.name);
    let socket = remote.shared_socket(to.name, to.node);
    let route = Route { words: &words, input: &program, socket: socket.as_deref(), gentle };
    let silence = Connection::open(route).and_then(|connection| trip.listen(connection, to, on_report));
    let silence = silence.unwrap_or_else(|error| Silence { cause: Cause::NotStarted, detail: Some(error.to_string()) });
    trip.give_up(&silence, on_report);
}

/// An argument has a limit that standard input has not.
fn in_halves(remote: &Remote, to: &Destination<'_>, errands: &[Errand<'_>], on_report: &mut dyn FnMut(usize, Report)) {
    let middle = errands.len() / 2;
    let (first, second) = errands.split_at(middle);
    run(remote, to, first, on_report);
    run(remote, to, second, &mut |index, report| on_report(middle + index, report));
}

/// Fresh for each trip, and not to be guessed.
pub(super) fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    hex(&bytes)
}

/// What has come so far for one errand.
#[derive(Default)]
struct Progress {
    report: Report,
    /// When the last status came.
    asked: Option<Instant>,
    /// Whether its `start` or `stop` is under way.
    acts: bool,
    ended: Option<Instant>,
    reported: bool,
}

struct Trip<'a> {
    errands: &'a [Errand<'a>],
    begun: Instant,
    scanner: Scanner,
    nonce: &'a str,
    progress: Vec<Progress>,
    /// Whether the program runs there.
    greeted: bool,
    /// The first line that came unmarked before it did.
    noise: Option<String>,
    output: Vec<u8>,
}

impl<'a> Trip<'a> {
    fn new(nonce: &'a str, errands: &'a [Errand<'a>], begun: Instant) -> Self {
        let progress = errands.iter().map(|_| Progress::default()).collect();
        let scanner = Scanner::new(nonce);
        Self { errands, begun, scanner, nonce, progress, greeted: false, noise: None, output: Vec::new() }
    }

    /// Listens until everything is reported, or nothing more is to come; then tells why.
    fn listen(
        &mut self,
        mut connection: Connection<'_>,
        to: &Destination<'_>,
        on_report: &mut dyn FnMut(usize, Report),
    ) -> io::Result<Silence> {
        let mut patience = Deadline::after(to.node.probe.silence());
        loop {
            let wait = self.next_wait(patience);
            let Exchange { came, over } = connection.exchange(&mut |bytes| self.hear(bytes), wait)?;
            if over {
                let finished = connection.finish()?;
                if self.lacks_words() {
                    connection.hear_out(&mut |bytes| self.hear(bytes), Deadline::after(WORDS_TIMEOUT))?;
                }
                self.report_ended(&finished.stderr, true, on_report);
                return Ok(self.silence_of(&finished));
            }
            self.report_ended(&connection.stderr(), false, on_report);
            if self.progress.iter().all(|one| one.reported) {
                connection.close();
                return Ok(Silence { cause: Cause::Timeout, detail: None });
            }
            if came {
                patience = Deadline::after(to.node.probe.silence());
            } else if patience.has_passed() {
                if (to.has_died)() {
                    connection.close();
                    let detail = Some("it fell while it was waited for".to_owned());
                    return Ok(Silence { cause: Cause::NodeDied, detail });
                }
                patience = Deadline::after(to.node.probe.silence());
            }
        }
    }

    /// Whether what some failed command said is still to come.
    fn lacks_words(&self) -> bool {
        let failed = |(one, errand): (&Progress, &Errand<'_>)| {
            !one.reported && one.ended.is_some() && one.report.act.is_some() && lacks_words(one, errand, false)
        };
        self.progress.iter().zip(self.errands).any(failed)
    }

    /// How long nothing has to be looked after.
    fn next_wait(&self, patience: Deadline) -> Duration {
        let open = self.progress.iter().zip(self.errands).filter(|(one, _)| !one.reported);
        let next = open.map(|(_, errand)| errand.deadline.left()).min().unwrap_or_default();
        next.min(patience.left()).min(TRIM_EVERY)
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Self { scanner, progress, greeted, noise, output, .. } = self;
        scanner.feed(bytes, |line| match line {
            Line::Marked(line) => match frame::read(line) {
                Some(Frame::Hello) => *greeted = true,
                Some(frame) => note(progress, &frame),
                None => {}
            },
            Line::Other(line) if *greeted => {
                let asked = progress.iter().all(|one| one.report.status.is_none());
                if asked && output.len() + line.len() < MAX_OUTPUT_LEN {
                    output.extend_from_slice(line);
                    output.push(b'\n');
                }
            }
            Line::Other(line) => {
                if noise.is_none() {
                    *noise = first_line(&String::from_utf8_lossy(line));
                }
            }
        });
    }

    /// Reports the errands that are done, and those whose deadline has passed.
    fn report_ended(&mut self, stderr: &str, over: bool, on_report: &mut dyn FnMut(usize, Report)) {
        let single = self.errands.len() == 1;
        for (index, (one, errand)) in self.progress.iter_mut().zip(self.errands).enumerate() {
            if one.reported {
                continue;
            }
            let late = errand.deadline.has_passed();
            if let Some(ended) = one.ended {
                let waits = !over && !late && lacks_words(one, errand, single) && ended.elapsed() < WORDS_TIMEOUT;
                if waits {
                    continue;
                }
            } else if late && !over {
                one.report.silence.get_or_insert_with(|| timeout(self.greeted, stderr, self.noise.as_ref()));
            } else {
                continue;
            }
            one.reported = true;
            let mut report = std::mem::take(&mut one.report);
            report.elapsed = self.begun.elapsed();
            if late && one.acts {
                // It ran, and was not done.
                report.act = Some(None);
            }
            if report.silence.is_some() && one.asked.is_none_or(|asked| asked.elapsed() > MAX_STATUS_AGE) {
                report.status = None;
            }
            if single {
                report.output = std::mem::take(&mut self.output);
                // Before the mark, the login had the word.
                report.errors = stderr.split_once(self.nonce).and_then(|(_, rest)| first_line(rest));
                // A marked line begins with an empty one.
                if report.output.last() == Some(&b'\n') {
                    report.output.pop();
                }
            }
            on_report(index, report);
        }
    }

    /// Reports everything that is still open as unknown.
    fn give_up(&mut self, silence: &Silence, on_report: &mut dyn FnMut(usize, Report)) {
        for (index, one) in self.progress.iter_mut().enumerate().filter(|(_, one)| !one.reported) {
            one.reported = true;
            let mut report = std::mem::take(&mut one.report);
            report.elapsed = self.begun.elapsed();
            report.silence.get_or_insert_with(|| silence.clone());
            on_report(index, report);
        }
    }

    /// Why nothing more comes from a process that has ended.
    fn silence_of(&self, finished: &Finished) -> Silence {
        let noise = || first_line(&finished.stderr.replace(self.nonce, "")).or_else(|| self.noise.clone());
        let (cause, detail) = match finished.ended {
            Ended::Exited(ssh::FAILED) => {
                let status = format!("exit status {}", ssh::FAILED);
                (ssh::failure(&finished.stderr), said(&status, finished.last_line()))
            }
            Ended::Exited(code) if self.greeted => (Cause::NotReached, said(&format!("exit status {code}"), noise())),
            Ended::Exited(code @ (126 | 127)) => (Cause::ProgramMissing, said(&format!("exit status {code}"), noise())),
            Ended::Exited(code) => (Cause::Unframed, said(&format!("exit status {code}"), noise())),
            Ended::Signaled(signal) => (Cause::Killed, said(&format!("signal {signal}"), noise())),
            Ended::TimedOut => (Cause::Timeout, finished.last_line()),
        };
        Silence { cause, detail }
    }
}

fn note(progress: &mut [Progress], frame: &Frame<'_>) {
    let index = match frame {
        Frame::Hello => return,
        Frame::Acts(index) | Frame::TimedOut(index) | Frame::End(index) => *index,
        Frame::Status(index, _) | Frame::Act(index, _) | Frame::Said(index, _) => *index,
        Frame::Before(index, ..) => *index,
    };
    let Some(one) = progress.get_mut(index) else { return };
    match *frame {
        Frame::Hello => {}
        Frame::Acts(_) => (one.report.status, one.acts) = (None, true),
        Frame::Status(_, code) => (one.report.status, one.asked) = (Some(code), Some(Instant::now())),
        Frame::Before(_, code, line) => one.report.before = Some((code, line.to_owned())),
        Frame::Act(_, code) => (one.report.act, one.acts) = (Some(code), false),
        Frame::Said(_, words) => one.report.said = Some(words.chars().take(MAX_WORDS_LEN).collect()),
        Frame::TimedOut(_) => {
            one.report.silence = Some(Silence { cause: Cause::Timeout, detail: None });
            one.ended.get_or_insert_with(Instant::now);
        }
        Frame::End(_) => drop(one.ended.get_or_insert_with(Instant::now)),
    }
}

/// Whether an errand did not go well, and what its command said is still to come.
fn lacks_words(one: &Progress, errand: &Errand<'_>, single: bool) -> bool {
    let Report { act, status, said, silence, .. } = &one.report;
    if silence.is_some() || errand.task.is_done(*act, *status) {
        return false;
    }
    if act.is_some() { said.is_none() } else { single }
}

fn timeout(greeted: bool, stderr: &str, noise: Option<&String>) -> Silence {
    let words = if greeted { None } else { first_line(stderr).or_else(|| noise.cloned()) };
    Silence { cause: Cause::Timeout, detail: words }
}

/// The first line that is not empty, for people.
pub(crate) fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(MAX_WORDS_LEN).collect())
}

/// A status, and what was said.
pub(crate) fn said(what: &str, words: Option<String>) -> Option<String> {
    Some(words.map_or_else(|| what.to_owned(), |words| format!("{what}: {words}")))
}
