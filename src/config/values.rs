//! The values of the file that can be judged alone, each with what it is when it is right.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::shown;

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

impl Serialize for Failback {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always => serializer.serialize_str("always"),
            Self::Never => serializer.serialize_str("never"),
            Self::After(span) => span.as_millis().serialize(serializer),
        }
    }
}

/// A value that is judged as it is read: what it may be, and the visitor's one method that reads it.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expecting:expr, $($visit:tt)*) => {
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

                    $($visit)*
                }
                deserializer.deserialize_any(Expected)
            }
        }
    };
}

/// A value that is written as text: the text's meaning, or why it has none.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expecting:literal, $read:expr) => {
        checked!(
            $(#[$doc])*
            $name($inner), $expecting,
            fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                let read: fn(&str) -> Result<$inner, String> = $read;
                read(text).map($name).map_err(E::custom)
            }
        );
    };
}

/// A whole number within bounds.
macro_rules! checked_number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expecting:literal, $range:expr) => {
        checked!(
            $(#[$doc])*
            #[derive(Copy)]
            $name($inner), $expecting,
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                match <$inner>::try_from(number) {
                    Ok(n) if ($range).contains(&n) => Ok($name(n)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        );
    };
}

checked_number!(Port(u16), "a port from 1 to 65535", 1..=u16::MAX);
checked_number!(Attempts(u32), "a number from 1 to 10", 1..=10);
checked_number!(Restarts(u32), "a number from 0 to 1000", 0..=1000);
checked_number!(Status(u16), "an HTTP status from 100 to 599", 100..=599);

/// What a duration is written as.
const DURATION: &str = "a number and its unit, such as \"750ms\" or \"5s\"";

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{} is no duration; write {DURATION}", shown(text)))
}

fn printable(text: &str) -> Result<String, String> {
    match text {
        _ if text.trim().is_empty() => Err("this command is empty; write the command".to_owned()),
        _ if text.contains('\0') => Err("the command holds a NUL character, which none can; take it out".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

checked_text!(
    /// A length of time with its unit.
    Span(Duration), "a number and its unit in quotes, such as \"750ms\" or \"5s\"", span
);
checked_text!(
    /// A shell command.
    Text(String), "a command in quotes", printable
);
checked_text!(
    /// A URL in which `{address}` and the like may stand.
    Url(String), "a URL in quotes", |text| {
        if let Some(unknown) = unknown_placeholder(text, &PLACEHOLDERS[1..]) {
            return Err(unknown);
        }
        let filled = crate::template::fill(text, |word| Some(if word == "port" { "22" } else { "x" }.to_owned()));
        if is_url(&filled) {
            return Ok(text.to_owned());
        }
        Err(format!("{} is no URL; write it as \"http://{{address}}:8080/health\"", shown(text)))
    }
);

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<ureq::http::Uri>() else { return false };
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    known
        && uri.authority().is_some_and(|authority| {
            let place = authority.as_str().rsplit('@').next().unwrap_or_default();
            let port = place.strip_prefix(authority.host()).unwrap_or_default();
            !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
        })
}

checked_text!(
    /// A directory.
    Directory(PathBuf), "a directory in quotes", |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("{} is no directory; write its path, or leave the key out", shown(text)));
        }
        Ok(PathBuf::from(text))
    }
);
checked_text!(
    /// A file.
    FilePath(PathBuf), "a path in quotes", |text| {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("{} is no path; write the path of a file", shown(text)));
        }
        Ok(PathBuf::from(text))
    }
);
checked_text!(
    /// A text on one line.
    Line(String), "text in quotes", |text| {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("{} cannot stand here; write at least one character, and no control character", shown(text)));
        }
        Ok(text.to_owned())
    }
);
checked_text!(
    /// A git remote that means the same in every directory: a URL, `HOST:PATH`, or an absolute path.
    GitUrl(String), "a URL or an absolute path in quotes", |text| {
        let scp = text.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !path.is_empty() && !host.contains('/')
        });
        let whole = text.starts_with('/') || text.contains("://") || scp;
        if text.starts_with('-') || text.contains("::") || text.contains(char::is_control) || !whole {
            let what = "write a URL such as \"ssh://git@192.0.2.9/srv/lease.git\", or an absolute path";
            return Err(format!("{} is no remote that every node can name; {what}", shown(text)));
        }
        Ok(text.to_owned())
    }
);
checked_text!(
    /// A member of an etcd cluster.
    Endpoint(String), "a URL in quotes", |text| {
        let bare = text.split_once("://").is_some_and(|(_, rest)| !rest.trim_end_matches('/').contains(['/', '?', '#', '@']));
        if bare && is_url(text) {
            return Ok(text.to_owned());
        }
        Err(format!("{} is no endpoint; write it as \"https://192.0.2.9:2379\"", shown(text)))
    }
);
checked_text!(
    /// A login name.
    User(String), "a login name in quotes", |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || text.starts_with('-') || !text.chars().all(inner) {
            let what = "use letters, digits, '_', '.' and '-', the first no '-'";
            return Err(format!("{} is no login name; {what}", shown(text)));
        }
        Ok(text.to_owned())
    }
);
checked_text!(
    /// The name of a git remote or branch, by the rules of `git check-ref-format`.
    Word(String), "a name in quotes", |text| {
        if !is_git_name(text) {
            let what = "write it as `git branch` or `git remote` shows it";
            return Err(format!("{} is no name that git accepts; {what}", shown(text)));
        }
        Ok(text.to_owned())
    }
);

