//! One try by an HTTP request, in a thread of its own.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;
use ureq::Agent;
use ureq::tls::RootCerts;

use super::Outcome;
use crate::http;

/// The host of a URL when it is a name, which has to be looked up before anybody can be asked.
pub(super) fn host_name(url: &str) -> Option<String> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_err().then(|| host.to_owned())
}

/// Asks once. The body is not read, so one without an end does no harm.
pub(super) fn get(url: &str, expect: u16, timeout: Duration) -> Outcome {
    let tls = http::tls().root_certs(RootCerts::PlatformVerifier).build();
    let agent: Agent = http::settings(tls).timeout_global(Some(timeout)).build().into();
    match agent.get(url).header("Connection", "close").call() {
        Ok(response) if response.status().as_u16() == expect => Outcome::Alive,
        Ok(response) => {
            let detail = format!("status {} instead of {expect}", response.status().as_u16());
            Outcome::No("http-status", Some(detail))
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &ureq::Error) -> Outcome {
    let words = Some(error.to_string());
    match error {
        ureq::Error::Timeout(_) => Outcome::Lost("timeout", None),
        ureq::Error::HostNotFound => Outcome::Unable("unresolved", words),
        ureq::Error::BadUri(_) => Outcome::Unable("not-asked", words),
        ureq::Error::Io(io) => io_failed(io, words),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Outcome::No("tls", words),
        ureq::Error::ConnectionFailed => Outcome::Lost("closed", words),
        _ => Outcome::No("http", words),
    }
}

fn io_failed(error: &io::Error, words: Option<String>) -> Outcome {
    if error.source().is_some_and(|source| source.is::<rustls::Error>())
        || error.get_ref().is_some_and(|e| e.is::<rustls::Error>())
    {
        return Outcome::No("tls", words);
    }
    if let Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) = Errno::from_io_error(error) {
        return Outcome::Unable("no-file-descriptor", words);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::No("refused", None),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Outcome::Unable("no-route", words),
        io::ErrorKind::AddrNotAvailable => Outcome::Unable("no-local-address", words),
        io::ErrorKind::TimedOut => Outcome::Lost("timeout", None),
        io::ErrorKind::PermissionDenied => Outcome::Unable("forbidden", words),
        _ => Outcome::Lost("closed", words),
    }
}
