//! One question for a beat, over `[remote]`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::clock::{BootInstant, Deadline};
use crate::config::Node;
use crate::leader::beat::{Answer, Assessment, Heard, Sighting};
use crate::name::Name;
use crate::notices::{self, Notice};
use crate::remote::question::Question;
use crate::remote::{Remote, Report};
use crate::view::has_died;

/// The name and version of the answer.
pub const SCHEMA: &str = "mirror.beat/1";
/// A longer text is not a digest.
const MAX_DIGEST_CHARS: usize = 64;
/// How much of a node's message is quoted.
const MAX_QUOTE_CHARS: usize = 120;

/// What came back.
#[derive(Debug)]
pub(super) struct Asked {
    /// When the question began.
    pub(super) began: BootInstant,
    /// When the answer was there.
    pub(super) ended: BootInstant,
    pub(super) answer: Answer,
    /// The beats of others that the node has read.
    pub(super) told: Vec<(Name, Sighting)>,
    /// The notices that the node has.
    pub(super) notices: Vec<Notice>,
}

#[derive(Deserialize)]
struct Object {
    schema: String,
    at: String,
    beat: Option<ObjectBeat>,
    #[serde(default)]
    notices: serde_json::Value,
}

#[derive(Deserialize)]
struct ObjectBeat {
    age_ms: f64,
    digest: String,
    brain: Option<Name>,
    #[serde(default)]
    passed_over: Vec<Name>,
    #[serde(default)]
    running: BTreeMap<Name, Name>,
    #[serde(default)]
    heard: Vec<ObjectHeard>,
}

#[derive(Deserialize)]
struct ObjectHeard {
    node: Name,
    age_ms: f64,
}

/// Asks a node for its beat. One that falls meanwhile is not waited for: the next check has to begin.
pub(super) fn ask(remote: &Remote, (name, node): (&Name, &Node), deadline: Deadline) -> Asked {
    let began = BootInstant::now();
    let has_died = || has_died(remote, name, node);
    let report = remote.ask_unless(name, node, &Question::Beat.to_string(), deadline, &has_died);
    let ended = BootInstant::now();
    let (answer, told, notices) = read(&report, ended, SystemTime::now());
    Asked { began, ended, answer, told, notices }
}

/// Only a whole object of this schema counts, whatever the status is.
fn read(report: &Report, now: BootInstant, wall: SystemTime) -> (Answer, Vec<(Name, Sighting)>, Vec<Notice>) {
    let object: Option<Object> = serde_json::from_str(String::from_utf8_lossy(&report.output).trim()).ok();
    let object = object.filter(|object| object.schema == SCHEMA);
    let notices = object.as_ref().map(|object| notices::from_json(&object.notices)).unwrap_or_default();
    let answer = object.and_then(|object| answer(object, now, wall));
    let (answer, told) = answer.unwrap_or_else(|| (Answer::Unreadable(why(report)), Vec::new()));
    (answer, told, notices)
}

fn answer(object: Object, now: BootInstant, wall: SystemTime) -> Option<(Answer, Vec<(Name, Sighting)>)> {
    let Some(beat) = object.beat else { return Some((Answer::NoBeat, Vec::new())) };
    let sighting = |age_ms: f64| Some(Sighting::new(now, Duration::try_from_secs_f64(age_ms / 1000.0).ok()?));
    let told = beat.heard.into_iter().filter_map(|heard| Some((heard.node, sighting(heard.age_ms)?))).collect();
    let at = humantime::parse_rfc3339(&object.at).ok()?;
    let heard = Heard {
        sighting: sighting(beat.age_ms)?,
        digest: Some(beat.digest).filter(|digest| digest.len() <= MAX_DIGEST_CHARS)?,
        assessment: Assessment { brain: beat.brain, passed_over: beat.passed_over, running: beat.running },
        clock_ahead_ms: match at.duration_since(wall) {
            Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
            Err(error) => -i64::try_from(error.duration().as_millis()).unwrap_or(i64::MAX),
        },
    };
    Some((Answer::Beat(heard), told))
}

/// Why there is no answer, as half a sentence.
fn why(report: &Report) -> String {
    match report.status {
        Some(127) => "no mirror was found there".to_owned(),
        Some(0) => "what came was no beat".to_owned(),
        _ => report.why().chars().take(MAX_QUOTE_CHARS).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: i32, stdout: &str) -> Answer {
        let report = Report { status: Some(status), output: stdout.as_bytes().to_vec(), ..Report::default() };
        read(&report, BootInstant::since_boot(Duration::from_secs(100)), SystemTime::UNIX_EPOCH).0
    }

    const BEAT: &str = r#"{"schema":"mirror.beat/1","at":"1970-01-01T00:02:00.000Z","beat":{"age_ms":1500.0,"digest":"d","brain":"a"}}"#;

    #[test]
    fn only_a_whole_object_of_the_schema_is_a_beat() {
        for noise in ["", "\n\n"] {
            let Answer::Beat(heard) = answer(1, &format!("{noise}{BEAT}\n")) else { panic!("{noise:?}") };
            let now = BootInstant::since_boot(Duration::from_secs(103));
            assert_eq!(heard.sighting.age(now), Duration::from_millis(4500));
            assert_eq!(heard.clock_ahead_ms, 120_000);
        }
        for wrong in
            ["", "ok", &BEAT[..BEAT.len() - 1], &BEAT.replace("beat/1", "beat/2"), &BEAT.replace("1500.0", "-1")]
        {
            assert!(matches!(answer(0, wrong), Answer::Unreadable(_)), "{wrong}");
        }
        let none = r#"{"schema":"mirror.beat/1","at":"1970-01-01T00:00:00.000Z","beat":null}"#;
        assert_eq!(answer(1, none), Answer::NoBeat);
        assert_eq!(answer(127, "sh: mirror: not found"), Answer::Unreadable("no mirror was found there".to_owned()));
    }
}
