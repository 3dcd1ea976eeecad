//! Registers in the keys of an etcd cluster, through the JSON gateway of its v3 API.
//!
//! However many registers are asked for, a read is one request. It names each key, so that it needs no
//! right to read others. Each write is a transaction of its own, all of them sent at once.
//!
//! When an endpoint does not answer soon, the [`Gateway`] asks the next one as well and takes the
//! first answer. That is safe for a compare-and-swap too: both requests compare with the same
//! revision, so at most one of them takes effect, and both write the same text.

mod gateway;

use std::fmt;
use std::sync::{Arc, mpsc};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;

use self::gateway::Gateway;
use super::{CasOutcome, ReadOutcome, RegisterOf, RegisterStore, StoreError, Swap};
use super::{Version, VersionedText};
use crate::clock::Deadline;

/// etcd takes at most 128 operations in a transaction, unless it is told otherwise.
const MAX_KEYS: usize = 128;

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

/// All registers in the keys of an etcd cluster that begin with a prefix.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    gateway: Arc<Gateway>,
    prefix: String,
}

impl EtcdStore {
    /// The registers at the keys `PREFIX NAME`.
    ///
    /// # Errors
    /// When there is no endpoint, or a certificate or key cannot be used.
    pub fn new(cluster: Cluster, prefix: &str) -> anyhow::Result<Self> {
        Ok(Self { gateway: Arc::new(Gateway::new(cluster)?), prefix: prefix.to_owned() })
    }

    fn key(&self, name: &str) -> String {
        BASE64.encode(format!("{}{name}", self.prefix))
    }

    fn range(
        &self,
        name: &str,
        revision: Option<i64>,
        deadline: Deadline,
    ) -> Result<Option<(VersionedText, i64)>, StoreError> {
        let mut question = json!({ "key": self.key(name) });
        if let Some(revision) = revision {
            question["revision"] = json!(revision.to_string());
        }
        let answer: Range = self.gateway.ask("kv/range", &question, deadline)?;
        answer.kvs.into_iter().next().map(Kv::text).transpose()
    }

    /// Several keys in one request, which is as linearizable as a range.
    fn read_keys(&self, names: &[&str], deadline: Deadline) -> Result<Vec<ReadOutcome>, StoreError> {
        let range = |name: &&str| json!({ "requestRange": { "key": self.key(name) } });
        let question = json!({ "success": names.iter().map(range).collect::<Vec<_>>() });
        let answer: Txn = self.gateway.ask("kv/txn", &question, deadline)?;
        if !answer.succeeded || answer.responses.len() != names.len() {
            return Err(StoreError::Failed("etcd's answer lacks the content of the keys".to_owned()));
        }
        let lacks = || StoreError::Failed("etcd's answer lacks the content of the key".to_owned());
        let text = |response: Response| {
            let found = response.range.ok_or_else(lacks)?.kvs.into_iter().next();
            Ok(found.map(Kv::text).transpose()?.map(|(found, _)| found))
        };
        Ok(answer.responses.into_iter().map(text).collect())
    }

    fn swap(&self, swap: &Swap<'_>, deadline: Deadline) -> CasOutcome {
        let (key, new) = (self.key(swap.name), swap.new);
        // A missing key has revision 0.
        let revision = swap.expected.map_or("0", |Version(revision)| revision);
        let question = json!({
            "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
            "success": [{ "requestPut": { "key": key, "value": BASE64.encode(new.text) } }],
            "failure": [{ "requestRange": { "key": key } }],
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
}

impl RegisterStore for EtcdStore {
    fn read_each(&self, names: &[&str], deadline: Deadline, tell: &mut dyn FnMut(usize, ReadOutcome)) {
        if let [only] = names {
            return tell(0, self.range(only, None, deadline).map(|found| found.map(|(found, _)| found)));
        }
        for (nth, names) in names.chunks(MAX_KEYS).enumerate() {
            let read = self.read_keys(names, deadline);
            let read = read.unwrap_or_else(|error| names.iter().map(|_| Err(error.clone())).collect());
            read.into_iter().enumerate().for_each(|(index, found)| tell(nth * MAX_KEYS + index, found));
        }
    }

    fn swap_each(&self, swaps: &[Swap<'_>], deadline: Deadline, tell: &mut dyn FnMut(usize, CasOutcome)) {
        if let [only] = swaps {
            return tell(0, self.swap(only, deadline));
        }
        let (sender, outcomes) = mpsc::channel();
        std::thread::scope(|scope| {
            for (index, swap) in swaps.iter().enumerate() {
                let sender = sender.clone();
                scope.spawn(move || sender.send((index, self.swap(swap, deadline))));
            }
            drop(sender);
            outcomes.iter().for_each(|(index, outcome)| tell(index, outcome));
        });
    }

    /// Ends at the revision to which the cluster was last compacted.
    fn history_of(&self, name: &str, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        let mut all = Vec::new();
        let mut next = self.range(name, None, deadline)?;
        while let Some((found, revision)) = next {
            all.push(found);
            if all.len() >= max || revision <= 1 {
                break;
            }
            next = match self.range(name, Some(revision - 1), deadline) {
                Ok(earlier) => earlier,
                Err(StoreError::Failed(why)) if why.contains("compacted") => None,
                Err(error) => return Err(error),
            };
        }
        Ok(all)
    }
}

/// A register in a key of an etcd cluster.
pub type EtcdRegister = RegisterOf<EtcdStore>;

impl EtcdRegister {
    /// The register at `key`.
    ///
    /// # Errors
    /// When there is no endpoint, or a certificate or key cannot be used.
    pub fn new(cluster: Cluster, key: &str) -> anyhow::Result<Self> {
        Ok(Self { store: EtcdStore::new(cluster, "")?, name: key.to_owned() })
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
