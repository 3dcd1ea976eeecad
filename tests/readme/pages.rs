//! The pages that are written by hand: every key with its default, every verdict with its status, and the
//! topics of `mirror help`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use three_mirror::cli::topics::{self, TOPICS};
use three_mirror::commands::schema;
use three_mirror::config::{self, Config};

use super::{command_of, examples_of_page, read};

/// The first example of mirror.toml(5): every key with its default.
fn every_key() -> String {
    examples_of_page(&read("man/mirror.toml.5")).swap_remove(0)
}

#[test]
fn the_table_of_keys_holds_the_defaults() {
    let listing = every_key();
    let shown = parsed(&listing);
    // The same nodes, chains and service, and nothing else.
    let mut bare = String::new();
    let mut table = "";
    for line in listing.lines() {
        if line.starts_with('[') {
            table = line.split_whitespace().next().unwrap();
        }
        let command = ["status", "start", "stop"].iter().any(|key| line.starts_with(key));
        if line.starts_with('[') || matches!(table, "[nodes]" | "[chains]") || (table == "[services.bot]" && command) {
            bare += line;
            bare += "\n";
        }
    }
    let bare = parsed(&bare);
    assert_eq!(format!("{:?}", shown.nodes), format!("{:?}", bare.nodes));
    assert_eq!(format!("{:?}", shown.services), format!("{:?}", bare.services));
    assert_eq!(format!("{:?}", shown.cycle), format!("{:?}", bare.cycle));
    assert_eq!(format!("{:?}", shown.breath), format!("{:?}", bare.breath));
    assert_eq!(shown.probe_timeout, bare.probe_timeout);
    assert_eq!(format!("{:?}", shown.witnesses), format!("{:?}", bare.witnesses));
}

fn parsed(text: &str) -> Config {
    let loaded = config::parse(&PathBuf::from("mirror.toml"), text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert!(loaded.sound(), "{:?}", loaded.problems);
    loaded.config
}

#[test]
fn every_key_is_documented() {
    let toml = every_key();
    let page = read("man/mirror.toml.5");
    let nodes = "nodes = { a = \"192.0.2.1\" }\nchains = { brain = [\"a\"] }\n";
    let tables = [
        "",
        "[cycle]",
        "[probe]",
        "[remote]",
        "[services.x]",
        "[services.x.lease]",
        "[breath]",
        "[witness]",
        "[notify]",
        "[lease]",
    ];
    for table in tables {
        let text =
            if table.is_empty() { format!("nonsense = 1\n{nodes}") } else { format!("{nodes}{table}\nnonsense = 1\n") };
        let error = format!("{:#}", config::parse(Path::new("x"), &text).expect_err("nonsense is no key"));
        let list = error.rsplit_once("expected ").expect("the keys there are").1;
        let list = list.split("; see").next().expect("the keys there are");
        let words = list.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let keys: Vec<&str> = words.filter(|word| !["", "one", "of", "or", "and"].contains(word)).collect();
        assert!(!keys.is_empty(), "{error}");
        for key in keys {
            let word = |text: &str| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|w| w == key);
            assert!(word(&toml), "mirror.toml(5) does not show `{key}` of {table} with its default");
            let listed = [format!(".BR {key} "), format!(".SS [{key}"), format!(".RB [ {key}")];
            assert!(listed.iter().any(|form| page.contains(form)), "mirror.toml(5) does not list `{key}` of {table}");
        }
    }
}

#[test]
fn the_examples_of_the_page_on_the_node_list_are_read() {
    let whole = "nodes = { one = \"192.0.2.1\" }\nchains = { brain = [\"one\"] }\n";
    let examples = examples_of_page(&read("man/mirror.toml.5"));
    assert_eq!(examples.len(), 4);
    parsed(&examples[1]);
    parsed(&format!("chains = {{ brain = [\"two\"] }}\n{}", examples[2]));
    parsed(&format!("{whole}{}", examples[3]));
}

/// A verdict of mirror-verdicts(7).
struct Row {
    command: String,
    verdict: String,
    status: String,
}

