//! What differs between two node lists, and what stands in the way. Pure.

use anyhow::Result;
use toml::{Table, Value};

use crate::chain::BRAIN;
use crate::clock::seconds;
use crate::config::{Config, Failback};
use crate::name::Name;

/// What differs between two node lists as they are written, each in a sentence. `self` and `state` stay out, and so do
/// the values of [notify]: the URL of a webhook is a secret.
pub(super) fn between(old: &str, new: &str) -> Result<Vec<String>> {
    let (mut old, mut new): (Table, Table) = (toml::from_str(old)?, toml::from_str(new)?);
    for own in ["self", "state"] {
        old.remove(own);
        new.remove(own);
    }
    let is_told_otherwise = old.remove("notify") != new.remove("notify");
    let mut changes = Vec::new();
    tables("", &old, &new, &mut changes);
    changes.extend(is_told_otherwise.then(|| "[notify] is another one.".to_owned()));
    Ok(changes)
}

fn tables(within: &str, old: &Table, new: &Table, changes: &mut Vec<String>) {
    for (key, value) in new {
        let path = format!("{within}{key}");
        match (old.get(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => tables(&format!("{path}."), old, new, changes),
            (Some(old), new) if old == new => {}
            (Some(old), new) => changes.push(format!("{path} is {}; before, {}.", shown(new), shown(old))),
            (None, new) => changes.push(format!("{path} is new: {}.", shown(new))),
        }
    }
    for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        changes.push(format!("{within}{key} goes: {}.", shown(value)));
    }
}

/// As JSON, which for strings, numbers and lists of them is TOML too.
fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "?".to_owned())
}

/// What the new list will move, each in a sentence: services to nodes that come before the serving one in the new
/// chain and did not in the old one, and the brain's duty.
pub(super) fn moves<'a>(
    old: &Config,
    new: &Config,
    serving: impl Iterator<Item = (&'a Name, &'a [Name])>,
) -> Vec<String> {
    let before = |config: &Config, chain: &Name, node: &Name| -> Vec<Name> {
        let chain = config.chains.get(chain).map_or(&[][..], Vec::as_slice);
        chain.iter().take_while(|other| *other != node).cloned().collect()
    };
    let mut sentences = Vec::new();
    for (service, nodes) in serving {
        let (Some(of), Some(was)) = (new.services.get(service), old.services.get(service)) else { continue };
        for node in nodes {
            let known = before(old, &was.chain, node);
            let better: Vec<Name> =
                before(new, &of.chain, node).into_iter().filter(|other| !known.contains(other)).collect();
            let Some(to) = better.first() else { continue };
            let when = match of.failback {
                Failback::Always => "at the first check".to_owned(),
                Failback::Never => "by hand only, as failback is \"never\"".to_owned(),
                Failback::After(wait) => {
                    format!("once {to} has been alive, and {service} there, for {}", seconds(wait))
                }
            };
            sentences.push(format!("{service} runs on {node} and moves to {to}: {when}."));
        }
    }
    let first = |config: &Config| config.chains.get(BRAIN).and_then(|chain| chain.iter().next().cloned());
    if let (Some(was), Some(is)) = (first(old), first(new))
        && was != is
    {
        sentences.push(format!("{is} becomes the brain; before, {was}."));
    }
    sentences
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
    fn what_differs_is_named_with_both_values() {
        let old = "self = \"a\"\n[nodes]\na = \"192.0.2.1\"\nb = { address = \"192.0.2.2\", port = 22 }\n[cycle]\nsync = \"12s\"\n";
        let new = "self = \"b\"\n[cycle]\nsync = \"13s\"\n[nodes]\nc = \"192.0.2.3\"\nb = { port = 23, address = \"192.0.2.2\" }\n";
        let expected = [
            "cycle.sync is \"13s\"; before, \"12s\".",
            "nodes.c is new: \"192.0.2.3\".",
            "nodes.b.port is 23; before, 22.",
            "nodes.a goes: \"192.0.2.1\".",
        ];
        assert_eq!(between(old, new).expect("lists"), expected);
        assert!(between(old, old).expect("lists").is_empty());
        let webhook = format!("{old}[notify]\nurl = \"https://192.0.2.9/secret\"\n");
        assert_eq!(between(old, &webhook).expect("lists"), ["[notify] is another one."]);
    }

    #[test]
    fn what_moves_is_told() {
        let text = |bot: &str, brain: &str, failback: &str| {
            list(&format!(
                "nodes = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\nchains = {{ brain = {brain}, bot = {bot} }}\n\
                 [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\nfailback = \"{failback}\"\n"
            ))
        };
        let old = text("[\"a\", \"b\"]", "[\"a\", \"b\"]", "1m");
        let a: Name = "a".parse().expect("a name");
        let told = |new: &Config| {
            moves(&old, new, [(old.services.keys().next().expect("a service"), &[a.clone()][..])].into_iter())
        };
        assert!(told(&old).is_empty());
        let new = text("[\"b\", \"a\"]", "[\"b\", \"a\"]", "1m");
        let expected = [
            "bot runs on a and moves to b: once b has been alive, and bot there, for 60 s.",
            "b becomes the brain; before, a.",
        ];
        assert_eq!(told(&new), expected);
        assert!(told(&text("[\"b\", \"a\"]", "[\"a\"]", "never"))[0].contains("by hand only"));
    }

    #[test]
    fn a_node_that_serves_cannot_leave() {
        let service = "[services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n";
        let old = list(&format!(
            "nodes = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\nchains = {{ brain = [\"a\"], bot = [\"a\", \"b\"] }}\n{service}"
        ));
        let new = list(&format!(
            "nodes = {{ a = \"192.0.2.9\", c = \"192.0.2.3\" }}\nchains = {{ brain = [\"a\"], bot = [\"a\", \"c\"] }}\n{service}"
        ));
        let (bot, a, b) =
            (old.services.keys().next().expect("a service"), "a".parse().expect("a"), "b".parse().expect("b"));
        assert!(in_the_way(&new, [(bot, &[a][..])].into_iter()).is_empty());
        assert_eq!(in_the_way(&new, [(bot, &[b][..])].into_iter()).len(), 1);
    }
}
