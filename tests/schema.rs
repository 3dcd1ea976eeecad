//! Every object that a command prints is what `mirror schema` says, and nothing in it is left
//! without words.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::net;
use serde_json::Value;

use crate::support::program::{Ran, command, mirror};

/// The commands that print an object, as `mirror schema` is asked for them.
const COMMANDS: [&[&str]; 21] = [
    &["probe"],
    &["whois-brain"],
    &["beat"],
    &["breathe"],
    &["promote"],
    &["chain", "show"],
    &["chain", "check"],
    &["lease", "show"],
    &["lease", "check"],
    &["lease", "history"],
    &["lease", "migrate"],
    &["lease", "repair"],
    &["hold"],
    &["drain"],
    &["undrain"],
    &["pause"],
    &["resume"],
    &["status"],
    &["history"],
    &["rollout"],
    &["notify"],
];

/// The keys that every object begins with.
const FIRST: [&str; 6] = ["schema", "at", "self", "verdict", "reason", "elapsed_ms"];

fn schema(name: &[&str]) -> Value {
    let ran = mirror(Path::new("/"), [&["schema"], name].concat());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{name:?}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn every_schema_is_one_and_describes_all_it_holds() {
    for name in COMMANDS {
        let schema = schema(name);
        jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["title"], format!("mirror.{}/1", name.join("-")));
        let required = schema["required"].as_array().expect("a list");
        assert!(FIRST.iter().all(|key| required.contains(&(*key).into())), "{name:?}: {required:?}");
        let mut bare = Vec::new();
        undescribed(&schema, "", &mut bare);
        assert!(bare.is_empty(), "{name:?}: without words: {bare:?}");
    }
}

/// Where in a schema a property, a definition or a value of an enumeration has no description.
fn undescribed(schema: &Value, at: &str, bare: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                let below = format!("{at}/{key}");
                let all_described = match (key.as_str(), value) {
                    ("properties" | "$defs", Value::Object(members)) => {
                        members.iter().map(|(name, member)| (name.clone(), member)).collect()
                    }
                    ("oneOf", Value::Array(members)) => {
                        members.iter().enumerate().map(|(index, member)| (index.to_string(), member)).collect()
                    }
                    _ => Vec::new(),
                };
                for (name, member) in all_described {
                    let words = member.get("description").and_then(Value::as_str).unwrap_or_default();
                    if words.trim().is_empty() {
                        bare.push(format!("{below}/{name}"));
                    }
                }
                // An enumeration without `oneOf` has no place for the meaning of its values.
                if key == "enum" && value.as_array().is_some_and(|values| values.len() > 1) {
                    bare.push(below.clone());
                }
                undescribed(value, &below, bare);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                undescribed(item, &format!("{at}/{index}"), bare);
            }
        }
        _ => {}
    }
}

#[test]
fn there_is_no_schema_of_what_prints_no_object() {
    for name in
        [&["nonsense"][..], &["chain"], &["chain", "nonsense"], &[""], &["completions"], &["Probe"], &["../probe"]]
    {
        let ran = mirror(Path::new("/"), [&["schema"], name].concat());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{name:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{name:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("probe, whois-brain, beat, breathe, promote, chain-show, chain-check"),
            "{}",
            ran.stderr
        );
    }
    for wrong in [&[][..], &["a", "b", "c"]] {
        let ran = mirror(Path::new("/"), [&["schema"], wrong].concat());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{wrong:?}");
    }
}

/// The schema of one command, and the verdicts that were seen of it.
struct Contract {
    schema: Value,
    validator: jsonschema::Validator,
    verdicts: BTreeSet<String>,
}

impl Contract {
    fn of(name: &[&str]) -> Self {
        let schema = schema(name);
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        Self { schema, validator, verdicts: BTreeSet::new() }
    }

    /// Holds what a command printed against the schema.
    fn keeps(&mut self, ran: &Ran, verdict: &str, status: i32) -> Value {
        assert_eq!((ran.stderr.as_str(), ran.status), ("", status), "{ran:?}");
        assert!(ran.stdout.ends_with("}\n") && ran.stdout.matches('\n').count() == 1, "not one line: {ran:?}");
        let object: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        let errors: Vec<String> =
            self.validator.iter_errors(&object).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?} in {object}");
        let mut strange = Vec::new();
        undeclared(&object, &[&self.schema], &self.schema, "", &mut strange);
        assert!(strange.is_empty(), "not in the schema: {strange:?} in {object}");
        // The keys as they were written: a parsed map would have sorted them.
        let mut from = 0;
        for (index, key) in FIRST.iter().enumerate() {
            let start = if index == 0 { "{" } else { "," };
            let key = format!("{start}\"{key}\":");
            let at = ran.stdout[from..].find(&key).unwrap_or_else(|| panic!("{key} is out of order: {}", ran.stdout));
            assert!(index > 0 || at == 0, "{}", ran.stdout);
            let skipped = &ran.stdout[from..from + at];
            assert!(!skipped.contains(",\""), "{skipped} stands before {key}");
            from += at + key.len();
        }
        assert_eq!(object["verdict"], verdict, "{object}");
        self.verdicts.insert(verdict.to_owned());
        object
    }
}

