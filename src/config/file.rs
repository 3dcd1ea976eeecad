//! The configuration as it stands in the file: every key, nothing filled in.
//!
//! Values that can be judged alone are judged here, so that the parser knows their place.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

use super::address::{Address, Witness};
use crate::chain::Name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "self")]
    pub(super) own: Option<Spanned<Name>>,
    pub(super) state: Option<PathBuf>,
    pub(super) nodes: IndexMap<Spanned<Name>, Node>,
    pub(super) chains: IndexMap<Spanned<Name>, Spanned<Vec<Spanned<Name>>>>,
    #[serde(default)]
    pub(super) cycle: Cycle,
    pub(super) probe: Option<Spanned<Probe>>,
    #[serde(default)]
    pub(super) remote: Remote,
    #[serde(default)]
    pub(super) services: IndexMap<Spanned<Name>, Service>,
    #[serde(default)]
    pub(super) breath: Breath,
    #[serde(default)]
    pub(super) witness: WitnessList,
}

/// `"72.56.102.240"` or `{ address = "72.56.102.240", port = 22, … }`.
pub(super) struct Node(pub(super) NodeTable);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTable {
    pub(super) address: Address,
    pub(super) port: Option<Port>,
    pub(super) user: Option<User>,
    pub(super) probe: Option<Spanned<Probe>>,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    Tcp,
    SshBanner,
    Ssh,
    Http,
    Exec,
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
    pub(super) health: Option<Spanned<Probe>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Breath {
    pub(super) repo: Option<PathBuf>,
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

/// When a service returns to a better node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// As soon as the better node is seen alive.
    Always,
    /// Not by itself.
    Never,
    /// Once the better node has been alive for this long.
    After(Duration),
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

impl Serialize for Failback {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always => serializer.serialize_str("always"),
            Self::Never => serializer.serialize_str("never"),
            Self::After(span) => span.as_millis().serialize(serializer),
        }
    }
}

/// A value that is written as text and judged at once: the text's meaning, or why it has none.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expecting:literal, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Expected;
                impl Visitor<'_> for Expected {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let read: fn(&str) -> Result<$inner, String> = $read;
                        read(text).map($name).map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Expected)
            }
        }
    };
}

/// A whole number within bounds.
macro_rules! checked_number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expecting:literal, $range:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Expected;
                impl Visitor<'_> for Expected {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        match <$inner>::try_from(number) {
                            Ok(n) if ($range).contains(&n) => Ok($name(n)),
                            _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                        }
                    }
                }
                deserializer.deserialize_any(Expected)
            }
        }
    };
}

checked_number!(Port(u16), "a port from 1 to 65535", 1..=u16::MAX);
checked_number!(Attempts(u32), "a number of attempts from 1 to 10", 1..=10);
checked_number!(Status(u16), "an HTTP status from 100 to 599", 100..=599);

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| {
        format!("{text:?} is no duration: {why}; write a number and its unit, such as \"750ms\" or \"5s\"")
    })
}

fn printable(text: &str) -> Result<String, String> {
    match text {
        _ if text.trim().is_empty() => Err("it is empty; write the command, or leave the key out".to_owned()),
        _ if text.contains('\0') => Err("it holds a NUL character, which no command can; take it out".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

checked_text!(
    /// A length of time with its unit.
    Span(Duration), "a duration with its unit, such as \"750ms\" or \"5s\"", span
);
checked_text!(
    /// A shell command.
    Text(String), "a command as text", printable
);
checked_text!(
    /// A URL in which `{address}` and the like may stand.
    Url(String), "a URL as text", |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        match rest {
            Some(rest) if !rest.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Ok(text.to_owned())
            }
            _ => Err(format!("{text:?} is no URL; write it as \"http://{{address}}:8080/health\"")),
        }
    }
);
checked_text!(
    /// A login name.
    User(String), "a login name as text", |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || text.starts_with('-') || !text.chars().all(inner) {
            return Err(format!("{text:?} is no login name; use letters, digits, '_', '.' and '-', the first no '-'"));
        }
        Ok(text.to_owned())
    }
);
checked_text!(
    /// The name of a git remote or branch.
    Word(String), "a name as text", |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        if text.is_empty() || text.starts_with('-') || text.contains("..") || text.contains(bad) {
            return Err(format!("{text:?} is no name that git accepts; write it as `git branch` or `git remote` shows it"));
        }
        Ok(text.to_owned())
    }
);

/// A command as a list of arguments in which placeholders may stand.
#[derive(Clone, Debug)]
pub(super) struct Template(pub(super) Vec<String>);

/// What may stand in `[remote] command`.
const PLACEHOLDERS: [&str; 5] = ["{node}", "{address}", "{port}", "{user}", "{command}"];

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let fail = |why: String| Err(de::Error::custom(why));
        if words.first().is_none_or(String::is_empty) {
            return fail("the list is empty; its first word is the program, such as \"ssh\"".to_owned());
        }
        if !words.iter().any(|word| word.contains("{command}")) {
            return fail("no word holds {command}, so nothing would be run; add \"{command}\"".to_owned());
        }
        for word in &words {
            if word.contains('\0') {
                return fail("a word holds a NUL character, which no argument can; take it out".to_owned());
            }
            for (start, _) in word.match_indices('{') {
                let rest = &word[start..];
                let known = PLACEHOLDERS.iter().any(|p| rest.starts_with(p));
                let named = rest[1..]
                    .find('}')
                    .is_some_and(|end| end > 0 && rest[1..=end].chars().all(|c| c.is_ascii_lowercase() || c == '_'));
                if named && !known && !word[..start].ends_with('$') {
                    let end = rest.find('}').map_or(rest.len(), |end| end + 1);
                    return fail(format!("{} is no placeholder; use one of {}", &rest[..end], PLACEHOLDERS.join(", ")));
                }
            }
        }
        Ok(Self(words))
    }
}

impl<'de> Deserialize<'de> for Failback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;
        impl Visitor<'_> for Expected {
            type Value = Failback;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"always\", \"never\" or a duration with its unit, such as \"1m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Failback, E> {
                match text {
                    "always" => Ok(Failback::Always),
                    "never" => Ok(Failback::Never),
                    _ => span(text)
                        .map(Failback::After)
                        .map_err(|why| E::custom(format!("{why}, or \"always\", or \"never\""))),
                }
            }
        }
        deserializer.deserialize_any(Expected)
    }
}
