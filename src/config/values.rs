//! The values of the file that can be judged alone, each checked as it is read.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{is_invisible, quoted};
use crate::template;

/// When a service returns to a better node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^(always|never|\\s*[0-9].*)$"))]
pub enum Failback {
    /// As soon as the better node is seen alive.
    Always,
    /// Not by itself.
    Never,
    /// Once the better node has been alive for this long.
    After(Duration),
}

impl TryFrom<String> for Failback {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => match DurationText::try_from(text) {
                Ok(duration) => Ok(Self::After(duration.0)),
                Err(why) => Err(format!("{why}, or \"always\" or \"never\"")),
            },
        }
    }
}

/// The deadline of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^(auto|\\s*[0-9].*)$"))]
pub(super) enum ProbeTimeout {
    /// By what was seen of the link.
    Auto,
    /// The same for all links.
    After(Duration),
}

impl TryFrom<String> for ProbeTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match DurationText::try_from(text) {
            Ok(duration) => Ok(Self::After(duration.0)),
            Err(why) => Err(format!("{why}, or \"auto\"")),
        }
    }
}

/// A value that is written as text: what it holds, and the function that reads it.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let read: fn(String) -> Result<$inner, String> = $read;
                read(text).map(Self)
            }
        }
    };
}

/// A whole number within bounds.
macro_rules! number_value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $least:literal..=$most:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
        #[serde(try_from = "i64")]
        #[schemars(extend("minimum" = $least, "maximum" = $most))]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<i64> for $name {
            type Error = String;

            fn try_from(number: i64) -> Result<Self, String> {
                match <$inner>::try_from(number) {
                    Ok(inner) if ($least..=$most).contains(&inner) => Ok(Self(inner)),
                    _ => Err(format!(
                        concat!("{} is not ", $what, "; write a number from {} to {}"),
                        number, $least, $most
                    )),
                }
            }
        }
    };
}

number_value!(Port(u16), "a port", 1..=65535);
number_value!(Attempts(u32), "a number of attempts", 1..=10);
number_value!(Restarts(u32), "a number of restarts", 0..=1000);
number_value!(HttpStatus(u16), "an HTTP status", 100..=599);

text_value!(
    /// A length of time with its unit, such as "750ms", "5s" or "1m 30s".
    DurationText(Duration),
    |text| humantime::parse_duration(&text).map_err(|_| {
        format!("{} is not a duration; write a number and its unit, such as \"750ms\" or \"5s\"", quoted(&text))
    })
);

text_value!(
    /// A command for a shell. What cannot be seen in it is refused: a carriage return or a non-breaking
    /// space from an editor would become a part of an argument.
    ShellCommand(String),
    |text| {
        if text.trim().is_empty() {
            return Err("this command is empty; write the command".to_owned());
        }
        match text.chars().find(|c| is_foreign_in_command(*c)) {
            Some(c) => Err(format!("the command holds {}, which cannot be seen; take it out", named(c))),
            None => Ok(text),
        }
    }
);

/// Whether a shell would see something in it that a person does not.
fn is_foreign_in_command(c: char) -> bool {
    let is_layout = matches!(c, ' ' | '\n' | '\t');
    !is_layout && (c.is_control() || c.is_whitespace() || is_invisible(c))
}

fn named(c: char) -> String {
    let name = match c {
        '\0' => "NUL",
        '\r' => "carriage return",
        '\x1b' => "escape",
        '\u{a0}' | '\u{202f}' => "non-breaking space",
        '\u{feff}' => "byte order mark",
        c if c.is_control() => "control character",
        c if c.is_whitespace() => "foreign space",
        _ => "invisible character",
    };
    format!("the character U+{:04X} ({name})", u32::from(c))
}

