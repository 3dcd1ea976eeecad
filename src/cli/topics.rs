//! The pages of the manual that are part of the program, for `mirror help TOPIC`.

use super::page;

/// The section GLOSSARY of mirror(1), as roff.
pub const GLOSSARY: &str = include_str!("glossary.roff");

/// A page, and the name by which `mirror help` shows it.
pub struct Topic {
    /// What stands after `mirror help`.
    pub name: &'static str,
    /// The page's own name, without its section.
    pub page: &'static str,
    /// The page, as roff.
    pub roff: &'static str,
}

/// Every topic.
pub const TOPICS: [Topic; 9] = [
    Topic { name: "cycle", page: "mirror-cycle", roff: include_str!("../../man/mirror-cycle.7") },
    Topic { name: "lease", page: "mirror-lease", roff: include_str!("../../man/mirror-lease.7") },
    Topic { name: "arbiter", page: "mirror-arbiter", roff: include_str!("../../man/mirror-arbiter.7") },
    Topic { name: "mesh", page: "mirror-mesh", roff: include_str!("../../man/mirror-mesh.7") },
    Topic { name: "security", page: "mirror-security", roff: include_str!("../../man/mirror-security.7") },
    Topic { name: "verdicts", page: "mirror-verdicts", roff: include_str!("../../man/mirror-verdicts.7") },
    Topic { name: "internals", page: "mirror-internals", roff: include_str!("../../man/mirror-internals.7") },
    Topic { name: "config", page: "mirror.toml", roff: include_str!("../../man/mirror.toml.5") },
    Topic {
        name: "glossary",
        page: "glossary",
        roff: concat!(
            ".TH MIRROR 1 \"\" \"mirror ",
            env!("CARGO_PKG_VERSION"),
            "\" \"mirror manual\"\n.nr HY 0\n.nh\n.ad l\n",
            include_str!("glossary.roff")
        ),
    },
];

impl Topic {
    /// The page as plain text.
    pub fn text(&self) -> String {
        page::plain(self.roff)
    }
}

/// The topic of this name, or the one whose page is called so.
pub fn find(name: &str) -> Option<&'static Topic> {
    let name = name.strip_prefix("mirror.").unwrap_or(name);
    let name = if name == "toml" { "config" } else { name };
    TOPICS.iter().find(|topic| topic.name == name || topic.page == name)
}
