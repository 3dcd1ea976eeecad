//! The configuration as it stands in the file: every key, nothing filled in.
//!
//! Values that can be judged alone are judged here, so that the parser knows their place.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use indexmap::IndexMap;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::address::{Address, Witness};
use super::lease::Guard;
use super::shown;
use super::values::{
    Attempts, Directory, Endpoint, Failback, FilePath, GitUrl, Line, Port, Span, Status, Template, Text, Url, User,
    Word,
};
use crate::chain::Name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "self")]
    pub(super) local_node: Option<Spanned<Name>>,
    pub(super) state: Option<Directory>,
    #[serde(default = "nothing")]
    pub(super) nodes: Spanned<IndexMap<Spanned<Name>, Node>>,
    #[serde(default = "nothing")]
    pub(super) chains: Spanned<IndexMap<Spanned<Name>, Members>>,
    #[serde(default)]
    pub(super) cycle: Table<Cycle>,
    pub(super) probe: Option<Spanned<Table<Probe>>>,
    #[serde(default)]
    pub(super) remote: Table<Remote>,
    #[serde(default)]
    pub(super) services: IndexMap<Spanned<Name>, Table<Service>>,
    #[serde(default)]
    pub(super) breath: Table<Breath>,
    #[serde(default)]
    pub(super) witness: Table<WitnessList>,
    pub(super) lease: Option<Spanned<Table<Lease>>>,
}

/// A chain's nodes, in order.
type Members = Spanned<Vec<Spanned<Name>>>;

/// A table that is not in the file: it stands at its beginning.
fn nothing<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
}

/// A table, and not the list of values that serde takes for one as well.
#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Table<T>(pub(super) T);

impl<T> Deref for Table<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Expected<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, such as { KEY = VALUE }")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Table)
            }
        }
        deserializer.deserialize_any(Expected(PhantomData))
    }
}

/// `"72.56.102.240"` or `{ address = "72.56.102.240", port = 22, … }`.
pub(super) struct Node(pub(super) NodeTable);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTable {
    pub(super) address: Address,
    pub(super) port: Option<Port>,
    pub(super) user: Option<User>,
    pub(super) probe: Option<Spanned<Table<Probe>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cycle {
    pub(super) check: Option<Spanned<Span>>,
    pub(super) sync: Option<Spanned<Span>>,
    pub(super) recovery: Option<Spanned<Span>>,
}

/// The keys of a probe. In a node they override the network's, one by one.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Spanned<Span>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<Attempts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expect: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<Text>,
    /// The network's alone.
    #[serde(skip_serializing)]
    pub(super) second_opinion: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "kebab-case")]
pub(super) enum Method {
    Tcp,
    SshBanner,
    Ssh,
    Http,
    Exec,
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "tcp" => Ok(Self::Tcp),
            "ssh-banner" => Ok(Self::SshBanner),
            "ssh" => Ok(Self::Ssh),
            "http" => Ok(Self::Http),
            "exec" => Ok(Self::Exec),
            _ => Err(format!(
                "{} is no method; write \"tcp\", \"ssh-banner\", \"ssh\", \"http\" or \"exec\"",
                shown(&text)
            )),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remote {
    pub(super) user: Option<User>,
    pub(super) command: Option<Template>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) chain: Option<Spanned<Name>>,
    pub(super) status: Option<Text>,
    pub(super) start: Option<Text>,
    pub(super) stop: Option<Text>,
    pub(super) timeout: Option<Spanned<Span>>,
    pub(super) failback: Option<Spanned<Failback>>,
    pub(super) health: Option<Spanned<Table<Probe>>>,
    pub(super) lease: Option<Spanned<Table<ServiceLease>>>,
}

/// Where the leases are, and how long is relied on what was read. Which keys go with which store is
/// judged later.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) store: StoreKind,
    pub(super) valid: Option<Spanned<Span>>,
    pub(super) grace: Option<Spanned<Span>>,
    pub(super) guard: Option<Spanned<Guard>>,
    pub(super) failsafe: Option<bool>,
    pub(super) remote: Option<Spanned<GitUrl>>,
    pub(super) prefix: Option<Spanned<Line>>,
    pub(super) endpoints: Option<Spanned<Vec<Spanned<Endpoint>>>>,
    pub(super) ca: Option<Spanned<FilePath>>,
    pub(super) cert: Option<Spanned<FilePath>>,
    pub(super) key: Option<Spanned<FilePath>>,
    pub(super) user: Option<Spanned<Line>>,
    pub(super) password_file: Option<Spanned<FilePath>>,
    pub(super) path: Option<Spanned<FilePath>>,
}

/// The keys of a service that override those of [lease], one by one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceLease {
    pub(super) valid: Option<Spanned<Span>>,
    pub(super) grace: Option<Spanned<Span>>,
    pub(super) guard: Option<Spanned<Guard>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "kebab-case")]
pub(super) enum StoreKind {
    Git,
    Etcd,
    File,
}

impl TryFrom<String> for StoreKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "git" => Ok(Self::Git),
            "etcd" => Ok(Self::Etcd),
            "file" => Ok(Self::File),
            _ => Err(format!("{} is no store; write \"git\", \"etcd\" or \"file\"", shown(&text))),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Breath {
    pub(super) repo: Option<Directory>,
    pub(super) remote: Option<Word>,
    pub(super) branch: Option<Word>,
    pub(super) timeout: Option<Spanned<Span>>,
    pub(super) commit: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessList {
    #[serde(default)]
    pub(super) addresses: Vec<Witness>,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table such as { address = \"192.0.2.1\", port = 22 }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
                let address = text.parse().map_err(E::custom)?;
                Ok(Node(NodeTable { address, port: None, user: None, probe: None }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Node, A::Error> {
                NodeTable::deserialize(MapAccessDeserializer::new(map)).map(Node)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
