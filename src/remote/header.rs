//! The first line of a program: a comment that holds the request as JSON, for a forced command that carries
//! it out itself (`mirror gate`). A shell passes over it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Errand;
use super::question::Question;
use crate::name::Name;

/// The version of the form.
const VERSION: u32 = 1;
/// A nonce is so long, in hexadecimal digits.
const NONCE_DIGITS: usize = 32;
/// No request takes longer, whatever it asks for.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// One trip has no more requests.
const MAX_REQUESTS: usize = 10_000;

#[derive(Serialize)]
struct Header<'a> {
    mirror: u32,
    /// In two halves, so that it stands nowhere in one piece.
    nonce: (&'a str, &'a str),
    requests: Vec<HeaderRequest<'a>>,
}

#[derive(Serialize)]
struct HeaderRequest<'a> {
    verb: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    /// Whether an inhale comes before the start, or before the status where a start is to follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inhale: bool,
    timeout_ms: u64,
}

/// The line, without its end.
pub(super) fn line(errands: &[Errand<'_>], nonce: &str) -> String {
    let requests = errands.iter().map(|errand| HeaderRequest {
        verb: errand.task.verb(),
        service: errand.service.map(Name::as_str),
        // A service's commands are those of the node's own list; anything else has to be said.
        command: errand.service.is_none().then(|| errand.task.status()),
        inhale: errand.task.before().is_some(),
        timeout_ms: u64::try_from(errand.deadline.left().as_millis()).unwrap_or(u64::MAX),
    });
    let header = Header { mirror: VERSION, nonce: nonce.split_at(nonce.len() / 2), requests: requests.collect() };
    format!("# {}", serde_json::to_string(&header).unwrap_or_default())
}

/// What a program asks for, by its first line. Nothing in it is a command.
#[derive(Debug)]
pub(crate) struct Received {
    /// The mark of the answers: hexadecimal digits.
    pub nonce: String,
    /// In the order of their numbers.
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is asked for.
    pub subject: Subject,
    /// Whether this node is to inhale before a start, or before a status.
    pub inhale: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a request is about.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A service, which the node list of the node that is asked may have or not.
    Service(Name, ServiceVerb),
    /// A question to the node itself.
    Node(Question),
}

/// What is wanted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceVerb {
    /// One `status`.
    Status,
    /// `status` until it runs.
    Running,
    /// `status` until it is stopped.
    Stopped,
    /// `start` where it is stopped, then `status` until it runs.
    Start,
    /// `stop`, then `status` until it is stopped.
    Stop,
}

// Strict: an unknown field could be meant to change what is done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    mirror: u32,
    nonce: (String, String),
    requests: Vec<RawRequest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    verb: ServiceVerb,
    service: Option<Name>,
    command: Option<String>,
    #[serde(default)]
    inhale: bool,
    timeout_ms: u64,
}

/// Reads the first line of a program.
///
/// # Errors
/// When it is no request, or asks for something that no node asks another one.
pub(crate) fn parse(line: &[u8]) -> Result<Received> {
    let json = line.strip_prefix(b"# ").context("what came is no request of mirror")?;
    let raw: RawHeader =
        serde_json::from_slice(json).map_err(|error| anyhow::anyhow!("a malformed request: {error}"))?;
    ensure!(raw.mirror == VERSION, "a request of version {}, known is {VERSION}", raw.mirror);
    let nonce = raw.nonce.0 + &raw.nonce.1;
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    ensure!(nonce.len() == NONCE_DIGITS && nonce.chars().all(is_digit), "a malformed request: no nonce");
    ensure!(!raw.requests.is_empty() && raw.requests.len() <= MAX_REQUESTS, "{} requests", raw.requests.len());
    let requests = raw.requests.into_iter().map(request).collect::<Result<_>>()?;
    Ok(Received { nonce, requests })
}

fn request(raw: RawRequest) -> Result<Request> {
    let subject = match (raw.service, raw.command) {
        (Some(service), None) => Subject::Service(service, raw.verb),
        (None, Some(command)) if raw.verb == ServiceVerb::Status => match Question::parse(&command) {
            Some(question) => Subject::Node(question),
            None => bail!("no node asks another one: {command}"),
        },
        _ => bail!("a request is either about a service or a question"),
    };
    Ok(Request { subject, inhale: raw.inhale, timeout: Duration::from_millis(raw.timeout_ms).min(MAX_TIMEOUT) })
}

#[cfg(test)]
mod tests {
    use super::super::Task;
    use super::*;
    use crate::clock::Deadline;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_a_node_sends_is_read_again() {
        let (bot, deadline) = ("bot".parse().expect("a name"), Deadline::after(Duration::from_secs(5)));
        let start = Task::Start { status: "rm a", start: "rm b", before: Some("rm c") };
        let errands = [
            Errand { service: Some(&bot), task: start, deadline, act_deadline: None },
            Errand { service: None, task: Task::Ask("mirror beat --json"), deadline, act_deadline: None },
        ];
        let line = line(&errands, NONCE);
        assert!(!line.contains("rm ") && !line.contains(NONCE), "{line}");
        let received = parse(line.as_bytes()).expect("parses");
        assert_eq!(received.nonce, NONCE);
        let [first, second] = &received.requests[..] else { panic!("{received:?}") };
        assert!(matches!(&first.subject, Subject::Service(name, ServiceVerb::Start) if *name == bot), "{first:?}");
        assert!(matches!(second.subject, Subject::Node(Question::Beat)), "{second:?}");
        assert!(first.inhale && !second.inhale);
        assert!(first.timeout > Duration::from_secs(4) && first.timeout <= Duration::from_secs(5));
    }

    #[test]
    fn a_request_with_anything_else_in_it_is_none() {
        let of = |request: &str| {
            format!("# {{\"mirror\":1,\"nonce\":[\"0123456789abcdef\",\"0123456789abcdef\"],\"requests\":[{request}]}}")
        };
        let good = r#"{"verb":"start","service":"bot","timeout_ms":1}"#;
        assert!(parse(of(good).as_bytes()).is_ok());
        for bad in [
            "",
            r#"{"verb":"start","service":"bot","command":"rm","timeout_ms":1}"#,
            r#"{"verb":"start","service":"bot","start":"rm","timeout_ms":1}"#,
            r#"{"verb":"start","command":"mirror beat --json","timeout_ms":1}"#,
            r#"{"verb":"status","command":"rm -rf /","timeout_ms":1}"#,
            r#"{"verb":"status","command":"mirror beat --json; rm","timeout_ms":1}"#,
            r#"{"verb":"start","service":"../bot","timeout_ms":1}"#,
            r#"{"verb":"start","service":"bot","service":"x","timeout_ms":1}"#,
            r#"{"verb":"restart","service":"bot","timeout_ms":1}"#,
            r#"{"verb":"start","service":"bot","timeout_ms":-1}"#,
            r#"{"verb":"start","timeout_ms":1}"#,
        ] {
            assert!(parse(of(bad).as_bytes()).is_err(), "{bad}");
        }
        for line in [
            of(good).replace("# {", "{"),
            of(good).replace("\"mirror\":1", "\"mirror\":2"),
            of(good).replacen("0123456789abcdef", "0123456789abcde$", 1),
            of(good).replacen("0123456789abcdef", "", 1),
            of(good) + "; rm",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