text_value!(
    /// A URL in which `{address}` and the like may stand.
    UrlTemplate(String),
    |text| {
        if let Some(unknown) = unknown_placeholder(&text, &PLACEHOLDERS[1..]) {
            return Err(unknown);
        }
        let filled = template::fill(&text, |word| Some(if word == "port" { "22" } else { "x" }.to_owned()));
        if !is_url(&filled) {
            return Err(format!("{} is not a URL; write it as \"http://{{address}}:8080/health\"", quoted(&text)));
        }
        Ok(text)
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

text_value!(
    /// Where events are sent. `{token}` is filled in from a file.
    NotifyUrl(String),
    |text| {
        if let Some(unknown) = unknown_placeholder(&text, &["{token}"]) {
            return Err(unknown);
        }
        if !is_url(&text.replace("{token}", "token")) {
            return Err(format!("{} is not a URL; write it as \"https://192.0.2.9/events\"", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// The path of a file or a directory.
    FilePath(PathBuf),
    |text| {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("{} is not a path; write a path, or leave the key out", quoted(&text)));
        }
        Ok(PathBuf::from(text))
    }
);

text_value!(
    /// A text on one line.
    SingleLine(String),
    |text| {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("{} is not a line of text; write at least one character and no control character", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// A git remote that means the same in every directory: a URL, `HOST:PATH`, or an absolute path.
    GitUrl(String),
    |text| {
        let scp = text
            .split_once(':')
            .is_some_and(|(host, path)| !host.is_empty() && !path.is_empty() && !host.contains('/'));
        let whole = text.starts_with('/') || text.contains("://") || scp;
        if text.starts_with('-') || text.contains("::") || text.contains(char::is_control) || !whole {
            let what = "write a URL such as \"ssh://git@192.0.2.9/srv/lease.git\", or an absolute path";
            return Err(format!("{} is not a remote that means the same on every node; {what}", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// A member of an etcd cluster.
    Endpoint(String),
    |text| {
        let rest = text.split_once("://").map(|(_, rest)| rest.trim_end_matches('/'));
        if rest.is_none_or(|rest| rest.contains(['/', '?', '#', '@'])) || !is_url(&text) {
            return Err(format!("{} is not an endpoint; write it as \"https://192.0.2.9:2379\"", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// A login name.
    LoginName(String),
    |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
            let what = "use letters, digits, '_', '.' and '-', the first no '-'";
            return Err(format!("{} is not a login name; {what}", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// The name of a git remote or branch.
    GitName(String),
    |text| {
        if !is_git_name(&text) {
            let what = "write it as `git branch` or `git remote` shows it";
            return Err(format!("{} is not a name that git accepts; {what}", quoted(&text)));
        }
        Ok(text)
    }
);

text_value!(
    /// A name of a remote; empty for none.
    RemoteName(String),
    |text| if text.is_empty() { Ok(text) } else { GitName::try_from(text).map(|name| name.0) }
);

/// Whether git takes it for the name of a remote, a branch or a ref (git-check-ref-format(1)), and no
/// command of git for an option.
pub fn is_git_name(text: &str) -> bool {
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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
pub(super) struct CommandTemplate(pub(super) Vec<String>);

/// What may stand in `[remote] command`.
const PLACEHOLDERS: [&str; 5] = ["{command}", "{node}", "{address}", "{port}", "{user}"];

impl TryFrom<Vec<String>> for CommandTemplate {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        if words.first().is_none_or(String::is_empty) {
            return Err("the command has no program; write it as the first word, such as \"ssh\"".to_owned());
        }
        if !words.iter().any(|word| word.contains("{command}")) {
            return Err("no word holds {command}, so nothing would be run; add \"{command}\"".to_owned());
        }
        for word in &words {
            if let Some(c) = word.chars().find(|c| is_foreign_in_command(*c)) {
                return Err(format!("a word holds {}; take it out", named(c)));
            }
            if let Some(unknown) = unknown_placeholder(word, &PLACEHOLDERS) {
                return Err(unknown);
            }
        }
        Ok(Self(words))
    }
}

/// What is wrong with a text that holds a `{word}` which is none of `known`. `${word}` belongs to a
/// shell, and braces around anything else are text.
fn unknown_placeholder(text: &str, known: &[&str]) -> Option<String> {
    text.match_indices('{').find_map(|(start, _)| {
        let word = &text[start..=start + text[start..].find('}')?];
        let inner = &word[1..word.len() - 1];
        let named = !inner.is_empty() && inner.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        (named && !known.contains(&word) && !text[..start].ends_with('$'))
            .then(|| format!("{} is not a placeholder; use {}", quoted(word), known.join(", ")))
    })
}