/// Whether git takes it for the name of a remote, a branch or a ref.
pub(super) fn is_git_name(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    !(text.starts_with('-')
        || text == "@"
        || text.ends_with('.')
        || text.contains("..")
        || text.contains("@{")
        || text.contains(bad)
        || text.split('/').any(bad_part))
}

/// A command as a list of arguments in which placeholders may stand.
#[derive(Clone, Debug)]
pub(super) struct Template(pub(super) Vec<String>);

/// What may stand in `[remote] command`.
const PLACEHOLDERS: [&str; 5] = ["{command}", "{node}", "{address}", "{port}", "{user}"];

/// What is wrong with a text in which `{word}` stands that is none of `known`. `${word}` is a
/// shell's own, and braces around anything else are text.
fn unknown_placeholder(text: &str, known: &[&str]) -> Option<String> {
    text.match_indices('{').find_map(|(start, _)| {
        let word = &text[start..=start + text[start..].find('}')?];
        let inner = &word[1..word.len() - 1];
        let named = !inner.is_empty() && inner.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        (named && !known.contains(&word) && !text[..start].ends_with('$'))
            .then(|| format!("{} is no placeholder; use {}", shown(word), known.join(", ")))
    })
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let fail = |why: String| Err(de::Error::custom(why));
        if words.first().is_none_or(String::is_empty) {
            return fail("the command has no program; write it as the first word, such as \"ssh\"".to_owned());
        }
        if !words.iter().any(|word| word.contains("{command}")) {
            return fail("no word holds {command}, so nothing would be run; add \"{command}\"".to_owned());
        }
        for word in &words {
            if word.contains('\0') {
                return fail("a word holds a NUL character, which no argument can; take it out".to_owned());
            }
            if let Some(unknown) = unknown_placeholder(word, &PLACEHOLDERS) {
                return fail(unknown);
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
                f.write_str("\"always\", \"never\", or a number and its unit in quotes, such as \"1m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Failback, E> {
                match text {
                    "always" => Ok(Failback::Always),
                    "never" => Ok(Failback::Never),
                    _ => span(text)
                        .map(Failback::After)
                        .map_err(|why| E::custom(format!("{why}, or \"always\" or \"never\""))),
                }
            }
        }
        deserializer.deserialize_any(Expected)
    }
}
