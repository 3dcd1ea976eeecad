//! One try by an HTTP request, in a thread of its own.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;
use ureq::Agent;
use ureq::tls::RootCerts;

use super::{Cause, Outcome};
use crate::http;

/// The host of a URL when it is a name, which must be resolved before a request can be sent.
pub(super) fn host_name(url: &str) -> Option<String> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_err().then(|| host.to_owned())
}

/// Sends one GET. The body is not read, so an endless one does no harm.
pub(super) fn get(url: &str, expect: u16, timeout: Duration) -> Outcome {
    let tls = http::tls().root_certs(RootCerts::PlatformVerifier).build();
    let agent: Agent = http::settings(tls).timeout_global(Some(timeout)).build().into();
    match agent.get(url).header("Connection", "close").call() {
        Ok(response) if response.status().as_u16() == expect => Outcome::Alive,
        Ok(response) => {
            let detail = format!("status {} instead of {expect}", response.status().as_u16());
            Outcome::No(Cause::HttpStatus, Some(detail))
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &ureq::Error) -> Outcome {
    let detail = Some(error.to_string());
    match error {
        ureq::Error::Timeout(_) => Outcome::Lost(Cause::Timeout, None),
        ureq::Error::HostNotFound => Outcome::Unable(Cause::Unresolved, detail),
        ureq::Error::BadUri(_) => Outcome::Unable(Cause::NotAsked, detail),
        ureq::Error::Io(io) => io_failed(io, detail),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Outcome::No(Cause::Tls, detail),
        ureq::Error::ConnectionFailed => Outcome::Lost(Cause::Closed, detail),
        _ => Outcome::No(Cause::Http, detail),
    }
}

fn io_failed(error: &io::Error, detail: Option<String>) -> Outcome {
    if error.source().is_some_and(|source| source.is::<rustls::Error>())
        || error.get_ref().is_some_and(|e| e.is::<rustls::Error>())
    {
        return Outcome::No(Cause::Tls, detail);
    }
    if let Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) = Errno::from_io_error(error) {
        return Outcome::Unable(Cause::NoFileDescriptor, detail);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::No(Cause::Refused, None),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Outcome::Unable(Cause::NoRoute, detail),
        io::ErrorKind::AddrNotAvailable => Outcome::Unable(Cause::NoLocalAddress, detail),
        io::ErrorKind::TimedOut => Outcome::Lost(Cause::Timeout, None),
        io::ErrorKind::PermissionDenied => Outcome::Unable(Cause::Forbidden, detail),
        _ => Outcome::Lost(Cause::Closed, detail),
    }
}
