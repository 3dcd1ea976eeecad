//! etcd's JSON gateway: one question, the endpoints in turn, and the first answer.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};

use super::Cluster;
use crate::clock::Deadline;
use crate::http;
use crate::register::StoreError;

/// When an endpoint has not answered for this long, the next one is asked as well.
const HEDGE_DELAY: Duration = Duration::from_millis(150);
/// etcd gives no longer answers to our questions.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The connections to a cluster, and what is learned over them.
pub(super) struct Gateway {
    endpoints: Vec<String>,
    user: Option<(String, String)>,
    agent: Agent,
    token: Mutex<Option<String>>,
    /// The index of the endpoint that answered last; it is asked first.
    preferred: Mutex<usize>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// The outcome of one request.
enum Attempt {
    Answered(Vec<u8>),
    /// The token is no longer valid.
    TokenRejected,
    Failed(String),
}

impl Gateway {
    /// Reads the certificates; connects to nothing yet.
    ///
    /// # Errors
    /// When there is no endpoint, or a certificate or key cannot be used.
    pub(super) fn new(cluster: Cluster) -> anyhow::Result<Self> {
        anyhow::ensure!(!cluster.endpoints.is_empty(), "etcd has no endpoint; name one member at least");
        let roots = match &cluster.ca {
            None => RootCerts::PlatformVerifier,
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
        };
        let identity = cluster.identity.as_ref().map(|(pem, key)| {
            let key = PrivateKey::from_pem(key)?;
            anyhow::Ok(ClientCert::new_with_certs(&certificates(pem)?, key))
        });
        let tls = http::tls().root_certs(roots).client_cert(identity.transpose()?).build();
        let agent = http::settings(tls).build().into();
        let endpoints = cluster.endpoints.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Self { endpoints, user: cluster.user, agent, token: Mutex::new(None), preferred: Mutex::new(0) })
    }

    pub(super) fn ask<T: for<'de> Deserialize<'de>>(
        self: &Arc<Self>,
        path: &str,
        question: &Json,
        deadline: Deadline,
    ) -> Result<T, StoreError> {
        let body = self.ask_all(path, question, deadline)?;
        serde_json::from_slice(&body)
            .map_err(|error| StoreError::Failed(format!("etcd's answer cannot be parsed: {error}")))
    }

    /// The first answer of any endpoint. When one fails, the next is asked at once.
    fn ask_all(self: &Arc<Self>, path: &str, question: &Json, deadline: Deadline) -> Result<Vec<u8>, StoreError> {
        let body = question.to_string();
        let (sender, answers) = mpsc::channel();
        let preferred = *self.preferred.lock().unwrap_or_else(PoisonError::into_inner);
        let mut endpoints = (0..self.endpoints.len()).map(|n| (preferred + n) % self.endpoints.len());
        let (mut pending, mut last_error) = (0, None);
        loop {
            let next = endpoints.next();
            if let Some(index) = next {
                let (gateway, sender, path, body) = (Arc::clone(self), sender.clone(), path.to_owned(), body.clone());
                // The request has the same deadline, so the thread ends soon after this function.
                std::thread::spawn(move || {
                    let _ = sender.send((index, gateway.ask_one(index, &path, &body, deadline)));
                });
                pending += 1;
            }
            if pending == 0 {
                return Err(StoreError::Failed(last_error.unwrap_or_default()));
            }
            let timeout = if next.is_some() { deadline.left().min(HEDGE_DELAY) } else { deadline.left() };
            match answers.recv_timeout(timeout) {
                Ok((index, Ok(answer))) => {
                    *self.preferred.lock().unwrap_or_else(PoisonError::into_inner) = index;
                    return Ok(answer);
                }
                Ok((_, Err(why))) => {
                    pending -= 1;
                    last_error = Some(why);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if deadline.has_passed() => {
                    let message = last_error.unwrap_or_else(|| format!("etcd at {}", self.endpoints.join(", ")));
                    return Err(StoreError::Failed(format!("{message}: no answer in time")));
                }
                Err(_) => {}
            }
        }
    }

    fn ask_one(&self, index: usize, path: &str, body: &str, deadline: Deadline) -> Result<Vec<u8>, String> {
        let Some(endpoint) = self.endpoints.get(index) else { return Err(String::new()) };
        let failed = |why: String| format!("{endpoint}: {why}");
        let token = self.token(endpoint, None, deadline).map_err(failed)?;
        match self.post(endpoint, path, body, token.as_deref(), deadline) {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Failed(why) => Err(failed(why)),
            Attempt::TokenRejected => {
                let token = self.token(endpoint, token, deadline).map_err(failed)?;
                match self.post(endpoint, path, body, token.as_deref(), deadline) {
                    Attempt::Answered(answer) => Ok(answer),
                    Attempt::Failed(why) => Err(failed(why)),
                    Attempt::TokenRejected => Err(failed("it accepts neither the token nor the password".to_owned())),
                }
            }
        }
    }

    /// An authentication token; none if no user is configured. `rejected` is one that no longer works.
    fn token(&self, endpoint: &str, rejected: Option<String>, deadline: Deadline) -> Result<Option<String>, String> {
        let Some((name, password)) = &self.user else { return Ok(None) };
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && known != rejected {
            return Ok(known);
        }
        let body = json!({ "name": name, "password": password }).to_string();
        let answer = match self.post(endpoint, "auth/authenticate", &body, None, deadline) {
            Attempt::Answered(answer) => answer,
            Attempt::Failed(why) => return Err(why),
            Attempt::TokenRejected => return Err("it rejects the password".to_owned()),
        };
        let token: Token = serde_json::from_slice(&answer).map_err(|error| format!("it gave no token: {error}"))?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.token.clone());
        Ok(Some(token.token))
    }

    fn post(&self, endpoint: &str, path: &str, body: &str, token: Option<&str>, deadline: Deadline) -> Attempt {
        let mut request = self.agent.post(format!("{endpoint}/v3/{path}")).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let request = request.config().timeout_global(Some(deadline.left())).build();
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let status = response.status().as_u16();
        let answer = match response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec() {
            Ok(answer) => answer,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        if status == 200 {
            return Attempt::Answered(answer);
        }
        let refusal: Refusal = serde_json::from_slice(&answer).unwrap_or_default();
        // gRPC's code 16 is "unauthenticated"; the message means that a token is older than the last
        // change of users.
        if token.is_some() && (refusal.code == 16 || refusal.error.contains("auth: revision in header is old")) {
            return Attempt::TokenRejected;
        }
        Attempt::Failed(if refusal.error.is_empty() { format!("status {status}") } else { refusal.error })
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item? {
            certificates.push(certificate);
        }
    }
    anyhow::ensure!(!certificates.is_empty(), "no certificate in PEM");
    Ok(certificates)
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    code: i64,
}