/// Where an object has a property that no schema that applies to it declares.
fn undeclared(value: &Value, schemas: &[&Value], root: &Value, at: &str, strange: &mut Vec<String>) {
    let schemas = unfolded(schemas, root);
    match value {
        Value::Object(map) => {
            for (key, member) in map {
                let declared: Vec<&Value> =
                    schemas.iter().filter_map(|schema| schema.get("properties")?.get(key)).collect();
                if declared.is_empty() {
                    strange.push(format!("{at}/{key}"));
                }
                undeclared(member, &declared, root, &format!("{at}/{key}"), strange);
            }
        }
        Value::Array(items) => {
            let declared: Vec<&Value> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
            for (index, item) in items.iter().enumerate() {
                undeclared(item, &declared, root, &format!("{at}/{index}"), strange);
            }
        }
        _ => {}
    }
}

/// The schemas, and those that they refer to.
fn unfolded<'a>(schemas: &[&'a Value], root: &'a Value) -> Vec<&'a Value> {
    let mut open: Vec<&Value> = schemas.to_vec();
    let mut all = Vec::new();
    while let Some(schema) = open.pop() {
        all.push(schema);
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            open.push(root.pointer(reference.strip_prefix('#').expect("of this document")).expect("is there"));
        }
        for part in ["anyOf", "oneOf", "allOf"] {
            open.extend(schema.get(part).and_then(Value::as_array).into_iter().flatten());
        }
    }
    all
}

#[test]
fn a_property_that_is_not_declared_is_noticed() {
    let contract = Contract::of(&["probe"]);
    let object = serde_json::json!({ "nodes": [{ "node": "a", "nonsense": 1 }], "more": {} });
    let mut strange = Vec::new();
    undeclared(&object, &[&contract.schema], &contract.schema, "", &mut strange);
    strange.sort();
    assert_eq!(strange, ["/more", "/nodes/0/nonsense"]);
}

/// A directory with a node list.
struct Place(tempfile::TempDir);

impl Place {
    fn new(list: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        place.rewrite(list);
        place
    }

    fn rewrite(&self, list: &str) {
        std::fs::write(self.0.path().join("mirror.toml"), list).expect("written");
    }

    fn run(&self, arguments: &str) -> Ran {
        mirror(self.0.path(), arguments.split_whitespace())
    }
}

/// Two ports of this machine: one where somebody listens, one that is taken and where nobody does.
struct Ports {
    open: u16,
    closed: u16,
    _held: (TcpListener, OwnedFd),
}

impl Ports {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
        net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
        let closed = SocketAddr::try_from(net::getsockname(&socket).expect("has one")).expect("IPv4").port();
        Self { open: listener.local_addr().expect("has one").port(), closed, _held: (listener, socket) }
    }
}

const DEADLINES: &str = "[probe]\ntimeout = \"20s\"\n";

/// Nodes a and b, the one alive, the other dead, and c that cannot be asked.
fn nodes(ports: &Ports) -> String {
    format!(
        "[nodes]\na = {{ address = \"127.0.0.1\", port = {} }}\nb = {{ address = \"127.0.0.1\", port = {} }}\n\
         c = {{ address = \"127.0.0.1\", probe = {{ method = \"exec\", command = \"exec /nonexistent/program\" }} }}\n",
        ports.open, ports.closed
    )
}