fn verdicts_of_page() -> Vec<Row> {
    let page = read("man/mirror-verdicts.7").replace("\\-", "-");
    let section = page.split("\n.SH VERDICTS\n").nth(1).expect("the section").split("\n.SH ").next().unwrap();
    let mut rows = Vec::new();
    for part in section.split(".SS ").skip(1) {
        let (command, verdicts) = part.split_once('\n').unwrap();
        for tag in verdicts.lines().filter_map(|line| line.strip_prefix(".BR ")) {
            let (verdict, status) = tag.split_once(' ').expect("a verdict and its status");
            let status = status.trim_matches(|c: char| !c.is_ascii_digit());
            rows.push(Row { command: command.to_owned(), verdict: verdict.to_owned(), status: status.to_owned() });
        }
    }
    rows
}

#[test]
fn the_page_of_verdicts_is_whole() {
    let rows = verdicts_of_page();
    for (name, schema) in schema::all() {
        let definition = schema["properties"]["verdict"]["$ref"].as_str().expect("a reference to the verdicts");
        let verdicts = schema.pointer(definition.trim_start_matches('#')).expect("the verdicts");
        let verdicts = verdicts["oneOf"].as_array().expect("the verdicts");
        let verdicts: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict["const"].as_str().unwrap()).collect();
        let listed: Vec<&Row> = rows.iter().filter(|row| row.command == name).collect();
        let named: BTreeSet<&str> = listed.iter().map(|row| row.verdict.as_str()).collect();
        assert_eq!(named, verdicts, "the verdicts of {name}");
        assert_eq!(listed.len(), verdicts.len(), "a verdict of {name} is listed twice");
        // The help says the same of each.
        let help = command_of(&format!("mirror {}", command_words(name))).get_after_long_help().unwrap().to_string();
        let help = help.replace("\n     ", " ");
        for Row { verdict, status, .. } in listed {
            let told = help.split("\n  ").find(|part| part.starts_with(status)).unwrap_or_default();
            let mut words = told.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            assert!(words.any(|word| word == verdict), "{name} {verdict} is no status {status} in:\n{help}");
        }
    }
}

fn command_words(name: &str) -> String {
    if name.starts_with("chain-") || name.starts_with("lease-") { name.replacen('-', " ", 1) } else { name.to_owned() }
}

#[test]
fn every_public_word_is_in_the_glossary() {
    let glossary = topics::GLOSSARY.replace("\\-", "-");
    let words = [
        "brain", "chain", "view", "breath", "inhale", "exhale", "promote", "probe", "lease", "epoch", "holder",
        "arbiter", "hold", "pause", "mesh",
    ];
    for word in words {
        let tagged = glossary.split(".TP\n").skip(1).filter_map(|entry| entry.lines().next());
        let mut tags = tagged.flat_map(|tag| tag.split(|c: char| !c.is_ascii_alphabetic()));
        assert!(tags.any(|tag| tag == word), "mirror(1), GLOSSARY, does not explain {word}");
    }
    assert!(read("man/mirror.1").contains(topics::GLOSSARY), "mirror(1) has another glossary");
}

#[test]
fn a_topic_is_shown_as_plain_text() {
    for topic in &TOPICS {
        let text = topic.text();
        assert!(text.lines().any(|line| !line.starts_with(' ')), "{}: no heading", topic.name);
        for line in text.lines() {
            assert!(!line.starts_with('.') && !line.contains("\\f"), "{}: roff is left in {line:?}", topic.name);
        }
        let whole = topic.roff.matches("\n.SH ").count();
        let headings = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).count();
        assert_eq!(headings, whole, "{}: sections", topic.name);
    }
    let mirror = |words: &[&str]| {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_mirror")).arg("help").args(words).output();
        let output = program.expect("runs");
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for name in ["lease", "arbiter", "mesh", "security", "cycle", "verdicts", "glossary", "config"] {
        let (status, text, error) = mirror(&[name]);
        assert_eq!((status, error.as_str()), (Some(0), ""), "{name}");
        assert_eq!(text, topics::find(name).expect(name).text());
    }
    let (status, text, _) = mirror(&["chain", "check"]);
    assert!(status == Some(0) && text.contains("mirror chain check [OPTIONS]"), "{text}");
    let (status, text, _) = mirror(&[]);
    assert!(status == Some(0) && text.contains("Usage: mirror"), "{text}");
    let (status, text, error) = mirror(&["nonsense"]);
    assert!((status, text.as_str()) == (Some(2), "") && error.contains("glossary"), "{error}");
}
