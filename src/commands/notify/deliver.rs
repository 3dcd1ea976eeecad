//! Tells one receiver of one event.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::RootCerts;

use crate::clock::Deadline;
use crate::commands::history::TimedEvent;
use crate::config::{Notify, NotifyFormat};
use crate::exec::{Ended, Exec};
use crate::http;
use crate::state::history;

/// What stands for the token in a URL.
const TOKEN: &str = "{token}";
/// A longer file holds no token.
const MAX_TOKEN: usize = 4096;
/// What one receiver may take for one event.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an event was not delivered.
#[derive(Debug)]
pub(super) enum Failed {
    /// The receiver said no.
    Refused(String),
    /// It was not reached, or did not answer in time.
    NotReached(String),
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver<'a> {
    Command(&'a str),
    Url(&'a str),
}

impl Receiver<'_> {
    /// Its name in the state.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Url(_) => "url",
        }
    }

    pub(super) fn tell(self, event: &TimedEvent, notify: &Notify, deadline: Deadline) -> Result<(), Failed> {
        let deadline = deadline.sooner(Deadline::after(DELIVERY_TIMEOUT));
        match self {
            Self::Command(command) => run(command, event, deadline),
            Self::Url(url) => post(url, event, notify, deadline),
        }
    }
}

/// A command that ends in 0 has taken the event.
fn run(words: &str, event: &TimedEvent, deadline: Deadline) -> Result<(), Failed> {
    let object = serde_json::to_string(event).map_err(|error| Failed::Refused(error.to_string()))? + "\n";
    let entry = &event.entry;
    let mut command = Command::new("sh");
    command.args(["-c", words]);
    let text = |value: Option<String>| value.unwrap_or_default();
    let fields = [
        ("MIRROR_EVENT_ID", event.id.clone()),
        ("MIRROR_EVENT", text(history::slug(entry.event))),
        ("MIRROR_AT", entry.at.clone()),
        ("MIRROR_SELF", text(entry.local_node.as_ref().map(ToString::to_string))),
        ("MIRROR_SERVICE", text(entry.service.as_ref().map(ToString::to_string))),
        ("MIRROR_NODE", text(entry.node.as_ref().map(ToString::to_string))),
        ("MIRROR_VERDICT", text(entry.verdict.clone())),
        ("MIRROR_EPOCH", text(entry.epoch.map(|epoch| epoch.to_string()))),
        ("MIRROR_REASON", entry.reason.clone()),
        ("MIRROR_WHY", text(entry.why.clone())),
    ];
    // A variable cannot hold a NUL, which a reason from elsewhere may.
    command.envs(fields.map(|(name, value)| (name, value.replace('\0', " "))));
    let finished = Exec::new(command).stdin(object.as_bytes()).run(deadline);
    let finished = finished.map_err(|error| Failed::NotReached(format!("the command did not start: {error}")))?;
    let said = finished.last_line().map_or_else(String::new, |line| format!(": {line}"));
    match finished.ended {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(status) => Err(Failed::Refused(format!("the command ended in {status}{said}"))),
        Ended::Signaled(signal) => Err(Failed::NotReached(format!("signal {signal} ended the command{said}"))),
        Ended::TimedOut => Err(Failed::NotReached(format!("the command did not end in time{said}"))),
    }
}

fn post(url: &str, event: &TimedEvent, notify: &Notify, deadline: Deadline) -> Result<(), Failed> {
    let object = || serde_json::to_string(event).map_err(|error| Failed::Refused(error.to_string()));
    let (kind, body) = match notify.format {
        NotifyFormat::Json => ("application/json", object()?),
        NotifyFormat::Slack | NotifyFormat::Telegram => {
            ("application/json", json!({ "text": message(event) }).to_string())
        }
        NotifyFormat::Text => ("text/plain; charset=utf-8", message(event)),
    };
    let (place, bearer) = place(url, notify)?;
    let mut request = agent(deadline).post(&place).header("Content-Type", kind).header("Idempotency-Key", &event.id);
    if let Some(bearer) = bearer {
        request = request.header("Authorization", bearer);
    }
    answer(request.send(body).map(|response| response.status()), &place, url)
}

/// Sends a GET that is worth nothing but its arrival.
pub(super) fn get(url: &str, notify: &Notify, deadline: Deadline) -> Result<(), Failed> {
    let (place, bearer) = place(url, notify)?;
    let mut request = agent(deadline.sooner(Deadline::after(DELIVERY_TIMEOUT))).get(&place);
    if let Some(bearer) = bearer {
        request = request.header("Authorization", bearer);
    }
    answer(request.call().map(|response| response.status()), &place, url)
}

fn agent(deadline: Deadline) -> Agent {
    let tls = http::tls().root_certs(RootCerts::PlatformVerifier).build();
    http::settings(tls).timeout_global(Some(deadline.left())).build().into()
}

/// The URL with the token in it, or the header that has the token. Neither is ever shown.
fn place(url: &str, notify: &Notify) -> Result<(String, Option<String>), Failed> {
    let Some(file) = &notify.token_file else { return Ok((url.to_owned(), None)) };
    let token = token(file)?;
    if url.contains(TOKEN) {
        Ok((url.replace(TOKEN, &token), None))
    } else {
        Ok((url.to_owned(), Some(format!("Bearer {token}"))))
    }
}

fn token(file: &Path) -> Result<String, Failed> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| Failed::Refused(format!("{shown}: {error}")))?;
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_TOKEN || token.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Failed::Refused(format!("{shown}: holds no token; write it on one line")));
    }
    Ok(token.to_owned())
}

fn answer(answer: Result<StatusCode, ureq::Error>, place: &str, url: &str) -> Result<(), Failed> {
    match answer {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) if status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429) => {
            Err(Failed::Refused(format!("{url} answered {}", status.as_u16())))
        }
        Ok(status) => Err(Failed::NotReached(format!("{url} answered {}", status.as_u16()))),
        // What went wrong may quote the URL, and with it the token.
        Err(error) => Err(Failed::NotReached(format!("{url}: {}", error.to_string().replace(place, url)))),
    }
}

/// An event as a line for people.
fn message(event: &TimedEvent) -> String {
    let entry = &event.entry;
    let service = entry.service.as_ref().map_or_else(String::new, |service| format!("{service}: "));
    let verdict = entry.verdict.clone().or_else(|| history::slug(entry.event)).unwrap_or_default();
    let why = entry.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let by = entry.local_node.as_ref().map_or_else(String::new, |node| format!(" [{node}, {}]", entry.at));
    format!("{service}{verdict}. {}{why}{by}", entry.reason)
}