#[test]
fn probe() {
    let mut contract = Contract::of(&["probe"]);
    let ports = Ports::new();
    let list = format!("{}[chains]\nbrain = [\"a\", \"b\", \"c\"]\n{DEADLINES}", nodes(&ports));
    let place = Place::new(&list);
    contract.keeps(&place.run("probe a"), "alive", 0);
    contract.keeps(&place.run("probe"), "dead", 1);
    contract.keeps(&place.run("probe a c --self b"), "unknown", 3);
    let object = contract.keeps(&place.run("probe a --from a --self a"), "alive", 0);
    assert_eq!(object["matrix"][0]["sees"][0]["state"], "alive");
    assert_eq!(contract.verdicts.len(), 3);
}

#[test]
fn whois_brain() {
    let mut contract = Contract::of(&["whois-brain"]);
    let ports = Ports::new();
    let list = |chain: &str, more: &str| format!("{}[chains]\nbrain = [{chain}]\n{DEADLINES}{more}", nodes(&ports));
    let place = Place::new(&list("\"b\", \"a\", \"c\"", ""));
    contract.keeps(&place.run("whois-brain"), "known", 0);
    contract.keeps(&place.run("whois-brain --check --self a"), "self", 0);
    contract.keeps(&place.run("whois-brain --check --self b"), "other", 1);
    place.rewrite(&list("\"b\"", ""));
    contract.keeps(&place.run("whois-brain"), "nobody", 1);
    place.rewrite(&list("\"b\", \"c\", \"a\"", ""));
    contract.keeps(&place.run("whois-brain"), "unknown", 3);
    // The witness is a black hole: a listener of whose queue every place is taken.
    let hole = BlackHole::new();
    let text = list("\"a\", \"b\"", &format!("[witness]\naddresses = [\"127.0.0.1:{}\"]\n", hole.port));
    place.rewrite(&text.replace(DEADLINES, "[probe]\ntimeout = \"900ms\"\n"));
    contract.keeps(&place.run("whois-brain --self a"), "isolated", 3);
    assert_eq!(contract.verdicts.len(), 6);
}

#[test]
fn status() {
    let mut contract = Contract::of(&["status"]);
    let ports = Ports::new();
    let list = format!(
        "{}[chains]\nbrain = [\"a\", \"b\"]\n{DEADLINES}[remote]\ncommand = [\"false\", \"{{command}}\"]\n",
        nodes(&ports)
    );
    let place = Place::new(&list);
    contract.keeps(&place.run("status --here --self a"), "unwell", 1);
    place.run("whois-brain --check --self a");
    contract.keeps(&place.run("status --here --self a"), "well", 0);
    contract.keeps(&place.run("status --self a"), "unwell", 1);
    place.rewrite(&list.replace("\nb = ", "\n# b = ").replace(", \"b\"", ""));
    contract.keeps(&place.run("status"), "unknown", 3);
    assert_eq!(contract.verdicts.len(), 3);
}

#[test]
fn beat() {
    let mut contract = Contract::of(&["beat"]);
    let ports = Ports::new();
    let place = Place::new(&format!("{}[chains]\nbrain = [\"a\", \"b\"]\n{DEADLINES}", nodes(&ports)));
    contract.keeps(&place.run("beat"), "none", 1);
    place.run("whois-brain --check --self a");
    contract.keeps(&place.run("beat"), "fresh", 0);
}

/// A port of this machine where a connection is neither accepted nor refused.
struct BlackHole {
    port: u16,
    _held: (OwnedFd, Vec<OwnedFd>),
}

impl BlackHole {
    fn new() -> Self {
        let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).expect("a socket");
        net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
        net::listen(&socket, 0).expect("listens");
        let address = SocketAddr::try_from(net::getsockname(&socket).expect("has one")).expect("IPv4");
        let fill = || {
            let flags = net::SocketFlags::NONBLOCK;
            let kind = net::SocketType::STREAM;
            let filler = net::socket_with(net::AddressFamily::INET, kind, flags, None).expect("a socket");
            let _ = net::connect(&filler, &address);
            filler
        };
        let fillers = (0..8).map(|_| fill()).collect();
        Self { port: address.port(), _held: (socket, fillers) }
    }
}

#[test]
fn chain_show() {
    let mut contract = Contract::of(&["chain", "show"]);
    let ports = Ports::new();
    let place = Place::new(&format!(
        "{}[chains]\nbrain = [\"b\", \"a\"]\nweb = [\"c\", \"a\"]\n{DEADLINES}\
         [services.web]\nstatus = \"false\"\nstart = \"false\"\nstop = \"false\"\n",
        nodes(&ports)
    ));
    for arguments in ["", "web", "--probe", "--down a,b", "brain --down b --self a"] {
        contract.keeps(&place.run(&format!("chain show {arguments}")), "shown", 0);
    }
}

