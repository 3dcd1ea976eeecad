//! One question to every node over `[remote]`, all of them at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::Context;
use crate::clock::Deadline;
use crate::config::Node;
use crate::leader::State;
use crate::name::Name;
use crate::output::ExitStatus;
use crate::remote::{Remote, Report};

/// The exit status of a `mirror` that cannot use its node list or the question.
const USAGE_ERROR: i32 = ExitStatus::UsageError as i32;
/// The exit status of a shell that finds no such program.
const NOT_FOUND: i32 = 127;
/// Questions may take this long at least: a login to a busy node takes more than a recovery in a fast cycle.
const MIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What every node is asked.
pub(super) struct Question<'a> {
    /// The command; it prints one object.
    pub(super) command: String,
    /// The name and version of that object.
    pub(super) schema: &'a str,
    /// By when.
    pub(super) deadline: Deadline,
    /// The nodes that a probe has found dead meanwhile; none where nothing probes them.
    pub(super) dead: Option<&'a Dead>,
}

/// What a node printed.
pub(super) struct Object {
    /// The object.
    pub(super) value: Value,
    /// How far its clock is ahead of this machine's at least, in ms; negative when it is behind.
    pub(super) clock_offset_ms: Option<f64>,
}

/// Why a node did not answer.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// It was not reached.
    NotReached(String),
    /// It was reached, and there is no `mirror` that could be run.
    NoMirror(String),
    /// Its `mirror` cannot use the node list or the question.
    Unusable(String),
    /// Something else was said.
    Unclear(String),
}

/// The nodes that were found dead. They are not waited for as long as the others.
#[derive(Default)]
pub(super) struct Dead(Mutex<BTreeSet<Name>>);

impl Dead {
    pub(super) fn add(&self, name: &Name, state: State) {
        if state == State::Dead {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        }
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl Refusal {
    /// As a slug.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::NotReached(_) => "not-reached",
            Self::NoMirror(_) => "no-mirror",
            Self::Unusable(_) => "unusable",
            Self::Unclear(_) => "unclear",
        }
    }

    /// In words.
    pub(super) fn why(&self) -> &str {
        let (Self::NotReached(why) | Self::NoMirror(why) | Self::Unusable(why) | Self::Unclear(why)) = self;
        why
    }
}

/// How long all may take, where the command line does not say.
pub(super) fn timeout(context: &Context, within: Option<Duration>) -> Duration {
    within.unwrap_or(context.config.cycle.recovery.max(MIN_TIMEOUT))
}

/// What is left for a node, in ms: it must end before this machine gives up on it, and the way there takes time.
pub(super) fn within(deadline: Deadline) -> u64 {
    milliseconds(deadline.left() / 2)
}

/// A duration as a question has it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks every node but this one, each on a thread of its own, and this one by `own`; in the order of the list.
pub(super) fn ask_all<'a, T: Send>(
    context: &'a Context,
    question: &Question<'_>,
    own: impl FnOnce() -> T + Send,
    read: impl Fn(Object) -> Option<T> + Sync,
) -> Vec<(&'a Name, Result<T, Refusal>)> {
    ask_all_by(&context.remote(), context, question, own, read)
}

/// The same by a way of one's own.
pub(super) fn ask_all_by<'a, T: Send>(
    remote: &Remote,
    context: &'a Context,
    question: &Question<'_>,
    own: impl FnOnce() -> T + Send,
    read: impl Fn(Object) -> Option<T> + Sync,
) -> Vec<(&'a Name, Result<T, Refusal>)> {
    let read = &read;
    let mut own = Some(own);
    std::thread::scope(|scope| {
        let threads: Vec<_> = context
            .config
            .nodes
            .iter()
            .map(|(name, node)| {
                let own = if context.local_node.as_ref() == Some(name) { own.take() } else { None };
                let answer = move || match own {
                    Some(own) => Ok(own()),
                    None => ask(remote, (name, node), question, read),
                };
                (name, scope.spawn(answer))
            })
            .collect();
        let broke_off = |_| Err(Refusal::Unclear("the question broke off".to_owned()));
        threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or_else(broke_off))).collect()
    })
}

/// Asks one node.
pub(super) fn ask<T>(
    remote: &Remote,
    (name, node): (&Name, &Node),
    question: &Question<'_>,
    read: impl Fn(Object) -> Option<T>,
) -> Result<T, Refusal> {
    let (before, begun) = (SystemTime::now(), Instant::now());
    // A look can be wrong where a login works, so that a node has the time of two looks to answer.
    let patience = node.probe.timeout * 2;
    let has_died = || question.dead.is_some_and(|dead| begun.elapsed() > patience && dead.contains(name));
    let report = remote.ask_unless(name, node, &question.command, question.deadline, &has_died);
    object_of(&report, question.schema, before).and_then(read).ok_or_else(|| refusal(&report))
}

/// The object that a node printed.
fn object_of(report: &Report, schema: &str, before: SystemTime) -> Option<Object> {
    let value: Value = serde_json::from_slice(&report.output).ok()?;
    if value.get("schema").is_some_and(|of| of != schema) {
        return None;
    }
    let at = value.get("at").and_then(|at| humantime::parse_rfc3339(at.as_str()?).ok());
    let clock_offset_ms = at.map(|at| clock_offset_ms(at, before, SystemTime::now()));
    Some(Object { value, clock_offset_ms })
}

/// How far a clock is ahead that showed `at` at some time between `before` and `after`, at least.
fn clock_offset_ms(at: SystemTime, before: SystemTime, after: SystemTime) -> f64 {
    let ahead = at.duration_since(after).unwrap_or_default();
    let behind = before.duration_since(at).unwrap_or_default();
    (ahead.as_secs_f64() - behind.as_secs_f64()) * 1000.0
}

fn refusal(report: &Report) -> Refusal {
    let why = report.why();
    match report.status {
        // The status of an ssh that fails is always this one, and tells nothing.
        None => Refusal::NotReached(why.strip_prefix("not-reached: ").unwrap_or(&why).replace("exit status 255: ", "")),
        Some(NOT_FOUND) => Refusal::NoMirror(why),
        Some(USAGE_ERROR) => Refusal::Unusable(why),
        Some(0 | 1 | 3) if report.errors.as_deref().unwrap_or_default().is_empty() => {
            Refusal::Unclear("what it printed is no answer to the question".to_owned())
        }
        Some(_) => Refusal::Unclear(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_no_time_of_the_answer_explains() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let off = |shown: u64| clock_offset_ms(at(shown), at(100), at(103));
        assert_eq!([off(100), off(102), off(103)], [0.0; 3]);
        assert_eq!([off(110), off(90)], [7000.0, -10_000.0]);
    }
}
