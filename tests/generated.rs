//! The files in `man/` and `completions/` that are generated from the argument types are fresh, and no
//! other file lies beside them but the pages that are written by hand.
//!
//! `MIRROR_REGENERATE=1 cargo test --test suite generated` writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory, Parser};
use clap_mangen::Man;
use three_mirror::cli::Cli;
use three_mirror::cli::topics::GLOSSARY;
use three_mirror::commands::completions;

/// Pages that are written by hand.
const BY_HAND: [&str; 8] = [
    "man/mirror-arbiter.7",
    "man/mirror-cycle.7",
    "man/mirror-internals.7",
    "man/mirror-lease.7",
    "man/mirror-mesh.7",
    "man/mirror-security.7",
    "man/mirror-verdicts.7",
    "man/mirror.toml.5",
];
/// The day of the last work on the pages. Linters refuse a page without one, and the day of the build
/// would make every build differ.
const DATE: &str = "2026-11-26";
/// The schema that an editor reads by the first line of an example.
const NODE_LIST_SCHEMA: &str = "examples/mirror.schema.json";
const MANUAL: &str = "mirror manual";
const SCRIPTS: [(&str, &str); 3] =
    [("bash", "completions/mirror.bash"), ("zsh", "completions/_mirror"), ("fish", "completions/mirror.fish")];
/// The sections that only the page of the program has, before the glossary.
const OF_THE_PROGRAM: &str = r#".SH ENVIRONMENT
.TP
\fBMIRROR_CONFIG\fR
The node list, unless \fB\-\-config\fR names one.
.TP
\fBMIRROR_SELF\fR
The node that this machine is, unless \fB\-\-self\fR names one.
.TP
\fBSTATE_DIRECTORY\fR
Where state is kept, unless \fBstate\fR in the node list says otherwise.
systemd sets it for a unit with
\fBStateDirectory=\fR.
.TP
\fBXDG_CONFIG_HOME\fR, \fBXDG_STATE_HOME\fR, \fBXDG_RUNTIME_DIR\fR
Where to look for the node list, the state and the sockets of shared ssh connections.
.TP
\fBJOURNAL_STREAM\fR, \fBCREDENTIALS_DIRECTORY\fR
Set by systemd for a unit: which stream the journal reads, and where the unit's credentials are.
.TP
\fBSSH_ORIGINAL_COMMAND\fR
Set by sshd for \fBmirror\-gate\fR(1): what the other node asks for.
.TP
\fBNO_COLOR\fR
If set and not empty, it turns colours off.
.TP
\fBCOMPLETE\fR
Set by the completion scripts: the program then prints completions and does nothing else.
.SH FILES
.TP
\fI$XDG_CONFIG_HOME/mirror/mirror.toml\fR, \fI/etc/mirror/mirror.toml\fR
The node list: the first of these that exists.
Only root and the user who runs \fBmirror\fR may be able to write it; see \fBmirror.toml\fR(5).
.TP
\fI/var/lib/mirror\fR, \fI$XDG_STATE_HOME/mirror\fR
State, of root and of others, private whatever the umask: locks, the beat (\fIbeat.json\fR), which nodes are drained (\fIdrained.json\fR), since when nodes have been alive, where services were last seen, what was
seen of their leases, the history (\fIhistory.jsonl\fR), and the state of \fBmirror\-hold\fR(1)
(\fIhold\-SERVICE.json\fR).
Losing it costs caution, never correctness.
.TP
\fI$XDG_RUNTIME_DIR/mirror\fR, \fI/run/mirror\fR, \fI/tmp/mirror\-UID\fR
Sockets of shared ssh connections.
A directory that other users can enter is not used.
.TP
\fIREPOSITORY/.git/mirror\fR
The lock and the journal of \fBmirror\-breathe\fR(1).
"#;

