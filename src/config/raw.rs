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
use super::model::{Guard, NotifyFormat};
use super::values::{
    Attempts, CommandTemplate, DurationText, Endpoint, Failback, FilePath, GitName, GitUrl, HttpStatus, LoginName,
    NotifyUrl, Port, ProbeTimeout, RemoteName, Restarts, ShellCommand, SingleLine, UrlTemplate,
};
use crate::name::Name;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The node that this machine is, where its addresses do not tell.
    #[serde(rename = "self")]
    pub(super) local_node: Option<Spanned<Name>>,
    /// The directory where state is kept.
    pub(super) state: Option<FilePath>,
    /// The nodes: NAME = "ADDRESS", or NAME = { address = "ADDRESS", … }.
    #[serde(default)]
    pub(super) nodes: Spanned<IndexMap<Spanned<Name>, Node>>,
    /// The chains: NAME = [nodes in order]; the first one alive leads. The chain `brain` is that of the controllers.
    #[serde(default)]
    pub(super) chains: Spanned<IndexMap<Spanned<Name>, Members>>,
    /// The intervals of the watchdog.
    #[serde(default)]
    pub(super) cycle: Table<Cycle>,
    /// How a node is asked whether it is alive.
    pub(super) probe: Option<Spanned<Table<NetworkProbe>>>,
    /// How a command runs on a node.
    #[serde(default)]
    pub(super) remote: Table<Remote>,
    /// What is kept alive, by name.
    #[serde(default)]
    pub(super) services: IndexMap<Spanned<Name>, Table<Service>>,
    /// What a breath synchronises.
    #[serde(default)]
    pub(super) breath: Table<Breath>,
    /// Addresses outside the node list that prove a network.
    #[serde(default)]
    pub(super) witness: Table<WitnessList>,
    /// The receivers of events.
    #[serde(default)]
    pub(super) notify: Table<Notify>,
    /// Where the leases of all services are.
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

/// The schema of what is wrapped.
macro_rules! schema_of_inner {
    ($name:ident) => {
        impl<T: JsonSchema> JsonSchema for $name<T> {
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
    };
}

schema_of_inner!(Spanned);
schema_of_inner!(Text);
schema_of_inner!(Table);

/// A text in a list. What is wrong with it is reported where it stands, and not where the list begins.
#[derive(Clone)]
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
#[derive(Clone, Default)]
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
    /// An IPv4 address, an IPv6 address or a host name.
    pub(super) address: Address,
    /// The ssh port. Default: 22.
    pub(super) port: Option<Port>,
    /// The login name. Default: that of [remote].
    pub(super) user: Option<LoginName>,
    /// What differs from [probe] for this node.
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
    /// From one check to the next. Default: 5s.
    pub(super) check: Option<Spanned<DurationText>>,
    /// From one breath to the next. Default: 12s.
    pub(super) sync: Option<Spanned<DurationText>>,
    /// What a recovery may take. Default: 10s.
    pub(super) recovery: Option<Spanned<DurationText>>,
}

/// The keys of [probe].
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkProbe {
    /// Default: tcp.
    pub(super) method: Option<Method>,
    /// The port for tcp and ssh-banner. Default: 22.
    pub(super) port: Option<Port>,
    /// The deadline of an answer, or "auto": by what was seen of the link to each node. Default: 750ms.
    pub(super) timeout: Option<Spanned<ProbeTimeout>>,
    /// With "auto": no deadline is longer, and that of a link that is not known is this one. Default: 750ms.
    pub(super) timeout_max: Option<Spanned<DurationText>>,
    /// With "auto": no deadline is shorter. Default: 100ms.
    pub(super) timeout_min: Option<Spanned<DurationText>>,
    /// How many tries may start within `timeout`. Default: 3; with "auto" 5.
    pub(super) attempts: Option<Attempts>,
    /// For http: the URL, in which {node}, {address}, {port} and {user} may stand.
    pub(super) url: Option<UrlTemplate>,
    /// For http: the status. Default: 200.
    pub(super) expect: Option<HttpStatus>,
    /// For exec: a command of this machine that ends in 0 where the node is alive.
    pub(super) command: Option<ShellCommand>,
    /// Whether other nodes are asked before the node that runs a service is taken for dead. Default: false.
    pub(super) second_opinion: Option<bool>,
}

