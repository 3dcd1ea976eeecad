//! The configuration as it stands in the file: every key, nothing filled in.
//!
//! A value that can be judged alone is judged here, so that the parser knows its place.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::address::{Address, Witness};
use super::model::Guard;
use super::values::{
    Attempts, CommandTemplate, DurationText, Endpoint, Failback, FilePath, GitName, GitUrl, HttpStatus, LoginName,
    Port, Restarts, ShellCommand, SingleLine, UrlTemplate,
};
use crate::name::Name;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "self")]
    pub(super) local_node: Option<Spanned<Name>>,
    pub(super) state: Option<FilePath>,
    #[serde(default)]
    pub(super) nodes: Spanned<IndexMap<Spanned<Name>, Node>>,
    #[serde(default)]
    pub(super) chains: Spanned<IndexMap<Spanned<Name>, Members>>,
    #[serde(default)]
    pub(super) cycle: Table<Cycle>,
    pub(super) probe: Option<Spanned<Table<NetworkProbe>>>,
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
type Members = Spanned<Vec<Spanned<Text<Name>>>>;

/// A value and where it stands. One that is not in the file stands at its beginning.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub(super) struct Spanned<T>(toml::Spanned<T>);

impl<T> Spanned<T> {
    pub(super) fn get(&self) -> &T {
        self.0.get_ref()
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        Self(toml::Spanned::new(0..0, T::default()))
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A text in a list. What is wrong with it is reported where it stands, and not where the list begins.
#[derive(Clone, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Text<T>(T);

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Expected<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            // An error that is made here is one of the parser's, which adds the place.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                T::deserialize(text.into_deserializer()).map(Text)
            }
        }
        deserializer.deserialize_any(Expected(PhantomData))
    }
}

/// A table, and not a list of its values, which serde would accept as well.
#[derive(Clone, Default, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Table<T>(T);

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
                f.write_str("a table")
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTable {
    pub(super) address: Address,
    pub(super) port: Option<Port>,
    pub(super) user: Option<LoginName>,
    pub(super) probe: Option<Spanned<Table<Probe>>>,
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

impl JsonSchema for Node {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Node".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (address, table) = (generator.subschema_for::<Address>(), generator.subschema_for::<NodeTable>());
        schemars::json_schema!({ "anyOf": [address, table] })
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cycle {
    pub(super) check: Option<Spanned<DurationText>>,
    pub(super) sync: Option<Spanned<DurationText>>,
    pub(super) recovery: Option<Spanned<DurationText>>,
}

/// The keys of [probe].
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkProbe {
    pub(super) method: Option<Method>,
    pub(super) port: Option<Port>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) attempts: Option<Attempts>,
    pub(super) url: Option<UrlTemplate>,
    pub(super) expect: Option<HttpStatus>,
    pub(super) command: Option<ShellCommand>,
    pub(super) second_opinion: Option<bool>,
}

/// The keys of the probe of a node or of a service. They override those of [probe], one by one.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub(super) method: Option<Method>,
    pub(super) port: Option<Port>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) attempts: Option<Attempts>,
    pub(super) url: Option<UrlTemplate>,
    pub(super) expect: Option<HttpStatus>,
    pub(super) command: Option<ShellCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    Tcp,
    SshBanner,
    Ssh,
    Http,
    Exec,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Remote {
    pub(super) user: Option<LoginName>,
    pub(super) command: Option<CommandTemplate>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) chain: Option<Spanned<Name>>,
    pub(super) status: Option<ShellCommand>,
    pub(super) start: Option<ShellCommand>,
    pub(super) stop: Option<ShellCommand>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) failback: Option<Spanned<Failback>>,
    pub(super) restarts: Option<Restarts>,
    pub(super) window: Option<Spanned<DurationText>>,
    pub(super) health: Option<Spanned<Table<Probe>>>,
    pub(super) lease: Option<Spanned<Table<ServiceLease>>>,
}

/// Where the leases are, and their times. Which keys belong to which store is judged later.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) store: StoreKind,
    pub(super) valid: Option<Spanned<DurationText>>,
    pub(super) grace: Option<Spanned<DurationText>>,
    pub(super) guard: Option<Spanned<Guard>>,
    pub(super) remote: Option<Spanned<GitUrl>>,
    pub(super) prefix: Option<Spanned<SingleLine>>,
    pub(super) endpoints: Option<Spanned<Vec<Spanned<Text<Endpoint>>>>>,
    pub(super) ca: Option<Spanned<FilePath>>,
    pub(super) cert: Option<Spanned<FilePath>>,
    pub(super) key: Option<Spanned<FilePath>>,
    pub(super) user: Option<Spanned<SingleLine>>,
    pub(super) password_file: Option<Spanned<FilePath>>,
    pub(super) path: Option<Spanned<FilePath>>,
}

/// The keys of a service that override those of [lease], one by one.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceLease {
    pub(super) valid: Option<Spanned<DurationText>>,
    pub(super) grace: Option<Spanned<DurationText>>,
    pub(super) guard: Option<Spanned<Guard>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StoreKind {
    Git,
    Etcd,
    File,
}

impl StoreKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Etcd => "etcd",
            Self::File => "file",
        }
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Breath {
    pub(super) repo: Option<FilePath>,
    pub(super) remote: Option<GitName>,
    pub(super) branch: Option<GitName>,
    pub(super) timeout: Option<Spanned<DurationText>>,
    pub(super) commit: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessList {
    #[serde(default)]
    pub(super) addresses: Vec<Text<Witness>>,
}