/// Lines that work, and what each is for, by command.
const EXAMPLES: [(&str, &[(&str, &str)]); 25] = [
    (
        "mirror-probe",
        &[
            ("mirror probe", "Which nodes are alive?"),
            ("mirror probe --chain brain", "Which nodes of the brain chain are alive?"),
            ("mirror probe --from all", "Who sees whom?"),
            ("mirror probe | jq -r '.nodes[] | select(.state != \"alive\") | .node'", "Which nodes are not?"),
        ],
    ),
    (
        "mirror-whois-brain",
        &[
            ("mirror whois-brain --check --quiet", "Is this node the brain? 0 is yes, 1 no, anything else unknown."),
            ("mirror probe | mirror whois-brain --view -", "Which node is it, by what one probe saw?"),
        ],
    ),
    (
        "mirror-beat",
        &[
            ("mirror beat --quiet", "Is this node at work? 0 is yes."),
            ("ssh moscow mirror beat --json", "What a standby asks the brain."),
        ],
    ),
    (
        "mirror-breathe",
        &[
            ("mirror breathe --repo /srv/data", "Breathe in another repository than the node list names."),
            ("mirror breathe --init", "Make this node's clone, from the other nodes."),
        ],
    ),
    (
        "mirror-promote",
        &[
            ("mirror promote --if-brain", "A tick of the watchdog: does nothing on any node but the brain."),
            ("mirror promote --dry-run", "What would be done now?"),
            ("mirror promote bot --to almaty --why 'disk check'", "Move a service by hand."),
        ],
    ),
    (
        "mirror-chain-show",
        &[
            ("mirror chain show --probe", "Which node is the brain, and where does each service belong?"),
            ("mirror chain show --down moscow,almaty", "What if these two fell? No node is asked."),
        ],
    ),
    (
        "mirror-chain-check",
        &[
            ("mirror chain check --survive 4", "Fail a pipeline when the list survives less."),
            ("mirror chain check --live", "Do all nodes have the same list?"),
            ("mirror chain check --strict --format github", "Annotate the node list in a workflow."),
        ],
    ),
    ("mirror-lease-show", &[("mirror lease show", "Which node may run which service?")]),
    (
        "mirror-lease-check",
        &[
            (
                "mirror lease check bot --quiet",
                "May this node run it? 0 is yes, 1 no, anything else unknown: then it may not.",
            ),
            (
                "ExecCondition=/usr/local/bin/mirror lease check bot --quiet",
                "In a unit: not before the lease names this node.",
            ),
        ],
    ),
    ("mirror-lease-history", &[("mirror lease history bot -n 5", "Where was it, and why did it move?")]),
    (
        "mirror-lease-migrate",
        &[
            (
                "mirror lease migrate new.toml",
                "Move all leases to the store that new.toml names; `mirror rollout new.toml` follows.",
            ),
            ("mirror lease migrate new.toml --dry-run", "Could they be moved? Nothing is touched."),
        ],
    ),
    (
        "mirror-lease-repair",
        &[(
            "mirror lease repair bot --why 'disk check'",
            "Use the register again after it was restored from a backup.",
        )],
    ),
    (
        "mirror-hold",
        &[
            ("mirror hold bot -- juno --serve", "Run a service for as long as the lease names this node."),
            ("mirror hold bot --check 200ms -- juno", "Read more often, to notice the loss of the lease sooner."),
        ],
    ),
    (
        "mirror-gate",
        &[
            (
                "restrict,command=\"mirror gate\" ssh-ed25519 AAAA... mirror@moscow",
                "A line of authorized_keys: what this key may do on this node.",
            ),
            ("mirror gate --repo /srv/lease.git", "The same on the host that has the leases in a repository."),
        ],
    ),
    (
        "mirror-drain",
        &[
            ("mirror drain spb --why 'disk check'", "Take a node out for maintenance."),
            ("mirror drain", "Take this node out."),
        ],
    ),
    ("mirror-undrain", &[("mirror undrain spb", "Put it back.")]),
    (
        "mirror-pause",
        &[
            ("mirror pause --why 'disk check'", "Keep every watchdog from moving anything."),
            ("mirror pause bot", "Pause this service only."),
        ],
    ),
    ("mirror-resume", &[("mirror resume", "End every pause.")]),
    (
        "mirror-status",
        &[
            ("mirror status", "Where is everything, and what is wrong?"),
            ("mirror status --watch", "The same every two seconds."),
            ("mirror status --html /var/www/html/mirror.html", "The same as a page, with the last day."),
            ("mirror status --nagios", "As a check of a monitoring system."),
            (
                "mirror status --json | jq -r '.services[] | [.service, .node, .since] | @tsv'",
                "What runs where, since when?",
            ),
        ],
    ),
    (
        "mirror-history",
        &[
            ("mirror history --last 5", "What was the last thing that happened here?"),
            ("mirror history --all --since 12h", "What happened last night, on any node, and how long was the outage?"),
            ("mirror history --json | jq -r '.entries[] | select(.event == \"promote\") | .reason'", "What was moved?"),
        ],
    ),
    (
        "mirror-rollout",
        &[
            ("mirror rollout new.toml --dry-run", "What would change, and what is in the way?"),
            ("mirror rollout new.toml", "Put it in force everywhere."),
        ],
    ),
    ("mirror-notify", &[("mirror notify", "Tell what is new, and what could not be told before.")]),
    (
        "mirror-metrics",
        &[(
            "mirror metrics --output /var/lib/prometheus/node-exporter/mirror.prom",
            "Write them where Debian's node_exporter reads.",
        )],
    ),
    (
        "mirror-completions",
        &[("mirror completions bash >/etc/bash_completion.d/mirror", "Install them for all users.")],
    ),
    (
        "mirror-help",
        &[
            ("mirror help lease", "Read mirror-lease(7), installed or not."),
            ("mirror help chain check", "Show the help of a command."),
        ],
    ),
];

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted = generated();
    if std::env::var_os("MIRROR_REGENERATE").is_some_and(|value| value == "1") {
        for (name, text) in &wanted {
            fs::write(root.join(name), text).expect(name);
        }
        for surplus in files_in(root).into_iter().filter(|name| !is_known(name, &wanted)) {
            fs::remove_file(root.join(&surplus)).expect(&surplus);
        }
    }
    let mut wrong = Vec::new();
    for (name, text) in &wanted {
        match fs::read_to_string(root.join(name)) {
            Ok(found) if found == *text => {}
            Ok(_) => wrong.push(format!("{name} is stale")),
            Err(error) => wrong.push(format!("{name} is missing ({error})")),
        }
    }
    for name in BY_HAND.iter().filter(|name| !root.join(name).is_file()) {
        wrong.push(format!("{name} is missing; it is written by hand"));
    }
    for name in files_in(root).iter().filter(|name| !is_known(name, &wanted)) {
        wrong.push(format!("{name} is surplus: nothing makes it"));
    }
    assert!(
        wrong.is_empty(),
        "{}\nwrite them anew: MIRROR_REGENERATE=1 cargo test --test suite generated",
        wrong.join("\n")
    );
}