#[test]
fn chain_check() {
    let mut contract = Contract::of(&["chain", "check"]);
    let ports = Ports::new();
    let list = |chain: &str, more: &str| format!("{}[chains]\nbrain = {chain}\n{DEADLINES}{more}", nodes(&ports));
    let place = Place::new(&list("[\"a\", \"b\", \"c\"]", ""));
    contract.keeps(&place.run("chain check"), "sound", 0);
    let survives = contract.keeps(&place.run("chain check --survive 3"), "unsound", 1);
    assert_eq!(survives["problems"][0]["code"], "survives-less");
    place.rewrite(&list("[\"a\", \"x\", \"a\"]", "[cycle]\ncheck = \"0s\"\n"));
    contract.keeps(&place.run("chain check"), "unsound", 1);
    let lease = "[lease]\nstore = \"git\"\nremote = \"ssh://git@192.0.2.9/lease\"\n";
    place.rewrite(&list("[\"a\", \"b\", \"c\"]", lease));
    contract.keeps(&place.run("chain check"), "sound", 0);
    // What the nodes say of their list, by a remote command that says it for them.
    let directory = place.0.path().to_owned();
    let remote = format!(
        "[remote]\ncommand = [\"sh\", \"-c\", \"PATH={}:$PATH; export PATH; {{command}}\"]\n",
        directory.display()
    );
    place.rewrite(&list("[\"a\", \"b\", \"c\"]", &remote));
    let script = directory.join("mirror");
    std::fs::write(&script, format!("#!/bin/sh\ncat {}/said\n", directory.display())).expect("written");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
    let say = |digest: &str| std::fs::write(place.0.path().join("said"), format!("{{\"digest\":\"{digest}\"}}\n"));
    say("0123456789abcdef").expect("written");
    let live = contract.keeps(&place.run("chain check --live"), "unsound", 1);
    assert_eq!(live["problems"][0]["code"], "digest-differs", "{live}");
    say(live["digest"].as_str().expect("text")).expect("written");
    let live = contract.keeps(&place.run("chain check --live"), "sound", 0);
    assert_eq!(live["problems"], serde_json::json!([]));
    place.rewrite(&list("[\"a\", \"b\", \"c\"]", "[remote]\ncommand = [\"sh\", \"-c\", \"exit 9 # {command}\"]\n"));
    // An answer without the mark is none.
    let live = contract.keeps(&place.run("chain check --live"), "unsound", 1);
    assert_eq!(live["problems"][2]["code"], "not-reached", "{live}");
    std::fs::write(&script, "#!/bin/sh\necho no TOML >&2\nexit 2\n").expect("written");
    place.rewrite(&list("[\"a\", \"b\", \"c\"]", &remote));
    let live = contract.keeps(&place.run("chain check --live"), "unsound", 1);
    assert_eq!(live["problems"][2]["code"], "digest-differs", "{live}");
    assert!(live["problems"][2]["message"].as_str().is_some_and(|words| words.contains("no TOML")), "{live}");
}

#[test]
fn promote() {
    let mut contract = Contract::of(&["promote"]);
    let ports = Ports::new();
    let list =
        |chain: &str, start: &str| {
            format!(
            "{}[chains]\nbrain = [\"a\"]\nweb = [{chain}]\n{DEADLINES}\
             [remote]\ncommand = [\"sh\", \"-c\", \"export NODE={{node}}; {{command}}\"]\n\
             [services.web]\nstatus = \"test -e run-$NODE\"\nstart = \"{start}\"\nstop = \"rm -f run-$NODE\"\n\
             timeout = \"20s\"\nfailback = \"always\"\n",
            nodes(&ports).replace("c = { address = \"127.0.0.1\", probe", &format!(
                "d = {{ address = \"127.0.0.1\", probe = {{ port = {} }} }}\nc = {{ address = \"127.0.0.2\", probe",
                ports.open
            ))
        )
        };
    let start = "touch run-$NODE";
    let place = Place::new(&list("\"b\", \"a\", \"d\"", start));
    contract.keeps(&place.run("promote --dry-run"), "planned", 0);
    contract.keeps(&place.run("promote web --why test"), "started", 0);
    contract.keeps(&place.run("promote"), "in-place", 0);
    contract.keeps(&place.run("promote --to d"), "moved", 0);
    contract.keeps(&place.run("promote --to b"), "refused", 1);
    contract.keeps(&place.run("promote --if-brain --self b"), "not-brain", 1);
    std::fs::write(place.0.path().join("run-a"), "").expect("written");
    let object = contract.keeps(&place.run("promote --to d"), "stopped-elsewhere", 0);
    assert_eq!(object["services"][0]["steps"][0]["step"], "stop", "{object}");
    place.rewrite(&list("\"b\", \"c\", \"a\"", start));
    std::fs::remove_dir_all(place.0.path().join("state")).expect("removed");
    contract.keeps(&place.run("promote"), "unknown", 3);
    place.rewrite(&list("\"a\"", "false"));
    contract.keeps(&place.run("promote"), "failed", 1);
    assert!(contract.verdicts.len() >= 9, "{:?}", contract.verdicts);
}

