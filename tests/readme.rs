//! What README.md says is so: its shell examples run and print what it shows, every `mirror` line in
//! it is one that `mirror` understands, its table of defaults holds the defaults, and its tables name
//! every verdict.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use three_mirror::cli::Cli;
use three_mirror::commands::schema;
use three_mirror::config::{self, Config};

/// A fenced block: its language and its text.
struct Block {
    language: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

fn blocks() -> Vec<Block> {
    let readme = read("README.md");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in readme.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some(Block { language: language.to_owned(), text: String::new() }),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text += "\n";
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of README.md has no end");
    blocks
}

/// Five nodes that listen on loopback, and a service that is a file for each of them.
struct World {
    dir: tempfile::TempDir,
    _nodes: Vec<TcpListener>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nodes: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let names = ["amsterdam", "moscow", "almaty", "spb", "novosibirsk"];
        let list = names.iter().zip(&nodes).map(|(name, node)| {
            let port = node.local_addr().unwrap().port();
            format!("{name} = {{ address = \"127.0.0.1\", port = {port} }}\n")
        });
        let list: String = list.collect();
        // On the own node a command is run without the template, so it does not know the node's name.
        let text = format!(
            r#"
self = "moscow"
state = "state"
[nodes]
{list}
[chains]
brain = ["moscow", "almaty", "spb", "novosibirsk", "amsterdam"]
bot = ["amsterdam", "almaty", "spb", "novosibirsk", "moscow"]
[probe]
timeout = "10s"
[remote]
command = ["env", "NODE={{node}}", "sh", "-c", "{{command}}"]
[services.bot]
status = "test -e bot.${{NODE:-moscow}}"
start = "touch bot.${{NODE:-moscow}}"
stop = "rm -f bot.${{NODE:-moscow}}"
timeout = "30s"
"#
        );
        fs::write(dir.path().join("mirror.toml"), text).unwrap();
        Self { dir, _nodes: nodes }
    }

    /// Runs a script, and gives what it printed.
    fn run(&self, script: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_mirror"));
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-u", "-c", script]).current_dir(self.dir.path()).env("HOME", self.dir.path());
        shell.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
        shell.env("MIRROR_CONFIG", self.dir.path().join("mirror.toml"));
        for name in ["MIRROR_SELF", "STATE_DIRECTORY", "COMPLETE"] {
            shell.env_remove(name);
        }
        let done = shell.output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(errors.is_empty(), "{script}\nsaid on stderr: {errors}");
        assert!(done.status.success(), "{script}\nended with {}", done.status);
        String::from_utf8(done.stdout).unwrap()
    }
}

#[test]
fn the_shell_examples_print_what_is_shown() {
    let world = World::new();
    let blocks = blocks();
    let mut ran = 0;
    for pair in blocks.windows(2).filter(|pair| pair[0].language == "sh") {
        assert_eq!(pair[1].language, "text", "what it prints is to follow:\n{}", pair[0].text);
        assert_eq!(world.run(&pair[0].text), pair[1].text, "printed by:\n{}", pair[0].text);
        ran += 1;
    }
    assert!(ran >= 3, "only {ran} examples were found");
}

#[test]
fn every_line_that_calls_mirror_is_understood() {
    let pages = ["man/mirror-cycle.7", "man/mirror.toml.5"];
    let pages = pages.map(|page| Block { language: "man".to_owned(), text: examples_of_page(&read(page)).concat() });
    let table = read("README.md");
    let listed = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: Vec<&str> = listed.map(|(command, _)| command).filter(|c| c.starts_with("mirror ")).collect();
    let mut called = 0;
    for Block { text, .. } in blocks().iter().chain(&pages).filter(|block| block.language != "toml") {
        for call in calls(text) {
            let words: Vec<&str> = call.split_whitespace().collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{call}\n{error}");
            }
            called += 1;
        }
    }
    assert!(called > 20, "only {called} calls were found");
    for listed in listed {
        let words = |text: &str| -> BTreeSet<String> {
            let word = |word: &str| word.trim_matches(|c| "[]…".contains(c)).to_owned();
            // Alone, it stands before a command.
            text.split_whitespace().map(word).filter(|word| word.starts_with("--") && word != "--").collect()
        };
        let command = command_of(listed);
        let options = command.get_arguments().filter(|argument| !argument.is_global_set());
        let options = options.filter_map(|argument| argument.get_long()).filter(|long| *long != "help");
        let options: BTreeSet<String> =
            options.filter(|long| *long != "version").map(|long| format!("--{long}")).collect();
        assert_eq!(words(listed), options, "the options of {listed}");
    }
}