#[test]
fn a_page_that_another_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in files_in(root).iter().filter(|name| name.starts_with("man/")) {
        let text = fs::read_to_string(root.join(page)).expect("a page").replace("\\-", "-");
        for (at, _) in text.match_indices("mirror") {
            let rest = text[at..].replacen("\\fR", "", 1);
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c))).unwrap_or(rest.len());
            let section = rest[end..].trim_start_matches(' ').strip_prefix('(').and_then(|rest| rest.split_once(')'));
            if let Some((section, _)) = section.filter(|(section, _)| section.len() == 1) {
                let named = format!("man/{}.{section}", &rest[..end]);
                assert!(root.join(&named).is_file(), "{page} names {named}");
            }
        }
    }
}

fn is_known(name: &str, generated: &BTreeMap<String, String>) -> bool {
    generated.contains_key(name) || BY_HAND.contains(&name)
}

fn files_in(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for directory in ["man", "completions"] {
        for entry in fs::read_dir(root.join(directory)).expect(directory) {
            files.push(format!("{directory}/{}", entry.expect("an entry").file_name().to_string_lossy()));
        }
    }
    files
}

/// Every generated file: its name, from the root of the project, and its text.
fn generated() -> BTreeMap<String, String> {
    let scripts = SCRIPTS.map(|(shell, name)| (name.to_owned(), completions::script(shell).expect(shell)));
    let mut files = BTreeMap::from(scripts);
    files.insert(NODE_LIST_SCHEMA.to_owned(), format!("{:#}\n", three_mirror::config::schema()));
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let names = names_of(&program);
    pages(&program, &names, &mut files);
    files
}

