//! A register in a key of an etcd cluster, through the JSON gateway of its third API.
//!
//! Every endpoint is as good as another, so where one does not answer soon the next one is asked as
//! well, and the first answer counts. That is safe for a swap too: both tries compare with the same
//! revision, so one of them at most is done, and both write the same nonce.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, parse_pem};

use super::{Entry, Held, Register, StoreError, Swap, Version};
use crate::deadline::Deadline;
use crate::http;

/// An endpoint that has not answered for so long is joined by the next one.
const PATIENCE: Duration = Duration::from_millis(150);
/// Longer answers are not etcd's.
const LONGEST: u64 = 1 << 20;

/// Where an etcd cluster is, and how it is entered.
#[derive(Clone, Default)]
pub struct Cluster {
    /// `http://HOST:PORT` or `https://HOST:PORT`, each a member.
    pub endpoints: Vec<String>,
    /// The certificates of who may vouch for a member, in PEM; the system's where there are none.
    pub ca: Option<Vec<u8>>,
    /// Our own certificates and their key, in PEM, where the members ask for them.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Who we are, and the password.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of every log.
        f.debug_struct("Cluster").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A register in a key of an etcd cluster.
#[derive(Debug)]
pub struct EtcdRegister {
    cluster: Arc<Shared>,
    key: String,
}

struct Shared {
    endpoints: Vec<String>,
    user: Option<(String, String)>,
    agent: Agent,
    token: Mutex<Option<String>>,
    /// The endpoint that answered last is asked first.
    first: Mutex<usize>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl EtcdRegister {
    /// The register at `key`.
    ///
    /// # Errors
    /// When there is no endpoint, or a certificate or key is none.
    pub fn new(cluster: Cluster, key: &str) -> anyhow::Result<Self> {
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
        let shared = Shared { endpoints, user: cluster.user, agent, token: Mutex::new(None), first: Mutex::new(0) };
        Ok(Self { cluster: Arc::new(shared), key: BASE64.encode(key) })
    }

    fn range(&self, revision: Option<i64>, deadline: Deadline) -> Result<Option<(Held, i64)>, StoreError> {
        let mut question = json!({ "key": self.key });
        if let Some(revision) = revision {
            question["revision"] = json!(revision.to_string());
        }
        let answer: Range = self.cluster.ask("kv/range", &question, deadline)?;
        answer.kvs.into_iter().next().map(Kv::held).transpose()
    }
}

impl Register for EtcdRegister {
    fn read(&self, deadline: Deadline) -> Result<Option<Held>, StoreError> {
        Ok(self.range(None, deadline)?.map(|(held, _)| held))
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &Entry<'_>, deadline: Deadline) -> Swap {
        // The revision of a key that is not there is 0.
        let revision = expected.map_or("0", |Version(revision)| revision);
        let question = json!({
            "compare": [{ "key": self.key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
            "success": [{ "requestPut": { "key": self.key, "value": BASE64.encode(new.text) } }],
            "failure": [{ "requestRange": { "key": self.key } }],
        });
        let answer: Txn = match self.cluster.ask("kv/txn", &question, deadline) {
            Ok(answer) => answer,
            Err(fault) => return Swap::Unknown(fault),
        };
        if answer.succeeded {
            return Swap::Won(Version(answer.header.revision));
        }
        let Some(Response { range: Some(range) }) = answer.responses.into_iter().next() else {
            return Swap::Unknown(StoreError::Failed("etcd did not say what the key holds".to_owned()));
        };
        match range.kvs.into_iter().next().map(Kv::held).transpose() {
            // Another try of this swap, at another endpoint, came first.
            Ok(Some((held, _))) if held.text == new.text => Swap::Won(held.version),
            Ok(held) => Swap::Lost(held.map(|(held, _)| held)),
            Err(fault) => Swap::Unknown(fault),
        }
    }

    /// Back to where the cluster was last compacted.
    fn history(&self, most: usize, deadline: Deadline) -> Result<Vec<Held>, StoreError> {
        let mut all = Vec::new();
        let mut next = self.range(None, deadline)?;
        while let Some((held, revision)) = next {
            all.push(held);
            if all.len() >= most || revision <= 1 {
                break;
            }
            next = match self.range(Some(revision - 1), deadline) {
                Ok(earlier) => earlier,
                Err(StoreError::Failed(why)) if why.contains("compacted") => None,
                Err(fault) => return Err(fault),
            };
        }
        Ok(all)
    }
}

/// What became of one try.
enum Try {
    Answered(Vec<u8>),
    /// The token is no longer good.
    Token,
    Failed(String),
}

impl Shared {
    fn ask<T: for<'de> Deserialize<'de>>(
        self: &Arc<Self>,
        path: &str,
        question: &Json,
        deadline: Deadline,
    ) -> Result<T, StoreError> {
        let body = self.ask_all(path, question, deadline)?;
        serde_json::from_slice(&body)
            .map_err(|error| StoreError::Failed(format!("etcd said what is no answer: {error}")))
    }

    /// The first answer of any endpoint. One that fails makes room for the next at once.
    fn ask_all(self: &Arc<Self>, path: &str, question: &Json, deadline: Deadline) -> Result<Vec<u8>, StoreError> {
        let body = question.to_string();
        let (sender, answers) = mpsc::channel();
        let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut request = (0..self.endpoints.len()).map(|n| (first + n) % self.endpoints.len());
        let (mut under_way, mut last) = (0, None);
        loop {
            let next = request.next();
            if let Some(number) = next {
                let (shared, sender, path, body) = (Arc::clone(self), sender.clone(), path.to_owned(), body.clone());
                // Nobody waits for it longer than until the deadline, and by then it has ended too.
                std::thread::spawn(move || {
                    let _ = sender.send((number, shared.ask_one(number, &path, &body, deadline)));
                });
                under_way += 1;
            }
            if under_way == 0 {
                return Err(StoreError::Failed(last.unwrap_or_default()));
            }
            let patience = if next.is_some() { deadline.left().min(PATIENCE) } else { deadline.left() };
            match answers.recv_timeout(patience) {
                Ok((number, Ok(answer))) => {
                    *self.first.lock().unwrap_or_else(PoisonError::into_inner) = number;
                    return Ok(answer);
                }
                Ok((_, Err(why))) => {
                    under_way -= 1;
                    last = Some(why);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if deadline.has_passed() => {
                    let words = last.unwrap_or_else(|| format!("etcd at {}", self.endpoints.join(", ")));
                    return Err(StoreError::Failed(format!("{words}: no answer in time")));
                }
                Err(_) => {}
            }
        }
    }

    fn ask_one(&self, number: usize, path: &str, body: &str, deadline: Deadline) -> Result<Vec<u8>, String> {
        let Some(endpoint) = self.endpoints.get(number) else { return Err(String::new()) };
        let failed = |why: String| format!("{endpoint}: {why}");
        let token = self.token(endpoint, None, deadline).map_err(failed)?;
        match self.post(endpoint, path, body, token.as_deref(), deadline) {
            Try::Answered(answer) => Ok(answer),
            Try::Failed(why) => Err(failed(why)),
            Try::Token => {
                let token = self.token(endpoint, token, deadline).map_err(failed)?;
                match self.post(endpoint, path, body, token.as_deref(), deadline) {
                    Try::Answered(answer) => Ok(answer),
                    Try::Failed(why) => Err(failed(why)),
                    Try::Token => Err(failed("it takes neither token nor password".to_owned())),
                }
            }
        }
    }

    /// What lets us in; none where no user is configured. `bad` is one that was not taken.
    fn token(&self, endpoint: &str, bad: Option<String>, deadline: Deadline) -> Result<Option<String>, String> {
        let Some((name, password)) = &self.user else { return Ok(None) };
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && known != bad {
            return Ok(known);
        }
        let body = json!({ "name": name, "password": password }).to_string();
        let answer = match self.post(endpoint, "auth/authenticate", &body, None, deadline) {
            Try::Answered(answer) => answer,
            Try::Failed(why) => return Err(why),
            Try::Token => return Err("it does not take the password".to_owned()),
        };
        let token: Token = serde_json::from_slice(&answer).map_err(|error| format!("it gave no token: {error}"))?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.token.clone());
        Ok(Some(token.token))
    }

    fn post(&self, endpoint: &str, path: &str, body: &str, token: Option<&str>, deadline: Deadline) -> Try {
        let mut request = self.agent.post(format!("{endpoint}/v3/{path}")).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let request = request.config().timeout_global(Some(deadline.left())).build();
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return Try::Failed(error.to_string()),
        };
        let status = response.status().as_u16();
        let answer = match response.body_mut().with_config().limit(LONGEST).read_to_vec() {
            Ok(answer) => answer,
            Err(error) => return Try::Failed(error.to_string()),
        };
        if status == 200 {
            return Try::Answered(answer);
        }
        let said: Refusal = serde_json::from_slice(&answer).unwrap_or_default();
        // The numbers are gRPC's: a token that is unknown, or older than the last change of users.
        if token.is_some() && (said.code == 16 || said.error.contains("auth: revision in header is old")) {
            return Try::Token;
        }
        Try::Failed(if said.error.is_empty() { format!("status {status}") } else { said.error })
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
struct Range {
    // An answer that is none at all must not pass for an empty key.
    #[expect(dead_code, reason = "its presence is what counts")]
    header: Header,
    #[serde(default)]
    kvs: Vec<Kv>,
}

#[derive(Deserialize)]
struct Txn {
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "response_range", alias = "responseRange")]
    range: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    kvs: Vec<Kv>,
}

#[derive(Deserialize)]
struct Kv {
    #[serde(default)]
    value: String,
    mod_revision: String,
}

impl Kv {
    fn held(self) -> Result<(Held, i64), StoreError> {
        let foreign =
            |why: &str| StoreError::Foreign(format!("etcd's key holds {why}; choose another prefix, or delete it"));
        let bytes =
            BASE64.decode(&self.value).map_err(|_| StoreError::Failed("etcd said what is no base64".to_owned()))?;
        let text = String::from_utf8(bytes).map_err(|_| foreign("what is not UTF-8"))?;
        let revision = self.mod_revision.parse();
        let revision = revision.map_err(|_| StoreError::Failed("etcd said what is no revision".to_owned()))?;
        Ok((Held { version: Version(self.mod_revision), text }, revision))
    }
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
