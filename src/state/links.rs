//! What this node has learned of its links.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StateDir;
use crate::link::Link;
use crate::name::Name;

const FILE: &str = "links.json";

/// The links of one node list: with another one, a name may mean another place or another way of asking.
#[derive(Serialize, Deserialize)]
struct Kept {
    digest: String,
    links: BTreeMap<Name, Link>,
}

impl StateDir {
    /// What was learned with the node list of this digest.
    pub fn links(&self, digest: &str) -> BTreeMap<Name, Link> {
        let kept = self.read::<Kept>(FILE).filter(|kept| kept.digest == digest);
        kept.map(|kept| kept.links).unwrap_or_default()
    }

    /// Keeps it.
    pub fn keep_links(&self, digest: &str, links: BTreeMap<Name, Link>) {
        self.write(FILE, &Kept { digest: digest.to_owned(), links });
    }
}