fn names_of(command: &Command) -> Vec<String> {
    let name = display_name(command).to_owned();
    std::iter::once(name).chain(command.get_subcommands().flat_map(names_of)).collect()
}

fn display_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a command and of those below it.
fn pages(command: &Command, names: &[String], files: &mut BTreeMap<String, String>) {
    files.insert(format!("man/{}.1", display_name(command)), page(command, names));
    for below in command.get_subcommands() {
        pages(below, names, files);
    }
}

fn page(command: &Command, names: &[String]) -> String {
    let name = display_name(command).to_owned();
    let command = &described(command);
    let man = Man::new(command.clone().override_usage(synopsis(command)).subcommand_help_heading("COMMANDS"))
        .title(name.to_uppercase())
        .section("1")
        .date(DATE)
        .source(concat!("mirror ", env!("CARGO_PKG_VERSION")))
        .manual(MANUAL);
    type Section = fn(&Man, &mut dyn std::io::Write) -> std::io::Result<()>;
    let mut sections: Vec<Section> =
        vec![|m, w| m.render_title(w), |m, w| m.render_name_section(w), |m, w| m.render_synopsis_section(w), |m, w| {
            m.render_description_section(w)
        }];
    if command.has_subcommands() {
        sections.push(|m, w| m.render_subcommands_section(w));
    }
    sections.push(|m, w| m.render_options_section(w));
    let mut roff = Vec::new();
    for section in sections {
        section(&man, &mut roff).expect("a section");
    }
    let mut text = tidy(&String::from_utf8(roff).expect("UTF-8"));
    text += &exit_status(command);
    if name == "mirror" {
        text += OF_THE_PROGRAM;
        text += GLOSSARY;
    }
    text + &examples(&name) + &see_also(&name, names)
}

/// The command without the line that the page has as its name, if there is more.
fn described(command: &Command) -> Command {
    let long = command.get_long_about().map(ToString::to_string);
    match long.as_deref().and_then(|long| long.split_once("\n\n")) {
        Some((_, more)) => command.clone().long_about(more.to_owned()),
        None => command.clone(),
    }
}

/// Options with their values; the global ones, which every page lists, as one word.
fn synopsis(command: &Command) -> String {
    let mut words = vec![display_name(command).replacen('-', " ", 1).to_owned()];
    words[0] = command.get_bin_name().unwrap_or(&words[0]).to_owned();
    let optional = |arg: &&clap::Arg| !arg.is_positional() && !arg.is_global_set() && !arg.is_hide_set();
    for option in command.get_arguments().filter(optional) {
        let (Some(long), false) = (option.get_long(), ["help", "version"].contains(&option.get_id().as_str())) else {
            continue;
        };
        let value = option.get_value_names().filter(|_| option.get_action().takes_values());
        words.push(match value {
            Some(value) => format!("[--{long} {}]", value.join(" ")),
            None => format!("[--{long}]"),
        });
    }
    words.push("[GLOBAL OPTIONS]".to_owned());
    for positional in command.get_positionals() {
        let name = positional.get_value_names().unwrap_or_default().join(" ");
        let many = if positional.get_num_args().is_some_and(|n| n.max_values() > 1) { "..." } else { "" };
        if positional.is_last_set() {
            words.push("--".to_owned());
        }
        words.push(if positional.is_required_set() { format!("{name}{many}") } else { format!("[{name}{many}]") });
    }
    if command.has_subcommands() {
        words.push("COMMAND".to_owned());
    }
    words.join(" ")
}