/// The keys of the probe of a node or of a service. They override those of [probe], one by one.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    /// Default: that of [probe]; so for each key.
    pub(super) method: Option<Method>,
    /// The port for tcp and ssh-banner.
    pub(super) port: Option<Port>,
    /// The deadline of an answer, or "auto".
    pub(super) timeout: Option<Spanned<ProbeTimeout>>,
    /// How many tries may start within `timeout`.
    pub(super) attempts: Option<Attempts>,
    /// For http: the URL, in which {node}, {address}, {port} and {user} may stand.
    pub(super) url: Option<UrlTemplate>,
    /// For http: the status.
    pub(super) expect: Option<HttpStatus>,
    /// For exec: a command of this machine that ends in 0 where the node is alive.
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
    /// The login name. Default: root.
    pub(super) user: Option<LoginName>,
    /// The program and its arguments; {command}, {node}, {address}, {port} and {user} are filled in. Default: ssh.
    pub(super) command: Option<CommandTemplate>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    /// The chain on whose leader it runs. Default: that of its own name.
    pub(super) chain: Option<Spanned<Name>>,
    /// Ends in 0 when the service runs, in 1 to 125 when it does not.
    pub(super) status: Option<ShellCommand>,
    /// Starts it, and ends.
    pub(super) start: Option<ShellCommand>,
    /// Stops it.
    pub(super) stop: Option<ShellCommand>,
    /// What stopping may take, and starting as much again. Default: 5s.
    pub(super) timeout: Option<Spanned<DurationText>>,
    /// When it returns to a better node: "always", "never", or a time. Default: 1m.
    pub(super) failback: Option<Spanned<Failback>>,
    /// Found dead where it was started more often than this in `window`, it is taken elsewhere. Default: 3.
    pub(super) restarts: Option<Restarts>,
    /// The time in which `restarts` are counted. Default: 5m.
    pub(super) window: Option<Spanned<DurationText>>,
    /// What an inhale before a start may take, where [breath] names a repository; "0s" for none. Default: 2s.
    pub(super) inhale: Option<Spanned<DurationText>>,
    /// A probe that is asked instead of `status` where the service is.
    pub(super) health: Option<Spanned<Table<Probe>>>,
    /// What differs from [lease] for this service.
    pub(super) lease: Option<Spanned<Table<ServiceLease>>>,
}

/// Where the leases are, and their times. Which keys belong to which store is judged later.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    /// Where the leases are.
    pub(super) store: StoreKind,
    /// How long a read may be relied on. Default: 2s.
    pub(super) valid: Option<Spanned<DurationText>>,
    /// The time to stop, and what clocks may drift apart. Default: 1s.
    pub(super) grace: Option<Spanned<DurationText>>,
    /// Who stops the service on a node that its lease no longer names. Default: hold.
    pub(super) guard: Option<Spanned<Guard>>,
    /// Whether the holder goes on while the arbiter is away and every node that may grant agrees. Default: true.
    pub(super) failsafe: Option<bool>,
    /// For git: the URL.
    pub(super) remote: Option<Spanned<GitUrl>>,
    /// What stands before the name of a service in a ref or key.
    pub(super) prefix: Option<Spanned<SingleLine>>,
    /// For etcd: the URLs of the members.
    pub(super) endpoints: Option<Spanned<Vec<Spanned<Text<Endpoint>>>>>,
    /// For etcd: the certificates of the authorities.
    pub(super) ca: Option<Spanned<FilePath>>,
    /// For etcd: our certificate.
    pub(super) cert: Option<Spanned<FilePath>>,
    /// For etcd: the key of `cert`.
    pub(super) key: Option<Spanned<FilePath>>,
    /// For etcd: the user.
    pub(super) user: Option<Spanned<SingleLine>>,
    /// For etcd: the file with the password of `user`.
    pub(super) password_file: Option<Spanned<FilePath>>,
    /// For file: the directory.
    pub(super) path: Option<Spanned<FilePath>>,
}

/// The keys of a service that override those of [lease], one by one.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceLease {
    /// How long a read may be relied on.
    pub(super) valid: Option<Spanned<DurationText>>,
    /// The time to stop, and what clocks may drift apart.
    pub(super) grace: Option<Spanned<DurationText>>,
    /// Who stops the service on a node that its lease no longer names.
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
    /// The repository. Default: the current directory.
    pub(super) repo: Option<FilePath>,
    /// The name of its remote. Default: origin; with `peers` none, which "" says too.
    pub(super) remote: Option<Spanned<RemoteName>>,
    /// Whether the nodes breathe with each other. Default: false.
    pub(super) peers: Option<bool>,
    /// The branch. Default: main.
    pub(super) branch: Option<GitName>,
    /// The deadline of all that goes over the network. Default: 15s.
    pub(super) timeout: Option<Spanned<DurationText>>,
    /// Whether uncommitted work is committed first. Default: false.
    pub(super) commit: Option<bool>,
    /// A command that runs in the repository after an inhale that brought something.
    pub(super) changed: Option<ShellCommand>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    /// A command of this machine that gets each event as JSON on its standard input.
    pub(super) command: Option<ShellCommand>,
    /// A URL to which each event is posted; {token} is filled in.
    pub(super) url: Option<NotifyUrl>,
    /// What is posted. Default: json.
    pub(super) format: Option<NotifyFormat>,
    /// The file with the token: for {token} in a URL, else sent as a bearer's.
    pub(super) token_file: Option<FilePath>,
    /// A URL that the brain gets as long as every service is well.
    pub(super) beat_url: Option<NotifyUrl>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessList {
    /// ADDRESS, ADDRESS:PORT or [IPV6]:PORT.
    #[serde(default)]
    pub(super) addresses: Vec<Text<Witness>>,
}
