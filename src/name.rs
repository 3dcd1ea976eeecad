//! The name of a node, a chain or a service.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A longer name does not fit into a label of a host name.
const MAX_NAME: usize = 63;

/// The name of a node, a chain or a service: `[a-z0-9][a-z0-9-]*`, at most 63 characters.
///
/// It is checked when it is read, so it may stand in a path, a ref or an argument as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"))]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names in a sentence.
pub fn list<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) || text.len() > MAX_NAME {
            let shown: String = text.chars().take(MAX_NAME).collect();
            anyhow::bail!(
                "{shown:?} is not a name; use at most {MAX_NAME} lower-case letters, digits and hyphens, \
                 the first no hyphen"
            );
        }
        Ok(Self(text))
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name() {
        for good in ["a", "0", "spb-2", "a-"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", "A", "a b", "a\"", "a\n", "..", "a/b", "ä", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
