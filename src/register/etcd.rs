//! A register in a key of an etcd cluster, through the JSON gateway of its v3 API.
//!
//! When an endpoint does not answer soon, the [`Gateway`] asks the next one as well and takes the
//! first answer. That is safe for a compare-and-swap too: both requests compare with the same
//! revision, so at most one of them takes effect, and both write the same text.

mod gateway;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;

use self::gateway::Gateway;
use super::{CasOutcome, NewText, Register, StoreError, Version, VersionedText};
use crate::clock::Deadline;

/// How to reach an etcd cluster.
#[derive(Clone, Default)]
pub struct Cluster {
    /// Its members, as `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// The certificates of the authorities that vouch for the members, in PEM; without any, the
    /// system's.
    pub ca: Option<Vec<u8>>,
    /// The client's certificates and key, in PEM, for members that ask for them.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The user's name and password.
    pub user: Option<(String, String)>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keeps the password out of every log.
        f.debug_struct("Cluster").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// A register in a key of an etcd cluster.
#[derive(Debug)]
pub struct EtcdRegister {
    gateway: Arc<Gateway>,
    key: String,
}

impl EtcdRegister {
    /// The register at `key`.
    ///
    /// # Errors
    /// When there is no endpoint, or a certificate or key cannot be used.
    pub fn new(cluster: Cluster, key: &str) -> anyhow::Result<Self> {
        Ok(Self { gateway: Arc::new(Gateway::new(cluster)?), key: BASE64.encode(key) })
    }

    fn range(&self, revision: Option<i64>, deadline: Deadline) -> Result<Option<(VersionedText, i64)>, StoreError> {
        let mut question = json!({ "key": self.key });
        if let Some(revision) = revision {
            question["revision"] = json!(revision.to_string());
        }
        let answer: Range = self.gateway.ask("kv/range", &question, deadline)?;
        answer.kvs.into_iter().next().map(Kv::text).transpose()
    }
}

impl Register for EtcdRegister {
    fn read(&self, deadline: Deadline) -> Result<Option<VersionedText>, StoreError> {
        Ok(self.range(None, deadline)?.map(|(found, _)| found))
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        // A missing key has revision 0.
        let revision = expected.map_or("0", |Version(revision)| revision);
        let question = json!({
            "compare": [{ "key": self.key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
            "success": [{ "requestPut": { "key": self.key, "value": BASE64.encode(new.text) } }],
            "failure": [{ "requestRange": { "key": self.key } }],
        });
        let answer: Txn = match self.gateway.ask("kv/txn", &question, deadline) {
            Ok(answer) => answer,
            Err(error) => return CasOutcome::Unknown(error),
        };
        if answer.succeeded {
            return CasOutcome::Won(Version(answer.header.revision));
        }
        let Some(Response { range: Some(range) }) = answer.responses.into_iter().next() else {
            return CasOutcome::Unknown(StoreError::Failed("etcd's answer lacks the content of the key".to_owned()));
        };
        match range.kvs.into_iter().next().map(Kv::text).transpose() {
            // The same request, sent to another endpoint, was carried out first.
            Ok(Some((found, _))) if found.value == new.text => CasOutcome::Won(found.version),
            Ok(found) => CasOutcome::Lost(found.map(|(found, _)| found)),
            Err(error) => CasOutcome::Unknown(error),
        }
    }

    /// Ends at the revision to which the cluster was last compacted.
    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        let mut all = Vec::new();
        let mut next = self.range(None, deadline)?;
        while let Some((found, revision)) = next {
            all.push(found);
            if all.len() >= max || revision <= 1 {
                break;
            }
            next = match self.range(Some(revision - 1), deadline) {
                Ok(earlier) => earlier,
                Err(StoreError::Failed(why)) if why.contains("compacted") => None,
                Err(error) => return Err(error),
            };
        }
        Ok(all)
    }
}

#[derive(Deserialize)]
struct Range {
    // An answer without a header must not pass for an empty key.
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
    fn text(self) -> Result<(VersionedText, i64), StoreError> {
        let foreign =
            |why: &str| StoreError::Foreign(format!("etcd's key holds {why}; choose another prefix, or delete it"));
        let bytes =
            BASE64.decode(&self.value).map_err(|_| StoreError::Failed("etcd returned invalid base64".to_owned()))?;
        let text = String::from_utf8(bytes).map_err(|_| foreign("text that is not UTF-8"))?;
        let revision = self.mod_revision.parse();
        let revision = revision.map_err(|_| StoreError::Failed("etcd returned an invalid revision".to_owned()))?;
        Ok((VersionedText { version: Version(self.mod_revision), value: text }, revision))
    }
}
