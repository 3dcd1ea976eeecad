//! What differs between two node lists, and what stands in the way. Pure.

use std::fmt::Debug;

use indexmap::IndexMap;

use crate::config::Config;
use crate::name::{self, Name};

/// What differs, each in a sentence.
pub(super) fn between(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    tables("node", &old.nodes, &new.nodes, &mut changes);
    for (name, chain) in &new.chains {
        match old.chains.get(name) {
            None => changes.push(format!("The chain {name} is new: {}.", name::list(chain))),
            Some(before) if before != chain => {
                changes.push(format!("The chain {name} is {}; before, {}.", name::list(chain), name::list(before)));
            }
            Some(_) => {}
        }
    }
    changes.extend(
        old.chains.keys().filter(|name| !new.chains.contains_key(*name)).map(|name| format!("The chain {name} goes.")),
    );
    tables("service", &old.services, &new.services, &mut changes);
    let rest = [
        ("[cycle]", format!("{:?}", old.cycle) == format!("{:?}", new.cycle)),
        ("[probe]", (old.probe_timeout, old.second_opinion) == (new.probe_timeout, new.second_opinion)),
        ("[remote]", old.remote_command == new.remote_command),
        ("[breath]", format!("{:?}", old.breath) == format!("{:?}", new.breath)),
        ("[lease]", old.lease == new.lease),
        ("[notify]", format!("{:?}", old.notify) == format!("{:?}", new.notify)),
        ("[witness]", format!("{:?}", old.witnesses) == format!("{:?}", new.witnesses)),
    ];
    changes.extend(rest.into_iter().filter(|(_, same)| !same).map(|(table, _)| format!("{table} is another one.")));
    changes
}

fn tables<T: Debug>(what: &str, old: &IndexMap<Name, T>, new: &IndexMap<Name, T>, changes: &mut Vec<String>) {
    for (name, entry) in new {
        match old.get(name) {
            None => changes.push(format!("The {what} {name} is new.")),
            Some(before) if format!("{before:?}") != format!("{entry:?}") => {
                changes.push(format!("The {what} {name} is changed."));
            }
            Some(_) => {}
        }
    }
    changes.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("The {what} {name} goes.")));
}

/// Services that would be lost: they run where the new list does not have them.
pub(super) fn in_the_way<'a>(new: &Config, serving: impl Iterator<Item = (&'a Name, &'a [Name])>) -> Vec<String> {
    let mut messages = Vec::new();
    for (service, nodes) in serving {
        let chain = new.services.get(service).and_then(|of| new.chains.get(&of.chain));
        let lost = |node: &&Name| chain.is_none_or(|chain| !chain.contains(node));
        messages.extend(nodes.iter().filter(lost).map(|node| {
            format!("{service} runs on {node}, which the new list does not have for it; move it first: mirror promote {service} --to NODE")
        }));
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn list(text: &str) -> Config {
        crate::config::parse(Path::new("t.toml"), text).expect("parses").config
    }

    #[test]
    fn what_differs_is_named_and_a_node_that_serves_cannot_leave() {
        let service = "[services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n";
        let old = list(&format!(
            "nodes = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\nchains = {{ brain = [\"a\"], bot = [\"a\", \"b\"] }}\n{service}"
        ));
        let new = list(&format!(
            "nodes = {{ a = \"192.0.2.9\", c = \"192.0.2.3\" }}\nchains = {{ brain = [\"a\"], bot = [\"a\", \"c\"] }}\n{service}"
        ));
        assert_eq!(
            between(&old, &new),
            [
                "The node a is changed.",
                "The node c is new.",
                "The node b goes.",
                "The chain bot is a, c; before, a, b."
            ]
        );
        assert!(between(&old, &old).is_empty());
        let (bot, a, b) =
            (old.services.keys().next().expect("a service"), "a".parse().expect("a"), "b".parse().expect("b"));
        assert!(in_the_way(&new, [(bot, &[a][..])].into_iter()).is_empty());
        assert_eq!(in_the_way(&new, [(bot, &[b][..])].into_iter()).len(), 1);
    }
}