/// Keeps one of the equal preambles that the sections bring. Turns an empty line, a paragraph within an
/// option, into a request, and backquotes into bold. Begins each sentence on its own line, as roff wants.
fn tidy(roff: &str) -> String {
    let preamble = |line: &&str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    let mut lines: Vec<String> = roff.lines().filter(preamble).take(2).map(str::to_owned).collect();
    for line in roff.lines().filter(|line| !preamble(line)) {
        if line.starts_with(".SH NAME") {
            // People copy names of files and commands from a page, so no word is hyphenated.
            lines.extend([".nr HY 0", ".nh", ".ad l"].map(str::to_owned));
        }
        let parts: Vec<&str> = line.split('`').collect();
        let part = |(index, part)| if index % 2 == 1 { format!("\\fB{part}\\fR") } else { String::from(part) };
        let line: String = match (line.is_empty(), parts.len() % 2) {
            (true, _) => ".IP".to_owned(),
            (false, 0) => line.to_owned(),
            (false, _) => parts.into_iter().enumerate().map(part).collect(),
        };
        lines.extend(line.trim_end().split_inclusive(". ").map(|sentence| sentence.trim_end().to_owned()));
    }
    lines.join("\n") + "\n"
}

/// The section from the end of `--help`: lines of a status and its meaning, then text.
fn exit_status(command: &Command) -> String {
    let Some(help) = command.get_after_long_help().map(ToString::to_string) else { return String::new() };
    let mut text = ".SH \"EXIT STATUS\"\n".to_owned();
    for line in help.lines().skip(1) {
        let escaped = line.trim().replace('-', "\\-");
        match line.trim().split_once("  ") {
            _ if line.is_empty() => text += ".PP\n",
            Some((status, _)) if status.parse::<u8>().is_ok() => {
                text += &format!(".TP\n\\fB{status}\\fR\n{}\n", escaped[status.len()..].trim_start());
            }
            _ => text += &format!("{escaped}\n"),
        }
    }
    text
}

fn examples(name: &str) -> String {
    let Some((_, lines)) = EXAMPLES.iter().find(|(of, _)| *of == name) else { return String::new() };
    let mut text = ".SH EXAMPLES\n".to_owned();
    for (line, meaning) in *lines {
        for command in line.split(" | ").filter(|command| command.starts_with("mirror ")) {
            let words = command.split(" >").next().unwrap_or_default();
            let words = words.replace("'disk check'", "disk-check");
            Cli::try_parse_from(words.split_whitespace()).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
        let escaped = line.replace('-', "\\-").replace('\'', "\\(aq");
        text += &format!(".TP\n\\fB{escaped}\\fR\n{}\n", meaning.replace('-', "\\-"));
    }
    text
}

fn see_also(name: &str, names: &[String]) -> String {
    let by_hand = [
        ("mirror.toml", 5),
        ("mirror-cycle", 7),
        ("mirror-internals", 7),
        ("mirror-lease", 7),
        ("mirror-mesh", 7),
        ("mirror-arbiter", 7),
        ("mirror-security", 7),
        ("mirror-verdicts", 7),
    ];
    let pages = names.iter().map(|name| (name.as_str(), 1)).chain(by_hand);
    let others: Vec<String> = pages
        .filter(|(other, section)| (*other, *section) != (name, 1))
        .map(|(other, section)| format!(".BR {} ({section})", other.replace('-', "\\-")))
        .collect();
    format!(".SH SEE ALSO\n{}\n", others.join(" ,\n"))
}
