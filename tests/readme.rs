//! README.md and the pages tell the truth: their shell examples run and print what they show, and `mirror`
//! understands every line that calls it. `pages` compares keys, defaults, verdicts and help topics.
#![allow(clippy::unwrap_used)]

#[path = "readme/pages.rs"]
mod pages;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use three_mirror::cli::Cli;

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

/// The fenced blocks of README.md; one within a list is indented with it.
fn blocks() -> Vec<Block> {
    let readme = read("README.md");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in readme.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
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
fn readme_is_a_front_page() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines; move what is not for everybody to a page");
}

#[test]
fn the_shell_examples_print_what_is_shown() {
    let world = World::new();
    let blocks = blocks();
    let mut examples: Vec<(String, String)> = Vec::new();
    for pair in blocks.windows(2).filter(|pair| pair[0].language == "sh") {
        assert_eq!(pair[1].language, "text", "its output must follow:\n{}", pair[0].text);
        examples.push((pair[0].text.clone(), pair[1].text.clone()));
    }
    examples.extend(printing_examples(&read("man/mirror-cycle.7")));
    for (script, output) in &examples {
        assert_eq!(world.run(script), *output, "printed by:\n{script}");
    }
    assert!(examples.len() >= 4, "only {} examples were found", examples.len());
}

/// The examples of a page that are followed by "prints" and what they print.
fn printing_examples(page: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = page.split("\n.EE\n.PP\nprints\n.PP\n.EX\n").collect();
    let pairs = parts.windows(2);
    let example = |pair: &[&str]| {
        let script = pair[0].rsplit("\n.EX\n").next().unwrap();
        let output = pair[1].split("\n.EE").next().unwrap();
        (without_roff(script) + "\n", without_roff(output) + "\n")
    };
    pairs.map(example).collect()
}

const PAGES: [&str; 7] = [
    "man/mirror-arbiter.7",
    "man/mirror-cycle.7",
    "man/mirror-internals.7",
    "man/mirror-lease.7",
    "man/mirror-mesh.7",
    "man/mirror-verdicts.7",
    "man/mirror.toml.5",
];

#[test]
fn every_line_that_calls_mirror_is_understood() {
    let pages = PAGES.map(|page| Block { language: "man".to_owned(), text: examples_of_page(&read(page)).concat() });
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
    assert!(called >= 20, "only {called} calls were found");
}

#[test]
fn every_command_in_the_text_is_understood() {
    let mut named = Vec::new();
    for (number, part) in read("README.md").split('`').enumerate() {
        if number % 2 == 1 && !part.contains('\n') {
            named.push(part.to_owned());
        }
    }
    for page in PAGES.map(read) {
        let fonts = page.lines().filter_map(|line| line.strip_prefix(".B ").or_else(|| line.strip_prefix(".BR ")));
        named.extend(fonts.map(|text| without_roff(text.trim_start_matches('"').split('"').next().unwrap())));
    }
    named.retain(|text| text.starts_with("mirror ") && !text.contains('('));
    assert!(named.len() > 30, "only {} were found", named.len());
    for call in named {
        let words = call.split(" && ").next().unwrap().split_whitespace();
        match Cli::try_parse_from(words).map_err(|error| (error.kind(), error)) {
            // A command is named without what it needs; help is a kind of error.
            Ok(_)
            | Err((
                ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelp
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                _,
            )) => {}
            Err((_, error)) => panic!("{call}\n{error}"),
        }
    }
}

/// The calls of mirror in a text: from the word to what ends a shell's command.
fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for line in text.lines().map(str::trim_start) {
        // Root's prompt; any other # begins a comment.
        let line = if line.starts_with("# mirror ") { &line[2..] } else { line };
        if line.starts_with('#') {
            continue;
        }
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
    parts.map(|part| without_roff(part.split(".EE").next().unwrap())).collect()
}

fn without_roff(text: &str) -> String {
    text.replace(".PP\n", "\n").replace("\\-", "-").replace("\\e", "\\")
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