/// The calls of mirror in a text: from the word to what ends a shell's command.
fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for (at, _) in line.match_indices("mirror ") {
            let before = &line[..at];
            let quoted = ['"', '\''].iter().any(|quote| before.matches(*quote).count() % 2 == 1);
            if quoted || !(at == 0 || before.ends_with([' ', '('])) {
                continue;
            }
            let end = line[at..].find(['|', ';', '>', '#', ')', '"']).unwrap_or(line.len() - at);
            let call = line[at..at + end].trim();
            // A reason in quotes was cut off above; so was the name of a tag for logger.
            calls.push(call.strip_suffix("--why").unwrap_or(call).to_owned());
        }
    }
    calls
}

/// What a page shows between `.EX` and `.EE`, without roff's escapes.
fn examples_of_page(page: &str) -> Vec<String> {
    let parts = page.split("\n.EX\n").skip(1);
    parts.map(|part| part.split(".EE").next().unwrap().replace(".PP\n", "\n").replace("\\-", "-")).collect()
}

fn command_of(line: &str) -> clap::Command {
    let mut command = Cli::command();
    for word in line.split_whitespace().skip(1) {
        match command.find_subcommand(word) {
            Some(below) => command = below.clone(),
            None => break,
        }
    }
    command
}

#[test]
fn the_table_of_keys_holds_the_defaults() {
    let block = blocks().into_iter().find(|block| block.language == "toml").expect("a block of toml");
    let shown = parsed(&block.text);
    // The same nodes, chains and service, and nothing else.
    let mut bare = String::new();
    let mut table = "";
    for line in block.text.lines() {
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
    let toml = blocks().into_iter().find(|block| block.language == "toml").expect("a block of toml").text;
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
            assert!(word(&toml), "README.md does not show `{key}` of {table}");
            let listed = [format!(".BR {key} "), format!(".SS [{key}"), format!(".RB [ {key}")];
            assert!(listed.iter().any(|form| page.contains(form)), "mirror.toml(5) does not list `{key}` of {table}");
        }
    }
}

#[test]
fn the_examples_of_the_page_on_the_node_list_are_read() {
    let whole = "nodes = { one = \"192.0.2.1\" }\nchains = { brain = [\"one\"] }\n";
    let examples = examples_of_page(&read("man/mirror.toml.5"));
    assert_eq!(examples.len(), 3);
    parsed(&examples[0]);
    parsed(&format!("chains = {{ brain = [\"two\"] }}\n{}", examples[1]));
    parsed(&format!("{whole}{}", examples[2]));
}

#[test]
fn the_table_of_verdicts_is_whole() {
    let readme = read("README.md");
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .filter(|cells: &Vec<&str>| cells.len() == 5)
        .collect();
    for (name, schema) in schema::all() {
        let verdicts = schema["$defs"]["Verdict"]["oneOf"].as_array().expect("the verdicts");
        let verdicts: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict["const"].as_str().unwrap()).collect();
        let listed: Vec<&Vec<&str>> = rows.iter().filter(|cells| cells[0] == name).collect();
        assert_eq!(listed.iter().map(|cells| cells[1]).collect::<BTreeSet<_>>(), verdicts, "the verdicts of {name}");
        assert_eq!(listed.len(), verdicts.len(), "a verdict of {name} stands twice");
        // The help says the same of each.
        let help = command_of(&format!("mirror {}", command_words(name))).get_after_long_help().unwrap().to_string();
        let help = help.replace("\n     ", " ");
        for cells in listed {
            let told = help.split("\n  ").find(|part| part.starts_with(cells[2])).unwrap_or_default();
            let mut words = told.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            assert!(words.any(|word| word == cells[1]), "{name} {} is no status {} in:\n{help}", cells[1], cells[2]);
        }
    }
}

fn command_words(name: &str) -> String {
    if name.starts_with("chain-") || name.starts_with("lease-") { name.replacen('-', " ", 1) } else { name.to_owned() }
}
