//! Where a node is: an IPv4 or IPv6 address, or a host name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::bail;
use schemars::JsonSchema;
use serde::Deserialize;

use super::text::quoted;

/// An IPv4 or IPv6 address, or a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, lower-case.
    Host(String),
}

impl Address {
    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Host(name) => name == "localhost",
        }
    }

    /// The address as it stands in a URL: IPv6 in brackets.
    pub fn in_url(&self) -> String {
        match self {
            Self::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Host(host) => f.write_str(host),
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        // A last label of digits alone is a mistyped IPv4 address, not a name (RFC 1123, 2.1).
        let number_at_end = text.rsplit('.').next().is_some_and(|l| l.chars().all(|c| c.is_ascii_digit()));
        if text.len() > 253 || number_at_end || !text.split('.').all(label) {
            bail!("{} is not an address; use an IPv4 address, an IPv6 address or a host name", quoted(text));
        }
        Ok(Self::Host(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for Address {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A witness: an address outside the node list, and a port where it is not the one of `[probe]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Witness {
    /// Where it is.
    pub address: Address,
    /// Its TCP port, when it is named.
    pub port: Option<u16>,
}

impl FromStr for Witness {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            bail!("{} is not a witness; use ADDRESS, ADDRESS:PORT or [IPV6]:PORT", quoted(text));
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        match (host.parse(), port.parse()) {
            (Ok(address), Ok(port)) if port > 0 => Ok(Self { address, port: Some(port) }),
            _ => bail!("{} is not a witness; use ADDRESS, ADDRESS:PORT or [IPV6]:PORT", quoted(text)),
        }
    }
}

impl TryFrom<String> for Witness {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["72.56.102.240", "::1", "fe80::1", "host", "a.example.org", "Host-1"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "256.1.1.1", "1.2.3", "a b", "-oProxyCommand=x", "a..b", "host;true", "http://a", "a:1", "ä"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn witnesses() {
        let witness = |text: &str| text.parse::<Witness>().map(|w| (w.address.to_string(), w.port));
        assert_eq!(witness("192.0.2.1:53").expect("parses"), ("192.0.2.1".into(), Some(53)));
        assert_eq!(witness("[2001:db8::1]:53").expect("parses"), ("2001:db8::1".into(), Some(53)));
        assert_eq!(witness("2001:db8::1").expect("parses"), ("2001:db8::1".into(), None));
        assert!(witness("192.0.2.1:0").is_err());
    }
}
