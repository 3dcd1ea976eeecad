//! What the parser has to say, in words for people: what is wrong, and what to do.

use super::{LONGEST_SHOWN, shown};

/// A message about a value or a key. What was judged by us has our words already.
pub(super) fn of_value(message: &str, _here: &str) -> String {
    key(message).or_else(|| value(message)).unwrap_or_else(|| one_line(message))
}

/// A message about `here`, which is no TOML.
pub(super) fn of_syntax(message: &str, here: &str) -> String {
    syntax(message, here).unwrap_or_else(|| format!("this is no TOML ({}); correct the line", one_line(message)))
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', "; ")
}

/// A key that is unknown or missing.
fn key(message: &str) -> Option<String> {
    if let Some(name) = message.strip_prefix("missing field ") {
        return Some(format!("the key {name} is missing; add it"));
    }
    let (name, known) = message.strip_prefix("unknown field `")?.rsplit_once("`, expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known).replace('`', "");
    Some(format!("{} is no key here; use {known}", shown(name)))
}

/// A value of another kind than the key takes, or out of its bounds.
fn value(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = found.strip_suffix(" as i128").unwrap_or(found).replace('`', "");
    let found = match found.split_once(' ') {
        Some(("integer" | "boolean", value)) => value.to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").to_owned(),
        Some(("string", value)) => value.to_owned(),
        _ => match found.as_str() {
            "sequence" => "a list".to_owned(),
            "map" => "a table".to_owned(),
            other => other.to_owned(),
        },
    };
    let expected = match expected {
        "a string" => "text in quotes",
        "a sequence" => "a list, such as [\"…\", \"…\"]",
        "a map" => "a table of NAME = …",
        "a boolean" => "true or false",
        expected => expected,
    };
    let quoted = found.starts_with('"') && !["quotes", "list", "table"].iter().any(|kind| expected.contains(kind));
    let bare = if quoted { ", without quotes" } else { "" };
    let cut = if found.chars().count() > LONGEST_SHOWN { "…" } else { "" };
    let found: String = found.chars().take(LONGEST_SHOWN).collect();
    Some(format!("{found}{cut} cannot stand here; write {expected}{bare}"))
}

/// What is no TOML. Only the mistakes that people make have words of their own.
fn syntax(message: &str, here: &str) -> Option<String> {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let clear = match what {
        "duplicate key" => {
            return Some(format!("{} stands here for the second time; keep one", shown(here.trim())));
        }
        "string values must be quoted" | "invalid float" | "invalid integer" | "missing value" => {
            "the value is missing, or is text without quotes; write it as \"…\""
        }
        "invalid basic string" | "invalid literal string"
            if expected.contains(['"', '\'']) && here.trim().is_empty() =>
        {
            "the text has no end; close it with a quote"
        }
        "invalid basic string" | "invalid literal string" => {
            "the text has no end, or holds a character that cannot stand in it; close it with a quote"
        }
        "missing escaped value" => "\\ begins an escape, and this is none; write \\\\, or the text in single quotes",
        "unclosed table" | "unclosed array table" => "the table's name has no end; close it with ]",
        "unclosed array" => "the list has no end; close it with ]",
        "unclosed inline table" => "the table has no end; close it with }",
        "missing comma between array elements" | "missing comma between key-value pairs" => {
            "a comma is missing here; add it"
        }
        "key with no value" => "this is no line of TOML; write KEY = VALUE, or [TABLE]",
        "invalid key-value pair" | "invalid unquoted key" => "a key is missing here; write KEY = VALUE, or [TABLE]",
        "unexpected key or value" => "the line ought to have ended here; begin a new one, or put the value in quotes",
        _ => return None,
    };
    Some(clear.to_owned())
}