#[test]
fn lease() {
    let mut show = Contract::of(&["lease", "show"]);
    let mut check = Contract::of(&["lease", "check"]);
    let mut history = Contract::of(&["lease", "history"]);
    let mut repair = Contract::of(&["lease", "repair"]);
    let mut migrate = Contract::of(&["lease", "migrate"]);
    let mut witness = Contract::of(&["lease", "witness"]);
    let mut promote = Contract::of(&["promote"]);
    let ports = Ports::new();
    let place = Place::new(&format!(
        "{}[chains]\nbrain = [\"a\"]\nweb = [\"a\"]\n{DEADLINES}\
         [remote]\ncommand = [\"sh\", \"-c\", \"{{command}}\"]\n\
         [services.web]\nstatus = \"test -e run\"\nstart = \"touch run\"\nstop = \"rm -f run\"\ntimeout = \"20s\"\n\
         [lease]\nstore = \"file\"\npath = \"leases\"\nvalid = \"900ms\"\ngrace = \"100ms\"\n",
        nodes(&ports)
    ));
    show.keeps(&place.run("lease show"), "unknown", 3);
    check.keeps(&place.run("lease check web --self a"), "unknown", 3);
    history.keeps(&place.run("lease history web"), "unknown", 3);
    repair.keeps(&place.run("lease repair web"), "unknown", 3);
    promote.keeps(&place.run("promote"), "unknown", 3);
    let leases = place.0.path().join("leases");
    std::fs::create_dir(&leases).expect("made");
    show.keeps(&place.run("lease show"), "vacant", 1);
    check.keeps(&place.run("lease check web --self a"), "vacant", 1);
    repair.keeps(&place.run("lease repair web"), "sound", 0);
    // Only a node of the brain chain may wait for the first grant.
    let object = promote.keeps(&place.run("promote --self a"), "started", 0);
    assert_eq!(object["services"][0]["fencing"], "lease", "{object}");
    let shown: Value = serde_json::from_str(&place.run("chain show").stdout).expect("an object");
    let digest = shown["digest"].as_str().expect("a digest").to_owned();
    let ask = |epoch: u64, digest: &str| {
        place.run(&format!("lease witness web --holder a --epoch {epoch} --digest {digest}"))
    };
    witness.keeps(&ask(1, &digest), "vouched", 0);
    witness.keeps(&ask(1, "0123456789abcdef"), "lists-differ", 1);
    show.keeps(&place.run("lease show web"), "granted", 0);
    check.keeps(&place.run("lease check web --self a"), "self", 0);
    check.keeps(&place.run("lease check web --self b"), "other", 1);
    let object = history.keeps(&place.run("lease history web -n 1"), "shown", 0);
    assert_eq!(object["takeovers"][0]["holder"], "a", "{object}");
    std::fs::remove_file(leases.join("web")).expect("removed");
    repair.keeps(&place.run("lease repair web"), "repaired", 0);
    show.keeps(&place.run("lease show"), "claimed", 1);
    check.keeps(&place.run("lease check web --self a"), "claimed", 1);
    witness.keeps(&ask(1, &digest), "newer-known", 1);
    assert_eq!((show.verdicts.len(), check.verdicts.len(), repair.verdicts.len()), (4, 5, 3));
    let list = std::fs::read_to_string(place.0.path().join("mirror.toml")).expect("read");
    std::fs::write(place.0.path().join("new.toml"), list.replace("\"leases\"", "\"other\"")).expect("written");
    migrate.keeps(&place.run("lease migrate new.toml"), "unknown", 3);
    std::fs::create_dir(place.0.path().join("other")).expect("made");
    std::fs::copy(leases.join("web"), place.0.path().join("other/web")).expect("copied");
    migrate.keeps(&place.run("lease migrate new.toml"), "refused", 1);
    std::fs::remove_file(place.0.path().join("other/web")).expect("removed");
    migrate.keeps(&place.run("lease migrate new.toml --dry-run"), "planned", 0);
    // Nobody is known to have held it, so only a node of the brain chain may wait.
    migrate.keeps(&place.run("lease migrate new.toml --self b"), "unconfirmed", 3);
    migrate.keeps(&place.run("lease migrate new.toml --self a"), "migrated", 0);
    migrate.keeps(&place.run("lease migrate new.toml --self a"), "already-there", 0);
}

