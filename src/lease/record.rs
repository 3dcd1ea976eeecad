//! What a lease's register holds, and how it is written down.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::chain::Name;

/// The name and version of the written form.
const SCHEMA: &str = "mirror.lease/1";
/// Larger numbers are not exact everywhere where JSON is read.
const LAST_EPOCH: u64 = (1 << 53) - 1;

/// What a lease's register holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRecord {
    /// The node that may run the service, once it is granted.
    pub holder: Name,
    /// A number that grows with every claim, from 1.
    pub epoch: u64,
    /// Whether the holder may run it yet.
    pub state: LeaseState,
    /// The last holder to whom it was granted before, carried along through unfinished claims; null
    /// when it was never granted.
    #[serde(rename = "was")]
    pub previous_holder: Option<Name>,
    /// Tells this write from every other, even from one that says the same.
    pub nonce: Nonce,
    /// Who wrote it: a node's name, or where the command was given on no node, the host's.
    pub by: String,
    /// Why, in words; null when nobody said.
    pub why: Option<String>,
    /// When it was written, by the writer's calendar clock: RFC 3339, UTC. For people; nothing
    /// compares it.
    pub at: String,
}

/// How far a takeover has come. A claim comes before its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Nobody may run the service: the old holder stops, the new one waits.
    Claimed,
    /// The holder may run it.
    Granted,
}

impl LeaseRecord {
    /// Whether both are one and the same write. A swap whose acknowledgement was lost is known for
    /// one's own by this, and only by this: another brain may have written the same words.
    pub fn is_same_write(&self, other: &Self) -> bool {
        self.nonce == other.nonce
    }

    /// The node that may run the service by this value.
    pub fn granted_to(&self) -> Option<&Name> {
        (self.state == LeaseState::Granted).then_some(&self.holder)
    }

    /// The only node that may still be running the service under an earlier epoch when this is a
    /// claim, and that may run it when it is a grant.
    pub fn last_granted(&self) -> Option<&Name> {
        self.granted_to().or(self.previous_holder.as_ref())
    }

    /// Later values are greater: by epoch, and within it a claim before its grant.
    pub(crate) fn rank(&self) -> (u64, LeaseState) {
        (self.epoch, self.state)
    }

    /// In words, on one line, without the time.
    pub fn summary(&self, service: &Name) -> String {
        let line = format!("{service}: {}", self.done());
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// What was done, by whom, as a sentence's end.
    pub fn done(&self) -> String {
        let Self { holder, epoch, by, .. } = self;
        let done = match self.state {
            LeaseState::Claimed => "claimed for",
            LeaseState::Granted => "granted to",
        };
        format!("{done} {holder} in epoch {epoch} by {by}")
    }

    /// As one line of JSON that says what it is and for which service.
    pub fn written(&self, service: &Name) -> String {
        let line = Line { schema: SCHEMA.to_owned(), service: service.clone(), value: self.clone() };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// The value that [`Self::written`] wrote for this service.
    ///
    /// # Errors
    /// What is wrong with it, as half a sentence.
    pub fn parse(service: &Name, text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        let kind: Kind = serde_json::from_str(text).map_err(|_| "it is no JSON that says what it is".to_owned())?;
        if kind.schema != SCHEMA {
            return Err(format!("it says it is {:?}, not {SCHEMA:?}", shortened(&kind.schema)));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| format!("it does not parse: {error}"))?;
        if line.service != *service {
            return Err(format!("it is the lease of {}", line.service));
        }
        if !(1..=LAST_EPOCH).contains(&line.value.epoch) {
            return Err(format!("it has the epoch {}", line.value.epoch));
        }
        Ok(line.value)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[derive(Deserialize)]
struct Kind {
    schema: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    schema: String,
    service: Name,
    #[serde(flatten)]
    value: LeaseRecord,
}

/// A number that no other write has: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{32}$"))]
pub struct Nonce(pub u128);

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bits to give.
    pub fn fresh() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        // Up to 256 bytes come whole.
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if got != bytes.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Nonce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| format!("{:?} is no nonce: 32 hexadecimal digits", shortened(text)))
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> LeaseRecord {
        LeaseRecord {
            holder: "moscow".parse().expect("a name"),
            epoch: 7,
            state: LeaseState::Granted,
            previous_holder: Some("spb".parse().expect("a name")),
            nonce: Nonce(10),
            by: "moscow".to_owned(),
            why: None,
            at: "2026-01-01T00:00:00.000Z".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bot = "bot".parse().expect("a name");
        let line = value().written(&bot);
        assert!(
            line.starts_with(r#"{"schema":"mirror.lease/1","service":"bot","holder":"moscow","epoch":7,"#),
            "{line}"
        );
        assert!(line.contains(r#""nonce":"0000000000000000000000000000000a""#), "{line}");
        assert_eq!(LeaseRecord::parse(&bot, &line), Ok(value()));
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let bot: Name = "bot".parse().expect("a name");
        let good = value().written(&bot);
        let bad = [
            (String::new(), "empty"),
            ("hello".to_owned(), "no JSON"),
            ("{\"a\":1}".to_owned(), "no JSON that says"),
            (good.replace("lease/1", "lease/2"), "\"mirror.lease/2\""),
            (value().written(&"web".parse().expect("a name")), "the lease of web"),
            (good.replace("\"epoch\":7", "\"epoch\":0"), "epoch 0"),
            (good.replace("\"epoch\":7", "\"epoch\":9007199254740992"), "epoch 9007199254740992"),
            (good.replace("\"epoch\":7", "\"epoch\":-7"), "does not parse"),
            (good.replace("moscow", "Moscow!"), "does not parse"),
            (good.replace("granted", "given"), "does not parse"),
            (good.replace("0a\"", "0A\""), "no nonce"),
        ];
        for (text, why) in bad {
            let error = LeaseRecord::parse(&bot, &text).expect_err(&text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn no_two_nonces_are_the_same() {
        let nonces: std::collections::HashSet<Nonce> =
            (0..1000).map(|_| Nonce::fresh().expect("random bits")).collect();
        assert_eq!(nonces.len(), 1000);
    }
}