#[test]
fn breathe() {
    let mut contract = Contract::of(&["breathe"]);
    let place = Place::new(
        "self = \"a\"\n[nodes]\na = \"127.0.0.1\"\n[chains]\nbrain = [\"a\"]\n\
         [breath]\nrepo = \"mine\"\ntimeout = \"60s\"\n",
    );
    let git = |directory: &str, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments);
        git.current_dir(place.0.path().join(directory)).env("HOME", place.0.path());
        let output = git.output().expect("runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let commit = |directory: &str, file: &str, text: &str| {
        std::fs::write(place.0.path().join(directory).join(file), text).expect("written");
        git(directory, &["add", file]);
        git(directory, &["commit", "-q", "-m", text]);
    };
    git(".", &["init", "-q", "--bare", "-b", "main", "shared"]);
    git(".", &["clone", "-q", "shared", "mine"]);
    git("mine", &["checkout", "-q", "-b", "main"]);
    commit("mine", "first", "one");
    let breathe = || Ran::from(command(place.0.path(), ["breathe"]).output().expect("runs"));
    let out = contract.keeps(&breathe(), "in-step", 0);
    assert_eq!((&out["inhale"], &out["exhale"]["commits"]), (&Value::Null, &1.into()), "{out}");
    let idle = contract.keeps(&breathe(), "in-step", 0);
    assert_eq!((&idle["inhale"], &idle["exhale"]), (&Value::Null, &Value::Null), "{idle}");

    git(".", &["clone", "-q", "shared", "other"]);
    commit("other", "first", "theirs");
    git("other", &["push", "-q"]);
    std::fs::write(place.0.path().join("mine/first"), "uncommitted").expect("written");
    let refused = contract.keeps(&breathe(), "refused", 1);
    assert_eq!(refused["files"], serde_json::json!(["first"]));
    commit("mine", "first", "ours");
    let conflict = contract.keeps(&breathe(), "conflict", 1);
    assert!(conflict["parked"]["reference"].as_str().is_some_and(|name| name.starts_with("refs/conflicts/a/")));

    std::fs::rename(place.0.path().join("shared"), place.0.path().join("gone")).expect("renamed");
    let ran = breathe();
    assert_eq!(ran.status, 3, "{ran:?}");
    let verdict: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    contract.keeps(&ran, verdict["verdict"].as_str().expect("text"), 3);
}

#[test]
fn pause_resume_and_history() {
    let [mut pause, mut resume, mut history] = [["pause"], ["resume"], ["history"]].map(|name| Contract::of(&name));
    let list = "[nodes]\na = \"192.0.2.1\"\n[chains]\nbot = [\"a\"]\n\
                [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\n";
    let place = Place::new(list);
    let object = pause.keeps(&place.run("pause bot --why disks --self a"), "paused", 0);
    assert_eq!(object["paused"][0]["why"], "disks");
    pause.keeps(&place.run("pause --self a"), "paused", 0);
    resume.keeps(&place.run("resume bot --self a"), "refused", 1);
    resume.keeps(&place.run("resume --self a"), "resumed", 0);
    let object = history.keeps(&place.run("history"), "listed", 0);
    assert_eq!(object["entries"].as_array().map(Vec::len), Some(3), "{object}");
    place.rewrite(&format!("lease = {{ store = \"file\", path = \"nowhere\" }}\n{list}"));
    pause.keeps(&place.run("pause"), "unknown", 3);
    resume.keeps(&place.run("resume"), "unknown", 3);
    assert_eq!((pause.verdicts.len(), resume.verdicts.len(), history.verdicts.len()), (2, 3, 1));
}
